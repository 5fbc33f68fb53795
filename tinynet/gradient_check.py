"""Is a backward pass right? Compare it with finite differences, which know nothing of how it was derived.

A layer's output y = f(x; params) and a random gradient dy make one number, L = (dy * y).sum(), and ``backward(dy)``
claims to know its derivatives. They can also be measured, by moving one entry of x, or of a parameter, by a small h to
both sides:

    dL/dx[i] = (L(x[i] + h) - L(x[i] - h)) / (2 * h)          up to terms in h**2

in float64, so that both truncation and rounding stay near 1e-10. In arrays of many entries, random directions u are
tried instead of every entry: (L(x + h*u) - L(x - h*u)) / (2 * h) must be (dx * u).sum().

Source: I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, section 11.5.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinynet.layers.returned import dx_and_gradients, output_and_cache
from tinynet.validation import check_int, check_number, check_shape, describe

Array = npt.NDArray[Any]

STEP = 1e-5  # h, for numbers of size 1
MAX_ENTRIES = 200  # arrays up to this size are checked entry by entry
NUM_DIRECTIONS = 30  # larger ones along as many random directions
NOISE = 1e-4  # derivatives below this share of sum(abs(dy * y)) drown in rounding, and are compared absolutely


class LayerLike(Protocol):
    """What a layer must have to be checked; subclasses of ``tinynet.layers.Layer`` have it.

    Example:
        >>> from tinynet.layers import Dense
        >>> layer: LayerLike = Dense(2)
    """

    @property
    def params(self) -> Mapping[str, Array]: ...
    def build(self, input_shape: tuple[int, ...], rng: np.random.Generator, /) -> Any: ...
    def forward(self, x: Array, /) -> tuple[Array, Any]: ...
    def backward(self, dy: Array, cache: Any, /) -> tuple[Any, Mapping[str, Array]]: ...


@dataclass(frozen=True)
class ArrayReport:
    """What the check found for ``x`` or for one parameter.

    Attributes:
        name: "x" or the parameter's key.
        shape: the array's shape.
        checked: number of derivatives compared.
        skipped: number of derivatives that do not exist: L has a kink there, as at ReLU's 0 or at a tie in a pool.
        error: the worst difference, relative to the largest derivative of the array.
        where: the index of the worst one in the array, or "direction 7".
        from_backward, from_differences: the two values of the derivative there.

    Example:
        >>> from tinynet.layers import Dense
        >>> check_gradients(Dense(2), (3,)).arrays[1].name
        'W'
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    skipped: int
    error: float
    where: str
    from_backward: float
    from_differences: float


@dataclass(frozen=True)
class GradientReport:
    """The result of ``check_gradients``; printed, it is a table with a line for x and for each parameter.

    Example:
        >>> from tinynet.layers import Dense
        >>> check_gradients(Dense(2), (3,)).verdict
        'right'
    """

    layer: str
    tolerance: float
    arrays: tuple[ArrayReport, ...]

    @property
    def worst(self) -> ArrayReport:
        """The array with the largest error."""
        return max(self.arrays, key=lambda array: array.error)

    @property
    def verdict(self) -> str:
        """ "right"; "WRONG" if an error exceeds the tolerance; "unknown" if nothing in an array could be checked."""
        if self.worst.error > self.tolerance:
            return "WRONG"
        return "right" if all(array.checked for array in self.arrays) else "unknown"

    @property
    def ok(self) -> bool:
        """Whether the gradients are right."""
        return self.verdict == "right"

    def __str__(self) -> str:
        lines = [f"Gradients of {self.layer} are {self.verdict}: relative error {self.worst.error:.1e} at worst"]
        for array in self.arrays:
            line = f"  {array.name} {array.shape}: {array.checked} derivatives checked"
            if array.skipped:
                line += f", {array.skipped} skipped (no derivative at a kink or tie)"
            if array.checked:
                line += (
                    f"; worst error {array.error:.1e} at {array.where}: "
                    f"backward {array.from_backward:.6g}, differences {array.from_differences:.6g}"
                )
            lines.append(line)
        return "\n".join(lines)


class GradientError(AssertionError):
    """Raised by ``check_gradients(..., raise_error=True)``; its text is the report, which is ``report`` too.

    Example:
        >>> from tinynet.layers import Linear
        >>> class Wrong(Linear):
        ...     def backward(self, dy, cache, *, need_dx=True):
        ...         return -dy, {}
        >>> try:
        ...     report = check_gradients(Wrong(), (2,), raise_error=True)
        ... except GradientError as error:
        ...     print(error.report.verdict)
        WRONG
    """

    def __init__(self, report: GradientReport):
        super().__init__(str(report))
        self.report = report


