"""Every kernel against its plain NumPy twin of the same name, for random shapes: compiled, and as the Python it is.

The numbers are small integers, and rates are halves and quarters. All sums of them are exact, in float32 too, in
whatever order they are taken: so the two must agree to the last bit, and entries tie all the time. (But for
exponentials: see ``ulps``.) With ``NUMBA_DISABLE_JIT=1`` these tests run the Python alone, and with
``NUMBA_BOUNDSCHECK=1`` they find indices that are out of bounds.

A new kernel is one more line in ``TWINS``, with a function that draws its arguments.
"""

import functools
import inspect
import itertools
import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st

from tinynet import kernels, reference
from tinynet.kernels import arrays, calls, common, convolution, convolution_winograd, products, sparse
from tinynet.kernels import settings as kernel_settings
from tinynet.kernels.vectors import Vector, compiled_as
from tinynet.layers.window import Window

Array = np.ndarray
Pads = tuple[tuple[int, int], tuple[int, int]]

NO_PADS = ((0, 0), (0, 0))
NO_ARGMAX = np.empty((0, 0, 0, 0), np.int32)


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
    least: float
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

    def padding_around(self) -> tuple[int, int, Pads, tuple[int, int]]:
        """(h, w, pads, (out_h, out_w)): up to a window of zeros around an image, as many as the window needs."""
        h, w = (self.h, self.w) if self.padding == "same" else self.padded[1:3]
        (top, bottom), (left, right) = (self.rng.integers(0, k, 2).tolist() for k in self.size)
        pads = (top + max(0, self.size[0] - h), bottom), (left + max(0, self.size[1] - w), right)
        out = Window(self.size, self.strides, "valid").output_size(sum(pads[0]) + h, sum(pads[1]) + w)
        return h, w, pads, out

    def one_of(self, options: Sequence[Any]) -> Any:
        return options[self.rng.integers(len(options))]

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

    def in_another_order(self, array: Array) -> Array:
        """The array, or one of the same numbers that has another axis last in memory."""
        return (
            np.ascontiguousarray(array.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
            if self.one_of([True, False])
            else array
        )

    def pooled(self, images: Array, numbers: Callable[..., Array]) -> tuple[Array, Array]:
        """Images without an argmax, or what max-pooling leaves of them: a number of each window, and its place."""
        if self.one_of([True, False]):
            return images, NO_ARGMAX
        (n, h, w, c), (k_h, k_w) = images.shape, self.rng.integers(1, 4, 2)
        rows, columns = -(-h // k_h), -(-w // k_w)
        shape = n, rows, columns, c
        i = np.minimum(np.arange(rows)[:, None, None] * k_h + self.rng.integers(k_h, size=shape), h - 1)
        j = np.minimum(np.arange(columns)[:, None] * k_w + self.rng.integers(k_w, size=shape), w - 1)
        return numbers(*shape), (i * w + j).astype(np.int32)


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
    h, w, pads, out = s.padding_around()
    x, dy = s.numbers(s.n, h, w, s.c), s.dy(s.n, *out, s.filters)
    sums = s.in_another_order(s.numbers(s.filters, *s.size, s.c))
    return [*s.pooled(x, s.numbers), (h, w), *s.pooled(dy, s.dy), sums, *s.strides, pads]


def add_filters(s: Setting) -> list[Any]:
    h, w, pads, out = s.padding_around()
    filters = s.in_another_order(s.numbers(s.filters, *s.size, s.c))
    return [*s.pooled(s.dy(s.n, *out, s.filters), s.dy), filters, s.numbers(s.n, h, w, s.c), *s.strides, pads]


def convolve(s: Setting) -> list[Any]:
    h, w, pads, out = s.padding_around()
    W, b = s.numbers(*s.size, s.c, s.filters), s.numbers(s.filters)
    return [s.dy(s.n, h, w, s.c), W, b, s.numbers(s.n, *out, s.filters), *s.strides, pads, s.least]


def winograd(s: Setting) -> list[Any]:
    """Without NaN and infinity: the twin's matrices multiply them with zeros."""
    s.size, s.strides = (s.one_of(kernels.TAPS), s.one_of(kernels.TAPS)), (1, 1)
    x, W, b, y, _, _, pads, least = convolve(s)
    return [s.numbers(*x.shape, zeros=s.zeros), W, b, y, room_for(W), pads, least]


def room_for(W: Array) -> Callable[[], Array]:
    """Makes room for what ``winograd`` keeps, as an argument of ``assert_twins_agree``."""
    return functools.partial(np.zeros, convolution_winograd.winograd_room(W), W.dtype)


def matmul(s: Setting) -> list[Any]:
    rows, size, columns = s.h * s.w, s.c, s.filters
    x_transposed, W_transposed = s.one_of([(False, False), (True, False), (False, True)])
    x = s.dy(*((size, rows) if x_transposed else (rows, size)))
    W = s.numbers(*((columns, size) if W_transposed else (size, columns)))
    return [x, W, s.numbers(columns), s.numbers(rows, columns), x_transposed, W_transposed, s.least]


def vecmat(s: Setting) -> list[Any]:
    size, columns = s.h * s.c, s.filters
    return [s.dy(1, size), s.numbers(size, columns), s.numbers(columns), s.numbers(1, columns), s.least]


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


def sum_channels(s: Setting) -> list[Any]:
    return [s.dy(s.n, s.h, s.w, s.c), s.numbers(s.c)]


def relu(s: Setting) -> list[Any]:
    return [s.numbers(s.n, s.h, s.c, special=True), s.numbers(s.n, s.h, s.c)]


def relu_backward(s: Setting) -> list[Any]:
    return [s.dy(s.n, s.h, s.c), s.numbers(s.n, s.h, s.c, special=True), s.numbers(s.n, s.h, s.c)]


def count_nonzero(s: Setting) -> list[Any]:
    return [s.dy(s.n, s.h, s.w, s.c)]


def softmax(s: Setting) -> list[Any]:
    x = s.one_of([1, 30]) * s.numbers(s.n * s.h, s.filters, special=True)  # exp(30 * 3) would overflow in float32
    return [x, s.numbers(*x.shape)]


def softmax_cross_entropy(s: Setting) -> list[Any]:
    logits, dlogits = softmax(s)
    n, k = logits.shape
    classes = s.rng.integers(0, k, n).astype(s.one_of([np.int64, np.int32, np.uint8]))
    return [logits, classes, s.numbers(n), dlogits]


def decay(s: Setting) -> list[Any]:
    return [s.numbers(s.n, s.h, s.c, special=True), s.one_of([0.0, 0.5, 0.75])]


def sgd(s: Setting) -> list[Any]:
    w, g, v = (s.numbers(s.n, s.h, s.c, special=special) for special in (False, True, False))
    lr, momentum, nesterov = s.one_of([0.0, 0.5, 2.0]), s.one_of([0.5, 0.75, 1.0]), s.one_of([False, True])
    return [w, g, s.one_of([v, v[:0]]), lr, momentum, nesterov]


def adam(s: Setting) -> list[Any]:
    """The gradient's running means are exact; only the last quotient and root are rounded, in one way only."""
    w, g, m, v = (s.numbers(s.n, s.h, s.c, special=special) for special in (False, True, False, False))
    beta_1, beta_2 = s.one_of([0.0, 0.5, 0.75]), s.one_of([0.0, 0.5, 0.75])
    return [w, g, m, v * v, s.one_of([0.0, 0.5, 2.0]), beta_1, beta_2, s.one_of([1e-7, 0.5])]


def divide(s: Setting) -> list[Any]:
    return [s.numbers(s.n, s.h, special=True), s.one_of([1, 3, 128])]


def jump_if_dense(s: Setting) -> list[Any]:
    x = s.numbers(s.n, s.h, zeros=s.zeros, special=True)
    return [x, s.one_of([-1, 0, x.size // 2, x.size]), 7, np.array([3])]


TWINS: dict[str, Callable[[Setting], list[Any]]] = {
    "im2col": im2col,
    "im2col_transposed": im2col_transposed,
    "col2im": col2im,
    "convolve": convolve,
    "winograd": winograd,
    "matmul": matmul,
    "vecmat": vecmat,
    "sum_patches": sum_patches,
    "add_filters": add_filters,
    "average_pool": average_pool,
    "average_pool_backward": average_pool_backward,
    "max_pool": max_pool,
    "max_pool_backward": max_pool_backward,
    "sum_channels": sum_channels,
    "relu": relu,
    "relu_backward": relu_backward,
    "count_nonzero": count_nonzero,
    "softmax": softmax,
    "softmax_cross_entropy": softmax_cross_entropy,
    "decay": decay,
    "sgd": sgd,
    "adam": adam,
    "divide": divide,
    "jump_if_dense": jump_if_dense,
}


def ulps(name: str, arguments: list[Any]) -> int:
    """How far a kernel may be off its twin, in units of rounding of what is 1: not at all, but for exponentials.

    NumPy's exponential and the compiler's are off by some ulps, and the sum of k of them is rounded k times.
    """
    return 8 + arguments[0].shape[1] if name.startswith("softmax") else 0


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
    least=st.sampled_from([0.0, -math.inf, 2.0]),
    dtype=draw.dtypes,
    seed=draw.seeds,
)


def a_setting(dtype: type) -> Setting:
    """Some setting or other."""
    return Setting(2, 4, 5, 3, 6, (2, 2), (1, 1), "valid", 0, 0.0, False, 0.0, dtype, 0)


def assert_twins_agree(
    function: Callable[..., Any], twin: Callable[..., Any], arguments: list[Any], ulps: int = 0
) -> None:
    """Both return the same, and leave the same in the arrays that they are given: where they write, and where not.

    An argument that is a function makes room for each of them, of which it does not matter what they leave in it.
    """

    def run(function: Callable[..., Any]) -> tuple[Any, list[Any]]:
        copies = [argument.copy("K") if isinstance(argument, Array) else argument for argument in arguments]
        rooms = [argument() if callable(argument) else argument for argument in copies]
        with np.errstate(invalid="ignore"):  # infinity minus infinity is meant
            return function(*rooms), copies

    (returned, after), (expected, expected_after) = run(function), run(twin)
    assert returned == expected
    for argument, got, wanted in zip(arguments, after, expected_after, strict=True):
        if ulps and got.dtype.kind == "f" and not np.array_equal(wanted, argument, equal_nan=True):
            tolerance = ulps * np.finfo(got.dtype).eps
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, wanted)


def both(kernel: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A kernel compiled, and as the Python it is."""
    return kernel, getattr(kernel, "py_func", kernel)


@pytest.mark.parametrize("name", TWINS)
@given(setting=settings)
def test_a_kernel_does_what_its_twin_does(name, setting):
    arguments = TWINS[name](setting)
    assert_twins_agree(getattr(kernels, name), getattr(reference, name), arguments, ulps(name, arguments))


@pytest.mark.parametrize("name", TWINS)
@given(setting=settings)
def test_the_python_of_a_kernel_does_what_its_twin_does(name, setting):
    _, python = both(getattr(kernels, name))
    arguments = TWINS[name](setting)
    assert_twins_agree(python, getattr(reference, name), arguments, ulps(name, arguments))


def test_a_gradient_larger_than_the_list_of_its_entries():
    rng = np.random.default_rng(0)
    x, dy = rng.integers(-3, 4, (2, 10, 4, 1)).astype(np.float64), np.zeros((2, 9, 3, 1000))
    chosen = rng.random(dy.shape) < 0.01
    dy[chosen] = rng.integers(1, 4, chosen.sum())
    assert dy[0].nbytes > sparse.LIST_BYTES
    arguments = [x, NO_ARGMAX, (10, 4), dy, NO_ARGMAX, np.zeros((1000, 2, 2, 1)), 1, 1, ((0, 0), (0, 0))]
    assert_twins_agree(kernels.sum_patches, reference.sum_patches, arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pads", [NO_PADS, ((1, 0), (0, 2))])
@pytest.mark.parametrize(("vectors", "more"), [(1, -1), (1, 0), (1, 1), (2, 0), (2, 3)])
@pytest.mark.parametrize("filters", [2, 40])
def test_channels_that_do_not_fill_vectors(filters, vectors, more, pads, dtype):
    """Where some do and some do not, many filters' sums are taken apart."""
    rng = np.random.default_rng(0)
    c = vectors * (kernels.VECTOR_BYTES or 32) // dtype().itemsize + more
    (top, bottom), (left, right) = pads
    shapes = (2, 4, 5, c), (2, 3 + top + bottom, 3 + left + right, filters), (filters, 2, 3, c)
    x, dy, sums = (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes)
    for function in both(kernels.sum_patches):
        arguments = [x, NO_ARGMAX, (4, 5), dy, NO_ARGMAX, sums, 1, 1, pads]
        assert_twins_agree(function, reference.sum_patches, arguments)


def new_empty(like, size):
    return arrays.empty(size, like.dtype)


def new_matrix(like, rows, columns):
    return arrays.empty_matrix(rows, columns, like.dtype)


def flat_copy(x):
    return arrays.flat(x.copy())


def in_plain_python_and_compiled(function):
    return function, numba.njit(function)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uintp, np.uint8])
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_room_for_vectors_begins_where_a_vector_does(size, dtype):
    for new in in_plain_python_and_compiled(new_empty):
        for number in (size, np.uintp(size)):
            rooms = [new(np.ones(1, dtype), number) for _ in range(20)]
            for value, room in enumerate(rooms):
                room[:] = value
            found = {(room.ctypes.data % 64, room.shape, room.dtype) for room in rooms}
            assert found == {(0, (size,), np.dtype(dtype))}
            assert all((room == value).all() for value, room in enumerate(rooms)), "each has memory of its own"


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (5, 7)])
def test_room_for_a_matrix_lies_row_by_row(shape):
    for new in in_plain_python_and_compiled(new_matrix):
        rooms = [new(np.ones(1, np.float32), *shape) for _ in range(20)]
        for value, room in enumerate(rooms):
            room[:] = value
        for value, room in enumerate(rooms):
            assert (room.shape, room.dtype, room.flags.c_contiguous) == (shape, np.float32, True)
            assert (room == value).all()


