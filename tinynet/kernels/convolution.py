"""A convolution that reads its patches where they lie, without a patch matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from tinynet.kernels.arrays import empty, flat
from tinynet.kernels.common import copy_rows, copy_run, list_starts, pad, to_pitch, zeroed
from tinynet.kernels.settings import TILE, VECTOR_BYTES, Array, inline, jit, uint
from tinynet.kernels.tiles import list_tiles, multiply_tile
from tinynet.kernels.vectors import Code, Vector, compiled_as

BLANK = 48  # numbers of an image's row, which are looked at before they are multiplied: they may all be zero
PADDED_BYTES = 1 << 17  # of images with zeros around them
# So few filters would leave most of a vector empty: vectors of neighbouring positions are full. (With AVX2 it takes too
# long to store what then lies across.)
FEW = 0 if VECTOR_BYTES == 32 else 6
POSITIONS = 2 * (VECTOR_BYTES or 64) // 4  # in a row, at once


@jit
def convolve(x: Array, W: Array, b: Array, y: Array, s_h: int, s_w: int, pads: Any, least: float) -> None:
    """Twin: ``reference.convolve``. TILE patches at once are read where they lie, in an image with zeros around it.

    Of images with one channel and FEW filters, POSITIONS patches are.
    """
    n, h, w, c = x.shape
    _, out_h, out_w, filters = y.shape
    k_h, k_w, _, _ = W.shape
    (top, bottom), (left, right) = pads
    run, runs, width, positions = uint(k_w * c), uint(k_h), uint(filters), out_h * out_w
    are_few = c == 1 and s_w == 1 and width <= uint(FEW)
    pitch = uint(FEW) if are_few else to_pitch(width)
    weights = zeroed(runs * run * pitch, W.dtype)
    copy_rows(flat(W), runs * run, width, weights, pitch)
    bias, smallest = flat(b), x.dtype.type(least)
    at_once = uint(POSITIONS - 1) if are_few else uint(TILE - 1) * uint(s_w * c)
    is_thin = at_once + run <= uint(BLANK) and _is_finite(flat(W))

    padded_h, padded_w = top + h + bottom, left + w + right
    images = min(n, max(1, PADDED_BYTES // (padded_h * padded_w * c * x.itemsize)))
    size, row = padded_h * padded_w * c, uint(padded_w * c)
    room = zeroed(uint(images * size if size > h * w * c else 0), x.dtype)
    tiles = empty(images * positions // TILE + 1, np.uintp)
    starts = empty(max(images * positions, TILE), np.uintp)
    if not are_few:
        list_starts(starts, out_h, out_w, s_h * padded_w * c, s_w * c)
        for i in range(positions, images * positions):
            starts[i] = starts[i - positions] + uint(size)

    products = flat(y)
    for first in range(0, n, images):
        chunk = min(images, n - first)
        source, target = flat(x)[first * size :], products[first * positions * filters :]
        if room.size:
            pad(x, first, first + chunk, pads, room)
            source = room
        if FEW and are_few:  # where it is 0, what follows is not even compiled
            sizes, next_row = (uint(chunk), uint(out_h), uint(out_w)), uint(s_h) * row
            _by_position(source, sizes, uint(size), next_row, runs, row, run, is_thin, weights, bias, smallest, target)
            continue
        end = uint(chunk * positions)
        if end < uint(TILE):
            target = empty(uint(TILE) * width, y.dtype)
            for i in range(end, uint(TILE)):  # what is missing to a tile: the last patch, which ends it in any case
                starts[i] = starts[end - uint(1)]
        count = list_tiles(tiles, end)
        if is_thin:
            count = _leave_out_blank(source, starts, tiles[:count], runs, row, run, bias, smallest, target)
        for tile in range(count):
            p = tiles[tile]
            patches, matrix, to = (p, uint(TILE), runs, row, run), (uint(0), pitch, uint(0)), (p * width, width, width)
            multiply_tile(source, starts, *patches, weights, *matrix, bias, uint(0), uint(0), smallest, target, *to)
        if end < uint(TILE):
            copy_run(target, uint(0), end * width, products, uint(first * positions) * width)


@inline
def _by_position(
    source: Array,
    sizes: Any,
    next_image: Any,
    next_row: Any,
    runs: Any,
    row: Any,
    run: Any,
    is_thin: Any,
    weights: Array,
    bias: Array,
    least: Any,
    target: Array,
) -> None:
    """Multiply POSITIONS patches at once, those of neighbouring positions, with FEW filters."""
    images, out_h, out_w = sizes
    width, is_blank, t = uint(len(bias)), empty(1, np.uint8), uint(0)
    biases, blank = zeroed(uint(FEW), bias.dtype), empty(uint(POSITIONS) * width, target.dtype)
    copy_run(bias, uint(0), width, biases, uint(0))
    _write_blank(bias, least, blank)
    for image in range(images):
        for i in range(out_h):
            for j in range(uint(0), out_w, uint(POSITIONS)):
                first, count = image * next_image + i * next_row + j, min(uint(POSITIONS), out_w - j)
                is_blank[0] = 0
                if is_thin:
                    _all_zero(source, first, runs, row, count - uint(1) + run, is_blank)
                if is_blank[0]:
                    copy_run(blank, uint(0), count * width, target, t)
                else:
                    _multiply_positions(source, first, runs, row, run, weights, biases, least, target, t, width, count)
                t += count * width


def _write_multiply_positions(
    code: Code,
    x: Any,
    s: Any,
    runs: Any,
    next_run: Any,
    run: Any,
    W: Any,
    b: Any,
    least: Any,
    y: Any,
    t: Any,
    width: Any,
    count: Any,
) -> None:
    build, lanes = code.builder, code.lanes
    one_position = Vector(code, lanes, 0, width)
    for r, vectors in code.blocks(count, 2):
        biases = [code.element(b, code.integer(f)) for f in range(FEW)]
        sums = [[code.variable(vector.splat(bias)) for vector in vectors] for bias in biases]
        place = code.variable(code.integer(0))
        with code.loop(code.integer(0), runs) as i:
            begin = build.add(build.add(s, r), build.mul(i, next_run))
            with code.loop(code.integer(0), run) as k:
                numbers, tap = [vector.load(x, build.add(begin, k)) for vector in vectors], build.load(place)
                for f, totals in enumerate(sums):
                    factor = code.element(W, build.add(tap, code.integer(f)))
                    for vector, total, number in zip(vectors, totals, numbers, strict=True):
                        code.add_product(total, vector.splat(factor), number)
                build.store(build.add(tap, code.integer(FEW)), place)
        for i, vector in enumerate(vectors):
            found = [code.at_least(vector.splat(least), build.load(totals[i])) for totals in sums]
            for p, filters in enumerate(code.transposed([*found, *[vector.zeros] * (lanes - FEW)])):
                position = code.integer(vector.offset + p)
                with build.if_then(build.icmp_unsigned("<", position, build.sub(count, r))):
                    one_position.store(filters, y, build.add(t, build.mul(build.add(r, position), width)))


@compiled_as(_write_multiply_positions)
def _multiply_positions(
    x: Array,
    s: Any,
    runs: Any,
    next_run: Any,
    run: Any,
    W: Array,
    b: Array,
    least: Any,
    y: Array,
    t: Any,
    width: Any,
    count: Any,
) -> None:
    """Write what ``width`` filters give at ``count`` neighbouring positions, one after another, to y[t] and so on.

    The first patch is made of ``runs`` runs of ``run`` numbers, which begin ``next_run`` apart from x[s] on, and each
    of the others begins one number later. The weights of a tap, FEW of them, come one after another.
    """
    for p in range(count):
        for f in range(width):
            total = b[f]
            for i in range(runs):
                for k in range(run):
                    total += x[s + p + i * next_run + k] * W[(i * run + k) * uint(FEW) + f]
            y[t + p * width + f] = least if total <= least else total


@inline
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
    width, is_blank = uint(len(bias)), empty(1, np.uint8)
    centre, count = runs // uint(2) * row + run // uint(2), uint(0)
    blank = empty(uint(TILE) * width, target.dtype)
    _write_blank(bias, least, blank)
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


@inline
def _write_blank(bias: Array, least: Any, blank: Array) -> None:
    """Write what comes of patches that are all zero, one after another."""
    width = uint(len(bias))
    for r in range(uint(len(blank))):
        blank[r] = least if bias[r % width] <= least else bias[r % width]


@inline
def _is_finite(numbers: Array) -> bool:
    """Whether none is NaN or infinite: then their products with zeros are zero, and may be left out."""
    finite = True
    for number in numbers:
        finite &= number - number == 0
    return finite


def _write_all_zero(code: Code, x: Any, start: Any, runs: Any, next_run: Any, run: Any, answer: Any) -> None:
    build, bits = code.builder, ir.VectorType(ir.IntType(1), code.lanes)
    found = code.variable(ir.Constant(bits, [0] * code.lanes))
    with code.loop(code.integer(0), runs) as i:
        first = build.add(start, build.mul(i, next_run))
        for k, vectors in code.blocks(run, 1):
            for vector in vectors:
                numbers = vector.load(x, build.add(first, k))
                build.store(build.or_(build.load(found), build.fcmp_unordered("!=", numbers, vector.zeros)), found)
    any_found = code.call(f"vector.reduce.or.v{code.lanes}i1", ir.IntType(1), build.load(found))
    build.store(build.zext(build.not_(any_found), answer.type.pointee), answer)


@compiled_as(_write_all_zero)
def _all_zero(x: Array, start: Any, runs: Any, next_run: Any, run: Any, answer: Array) -> None:
    """Write into answer[0] whether all numbers of some runs are zero, which begin ``next_run`` apart."""
    answer[0] = 1
    for i in range(runs):
        for k in range(run):
            if x[start + i * next_run + k] != 0:
                answer[0] = 0
