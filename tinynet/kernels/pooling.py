"""The largest number of each window, or the mean, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from tinynet.kernels.arrays import flat
from tinynet.kernels.common import better
from tinynet.kernels.settings import VECTOR_BYTES, Array, jit, uint
from tinynet.kernels.vectors import Code, compiled_as


@jit
def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array, argmax: Array) -> None:
    """Twin: ``reference.max_pool``. The window is clipped to the image, so there is no padding that could win.

    Windows of 2x2, the usual ones, are taken a row of them at a time.
    """
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, largest, place = flat(x), flat(y), flat(argmax)
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
                                wins = better(value, best)
                                largest[t + channel] = value if wins else best
                                place[t + channel] = here if wins else place[t + channel]
                t += uint(count) * channels
                j += count


@jit
def max_pool_backward(dy: Array, argmax: Array, dx: Array) -> None:
    """Twin: ``reference.max_pool_backward``."""
    n, h, w, c = dx.shape
    gradient, place, target = flat(dy), flat(argmax), flat(dx)
    target[:] = 0
    g = start = uint(0)
    for _ in range(n):
        for _ in range(dy.shape[1] * dy.shape[2]):
            for channel in range(uint(c)):
                target[start + uint(place[g]) * uint(c) + channel] += gradient[g]
                g += uint(1)
        start += uint(h * w * c)


@jit
def average_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array) -> None:
    """Twin: ``reference.average_pool``. The window is clipped to the image, as in ``max_pool``."""
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, target = flat(x), flat(y)
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
    gradient, target = flat(dy), flat(dx)
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


def _write_max_of_fours(
    code: Code,
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
        with code.loop(code.integer(0), count):
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


@compiled_as(_write_max_of_fours)
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
                    wins = better(value, best)
                    best = value if wins else best
                    where = np.int32(corner + i * w + j) if wins else where
            largest[to + channel] = best
            place[to + channel] = where
