"""Two-dimensional convolution: the same small filters looked for at every place of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.initializers import Initializer
from tinynet.layers.convolution import (
    bias_gradient,
    convolve,
    input_gradient,
    reads_in_place,
    shares_products,
    weight_gradient,
)
from tinynet.layers.layer import Array, Gradients, Layer, Shape, UnsummedGradients
from tinynet.layers.pooled_gradient import PooledGradient
from tinynet.layers.step import Step
from tinynet.layers.weighted import Weighted
from tinynet.layers.window import Window, Windowed
from tinynet.regularizers import Regularizer
from tinynet.validation import check_int, reject_arguments


class Conv2D(Windowed, Weighted):
    """Slides ``filters`` small windows of weights over an image; each gives one channel of the output.

    With the patch under each position of the window as a row of ``patches`` (see ``im2col`` in ``reference.py``), and
    each filter as a column of ``W``, a convolution is one matrix product:

        x        (n, h, w, c), with the zeros of padding="same" around it
        patches  (n * out_h * out_w, k_h * k_w * c)
        W        (k_h, k_w, c, filters), as (k_h * k_w * c, filters) in the products
        b        (filters,)
        y        (n, out_h, out_w, filters), as (n * out_h * out_w, filters) in the products

        y  = patches @ W + b               patches = im2col(x)
        dW = patches.T @ dy                db = dy.sum(axis=0)
        dx = col2im(dy @ W.T)              without the padding

    with ``activation`` applied to y, and its backward pass to dy first. As everywhere in deep learning, the filter is
    not flipped: strictly speaking this is a cross-correlation.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
    1998, section II.A.

    Args:
        filters: number of filters, and so of output channels.
        kernel_size: rows and columns of a filter; one integer means both.
        strides: steps of the window in rows and columns; one integer means both.
        padding: "valid" (the window stays inside the image) or "same" (see ``window.py``).
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, input_shape, name: see
            ``Weighted``.

    Raises:
        ValueError: an argument is out of range, or the input is not an image that the filters fit into.
        TypeError: an argument has the wrong type or is not known.

    Example:
        >>> conv = Conv2D(20, 5, padding="same")
        >>> conv.build((28, 28, 1), np.random.default_rng(0))
        (28, 28, 20)
        >>> {name: param.shape for name, param in conv.params.items()}
        {'W': (5, 5, 1, 20), 'b': (20,)}
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        *,
        activation: str | Layer | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ):
        only_choices: dict[str, Sequence[Any]] = {
            "data_format": (None, "channels_last"),
            "dilation_rate": (1, (1, 1)),
            "groups": (1,),
        }
        options = {key: unsupported.pop(key) for key in only_choices if key in unsupported}
        reject_arguments("Conv2D", options, only=only_choices)
        super().__init__(
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            input_shape=input_shape,
            name=name,
            **unsupported,
        )
        self.filters = check_int("Conv2D", "filters", filters)
        self.window = Window.checked("Conv2D", "kernel_size", kernel_size, strides, padding)

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Rows and columns of a filter."""
        return self.window.size

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        self.pads = (top, bottom), (left, right) = self.window.pads(str(self), input_shape)
        h, w, c = input_shape
        output_shape = (*self.window.output_size(top + h + bottom, left + w + right), self.filters)
        return self.make_weights((*self.window.size, c, self.filters), output_shape, rng)

    @property
    def kernel_shape(self) -> Shape:
        return (*self.window.size, *(self.input_shape or ())[-1:], self.filters)

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        W, b = self.weights_as(x.dtype)
        sums = convolve(x, W, b, self.window, self.pads, self.least)  # np.maximum(im2col(x) @ W + b, self.least)
        y, activation_cache = self.activate(sums)
        return y, (x, activation_cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        x, activation_cache = cache
        dy, _ = self.activation.backward(self.check_gradient(dy, len(x), x.dtype), activation_cache)
        return self._to_gradients(x, dy, need_dx)

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        if not isinstance(dy, PooledGradient):
            return self.backward(dy, cache, need_dx=need_dx)  # type: ignore[return-value]
        x, activation_cache = cache
        dy, _ = self.activation.backward_unsummed(dy, activation_cache)
        return self._to_gradients(x, dy, need_dx)  # type: ignore[return-value]

    def _to_gradients(self, x: Array, dy: Array | PooledGradient, need_dx: bool) -> Gradients:
        """dx, dW and db from the gradient dy of the weighted sums."""
        W, _ = self.weights_as(x.dtype)
        dW = weight_gradient(x, dy, W.shape, self.window, self.pads)  # im2col(x).T @ dy
        db = bias_gradient(dy)  # dy.sum(axis=(0, 1, 2))
        dx = input_gradient(dy, W, x.shape, self.window, self.pads) if need_dx else None  # col2im(dy @ W.T)
        return dx, self.grads_of(W=dW, b=db)

    def kernel_steps(self) -> list[Step] | None:
        W = self.params.get("W")
        assert self.output_shape is not None, "a network builds its layers first"
        if not isinstance(W, np.ndarray) or W.shape != self.kernel_shape or not reads_in_place(W):
            return None  # ``forward`` says what is wrong, or goes another way
        kernel = kernels.winograd if shares_products(W, self.window, self.output_shape[:2]) else kernels.convolve
        return self.steps_from(kernel, window=self.window, pads=self.pads)
