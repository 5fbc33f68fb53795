"""Compiles half of what training a convolutional network needs, mostly its backward pass, into the cache on disk.

It is run as another process, ``python -m tinynet.kernels.backward float32``, while the rest is compiled: see
``compilation.SecondCompiler``. A kernel is compiled by calling it, here with zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from tinynet import kernels
from tinynet.kernels.calls import WORDS, run_calls


def main(dtype: str) -> None:
    """Compile for a dtype, those that take longest first, and print the name of each.

    Before them comes what prediction needs as well.
    """
    images, row = np.zeros((2,) * 4, dtype), np.zeros(2, dtype)
    windows = images.transpose(3, 0, 1, 2)  # those of each filter, as they lie in memory
    integers, classes, results = np.zeros((2, WORDS), np.int64), np.zeros(2, np.intp), np.zeros(2, np.uint8)
    no_argmax, size, pads = np.zeros((0, 0, 0, 0), np.int32), (2, 2), ((1, 0), (1, 0))
    calls: dict[str, Callable[[], object]] = {
        "run_calls": lambda: run_calls(integers[:0], integers[:0], integers[0], results, row, classes),
        "max_pool": lambda: kernels.max_pool(images, 2, 2, 2, 2, pads, images, images.astype(np.int32)),
        "sum_patches": lambda: kernels.sum_patches(images, no_argmax, size, images, no_argmax, windows, 1, 1, pads),
        "add_filters": lambda: kernels.add_filters(images, no_argmax, windows, images, 1, 1, pads),
        "sum_channels": lambda: kernels.sum_channels(images, row),
        "sgd": lambda: kernels.sgd(row, row, row, 0.0, 0.0, False),
        "relu_backward": lambda: kernels.relu_backward(row, row, row),
    }
    for name, call in calls.items():
        call()
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