def test_too_much_room_is_a_memory_error():
    for new in in_plain_python_and_compiled(new_empty):
        with pytest.raises(MemoryError):
            new(np.ones(1), np.uintp(2**50))


def test_a_flat_view_is_of_the_same_memory_and_keeps_it():
    for view in in_plain_python_and_compiled(lambda x: arrays.flat(x)):
        for shape in [(0,), (6,), (2, 3), (2, 1, 3, 2)]:
            x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
            flat = view(x)
            assert (flat.shape, flat.tolist()) == ((x.size,), list(range(x.size)))
            flat[:] = -1
            assert (x == -1).all()
    for view in in_plain_python_and_compiled(flat_copy):
        views = [view(np.full((50, 50), value, np.float32)) for value in range(20)]
        assert all((flat == value).all() for value, flat in enumerate(views))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_of_what_is_not_contiguous_there_is_no_flat_view():
    with pytest.raises(numba.TypingError):
        numba.njit(lambda x: arrays.flat(x))(np.ones((4, 4))[:, ::2])


@pytest.mark.parametrize(("size", "pitch"), [(0, 0), (1, 16), (15, 16), (16, 16), (17, 32), (160, 160)])
def test_rows_are_as_far_apart_as_whole_vectors(size, pitch):
    assert common.to_pitch(np.uintp(size)) == pitch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_part_of_a_matrix_is_transposed_and_nothing_else_is_written(dtype):
    """For all sizes about those of vectors; what stands where nothing belongs stays."""
    for transpose in in_plain_python_and_compiled(lambda *arguments: common.transpose(*arguments)):
        for rows, columns in itertools.product([1, 2, 7, 8, 9, 15, 16, 17, 33], repeat=2):
            x = np.arange(1.0, (rows + 1) * (columns + 3) + 1, dtype=dtype).reshape(rows + 1, columns + 3)
            y = np.full((columns + 1, rows + 2), -1, dtype)
            sizes = [np.uintp(number) for number in (1, columns + 3, rows, columns, 2, rows + 2)]
            transpose(x.reshape(-1), *sizes[:4], y.reshape(-1), *sizes[4:])
            expected = np.full_like(y, -1)
            expected[:columns, 2:] = x[:rows, 1 : columns + 1].T
            np.testing.assert_array_equal(y, expected, err_msg=f"{rows} rows, {columns} columns")


