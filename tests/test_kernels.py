"""Every kernel against its plain NumPy twin of the same name, for random shapes: compiled, and as the Python it is.

The numbers are small integers. All sums of them are exact, in float32 too, in whatever order they are taken: so the two
must agree to the last bit, and entries tie all the time. With ``NUMBA_DISABLE_JIT=1`` these tests run the Python alone,
and with ``NUMBA_BOUNDSCHECK=1`` they find indices that are out of bounds.

A new kernel is one more line in ``TWINS``, with a function that draws its arguments.
"""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st

from tinynet import kernels, reference
from tinynet.layers.window import Window

Array = np.ndarray


@dataclass
class Setting:
    """What is drawn for a kernel: a window, an image that it fits into, and how many of everything."""

    n: int
    h: int
    w: int
    c: int
    filters: int
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    spare: int  # rows or columns that a patch matrix has beyond the patches
    zeros: float
    special: bool
    dtype: type
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    @property
    def padded(self) -> tuple[int, int, int, int]:
        """(n, h, w, c) of an image that the window fits into, as convolution pads it."""
        return self.n, max(self.h, self.size[0]), max(self.w, self.size[1]), self.c

    @property
    def out(self) -> tuple[int, int]:
        """(out_h, out_w) in the padded image."""
        return Window(self.size, self.strides, "valid").output_size(*self.padded[1:3])

    def numbers(self, *shape: int, zeros: float = 0.0, special: bool = False) -> Array:
        """Small integers, a share of them zero; if ``special``, some are NaN, infinite or minus zero."""
        array = self.rng.integers(-3, 4, shape).astype(self.dtype)
        array[self.rng.random(shape) < zeros] = 0
        if special and self.special:
            chosen = self.rng.random(shape) < 0.2
            array[chosen] = self.rng.choice([np.nan, np.inf, -np.inf, -0.0], chosen.sum())
        return array

    def dy(self, *shape: int) -> Array:
        return self.numbers(*shape, zeros=self.zeros, special=True)


def im2col(s: Setting) -> list[Any]:
    rows, columns = s.n * s.out[0] * s.out[1], s.size[0] * s.size[1] * s.c
    return [s.numbers(*s.padded, special=True), *s.size, *s.strides, s.numbers(rows, columns + s.spare)]


def im2col_transposed(s: Setting) -> list[Any]:
    rows, columns = s.size[0] * s.size[1] * s.c, s.n * s.out[0] * s.out[1]
    return [s.numbers(*s.padded, special=True), *s.size, *s.strides, s.numbers(rows + s.spare, columns)]


def col2im(s: Setting) -> list[Any]:
    patches = s.dy(s.n * s.out[0] * s.out[1], s.size[0] * s.size[1] * s.c)
    return [patches, s.numbers(*s.padded), *s.size, *s.strides]


def sum_patches(s: Setting) -> list[Any]:
    h, w = (s.h, s.w) if s.padding == "same" else s.padded[1:3]
    pads = (top, bottom), (left, right) = [tuple(s.rng.integers(0, k, 2).tolist()) for k in s.size]
    pads = ((top + max(0, s.size[0] - h), bottom), (left + max(0, s.size[1] - w), right))
    out = Window(s.size, s.strides, "valid").output_size(sum(pads[0]) + h, sum(pads[1]) + w)
    x, dy = s.numbers(s.n, h, w, s.c), s.dy(s.n, *out, s.filters)
    return [x, dy, s.numbers(s.filters, *s.size, s.c), *s.strides, pads]


def convolve(s: Setting) -> list[Any]:
    return [
        s.numbers(*s.padded, special=True),
        s.numbers(*s.size, s.c, s.filters),
        s.numbers(s.filters),
        s.numbers(s.n, *s.out, s.filters),
        *s.strides,
    ]


def matmul(s: Setting) -> list[Any]:
    size, rows, transposed = s.c, s.h * s.w, s.padding == "same"
    x = s.numbers(*((size, rows) if transposed else (rows, size)), special=True)
    return [x, s.numbers(size, s.filters), s.numbers(s.filters), s.numbers(rows, s.filters), transposed]


def add_filters(s: Setting) -> list[Any]:
    return [
        s.dy(s.n, *s.out, s.filters),
        s.numbers(s.filters, *s.size, s.c),
        s.numbers(*s.padded),
        *s.strides,
    ]


def average_pool(s: Setting) -> list[Any]:
    h, w = (s.h, s.w) if s.padding == "same" else s.padded[1:3]
    window = Window(s.size, s.strides, s.padding)
    pads = (top, bottom), (left, right) = window.pads("test", (h, w, s.c))
    out = (s.n, *window.output_size(top + h + bottom, left + w + right), s.c)
    return [s.numbers(s.n, h, w, s.c, special=True), *s.size, *s.strides, pads, s.numbers(*out)]


def average_pool_backward(s: Setting) -> list[Any]:
    x, *window, y = average_pool(s)
    dy = 720 * s.dy(*y.shape)  # which every size of window up to 6 x 4 divides
    return [dy, *window, s.numbers(*x.shape)]


