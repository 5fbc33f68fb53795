"""Layers, optimizers and the like as plain data for JSON, and back.

An object is written as its class and the arguments that its constructor would need:

    {"class": "MaxPooling2D", "arguments": {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid", ...}}

Reading one calls the constructor of a class that tinynet knows, with arguments that it checks itself: nothing in a file
says what code to run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar

from tinynet import initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.layers.activation import ACTIVATIONS
from tinynet.layers.layer import Layer
from tinynet.optimizers import schedules

Thing = TypeVar("Thing")
Classes = Mapping[str, type[Any]]

LARGEST_INTEGER = 2**31 - 1
MAX_DEPTH = 20  # of objects in objects

_BASES = (Layer, layers.Input, initializers.Initializer, regularizers.Regularizer, optimizers.Optimizer, losses.Loss)
KNOWN: Classes = {
    name: kind
    for module in (layers, initializers, regularizers, optimizers, schedules, losses, metrics)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and kind.__module__.startswith("tinynet.") and kind.__name__ == name
    if kind not in _BASES and kind is not schedules.LearningRateSchedule and not name.startswith("_")
}

# Where an object keeps the argument of a name, if not under that name; None: it takes only one value of it.
_WINDOW = {"strides": "window.strides", "padding": "window.padding"}
_KEPT: dict[str, dict[str, str | None]] = {
    "Conv2D": {"kernel_size": "window.size", **_WINDOW},
    "MaxPooling2D": {"pool_size": "window.size", **_WINDOW},
    "AveragePooling2D": {"pool_size": "window.size", **_WINDOW},
    "Activation": {"activation": "function"},
    "Softmax": {"axis": None},
    "Dropout": {"noise_shape": None},
    "SGD": {"learning_rate": "_learning_rate"},
    "Adam": {"learning_rate": "_learning_rate", "amsgrad": None},
}
_ACTIVATION_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


def parameters_of(kind: type[Any]) -> list[str]:
    """The names of the arguments that a constructor takes."""
    parameters = inspect.signature(kind).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]


def describe(thing: Any) -> dict[str, Any]:
    """An object as data.

    Raises:
        TypeError: its constructor takes an argument that it does not keep, or that is no data.

    Example:
        >>> describe(schedules.ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5))["class"]
        'ExponentialDecay'
    """
    kind = type(thing)
    kept = {name: name for name in parameters_of(kind)} | _KEPT.get(kind.__name__, {})
    arguments = {}
    for name, attribute in kept.items():
        # A layer's input shape follows from that of its network, which also says the layer's name.
        if attribute is None or (name in ("input_shape", "name") and isinstance(thing, Layer)):
            continue
        try:
            arguments[name] = _encode(attrgetter(attribute)(thing))
        except AttributeError:
            raise TypeError(
                f"{thing} cannot be saved: it does not keep its argument {name!r} as an attribute of that name."
            ) from None
        except TypeError as error:
            raise TypeError(f"{kind.__name__}: {name}: {error}") from None
    return {"class": kind.__name__, "arguments": arguments}


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if type(value) in _ACTIVATION_NAMES:  # as an argument; it is a layer of its own elsewhere
        return _ACTIVATION_NAMES[type(value)]
    if KNOWN.get(type(value).__name__) is type(value):
        return describe(value)
    raise TypeError(f"{value!r} cannot be saved.")


def construct(data: Any, kind: type[Thing], classes: Classes = KNOWN, depth: int = 0) -> Thing:
    """The object that ``data`` describes, of a class that is in ``classes`` and is a ``kind``.

    Raises:
        ValueError, TypeError: it is not the description of such an object; nothing has been made then.

    Example:
        >>> construct(describe(schedules.ExponentialDecay(0.1, 100, 0.5)), schedules.LearningRateSchedule)(100)
        0.05
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"there are more than {MAX_DEPTH} objects in one another")
    if not isinstance(data, dict) or data.keys() != {"class", "arguments"}:
        raise ValueError(f"{_short(data)} is not the description of an object")
    name, arguments = data["class"], data["arguments"]
    known = classes.get(name) if isinstance(name, str) else None
    if known is None or not issubclass(known, kind):
        raise ValueError(f"{_short(name)} is no known {kind.__name__}")
    if not isinstance(arguments, dict) or not arguments.keys() <= set(parameters_of(known)):
        raise ValueError(f"{_short(arguments)} are not arguments of {name}")
    decoded = {key: _decode(value, classes, depth + 1) for key, value in arguments.items()}
    made: Thing = known(**decoded)
    return made


def _decode(value: Any, classes: Classes, depth: int) -> Any:
    if isinstance(value, dict):
        return construct(value, object, classes, depth)
    if isinstance(value, list):
        if len(value) > 10_000 or any(isinstance(item, (dict, list)) for item in value):
            raise ValueError(f"{_short(value)} is not a list of numbers")
        return [_decode(item, classes, depth) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{_short(value)} is too large a number")
    return value


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
