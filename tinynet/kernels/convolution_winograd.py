"""A convolution whose neighbouring outputs are made of products in common: Winograd's algorithm.

A tile is two positions by two. In each direction, three taps of a window make a group, and so do the two that five have
beyond these. A group has terms of four kinds, by what their products count for: the first of two outputs, both, both
with opposite signs (two taps have none), and the second. ``reference.winograd`` has the same as three matrices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinynet.kernels.arrays import empty, flat
from tinynet.kernels.common import all_equal, copy_run, to_pitch, zeroed
from tinynet.kernels.settings import PITCH, TILE, VECTOR_BYTES, Array, inline, jit, uint
from tinynet.kernels.tiles import DOTS, dot_tile, in_even_tiles, multiply_even_tile
from tinynet.kernels.vectors import Code, Vector, compiled_as

TERM_BYTES = 1 << 18  # of the terms of images, which stay in the processor's cache
TAPS = (3, 5)  # rows or columns of a window
KINDS = 4
FEW = 4  # times as many filters in a vector: so few are not worth one
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


def winograd_room(W: Array) -> int:
    """How many numbers ``winograd`` keeps for the next call: the weights, their terms, and columns of these."""
    k_h, k_w, c, filters = W.shape
    terms, few = FIRST_TERMS[k_h][KINDS] * FIRST_TERMS[k_w][KINDS], (VECTOR_BYTES or 32) // W.itemsize // FEW
    size, depth, width = (-(-number // PITCH) * PITCH for number in (W.size, c, filters))
    room: int = PITCH + size + terms * (c * width + few * depth)
    return room


@jit
def winograd(x: Array, W: Array, b: Array, y: Array, kept: Array, pads: Any, least: float) -> None:
    """Twin: ``reference.winograd``, for windows of TAPS. NaN shows just where a window has it; infinity may become NaN.

    For some rows of tiles at a time, which stay in the cache, first the terms of their pixels are written, then the
    products of TILE tiles at once, or of one fewer, for each pair of kinds, and last their outputs. Even columns lie
    side by side, and so do odd ones: those that neighbouring tiles have a term of make one run. The last filters, where
    few are left after whole vectors of them, are multiplied in vectors of channels.

    The terms of the weights are kept, and used again while the weights are the same.
    """
    n, out_h, out_w, filters = y.shape
    k_h, k_w, c, _ = W.shape
    (zero, one, two), taps_h, taps_w = (uint(0), uint(1), uint(2)), uint(k_h), uint(k_w)
    depth, width, pitch = uint(c), uint(filters), to_pitch(uint(filters))
    numbers, firsts = flat(TERM_NUMBERS[k_h // 4, k_w // 4]), FIRST_NUMBERS[k_h // 4, k_w // 4]  # 0 for 3, 1 for 5
    num_terms = firsts[KINDS * KINDS]
    lanes, column_pitch = uint((VECTOR_BYTES or 32) // x.itemsize), to_pitch(depth)
    few = width % lanes if width % lanes <= lanes // uint(FEW) else zero  # filters: a vector would be nearly empty
    # Where in ``kept`` they are; all vectors begin where a vector should.
    whole, weights = width - few, uint(-kept.ctypes.data % 64 // kept.itemsize)
    weight_terms = weights + to_pitch(uint(W.size))
    columns = weight_terms + num_terms * depth * pitch
    if not all_equal(flat(W), kept, weights):
        _transform_weights(W, numbers, num_terms, pitch, kept, weight_terms)
        _copy_last_columns(kept, weight_terms, num_terms, depth, pitch, width, few, column_pitch, columns)
        copy_run(flat(W), zero, uint(W.size), kept, weights)

    tiles_h, tiles_w = uint((out_h + 1) // 2), uint((out_w + 1) // 2)
    padded_h, padded_w = two * tiles_h + taps_h - one, two * tiles_w + taps_w - one
    evens, row, run = padded_w // two * depth, padded_w * depth, tiles_w * depth
    size, line_pitch, run_pitch = padded_h * row, to_pitch(row), to_pitch(run)
    images = int(min(max(uint(TERM_BYTES) // (size * uint(x.itemsize)), one), uint(TILE), uint(n)))
    at_once = min(max(uint(TERM_BYTES) // (num_terms * run_pitch * uint(x.itemsize)), one), uint(TILE))
    most = (at_once * tiles_w + uint(TILE - 1)) // uint(TILE) * uint(TILE)
    next_term, next_kind = at_once * run_pitch, most * pitch
    room = zeroed(uint(images) * size + uint(PITCH), x.dtype)
    lines = empty(uint(MOST_TERMS) * line_pitch + uint(PITCH), x.dtype)
    terms, products = empty(num_terms * next_term, x.dtype), empty(uint(KINDS * KINDS) * next_kind, x.dtype)
    places, starts, no_bias = empty(most, np.uintp), empty(TILE, np.uintp), zeroed(pitch, x.dtype)
    bias, target, smallest, nothing = flat(b), flat(y), x.dtype.type(least), x.dtype.type(-np.inf)

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
            groups, full = in_even_tiles(tiles)
            for kind in range(uint(KINDS * KINDS)):
                first = firsts[kind]
                runs, matrix = firsts[kind + one] - first, (weight_terms + first * depth * pitch, pitch, zero)
                begun = zero
                for group in range(groups):
                    for p in range(uint(TILE)):
                        starts[p] = first * next_term + places[begun + p]
                    patches, t = (runs, next_term, depth), kind * next_kind + begun * pitch
                    product = no_bias, zero, zero, nothing, products, t, pitch, whole
                    height = uint(TILE) if group < full else uint(TILE - 1)
                    multiply_even_tile(terms, starts, zero, height, *patches, kept, *matrix, *product)
                    for i in range(zero, few, uint(DOTS)):
                        count, next_column = min(uint(DOTS), few - i), num_terms * column_pitch
                        them = columns + i * next_column + first * column_pitch, next_column, count
                        dot_tile(terms, starts, *patches, kept, *them, column_pitch, products, t + whole + i, pitch)
                    begun += height
            for tile in range(tiles):
                tile_row, out_j = first_row + tile // tiles_w, tile % tiles_w * two
                image, out_i = uint(begin) + tile_row // tiles_h, tile_row % tiles_h * two
                t = ((image * uint(out_h) + out_i) * uint(out_w) + out_j) * width
                below = uint(out_w) * width if out_i + one < uint(out_h) else zero
                beside = width if out_j + one < uint(out_w) else zero
                _two_by_two(products, tile * pitch, next_kind, bias, smallest, target, t, below, beside, width)


@inline
def _transform_weights(W: Array, numbers: Array, num_terms: Any, pitch: Any, weights: Array, first: Any) -> None:
    """Write the terms of the weights, from weights[first] on.

    Each is a matrix (c, filters), whose rows begin ``pitch`` apart.
    """
    k_h, k_w, c, filters = W.shape
    taps_h, taps_w, width, zero, two = uint(k_h), uint(k_w), uint(filters), uint(0), uint(2)
    tap = uint(c) * width
    line = taps_w * tap
    line_pitch = to_pitch(line)
    source = empty(taps_h * line + uint(PITCH), W.dtype)
    copy_run(flat(W), zero, taps_h * line, source, zero)
    lines = empty(uint(MOST_TERMS) * line_pitch + uint(PITCH), W.dtype)
    _terms_of_weights(source, zero, line, two * line, line, IN_ORDER, zero, lines, zero, line_pitch, taps_h)
    for channel in range(uint(c)):
        for i in range(taps_h + taps_h // two):  # terms: 4 of 3 taps, 7 of 5
            start = i * line_pitch + channel * width
            places, t = (start, start + tap, two * tap, width), first + channel * pitch
            _terms_of_weights(lines, *places, numbers, i * uint(MOST_TERMS), weights, t, uint(c) * pitch, taps_w)


@inline
def _copy_last_columns(
    kept: Array, first: Any, num_terms: Any, depth: Any, pitch: Any, width: Any, few: Any, column_pitch: Any, to: Any
) -> None:
    """Copy the ``few`` last of ``width`` columns of the terms' matrices: one of all terms after another.

    The matrices begin at kept[first], and the copies at kept[to], ``column_pitch`` apart.
    """
    for i in range(few):
        for term in range(num_terms):
            s, t = first + term * depth * pitch + width - few + i, to + (i * num_terms + term) * column_pitch
            for channel in range(depth):
                kept[t + channel] = kept[s + channel * pitch]


@inline
def _pad_evens_first(x: Array, first: int, end: int, pads: Any, size: Any, row: Any, evens: Any, room: Array) -> None:
    """Like ``pad``, but the even columns of each row, ``evens`` numbers in all, come before the odd ones."""
    _, h, w, c = x.shape
    (top, _), (left, _) = pads
    source, depth, two = flat(x), uint(c), uint(2)
    s = uint(first * h * w) * depth
    for image in range(uint(end - first)):
        for i in range(uint(top), uint(top + h)):
            t = image * size + i * row
            for j in range(uint(left), uint(left + w)):
                copy_run(source, s, depth, room, t + j % two * evens + j // two * depth)
                s += depth


def _writer_of_terms(
    three: Callable[..., Sequence[Any]], two: Callable[..., Sequence[Any]], more: int
) -> Callable[..., None]:
    """Writes the terms of a group of three taps by a formula, and of a group of two by another.

    They are made of as many numbers as there are taps, and ``more``.
    """

    def write(
        code: Code,
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
        build, vector = code.builder, Vector(code, code.lanes, 0)
        half = ir.Constant(vector.type, [0.5] * code.lanes)
        for number in code.cases(taps, TAPS):
            steps = [build.mul(step, code.integer(i // 2)) for i in range(number + more)]
            begins = [build.add((evens, odds)[i % 2], further) for i, further in enumerate(steps)]
            order = [code.element(numbers, build.add(n, code.integer(i))) for i in range(FIRST_TERMS[number][KINDS])]
            targets = [build.add(t, build.mul(next_t, place)) for place in order]
            with code.loop(code.integer(0), count, code.lanes) as r:
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


@compiled_as(_writer_of_terms(_pixels_of_three, _pixels_of_two, 1))
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


@compiled_as(_writer_of_terms(_weights_of_three, _weights_of_two, 0))
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
    code: Code,
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


@compiled_as(_write_two_by_two)
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