FEW_AND_MORE = [3, 9]  # filters: vectors are of positions, or of filters
TILE_AND_AROUND = [1, kernels.TILE - 1, kernels.TILE, kernels.TILE + 1, 2 * kernels.TILE, 2 * kernels.TILE + 1]


@pytest.mark.parametrize("positions", TILE_AND_AROUND)
@pytest.mark.parametrize("c", [1, 20])  # thin images, which may be blank, and others
@pytest.mark.parametrize("pads", [NO_PADS, ((1, 1), (2, 0))])
def test_a_kernel_for_few_positions_of_convolve(positions, c, pads):
    """Rows that do not fill a tile overlap earlier ones, or lie in a room of their own."""
    rng = np.random.default_rng(0)
    (top, bottom), (left, right) = pads
    shapes = (1, 4 - top - bottom, positions + 2 - left - right, c), (4, 3, c, 17), (17,), (1, 1, positions, 17)
    x, W, b, y = (rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes)
    for function in both(kernels.convolve):
        assert_twins_agree(function, reference.convolve, [x, W, b, y, 1, 1, pads, 0.0])


@pytest.mark.parametrize(("x_transposed", "W_transposed"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("columns", [3, *(kernel_settings.COLUMNS * i + more for i, more in [(1, 0), (1, 1), (2, 7)])])
@pytest.mark.parametrize("rows", [*TILE_AND_AROUND, products.ROWS - 1, products.ROWS, products.ROWS + 1, 100])
def test_a_kernel_for_any_number_of_rows_and_columns_of_matmul(rows, columns, x_transposed, W_transposed):
    rng = np.random.default_rng(0)
    x, W, b, y = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in [(rows, 6), (6, columns), (columns,), (rows, columns)]
    )
    x, W = (
        np.ascontiguousarray(array.T) if transposed else array
        for array, transposed in [(x, x_transposed), (W, W_transposed)]
    )
    arguments = [x, W, b, y, x_transposed, W_transposed, 0.0]
    assert_twins_agree(kernels.matmul, reference.matmul, arguments)
    if rows * columns < 1000:
        assert_twins_agree(both(kernels.matmul)[1], reference.matmul, arguments)


@pytest.mark.parametrize("columns", [1, 7, 16, 33, 100])
@pytest.mark.parametrize("used", range(2 * products.ROWS_AT_ONCE + 2))
def test_a_kernel_for_any_number_of_zeros_of_vecmat(used, columns):
    """What would come of a zero does not count, whatever it is; NaN and infinity elsewhere do."""
    rng = np.random.default_rng(used)
    x, W = np.zeros((1, 20), np.float32), np.full((20, columns), np.nan, np.float32)
    rows = rng.permutation(20)[:used]
    x[0, rows], W[rows] = rng.integers(1, 4, used), rng.integers(-3, 4, (used, columns))
    b, y = rng.integers(-3, 4, columns).astype(np.float32), np.empty((1, columns), np.float32)
    for function in both(kernels.vecmat):
        function(x, W, b, y, -np.inf)
        np.testing.assert_array_equal(y, x[:, rows] @ W[rows] + b)
        for special in (np.nan, np.inf) if used else ():
            with np.errstate(invalid="ignore"):
                function(np.where(np.arange(20) == rows[-1], np.float32(special), x), W, b, y, -np.inf)
            assert not np.isfinite(y[0, W[rows[-1]] != 0]).any()


@pytest.mark.parametrize("more", [-1, 0, 1, 140])
@pytest.mark.parametrize("rows", [kernels.TILE - 1, kernels.TILE, kernels.TILE + 1])
@pytest.mark.parametrize(
    ("columns", "depth"), [(3, products.NARROW_DEPTH or products.DEPTH), (products.NARROW + 3, products.DEPTH)]
)
def test_a_kernel_for_matrices_of_any_depth_of_matmul(columns, depth, rows, more):
    """Some rows of W after another are added up in y, which must not be cut off at ``least`` before all are."""
    rng = np.random.default_rng(0)
    size = depth + more
    x, W, b, y = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in [(rows, size), (size, columns), (columns,), (rows, columns)]
    )
    assert_twins_agree(kernels.matmul, reference.matmul, [x, W, b, y, False, False, 0.0])


