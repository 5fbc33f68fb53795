"""Compiles what training a convolutional network needs besides its forward pass, into the cache on disk.

``kernels`` runs it as another process, ``python -m tinynet.backward_kernels float32``, while it compiles the forward
pass itself: see ``compilation.SecondCompiler``. A kernel is compiled by calling it with arrays of zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from tinynet import kernels
from tinynet.layers.convolution import bias_gradient, input_gradient, weight_gradient
from tinynet.layers.window import Window
from tinynet.losses import softmax_cross_entropy
from tinynet.optimizers import SGD


def main(dtype: str) -> None:
    """Compile the kernels for a dtype, those that take longest first, and print the name of each."""
    x, W, dy = (np.zeros(shape, dtype) for shape in ((1, 3, 3, 1), (3, 3, 1, 2), (1, 3, 3, 2)))
    window, pads = Window((3, 3), (1, 1), "same"), ((1, 1), (1, 1))
    weights = {"W": W}
    calls: dict[str, Callable[[], object]] = {
        "sum_patches": lambda: weight_gradient(x, dy, W.shape, window, pads),
        "add_filters": lambda: input_gradient(dy, W, x.shape, window, pads),
        "sum_channels": lambda: bias_gradient(dy),
        "sgd": lambda: SGD().step(weights, weights),
        "softmax_cross_entropy": lambda: softmax_cross_entropy(np.zeros((1, 2), dtype), np.zeros(1, np.intp)),
        "relu_backward": lambda: kernels.relu_backward(*np.zeros((3, 1), dtype)),
    }
    for name, call in calls.items():
        call()
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
