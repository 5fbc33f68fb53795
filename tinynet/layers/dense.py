"""Fully connected layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.initializers import Initializer
from tinynet.layers.layer import Array, Gradients, Layer, Shape, UnsummedGradients, before_softmax_of
from tinynet.layers.outer_products import OuterProducts, is_large
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.layers.products import sum_rows, times, times_transposed, transposed_times
from tinynet.layers.step import Step
from tinynet.layers.weighted import Weighted
from tinynet.regularizers import Regularizer
from tinynet.validation import check_int


class Dense(Weighted):
    """Fully connected layer: ``units`` weighted sums of all inputs, plus a bias.

        y  = x @ W + b      x (n, in)   W (in, units)   b (units,)   y (n, units)
        dW = x.T @ dy       db = dy.sum(axis=0)         dx = dy @ W.T

    with ``activation`` applied to y, and its backward pass to dy first.

    Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", 1986.

    Args:
        units: number of outputs.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, input_shape, name: see
            ``Weighted``.

    Raises:
        ValueError: an argument is out of range, or the input is not a vector (put ``Flatten()`` before).
        TypeError: an argument has the wrong type or is not known.

    Example:
        >>> dense = Dense(2, kernel_initializer="ones")
        >>> dense.build((3,), np.random.default_rng(0))
        (2,)
        >>> y, cache = dense.forward(np.array([[1.0, 2.0, 3.0]]))
        >>> y
        array([[6., 6.]])
        >>> dx, grads = dense.backward(np.array([[1.0, 10.0]]), cache)
        >>> dx
        array([[11., 11., 11.]])
        >>> grads["W"]
        array([[ 1., 10.],
               [ 2., 20.],
               [ 3., 30.]], dtype=float32)
    """

    def __init__(
        self,
        units: int,
        activation: str | Layer | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | Initializer = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ):
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
        self.units = check_int("Dense", "units", units)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"{self} takes vectors, got samples of shape {input_shape}; add a Flatten() layer before it."
            )
        return self.make_weights((*input_shape, self.units), (self.units,), rng)

    @property
    def kernel_shape(self) -> Shape:
        return (*(self.input_shape or ()), self.units)

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        W, b = self.weights_as(x.dtype)
        y, activation_cache = self.activate(times(x, W, b, self.least))  # np.maximum(x @ W + b, self.least)
        return y, (x, activation_cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        x, dy = self._before_activation(dy, cache)
        W, _ = self.weights_as(x.dtype)
        dW = transposed_times(x, dy)  # x.T @ dy
        db = sum_rows(dy)  # dy.sum(axis=0)
        dx = times_transposed(dy, W) if need_dx else None  # dy @ W.T
        return dx, self.grads_of(W=dW, b=db)

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        dy = whole(dy)
        if not is_large(self.params["W"]):
            return self.backward(dy, cache, need_dx=need_dx)  # type: ignore[return-value]
        x, dy = self._before_activation(dy, cache)
        W, _ = self.weights_as(x.dtype)
        dx = times_transposed(dy, W) if need_dx else None
        grads: dict[str, Array | OuterProducts] = {"W": OuterProducts(x, dy), "b": sum_rows(dy)}
        return dx, {key: grads[key] for key in self.params}

    def kernel_steps(self) -> list[Step] | None:
        return self.steps_from(kernels.matmul)

    def before_softmax(self) -> Layer | None:
        linear = before_softmax_of(self.activation)
        if linear is None:
            return None
        twin = copy.copy(self)
        twin._activation = linear
        return twin

    def _before_activation(self, dy: Array, cache: Any) -> tuple[Array, Array]:
        """x, and dy taken back through the activation, to the weighted sums."""
        x, activation_cache = cache
        dy, _ = self.activation.backward(self.check_gradient(dy, len(x), x.dtype), activation_cache)
        return x, dy