@pytest.mark.parametrize("entry", range(21))
@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_kernel_overlooks_no_entry_of_convolve_where_there_are_few_positions(entry, images):
    x, W = np.zeros((images, 7, 3, 1)), np.ones((3, 3, 1, 1))
    x[-1].reshape(-1)[entry] = 1
    y = np.full((images, 5, 1, 1), np.nan)
    for function in both(kernels.convolve):
        assert_twins_agree(function, reference.convolve, [x, W, np.zeros(1), y, 1, 1, NO_PADS, -math.inf])


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 4), (5, 5)])
@pytest.mark.parametrize("strides", [(1, 1), (1, 2), (2, 1)])
def test_a_kernel_overlooks_no_entry_of_one_small_image_of_convolve(size, strides):
    W, b = np.random.default_rng(0).integers(1, 4, (*size, 1, 2)).astype(np.float32), np.zeros(2, np.float32)
    for h, w in itertools.product((size[0], size[0] + 1, size[0] + 4), (size[1], size[1] + 1, size[1] + 2)):
        x = np.eye(h * w, dtype=np.float32).reshape(-1, h, w, 1)
        out = Window(size, strides, "valid").output_size(h, w)
        y, expected = np.full((2, len(x), *out, 2), np.nan, np.float32)
        reference.convolve(x, W, b, expected, *strides, NO_PADS, -math.inf)
        for image in range(len(x)):
            one = slice(image, image + 1)
            kernels.convolve(x[one], W, b, y[one], *strides, NO_PADS, -math.inf)
        np.testing.assert_array_equal(y, expected)


def test_a_kernel_reads_no_images_of_convolve_that_are_not_there():
    """Four images are too many at a time for the cache: of the last one, there are fewer positions than in a tile.

    Plain Python tells, and so do bounds checks.
    """
    rng = np.random.default_rng(0)
    x, W = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((4, 96, 96, 1), (3, 3, 1, 2)))
    y = np.full((4, 2, 2, 2), np.nan, np.float32)
    for function in both(kernels.convolve):
        assert_twins_agree(function, reference.convolve, [x, W, np.zeros(2, np.float32), y, 60, 60, NO_PADS, -math.inf])


