"""What Dense and Conv2D share: a kernel W, a bias b, and an activation applied to the weighted sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinynet.initializers import Initializer, get_initializer
from tinynet.layers.activation import ReLU, make_activation
from tinynet.layers.layer import Array, Layer, Shape, check_parameter
from tinynet.layers.step import Step, steps_of
from tinynet.regularizers import Regularizer, get_regularizer
from tinynet.validation import check_flag, reject_arguments

_ONLY_NONE = "bias_regularizer", "kernel_constraint", "bias_constraint"


class Weighted(Layer):
    """Base of the layers that compute ``activation(x * W + b)``, with * a matrix product or a convolution.

    Args:
        activation: "relu", "tanh", "sigmoid", "softmax", "linear", None (the same as "linear"), or an activation layer.
        use_bias: whether there is a ``b`` to add.
        kernel_initializer: name of, or instance from, ``tinynet.initializers``.
        bias_initializer: the same for the bias.
        kernel_regularizer: "l2", ``L2(...)`` from ``tinynet.regularizers``, or None.
        name, input_shape: see ``Layer``.
    """

    def __init__(
        self,
        *,
        activation: str | Layer | None,
        use_bias: bool,
        kernel_initializer: str | Initializer,
        bias_initializer: str | Initializer,
        kernel_regularizer: str | Regularizer | None,
        name: str | None,
        input_shape: Sequence[int] | None,
        **unsupported: Any,
    ):
        owner = type(self).__name__
        others = {key: unsupported.pop(key) for key in _ONLY_NONE if key in unsupported}
        reject_arguments(owner, others, only=dict.fromkeys(_ONLY_NONE, (None,)))
        super().__init__(name=name, input_shape=input_shape, **unsupported)
        self.activation = activation
        self.use_bias = check_flag(owner, "use_bias", use_bias)
        self.kernel_initializer = get_initializer(owner, "kernel_initializer", kernel_initializer)
        self.bias_initializer = get_initializer(owner, "bias_initializer", bias_initializer)
        self.kernel_regularizer = kernel_regularizer

    @property
    def activation(self) -> Layer:
        """What is applied to the weighted sums; it can be set, to a name as well."""
        return self._activation

    @activation.setter
    def activation(self, activation: str | Layer | None) -> None:
        made = make_activation(type(self).__name__, activation)
        if self.output_shape is not None:
            made.build(self.output_shape, np.random.default_rng(0))  # there is nothing to draw
        self._activation = made

    @property
    def kernel_regularizer(self) -> Regularizer | None:
        """What the loss adds for W; it can be set, to a name as well."""
        return self.regularizers.get("W")

    @kernel_regularizer.setter
    def kernel_regularizer(self, regularizer: str | Regularizer | None) -> None:
        found = get_regularizer(type(self).__name__, "kernel_regularizer", regularizer)
        others = {key: other for key, other in self.regularizers.items() if key != "W"}
        self.regularizers = others if found is None else {"W": found, **others}

    def make_weights(self, kernel_shape: Shape, output_shape: Shape, rng: np.random.Generator) -> Shape:
        """Draw W (and b, one for each entry of the kernel's last axis), and build the activation."""
        self.params["W"] = self.kernel_initializer(kernel_shape, rng)
        if self.use_bias:
            self.params["b"] = self.bias_initializer(kernel_shape[-1:], rng)
        return self.activation.build(output_shape, rng)

    @property
    def kernel_shape(self) -> Shape:
        """The shape of W, once the layer is built."""
        raise NotImplementedError(f"{type(self).__name__} does not define kernel_shape.")

    def weights_as(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """(W, b) in the dtype of the input, row by row as kernels need them; without a bias, b is zero.

        Raises:
            ValueError: W or b was replaced by an array of another shape, beyond which kernels would read.
            TypeError: one was replaced by something that is no array of floats, or is missing.
        """
        for name in self._names():
            check_parameter(self, name, self.params.get(name))
        W = self.params["W"]
        b = self.params["b"] if self.use_bias else np.zeros(W.shape[-1:], dtype)
        expected = self.kernel_shape
        if W.shape != expected or b.shape != expected[-1:]:
            raise ValueError(
                f"{self} was built for W of shape {expected} and b of shape {expected[-1:]}; "
                f"now there are arrays of shapes {W.shape} and {b.shape} in their place."
            )
        W, b = (array.astype(dtype, order="C", copy=not array.flags.aligned) for array in (W, b))
        return W, b

    def _names(self) -> Sequence[str]:
        return ("W", "b") if self.use_bias else ("W",)

    @property
    def least(self) -> float:
        """The lower bound that kernels put on the weighted sums: 0 makes them a ReLU, minus infinity is none."""
        return 0.0 if type(self.activation) is ReLU else -math.inf

    def activate(self, y: Array) -> tuple[Array, Any]:
        """Apply the activation to the weighted sums, if it is no ReLU, which they had before; returns (y, cache)."""
        return (y, y) if type(self.activation) is ReLU else self.activation.forward(y)

    def steps_from(self, kernel: Callable[..., Any], **window: Any) -> list[Step] | None:
        """The kernel of the weighted sums, which does ReLU as well, and then those of another activation."""
        if not all(isinstance(self.params.get(name), np.ndarray) for name in self._names()):
            return None  # and ``weights_as`` says what is wrong
        W = self.params["W"]
        b = self.params["b"] if self.use_bias else np.zeros(W.shape[-1:], W.dtype)
        after = [] if self.least == 0 else steps_of(self.activation)
        return None if after is None else [Step(kernel, W, b, self.least, **window), *after]
