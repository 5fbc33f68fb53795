"""What several kernels do: copy, add padding, compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils

from tinynet.kernels.arrays import LINE, empty, flat
from tinynet.kernels.settings import PITCH, Array, inline, uint
from tinynet.kernels.vectors import Code, Vector, compiled_as


@inline
def zeroed(size: Any, dtype: Any) -> Array:
    """Room for ``size`` numbers, with zeros in it."""
    room = empty(size, dtype)
    room[:] = 0
    return room


@inline
def to_pitch(size: Any) -> Any:
    """``size`` numbers with what is missing to a multiple of PITCH."""
    return (size + uint(PITCH - 1)) // uint(PITCH) * uint(PITCH)


def _write_copy_run(code: Code, source: Any, s: Any, count: Any, target: Any, t: Any) -> None:
    build = code.builder
    cgutils.raw_memcpy(build, build.gep(target, [t]), build.gep(source, [s]), count, code.bytes)  # type: ignore[no-untyped-call]


@compiled_as(_write_copy_run)
def copy_run(source: Array, s: Any, count: Any, target: Array, t: Any) -> None:
    """Copy ``count`` numbers from source[s] on to target[t] on."""
    for r in range(count):
        target[t + r] = source[s + r]


def _write_fetch_run(code: Code, x: Any, start: Any, count: Any) -> None:
    with code.loop(code.integer(0), count, LINE // code.bytes) as i:
        code.fetch(x, code.builder.add(start, i))


@compiled_as(_write_fetch_run)
def fetch_run(x: Array, start: Any, count: Any) -> None:
    """Begin to bring ``count`` numbers from x[start] on into the fastest cache. They need not exist."""


def _write_transpose(
    code: Code, x: Any, s: Any, next_s: Any, rows: Any, columns: Any, y: Any, t: Any, next_t: Any
) -> None:
    build, lanes = code.builder, code.lanes

    def place(start: Any, number: int, end: Any, begin: Any, pitch: Any) -> Any:
        """Where a row begins; where there are no more, the last one does."""
        index, last = build.add(start, code.integer(number)), build.sub(end, code.integer(1))
        return build.add(begin, build.mul(build.select(build.icmp_unsigned("<", index, end), index, last), pitch))

    for i, (column,) in code.blocks(rows, 1):
        with code.loop(code.integer(0), columns, lanes) as j:
            row = Vector(code, lanes, 0, build.sub(columns, j))
            vectors = [row.load(x, build.add(place(i, a, rows, s, next_s), j)) for a in range(lanes)]
            vectors = code.transposed(vectors)
            for b in reversed(range(lanes)):  # such that the last column is written over what came after it
                column.store(vectors[b], y, build.add(place(j, b, columns, t, next_t), i))


@compiled_as(_write_transpose)
def transpose(x: Array, s: Any, next_s: Any, rows: Any, columns: Any, y: Array, t: Any, next_t: Any) -> None:
    """Write a matrix (rows, columns) as (columns, rows): its rows begin ``next_s`` apart from x[s] on.

    Those of the other one begin ``next_t`` apart from y[t] on.
    """
    for i in range(rows):
        for j in range(columns):
            y[t + j * next_t + i] = x[s + i * next_s + j]


@inline
def copy_rows(source: Array, rows: Any, row: Any, target: Array, pitch: Any) -> None:
    """Copy rows that lie side by side, so that they begin ``pitch`` apart."""
    for i in range(rows):
        copy_run(source, i * row, row, target, i * pitch)


@inline
def pad(x: Array, first: int, end: int, pads: Any, room: Array) -> None:
    """Copy images ``first`` to ``end`` of ``x`` into a room with zeros around each, which are there already."""
    _, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    source, line = flat(x), uint(w * c)
    s = uint(first * h) * line
    for image in range(end - first):
        for i in range(h):
            t = uint(((image * (top + h + bottom) + top + i) * (left + w + right) + left) * c)
            copy_run(source, s, line, room, t)
            s += line


@inline
def list_starts(starts: Array, out_h: Any, out_w: Any, next_row: Any, next_column: Any) -> None:
    """Write where in an image the patch under each position of a window begins."""
    p = uint(0)
    for i in range(out_h):
        for j in range(out_w):
            starts[p] = uint(i * next_row + j * next_column)
            p += uint(1)


@inline
def better(value: Any, best: Any) -> Any:
    """Whether ``value`` takes the place of ``best`` as the largest: the first NaN wins."""
    return (value > best) | ((value != value) & (best == best))


@inline
def all_equal(a: Array, b: Array, start: Any) -> bool:
    """Whether the numbers of a are those of b from b[start] on. (NaN is equal to nothing.)"""
    different = np.uint32(0)
    for i in range(uint(len(a))):
        different = np.uint32(different | np.uint32(a[i] != b[start + i]))
    equal: bool = different == 0
    return equal