@pytest.mark.parametrize(
    "pads", [((0, 1), (0, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 0)), ((1, 2), (3, 0))]
)
@pytest.mark.parametrize("name", ["sum_patches", "add_filters", "convolve"])
def test_a_kernel_with_zeros_on_some_sides_only(name, pads):
    rng = np.random.default_rng(0)
    (top, bottom), (left, right) = pads
    shapes = (2, 4, 3, 2), (2, 3 + top + bottom, 2 + left + right, 3), (3, 2, 2, 2), (2, 2, 2, 3), (3,)
    x, dy, filters, W, b = (rng.integers(-3, 4, shape).astype(np.float64) for shape in shapes)
    arguments = {
        "sum_patches": [x, NO_ARGMAX, (4, 3), dy, NO_ARGMAX, filters, 1, 1, pads],
        "add_filters": [dy, NO_ARGMAX, filters, x, 1, 1, pads],
        "convolve": [x, W, b, dy, 1, 1, pads, -math.inf],
    }[name]
    for function in both(getattr(kernels, name)):
        assert_twins_agree(function, getattr(reference, name), arguments)


@pytest.mark.parametrize("filters", FEW_AND_MORE)
@pytest.mark.parametrize("stride", [1, 40])
def test_a_kernel_for_more_images_than_are_padded_at_a_time(stride, filters):
    """With the larger stride the last image has fewer positions than a tile. Nothing is left of the images before."""
    x = np.random.default_rng(0).integers(-3, 4, (9, 60, 60, 1)).astype(np.float64)
    x[:8, 10:] = np.nan
    window, pads = Window((3, 3), (stride, stride), "valid"), ((2, 2), (1, 3))
    at_a_time = convolution.PADDED_BYTES // (64 * 64 * x.itemsize)
    positions = math.prod(window.output_size(64, 64))
    assert 2 * at_a_time < len(x) == 2 * at_a_time + 1
    assert (positions < kernels.TILE <= at_a_time * positions) == (stride == 40)
    W, b = np.ones((3, 3, 1, filters)), np.arange(1.0, filters + 1)
    y = np.empty((9, *window.output_size(64, 64), filters))
    assert_twins_agree(kernels.convolve, reference.convolve, [x, W, b, y, stride, stride, pads, 0.0])


def blank_images(c: int, w: int) -> Array:
    """Images of zeros, but for one entry, which is at another place in each; the last one is all zero."""
    size = 6 * w * c
    return np.vstack([np.eye(size, dtype=np.float32), np.zeros((1, size), np.float32)]).reshape(-1, 6, w, c)


@pytest.mark.parametrize("entry", [1.0, np.nan, np.inf])
@pytest.mark.parametrize("strides", [(1, 1), (2, 4)])  # one vector to look at, or several
@pytest.mark.parametrize(("c", "w"), [(1, 5), (1, 17), (2, 9)])  # several rows of positions in a tile, or not
@pytest.mark.parametrize("pads", [NO_PADS, ((1, 2), (2, 1))])
@pytest.mark.parametrize("filters", FEW_AND_MORE)
def test_a_kernel_overlooks_no_entry_of_a_blank_image_of_convolve(entry, strides, c, w, pads, filters):
    x = blank_images(c, w)
    x[x != 0] = entry
    rng = np.random.default_rng(0)
    W, b = (rng.integers(1, 4, shape).astype(np.float32) for shape in [(5, 4, c, filters), (filters,)])
    b[:3] = -2, 0, 2
    padded_h, padded_w = 6 + sum(pads[0]), w + sum(pads[1])
    y = np.full((len(x), *Window((5, 4), strides, "valid").output_size(padded_h, padded_w), filters), 7, np.float32)
    for least in (-math.inf, 0.0, 2.0):
        assert_twins_agree(kernels.convolve, reference.convolve, [x, W, b, y, *strides, pads, least])
    few = [x[-8:], W, b, y[-8:], *strides, pads, 0.0]
    assert_twins_agree(both(kernels.convolve)[1], reference.convolve, few)


@given(
    setting=settings,
    w=st.integers(1, 30),
    c=st.sampled_from([1, 2]),
    weight=st.sampled_from([None, np.inf, -np.inf, np.nan]),
)
def test_a_kernel_leaves_background_out_of_convolve_where_it_makes_no_difference(setting, w, c, weight):
    """Zero times infinity is not zero: a weight that is not finite shows everywhere."""
    setting.zeros, setting.c, setting.w = 0.95, c, w
    x, W, *others = convolve(setting)
    if weight is not None:
        W.reshape(-1)[setting.rng.integers(W.size)] = weight
    for function in both(kernels.convolve):
        assert_twins_agree(function, reference.convolve, [x, W, *others])


def mostly_blank(filters: int) -> list[Any]:
    """Arguments of convolve: two images with an entry every now and then, five weights by five."""
    rng = np.random.default_rng(0)
    x = draw.normal(0, (2, 20, 20, 1), np.float32, zeros=0.98)
    W, b = (rng.standard_normal(shape).astype(np.float32) for shape in [(5, 5, 1, filters), (filters,)])
    return [x, W, b, np.zeros((2, 20, 20, filters), np.float32), 1, 1, ((2, 2), (2, 2)), -math.inf]


@pytest.mark.parametrize("filters", [4, 6, 8])  # with another one they are few, or not any more, or they never were
def test_what_is_left_out_of_convolve_would_have_given_the_same_bits(filters):
    """A filter more, of infinite weights, and nothing is left out; the others give what they gave without it."""
    x, W, b, y, *others = mostly_blank(filters)
    more = np.concatenate([W, np.full((5, 5, 1, 1), np.inf, np.float32)], axis=3)
    everything = np.zeros((2, 20, 20, filters + 1), np.float32)
    kernels.convolve(x, W, b, y, *others)
    with np.errstate(invalid="ignore"):
        kernels.convolve(x, more, np.append(b, b[:1]), everything, *others)
    assert np.isnan(everything[..., -1]).all()
    assert 100 < (y == b).all(axis=3).sum() < 700, "some positions see an entry, and some see none"
    np.testing.assert_array_equal(y.view(np.int32), everything[..., :-1].copy().view(np.int32))


