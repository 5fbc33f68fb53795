"""What all optimizers share: the learning rate, weight decay, the checks of a step, and a state that can be saved."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.layers.outer_products import OuterProducts
from tinynet.optimizers.schedules import LearningRateSchedule
from tinynet.validation import FLOATS, check_number, reject_arguments

Array = npt.NDArray[Any]
Update = TypeVar("Update", bound=Callable[..., None])
Part = tuple[Array, Callable[[], Array], list[Array]]  # of a parameter; its gradient, once called; what is remembered


def elementwise(update: Update) -> Update:
    """Decorator: says that an ``update`` treats each number by itself, whatever the others are.

    ``step`` may then give it a large parameter some rows at a time, on several threads, each as soon as its part of the
    gradient is computed. That is faster than to wait for the whole gradient, which does not fit into the cache.

    Example:
        >>> class SignDescent(Optimizer):
        ...     @elementwise
        ...     def update(self, w, g, lr, *remembered):
        ...         w -= lr * np.sign(g)
        >>> SignDescent(0.5).takes_outer_products
        True
    """
    update.elementwise = True  # type: ignore[attr-defined]
    return update


def _one_by_one(function: Callable[[Part], None], parts: Iterable[Part]) -> None:
    for part in parts:
        function(part)


class Optimizer:
    """Base class. A subclass writes ``update``, and names in ``slots`` what it remembers of each parameter.

    If ``update`` treats each number by itself, it may be decorated with ``elementwise``, which makes it faster.

    For each parameter w with gradient g, at the learning rate lr of this step:

        w = w - lr * weight_decay * w                  if weight_decay
        update(w, g, lr, *remembered)                  remembered: an array like w for each of the slots

    Source: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2019, section 2 (weight decay).

    Args:
        learning_rate: a number, or a schedule from ``tinynet.optimizers.schedules``. ``lr`` is its old name.
        weight_decay: share of each weight taken away per step, times the learning rate; None for none.

    Attributes:
        iterations: number of steps taken.
        slots: names of the attributes that hold arrays by parameter name.

    Raises:
        ValueError, TypeError: an argument is out of range, of the wrong type, or one that only Keras has.

    Example:
        >>> class SignDescent(Optimizer):
        ...     def update(self, w, g, lr, *remembered):
        ...         w -= lr * np.sign(g)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> SignDescent(0.5).step(params, {"w": np.array([0.1, -100.0])})
        >>> params["w"]
        array([0.5, 2.5])
    """

    slots: tuple[str, ...] = ()
    _model: object = None  # whose parameters it has updated

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule,
        weight_decay: float | None = None,
        **unsupported: Any,
    ):
        owner = type(self).__name__
        if "lr" in unsupported:
            default = inspect.signature(type(self)).parameters.get("learning_rate")
            if default is None or learning_rate != default.default:
                raise TypeError(f"{owner} was given learning_rate and lr, its old name; leave one out.")
            learning_rate = unsupported.pop("lr")
        self.name = unsupported.pop("name", owner)
        reject_arguments(
            owner,
            unsupported,
            only={
                "clipnorm": (None,),
                "clipvalue": (None,),
                "global_clipnorm": (None,),
                "use_ema": (False,),
                "ema_momentum": (0.99,),
                "ema_overwrite_frequency": (None,),
                "loss_scale_factor": (None,),
                "gradient_accumulation_steps": (None,),
                "decay": (0, 0.0),
            },
            hints={"decay": "Use learning_rate=ExponentialDecay(...) from tinynet.optimizers.schedules."},
        )
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else check_number(owner, "weight_decay", weight_decay, low=0)
        self.iterations = 0
        for slot in self.slots:
            setattr(self, slot, {})

    @property
    def learning_rate(self) -> float:
        """The rate of the next step. It can be set; but, as in Keras, not to a number where it follows a schedule."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            return check_number(type(rate).__name__, "the learning rate", rate(self.iterations), low=0)
        return rate

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule) -> None:
        if not isinstance(value, LearningRateSchedule):
            value = check_number(type(self).__name__, "learning_rate", value, low=0)
            self.refuse_schedule(type(self).__name__)
        self._learning_rate = value

    lr = learning_rate

    def refuse_other_model(self, model: object) -> None:
        """Raise ValueError if it has trained another model: what it remembers belongs to that one's parameters."""
        if self._model is not None and self._model is not model:
            raise ValueError(
                f"This {type(self).__name__} has trained another model, and remembers what it did there; "
                "give every model an optimizer of its own."
            )

    def belong_to(self, model: object) -> None:
        """From now on, serve this model alone.

        Raises:
            ValueError: it is another's.
        """
        self.refuse_other_model(model)
        self._model = model

    def refuse_schedule(self, owner: str) -> None:
        """Raise TypeError where the learning rate follows a schedule, which the owner would end."""
        rate = getattr(self, "_learning_rate", None)
        if isinstance(rate, LearningRateSchedule):
            raise TypeError(
                f"{owner}: the learning rate follows a {type(rate).__name__}, so it cannot be set to a number; "
                "set it to another schedule, or compile with an optimizer that begins with a number."
            )

    @property
    def state(self) -> dict[str, Array]:
        """What the optimizer remembers, as "slot/parameter name": the arrays themselves. Empty before the first step.

        With ``iterations`` it is all that a later step depends on. Setting it replaces everything that is remembered
        with copies of the arrays given; ValueError for a key that begins with no slot of this optimizer.
        """
        return {f"{slot}/{name}": array for slot in self.slots for name, array in getattr(self, slot).items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        arrays: dict[str, dict[str, Array]] = {slot: {} for slot in self.slots}
        for key, array in state.items():
            slot, _, name = key.partition("/")
            if slot not in arrays or not name:
                raise ValueError(
                    f"{type(self).__name__}: {key!r} is no part of its state, which is named "
                    f"{' or '.join(f'{slot}/...' for slot in self.slots) or 'nothing'}."
                )
            arrays[slot][name] = np.array(array, order="C")
        for slot in self.slots:
            setattr(self, slot, arrays[slot])

    def step(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array | OuterProducts],
        run_all: Callable[[Callable[[Part], None], list[Part]], object] = _one_by_one,
    ) -> None:
        """Update every array in ``params`` in place from the gradient of the same name and shape.

        Where ``takes_outer_products``, a gradient may be ``OuterProducts``. ``run_all(function, parts)`` calls the
        function for each of the parts, in any order or on several threads.

        Raises:
            ValueError: the names or shapes of the two differ, a parameter is read-only, or the parameters are not those
                of earlier steps.
            TypeError: a parameter is no array of float32 or float64.
        """
        self._check_step(params, grads)
        lr, slots = self.learning_rate, self.slots_in_use()
        parts: list[Part] = []
        for name, w in params.items():
            grad, remembered = grads[name], [self._remembered(slot, name, w) for slot in slots]
            if isinstance(grad, OuterProducts):
                parts += [
                    (w[i], functools.partial(grad.sum, i), [each[i] for each in remembered]) for i in grad.parts()
                ]
            else:
                parts.append((w, functools.partial(_in_rows, grad, w.dtype), remembered))

        def move(part: Part) -> None:
            w, gradient, remembered = part
            in_rows, g = _in_rows(w, w.dtype), gradient()
            if self.weight_decay:
                kernels.decay(in_rows, lr * self.weight_decay)
            self.update(in_rows, g, lr, *remembered)
            if not w.flags.c_contiguous:
                w[...] = in_rows

        run_all(move, parts)
        self.iterations += 1

    @property
    def takes_outer_products(self) -> bool:
        """Whether ``step`` can work out some rows of a gradient after others: if ``update`` is ``elementwise``."""
        is_own = type(self).step is Optimizer.step and "step" not in vars(self)
        return is_own and getattr(self.update, "elementwise", False)

    def update(self, w: Array, g: Array, lr: float, *remembered: Array) -> None:
        """Move the parameter ``w`` in place along its gradient ``g``, at the learning rate ``lr``.

        All arrays are C-contiguous, of the shape and dtype of ``w``: a parameter, or some of its rows, if this is
        ``elementwise``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update(w, g, lr, *remembered).")

    def _check_step(self, params: Mapping[str, Array], grads: Mapping[str, Array | OuterProducts]) -> None:
        owner = f"{type(self).__name__}.step"
        if params.keys() != grads.keys():
            raise ValueError(f"{owner}: gradients for {sorted(grads)}, but parameters {sorted(params)}.")
        for name, w in params.items():
            if not isinstance(w, np.ndarray) or w.dtype not in FLOATS:
                kind = getattr(w, "dtype", type(w).__name__)
                raise TypeError(f"{owner}: parameters are arrays of float32 or float64, but {name} is {kind}.")
            if not w.flags.writeable:
                raise ValueError(f"{owner}: {name} is read-only, so it cannot be updated in place; copy it.")
            if getattr(grads[name], "shape", None) != w.shape:
                shape = getattr(grads[name], "shape", f"is no array, but {type(grads[name]).__name__}")
                raise ValueError(f"{owner}: {name} has shape {w.shape}, its gradient {shape}.")
            for slot in self.slots:
                remembered = getattr(self, slot).get(name, w)
                if remembered.shape != w.shape:
                    raise ValueError(
                        f"{owner}: {name} has shape {w.shape}, but had {remembered.shape} in earlier steps; "
                        "give every model an optimizer of its own, and a new one when its layers have changed."
                    )

    def slots_in_use(self) -> tuple[str, ...]:
        """The slots whose arrays ``update`` is given: all, unless a subclass says otherwise."""
        return self.slots

    def _remembered(self, slot: str, name: str, w: Array) -> Array:
        """The array that ``slot`` holds for the parameter ``w``, in its dtype; it starts at zero."""
        arrays: dict[str, Array] = getattr(self, slot)
        if name not in arrays:
            arrays[name] = np.zeros(w.shape, w.dtype)
        elif arrays[name].dtype != w.dtype:  # the model is a copy in another dtype, made by ``astype``
            arrays[name] = arrays[name].astype(w.dtype)
        return arrays[name]


def _in_rows(array: Array, dtype: np.dtype[Any]) -> Array:
    """``array`` row by row in memory, as kernels need it: itself, or a copy."""
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    return np.ascontiguousarray(array, dtype).reshape(array.shape)
