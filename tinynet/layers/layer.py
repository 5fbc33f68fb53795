"""The contract that every layer keeps, and the checks that they share.

A layer is a function ``y = f(x; params)`` that can be differentiated. Given the gradient ``dy`` of the loss with
respect to its output it returns, by the chain rule, the gradients with respect to its input and its parameters:

    output_shape = layer.build(input_shape, rng)   # shapes of one sample, without the batch axis; makes params
    y, cache  = layer.forward(x)                   # cache: whatever backward will need, returned, never kept on self
    dx, grads = layer.backward(dy, cache)          # grads: {"W": dW, "b": db}, the same keys as layer.params
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from tinynet.keras_names import OF_LAYERS
from tinynet.layers.outer_products import OuterProducts
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.layers.step import Step
from tinynet.regularizers import Regularizer
from tinynet.validation import FLOATS, are_finite_in, check_int, check_shape, check_writeable, reject_arguments

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Gradients = tuple[Any, dict[str, Array]]  # dx (None where it was not asked for), and grads by parameter name
UnsummedGradients = tuple[Any, dict[str, Array | OuterProducts]]  # dx: an array, or a PooledGradient


def check_parameter(layer: object, name: str, value: Any) -> None:
    """Raise TypeError unless a parameter is an array of floats: a user may have put something else in its place."""
    if not isinstance(value, np.ndarray) or value.dtype not in FLOATS:
        kind = f"a {value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(
            f"{layer}: the parameter {name} must be a float32 or float64 array, as build made it, got {kind}; "
            f'write into it: params["{name}"][...] = values.'
        )


class Layer:
    """One step of a network. Subclasses write ``make``, ``forward`` and ``backward``.

    The rules, for every layer:

    1. ``grads`` has the keys of ``params``, with the same shapes and dtypes; ``dx.shape == x.shape``.
    2. ``forward`` and ``backward`` change neither their arguments nor the layer, so one layer serves many threads.
    3. ``y`` and ``dx`` have the dtype of ``x``: float32 to train, float64 to check gradients.
    4. ``backward`` is linear in ``dy``, and nothing divides by the batch size: only the loss takes a mean.
    5. Randomness comes from the ``numpy.random.Generator`` that is passed in. ``build`` always gets one. A layer with
       ``random = True`` gets one in training too, as ``forward(x, rng)``; called as ``forward(x)``, to predict, it
       draws nothing.

    Args:
        name: how the layer is called in summaries and errors; a Sequential numbers unnamed layers ("dense_1").
        input_shape: shape of one sample, without the batch axis, for the first layer of a Sequential.

    Attributes:
        params: the parameters by name, {} where there are none. They are updated in place, never rebound.
        random: whether ``forward`` takes a generator as its second argument.
        regularizers: what the loss adds for a parameter, by its name; ``backward`` knows nothing of it.
        input_shape: shape of one input sample, once known.
        output_shape: shape of one output sample, once built (None before).
        keras_names: what Keras has under a name that is missing here, and what to use instead.

    Example:
        >>> class Double(Layer):
        ...     def make(self, input_shape, rng):
        ...         return input_shape
        ...     def forward(self, x):
        ...         return 2 * self.check_input(x), None
        ...     def backward(self, dy, cache, *, need_dx=True):
        ...         return 2 * dy, {}
        >>> from tinynet.gradient_check import check_gradients
        >>> check_gradients(Double(), (3,)).ok
        True
    """

    keras_names: Mapping[str, str] = OF_LAYERS
    _as_written: tuple[Any, ...] = ()
    _is_told_of_softmax = True  # whether ``before_softmax`` is of the class that ``forward`` is of, or of a derived one
    output_shape: Shape | None = None
    random: bool = False
    regularizers: Mapping[str, Regularizer] = MappingProxyType({})

    def __init__(self, *, name: str | None = None, input_shape: Sequence[int] | None = None, **unsupported: Any):
        owner = type(self).__name__
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"{owner}: name must be a non-empty string without '/', got {name!r}.")
        if "input_dim" in unsupported:
            if input_shape is not None:
                raise TypeError(
                    f"{owner} was given input_shape and input_dim, its old name for vectors; leave one out."
                )
            input_shape = (check_int(owner, "input_dim", unsupported.pop("input_dim")),)
        reject_arguments(
            owner,
            unsupported,
            only={"dtype": (None, "float32"), "trainable": (True,), "activity_regularizer": (None,)},
            hints={
                "batch_input_shape": "Write input_shape, without the batch axis.",
                "dtype": "Models train in float32; layer.astype('float64') makes a copy to check gradients with.",
            },
        )
        self.name = name
        self.input_shape: Shape | None = None if input_shape is None else check_shape(owner, "input_shape", input_shape)
        self.params: dict[str, Array] = {}

    # What a layer is -----------------------------------------------------------------------------------------------

    def build(self, input_shape: Sequence[int], rng: np.random.Generator) -> Shape:
        """Make the parameters, in float32, for samples of ``input_shape``, and return the shape of one output sample.

        Raises:
            ValueError: the layer cannot take this shape, or was built for another one already.
            TypeError: ``make`` returned no shape of positive integers.
        """
        shape = self.check_shape(input_shape)
        if self.output_shape is None:
            output_shape = self.make(shape, rng)
            sizes = output_shape if isinstance(output_shape, tuple) else [None]
            if not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
                raise TypeError(
                    f"{self}: make must return the shape of one output sample, such as (3,), got {output_shape!r}."
                )
            for key, param in self.params.items():
                if isinstance(param, np.ndarray) and param.dtype == np.float64:
                    self.params[key] = param.astype(np.float32)
            self.output_shape, self.input_shape = output_shape, shape
        return self.output_shape

    def check_shape(self, input_shape: Sequence[int]) -> Shape:
        """The shape as a tuple; ValueError where the layer takes another one."""
        shape = check_shape(str(self), "input_shape", input_shape)
        if self.input_shape is not None and self.input_shape != shape:
            raise ValueError(f"{self} takes samples of shape {self.input_shape}, got {shape}.")
        return shape

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        """Fill ``self.params`` for this input shape and return the output shape; called once, by ``build``."""
        raise NotImplementedError(f"{type(self).__name__} does not define make(input_shape, rng).")

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Return the output for a batch ``x`` (n, *input_shape), and the cache that ``backward`` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x).")

    def forward_with(self, x: Array, rng: np.random.Generator | None) -> tuple[Array, Any]:
        """``forward(x, rng)`` where the layer is random, ``forward(x)`` where it is not."""
        return self.forward(x, rng) if self.random else self.forward(x)  # type: ignore[call-arg]

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        """Return ``dx`` and the gradients of the parameters, from ``dy`` (n, *output_shape).

        With ``need_dx=False`` a layer whose ``dx`` costs work returns None for it: nobody reads the gradient of
        the first layer's input.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy, cache).")

    def before_softmax(self) -> Layer | None:
        """This layer up to its logits, sharing its parameters; None if it does not end in a softmax."""
        return None

    # Parameters ----------------------------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Always True. To set it to False raises a ValueError that says what to do instead."""
        return True

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not value:
            raise ValueError(
                f"{self}: trainable=False is not supported by tinynet, whose fit trains all layers. To leave some as "
                "they are, take the steps yourself: loss_and_gradients, then optimizer.step with the other parameters."
            )

    def count_params(self) -> int:
        """Number of trainable numbers in the layer; ValueError where it is not built."""
        if self.output_shape is None:
            raise ValueError(f"{self} has no parameters to count yet: give it an input shape, or data, first.")
        return sum(param.size for param in self.params.values())

    def get_weights(self) -> list[Array]:
        """Copies of the parameters, in Keras's order and layouts (kernel, then bias)."""
        return [param.copy() for param in self.params.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy ``weights`` (as ``get_weights`` returns them) into the parameters; all are checked before any changes.

        Raises:
            TypeError: ``weights`` is no list of arrays.
            ValueError: the layer is not built, the number of arrays or a shape does not fit, a number is too large for
                the dtype of the parameters, or a parameter is read-only.
        """
        if self.output_shape is None:
            raise ValueError(f"{self} has no weights yet: give it an input shape, or data, first.")
        try:
            arrays = [np.asarray(weight) for weight in weights]
        except (TypeError, ValueError):
            raise TypeError(f"{self}: set_weights takes a list of arrays, as get_weights returns them.") from None
        if len(arrays) != len(self.params):
            raise ValueError(f"{self}: set_weights takes {len(self.params)} arrays, got {len(arrays)}.")
        for (key, param), array in zip(self.params.items(), arrays, strict=True):
            if array.shape != param.shape or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"{self}: weight {key!r} is an array of numbers of shape {param.shape}, "
                    f"got shape {array.shape} and dtype {array.dtype}."
                )
            if np.isfinite(array).all() and not are_finite_in(param.dtype, array):
                raise ValueError(f"{self}: weight {key!r} has numbers that are too large for {param.dtype}.")
            check_writeable(str(self), f"weight {key!r}", param)
        for param, array in zip(self.params.values(), arrays, strict=True):
            param[...] = array

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """A copy of the layer whose parameters are float32 or float64: the latter to check gradients."""
        if np.dtype(dtype) not in FLOATS:
            raise ValueError(f"{self}: layers compute in float32 or float64, got {np.dtype(dtype)}.")
        twin = copy.deepcopy(self)
        converted: dict[int, tuple[Array, Array]] = {}  # by the old array, which must live on: an id may be used again
        for owner in [part.params for part in parts_of(twin) if isinstance(part.params, dict)]:
            for key, param in owner.items():  # a layer may have those of a layer that it is made of
                owner[key] = converted.setdefault(id(param), (param, param.astype(dtype)))[1]
        return twin

    # Checks that keep mistakes out of the kernels, which have no bounds checks of their own ---------------------------

    def check_input(self, x: Array) -> Array:
        """Return ``x`` as a C-contiguous array (itself if it is one); refuse what the layer cannot take."""
        if self.input_shape is None or self.output_shape is None:
            raise ValueError(f"{self} is not built: call build(input_shape, rng) first, or add it to a Sequential.")
        if not isinstance(x, np.ndarray) or x.dtype not in FLOATS:
            kind = f"{x.dtype} array" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"{self} takes a float32 or float64 array, got {kind}; x.astype('float32') converts it.")
        if x.shape[1:] != self.input_shape:
            expected = ", ".join(["n", *map(str, self.input_shape)])
            raise ValueError(f"{self} takes a batch of shape ({expected}), got {x.shape}.")
        return np.ascontiguousarray(x)

    def check_gradient(self, dy: Array, n: int, dtype: np.dtype[Any]) -> Array:
        """Return ``dy`` as a C-contiguous (n, *output_shape) array of ``dtype``; refuse another shape."""
        assert self.output_shape is not None, "backward needs the cache of a forward pass, which needs build"
        if np.shape(dy) != (n, *self.output_shape):
            raise ValueError(f"{self}: dy must have the shape of y, {(n, *self.output_shape)}, got {np.shape(dy)}.")
        return np.ascontiguousarray(dy, dtype)

    def grads_of(self, **grads: Array) -> dict[str, Array]:
        """The gradients by name, each in the dtype of its parameter; names that are no parameter are left out.

        ValueError where there is a parameter that has no gradient.
        """
        if missing := self.params.keys() - grads.keys():
            raise ValueError(
                f"{self} has parameters {sorted(self.params)}, but its backward pass knows no gradient of "
                f"{sorted(missing)}; derive a layer that has them, with passes of its own."
            )
        return {key: grads[key].astype(param.dtype, copy=False) for key, param in self.params.items()}

    def __str__(self) -> str:
        kind = type(self).__name__
        return f"{kind} {self.name!r}" if self.name else kind

    if not TYPE_CHECKING:  # to type checkers, any attribute would be there

        def __getattr__(self, name: str) -> Any:
            """For what is not found otherwise: names of Keras's have a hint what to use instead."""
            if name in self.keras_names and not hasattr(type(self), name):
                message = f"{type(self).__name__} has no {name} in tinynet. {self.keras_names[name]}"
                raise AttributeError(message, name=name, obj=self)
            return super().__getattribute__(name)  # raises once more what it was, also in a property

    # For speed, to be skipped at first -----------------------------------------------------------------------------

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        """``backward`` as the training loop calls it: for one shard of a batch, to whose gradients others are added.

        A parameter's gradient may be returned as ``OuterProducts``, where it is cheaper to add these up for all shards
        at once, and ``dx`` as a ``PooledGradient``, where most of it is zero.
        """
        return self.backward(whole(dy), cache, need_dx=need_dx)  # type: ignore[return-value]

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        passes = {"forward", "backward", "backward_unsummed"}
        first = next(kind for kind in cls.__mro__ if not passes.isdisjoint(vars(kind)))
        if "backward_unsummed" not in vars(first):  # the inherited one knows nothing of the passes defined here
            cls.backward_unsummed = Layer.backward_unsummed  # type: ignore[method-assign]
        cls._as_written = cls._passes()
        tells, computes = (
            next(kind for kind in cls.__mro__ if name in vars(kind)) for name in ("before_softmax", "forward")
        )
        cls._is_told_of_softmax = issubclass(tells, computes)

    @classmethod
    def _passes(cls) -> tuple[Any, ...]:
        """What this class's two passes are now."""
        return cls.forward, cls.backward, cls.backward_unsummed

    @classmethod
    def is_as_written(cls) -> bool:
        """Whether they are those that the class was written with: others may be put in their place, to try things."""
        return cls._passes() == cls._as_written

    def backward_is_replaced(self) -> bool:
        """Whether ``backward`` was replaced, in the layer or its class: ``backward_unsummed`` does something else."""
        return "backward" in vars(self) or type(self).backward is not self._as_written[1]

    def kernel_steps(self) -> list[Step] | None:
        """The calls of kernels that do what ``forward(x)`` does: [] for the identity, None if kernels alone cannot.

        That holds for the class that defines it, not for those derived from it, which may compute something else.
        """
        return None


def before_softmax_of(layer: Layer) -> Layer | None:
    """Its ``before_softmax()``; None where a pass may do something else: see ``steps_of``.

    (A pass that was put into the layer itself knows that layer, and not the one before the softmax.)
    """
    kind = type(layer)
    is_whole = not {"forward", "backward", "backward_unsummed"} & vars(layer).keys()
    its_own = is_whole and kind._is_told_of_softmax and kind.forward is kind._as_written[0]
    return layer.before_softmax() if its_own else None


def parts_of(layer: Layer) -> list[Layer]:
    """A layer and those that it is made of, such as an activation or a network's layers, each once."""
    found: dict[int, Layer] = {}
    todo: list[Any] = [layer]
    while todo:
        part = todo.pop()
        if isinstance(part, Layer) and id(part) not in found:
            found[id(part)] = part
            todo += vars(part).values()
        elif isinstance(part, (list, tuple)):
            todo += [item for item in part if isinstance(item, Layer)]
    return list(found.values())
