"""Activations: functions without parameters, of each number (ReLU, tanh, sigmoid) or of each row (softmax)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.layers.layer import Array, Gradients, Layer, Shape, UnsummedGradients, before_softmax_of
from tinynet.layers.pooled_gradient import PooledGradient
from tinynet.layers.step import Step, steps_of
from tinynet.validation import check_choice, reject_arguments


class Linear(Layer):
    """The identity, ``y = x``: what a layer without an activation has.

    Example:
        >>> linear = Linear()
        >>> linear.build((2,), np.random.default_rng(0))
        (2,)
        >>> linear.forward(np.array([[3.0, -4.0]]))[0]
        array([[ 3., -4.]])
    """

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        return x, (len(x), x.dtype)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        n, dtype = cache
        return self.check_gradient(dy, n, dtype), {}

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        return (dy, {}) if isinstance(dy, PooledGradient) else self.backward(dy, cache)  # type: ignore[return-value]

    def kernel_steps(self) -> list[Step] | None:
        return []


class ReLU(Layer):
    """Rectified linear unit: keeps what is positive, and makes the rest zero.

        y  = np.maximum(x, 0)        x, y, dx, dy (n, ...)
        dx = dy * (y > 0)

    At 0 itself, where there is no slope, the gradient is 0. NaN stays NaN.

    Source: V. Nair and G. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.

    Example:
        >>> relu = ReLU()
        >>> relu.build((3,), np.random.default_rng(0))
        (3,)
        >>> y, cache = relu.forward(np.array([[-1.0, 0.0, 2.0]]))
        >>> y
        array([[0., 0., 2.]])
        >>> relu.backward(np.array([[5.0, 6.0, 7.0]]), cache)[0]
        array([[0., 0., 7.]])
    """

    def __init__(self, *, name: str | None = None, input_shape: Sequence[int] | None = None, **unsupported: Any):
        plain = {"max_value": (None,), "negative_slope": (None, 0, 0.0), "threshold": (None, 0, 0.0)}
        reject_arguments("ReLU", {key: unsupported.pop(key) for key in plain if key in unsupported}, only=plain)
        super().__init__(name=name, input_shape=input_shape, **unsupported)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        y = np.empty_like(x)
        kernels.relu(x.reshape(-1), y.reshape(-1))
        return y, y

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        y = cache
        return _where_positive(self.check_gradient(dy, len(y), y.dtype), y), {}

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        if isinstance(dy, PooledGradient):  # ``largest`` is y at the winners of the windows
            return dy.with_numbers(_where_positive(dy.numbers, dy.largest)), {}
        return self.backward(dy, cache)  # type: ignore[return-value]

    def kernel_steps(self) -> list[Step] | None:
        return [Step(kernels.relu)]


def _where_positive(dy: Array, y: Array) -> Array:
    """dy * (y > 0)"""
    dx = np.empty_like(dy)
    kernels.relu_backward(dy.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


class Tanh(Layer):
    """Hyperbolic tangent: an S-shaped curve through 0, from -1 to 1.

        y  = np.tanh(x)            x, y, dx, dy (n, ...)
        dx = dy * (1 - y**2)

    Source: Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, "Efficient BackProp", 1998, section 4.4.

    Example:
        >>> tanh = Tanh()
        >>> tanh.build((3,), np.random.default_rng(0))
        (3,)
        >>> tanh.forward(np.array([[-100.0, 0.0, 0.5]]))[0].round(4)
        array([[-1.    ,  0.    ,  0.4621]])
    """

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        y = np.tanh(self.check_input(x))
        return y, y

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        y = cache
        dy = self.check_gradient(dy, len(y), y.dtype)
        return dy * (1 - y**2), {}


class Sigmoid(Layer):
    """The logistic function: an S-shaped curve from 0 to 1.

        y  = 1 / (1 + exp(-x))     x, y, dx, dy (n, ...)
        dx = dy * y * (1 - y)

    It is computed as exp(x) / (exp(x) + 1), which is the same, where x is negative: exp never overflows.

    Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", 1986,
    equation 2.

    Example:
        >>> sigmoid = Sigmoid()
        >>> sigmoid.build((3,), np.random.default_rng(0))
        (3,)
        >>> sigmoid.forward(np.array([[-1000.0, 0.0, 1.0]]))[0].round(4)
        array([[0.    , 0.5   , 0.7311]])
    """

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        with np.errstate(under="ignore"):  # it is 0 then, as it should be
            z = np.exp(-np.abs(x))
        y = np.where(x >= 0, x.dtype.type(1), z) / (1 + z)
        return y, y

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        y = cache
        dy = self.check_gradient(dy, len(y), y.dtype)
        return dy * y * (1 - y), {}


class Softmax(Layer):
    """Turns each row of logits into probabilities that sum to one.

        y  = exp(x) / exp(x).sum(axis=-1, keepdims=True)           x, y (..., classes)
        dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    ``dx`` is the product of dy with the Jacobian: the derivative of y[i] with respect to x[j] is
    y[i] * ((i == j) - y[j]). The row maximum is subtracted first, which changes nothing in y and keeps exp from
    overflowing. (In training, a final softmax and the cross-entropy are differentiated together: see ``losses.py``.)

    Source: I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, sections 4.1 and 6.2.2.3.

    Example:
        >>> softmax = Softmax()
        >>> softmax.build((2,), np.random.default_rng(0))
        (2,)
        >>> softmax.forward(np.array([[0.0, 0.0], [1000.0, 0.0]]))[0]
        array([[0.5, 0.5],
               [1. , 0. ]])
    """

    def __init__(
        self,
        axis: int = -1,
        *,
        name: str | None = None,
        input_shape: Sequence[int] | None = None,
        **unsupported: Any,
    ):
        reject_arguments("Softmax", {"axis": axis}, only={"axis": (-1,)})
        super().__init__(name=name, input_shape=input_shape, **unsupported)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        y = np.empty_like(x)
        k = x.shape[-1]
        kernels.softmax(x.reshape(-1, k), y.reshape(-1, k))
        return y, y

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        y = cache
        dy = self.check_gradient(dy, len(y), y.dtype)
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True)), {}

    def kernel_steps(self) -> list[Step] | None:
        return [Step(kernels.softmax)]

    def before_softmax(self) -> Layer | None:
        return _built_like(Linear(name=self.name), self)


class Activation(Layer):
    """An activation by name: ``Activation("relu")``, ``"tanh"``, ``"sigmoid"``, ``"softmax"`` or ``"linear"``.

    Example:
        >>> Activation("relu").function
        <tinynet.layers.activation.ReLU object at ...>

    Raises:
        ValueError: the name is not known; it lists those that are.
    """

    def __init__(
        self,
        activation: str | Layer | None,
        *,
        name: str | None = None,
        input_shape: Sequence[int] | None = None,
        **unsupported: Any,
    ):
        super().__init__(name=name, input_shape=input_shape, **unsupported)
        self.function = make_activation("Activation", activation)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return self.function.build(input_shape, rng)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return self.function.forward(self.check_input(x))

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        return self.function.backward(dy, cache)

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        return self.function.backward_unsummed(dy, cache)

    def kernel_steps(self) -> list[Step] | None:
        return steps_of(self.function)

    def before_softmax(self) -> Layer | None:
        return before_softmax_of(self.function)


ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "linear": Linear,
}


def make_activation(owner: str, activation: str | Layer | None) -> Layer:
    """The activation layer for a name, None ("linear") or a layer such as ``ReLU()``.

    Raises:
        ValueError: the name is not known.
        TypeError: it is neither a name nor an activation layer.
    """
    if activation is None:
        return Linear()
    if isinstance(activation, str):
        check_choice(owner, "activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]()
    is_input = isinstance(activation, Layer) and activation.input_shape is not None and activation.output_shape is None
    if isinstance(activation, tuple(ACTIVATIONS.values())) and not is_input:
        twin = copy.deepcopy(activation)  # one layer may be given for several, and classes be derived from these
        twin.input_shape = twin.output_shape = None
        return twin
    raise TypeError(
        f"{owner}: activation must be one of {', '.join(map(repr, ACTIVATIONS))} or None, got {activation!r}."
    )


def _built_like(layer: Layer, other: Layer) -> Layer:
    layer.input_shape, layer.output_shape = other.input_shape, other.output_shape
    return layer