def check_gradients(
    layer: LayerLike,
    input_shape: Sequence[int] | None = None,
    *,
    x: npt.ArrayLike | None = None,
    batch_size: int = 3,
    tolerance: float = 1e-6,
    seed: int = 0,
    raise_error: bool = False,
) -> GradientReport:
    """Compare what ``layer.backward`` returns, for the input and every parameter, with central differences.

    The layer may be any object with ``build``, ``forward``, ``backward`` and ``params``; a ``Sequential`` is one. It is
    not changed: the check works on a float64 copy, which it builds if need be. Initial weights that are all zero or
    all equal hide mistakes, so give the layer others first. A random layer is checked as in training, with the same
    draws each time.

    Where a difference crosses a kink, a smaller step is taken; where there is a kink on the very spot, there is no
    derivative, and the entry or direction is skipped.

    Args:
        layer: the layer to check.
        input_shape: shape of one sample, without the batch axis. Not needed for a layer that knows it, or with ``x``.
        x: a batch of samples, for layers that want particular ones; by default ``batch_size`` of normal random numbers.
        batch_size: samples in the random batch.
        tolerance: the largest relative error that counts as right.
        seed: of the random numbers.
        raise_error: raise ``GradientError`` unless the gradients are right.

    Raises:
        GradientError: on request.
        ValueError: the input shape is not known, or the layer breaks the contract so that nothing can be compared:
            it has other gradients than parameters, a gradient has another shape, forward does not repeat or gives
            another dtype or shape, or a pass changes the arrays that it is given, or a parameter.
        TypeError: it is no layer, forward returns no output with a cache, or backward no dx with gradients by name.

    Example, a layer of one's own, with a mistake in it:
        >>> from tinynet.layers import Layer
        >>> class Square(Layer):
        ...     def make(self, input_shape, rng):
        ...         self.params["scale"] = rng.standard_normal(input_shape)
        ...         return input_shape
        ...     def forward(self, x):
        ...         return self.params["scale"] * x**2, x
        ...     def backward(self, dy, cache, *, need_dx=True):
        ...         x = cache
        ...         dscale = (dy * x**2).mean(axis=0)  # a mean for a sum
        ...         return dy * self.params["scale"] * 2 * x, {"scale": dscale}
        >>> print(check_gradients(Square(), (4,)))
        Gradients of Square are WRONG: relative error 6.7e-01 at worst
          x (3, 4): 12 derivatives checked; worst error ...e-1... at [...]: backward ..., differences ...
          scale (4,): 4 derivatives checked; worst error 6.7e-01 at [0]: backward 1.55471, differences 4.66412
    """
    rng = np.random.default_rng(check_int("check_gradients", "seed", seed, minimum=0))
    tolerance = check_number("check_gradients", "tolerance", tolerance, low=0)
    twin, x = _float64_copy(layer, input_shape, x, check_int("check_gradients", "batch_size", batch_size), rng)
    is_random = getattr(twin, "random", False)

    def forward() -> tuple[Array, Any]:
        found: tuple[Array, Any] = twin.forward(x, *([np.random.default_rng(seed)] if is_random else []))
        return found

    given = {"x": x, **{f"params[{key!r}]": param for key, param in twin.params.items()}}
    with _unchanged(layer, "forward", given):
        y, cache = output_and_cache(twin, x, forward())
    if not np.array_equal(y, forward()[0], equal_nan=True):
        raise ValueError(f"{layer}: forward gives another output for the same input, so differences mean nothing.")
    dy = rng.standard_normal(y.shape)
    with _unchanged(layer, "backward", given | {"dy": dy}):
        dx, grads = dx_and_gradients(twin, x.shape, twin.backward(dy, cache))

    def loss() -> float:
        return float((dy * forward()[0]).sum())

    noise = NOISE * float(np.abs(dy * y).sum())
    arrays = {"x": (x, dx)} | {key: (param, grads[key]) for key, param in twin.params.items()}
    report = GradientReport(
        str(layer) if type(layer).__str__ is not object.__str__ else type(layer).__name__,
        tolerance,
        tuple(_compare(name, array, grad, loss, noise, tolerance, rng) for name, (array, grad) in arrays.items()),
    )
    if raise_error and not report.ok:
        raise GradientError(report)
    return report


