"""Max-pooling: a smaller image made of the largest value in each window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.layers.layer import Array, Gradients, Layer, Shape
from tinynet.layers.window import Window
from tinynet.validation import check_choice, check_pair, reject_arguments


class MaxPooling2D(Layer):
    """Keeps the largest value in each window of an image, channel by channel.

        y[n, i, j, c] = max over the window at (i, j) of x[n, :, :, c]       x, dx (n, h, w, c)
        dx            = dy, at the entry that was the largest; 0 elsewhere   y, dy (n, out_h, out_w, c)

    Where windows overlap, an entry that wins several of them gets the sum of their gradients. Of equal entries the
    first wins, row by row. Padding never wins.

    Source: D. Scherer, A. Müller, S. Behnke, "Evaluation of Pooling Operations in Convolutional Architectures for
    Object Recognition", 2010, section 3.2.

    Args:
        pool_size: rows and columns of the window; one integer means both.
        strides: steps of the window; ``pool_size`` by default.
        padding: "valid" or "same" (see ``window.py``).
        input_shape, name: see ``Layer``.

    Raises:
        ValueError: an argument is out of range, or the input is not an image that the window fits into.
        TypeError: an argument has the wrong type or is not known.

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

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        *,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ):
        data_format = {"data_format": unsupported.pop("data_format", None)}
        reject_arguments("MaxPooling2D", data_format, only={"data_format": (None, "channels_last")})
        super().__init__(input_shape=input_shape, name=name, **unsupported)
        check_choice("MaxPooling2D", "padding", padding, ("valid", "same"))
        size = check_pair("MaxPooling2D", "pool_size", pool_size)
        self.window = Window(size, size if strides is None else check_pair("MaxPooling2D", "strides", strides), padding)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        self.pads = (top, bottom), (left, right) = self.window.pads(str(self), input_shape)
        h, w, c = input_shape
        return (*self.window.output_size(top + h + bottom, left + w + right), c)

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        assert self.output_shape is not None, "check_input refuses a layer that is not built"
        y = np.empty((len(x), *self.output_shape), x.dtype)
        argmax = np.empty(y.shape, np.int32)
        kernels.max_pool(x, *self.window.size, *self.window.strides, self.pads, y, argmax)
        return y, (argmax, x.shape, x.dtype)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        argmax, x_shape, dtype = cache
        dy = self.check_gradient(dy, len(argmax), dtype)
        dx = np.empty(x_shape, dtype)
        kernels.max_pool_backward(dy, argmax, dx)
        return dx, {}
