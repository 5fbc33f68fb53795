"""Average-pooling: a smaller image made of the mean of each window."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.layers.layer import Array, Gradients
from tinynet.layers.pooling import Pooling2D
from tinynet.layers.step import Step


class AveragePooling2D(Pooling2D):
    """Takes the mean of each window of an image, channel by channel.

        y[n, i, j, c] = mean over the window at (i, j) of x[n, :, :, c]      x, dx (n, h, w, c)
        dx            = dy / entries of its window, at each of them          y, dy (n, out_h, out_w, c)

    Where windows overlap, an entry gets its share of the gradient of each. With padding="same", a window that hangs
    over the edge takes the mean of its entries inside the image: the padding does not count.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
    1998, section II.B, where it is called subsampling.

    Args, Raises: see ``Pooling2D``.

    Example:
        >>> pool = AveragePooling2D(2)
        >>> pool.build((2, 2, 1), np.random.default_rng(0))
        (1, 1, 1)
        >>> y, cache = pool.forward(np.array([1.0, 4.0, 3.0, 2.0]).reshape(1, 2, 2, 1))
        >>> y.item()
        2.5
        >>> pool.backward(np.full((1, 1, 1, 1), 8.0), cache)[0].reshape(2, 2)
        array([[2., 2.],
               [2., 2.]])
    """

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        assert self.output_shape is not None, "check_input refuses a layer that is not built"
        y = np.empty((len(x), *self.output_shape), x.dtype)
        kernels.average_pool(x, *self.window.size, *self.window.strides, self.pads, y)
        return y, (x.shape, x.dtype)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        x_shape, dtype = cache
        dy = self.check_gradient(dy, x_shape[0], dtype)
        dx = np.empty(x_shape, dtype)
        kernels.average_pool_backward(dy, *self.window.size, *self.window.strides, self.pads, dx)
        return dx, {}

    def kernel_steps(self) -> list[Step] | None:
        return [Step(kernels.average_pool, window=self.window, pads=self.pads)]
