"""The gradients of a convolution where one factor is mostly zeros, which cost nothing.

While an image is read, part by part, as much of the next one is fetched into the cache each time: an image is so little
that the processor's own guesses come too late.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet.kernels.arrays import empty, flat
from tinynet.kernels.common import copy_run, fetch_run, list_starts, pad, to_pitch, zeroed
from tinynet.kernels.settings import PITCH, VECTOR_BYTES, Array, inline, jit, short_jit, uint
from tinynet.kernels.vectors import Code, compiled_as

LIST_BYTES = 1 << 16  # of a gradient whose non-zeros are listed at a time
FAST_BYTES = 1 << 15  # of weights that stay in the processor's fastest memory
# Vectors of sums, of one run or of several. (Factors are multiplied as they are read, which takes no register.)
ONE_RUN, RUN_SUMS = (8, 25) if VECTOR_BYTES == 64 else (13, 13)
RUNS = (1, 5)  # how many runs are added to at once: the rows of the usual windows
COUNTED = 1 << 16  # numbers at a time
WORTH_TAKING_APART = 4  # times that a pixel is looked up, at least


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
    starts = empty(out_h * out_w, np.uintp)
    list_starts(starts, out_h, out_w, s_h * padded_w, s_w)
    pixel_starts = empty(h * w if x_argmax.size else 0, np.uintp)
    if x_argmax.size:
        list_starts(pixel_starts, h, w, padded_w * c, c)
    is_copied = rest > 0 or x_argmax.size > 0 or padded_w > w or padded_h > h
    room = zeroed(pixels * uint(c) if is_copied else uint(0), x.dtype)  # for an image with its zeros
    source, gradient, position = flat(x), flat(dy), flat(argmax)
    target = zeroed(windows * uint(c), x.dtype)
    at_a_time = min(numbers, max(1, LIST_BYTES // (filters * dy.itemsize)))
    corners = empty(at_a_time * filters, np.uintp)
    places = empty(at_a_time * filters, np.uintp)
    values = empty(at_a_time * filters, dy.dtype)
    ends = empty(filters, np.uintp)
    of_image = uint(numbers * filters)
    for image in range(n):
        g = uint(image) * of_image
        images, start = (room, uint(0)) if is_copied else (source, uint(image * h * w * c))
        if x_argmax.size:
            _unpool(x, x_argmax, image, uint((top * padded_w + left) * c), pixel_starts, room)
        elif rest:
            _pad_apart(x, image, pads, whole, room)
        elif is_copied:
            pad(x, image, image + 1, pads, room)
        for begin in range(0, numbers, at_a_time):
            stop = uint(min(begin + at_a_time, numbers))
            _list_by_filter(gradient, g, of_image, position, starts, uint(begin), stop, corners, values, ends)
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


@inline
def _list_by_filter(
    gradient: Array,
    g: Any,
    of_image: Any,
    position: Array,
    starts: Array,
    begin: Any,
    stop: Any,
    corners: Array,
    values: Array,
    ends: Array,
) -> None:
    """List which numbers of a gradient are not zero, and where their patches start, one filter after another.

    These are the numbers ``begin`` to ``stop`` of an image of ``of_image`` numbers, whose first is gradient[g]. The
    list of a filter ends at ends[filter], where that of the next one begins. (Without a branch: every number is written
    to the end of the list, and the end moves on where it was not zero.)
    """
    filters, count, end = uint(len(ends)), stop - begin, uint(0)
    for f in range(filters):
        i = g + begin * filters + f
        later = g + of_image + begin * filters + f * count
        fetch_run(gradient, later, count)
        fetch_run(position, later, count if len(position) else uint(0))
        for q in range(begin, stop):
            value = gradient[i]
            corners[end] = starts[uint(position[i]) if len(position) else q]
            values[end] = value
            end += uint(value != 0)
            i += filters
        ends[f] = end


@inline
def _unpool(numbers: Array, argmax: Array, image: Any, corner: Any, starts: Array, room: Array) -> None:
    """Write an image that was max-pooled: zeros, and each of the numbers left where its argmax says.

    The pixel of argmax 0 begins at room[corner], and the others ``starts`` further on.
    """
    source, place, c = flat(numbers), flat(argmax), uint(numbers.shape[3])
    pixels = uint(numbers.shape[1] * numbers.shape[2])
    room[:] = 0
    g = uint(image) * pixels * c
    for _ in range(pixels):
        fetch_run(source, g + pixels * c, c)
        fetch_run(place, g + pixels * c, c)
        for channel in range(corner, corner + c):
            room[starts[uint(place[g])] + channel] = source[g]
            g += uint(1)


@inline
def _pad_apart(x: Array, image: int, pads: Any, whole: Any, room: Array) -> None:
    """Like ``pad``, for one image: first the ``whole`` channels of each pixel, then, after all of these, the rest."""
    _, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    source, rest = flat(x), uint(c) - whole
    s, after = uint(image * h * w * c), uint((top + h + bottom) * (left + w + right)) * whole
    for i in range(h):
        pixel = uint((top + i) * (left + w + right) + left)
        fetch_run(source, s + uint(h * w * c), uint(w * c))
        for t in range(pixel, pixel + uint(w)):
            copy_run(source, s, whole, room, t * whole)
            copy_run(source, s + whole, rest, room, after + t * rest)
            s += uint(c)


@inline
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


@jit
def add_filters(dy: Array, argmax: Array, filters_: Array, x: Array, s_h: int, s_w: int, pads: Any) -> None:
    """Twin: ``reference.add_filters``, for a ``dy`` that is mostly zeros: these cost nothing.

    The rows of the filters' windows are taken one after another: one row of all filters is small enough for the
    fastest memory. Rows that lie in the padding are left out, and so are most columns there.
    """
    n, h, w, c = x.shape
    filters, k_h, k_w, _ = filters_.shape
    (top, bottom), (left, right) = pads
    padded_h, padded_w = top + h + bottom, left + w + right
    out_h, out_w = (padded_h - k_h) // s_h + 1, (padded_w - k_w) // s_w + 1
    starts = empty(out_h * out_w, np.uintp)
    list_starts(starts, out_h, out_w, s_h * padded_w * c, s_w * c)
    target = flat(x)
    room = empty(uint(padded_h * padded_w * c), x.dtype)  # for the gradient of an image with its padding
    run, row, line = uint(k_w * c), uint(padded_w * c), uint(w * c)
    pitch = to_pitch(run)
    size = uint(filters) * pitch
    weights = empty(uint(k_h) * size, x.dtype)
    _copy_by_row(filters_, pitch, weights)
    rows = uint(max(1, FAST_BYTES // (size * x.itemsize)))
    skips, counts = empty(out_w, np.uintp), empty(out_w, np.uintp)
    _list_inside(skips, counts, s_w, left, w, k_w, c)
    places = empty(out_h * out_w * filters, np.uintp)
    values = empty(out_h * out_w * filters, dy.dtype)
    ends = empty(out_h * out_w, np.uintp)
    s = uint(0)
    for image in range(n):
        _list_by_position(dy, argmax, image, pitch, places, values, ends)
        room[:] = 0
        k_i = uint(0)
        while k_i < uint(k_h):
            runs, w_i = _runs_of(min(rows, uint(k_h) - k_i)), k_i * size
            for i in range(uint(out_h)):
                first_row = i * uint(s_h) + k_i
                if first_row + runs <= uint(top) or first_row >= uint(top + h):
                    continue
                for j in range(uint(out_w)):
                    p = i * uint(out_w) + j
                    first, end, skip = p * uint(filters), ends[p], skips[j]
                    if end > first:
                        t, count = starts[p] + k_i * row + skip, counts[j]
                        _add_runs(weights, w_i + skip, size, places, values, first, end, room, t, row, count, runs)
            k_i += runs
        for i in range(h):
            copy_run(room, uint(((top + i) * padded_w + left) * c), line, target, s)
            s += line


@inline
def _list_inside(skips: Array, counts: Array, s_w: int, left: int, w: int, k_w: int, c: int) -> None:
    """For each column, how many numbers of a window's row lie before the image, in whole pitches, and how many to use.

    What is beyond the image on either side would be added to the padding.
    """
    for j in range(len(skips)):
        begin = min(max(left - j * s_w, 0), k_w) * c // PITCH * PITCH
        skips[j] = begin
        counts[j] = max(min(left + w - j * s_w, k_w) * c - begin, 0)


@inline
def _list_by_position(
    dy: Array, argmax: Array, image: Any, pitch: Any, places: Array, values: Array, ends: Array
) -> None:
    """List the numbers of an image's ``dy`` that are not zero, with filter * pitch, by position: without a branch.

    The list of position p begins at p * filters, where there is room for each filter, and ends at ends[p].
    """
    filters, numbers = uint(dy.shape[3]), uint(dy.shape[1] * dy.shape[2])
    gradient, position, is_pooled = flat(dy), flat(argmax), argmax.size > 0
    for q in range(uint(len(ends))):
        ends[q] = q * filters
    for f in range(filters):
        later = (uint(image + 1) * filters + f) * numbers
        fetch_run(gradient, later, numbers)
        fetch_run(position, later, numbers if is_pooled else uint(0))
        g = uint(image) * numbers * filters + f
        for q in range(numbers):
            p, value = uint(position[g]) if is_pooled else q, gradient[g]
            end = ends[p]
            places[end] = f * pitch
            values[end] = value
            ends[p] = end + uint(value != 0)
            g += filters


@inline
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


@inline
def _runs_of(most: Any) -> Any:
    """How many runs to add to at once: the largest of RUNS that is not above ``most``."""
    return uint(RUNS[1] if most >= RUNS[1] else RUNS[0])


def _write_add_runs(
    code: Code,
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
        for r, vectors in code.blocks(run, min(5, RUN_SUMS // runs) if runs > 1 else ONE_RUN, halves=halves):
            here = [build.add(build.add(t, r), build.mul(next_t, code.integer(i))) for i in range(runs)]
            sums = [[code.variable(vector.load(target, to)) for vector in vectors] for to in here]
            begins = [build.add(build.add(s, r), build.mul(next_s, code.integer(i))) for i in range(runs)]
            with code.loop(first, end) as k:
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


@compiled_as(_write_add_runs)
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


@short_jit
def count_nonzero(x: Array) -> int:
    """Twin: ``reference.count_nonzero``."""
    return _count_nonzero(flat(x))


@short_jit
def jump_if_dense(x: Array, most: int, to: int, next_row: Array) -> None:
    """Twin: ``reference.jump_if_dense``."""
    if _count_nonzero(flat(x)) > most:
        next_row[0] = to


@inline
def _count_nonzero(values: Array) -> int:
    """In 32 bits for some numbers at a time: there are as many in a vector, then, as float32."""
    total, size = 0, uint(values.size)
    for begin in range(uint(0), size, uint(COUNTED)):
        count = np.uint32(0)
        for i in range(begin, min(begin + uint(COUNTED), size)):
            count = np.uint32(count + np.uint32(values[i] != 0))
        total += int(count)
    return total


@short_jit
def sum_channels(x: Array, sums: Array) -> None:
    """Twin: ``reference.sum_channels``. Rows of images are added up first: they are longer than a pixel."""
    n, h, w, c = x.shape
    numbers, row, line = flat(x), zeroed(uint(w * c), x.dtype), uint(w * c)
    s = uint(0)
    for _ in range(n * h):
        for r in range(line):
            row[r] += numbers[s + r]
        s += line
    sums[:] = 0
    for r in range(line):
        sums[r % uint(c)] += row[r]