def test_what_is_left_out_of_convolve_is_what_is_blank(monkeypatch):
    left_out: list[int] = []
    leave_out_blank = both(convolution._leave_out_blank)[1]

    def note(*arguments: Any) -> Any:
        count = leave_out_blank(*arguments)
        left_out.append(len(arguments[2]) - count)
        return count

    monkeypatch.setattr(convolution, "_leave_out_blank", note)
    python = both(kernels.convolve)[1]
    x, W, b, y, *others = mostly_blank(8)
    python(x, W, b, y, *others)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x[..., 0], ((0, 0), (2, 2), (2, 2))), (5, 5), (1, 2))
    in_use = (seen != 0).any(axis=(-2, -1)).reshape(-1)
    firsts = [min(first, in_use.size - kernels.TILE) for first in range(0, in_use.size, kernels.TILE)]
    blank = sum(not in_use[first : first + kernels.TILE].any() for first in firsts)
    assert 0 < sum(left_out) <= blank, "blank tiles that lie in two rows of the image may be too long"
    left_out.clear()
    for weight in (np.inf, np.nan):
        W[2, 1, 0, 3] = weight
        with np.errstate(invalid="ignore"):
            python(x, W, b, y, *others)
    wide = [np.zeros((1, 6, 12, 8)), np.ones((2, 2, 8, 3)), np.ones(3), np.empty((1, 5, 11, 3))]
    python(*wide, 1, 1, NO_PADS, 0.0)
    assert left_out == []


@pytest.mark.skipif(not convolution.FEW, reason="few filters are multiplied as more of them are")
def test_rows_of_an_image_that_few_filters_leave_out_are_blank(monkeypatch):
    looked_at: list[int] = []
    multiply = convolution._multiply_positions
    monkeypatch.setattr(convolution, "_by_position", both(convolution._by_position)[1])
    monkeypatch.setattr(convolution, "_multiply_positions", lambda *given: looked_at.append(0) or multiply(*given))
    python = both(kernels.convolve)[1]
    x, W, b, y, *others = mostly_blank(4)
    x[:, 5:12] = 0
    python(x, W, b, y, *others)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x[..., 0], ((0, 0), (2, 2), (2, 2))), (5, 24), (1, 2))
    assert len(looked_at) == (seen != 0).any(axis=(-2, -1)).sum() < 2 * 20
    for weight in (np.inf, np.nan):
        looked_at.clear()
        W[2, 1, 0, 3] = weight
        with np.errstate(invalid="ignore"):
            python(x, W, b, y, *others)
        assert len(looked_at) == 2 * 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("filters", [1, 5, convolution.FEW or 6, (convolution.FEW or 6) + 1])
@pytest.mark.parametrize("out_w", [1, 7, 8, 9, 15, 16, 17, 28, 31, 32, 33, 50, 64, 70])
def test_a_kernel_for_any_number_of_positions_and_few_filters_of_convolve(out_w, filters, dtype):
    """What stands before and after the outputs stays."""
    rng = np.random.default_rng(0)
    for k_h, k_w, s_h, (left, right) in [(1, 1, 1, (0, 0)), (2, 5, 1, (0, 0)), (3, 4, 2, (1, 2)), (5, 5, 1, (2, 0))]:
        w = max(out_w + k_w - 1 - left - right, 1)
        shapes = (2, 6, w, 1), (k_h, k_w, 1, filters), (filters,)
        x, W, b = (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes)
        shape = 2, (6 + 1 - k_h) // s_h + 1, w + left + right - k_w + 1, filters
        room = np.full(math.prod(shape) + 200, 7, dtype)
        y, expected, pads = room[100:-100].reshape(shape), np.empty(shape, dtype), ((1, 0), (left, right))
        reference.convolve(x, W, b, expected, s_h, 1, pads, 0.0)
        kernels.convolve(x, W, b, y, s_h, 1, pads, 0.0)
        np.testing.assert_array_equal(y, expected)
        assert (room[:100] == 7).all()
        assert (room[-100:] == 7).all()


@given(setting=settings)
def test_winograds_algorithm_gives_what_convolution_does(setting):
    """NaN is seen where a window has it, and nowhere else."""
    *arguments, room, pads, least = winograd(setting)
    x = arguments[0]
    if setting.special:
        x[setting.rng.random(x.shape) < 0.1] = np.nan

    def by_definition(x: Array, W: Array, b: Array, y: Array, kept: Array, pads: Pads, least: float) -> None:
        reference.convolve(x, W, b, y, 1, 1, pads, least)

    for function in [*both(kernels.winograd), *([] if np.isnan(x).any() else [reference.winograd])]:
        assert_twins_agree(function, by_definition, [*arguments, room, pads, least])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1, 7, 8, 20])  # the last filters are multiplied in vectors of channels
