"""The functions of ``reference.py`` again, in Numba: same names, same arguments, same results, faster.

Kernels check nothing (the layers do), run on one thread and, unless they are short, release the GIL: the training loop
runs them in parallel on different images. All arrays are of one dtype, float32 or float64, and C-contiguous unless it
says otherwise.

Each call chain stays in this file, because Numba's on-disk cache does not notice a change in another one. Indices are
unsigned (``uint``): Numba tests a signed index for being negative at every access.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, lower_builtin, overload, type_callable

from tinynet.compilation import SecondCompiler, pause_collector_for

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
uint = np.uintp

# "contract" allows fused multiply-add and nothing else: NaN and infinity stay what they are.
SETTINGS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "no_cfunc_wrapper": True}
pause_collector_for(__name__)
SECOND_COMPILER = SecondCompiler(
    "tinynet.backward_kernels",
    ("sum_patches", "add_filters", "sum_channels", "sgd", "softmax_cross_entropy", "relu_backward"),
    begins_with=("convolve", "winograd"),
)


def _vector_bytes(features: Mapping[str, bool]) -> int:
    """What a vector register of a processor holds, in bytes; 0 where the Python of the vector code is compiled."""
    if config.DISABLE_JIT or config.BOUNDSCHECK:  # type: ignore[attr-defined]
        return 0
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") and features.get("fma") else 0


VECTOR_BYTES = _vector_bytes(llvmlite.binding.get_host_cpu_features())
# Sums that are kept in such registers (the others are for factors), for how many rows and columns of a matrix at once.
SUMS, TILE, COLUMNS = (24, 8, 48) if VECTOR_BYTES == 64 else (12, 6, 64)
LIST_BYTES = 1 << 16  # of a gradient whose non-zeros are listed at a time
FAST_BYTES = 1 << 15  # of weights that stay in the processor's fastest memory
RUNS = (1, 5)  # how many runs are added to at once: the rows of the usual windows
BLANK = 48  # numbers of an image's row, which are looked at before they are multiplied: they may all be zero
WORTH_TAKING_APART = 4  # times that a pixel is looked up, at least
PADDED_BYTES = 1 << 17  # of images with zeros around them
TERM_BYTES = 1 << 18  # of the terms of images in Winograd's algorithm, which stay in the processor's cache
LINES = 4  # of the cache, 64 bytes each, in which so many columns may lie
ROWS = 48  # that are transposed at a time
PITCH = 16  # numbers: rows of weights begin at multiples of it, which is where a vector does
TOGETHER = TILE  # images that go through convolutions and poolings: what is between these stays in the cache

# A step of ``run_steps``: a kernel and what it is called with.
CONVOLVE, MATMUL, VECMAT, MAX_POOL, AVERAGE_POOL, RELU, SOFTMAX, WINOGRAD = range(8)
STEP = np.dtype(
    [
        ("kind", np.int64),
        ("code", np.int64),  # address of the kernel's machine code
        ("x", np.int64, 3),  # shape of a sample before it: (h, w, c), (1, w, c) or (1, 1, c); and after it
        ("y", np.int64, 3),
        ("W", np.int64),  # addresses of arrays, whose shapes follow from the others
        ("b", np.int64),
        ("least", np.float64),
        ("size", np.int64, 2),  # of a window
        ("strides", np.int64, 2),
        ("pads", np.int64, (2, 2)),
    ]
)


def jit(function: Function, **others: Any) -> Function:
    """Compile on first use, keeping the machine code on disk where a folder for it can be written."""
    settings = SETTINGS | others
    try:
        kernel = numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # Numba found no writable cache folder: compile anew in each process
        return numba.njit(**settings)(function)  # type: ignore[no-any-return]
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        SECOND_COMPILER.share(kernel)
    return kernel  # type: ignore[no-any-return]


def short_jit(function: Function) -> Function:
    """``jit`` without releasing the GIL, for a pass that takes microseconds: to get the GIL back may take many more."""
    return jit(function, nogil=False)


def _inline(function: Function) -> Function:
    """Compile as a part of the kernels that call it: that takes less time than a function of its own."""
    return numba.njit(inline="always", **SETTINGS)(function)  # type: ignore[no-any-return]


@jit
def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Twin: ``reference.im2col``. A patch is k_h runs of k_w * c numbers that lie side by side in the image."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = x.ravel(), patches.ravel()
    run, row, step = uint(k_w * c), uint(w * c), uint(s_w * c)
    rest = uint(patches.shape[1]) - uint(k_h) * run
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            corner = uint((image * h + i * s_h) * w * c)
            for _ in range(out_w):
                s = corner
                for _ in range(k_h):
                    for r in range(run):
                        target[t + r] = source[s + r]
                    t += run
                    s += row
                t += rest
                corner += step


@jit
def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Twin: ``reference.im2col_transposed``. With one channel and stride 1 its runs are whole image rows."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = x.ravel(), patches.ravel()
    step, width = uint(s_w * c), uint(out_w)
    t = uint(0)
    for k_i in range(k_h):
        for k_j in range(k_w):
            for channel in range(c):
                for image in range(n):
                    for i in range(out_h):
                        s = uint(((image * h + i * s_h + k_i) * w + k_j) * c + channel)
                        if step == 1:
                            for j in range(width):
                                target[t + j] = source[s + j]
                        else:
                            for j in range(width):
                                target[t + j] = source[s + j * step]
                        t += width


@jit
def col2im(patches: Array, x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> None:
    """Twin: ``reference.col2im``."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = patches.ravel(), x.ravel()
    run, row, step = uint(k_w * c), uint(w * c), uint(s_w * c)
    s = uint(0)
    for image in range(n):
        for i in range(out_h):
            corner = uint((image * h + i * s_h) * w * c)
            for _ in range(out_w):
                t = corner
                for _ in range(k_h):
                    for r in range(run):
                        target[t + r] += source[s + r]
                    s += run
                    t += row
                corner += step