def max_pool(s: Setting) -> list[Any]:
    *arguments, y = average_pool(s)
    return [*arguments, y, np.full(y.shape, -1, np.int32)]


def max_pool_backward(s: Setting) -> list[Any]:
    *arguments, y, argmax = max_pool(s)
    reference.max_pool(*arguments, y, argmax)
    return [s.dy(*y.shape), argmax, s.numbers(*arguments[0].shape)]


def relu(s: Setting) -> list[Any]:
    return [s.numbers(s.n, s.h, s.c, special=True), s.numbers(s.n, s.h, s.c)]


def relu_backward(s: Setting) -> list[Any]:
    return [s.dy(s.n, s.h, s.c), s.numbers(s.n, s.h, s.c, special=True), s.numbers(s.n, s.h, s.c)]


def count_nonzero(s: Setting) -> list[Any]:
    return [s.dy(s.n, s.h, s.w, s.c)]


TWINS: dict[str, Callable[[Setting], list[Any]]] = {
    "im2col": im2col,
    "im2col_transposed": im2col_transposed,
    "col2im": col2im,
    "convolve": convolve,
    "matmul": matmul,
    "sum_patches": sum_patches,
    "add_filters": add_filters,
    "average_pool": average_pool,
    "average_pool_backward": average_pool_backward,
    "max_pool": max_pool,
    "max_pool_backward": max_pool_backward,
    "relu": relu,
    "relu_backward": relu_backward,
    "count_nonzero": count_nonzero,
}

steps = st.integers(1, 4)
settings = st.builds(
    Setting,
    n=st.integers(1, 3),
    h=st.integers(1, 8),
    w=st.integers(1, 8),
    c=st.integers(1, 5) | st.just(45),  # with a window of 3 columns or 4, more than eight vectors
    filters=st.integers(1, 14) | st.sampled_from([16, 17, 65]),  # a vector, a bit more, more than four
    size=st.tuples(steps | st.just(6), steps),  # six rows are more than are added to at once
    strides=st.tuples(steps, steps),
    padding=st.sampled_from(["valid", "same"]),
    spare=st.integers(0, 2),
    zeros=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    special=st.booleans(),
    dtype=draw.dtypes,
    seed=draw.seeds,
)


def assert_twins_agree(function: Callable[..., Any], twin: Callable[..., Any], arguments: list[Any]) -> None:
    """Both return the same, and leave the same in the arrays that they are given: where they write, and where not."""

    def run(function: Callable[..., Any]) -> tuple[Any, list[Any]]:
        copies = [argument.copy() if isinstance(argument, Array) else argument for argument in arguments]
        with np.errstate(invalid="ignore"):  # infinity minus infinity is meant
            return function(*copies), copies

    (returned, after), (expected, expected_after) = run(function), run(twin)
    assert returned == expected
    for got, wanted in zip(after, expected_after, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", TWINS)
@given(setting=settings)
def test_a_kernel_does_what_its_twin_does(name, setting):
    assert_twins_agree(getattr(kernels, name), getattr(reference, name), TWINS[name](setting))


@pytest.mark.parametrize("name", TWINS)
@given(setting=settings)
def test_the_python_of_a_kernel_does_what_its_twin_does(name, setting):
    kernel = getattr(kernels, name)
    assert_twins_agree(getattr(kernel, "py_func", kernel), getattr(reference, name), TWINS[name](setting))


def test_a_gradient_larger_than_the_list_of_its_entries():
    rng = np.random.default_rng(0)
    x, dy = rng.integers(-3, 4, (2, 10, 4, 1)).astype(np.float64), np.zeros((2, 9, 3, 1000))
    chosen = rng.random(dy.shape) < 0.01
    dy[chosen] = rng.integers(1, 4, chosen.sum())
    assert dy[0].nbytes > kernels.LIST_BYTES
    arguments = [x, dy, np.zeros((1000, 2, 2, 1)), 1, 1, ((0, 0), (0, 0))]
    assert_twins_agree(kernels.sum_patches, reference.sum_patches, arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_room_for_vectors_begins_where_a_vector_does(size, dtype):
    rooms = [kernels._aligned(np.uintp(size), dtype) for _ in range(20)]
    assert {(room.ctypes.data % 64, room.shape, room.dtype) for room in rooms} == {(0, (size,), np.dtype(dtype))}


@pytest.mark.parametrize(("size", "pitch"), [(0, 0), (1, 16), (15, 16), (16, 16), (17, 32), (160, 160)])
def test_rows_are_as_far_apart_as_whole_vectors(size, pitch):
    assert kernels._to_pitch(np.uintp(size)) == pitch


@pytest.mark.parametrize(
    ("vectors", "more", "run", "last"),
    [(0, 1, 16, 1), (1, 0, 99, 0), (3, 1, 15, 0), (3, 2, 32, 2), (3, 2, 31, 0), (3, 2, 99, 2), (3, 3, 99, 0)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_columns_fill_too_little_of_a_vector(vectors, more, run, last, dtype):
    itemsize = np.dtype(dtype).itemsize
    width = vectors * (kernels.VECTOR_BYTES or 32) // itemsize + more
    assert kernels._last_columns(np.uintp(width), np.uintp(run), itemsize) == last


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_for_the_last_filters_of_convolve(dtype, last):
    """Three of LeNet's images of 20 channels, with a vector of filters or two, and one or two more."""
    rng = np.random.default_rng(0)
    shapes = (3, 7, 6, 20), (3, 2, 20, 16 + last), (16 + last,), (3, 5, 5, 16 + last)
    x, W, b, y = (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes)
    for function in (kernels.convolve, getattr(kernels.convolve, "py_func", kernels.convolve)):
        assert_twins_agree(function, reference.convolve, [x, W, b, y, 1, 1])


@pytest.mark.parametrize("pads", [((0, 1), (0, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 0))])
def test_a_kernel_with_zeros_on_one_side_only_for_sum_patches(pads):
    rng = np.random.default_rng(0)
    (top, bottom), (left, right) = pads
    shapes = (2, 4, 3, 2), (2, 3 + top + bottom, 2 + left + right, 3), (3, 2, 2, 2)
    arguments = [*(rng.integers(-3, 4, shape).astype(np.float64) for shape in shapes), 1, 1, pads]
    for function in (kernels.sum_patches, getattr(kernels.sum_patches, "py_func", kernels.sum_patches)):
        assert_twins_agree(function, reference.sum_patches, arguments)


@pytest.mark.parametrize(("most", "runs"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (100, 5)])
def test_as_many_runs_at_once_as_there_is_code_for(most, runs):
    assert kernels._runs_of(np.uintp(most)) == runs


@pytest.mark.parametrize("module", [kernels, reference])
def test_padding_above_an_image_of_minus_infinity_does_not_win(module):
    x, y, argmax = np.full((1, 2, 3, 1), -np.inf), np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), -1, np.int32)
    module.max_pool(x, 2, 2, 1, 1, ((1, 0), (0, 0)), y, argmax)
    np.testing.assert_array_equal(argmax[0, :, :, 0], [[0, 1], [0, 1]])


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 1), (2, 2)])
def test_windows_as_large_as_the_usual_ones_in_one_direction_only(size):
    x = np.random.default_rng(0).permutation(32).astype(np.float64).reshape(1, 4, 4, 2)
    out = (1, 5 - size[0], 5 - size[1], 2)
    arguments = [x, *size, 1, 1, ((0, 0), (0, 0)), np.empty(out), np.empty(out, np.int32)]
    assert_twins_agree(kernels.max_pool, reference.max_pool, arguments)