@pytest.mark.parametrize("filters", [1, 2, 7, 8, 9, 10, 11, 17, 50])
def test_a_kernel_for_any_number_of_filters_of_winograd(filters, c, dtype):
    rng = np.random.default_rng(0)
    shapes = (2, 6, 9, c), (5, 3, c, filters), (filters,), (2, 4, 9, filters)
    x, W, b, y = (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes)
    arguments = [x, W, b, y, room_for(W), ((1, 1), (2, 0)), 0.0]
    assert_twins_agree(kernels.winograd, reference.winograd, arguments)
    if filters * c < 100:
        assert_twins_agree(both(kernels.winograd)[1], reference.winograd, arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_what_winograd_keeps_is_made_anew_for_other_weights(place, dtype):
    rng = np.random.default_rng(0)
    shapes = (1, 3, 4, 3), (3, 3, 3, 9), (9,), (1, 2, 2, 9)
    x, W, b, y = (rng.integers(1, 4, shape).astype(dtype) for shape in shapes)
    for function in both(kernels.winograd):
        room = room_for(W)()
        for weight in (1, 2, -0.0, 0.0, np.nan, 3):
            W.ravel()[place] = weight
            for other in (W, W[::-1].copy()):
                assert_twins_agree(
                    lambda x, W, *others: function(x, W, *others[:2], room, *others[2:]),  # noqa: B023
                    lambda x, W, *others: reference.winograd(x, W, *others[:2], room, *others[2:]),  # noqa: B023
                    [x, other, b, y, ((1, 0), (0, 0)), -math.inf],
                )


def test_winograd_uses_what_it_has_kept():
    x, W, b = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 9)), np.zeros(9)
    for function in both(kernels.winograd):
        room, first, second = room_for(W)(), np.empty((1, 2, 2, 9)), np.empty((1, 2, 2, 9))
        function(x, W, b, first, room, NO_PADS, -math.inf)
        room[W.size + 2 * kernel_settings.PITCH :] *= 2  # not the weights, which come first
        function(x, W, b, second, room, NO_PADS, -math.inf)
        assert (first == 18).all()
        assert (second != first).any()


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ([], [7], True),
        ([1], [7, 1], True),
        ([1, 2], [7, 1, 3], False),
        ([1, 2], [7, 3, 2], False),
        ([np.nan], [7, np.nan], False),
    ],
)
def test_all_numbers_are_equal_or_not(a, b, equal):
    for dtype in (np.float32, np.float64):
        function = numba.njit(lambda a, b: common.all_equal(a, b, np.uintp(1)))
        assert function(np.array(a, dtype), np.array(b, dtype)) == equal


@pytest.mark.parametrize("taps", range(2, 10))
def test_two_sums_of_products_take_fewer_multiplications(taps):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, taps + 1).astype(np.float64), rng.integers(-9, 9, taps).astype(np.float64)
    A, B, G = reference.winograd_matrices(taps)
    np.testing.assert_array_equal(A @ ((G @ w) * (B @ x)), [x[:-1] @ w, x[1:] @ w])
    assert len(G) == {2: 3, 3: 4, 4: 6, 5: 7, 6: 8, 7: 10, 8: 11, 9: 12}[taps]


def images_of_all_sizes(term_bytes: int) -> list[tuple[int, int, int, int]]:
    """(n, h, w, c) of images of which more or fewer are taken at a time, if so many bytes of terms are."""
    row = term_bytes // 4 // 16  # numbers of which there are 16 terms of four bytes, as for 3x3
    return [
        (kernels.TILE + 1, 6, 7, 2),
        (1, 2, 70, 1),
        (2, 4, 3, row // 4),  # rows of which two fit
        (2, 5, 4, row // 2),  # and none
        (3, 3, 3, term_bytes // 32),  # images of which none fits
    ]


def assert_all_sizes_agree(function: Callable[..., Any], size: tuple[int, int], term_bytes: int) -> None:
    rng = np.random.default_rng(0)
    pads = ((1, size[0] - 1), (2, size[1] - 2))
    for n, h, w, c in images_of_all_sizes(term_bytes):
        out = h + sum(pads[0]) - size[0] + 1, w + sum(pads[1]) - size[1] + 1
        shapes = (n, h, w, c), (*size, c, 3), (3,), (n, *out, 3)
        x, W, b, y = (rng.integers(-1, 2, shape).astype(np.float32) for shape in shapes)
        assert_twins_agree(function, reference.winograd, [x, W, b, y, room_for(W), pads, -math.inf])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="many numbers; in plain Python, the next test has few")
@pytest.mark.parametrize("size", [(3, 3), (5, 3), (3, 5)])
def test_a_kernel_for_images_of_all_sizes_of_winograd(size):
    assert_all_sizes_agree(kernels.winograd, size, convolution_winograd.TERM_BYTES)


@pytest.mark.parametrize("size", [(3, 3), (5, 3), (3, 5)])
def test_the_python_of_a_kernel_for_images_of_all_sizes_of_winograd(monkeypatch, size):
    monkeypatch.setattr(convolution_winograd, "TERM_BYTES", 1 << 11)
    assert_all_sizes_agree(both(kernels.winograd)[1], size, 1 << 11)


@pytest.mark.parametrize("size", [3, 5])
def test_winograds_algorithm_rounds_no_worse_than_sums_of_products(size):
    rng = np.random.default_rng(0)
    x, W, b = (
        np.maximum(rng.standard_normal((2, 10, 10, 20)), 0),
        rng.standard_normal((size, size, 20, 16)),
        np.zeros(16),
    )
    x, W, b = (array.astype(np.float32) for array in (x, W, b))
    out = (2, 11 - size, 11 - size, 16)
    exact, one_by_one, shared = np.empty(out), np.empty(out, np.float32), np.empty(out, np.float32)
    reference.convolve(*(array.astype(np.float64) for array in (x, W, b)), exact, 1, 1, NO_PADS, -math.inf)
    kernels.convolve(x, W, b, one_by_one, 1, 1, NO_PADS, -math.inf)
    kernels.winograd(x, W, b, shared, room_for(W)(), NO_PADS, -math.inf)
    assert 0 < np.std(shared - exact) < np.std(one_by_one - exact)


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
@pytest.mark.parametrize("in_weights", [False, True])
def test_what_is_infinite_stays_infinite_or_becomes_nan_with_winograds_algorithm(in_weights, infinity):
    """And where it is infinite, it has the right sign."""
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((9, 9, 9, 1)), rng.standard_normal((5, 5, 1, 4))
    if in_weights:
        W[2, 3, 0, 1] = infinity
    else:
        x[range(9), range(9), range(9)] = infinity
    y, expected = np.empty((9, 5, 5, 4)), np.empty((9, 5, 5, 4))
    with np.errstate(invalid="ignore"):
        reference.convolve(x, W, np.zeros(4), expected, 1, 1, NO_PADS, -math.inf)
        for function in both(kernels.winograd):
            function(x, W, np.zeros(4), y, room_for(W)(), NO_PADS, -math.inf)
            np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
            np.testing.assert_allclose(y[~np.isnan(y)], expected[~np.isnan(y)], rtol=1e-12)


@pytest.mark.parametrize("more", [-1, 0, 1, 5, sparse.COUNTED + 3])
def test_more_numbers_are_counted_than_at_a_time(monkeypatch, more):
    x = np.ones(sparse.COUNTED + more, np.float32)
    x[5:7] = 0
    assert kernels.count_nonzero(x) == x.size - 2
    monkeypatch.setattr(sparse, "COUNTED", 4)
    x = x[:11].reshape(1, 11)
    assert both(kernels.count_nonzero)[1](x) == 9


@pytest.mark.parametrize(("most", "runs"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 5), (6, 5), (100, 5)])
def test_as_many_runs_at_once_as_there_is_code_for(most, runs):
    assert sparse._runs_of(np.uintp(most)) == runs


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
        if inspect.isfunction(function) and function.__module__.startswith(module.__name__) and not name.startswith("_")
    }