@jit
def _aligned(size: Any, dtype: Any) -> Array:
    """Room for ``size`` numbers that begins where a vector should: an unaligned one takes twice as long to load."""
    room = np.empty(size + uint(64), dtype)
    skip = uint(-room.ctypes.data % 64 // room.itemsize)
    return room[skip : skip + size]


@_inline
def _zeros(size: Any, dtype: Any) -> Array:
    room = _aligned(size, dtype)
    room[:] = 0
    return room


@_inline
def _to_pitch(size: Any) -> Any:
    """``size`` numbers with what is missing to a multiple of PITCH."""
    return (size + uint(PITCH - 1)) // uint(PITCH) * uint(PITCH)


@_inline
def _copy_rows(source: Array, rows: Any, row: Any, target: Array, pitch: Any) -> None:
    """Copy rows that lie side by side, so that they begin ``pitch`` apart."""
    for i in range(rows):
        _copy(source, i * row, row, target, i * pitch)


@_inline
def _pad(x: Array, first: int, end: int, pads: Any, room: Array) -> None:
    """Copy images ``first`` to ``end`` of ``x`` into a room with zeros around each, which are there already."""
    _, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    source, line = x.ravel(), uint(w * c)
    s = uint(first * h) * line
    for image in range(end - first):
        for i in range(h):
            t = uint(((image * (top + h + bottom) + top + i) * (left + w + right) + left) * c)
            _copy(source, s, line, room, t)
            s += line


@_inline
def _list_starts(starts: Array, out_h: Any, out_w: Any, next_row: Any, next_column: Any) -> None:
    """Write where in an image the patch under each position of a window begins."""
    p = uint(0)
    for i in range(out_h):
        for j in range(out_w):
            starts[p] = uint(i * next_row + j * next_column)
            p += uint(1)


@_inline
def _list_tiles(tiles: Array, positions: Any) -> Any:
    """Write which tiles there are, the first of TILE neighbouring positions each, and return how many.

    The last one overlaps others where need be.
    """
    count = uint(0)
    for p in range(uint(0), positions, uint(TILE)):
        tiles[count] = min(p, max(positions, uint(TILE)) - uint(TILE))
        count += uint(1)
    return count


@_inline
def _is_finite(numbers: Array) -> bool:
    """Whether none is NaN or infinite: then their products with zeros are zero, and may be left out."""
    finite = True
    for number in numbers:
        finite &= number - number == 0
    return finite


@jit
def convolve(x: Array, W: Array, b: Array, y: Array, s_h: int, s_w: int, pads: Any, least: float) -> None:
    """Twin: ``reference.convolve``. TILE patches at once are read where they lie, in an image with zeros around it."""
    n, h, w, c = x.shape
    _, out_h, out_w, filters = y.shape
    k_h, k_w, _, _ = W.shape
    (top, bottom), (left, right) = pads
    run, runs, width, positions = uint(k_w * c), uint(k_h), uint(filters), out_h * out_w
    pitch = _to_pitch(width)
    weights = _aligned(runs * run * pitch, W.dtype)
    _copy_rows(W.ravel(), runs * run, width, weights, pitch)
    bias, smallest = b.ravel(), x.dtype.type(least)
    is_thin = (uint(TILE - 1) * uint(s_w * c) + run) <= uint(BLANK) and _is_finite(W.ravel())

    padded_h, padded_w = top + h + bottom, left + w + right
    images = min(n, max(1, PADDED_BYTES // (padded_h * padded_w * c * x.itemsize)))
    size, row = padded_h * padded_w * c, uint(padded_w * c)
    room = _zeros(uint(images * size if size > h * w * c else 0), x.dtype)
    tiles = np.empty(images * positions // TILE + 1, np.uintp)
    starts = np.empty(max(images * positions, TILE), np.uintp)
    _list_starts(starts, out_h, out_w, s_h * padded_w * c, s_w * c)
    for i in range(positions, len(starts)):  # after all images, what is missing to a tile
        starts[i] = starts[i - positions] + uint(size if i < images * positions else 0)

    products = y.ravel()
    for first in range(0, n, images):
        chunk = min(images, n - first)
        source, target = x.ravel()[first * size :], products[first * positions * filters :]
        if room.size:
            _pad(x, first, first + chunk, pads, room)
            source = room
        end = uint(chunk * positions)
        if end < uint(TILE):
            target = np.empty(uint(TILE) * width, y.dtype)
        count = _list_tiles(tiles, end)
        if is_thin:
            count = _leave_out_blank(source, starts, tiles[:count], runs, row, run, bias, smallest, target)
        for tile in range(count):
            p = tiles[tile]
            patches, matrix, to = (p, runs, row, run), (uint(0), pitch, uint(0), uint(0)), (p * width, width, width)
            _multiply_tile(source, starts, *patches, weights, *matrix, bias, smallest, target, *to)
        if end < uint(TILE):
            _copy(target, uint(0), end * width, products, uint(first * positions) * width)


@_inline
def _leave_out_blank(
    source: Array,
    starts: Array,
    tiles: Array,
    runs: Any,
    row: Any,
    run: Any,
    bias: Array,
    least: Any,
    target: Array,
) -> Any:
    """Leave those tiles out of the list whose patches are all zero, and write what comes of them; how many are left.

    Much of an image of one channel may be an empty background.
    """
    width, is_blank = uint(len(bias)), np.empty(1, np.uint8)
    centre, count = runs // uint(2) * row + run // uint(2), uint(0)
    blank = np.empty(uint(TILE) * width, target.dtype)
    for r in range(uint(TILE) * width):
        blank[r] = least if bias[r % width] <= least else bias[r % width]
    for i in tiles:
        first = starts[i]
        span = starts[i + uint(TILE - 1)] + run - first
        is_blank[0] = 0
        if span <= uint(BLANK) and source[first + centre] == 0:
            _all_zero(source, first, runs, row, span, is_blank)
        if is_blank[0]:
            for r in range(uint(TILE) * width):
                target[i * width + r] = blank[r]
        else:
            tiles[count] = i
            count += uint(1)
    return count


# Winograd's algorithm, in the words of this file: a tile is two positions by two. In each direction, three taps of a
# window make a group, and so do the two that five have beyond these. A group has terms of four kinds, by what their
# products count for: the first of two outputs, both, both with opposite signs (two taps have none), and the second.
TAPS = (3, 5)  # rows or columns of a window
KINDS = 4
FIRST_TERMS = {3: (0, 1, 2, 3, 4), 5: (0, 2, 4, 5, 7)}  # of each kind, and how many terms there are
MOST_TERMS = 7


def _number_terms(taps_h: int, taps_w: int) -> tuple[Array, Array]:
    """In both directions at once: the number of each pair of terms, and the first number of each pair of kinds.

    Those of the same kinds come one after another. The second array ends with the number of all of them.
    """
    numbers, firsts = np.zeros((MOST_TERMS, MOST_TERMS), np.uintp), [0]
    for first_h, end_h in itertools.pairwise(FIRST_TERMS[taps_h]):
        for first_w, end_w in itertools.pairwise(FIRST_TERMS[taps_w]):
            shape = end_h - first_h, end_w - first_w
            numbers[first_h:end_h, first_w:end_w] = firsts[-1] + np.arange(math.prod(shape)).reshape(shape)
            firsts.append(firsts[-1] + math.prod(shape))
    return numbers, np.array(firsts, np.uintp)


TERM_NUMBERS = np.array([[_number_terms(taps_h, taps_w)[0] for taps_w in TAPS] for taps_h in TAPS])
FIRST_NUMBERS = np.array([[_number_terms(taps_h, taps_w)[1] for taps_w in TAPS] for taps_h in TAPS])
IN_ORDER = np.arange(MOST_TERMS, dtype=np.uintp)


@_inline
def _transform_weights(W: Array, numbers: Array, num_terms: Any, pitch: Any) -> Array:
    """The terms of the weights: for each of them a matrix (c, filters), whose rows begin ``pitch`` apart."""
    k_h, k_w, c, filters = W.shape
    taps_h, taps_w, width, zero, two = uint(k_h), uint(k_w), uint(filters), uint(0), uint(2)
    tap = uint(c) * width
    line = taps_w * tap
    line_pitch = _to_pitch(line)
    source = _aligned(taps_h * line + uint(PITCH), W.dtype)
    _copy(W.ravel(), zero, taps_h * line, source, zero)
    lines = _aligned(uint(MOST_TERMS) * line_pitch + uint(PITCH), W.dtype)
    weights = _aligned(num_terms * uint(c) * pitch, W.dtype)
    _terms_of_weights(source, zero, line, two * line, line, IN_ORDER, zero, lines, zero, line_pitch, taps_h)
    for channel in range(uint(c)):
        for i in range(taps_h + taps_h // two):  # terms: 4 of 3 taps, 7 of 5
            start = i * line_pitch + channel * width
            places, to = (start, start + tap, two * tap, width), (weights, channel * pitch, uint(c) * pitch, taps_w)
            _terms_of_weights(lines, *places, numbers, i * uint(MOST_TERMS), *to)
    return weights


@_inline
def _pad_evens_first(x: Array, first: int, end: int, pads: Any, size: Any, row: Any, evens: Any, room: Array) -> None:
    """Like ``_pad``, but the even columns of each row, ``evens`` numbers in all, come before the odd ones."""
    _, h, w, c = x.shape
    (top, _), (left, _) = pads
    source, depth, two = x.ravel(), uint(c), uint(2)
    s = uint(first * h * w) * depth
    for image in range(uint(end - first)):
        for i in range(uint(top), uint(top + h)):
            t = image * size + i * row
            for j in range(uint(left), uint(left + w)):
                _copy(source, s, depth, room, t + j % two * evens + j // two * depth)
                s += depth


@jit
def winograd(x: Array, W: Array, b: Array, y: Array, pads: Any, least: float) -> None:
    """Twin: ``reference.winograd``, for windows of TAPS. NaN shows just where a window has it; infinity may become NaN.

    For some rows of tiles at a time, which stay in the cache, first the terms of their pixels are written, then the
    products of TILE tiles at once for each pair of kinds, and last their outputs. Even columns lie side by side, and so
    do odd ones: those that neighbouring tiles have a term of make one run.
    """
    n, out_h, out_w, filters = y.shape
    k_h, k_w, c, _ = W.shape
    (zero, one, two), taps_h, taps_w = (uint(0), uint(1), uint(2)), uint(k_h), uint(k_w)
    depth, width, pitch = uint(c), uint(filters), _to_pitch(uint(filters))
    numbers, firsts = TERM_NUMBERS[k_h // 4, k_w // 4].ravel(), FIRST_NUMBERS[k_h // 4, k_w // 4]  # 0 for 3, 1 for 5
    num_terms = firsts[KINDS * KINDS]
    weights = _transform_weights(W, numbers, num_terms, pitch)

    tiles_h, tiles_w = uint((out_h + 1) // 2), uint((out_w + 1) // 2)
    padded_h, padded_w = two * tiles_h + taps_h - one, two * tiles_w + taps_w - one
    evens, row, run = padded_w // two * depth, padded_w * depth, tiles_w * depth
    size, line_pitch, run_pitch = padded_h * row, _to_pitch(row), _to_pitch(run)
    images = int(min(max(uint(TERM_BYTES) // (size * uint(x.itemsize)), one), uint(TILE), uint(n)))
    at_once = min(max(uint(TERM_BYTES) // (num_terms * run_pitch * uint(x.itemsize)), one), uint(TILE))
    most = (at_once * tiles_w + uint(TILE - 1)) // uint(TILE) * uint(TILE)
    next_term, next_kind = at_once * run_pitch, most * pitch
    room = _zeros(uint(images) * size + uint(PITCH), x.dtype)
    lines = _aligned(uint(MOST_TERMS) * line_pitch + uint(PITCH), x.dtype)
    terms, products = _aligned(num_terms * next_term, x.dtype), _aligned(uint(KINDS * KINDS) * next_kind, x.dtype)
    places, starts, no_bias = np.empty(most, np.uintp), np.empty(TILE, np.uintp), _zeros(pitch, x.dtype)
    bias, target, smallest, nothing = b.ravel(), y.ravel(), x.dtype.type(least), x.dtype.type(-np.inf)

    for begin in range(0, n, images):
        chunk = min(images, n - begin)
        _pad_evens_first(x, begin, begin + chunk, pads, size, row, evens, room)
        for first_row in range(zero, uint(chunk) * tiles_h, at_once):
            rows = min(at_once, uint(chunk) * tiles_h - first_row)
            tiles = rows * tiles_w
            for r in range(rows):
                corner = (first_row + r) // tiles_h * size + (first_row + r) % tiles_h * two * row
                to = lines, zero, line_pitch, taps_h
                _terms_of_pixels(room, corner, corner + row, two * row, row, IN_ORDER, zero, *to)
                for i in range(taps_h + taps_h // two):
                    start, order = i * line_pitch, (numbers, i * uint(MOST_TERMS))
                    to_terms = terms, r * run_pitch, next_term, taps_w
                    _terms_of_pixels(lines, start, start + evens, depth, run, *order, *to_terms)
            for tile in range(most):  # after the last one, what is missing to TILE
                p = min(tile, tiles - one)
                places[tile] = p // tiles_w * run_pitch + p % tiles_w * depth
            for kind in range(uint(KINDS * KINDS)):
                first = firsts[kind]
                runs, matrix = firsts[kind + one] - first, (first * depth * pitch, pitch, zero, zero)
                for tile in range(zero, tiles, uint(TILE)):
                    for p in range(uint(TILE)):
                        starts[p] = first * next_term + places[tile + p]
                    to_kind = products, kind * next_kind + tile * pitch, pitch, width
                    patches = zero, runs, next_term, depth
                    _multiply_tile(terms, starts, *patches, weights, *matrix, no_bias, nothing, *to_kind)
            for tile in range(tiles):
                tile_row, out_j = first_row + tile // tiles_w, tile % tiles_w * two
                image, out_i = uint(begin) + tile_row // tiles_h, tile_row % tiles_h * two
                t = ((image * uint(out_h) + out_i) * uint(out_w) + out_j) * width
                below = uint(out_w) * width if out_i + one < uint(out_h) else zero
                beside = width if out_j + one < uint(out_w) else zero
                _two_by_two(products, tile * pitch, next_kind, bias, smallest, target, t, below, beside, width)


@jit
def vecmat(x: Array, W: Array, b: Array, y: Array, least: float) -> None:
    """Twin: ``reference.vecmat``. The rows of W, each times a number of x, are added up eight at a time.

    A large W is read from memory, and that many places at once bring it as fast as it comes.
    """
    size, columns, smallest = uint(W.shape[0]), uint(W.shape[1]), y.dtype.type(least)
    numbers, weights, target = x.ravel(), W.ravel(), y.ravel()
    for i in range(columns):
        target[i] = b[i]
    whole = size - size % uint(8)
    for k in range(uint(0), whole, uint(8)):
        x_0, x_1, x_2, x_3 = numbers[k], numbers[k + uint(1)], numbers[k + uint(2)], numbers[k + uint(3)]
        x_4, x_5, x_6, x_7 = numbers[k + uint(4)], numbers[k + uint(5)], numbers[k + uint(6)], numbers[k + uint(7)]
        row, half = k * columns, uint(4) * columns
        for i in range(row, row + columns):
            two = x_0 * weights[i] + x_1 * weights[i + columns]
            four = two + (x_2 * weights[i + uint(2) * columns] + x_3 * weights[i + uint(3) * columns])
            j = i + half
            two = x_4 * weights[j] + x_5 * weights[j + columns]
            others = two + (x_6 * weights[j + uint(2) * columns] + x_7 * weights[j + uint(3) * columns])
            target[i - row] += four + others
    for k in range(whole, size):
        for i in range(columns):
            target[i] += numbers[k] * weights[k * columns + i]
    for i in range(columns):
        target[i] = smallest if target[i] <= smallest else target[i]


@jit
def matmul(x: Array, W: Array, b: Array, y: Array, x_transposed: bool, W_transposed: bool, least: float) -> None:
    """Twin: ``reference.matmul``. The columns of a transposed x are laid out as rows, ROWS of them at a time.

    With a transposed W it is computed as (W @ x.T).T: it would take longer to transpose W, which is large.
    """
    smallest, none = y.dtype.type(least), y.dtype.type(-np.inf)
    zeros = _zeros(uint(x.shape[0] if W_transposed else y.shape[1]), y.dtype)
    if W_transposed:
        rows, size, columns = uint(x.shape[0]), uint(x.shape[1]), uint(len(W))
        factor, room = np.empty((size, rows), x.dtype), np.empty((ROWS, rows), x.dtype)
        for row in range(rows):
            for k in range(size):
                factor[k, row] = x[row, k]
        target, products = y.ravel(), room.ravel()
        for begin in range(uint(0), columns, uint(ROWS)):
            count = min(uint(ROWS), columns - begin)
            _multiply(W.ravel(), begin * size, size, factor, zeros, room[:count], none)
            for row in range(rows):
                t = row * columns + begin
                for i in range(count):
                    value = products[i * rows + row] + b[begin + i]
                    target[t + i] = smallest if value <= smallest else value
    elif x_transposed:
        size, rows = uint(x.shape[0]), uint(x.shape[1])
        source, pitch = x.ravel(), _to_pitch(size)
        panel = _aligned(uint(ROWS) * pitch, x.dtype)
        for begin in range(uint(0), rows, uint(ROWS)):
            count = min(uint(ROWS), rows - begin)
            for k in range(size):
                s = k * rows + begin
                for row in range(count):
                    panel[row * pitch + k] = source[s + row]
            _multiply(panel, uint(0), pitch, W, b, y[begin : begin + count], smallest)
    else:
        _multiply(x.ravel(), uint(0), uint(x.shape[1]), W, b, y, smallest)


@jit
def _multiply(source: Array, start: Any, next_start: Any, W: Array, b: Array, y: Array, least: Any) -> None:
    """The rows from source[start] on, times W, plus b, at least ``least``: some columns at a time, which stay in cache.

    TILE rows at once; the last TILE of them overlap others where need be. While some columns are multiplied, the next
    ones are fetched, a cache line of each for every tile: if W is too large for the cache, that takes most of the time.
    """
    size, columns = W.shape
    rows, one, pitch = uint(len(y)), uint(1), uint(columns)
    room = y if rows >= uint(TILE) else np.empty((TILE, columns), y.dtype)
    weights, target = W.ravel(), room.ravel()
    starts = np.empty(len(room), np.uintp)
    for i in range(uint(len(room))):
        starts[i] = start + min(i, rows - one) * next_start
    for column in range(0, columns, COLUMNS):
        matrix, args = (one, one, uint(size), weights, uint(column), pitch, uint(0)), (b[column:], least, target)
        width = uint(min(COLUMNS, columns - column))
        for tile in range(uint(0), uint(len(room)), uint(TILE)):
            row: Any = min(tile, uint(len(room) - TILE))
            next_w = uint(COLUMNS) + tile // uint(TILE) % uint(LINES) * uint(64 // W.itemsize)
            t = row * pitch + uint(column)
            _multiply_tile_and_fetch(source, starts, row, *matrix, next_w, *args, t, pitch, width)
    if rows < uint(TILE):
        _copy(target, uint(0), uint(y.size), y.ravel(), uint(0))


@_inline
def _runs_of(most: Any) -> Any:
    """How many runs to add to at once: the largest of RUNS that is not above ``most``."""
    return uint(RUNS[1] if most >= RUNS[1] else RUNS[0])


@_inline
def _pad_apart(x: Array, image: int, pads: Any, whole: Any, room: Array) -> None:
    """Like ``_pad``, for one image: first the ``whole`` channels of each pixel, then, after all of these, the rest."""
    _, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    source, rest = x.ravel(), uint(c) - whole
    s, after = uint(image * h * w * c), uint((top + h + bottom) * (left + w + right)) * whole
    for i in range(h):
        pixel = uint((top + i) * (left + w + right) + left)
        for t in range(pixel, pixel + uint(w)):
            _copy(source, s, whole, room, t * whole)
            _copy(source, s + whole, rest, room, after + t * rest)
            s += uint(c)


@_inline
def _unpool(numbers: Array, argmax: Array, image: Any, corner: Any, starts: Array, room: Array) -> None:
    """Write an image that was max-pooled: zeros, and each of the numbers left where its argmax says.

    The pixel of argmax 0 begins at room[corner], and the others ``starts`` further on.
    """
    source, place, c = numbers.ravel(), argmax.ravel(), uint(numbers.shape[3])
    room[:] = 0
    g = uint(image) * uint(numbers.shape[1] * numbers.shape[2]) * c
    for _ in range(numbers.shape[1] * numbers.shape[2]):
        for channel in range(corner, corner + c):
            room[starts[uint(place[g])] + channel] = source[g]
            g += uint(1)


@_inline
def _list_by_filter(
    gradient: Array,
    g: Any,
    position: Array,
    starts: Array,
    begin: Any,
    stop: Any,
    corners: Array,
    values: Array,
    ends: Array,
) -> None:
    """List which numbers of a gradient are not zero, and where their patches start, one filter after another.

    These are the numbers ``begin`` to ``stop`` of an image, whose first is gradient[g]. The list of a filter ends at
    ends[filter], where that of the next one begins. (Without a branch: every number is written to the end of the list,
    and the end moves on where it was not zero.)
    """
    filters, end = uint(len(ends)), uint(0)
    for f in range(filters):
        i = g + begin * filters + f
        for q in range(begin, stop):
            value = gradient[i]
            corners[end] = starts[uint(position[i]) if len(position) else q]
            values[end] = value
            end += uint(value != 0)
            i += filters
        ends[f] = end


@jit
def sum_patches(
    x: Array, x_argmax: Array, size: Any, dy: Array, argmax: Array, sums: Array, s_h: int, s_w: int, pads: Any
) -> None:
    """Twin: ``reference.sum_patches``, for a ``dy`` that is mostly zeros: these cost nothing.

    Those of some numbers of an image's ``dy`` that are not zero are listed, and the patches there added up.

    Where an image is read often enough, as many channels as fill whole vectors, and the rest of them, are taken apart:
    most vectors begin where they should, then.
    """
    (h, w), n = size, len(x)
    filters, k_h, k_w, c = sums.shape
    (top, bottom), (left, right) = pads
    padded_h, padded_w = top + h + bottom, left + w + right
    out_h, out_w = (padded_h - k_h) // s_h + 1, (padded_w - k_w) // s_w + 1
    numbers, pixels, windows = dy.shape[1] * dy.shape[2], uint(padded_h * padded_w), uint(filters * k_h * k_w)
    lanes = uint((VECTOR_BYTES or 32) // x.itemsize)
    is_worth_it = not x_argmax.size and uint(c) > lanes and numbers * filters > WORTH_TAKING_APART * padded_h * padded_w
    rest = uint(c) % lanes if is_worth_it else uint(0)
    whole = uint(c) - rest
    starts = np.empty(out_h * out_w, np.uintp)
    _list_starts(starts, out_h, out_w, s_h * padded_w, s_w)
    pixel_starts = np.empty(h * w if x_argmax.size else 0, np.uintp)
    if x_argmax.size:
        _list_starts(pixel_starts, h, w, padded_w * c, c)
    is_copied = rest > 0 or x_argmax.size > 0 or padded_w > w or padded_h > h
    room = _zeros(pixels * uint(c) if is_copied else uint(0), x.dtype)  # for an image with its zeros
    source, gradient, position = x.ravel(), dy.ravel(), argmax.ravel()
    target = _zeros(windows * uint(c), x.dtype)
    at_a_time = min(numbers, max(1, LIST_BYTES // (filters * dy.itemsize)))
    corners = np.empty(at_a_time * filters, np.uintp)
    places = np.empty(at_a_time * filters, np.uintp)
    values = np.empty(at_a_time * filters, dy.dtype)
    ends = np.empty(filters, np.uintp)
    for image in range(n):
        g = uint(image * numbers * filters)
        images, start = (room, uint(0)) if is_copied else (source, uint(image * h * w * c))
        if x_argmax.size:
            _unpool(x, x_argmax, image, uint((top * padded_w + left) * c), pixel_starts, room)
        elif rest:
            _pad_apart(x, image, pads, whole, room)
        elif is_copied:
            _pad(x, image, image + 1, pads, room)
        for begin in range(0, numbers, at_a_time):
            stop = uint(min(begin + at_a_time, numbers))
            _list_by_filter(gradient, g, position, starts, uint(begin), stop, corners, values, ends)
            for part in range(uint(2) if rest else uint(1)):
                channels = rest if part else whole
                run, row = uint(k_w) * channels, uint(padded_w) * channels
                for i in range(ends[uint(filters - 1)]):
                    places[i] = start + part * pixels * whole + corners[i] * channels
                k_i = uint(0)
                while k_i < uint(k_h):
                    runs, first, t = _runs_of(uint(k_h) - k_i), uint(0), part * windows * whole + k_i * run
                    for f in range(uint(filters)):
                        _add_runs(images, k_i * row, row, places, values, first, ends[f], target, t, run, run, runs)
                        first = ends[f]
                        t += uint(k_h) * run
                    k_i += runs
    _write_together(target, windows, whole, rest, sums)


@_inline
def _write_together(apart: Array, windows: Any, whole: Any, rest: Any, sums: Array) -> None:
    """Write the sums of all channels: those of the first ones, and those of the rest, which come after them all."""
    filters, k_h, k_w, c = sums.shape
    t = uint(0)
    for f in range(filters):
        for k_i in range(k_h):
            for k_j in range(k_w):
                for r in range(uint(c)):
                    sums[f, k_i, k_j, r] = apart[t * whole + r if r < whole else windows * whole + t * rest + r - whole]
                t += uint(1)


@_inline
def _list_by_position(
    dy: Array, argmax: Array, image: Any, pitch: Any, places: Array, values: Array, ends: Array
) -> None:
    """List the numbers of an image's ``dy`` that are not zero, with filter * pitch, by position: without a branch.

    The list of position p begins at p * filters, where there is room for each filter, and ends at ends[p].
    """
    filters, numbers = uint(dy.shape[3]), uint(dy.shape[1] * dy.shape[2])
    gradient, position, is_pooled = dy.ravel(), argmax.ravel(), argmax.size > 0
    for q in range(uint(len(ends))):
        ends[q] = q * filters
    g = uint(image) * numbers * filters
    for q in range(numbers):
        for f in range(filters):
            p, value = uint(position[g]) if is_pooled else q, gradient[g]
            end = ends[p]
            places[end] = f * pitch
            values[end] = value
            ends[p] = end + uint(value != 0)
            g += uint(1)


@_inline
def _copy_by_row(filters_: Array, pitch: Any, weights: Array) -> None:
    """Copy a row of the window after another, each of all filters, which begin ``pitch`` apart."""
    filters, k_h, k_w, c = filters_.shape
    for f in range(filters):
        for k_i in range(k_h):
            t = uint(k_i * filters + f) * pitch
            for k_j in range(k_w):
                for r in range(c):
                    weights[t] = filters_[f, k_i, k_j, r]
                    t += uint(1)


@jit
def add_filters(dy: Array, argmax: Array, filters_: Array, x: Array, s_h: int, s_w: int, pads: Any) -> None:
    """Twin: ``reference.add_filters``, for a ``dy`` that is mostly zeros: these cost nothing.

    The rows of the filters' windows are taken one after another: one row of all filters is small enough for the
    fastest memory.
    """
    n, h, w, c = x.shape
    filters, k_h, k_w, _ = filters_.shape
    (top, bottom), (left, right) = pads
    padded_h, padded_w = top + h + bottom, left + w + right
    out_h, out_w = (padded_h - k_h) // s_h + 1, (padded_w - k_w) // s_w + 1
    starts = np.empty(out_h * out_w, np.uintp)
    _list_starts(starts, out_h, out_w, s_h * padded_w * c, s_w * c)
    target = x.ravel()
    room = _aligned(uint(padded_h * padded_w * c), x.dtype)  # for the gradient of an image with its padding
    run, row, line = uint(k_w * c), uint(padded_w * c), uint(w * c)
    pitch = _to_pitch(run)
    size = uint(filters) * pitch
    weights = _aligned(uint(k_h) * size, x.dtype)
    _copy_by_row(filters_, pitch, weights)
    rows = uint(max(1, FAST_BYTES // (size * x.itemsize)))
    places = np.empty(out_h * out_w * filters, np.uintp)
    values = np.empty(out_h * out_w * filters, dy.dtype)
    ends = np.empty(out_h * out_w, np.uintp)
    s = uint(0)
    for image in range(n):
        _list_by_position(dy, argmax, image, pitch, places, values, ends)
        room[:] = 0
        k_i = uint(0)
        while k_i < uint(k_h):
            runs, w_i = _runs_of(min(rows, uint(k_h) - k_i)), k_i * size
            for p in range(uint(out_h * out_w)):
                first, end = p * uint(filters), ends[p]
                if end > first:
                    t = starts[p] + k_i * row
                    _add_runs(weights, w_i, size, places, values, first, end, room, t, row, run, runs)
            k_i += runs
        for i in range(h):
            _copy(room, uint(((top + i) * padded_w + left) * c), line, target, s)
            s += line


@short_jit
def count_nonzero(x: Array) -> int:
    """Twin: ``reference.count_nonzero``."""
    values = x.ravel()
    count = 0
    for i in range(uint(values.size)):
        count += values[i] != 0
    return count


@_inline
def _better(value: Any, best: Any) -> Any:
    """Whether ``value`` takes the place of ``best`` as the largest: the first NaN wins."""
    return (value > best) | ((value != value) & (best == best))


@jit
def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array, argmax: Array) -> None:
    """Twin: ``reference.max_pool``. The window is clipped to the image, so there is no padding that could win.

    Windows of 2x2, the usual ones, are taken a row of them at a time.
    """
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, largest, place = x.ravel(), y.ravel(), argmax.ravel()
    channels, row = uint(c), uint(w * c)
    whole_start, whole_stop = (left + s_w - 1) // s_w, (w + left - k_w) // s_w + 1  # windows within the image's width
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            i_start, i_stop = max(i * s_h - top, 0), min(i * s_h - top + k_h, h)
            j = 0
            while j < out_w:
                j_start, j_stop = max(j * s_w - left, 0), min(j * s_w - left + k_w, w)
                first, count = np.int32(i_start * w + j_start), 1
                s = uint((image * h * w + first) * c)
                if i_stop - i_start == 2 and k_w == 2 and whole_start <= j < whole_stop:
                    count = min(whole_stop, out_w) - j
                    _max_of_fours(
                        source,
                        s,
                        uint(s_w * c),
                        row,
                        largest,
                        place,
                        t,
                        first,
                        np.int32(s_w),
                        np.int32(w),
                        channels,
                        count,
                    )
                else:
                    for channel in range(channels):
                        largest[t + channel] = source[s + channel]
                        place[t + channel] = first
                    for k_i in range(i_start, i_stop):
                        for k_j in range(j_start, j_stop):
                            here = np.int32(k_i * w + k_j)
                            s = uint((image * h * w + here) * c)
                            for channel in range(channels):
                                value, best = source[s + channel], largest[t + channel]
                                wins = _better(value, best)
                                largest[t + channel] = value if wins else best
                                place[t + channel] = here if wins else place[t + channel]
                t += uint(count) * channels
                j += count


@jit
def max_pool_backward(dy: Array, argmax: Array, dx: Array) -> None:
    """Twin: ``reference.max_pool_backward``."""
    n, h, w, c = dx.shape
    gradient, place, target = dy.ravel(), argmax.ravel(), dx.ravel()
    target[:] = 0
    g = start = uint(0)
    for _ in range(n):
        for _ in range(dy.shape[1] * dy.shape[2]):
            for channel in range(uint(c)):
                target[start + uint(place[g]) * uint(c) + channel] += gradient[g]
                g += uint(1)
        start += uint(h * w * c)


@short_jit
def sum_channels(x: Array, sums: Array) -> None:
    """Twin: ``reference.sum_channels``. Rows of images are added up first: they are longer than a pixel."""
    n, h, w, c = x.shape
    numbers, row, line = x.ravel(), _zeros(uint(w * c), x.dtype), uint(w * c)
    s = uint(0)
    for _ in range(n * h):
        for r in range(line):
            row[r] += numbers[s + r]
        s += line
    sums[:] = 0
    for r in range(line):
        sums[r % uint(c)] += row[r]


@jit
def average_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array) -> None:
    """Twin: ``reference.average_pool``. The window is clipped to the image, as in ``max_pool``."""
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, target = x.ravel(), y.ravel()
    channels = uint(c)
    target[:] = 0
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            i_start, i_stop = max(i * s_h - top, 0), min(i * s_h - top + k_h, h)
            for j in range(out_w):
                j_start, j_stop = max(j * s_w - left, 0), min(j * s_w - left + k_w, w)
                for k_i in range(i_start, i_stop):
                    s = uint(((image * h + k_i) * w + j_start) * c)
                    for _ in range(j_stop - j_start):
                        for channel in range(channels):
                            target[t + channel] += source[s + channel]
                        s += channels
                entries = target.dtype.type((i_stop - i_start) * (j_stop - j_start))
                for channel in range(channels):
                    target[t + channel] /= entries
                t += channels


@jit
def average_pool_backward(dy: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, dx: Array) -> None:
    """Twin: ``reference.average_pool_backward``."""
    n, h, w, c = dx.shape
    out_h, out_w = dy.shape[1:3]
    (top, _), (left, _) = pads
    gradient, target = dy.ravel(), dx.ravel()
    channels = uint(c)
    target[:] = 0
    g = uint(0)
    for image in range(n):
        for i in range(out_h):
            i_start, i_stop = max(i * s_h - top, 0), min(i * s_h - top + k_h, h)
            for j in range(out_w):
                j_start, j_stop = max(j * s_w - left, 0), min(j * s_w - left + k_w, w)
                entries = target.dtype.type((i_stop - i_start) * (j_stop - j_start))
                for k_i in range(i_start, i_stop):
                    t = uint(((image * h + k_i) * w + j_start) * c)
                    for _ in range(j_stop - j_start):
                        for channel in range(channels):
                            target[t + channel] += gradient[g + channel] / entries
                        t += channels
                g += channels


@jit
def relu(x: Array, y: Array) -> None:
    """Twin: ``reference.relu``."""
    source, target = x.ravel(), y.ravel()
    for i in range(uint(x.size)):
        target[i] = source.dtype.type(0) if source[i] <= 0 else source[i]


@jit
def relu_backward(dy: Array, y: Array, dx: Array) -> None:
    """Twin: ``reference.relu_backward``, in one pass."""
    gradient, output, target = dy.ravel(), y.ravel(), dx.ravel()
    for i in range(uint(dy.size)):
        target[i] = gradient[i] if output[i] > 0 else gradient.dtype.type(0)


@_inline
def _exponentials(z: Array, p: Array) -> tuple[Any, Any]:
    """Write exp(z - max(z)) into ``p``; that maximum, and the sum of them."""
    largest = z[0]
    for k in range(1, len(z)):
        largest = z[k] if _better(z[k], largest) else largest
    total = p.dtype.type(0)
    for k in range(len(z)):
        p[k] = np.exp(z[k] - largest)
        total += p[k]
    return largest, total


@jit
def softmax(x: Array, y: Array) -> None:
    """Twin: ``reference.softmax``."""
    for i in range(len(x)):
        _, total = _exponentials(x[i], y[i])
        y[i] /= total


@short_jit
def softmax_cross_entropy(logits: Array, classes: Array, losses: Array, dlogits: Array) -> None:
    """Twin: ``reference.softmax_cross_entropy``."""
    for i in range(len(logits)):
        z, p, t = logits[i], dlogits[i], uint(classes[i])
        largest, total = _exponentials(z, p)
        losses[i] = np.log(total) - (z[t] - largest)
        p /= total
        p[t] -= p.dtype.type(1)


@jit
def decay(w: Array, share: float) -> None:
    """Twin: ``reference.decay``."""
    weights, factor = w.ravel(), w.dtype.type(share)
    for i in range(uint(w.size)):
        weights[i] -= factor * weights[i]


@jit
def sgd(w: Array, g: Array, v: Array, lr: float, momentum: float, nesterov: bool) -> None:
    """Twin: ``reference.sgd``, in one pass."""
    weights, gradient, velocity = w.ravel(), g.ravel(), v.ravel()
    rate, share = w.dtype.type(lr), w.dtype.type(momentum)
    if not velocity.size:
        for i in range(uint(w.size)):
            weights[i] -= rate * gradient[i]
    else:
        for i in range(uint(w.size)):
            step = rate * gradient[i]
            velocity[i] = share * velocity[i] - step
            weights[i] += share * velocity[i] - step if nesterov else velocity[i]


@jit
def adam(w: Array, g: Array, m: Array, v: Array, alpha: float, beta_1: float, beta_2: float, epsilon: float) -> None:
    """Twin: ``reference.adam``, in one pass."""
    weights, gradient, mean, square = w.ravel(), g.ravel(), m.ravel(), v.ravel()
    kind = w.dtype.type
    step, new_1, new_2, least = kind(alpha), kind(1 - beta_1), kind(1 - beta_2), kind(epsilon)
    for i in range(uint(w.size)):
        mean[i] += new_1 * (gradient[i] - mean[i])
        square[i] += new_2 * (gradient[i] * gradient[i] - square[i])
        weights[i] -= step * mean[i] / (np.sqrt(square[i]) + least)


# A whole network ----------------------------------------------------------------------------------------------------


def _pointer_to(_: Any, address: Any, like: Any) -> Any:
    """In kernels, an address as a pointer to numbers of the dtype of an array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    pointer: Any = types.CPointer
    return pointer(like.dtype)(address, like), generate


_pointer: Any = intrinsic(_pointer_to)
_array_of: Any = numba.carray  # type: ignore[attr-defined]


def _array_at(address: Any, shape: Any, like: Array) -> Array:
    """The array of a shape that begins at an address, of the dtype of ``like``."""
    numbers: Any = np.ctypeslib.as_ctypes_type(like.dtype) * math.prod(map(int, shape))
    return np.frombuffer(numbers.from_address(int(address)), like.dtype).reshape(shape)


@overload(_array_at, strict=False)
def _compiled_array_at(*_: Any) -> Any:
    return lambda address, shape, like: _array_of(_pointer(address, like), shape)


def _call_of(_: Any, address: Any, arguments: Any) -> Any:
    """In kernels, a call of the machine code of another one, which returns nothing; whether that failed."""
    kinds = tuple(map(types.unliteral, arguments))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = cgutils.unpack_tuple(builder, values[1])  # type: ignore[no-untyped-call]
        function = context.call_conv.get_function_type(types.none, kinds)
        # Numba passes two more arguments: where to write the result, and where the exception.
        places = [cgutils.alloca_once(builder, place.pointee) for place in function.args[:2]]  # type: ignore[no-untyped-call]
        arguments = context.get_arg_packer(kinds).as_arguments(builder, given)
        code = builder.call(builder.inttoptr(values[0], function.as_pointer()), [*places, *arguments])
        succeeded = [builder.icmp_signed("==", code, ir.Constant(code.type, status)) for status in (0, -2)]
        return builder.not_(builder.or_(*succeeded))  # a result, or None

    return types.boolean(address, arguments), generate


_call_address: Any = intrinsic(_call_of)


def _call(kernel: Callable[..., None], address: Any, *arguments: Any) -> None:
    """Call a kernel; compiled, by the address of its machine code, lest it be compiled once more within its caller."""
    kernel(*arguments)


@overload(_call, strict=False)
def _compiled_call(*_: Any) -> Any:
    def call(kernel, address, *arguments):  # type: ignore[no-untyped-def]
        if _call_address(address, arguments):
            raise MemoryError("There is no memory left for a kernel.")

    return call


def machine_code(kind: int, dtype: Any) -> int:
    """The address of the machine code for a kind of steps and a dtype, compiled if it was not; 0 in plain Python."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return 0
    number, size, flag = numba.from_dtype(np.dtype(dtype)), types.int64, types.boolean
    row, matrix, images = (types.Array(number, axes, "C") for axes in (1, 2, 4))
    tuple_of: Any = types.UniTuple
    pads = tuple_of(tuple_of(size, 2), 2)
    window = (size, size, size, size, pads)
    functions: dict[int, tuple[Any, tuple[Any, ...]]] = {
        CONVOLVE: (convolve, (images, images, row, images, size, size, pads, types.float64)),
        MATMUL: (matmul, (matrix, matrix, row, matrix, flag, flag, types.float64)),
        VECMAT: (vecmat, (matrix, matrix, row, matrix, types.float64)),
        MAX_POOL: (max_pool, (images, *window, images, types.Array(types.int32, 4, "C"))),
        AVERAGE_POOL: (average_pool, (images, *window, images)),
        RELU: (relu, (row, row)),
        SOFTMAX: (softmax, (matrix, matrix)),
        WINOGRAD: (winograd, (images, images, row, images, pads, types.float64)),
    }
    kernel, arguments = functions[kind]
    kernel.compile(arguments)
    compiled = kernel.overloads[arguments]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@jit
def run_steps(steps: Array, x: Array, y: Array) -> None:
    """Twin: ``reference.run_steps``. The steps before the first matrix product are taken by a few images at a time."""
    apart, many = 0, len(x)
    while apart < len(steps) and steps[apart]["kind"] != MATMUL and steps[apart]["kind"] != VECMAT:
        apart += 1
    between = x
    if apart == len(steps):
        between = y
    elif apart > 0:
        between = np.empty((many, _numbers(steps[apart]["x"])), x.dtype)
    first = 0 if apart > 0 else many
    while first < many:
        _run(steps[:apart], x[first : first + TOGETHER], between[first : first + TOGETHER])
        first += TOGETHER
    _run(steps[apart:], between, y)


@_inline
def _numbers(shape: Any) -> Any:
    """How many numbers a sample of a shape has."""
    return shape[0] * shape[1] * shape[2]


@jit
def _run(steps: Array, x: Array, y: Array) -> None:
    """Take some steps with all samples: what comes of them goes to and fro between two rooms, and at last to y."""
    most = 0
    for step in steps:
        most = max(most, len(x) * _numbers(step["y"]))
    rooms = np.empty(2 * most, x.dtype)
    source = x.ravel()
    for i in range(len(steps)):
        start = i % 2 * most
        target = rooms[start : start + len(x) * _numbers(steps[i]["y"])]
        if i == len(steps) - 1:
            target = y.ravel()
        _run_step(steps[i], len(x), source, target)
        source = target


@_inline
def _run_step(step: Any, n: int, source: Array, target: Array) -> None:
    """Call the kernel of a step, for n samples."""
    kind, code, least = step["kind"], step["code"], step["least"]
    (h, w, c), (out_h, out_w, out_c) = _three(step["x"]), _three(step["y"])
    (k_h, k_w), (s_h, s_w) = _two(step["size"]), _two(step["strides"])
    pads = _two(step["pads"][0]), _two(step["pads"][1])
    x, y = source.reshape(n, h, w, c), target.reshape(n, out_h, out_w, out_c)
    if kind in (CONVOLVE, WINOGRAD):
        W, b = _array_at(step["W"], (k_h, k_w, c, out_c), source), _array_at(step["b"], (out_c,), source)
        if kind == CONVOLVE:
            _call(convolve, code, x, W, b, y, s_h, s_w, pads, least)
        else:
            _call(winograd, code, x, W, b, y, pads, least)
    elif kind in (MATMUL, VECMAT):
        row, product = source.reshape(n, c), target.reshape(n, out_c)
        matrix, bias = _array_at(step["W"], (c, out_c), source), _array_at(step["b"], (out_c,), source)
        if kind == MATMUL:
            _call(matmul, code, row, matrix, bias, product, False, False, least)
        else:
            _call(vecmat, code, row, matrix, bias, product, least)
    elif kind == MAX_POOL:
        _call(max_pool, code, x, k_h, k_w, s_h, s_w, pads, y, np.empty((n, out_h, out_w, out_c), np.int32))
    elif kind == AVERAGE_POOL:
        _call(average_pool, code, x, k_h, k_w, s_h, s_w, pads, y)
    elif kind == RELU:
        _call(relu, code, source, target)
    else:
        _call(softmax, code, source.reshape(n * h * w, c), target.reshape(n * h * w, c))


@_inline
def _two(numbers: Any) -> Any:
    return numbers[0], numbers[1]


@_inline
def _three(numbers: Any) -> Any:
    return numbers[0], numbers[1], numbers[2]


# Vector instructions ------------------------------------------------------------------------------------------------
#
# The innermost loops keep sums in the processor's vector registers until these are complete. Compilers do not arrive at
# this by themselves, so it is written out for LLVM, Numba's compiler. The Python of each function says what it does. It
# is compiled itself on processors without such registers, and to check bounds.


class _Code:
    """Writes LLVM's instructions for numbers of a dtype, alone and in vectors."""

    def __init__(self, context: Any, builder: Any, dtype: Any):
        self.builder, self.bytes = builder, dtype.bitwidth // 8
        self.number = context.get_data_type(dtype)
        self.lanes = VECTOR_BYTES // self.bytes

    def integer(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def variable(self, value: Any) -> Any:
        """A variable; LLVM keeps it in a register."""
        place = cgutils.alloca_once(self.builder, value.type)  # type: ignore[no-untyped-call]
        self.builder.store(value, place)
        return place

    def element(self, pointer: Any, index: Any) -> Any:
        """pointer[index]"""
        return self.builder.load(self.builder.gep(pointer, [index]))

    def add_product(self, total: Any, a: Any, b: Any) -> None:
        """total += a * b, for a variable ``total``."""
        name = f"fmuladd.v{a.type.count}f{8 * self.bytes}"
        self.builder.store(self.call(name, a.type, a, b, self.builder.load(total)), total)

    def fetch(self, pointer: Any, index: Any) -> None:
        """Begin to bring pointer[index] into the fastest cache; it need not exist."""
        settings = [ir.Constant(ir.IntType(32), number) for number in (0, 3, 1)]  # for reading, the cache, of data
        self.call("prefetch.p0", ir.VoidType(), self.builder.gep(pointer, [index]), *settings)

    def at_least(self, least: Any, value: Any) -> Any:
        """A vector, but ``least`` (a vector, too) where it is below that; NaN stays NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<=", value, least), least, value)

    def blocks(self, width: Any, most: int, halves: bool = False) -> Iterator[tuple[Any, list[_Vector]]]:
        """Write a loop over blocks of up to ``most`` vectors, with a case for each number of them.

        Yields, for each case, where the block starts, and its vectors, of which the last one may be part full. With
        ``halves``, and in blocks of one or two, a last one that is less than half full is half as long.
        """
        build, lanes = self.builder, self.lanes
        with cgutils.for_range_slice(build, self.integer(0), width, self.integer(most * lanes)) as (start, _):
            left = build.sub(width, start)
            case = build.udiv(build.add(left, self.integer(lanes - 1)), self.integer(lanes))
            kinds = {i: (i, lanes) for i in range(1, most)}
            if halves:
                for number in range(1, min(2, most) + 1):
                    kinds[-number] = (number, lanes // 2)
                    fits = build.icmp_unsigned("<=", left, self.integer((number - 1) * lanes + lanes // 2))
                    fits = build.and_(fits, build.icmp_unsigned("==", case, self.integer(number)))
                    case = build.select(fits, self.integer(-number), case)
            kinds[most] = (most, lanes)  # where there are more, too, and the last one is full
            for number, last in map(kinds.__getitem__, self.cases(case, list(kinds))):
                full = [_Vector(self, lanes, i * lanes) for i in range(number - 1)]
                offset = (number - 1) * lanes
                yield start, [*full, _Vector(self, last, offset, build.sub(left, self.integer(offset)))]

    def cases(self, value: Any, values: Sequence[int]) -> Iterator[int]:
        """Write a case for each of the values that ``value`` may have; the last one is for all others, too."""
        build = self.builder
        last, end = build.append_basic_block(), build.append_basic_block()
        switch = build.switch(value, last)
        for number in values:
            case = last
            if number != values[-1]:
                case = build.append_basic_block()
                switch.add_case(self.integer(number), case)
            build.position_at_end(case)
            yield number
            build.branch(end)
        build.position_at_end(end)

    def call(self, name: str, returns: Any, *args: Any) -> Any:
        """Call one of LLVM's intrinsic functions."""
        function = ir.FunctionType(returns, [arg.type for arg in args])
        intrinsic_ = cgutils.get_or_insert_function(self.builder.module, function, f"llvm.{name}")  # type: ignore[no-untyped-call]
        return self.builder.call(intrinsic_, args)


class _Vector:
    """``lanes`` numbers, ``offset`` after where others begin; where ``left`` is given, only so many of them."""

    def __init__(self, code: _Code, lanes: int, offset: int, left: Any = None):
        self.code, self.lanes, self.offset, self.mask = code, lanes, offset, None
        self.type = ir.VectorType(code.number, lanes)
        self.zeros = ir.Constant(self.type, [0.0] * lanes)
        if left is not None:
            numbers = ir.Constant(ir.VectorType(ir.IntType(64), lanes), list(range(lanes)))
            self.mask = code.builder.icmp_unsigned("<", numbers, self.splat(left))

    def splat(self, value: Any) -> Any:
        """``value`` in each lane."""
        build = self.code.builder
        empty = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return build.shuffle_vector(build.insert_element(empty, value, ir.Constant(ir.IntType(32), 0)), empty, zeros)

    def load(self, pointer: Any, index: Any) -> Any:
        """The vector from pointer[index + offset] on; what is masked out is 0, and not read."""
        place = self._place(pointer, index, self.type)
        if self.mask is None:
            return self.code.builder.load(place, align=self.code.bytes)
        alignment = ir.Constant(ir.IntType(32), self.code.bytes)
        name = f"masked.load.v{self.lanes}f{8 * self.code.bytes}.p0"
        return self.code.call(name, self.type, place, alignment, self.mask, self.zeros)

    def store(self, vector: Any, pointer: Any, index: Any) -> None:
        """Store numbers, or 32-bit integers, from pointer[index + offset] on, but not what is masked out."""
        place = self._place(pointer, index, vector.type)
        kind, bytes_ = (f"f{8 * self.code.bytes}", self.code.bytes) if vector.type == self.type else ("i32", 4)
        if self.mask is None:
            self.code.builder.store(vector, place, align=bytes_)
        else:
            alignment = ir.Constant(ir.IntType(32), bytes_)
            name = f"masked.store.v{self.lanes}{kind}.p0"
            self.code.call(name, ir.VoidType(), vector, place, alignment, self.mask)

    def _place(self, pointer: Any, index: Any, type_: Any) -> Any:
        build = self.code.builder
        first = build.gep(pointer, [build.add(index, self.code.integer(self.offset))])
        return build.bitcast(first, type_.as_pointer())


def _compiled_as(write: Callable[..., None]) -> Callable[[Function], Function]:
    """In kernels, the decorated function is what ``write(code, *arguments)`` writes, in which arrays are pointers.

    The vectors are of the first argument's dtype.
    """

    def decorate(function: Function) -> Function:
        if not VECTOR_BYTES:
            overload(function, strict=False)(lambda *_: function)
            return function

        @type_callable(function)
        def typing(_: Any) -> Any:
            @functools.wraps(function)  # Numba asks for its signature
            def returns(*_: Any) -> Any:
                return types.void

            return returns

        @lower_builtin(function, types.VarArg(types.Any))  # type: ignore[no-untyped-call, untyped-decorator]
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, values, strict=True)
            ]
            write(_Code(context, builder, signature.args[0].dtype), *given)
            return context.get_dummy_value()

        return function

    return decorate


def _write_copy(code: _Code, source: Any, s: Any, count: Any, target: Any, t: Any) -> None:
    build = code.builder
    cgutils.raw_memcpy(build, build.gep(target, [t]), build.gep(source, [s]), count, code.bytes)  # type: ignore[no-untyped-call]


@_compiled_as(_write_copy)
def _copy(source: Array, s: Any, count: Any, target: Array, t: Any) -> None:
    """Copy ``count`` numbers from source[s] on to target[t] on."""
    for r in range(count):
        target[t + r] = source[s + r]


def _write_add_runs(
    code: _Code,
    source: Any,
    s: Any,
    next_s: Any,
    places: Any,
    values: Any,
    first: Any,
    end: Any,
    target: Any,
    t: Any,
    next_t: Any,
    run: Any,
    runs: Any,
) -> None:
    build = code.builder

    def add(runs: int) -> None:
        halves = runs > 1 and VECTOR_BYTES == 64
        for r, vectors in code.blocks(run, min(4 if runs > 1 else 8, SUMS // runs), halves=halves):
            here = [build.add(build.add(t, r), build.mul(next_t, code.integer(i))) for i in range(runs)]
            sums = [[code.variable(vector.load(target, to)) for vector in vectors] for to in here]
            begins = [build.add(build.add(s, r), build.mul(next_s, code.integer(i))) for i in range(runs)]
            with cgutils.for_range_slice(build, first, end, code.integer(1)) as (k, _):
                place, value = code.element(places, k), code.element(values, k)
                for begin, totals in zip(begins, sums, strict=True):
                    start = build.add(begin, place)
                    for vector, total in zip(vectors, totals, strict=True):
                        code.add_product(total, vector.splat(value), vector.load(source, start))
            for to, totals in zip(here, sums, strict=True):
                for vector, total in zip(vectors, totals, strict=True):
                    vector.store(build.load(total), target, to)

    for number in code.cases(runs, RUNS):
        add(number)


@_compiled_as(_write_add_runs)
def _add_runs(
    source: Array,
    s: Any,
    next_s: Any,
    places: Array,
    values: Array,
    first: Any,
    end: Any,
    target: Array,
    t: Any,
    next_t: Any,
    run: Any,
    runs: Any,
) -> None:
    """Add values[k] times the run at source[s + places[k]], for first <= k < end, to the run at target[t].

    And so on for the runs that begin ``next_s`` and ``next_t`` further on: for one of RUNS.
    """
    for i in range(runs):
        start, to, k = s + i * next_s, t + i * next_t, first
        while k + uint(4) <= end:  # four at a time: each sum is loaded and stored once for them
            a, b, c, d = k, k + uint(1), k + uint(2), k + uint(3)
            s_a, s_b, s_c, s_d = start + places[a], start + places[b], start + places[c], start + places[d]
            v_a, v_b, v_c, v_d = values[a], values[b], values[c], values[d]
            for r in range(run):
                two = v_a * source[s_a + r] + v_b * source[s_b + r]
                target[to + r] += two + (v_c * source[s_c + r] + v_d * source[s_d + r])
            k += uint(4)
        for rest in range(k, end):
            place, value = start + places[rest], values[rest]
            for r in range(run):
                target[to + r] += value * source[place + r]


def _products_of(rows: int, *, ahead: bool = False) -> Any:
    """The function that multiplies some rows with a matrix at once; with ``ahead``, it fetches what it is told to."""

    def write(
        code: _Code,
        x: Any,
        starts: Any,
        p: Any,
        runs: Any,
        next_run: Any,
        run: Any,
        W: Any,
        w: Any,
        pitch: Any,
        gap: Any,
        next_w: Any,
        b: Any,
        least: Any,
        y: Any,
        t: Any,
        next_t: Any,
        width: Any,
    ) -> None:
        build = code.builder
        corners = [build.gep(x, [code.element(starts, build.add(p, code.integer(i)))]) for i in range(rows)]
        for r, vectors in code.blocks(width, min(4, SUMS // rows), halves=VECTOR_BYTES == 64 and not ahead):
            sums = [[code.variable(vector.load(b, r)) for vector in vectors] for _ in corners]
            place = code.variable(build.add(w, r))
            with cgutils.for_range(build, runs) as i:
                run_starts = [build.gep(corner, [build.mul(i.index, next_run)]) for corner in corners]
                with cgutils.for_range(build, run) as k:
                    factors = [vector.load(W, build.load(place)) for vector in vectors]
                    if ahead:
                        code.fetch(W, build.add(build.load(place), next_w))
                    for start, totals in zip(run_starts, sums, strict=True):
                        number = code.element(start, k.index)
                        for vector, total, factor in zip(vectors, totals, factors, strict=True):
                            code.add_product(total, vector.splat(number), factor)
                    build.store(build.add(build.load(place), pitch), place)
                build.store(build.add(build.load(place), gap), place)
            for i, totals in enumerate(sums):
                to = build.add(build.add(t, r), build.mul(next_t, code.integer(i)))
                for vector, total in zip(vectors, totals, strict=True):
                    vector.store(code.at_least(vector.splat(least), build.load(total)), y, to)

    @_compiled_as(write)
    def multiply_rows(
        x: Array,
        starts: Array,
        p: Any,
        runs: Any,
        next_run: Any,
        run: Any,
        W: Array,
        w: Any,
        pitch: Any,
        gap: Any,
        next_w: Any,
        b: Array,
        least: Any,
        y: Array,
        t: Any,
        next_t: Any,
        width: Any,
    ) -> None:
        """Write the row at starts[p] of x, times W, plus b, to y[t]; the next row to y[t + next_t], and so on.

        What is below ``least`` becomes that. A row of x is ``runs`` runs of ``run`` numbers, which begin
        ``next_run`` apart. The matrix begins at W[w], its rows are ``pitch`` apart, with another ``gap`` between those
        of two runs, and ``width`` numbers of each are used. (The number ``next_w`` after each of these is fetched into
        the cache, where that is wanted.)
        """
        for i in range(uint(rows)):
            to = t + i * next_t
            for r in range(width):
                y[to + r] = b[r]
            place = w
            for j in range(runs):
                start = starts[p + i] + j * next_run
                for k in range(run):
                    for r in range(width):
                        y[to + r] += x[start + k] * W[place + r]
                    place += pitch
                place += gap
            for r in range(width):
                y[to + r] = least if y[to + r] <= least else y[to + r]

    return multiply_rows


def _writer_of_terms(
    three: Callable[..., Sequence[Any]], two: Callable[..., Sequence[Any]], more: int
) -> Callable[..., None]:
    """Writes the terms of a group of three taps by a formula, and of a group of two by another.

    They are made of as many numbers as there are taps, and ``more``.
    """

    def write(
        code: _Code,
        x: Any,
        evens: Any,
        odds: Any,
        step: Any,
        count: Any,
        numbers: Any,
        n: Any,
        y: Any,
        t: Any,
        next_t: Any,
        taps: Any,
    ) -> None:
        build, vector = code.builder, _Vector(code, code.lanes, 0)
        half = ir.Constant(vector.type, [0.5] * code.lanes)
        for number in code.cases(taps, TAPS):
            steps = [build.mul(step, code.integer(i // 2)) for i in range(number + more)]
            begins = [build.add((evens, odds)[i % 2], further) for i, further in enumerate(steps)]
            order = [code.element(numbers, build.add(n, code.integer(i))) for i in range(FIRST_TERMS[number][KINDS])]
            targets = [build.add(t, build.mul(next_t, place)) for place in order]
            with cgutils.for_range_slice(build, code.integer(0), count, code.integer(code.lanes)) as (r, _):
                values = [vector.load(x, build.add(begin, r)) for begin in begins]
                groups = [three(build, half, *values[: 3 + more])]
                if number == 5:
                    groups.append(two(build, *values[3:]))
                terms = [term for kind in zip(*groups, strict=True) for term in kind if term is not None]
                for term, target in zip(terms, targets, strict=True):
                    vector.store(term, y, build.add(target, r))

    return write


def _pixels_of_three(build: Any, _: Any, x_0: Any, x_1: Any, x_2: Any, x_3: Any) -> Sequence[Any]:
    return build.fsub(x_0, x_2), build.fadd(x_1, x_2), build.fsub(x_2, x_1), build.fsub(x_3, x_1)


def _pixels_of_two(build: Any, x_0: Any, x_1: Any, x_2: Any) -> Sequence[Any]:
    return build.fsub(x_0, x_1), x_1, None, build.fsub(x_2, x_1)


@_compiled_as(_writer_of_terms(_pixels_of_three, _pixels_of_two, 1))
def _terms_of_pixels(
    x: Array,
    evens: Any,
    odds: Any,
    step: Any,
    count: Any,
    numbers: Array,
    n: Any,
    y: Array,
    t: Any,
    next_t: Any,
    taps: Any,
) -> None:
    """Write the terms of the pixels that so many taps see at two positions, for each of ``count`` numbers of a pixel.

    The first pixel begins at x[evens], the second at x[odds], the third and the fourth ``step`` further on, and so on.
    The terms begin at y[t], those of number 1 ``next_t`` further on; their numbers are numbers[n], numbers[n + 1], and
    so on. (Whole vectors are read and written, so there must be room for as many numbers.)
    """
    for r in range(count):
        x_0, x_1, x_2, x_3 = x[evens + r], x[odds + r], x[evens + step + r], x[odds + step + r]
        if taps == 3:
            terms = x_0 - x_2, x_1 + x_2, x_2 - x_1, x_3 - x_1
            for i in range(4):
                y[t + next_t * numbers[n + uint(i)] + r] = terms[i]
        else:
            x_4, x_5 = x[evens + uint(2) * step + r], x[odds + uint(2) * step + r]
            more = x_0 - x_2, x_3 - x_4, x_1 + x_2, x_4, x_2 - x_1, x_3 - x_1, x_5 - x_4
            for i in range(7):
                y[t + next_t * numbers[n + uint(i)] + r] = more[i]


def _weights_of_three(build: Any, half: Any, w_0: Any, w_1: Any, w_2: Any) -> Sequence[Any]:
    outer, inner = build.fmul(build.fadd(w_0, w_2), half), build.fmul(w_1, half)
    return w_0, build.fadd(outer, inner), build.fsub(outer, inner), w_2


def _weights_of_two(build: Any, w_0: Any, w_1: Any) -> Sequence[Any]:
    return w_0, build.fadd(w_0, w_1), None, w_1


@_compiled_as(_writer_of_terms(_weights_of_three, _weights_of_two, 0))
def _terms_of_weights(
    x: Array,
    evens: Any,
    odds: Any,
    step: Any,
    count: Any,
    numbers: Array,
    n: Any,
    y: Array,
    t: Any,
    next_t: Any,
    taps: Any,
) -> None:
    """The same for the weights of so many taps."""
    half = x.dtype.type(0.5)
    for r in range(count):
        w_0, w_1, w_2 = x[evens + r], x[odds + r], x[evens + step + r]
        outer, inner = (w_0 + w_2) * half, w_1 * half
        if taps == 3:
            terms = w_0, outer + inner, outer - inner, w_2
            for i in range(4):
                y[t + next_t * numbers[n + uint(i)] + r] = terms[i]
        else:
            w_3, w_4 = x[odds + step + r], x[evens + uint(2) * step + r]
            more = w_0, w_3, outer + inner, w_3 + w_4, outer - inner, w_2, w_4
            for i in range(7):
                y[t + next_t * numbers[n + uint(i)] + r] = more[i]


def _write_two_by_two(
    code: _Code,
    x: Any,
    p: Any,
    next_kind: Any,
    b: Any,
    least: Any,
    y: Any,
    t: Any,
    below: Any,
    beside: Any,
    width: Any,
) -> None:
    build = code.builder

    def two(first: Any, both: Any, opposite: Any, second: Any) -> tuple[Any, Any]:
        return build.fadd(build.fadd(first, both), opposite), build.fadd(build.fsub(both, opposite), second)

    for r, (vector,) in code.blocks(width, 1):
        kinds = [build.add(build.add(p, r), build.mul(next_kind, code.integer(k))) for k in range(KINDS * KINDS)]
        products = [vector.load(x, kind) for kind in kinds]
        rows = [two(*products[i : i + KINDS]) for i in range(0, KINDS * KINDS, KINDS)]
        bias, begin = vector.load(b, r), build.add(t, r)
        places = [begin, build.add(begin, below)]
        for j in (1, 0):
            column = two(*(row[j] for row in rows))
            for i in (1, 0):
                to = build.add(places[i], beside) if j else places[i]
                vector.store(code.at_least(vector.splat(least), build.fadd(column[i], bias)), y, to)


@_compiled_as(_write_two_by_two)
def _two_by_two(
    x: Array,
    p: Any,
    next_kind: Any,
    b: Array,
    least: Any,
    y: Array,
    t: Any,
    below: Any,
    beside: Any,
    width: Any,
) -> None:
    """Write the outputs of a tile, whose sums of products of one kind after another begin ``next_kind`` apart at x[p].

    The first one begins at y[t], the others ``below`` and ``beside`` it, where 0 means that there are none: they are
    written before those in whose place they are.
    """
    for r in range(width):
        for i in (1, 0):
            for j in (1, 0):
                total = x.dtype.type(0)
                for k_h in range(KINDS):
                    for k_w in range(KINDS):
                        value = x[p + uint(k_h * KINDS + k_w) * next_kind + r]
                        if k_h != 3 - 3 * i and k_w != 3 - 3 * j:  # what only the other outputs are made of
                            total += -value if (k_h == 2 and i == 1) != (k_w == 2 and j == 1) else value
                total += b[r]
                y[t + uint(i) * below + uint(j) * beside + r] = least if total <= least else total


def _write_all_zero(code: _Code, x: Any, start: Any, runs: Any, next_run: Any, run: Any, answer: Any) -> None:
    build, bits = code.builder, ir.VectorType(ir.IntType(1), code.lanes)
    found = code.variable(ir.Constant(bits, [0] * code.lanes))
    with cgutils.for_range(build, runs) as i:
        first = build.add(start, build.mul(i.index, next_run))
        for k, vectors in code.blocks(run, 1):
            for vector in vectors:
                numbers = vector.load(x, build.add(first, k))
                build.store(build.or_(build.load(found), build.fcmp_unordered("!=", numbers, vector.zeros)), found)
    any_found = code.call(f"vector.reduce.or.v{code.lanes}i1", ir.IntType(1), build.load(found))
    build.store(build.zext(build.not_(any_found), answer.type.pointee), answer)


@_compiled_as(_write_all_zero)
def _all_zero(x: Array, start: Any, runs: Any, next_run: Any, run: Any, answer: Array) -> None:
    """Write into answer[0] whether all numbers of some runs are zero, which begin ``next_run`` apart."""
    answer[0] = 1
    for i in range(runs):
        for k in range(run):
            if x[start + i * next_run + k] != 0:
                answer[0] = 0


def _write_max_of_fours(
    code: _Code,
    x: Any,
    s: Any,
    next_s: Any,
    row: Any,
    largest: Any,
    place: Any,
    t: Any,
    first: Any,
    next_first: Any,
    w: Any,
    channels: Any,
    count: Any,
) -> None:
    build, one = code.builder, ir.Constant(ir.IntType(32), 1)
    for channel, vectors in code.blocks(channels, 2, halves=VECTOR_BYTES == 64):
        corner, start, to = code.variable(first), code.variable(s), code.variable(t)
        with cgutils.for_range(build, count):
            here, below = build.load(corner), build.add(build.load(corner), w)
            corners = here, build.add(here, one), below, build.add(below, one)
            begin = build.add(build.load(start), channel)
            under = build.add(begin, row)
            begins = begin, build.add(begin, channels), under, build.add(under, channels)
            for vector in vectors:
                best, where = vector.load(x, begins[0]), vector.splat(corners[0])
                for begin, corner_ in zip(begins[1:], corners[1:], strict=True):
                    value = vector.load(x, begin)
                    # The first NaN wins: "unordered" is also true where one of the two is NaN.
                    wins = build.and_(build.fcmp_unordered(">", value, best), build.fcmp_ordered("ord", best, best))
                    best, where = build.select(wins, value, best), build.select(wins, vector.splat(corner_), where)
                at = build.add(build.load(to), channel)
                vector.store(best, largest, at)
                vector.store(where, place, at)
            for variable, step in ((corner, next_first), (start, next_s), (to, channels)):
                build.store(build.add(build.load(variable), step), variable)


@_compiled_as(_write_max_of_fours)
def _max_of_fours(
    x: Array,
    s: Any,
    next_s: Any,
    row: Any,
    largest: Array,
    place: Array,
    t: Any,
    first: Any,
    next_first: Any,
    w: Any,
    channels: Any,
    count: Any,
) -> None:
    """Write the largest of a window's four entries, which begin at x[s], and its place, for each channel.

    And so on for ``count`` windows, which begin ``next_s`` numbers and ``next_first`` places apart.
    """
    for number in range(uint(count)):
        start, to, corner = s + number * next_s, t + number * channels, np.int32(first + number * next_first)
        for channel in range(channels):
            best, where = x[start + channel], corner
            for i in range(2):
                for j in range(2):
                    value = x[start + uint(i) * row + uint(j) * channels + channel]
                    wins = _better(value, best)
                    best = value if wins else best
                    where = np.int32(corner + i * w + j) if wins else where
            largest[to + channel] = best
            place[to + channel] = where


_multiply_tile = _products_of(TILE)
_multiply_tile_and_fetch = _products_of(TILE, ahead=True)
