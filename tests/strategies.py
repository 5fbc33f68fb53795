"""What the tests draw at random: shapes, options and memory layouts, with the nasty ones among them.

Hypothesis draws the shapes and options, from which a mistake in indexing shows, and shrinks them when a test fails.
The numbers themselves come from a generator with a drawn seed: they should be unremarkable, so that ties and kinks
are rare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinynet.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, ReLU
from tinynet.models import Sequential

Array = np.ndarray
Shape = tuple[int, ...]

seeds = st.integers(0, 2**32 - 1)
batch_sizes = st.integers(1, 4)
sizes = st.integers(1, 5)
dtypes = st.sampled_from([np.float32, np.float64])
layouts = st.sampled_from(["C", "F", "every second", "backwards", "read-only"])
activations = st.sampled_from([None, "linear", "relu", "tanh", "sigmoid", "softmax"])
vector_shapes = st.tuples(st.integers(1, 7))
image_shapes = st.tuples(sizes, sizes, st.integers(1, 4))
shapes = st.one_of(vector_shapes, image_shapes, st.tuples(sizes, sizes))


def lay_out(array: Array, layout: str) -> Array:
    """The same numbers, laid out in memory in one of the ways that users' arrays come in."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "every second":
        spacious = np.full([2 * size for size in array.shape], np.nan, array.dtype)
        view = spacious[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if layout == "backwards":
        everything = (slice(None, None, -1),) * array.ndim
        return array[everything].copy()[everything]
    array = np.ascontiguousarray(array)
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array


def normal(seed: int, shape: Sequence[int], dtype: Any = np.float64, *, zeros: float = 0.0) -> Array:
    """Normal random numbers, with about a share ``zeros`` of them set to zero."""
    rng = np.random.default_rng(seed)
    numbers = rng.standard_normal(shape)
    numbers[rng.random(shape) < zeros] = 0
    return numbers.astype(dtype)


@dataclass(frozen=True)
class Recipe:
    """How to make a layer, again and again, and the shape of its samples; prints as the call that makes it."""

    kind: Callable[..., Layer]
    arguments: dict[str, Any]
    input_shape: Shape

    def make(self) -> Layer:
        """A new layer, not built."""

        def made(value: Any) -> Any:
            return [made(item) for item in value] if isinstance(value, list) else _made(value)

        return self.kind(**{key: made(value) for key, value in self.arguments.items()})

    def build(self, seed: int = 0, dtype: Any = np.float64) -> Layer:
        """A built layer whose parameters, biases too, are random numbers."""
        layer = self.make()
        rng = np.random.default_rng(seed)
        layer.build(self.input_shape, rng)
        for param in layer.params.values():
            param[...] = rng.normal(0, 0.5, param.shape)
        return layer.astype(dtype)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.kind.__name__}({arguments}) for {self.input_shape}"


def _made(value: Any) -> Any:
    return value.make() if isinstance(value, Recipe) else value


@st.composite
def windows(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, int]]:
    """(size, strides and padding of a window; rows and columns of an image that it fits into)."""
    padding = draw(st.sampled_from(["valid", "same"]))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    strides = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    h, w = (draw(st.integers(k if padding == "valid" else 1, k + 5)) for k in size)
    return {"size": size, "strides": strides, "padding": padding}, (h, w)


@st.composite
def dense(draw: st.DrawFn) -> Recipe:
    arguments = {"units": draw(st.integers(1, 6)), "activation": draw(activations), "use_bias": draw(st.booleans())}
    return Recipe(Dense, arguments, draw(vector_shapes))


@st.composite
def conv2d(draw: st.DrawFn) -> Recipe:
    window, image = draw(windows())
    arguments = {
        "filters": draw(st.integers(1, 5)),
        "kernel_size": window.pop("size"),
        **window,
        "activation": draw(activations),
        "use_bias": draw(st.booleans()),
    }
    return Recipe(Conv2D, arguments, (*image, draw(st.integers(1, 4))))


@st.composite
def pooling(draw: st.DrawFn, kind: type[Layer] = MaxPooling2D) -> Recipe:
    window, image = draw(windows())
    return Recipe(kind, {"pool_size": window.pop("size"), **window}, (*image, draw(st.integers(1, 4))))


@st.composite
def plain(draw: st.DrawFn, kind: type[Layer]) -> Recipe:
    """A layer without options, that takes samples of any shape."""
    return Recipe(kind, {}, draw(shapes))


@st.composite
def activation(draw: st.DrawFn) -> Recipe:
    return Recipe(Activation, {"activation": draw(activations)}, draw(shapes))


@st.composite
def dropout(draw: st.DrawFn) -> Recipe:
    arguments = {"rate": draw(st.sampled_from([0, 0.25, 0.9])), "seed": draw(st.sampled_from([None, 3]))}
    return Recipe(Dropout, arguments, draw(shapes))


@st.composite
def sequential(draw: st.DrawFn, *, nested: bool = False) -> Recipe:
    """A small LeNet; ``nested``, its two halves are Sequentials of their own, one inside the other."""
    shape = draw(st.tuples(st.integers(4, 7), st.integers(4, 7), st.integers(1, 3)))
    features = [
        Recipe(Conv2D, {"filters": draw(sizes), "kernel_size": draw(st.integers(1, 3)), "padding": "same"}, ()),
        Recipe(ReLU, {}, ()),
        Recipe(MaxPooling2D, {"pool_size": draw(st.integers(1, 3)), "strides": draw(st.integers(1, 2))}, ()),
    ]
    head = [
        Recipe(Flatten, {}, ()),
        Recipe(Dropout, {"rate": 0.5}, ()),
        Recipe(Dense, {"units": draw(sizes), "activation": draw(activations)}, ()),
        Recipe(Activation, {"activation": draw(activations)}, ()),
    ]
    if nested:
        inner = Recipe(Sequential, {"layers": head}, ())
        return Recipe(Sequential, {"layers": [Recipe(Sequential, {"layers": [*features, inner]}, ())]}, shape)
    return Recipe(Sequential, {"layers": [*features, *head]}, shape)
