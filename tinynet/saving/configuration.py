"""Layers, optimizers and the like as plain data for JSON, and back.

An object is written as its class and the arguments that its constructor would need:

    {"class": "MaxPooling2D", "arguments": {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid", ...}}

Reading one calls the constructor of a class that tinynet knows, with arguments that it checks itself: nothing in a file
says what code to run.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from tinynet import initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.layers.activation import ACTIVATIONS
from tinynet.layers.layer import Layer
from tinynet.optimizers import schedules

Thing = TypeVar("Thing")
Classes = Mapping[str, type[Any]]

LARGEST_INTEGER = 2**31 - 1  # of a layer's sizes; others, such as seeds and steps, take no memory
LARGEST_NUMBER = 2**63 - 1
MAX_DEPTH, MAX_ITEMS = 20, 10_000  # of objects and lists in one another, and of entries in a list

_BASES = (
    *(Layer, layers.Input, initializers.Initializer, regularizers.Regularizer, optimizers.Optimizer, losses.Loss),
    schedules.LearningRateSchedule,
)
# What one may derive from and give to a constructor, too.
_PARTS = (initializers.Initializer, regularizers.Regularizer, schedules.LearningRateSchedule)
KNOWN: Classes = {
    name: kind
    for module in (layers, initializers, regularizers, optimizers, schedules, losses, metrics)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and kind.__module__.startswith("tinynet.") and kind.__name__ == name
    if kind not in _BASES and not name.startswith("_")
}

# Where an object keeps the argument of a name, if not under that name; None: it takes only one value of it.
_KEPT: dict[str, dict[str, str | None]] = {
    "Activation": {"activation": "function"},
    "Softmax": {"axis": None},
    "Dropout": {"noise_shape": None},
    "Optimizer": {"learning_rate": "_learning_rate", "lr": "_learning_rate"},
    "Adam": {"amsgrad": None},
}
_ACTIVATION_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


def parameters_of(kind: type[Any]) -> tuple[list[str], list[str]]:
    """The names of the arguments that a constructor takes, and of more that it may pass on to those of its bases."""
    own: list[str] = []
    passed_on: list[str] = []
    for constructor in [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]:
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        if not own and not passed_on:
            own = names
        else:
            passed_on += [name for name in names if name not in own and name not in passed_on]
        if len(names) == len(parameters):
            break
    return own, passed_on


def describe(thing: Any, depth: int = 0) -> dict[str, Any]:
    """An object as data; ``depth`` is how many others it is in, as in ``construct``. NumPy's numbers become Python's.

    Raises:
        TypeError: its constructor takes an argument that it does not keep, or that is no data, or would not make it
            again; or a class of tinynet has the name of its class.
        ValueError: an argument is more than ``construct`` would take.

    Example:
        >>> describe(schedules.ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5))["class"]
        'ExponentialDecay'
    """
    kind = type(thing)
    if KNOWN.get(kind.__name__, kind) is not kind:
        raise TypeError(f"{thing} cannot be saved: tinynet has a {kind.__name__}, too; give your class another name.")
    own, passed_on = parameters_of(kind)
    arguments = _arguments_of(thing, own, depth)
    again = _made_again(thing, arguments)
    more = _differences(thing, again, passed_on, depth)
    if more:
        arguments |= _arguments_of(thing, more, depth)
        again = _made_again(thing, arguments)
    different = _differences(thing, again, arguments, depth)
    if isinstance(thing, Layer) and kind in KNOWN.values():
        regularizers = [[*each.regularizers.items()] for each in (thing, again)]
        different += [] if _are_alike(regularizers, depth) else ["regularizers"]
    if different:
        raise TypeError(
            f"{thing} cannot be saved: {kind.__name__}(...) with its arguments gives another {', '.join(different)}; "
            "give it what was set later, or save_weights instead."
        )
    return {"class": kind.__name__, "arguments": {name: data for name, (_, data) in arguments.items()}}


def classes_in(thing: Any, data: Any) -> Iterator[type[Any]]:
    """The classes that ``construct`` must know for what ``describe`` has said of an object.

    Example:
        >>> layer = layers.Dense(3)
        >>> [kind.__name__ for kind in classes_in(layer, describe(layer))]
        ['Dense', 'GlorotUniform', 'Zeros']
    """
    if isinstance(data, list):
        for value, item in zip(thing, data, strict=True):
            yield from classes_in(value, item)
    elif isinstance(data, dict):
        yield type(thing)
        for name, argument in data["arguments"].items():
            attribute = _attribute_of(type(thing), name)
            assert attribute is not None, "describe has found it"
            yield from classes_in(attrgetter(attribute)(thing), argument)


def _arguments_of(thing: Any, names: Iterable[str], depth: int) -> dict[str, tuple[Any, Any]]:
    """Some arguments by name: the values that an object keeps, and these as data."""
    arguments = {}
    for name in names:
        attribute = _attribute_of(type(thing), name)
        if attribute is None:
            continue
        try:
            value = attrgetter(attribute)(thing)
        except AttributeError:
            raise TypeError(
                f"{thing} cannot be saved: it does not keep its argument {name!r} as an attribute of that name."
            ) from None
        try:
            arguments[name] = value, _encode(value, depth + 1)
            _check(arguments[name][1], type(thing), name)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{type(thing).__name__}: {name}: {error}") from None
    return arguments


def _attribute_of(kind: type[Any], name: str) -> str | None:
    """Where an object keeps an argument; None if that is not for a file."""
    if name in ("input_shape", "name") and issubclass(kind, Layer):
        return None  # the first follows from that of a layer's network, which also says the layer's name
    kept = (_KEPT.get(base.__name__, {}) for base in kind.__mro__)
    return next((attributes[name] for attributes in kept if name in attributes), name)


def _made_again(thing: Thing, arguments: Mapping[str, tuple[Any, Any]]) -> Thing:
    kind = type(thing)
    try:
        return kind(**{name: value for name, (value, _) in arguments.items()})
    except Exception as error:
        call = f"{kind.__name__}({', '.join(f'{name}=...' for name in arguments)})"
        raise TypeError(f"{thing} cannot be saved: {call}, which would make it again, fails: {error}") from error


def _differences(thing: Any, other: Any, names: Iterable[str], depth: int) -> list[str]:
    """The names of those arguments that the two do not have alike."""
    different = []
    for name in names:
        attribute = _attribute_of(type(thing), name)
        if attribute is not None:
            with contextlib.suppress(AttributeError):  # it need not keep those of its bases
                values = [attrgetter(attribute)(each) for each in (thing, other)]
                if not _are_alike(values, depth):
                    different.append(name)
    return different


def _are_alike(values: Sequence[Any], depth: int) -> bool:
    value, other = values
    return value is other or _encode(value, depth + 1) == _encode(other, depth + 1)


def _encode(value: Any, depth: int) -> Any:
    if isinstance(value, (np.bool_, np.integer)):
        value = value.item()
    elif isinstance(value, np.floating):
        value = float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in _ACTIVATION_NAMES:  # as an argument; it is a layer of its own elsewhere
        return _ACTIVATION_NAMES[type(value)]
    if depth <= MAX_DEPTH:
        if isinstance(value, (list, tuple)):
            return [_encode(item, depth + 1) for item in value]
        if KNOWN.get(type(value).__name__) is type(value) or isinstance(value, _PARTS):
            return describe(value, depth)
    raise TypeError(
        f"{_short(value)} cannot be saved: a file takes numbers, text, True, False, None, objects of tinynet and lists "
        f"of these, up to {MAX_DEPTH} in one another; put one of them in its place."
    )


def _check(value: Any, owner: type[Any], argument: str) -> None:
    """Raise ValueError for what no file may hold: ``construct`` asks the same of an argument as ``describe``."""
    if isinstance(value, list):
        if len(value) > MAX_ITEMS:
            raise ValueError(f"{_short(value)} is too long a list: it has {len(value):,} entries.")
        for item in value:
            _check(item, owner, argument)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number for a file.")
    largest = LARGEST_INTEGER if owner in KNOWN.values() and issubclass(owner, Layer) else LARGEST_NUMBER
    if isinstance(value, int) and abs(value) > (LARGEST_NUMBER if argument == "seed" else largest):
        raise ValueError(f"{_short(value)} is too large a number.")


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
        what = "class of tinynet" if kind is object else kind.__name__
        raise ValueError(f"{_short(name)} is no known {what}; classes of your own go into custom_objects")
    if not isinstance(arguments, dict) or not arguments.keys() <= set(itertools.chain(*parameters_of(known))):
        raise ValueError(f"{_short(arguments)} are not arguments of {name}")
    for key, value in arguments.items():
        _check(value, known, key)
    decoded = {key: _decode(value, classes, depth + 1) for key, value in arguments.items()}
    made: Thing = known(**decoded)
    return made


def _decode(value: Any, classes: Classes, depth: int) -> Any:
    if isinstance(value, dict):
        return construct(value, object, classes, depth)
    if isinstance(value, list):
        if depth > MAX_DEPTH:
            raise ValueError(f"there are more than {MAX_DEPTH} lists in one another")
        return [_decode(item, classes, depth + 1) for item in value]
    return value


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
