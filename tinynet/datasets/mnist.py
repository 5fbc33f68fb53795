"""MNIST, which comes with the package, and any other data set in MNIST's file format.

    (x_train, y_train), (x_test, y_test) = mnist.load_data()

The data and its attribution (CC BY-SA 3.0) lie in `data/`.
"""

import os
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinynet.datasets.idx import IdxError, read_idx

UInt8Array = npt.NDArray[np.uint8]

_NDIM = {"images": 3, "labels": 1}
_MNIST = ("train", "t10k")
_EMNIST = ("emnist-digits-train", "emnist-digits-test")


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[UInt8Array, UInt8Array], tuple[UInt8Array, UInt8Array]]:
    """Load MNIST, or the data set in the folder `path`, as `(x_train, y_train), (x_test, y_test)`.

        x_train (60000, 28, 28)   pixels from 0 (background) to 255    y_train (60000,)   labels 0 to 9
        x_test  (10000, 28, 28)                                        y_test  (10000,)   all four uint8

    Without a path this is MNIST itself, from the package: no network, no cache. A folder holds four IDX files,
    each compressed (`.gz`) or not, under MNIST's names or under EMNIST's:

        train-images-idx3-ubyte                train-labels-idx1-ubyte
        t10k-images-idx3-ubyte                 t10k-labels-idx1-ubyte

        emnist-digits-train-images-idx3-ubyte  emnist-digits-train-labels-idx1-ubyte
        emnist-digits-test-images-idx3-ubyte   emnist-digits-test-labels-idx1-ubyte

    with `.idx` for `-idx` if you like, so a folder of Fashion-MNIST, KMNIST or EMNIST digits is a drop-in. A file that
    is there twice, say with and without `.gz`, must hold the same array both times.

    EMNIST's files store each image with rows and columns swapped. Under EMNIST's names the images are swapped back, so
    that digits stand upright as in MNIST; under MNIST's names they are taken as they are. For EMNIST's other parts
    (letters, balanced, ...) use `read_idx(file).swapaxes(1, 2)`.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, or a file is missing (with the names looked for).
        IdxError (a ValueError): a damaged file; images that are not a 3-D or labels that are not a 1-D uint8 array;
            more images than labels or fewer; training and test images of different sizes; two data sets in one
            folder, or two spellings of a file that differ.
        ValueError: `path` is an `.npz` file, such as Keras's "mnist.npz".

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()
        >>> x_train.shape, y_train[:3]
        ((60000, 28, 28), array([5, 0, 4], dtype=uint8))
    """
    folder = files("tinynet.datasets") / "data" if path is None else _checked_folder(Path(path))
    train, test = _splits_in(folder)
    x_train, y_train = _load_split(folder, train)
    x_test, y_test = _load_split(folder, test)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise IdxError(
            f"{folder}: training images of {x_train.shape[1:]} rows and columns, but test images of {x_test.shape[1:]}"
        )
    return (x_train, y_train), (x_test, y_test)


def _checked_folder(path: Path) -> Path:
    if path.suffix == ".npz" and not path.is_dir():
        raise ValueError(
            f"load_data: path must be a folder of IDX files, got {str(path)!r}. tinynet carries MNIST in the package "
            "and needs no archive: call load_data() without a path. To use an .npz of your own, read it with numpy.load"
        )
    if not path.exists():
        raise FileNotFoundError(f"load_data: no such folder: {path}")
    if not path.is_dir():
        raise NotADirectoryError(f"load_data: path must be a folder of IDX files, got the file {path}: pass its folder")
    return path


def _spellings(split: str, kind: str) -> list[str]:
    """All names that the file of one split ("train", ...) and kind ("images" or "labels") may have."""
    return [f"{split}-{kind}{mark}idx{_NDIM[kind]}-ubyte{ending}" for mark in "-." for ending in ("", ".gz")]


def _splits_in(folder: Traversable) -> tuple[str, str]:
    """Tell whose names the files in the folder have, MNIST's or EMNIST's."""
    present = {entry.name for entry in folder.iterdir() if entry.is_file()}
    found = [
        splits
        for splits in (_MNIST, _EMNIST)
        if any(not present.isdisjoint(_spellings(split, kind)) for split in splits for kind in _NDIM)
    ]
    if len(found) == 2:
        raise IdxError(f"{folder}: holds files of both MNIST and EMNIST digits: give each data set its own folder")
    if not found:
        names = _spellings(_MNIST[0], "images") + _spellings(_EMNIST[0], "images")
        raise FileNotFoundError(f"{folder}: no MNIST-format files here; looked first for any of {', '.join(names)}")
    return found[0]


def _load_split(folder: Traversable, split: str) -> tuple[UInt8Array, UInt8Array]:
    """Load the images (n, rows, columns) and the labels (n,) of one split, and check that they fit together."""
    images, labels = _load_array(folder, split, "images"), _load_array(folder, split, "labels")
    if len(images) != len(labels):
        raise IdxError(f"{folder}: {split} has {len(images):,} images but {len(labels):,} labels")
    if split in _EMNIST:
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    return images, labels


def _load_array(folder: Traversable, split: str, kind: str) -> UInt8Array:
    """Load one of the four files, under whichever names it is there."""
    names = _spellings(split, kind)
    arrays = {}
    for name in names:
        if (folder / name).is_file():
            with as_file(folder / name) as file:
                arrays[name] = read_idx(file)
    if not arrays:
        raise FileNotFoundError(f"{folder}: the {kind} of {split} are missing; looked for {', '.join(names)}")
    first, *others = arrays
    for other in others:
        if not np.array_equal(arrays[first], arrays[other]):
            raise IdxError(f"{folder}: {first} and {other} hold different arrays: remove the wrong one")
    array = arrays[first]
    if array.ndim != _NDIM[kind] or array.dtype != np.uint8:
        raise IdxError(
            f"{folder / first}: {kind} must be a {_NDIM[kind]}-D uint8 array, "
            f"got a {array.ndim}-D {array.dtype} array of shape {array.shape}"
        )
    return array
