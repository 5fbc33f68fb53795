"""MNIST for every side alike, read without importing any library: start-up times then are each library's own."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SPLIT_SIZES = {"train": 60_000, "t10k": 10_000}


def load_mnist(split: str = "train", count: int | None = None, image_size: int = 28) -> tuple[Array, Array]:
    """The first ``count`` images and labels of a split ("train" or "t10k").

    images  (count, image_size, image_size, 1) float32 in [0, 1]
    labels  (count,) int64

    Other sizes than 28 are made by repeating or leaving out rows and columns, so they must be 28 times or a part of 28.
    """
    count = SPLIT_SIZES[split] if count is None else count
    images = _read(f"{split}-images-idx3-ubyte.gz", 16, count * 28 * 28).reshape(count, 28, 28, 1)
    labels = _read(f"{split}-labels-idx1-ubyte.gz", 8, count)
    if image_size % 28 == 0:
        images = images.repeat(image_size // 28, axis=1).repeat(image_size // 28, axis=2)
    elif 28 % image_size == 0:
        images = images[:, :: 28 // image_size, :: 28 // image_size]
    else:
        raise ValueError(f"image_size must be a multiple or a divisor of 28, got {image_size}.")
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _read(name: str, header_bytes: int, num_bytes: int) -> Array:
    package = find_spec("tinynet")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("tinynet is not installed; run: pip install -e .", name="tinynet")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / name) as file:
        file.read(header_bytes)
        return np.frombuffer(file.read(num_bytes), np.uint8)