def _float64_copy(
    layer: Any, input_shape: Sequence[int] | None, x: npt.ArrayLike | None, n: int, rng: np.random.Generator
) -> tuple[Any, Array]:
    """A built copy of the layer whose parameters are float64, and a batch for it."""
    if isinstance(layer, type) or not all(hasattr(layer, name) for name in ("build", "forward", "backward")):
        what = f"the class {layer.__name__}" if isinstance(layer, type) else describe(layer)
        raise TypeError(f"check_gradients takes a layer, with build, forward and backward, got {what}.")
    if x is not None:
        x = np.array(x, np.float64)
        if not x.size:
            raise ValueError(f"check_gradients: x is empty, its shape is {x.shape}.")
        if input_shape is not None and tuple(input_shape) != x.shape[1:]:
            raise ValueError(
                f"check_gradients: x has shape {x.shape}, but input_shape={tuple(input_shape)}; leave one out."
            )
        input_shape = x.shape[1:]
    elif input_shape is None:
        input_shape = getattr(layer, "input_shape", None)
    if input_shape is None:
        raise ValueError(
            f"check_gradients: give the input_shape of {layer}, such as check_gradients(layer, (8, 8, 3))."
        )
    shape = check_shape("check_gradients", "input_shape", input_shape)
    twin = copy.deepcopy(layer)
    twin.build(shape, rng)
    if hasattr(twin, "astype"):
        twin = twin.astype(np.float64)
    else:
        twin.params = {key: np.array(param, np.float64) for key, param in twin.params.items()}
    return twin, rng.standard_normal((n, *shape)) if x is None else x


@contextlib.contextmanager
def _unchanged(layer: Any, method: str, arrays: Mapping[str, Array]) -> Iterator[None]:
    """A block that calls a method, which must leave these arrays as they are: others use them as well."""
    before = {name: array.copy() for name, array in arrays.items()}
    yield
    for name, array in arrays.items():
        if not np.array_equal(array, before[name], equal_nan=True):
            raise ValueError(
                f"{layer}: {method} changes {name} in place, which is not the layer's to change; "
                "make a new array, as in x = x * 2 for x *= 2."
            )


def _compare(
    name: str,
    array: Array,
    grad: Array,
    loss: Callable[[], float],
    noise: float,
    tolerance: float,
    rng: np.random.Generator,
) -> ArrayReport:
    """Compare ``grad`` with differences of ``loss`` as ``array``, which it depends on, is moved in place."""
    step = STEP * max(1.0, float(np.abs(array).max()))
    places, claims, slopes, skipped = [], [], [], 0
    for where, u in _directions(array, rng):
        claim = float((grad * u).sum())
        slope, kink = _slope(array, u, loss, step, claim, tolerance * max(abs(claim), noise), noise)
        if kink:
            skipped += 1
            continue
        places.append(where)
        claims.append(claim)
        slopes.append(slope)
    if not places:
        return ArrayReport(name, array.shape, 0, skipped, 0.0, "", np.nan, np.nan)
    scale = max(float(np.abs([claims, slopes]).max()), noise) or 1.0
    errors = np.abs(np.subtract(claims, slopes)) / scale
    errors[np.isnan(errors)] = np.inf
    i = int(errors.argmax())
    return ArrayReport(name, array.shape, len(places), skipped, float(errors[i]), places[i], claims[i], slopes[i])


def _directions(array: Array, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Each axis of a small array, by its index; some random unit vectors for a large one."""
    if array.size <= MAX_ENTRIES:
        for index in np.ndindex(array.shape):
            u = np.zeros_like(array)
            u[index] = 1
            yield str(list(index)), u
        return
    for number in range(NUM_DIRECTIONS):
        u = rng.standard_normal(array.shape)
        yield f"direction {number}", u / np.linalg.norm(u)


def _slope(
    array: Array, u: Array, loss: Callable[[], float], step: float, claim: float, allowed: float, noise: float
) -> tuple[float, bool]:
    """The derivative of ``loss`` along ``u``, and whether there is a kink instead.

    A smooth function has the same slope to both sides, up to terms in h. If the claim is off, the step is made smaller
    to get away from kinks nearby; if the slopes to both sides still differ, the kink is here.
    """
    before, here = array.copy(), loss()
    slope, kink = np.nan, False
    for h in (step, step / 10, step / 100):
        array[...] = before + h * u
        ahead = loss()
        array[...] = before - h * u
        behind = loss()
        array[...] = before
        slope = (ahead - behind) / (2 * h)
        if abs(slope - claim) <= allowed:
            return slope, False
        difference = abs((ahead - here) - (here - behind)) / h
        kink = difference > 1e-3 * max(abs(slope), abs(claim)) + 1e-2 * noise
    return slope, kink
