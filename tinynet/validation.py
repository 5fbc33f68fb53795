"""What every public function asks of its arguments, with one wording for each kind of mistake."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt


def check_choice(
    owner: str,
    argument: str,
    value: object,
    choices: Iterable[object],
    *,
    hints: Mapping[str, str] | None = None,
) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``; ``hints`` maps a value to what to use instead."""
    choices = list(choices)
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        allowed = ", ".join(repr(choice) for choice in choices)
        hint = f" {hints[value]}" if hints and isinstance(value, str) and value in hints else ""
        raise ValueError(f"{owner}: {argument}={in_short(value)} is not known; choose one of {allowed}.{hint}")


def describe(value: object) -> str:
    """What kind of thing this is, for messages: "an array of shape (3,) and dtype float32", "int"."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return "None" if value is None else type(value).__name__


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def in_short(value: object) -> str:
    """A value as Python would write it, for messages: the middle of a long one is left out, and an array described.

    Example:
        >>> in_short([0.5] * 1000)
        '[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]'
    """
    return describe(value) if isinstance(value, np.ndarray) else _SHORT.repr(value)


FLOATS = np.dtype(np.float32), np.dtype(np.float64)  # what layers compute in


def check_int(owner: str, argument: str, value: Any, *, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``; raise TypeError or ValueError otherwise."""
    if isinstance(value, bool):
        raise TypeError(f"{owner}: {argument} must be an integer, got {in_short(value)}.")
    try:
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{owner}: {argument} must be an integer, got {in_short(value)} ({kind}).") from None
    if number < minimum:
        raise ValueError(f"{owner}: {argument} must be at least {minimum}, got {number}.")
    return number


def check_flag(owner: str, argument: str, value: Any) -> bool:
    """Return ``value`` as True or False, also from 1 or 0; raise TypeError otherwise: every text would be True."""
    if not isinstance(value, (bool, np.bool_, int, np.integer)) or value not in (0, 1):
        raise TypeError(f"{owner}: {argument} must be True or False, got {in_short(value)}.")
    return bool(value)


def check_number(owner: str, argument: str, value: Any, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Return ``value`` as a float in [low, high]; raise TypeError or ValueError otherwise (NaN and infinity too)."""
    if isinstance(value, (bool, str)):
        raise TypeError(f"{owner}: {argument} must be a number, got {in_short(value)}.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise TypeError(f"{owner}: {argument} must be a number, got {in_short(value)} ({kind}).") from None
    except OverflowError:
        raise ValueError(f"{owner}: {argument} must be finite, got an integer too large for a float.") from None
    if not (low <= number <= high and math.isfinite(number)):
        span = f" and at least {low:g}" if low > -math.inf else ""
        if high < math.inf:
            span = f" and between {low:g} and {high:g}"
        raise ValueError(f"{owner}: {argument} must be finite{span}, got {number:g}.")
    return number


def check_pair(owner: str, argument: str, value: Any) -> tuple[int, int]:
    """Return (rows, columns) from one positive integer, meant for both, or from two of them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise ValueError(f"{owner}: {argument} must be one integer or two (rows, columns), got {in_short(value)}.")
        rows, columns = value
    else:
        rows = columns = value
    return check_int(owner, argument, rows), check_int(owner, argument, columns)


def check_shape(owner: str, argument: str, value: Any) -> tuple[int, ...]:
    """Return the shape of one sample, without the batch axis, as a tuple of positive integers."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"{owner}: {argument} must be a tuple such as (28, 28, 1), got {in_short(value)}; for vectors write (784,)."
        )
    shape = tuple(value)
    if not shape or None in shape:
        raise ValueError(
            f"{owner}: {argument}={shape} must give every size of one sample, without the batch axis, "
            "such as (28, 28, 1)."
        )
    return tuple(check_int(owner, argument, size) for size in shape)


def check_writeable(owner: str, parameter: str, array: npt.NDArray[Any]) -> None:
    """Raise ValueError where a parameter is read-only: to be asked of all of them before numbers go into any."""
    if not array.flags.writeable:
        raise ValueError(f"{owner}: {parameter} is read-only, so no numbers can go into it; put a copy in its place.")


def are_finite_in(dtype: npt.DTypeLike, numbers: npt.NDArray[Any]) -> bool:
    """Whether none of the numbers is NaN or infinite once they are of this dtype: 1e39 is infinite in float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(numbers.astype(dtype, copy=False)).all())


def reject_arguments(
    owner: str,
    arguments: Mapping[str, Any],
    *,
    only: Mapping[str, Sequence[Any]] | None = None,
    hints: Mapping[str, str] | None = None,
) -> None:
    """Refuse keyword arguments by name: Keras ones that tinynet lacks, and ones that nobody knows.

    ``only`` maps a Keras argument to the values that say what tinynet does anyway; these pass, and lists as tuples.
    ``hints`` maps an argument to what to use instead.
    """
    for name, value in arguments.items():
        hint = f" {hints[name]}" if hints and name in hints else ""
        if only and name in only:
            same = [value, tuple(value)] if isinstance(value, list) else [value]
            if any(type(given) is type(allowed) and given == allowed for given in same for allowed in only[name]):
                continue
            allowed = " or ".join(repr(choice) for choice in only[name])
            raise ValueError(f"{owner}: {name}={in_short(value)} is not supported by tinynet, only {allowed}.{hint}")
        raise TypeError(f"{owner} has no argument {name!r} in tinynet.{hint}")


def refuse_keras_name(
    module: str, name: str, available: Sequence[str], *, hints: Mapping[str, str] | None = None
) -> NoReturn:
    """Raise for a name that ``module`` lacks: ImportError for a class (a capitalised name), AttributeError otherwise.

    ``from module import Name`` would replace the text of an AttributeError with its own; but tools that probe a module
    for names of theirs rely on AttributeError.
    """
    hint = (hints or {}).get(name, "")
    where = "" if module == "tinynet" else f" in {module}"
    message = f"tinynet has no {name}{where}; it has {', '.join(available)}. {hint}".rstrip()
    raise (ImportError if name[:1].isupper() else AttributeError)(message)
