"""The matrix products of dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet.kernels.arrays import empty, empty_matrix, flat
from tinynet.kernels.common import copy_run, to_pitch, transpose, zeroed
from tinynet.kernels.settings import COLUMNS, TILE, VECTOR_BYTES, Array, inline, jit, uint
from tinynet.kernels.tiles import in_even_tiles, multiply_tile_and_fetch
from tinynet.kernels.vectors import Code, compiled_as

# While some columns of a row of W are multiplied, so many lines of the cache, 64 bytes each, are fetched of those that
# are AHEAD of them: one line by each of the first tiles.
AHEAD, LINES = (COLUMNS, 4) if VECTOR_BYTES == 64 else (2 * COLUMNS, 1)
# Rows of W at a time: few enough that what they are multiplied with stays in the cache while all columns are gone
# through; or, without a large cache, that the processor remembers where in memory the rows are. It may be more where
# there are few columns.
DEPTH, NARROW, NARROW_DEPTH = (1 << 10, 0, 0) if VECTOR_BYTES == 64 else (128, 2 * COLUMNS, 512)
ROWS = 48  # that are transposed at a time
# Rows that ``vecmat`` adds up at once, and whether the next ones are fetched meanwhile, by lines of the cache.
ROWS_AT_ONCE, NEXT_ARE_FETCHED = 4, VECTOR_BYTES < 64


@jit
def vecmat(x: Array, W: Array, b: Array, y: Array, least: float) -> None:
    """Twin: ``reference.vecmat``. The rows of W, each times a number of x, are added up ROWS_AT_ONCE at a time.

    A large W is read from memory, and that is what takes the time. So the rows for which x has a zero are left out, as
    many have after a ReLU, and most in an image of a digit: NaN and infinity show only in the others.
    """
    size, columns, smallest = uint(W.shape[0]), uint(W.shape[1]), y.dtype.type(least)
    numbers, weights, target = flat(x), flat(W), flat(y)
    for i in range(columns):
        target[i] = b[i]
    room = size + uint(ROWS_AT_ONCE)
    starts, values, count = empty(room, np.uintp), empty(room, x.dtype), uint(0)
    for k in range(size):  # without a branch, as in sparse.py
        starts[count] = k * columns
        values[count] = numbers[k]
        count += uint(numbers[k] != 0)
    starts[count : count + uint(ROWS_AT_ONCE)] = 0  # these are fetched after the last ones
    whole = count - count % uint(ROWS_AT_ONCE)
    for k in range(uint(0), whole, uint(ROWS_AT_ONCE)):
        _add_rows(weights, starts, values, k, columns, target)
    for k in range(whole, count):
        for i in range(columns):
            target[i] += values[k] * weights[starts[k] + i]
    for i in range(columns):
        target[i] = smallest if target[i] <= smallest else target[i]


def _write_add_rows(code: Code, W: Any, starts: Any, values: Any, k: Any, columns: Any, y: Any) -> None:
    build = code.builder
    numbers = [build.add(k, code.integer(i)) for i in range(ROWS_AT_ONCE)]
    rows = [build.gep(W, [code.element(starts, number)]) for number in numbers]
    factors = [code.element(values, number) for number in numbers]
    next_starts = [code.element(starts, build.add(number, code.integer(ROWS_AT_ONCE))) for number in numbers]
    for r, vectors in code.blocks(columns, 2):
        if NEXT_ARE_FETCHED:
            for start in next_starts:
                code.fetch(W, build.add(start, r))
        sums = [code.variable(vector.load(y, r)) for vector in vectors]
        for factor, row in zip(factors, rows, strict=True):
            for vector, total in zip(vectors, sums, strict=True):
                code.add_product(total, vector.splat(factor), vector.load(row, r))
        for vector, total in zip(vectors, sums, strict=True):
            vector.store(build.load(total), y, r)


@compiled_as(_write_add_rows)
def _add_rows(W: Array, starts: Array, values: Array, k: Any, columns: Any, y: Array) -> None:
    """Add the ROWS_AT_ONCE rows of ``columns`` numbers at W[starts[k]] and so on, times values[k] and so on, to y."""
    for i in range(columns):
        for row in range(k, k + uint(ROWS_AT_ONCE)):
            y[i] += values[row] * W[starts[row] + i]


@jit
def matmul(x: Array, W: Array, b: Array, y: Array, x_transposed: bool, W_transposed: bool, least: float) -> None:
    """Twin: ``reference.matmul``. The columns of a transposed x are laid out as rows, ROWS of them at a time.

    With a transposed W it is computed as (W @ x.T).T: it would take longer to transpose W, which is large. (There is
    one call of ``_multiply`` for all cases: it takes long to compile.)
    """
    smallest, none, zero = y.dtype.type(least), y.dtype.type(-np.inf), uint(0)
    n, size = uint(len(x)), uint(len(x)) if x_transposed else uint(x.shape[1])
    rows = uint(len(W)) if W_transposed else uint(len(y))
    at_once = uint(ROWS) if x_transposed or W_transposed else max(rows, uint(1))
    pitch = to_pitch(size) if x_transposed else size
    panel = empty(at_once * pitch if x_transposed else zero, x.dtype)
    factor = empty_matrix(size if W_transposed else zero, n, x.dtype)
    room = empty_matrix(at_once if W_transposed else zero, n, x.dtype)
    if W_transposed:
        transpose(flat(x), zero, size, n, size, flat(factor), zero, n)
    source = panel if x_transposed else flat(W) if W_transposed else flat(x)
    right, first = factor if W_transposed else W, zeroed(n, y.dtype) if W_transposed else b
    target, products, numbers = flat(y), flat(room), flat(x)
    for begin in range(zero, rows, at_once):
        count = min(at_once, rows - begin)
        if x_transposed:
            transpose(numbers, begin, rows, size, count, panel, zero, pitch)
        to = room[:count] if W_transposed else y[begin : begin + count]
        start = begin * size if W_transposed else zero
        _multiply(source, start, pitch, right, first, to, none if W_transposed else smallest)
        if W_transposed:
            for i in range(count):
                for k in range(i * n, (i + uint(1)) * n):
                    value = products[k] + b[begin + i]
                    products[k] = smallest if value <= smallest else value
            transpose(products, zero, n, count, n, target, begin, rows)


@inline
def _multiply(source: Array, start: Any, next_start: Any, W: Array, b: Array, y: Array, least: Any) -> None:
    """The rows from source[start] on, times W, plus b, at least ``least``: some columns at a time, which stay in cache.

    TILE rows at once, or one fewer in as many tiles as are needed to come out even. Where there are too few for that,
    the last tile is made up with copies of the last row. While some columns are multiplied, others are fetched: if W is
    too large for the cache, that takes most of the time. Of a deep W, some rows are taken at a time: what they add to y
    is written to it, with the least number put off until the last of them.
    """
    size, columns = uint(W.shape[0]), uint(W.shape[1])
    rows, zero, one, pitch = uint(len(y)), uint(0), uint(1), columns
    tiles, full = in_even_tiles(rows)
    is_padded = full == tiles and rows < tiles * uint(TILE)
    padded = tiles - one if is_padded else tiles  # the tile that is made up; ``tiles`` if none is
    weights, target = flat(W), flat(y)
    others = empty(uint(TILE) * columns if padded < tiles else zero, y.dtype)  # what that tile gives
    starts = empty(tiles * uint(TILE), np.uintp)
    for i in range(uint(len(starts))):
        starts[i] = start + min(i, rows - one) * next_start
    at_once = uint(DEPTH) if columns > uint(NARROW) else uint(NARROW_DEPTH)
    for k in range(zero, max(size, one), at_once):
        depth = min(at_once, size - k)
        floor = least if k + depth == size else y.dtype.type(-np.inf)
        for column in range(zero, columns, uint(COLUMNS)):
            width, matrix = min(uint(COLUMNS), columns - column), (weights, k * pitch + column, pitch)
            row = zero
            for tile in range(tiles):
                next_w = uint(AHEAD) + tile * uint(64 // W.itemsize) if tile < uint(LINES) else zero
                products, t = (others, column) if tile == padded else (target, row * pitch + column)
                sums = (products, t, pitch) if k > zero else (b, column, zero)
                height = uint(TILE) if tile < full else uint(TILE - 1)
                patches, to = (row, height, one, one, depth), (floor, products, t, pitch, width)
                multiply_tile_and_fetch(source[k:], starts, *patches, *matrix, next_w, *sums, *to)
                row += height
    if padded < tiles:
        first = padded * uint(TILE)
        copy_run(others, zero, (rows - first) * pitch, target, first * pitch)
