"""Max-pooling: a smaller image made of the largest value in each window."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.layers.layer import Array, Gradients, UnsummedGradients
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.layers.pooling import Pooling2D
from tinynet.layers.step import Step


class MaxPooling2D(Pooling2D):
    """Keeps the largest value in each window of an image, channel by channel.

        y[n, i, j, c] = max over the window at (i, j) of x[n, :, :, c]       x, dx (n, h, w, c)
        dx            = dy, at the entry that was the largest; 0 elsewhere   y, dy (n, out_h, out_w, c)

    Where windows overlap, an entry that wins several of them gets the sum of their gradients. Of equal entries the
    first wins, row by row. Padding never wins.

    Source: D. Scherer, A. Müller, S. Behnke, "Evaluation of Pooling Operations in Convolutional Architectures for
    Object Recognition", 2010, section 3.2.

    Args, Raises: see ``Pooling2D``.

    Example:
        >>> pool = MaxPooling2D(2)
        >>> pool.build((2, 2, 1), np.random.default_rng(0))
        (1, 1, 1)
        >>> y, cache = pool.forward(np.array([1.0, 4.0, 3.0, 2.0]).reshape(1, 2, 2, 1))
        >>> y.item()
        4.0
        >>> pool.backward(np.full((1, 1, 1, 1), 5.0), cache)[0].reshape(2, 2)
        array([[0., 5.],
               [0., 0.]])
    """

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        assert self.output_shape is not None, "check_input refuses a layer that is not built"
        y = np.empty((len(x), *self.output_shape), x.dtype)
        argmax = np.empty(y.shape, np.int32)
        kernels.max_pool(x, *self.window.size, *self.window.strides, self.pads, y, argmax)
        return y, (argmax, y, x.shape)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        argmax, y, x_shape = cache
        dx = np.empty(x_shape, y.dtype)
        kernels.max_pool_backward(self.check_gradient(dy, len(y), y.dtype), argmax, dx)
        return dx, {}

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        if self.window.overlaps:
            return self.backward(whole(dy), cache)  # type: ignore[return-value]
        argmax, y, x_shape = cache
        return PooledGradient(self.check_gradient(whole(dy), len(y), y.dtype), argmax, y, x_shape), {}

    def kernel_steps(self) -> list[Step] | None:
        return [Step(kernels.max_pool, window=self.window, pads=self.pads)]