@pytest.mark.parametrize("module", [kernels, reference])
def test_relu_passes_everything_above_zero_and_nothing_below(module):
    x = np.array([-1e30, -0.5, -1e-300, -0.0, 0.0, 1e-300, 0.5, 1e30, np.inf, -np.inf, np.nan])
    y, dx = np.empty_like(x), np.empty_like(x)
    module.relu(x, y)
    np.testing.assert_array_equal(y, [0, 0, 0, 0, 0, 1e-300, 0.5, 1e30, np.inf, 0, np.nan])
    module.relu_backward(np.full_like(x, 7), x, dx)
    np.testing.assert_array_equal(dx, [0, 0, 0, 0, 0, 7, 7, 7, 7, 0, 0])


def functions(module: types.ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines, without the compiler's names for them."""
    plain = {name: getattr(function, "py_func", function) for name, function in vars(module).items()}
    return {
        name: function
        for name, function in plain.items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_kernel_has_a_twin_and_is_in_the_table():
    found = functions(kernels)
    found.pop("jit")
    assert found.keys() == TWINS.keys()
    assert functions(reference).keys() >= TWINS.keys()
    for name, kernel in found.items():
        assert kernel.__doc__.startswith(f"Twin: ``reference.{name}``")


def test_kernels_release_the_gil_and_keep_nan():
    for name in TWINS:
        kernel = getattr(kernels, name)
        if not numba.config.DISABLE_JIT:
            assert kernel.targetoptions["nogil"] is True
            assert kernel.targetoptions["fastmath"] <= {"contract"}
            assert not kernel.targetoptions.get("parallel")


def test_without_a_folder_for_machine_code_kernels_are_compiled_anew(monkeypatch):
    tried = []

    def njit(cache: bool = False, **settings: Any) -> Callable[..., Any]:
        tried.append((cache, settings))
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert kernels.jit(max) is max
    assert tried == [(True, kernels.SETTINGS), (False, kernels.SETTINGS)]


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512f": True, "avx2": True, "fma": True}, 64),
        ({"avx512f": False, "avx2": True, "fma": True}, 32),
        ({"avx2": True, "fma": True}, 32),
        ({"avx2": True, "fma": False}, 0),
        ({"avx2": False, "fma": True}, 0),
        ({"neon": True}, 0),
    ],
)
def test_the_vectors_are_those_of_the_processor(monkeypatch, features, expected):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", None)
    assert kernels._vector_bytes(features) == expected
    for setting in ("DISABLE_JIT", "BOUNDSCHECK"):
        with monkeypatch.context() as patch:
            patch.setattr(numba.config, setting, 1)
            assert kernels._vector_bytes(features) == 0