def test_every_kernel_has_a_twin_and_is_in_the_table():
    found = functions(kernels)
    assert found.keys() == TWINS.keys()
    assert functions(reference).keys() >= TWINS.keys()
    for name, kernel in found.items():
        assert kernel.__doc__.startswith(f"Twin: ``reference.{name}``")


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no machine code")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", calls.KERNELS, ids=lambda kernel: getattr(kernel, "py_func", kernel).__name__)
def test_calls_run_the_machine_code_that_layers_run(kernel, dtype):
    """The types for which a kernel is compiled to be called from a table are those that layers call it with."""
    name = kernel.py_func.__name__
    address = calls.machine_code(kernel, dtype)
    arguments = TWINS[name](a_setting(dtype))
    if name in ("relu", "relu_backward", "divide"):
        arguments = [value.reshape(-1) if isinstance(value, Array) else value for value in arguments]
    if name == "sum_patches":
        arguments[5] = arguments[5].transpose(1, 2, 3, 0).copy().transpose(3, 0, 1, 2)
    if name == "jump_if_dense":
        arguments[0] = arguments[0].reshape(-1)
    if name == "softmax_cross_entropy":
        arguments[1] = arguments[1].astype(np.intp)
    arguments = [argument() if callable(argument) else argument for argument in arguments]
    assert calls.table_of([(kernel, arguments)], dtype).shape == (1, calls.WORDS), "they fit into a row"
    before = list(kernel.overloads)
    kernel(*arguments)
    assert list(kernel.overloads) == before
    assert calls.machine_code(kernel, dtype) == address != 0


SHORT = {"count_nonzero", "divide", "jump_if_dense", "sum_channels", "softmax_cross_entropy"}


def test_kernels_release_the_gil_unless_they_are_short_and_keep_nan():
    for name in TWINS:
        kernel = getattr(kernels, name)
        if not numba.config.DISABLE_JIT:
            assert kernel.targetoptions["nogil"] is (name not in SHORT)
            assert kernel.targetoptions["fastmath"] <= {"contract"}
            assert not kernel.targetoptions.get("parallel")


def test_without_a_folder_for_machine_code_kernels_are_compiled_anew(monkeypatch):
    tried = []

    def njit(cache: bool = False, **options: Any) -> Callable[..., Any]:
        tried.append((cache, options))
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert kernel_settings.jit(max) is max
    assert tried == [(True, kernel_settings.SETTINGS), (False, kernel_settings.SETTINGS)]


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
    assert kernel_settings._vector_bytes(features) == expected
    for setting in ("DISABLE_JIT", "BOUNDSCHECK"):
        with monkeypatch.context() as patch:
            patch.setattr(numba.config, setting, 1)
            assert kernel_settings._vector_bytes(features) == 0


@pytest.mark.parametrize(
    ("told", "expected"),
    [("+avx2,+fma,-avx512f", 32), ("+avx512f", 64), ("-avx512f,-avx2,+fma", 0), ("", 0)],
)
def test_the_vectors_are_those_that_numba_was_told_of(monkeypatch, told, expected):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", None)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", told)
    assert kernel_settings._vector_bytes(kernel_settings._features()) == expected


@pytest.mark.skipif(not kernels.VECTOR_BYTES, reason="there is no vector code: its Python is compiled instead, or run")
def test_loops_of_vector_code_are_not_unrolled():
    def write(code, x, y, count):
        vector = Vector(code, code.lanes, 0)
        total = code.variable(vector.load(y, code.integer(0)))
        with code.loop(code.integer(0), count) as i:
            code.add_product(total, vector.load(x, i), vector.load(x, i))
        vector.store(code.builder.load(total), y, code.integer(0))

    @compiled_as(write)
    def add_squares(x, y, count):
        """Lane by lane, add the squares of ``count`` vectors, each of which begins one number after the other."""

    @numba.njit
    def kernel(x, y, count):
        add_squares(x, y, count)

    count, lanes = 30, kernels.VECTOR_BYTES // 4
    x, y = np.arange(count + lanes, dtype=np.float32), np.ones(lanes, np.float32)
    kernel(x, y, count)
    np.testing.assert_array_equal(y, [1 + (x[lane : lane + count] ** 2).sum() for lane in range(lanes)])
    (code,) = kernel.inspect_asm().values()
    assert code.count("fmadd") == 1
