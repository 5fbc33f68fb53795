"""The functions of ``reference.py`` again, in Numba: same names, same arguments, same results, faster.

Kernels check nothing (the layers do), run on one thread and release the GIL: the training loop runs them in parallel
on different images. All arrays are C-contiguous and of one dtype, float32 or float64.

Each call chain stays in this file, because Numba's on-disk cache does not notice a change in another one. Indices are
unsigned (``uint``): Numba tests a signed index for being negative at every access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
uint = np.uintp

# "contract" allows fused multiply-add and nothing else: NaN and infinity stay what they are.
SETTINGS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def jit(function: Function) -> Function:
    """Compile on first use, keeping the machine code on disk where a folder for it can be written."""
    try:
        return numba.njit(cache=True, **SETTINGS)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # Numba found no writable cache folder: compile anew in each process
        return numba.njit(**SETTINGS)(function)  # type: ignore[no-any-return]


@jit
def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Twin: ``reference.im2col``. A patch is k_h runs of k_w * c numbers that lie side by side in the image."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = x.reshape(-1), patches.reshape(-1)
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
    source, target = x.reshape(-1), patches.reshape(-1)
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
    source, target = patches.reshape(-1), x.reshape(-1)
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
def _add_blocks(
    target: Array,
    t: Any,
    t_step: Any,
    source: Array,
    s_step: Any,
    places: Array,
    values: Array,
    count: Any,
    run: Any,
    rows: Any,
) -> None:
    """Add values[k] * the block of ``source`` at places[k], for all k < count, to the block of ``target`` at t.

    A block is ``rows`` runs of ``run`` numbers, t_step or s_step apart. Eight products are added at a time, then four,
    because each sum is loaded and stored once for all of them; the last four are filled up with zeros times a block
    that exists, for which ``places`` and ``values`` need room for three more.
    """
    while count % uint(4) != 0:
        places[count] = places[uint(0)]
        values[count] = 0
        count += uint(1)
    k = uint(0)
    while k < count:
        p0, p1, p2, p3 = places[k], places[k + uint(1)], places[k + uint(2)], places[k + uint(3)]
        v0, v1, v2, v3 = values[k], values[k + uint(1)], values[k + uint(2)], values[k + uint(3)]
        k += uint(4)
        start = t
        if k < count:
            p4, p5, p6, p7 = places[k], places[k + uint(1)], places[k + uint(2)], places[k + uint(3)]
            v4, v5, v6, v7 = values[k], values[k + uint(1)], values[k + uint(2)], values[k + uint(3)]
            k += uint(4)
            s = uint(0)
            for _ in range(rows):
                for r in range(s, s + run):
                    low = (v0 * source[p0 + r] + v1 * source[p1 + r]) + (v2 * source[p2 + r] + v3 * source[p3 + r])
                    high = (v4 * source[p4 + r] + v5 * source[p5 + r]) + (v6 * source[p6 + r] + v7 * source[p7 + r])
                    target[start + (r - s)] += low + high
                start += t_step
                s += s_step
        else:
            s = uint(0)
            for _ in range(rows):
                for r in range(s, s + run):
                    low = (v0 * source[p0 + r] + v1 * source[p1 + r]) + (v2 * source[p2 + r] + v3 * source[p3 + r])
                    target[start + (r - s)] += low
                start += t_step
                s += s_step


@jit
def sum_patches(x: Array, dy: Array, sums: Array, s_h: int, s_w: int) -> None:
    """Twin: ``reference.sum_patches``, for a ``dy`` that is mostly zeros: these cost nothing.

    The entries of an image's ``dy`` that are not zero are listed, and sorted by filter. (Listing without a branch:
    every entry is written to the end of the list, and the end moves on where it was not zero.)
    """
    n, h, w, c = x.shape
    _, out_h, out_w, filters = dy.shape
    _, k_h, k_w, _ = sums.shape
    source, gradient, target = x.reshape(-1), dy.reshape(-1), sums.reshape(-1)
    run, row = uint(k_w * c), uint(w * c)
    listed_filter = np.empty(out_h * out_w * filters + 1, np.uintp)
    listed_place = np.empty(out_h * out_w * filters + 1, np.uintp)
    listed_value = np.empty(out_h * out_w * filters + 1, dy.dtype)
    places = np.empty((filters, out_h * out_w + 3), np.uintp)
    values = np.empty((filters, out_h * out_w + 3), dy.dtype)
    counts = np.empty(filters, np.uintp)
    g = uint(0)
    for image in range(n):
        end = uint(0)
        for i in range(out_h):
            for j in range(out_w):
                corner = uint(((image * h + i * s_h) * w + j * s_w) * c)
                for f in range(uint(filters)):
                    value = gradient[g]
                    listed_filter[end] = f
                    listed_place[end] = corner
                    listed_value[end] = value
                    end += uint(value != 0)
                    g += uint(1)
        counts[:] = 0
        for e in range(end):
            f = listed_filter[e]
            k = counts[f]
            places[f, k] = listed_place[e]
            values[f, k] = listed_value[e]
            counts[f] = k + uint(1)
        for f in range(uint(filters)):
            block = f * uint(k_h) * run
            _add_blocks(target, block, run, source, row, places[f], values[f], counts[f], run, k_h)


@jit
def add_filters(dy: Array, filters_: Array, x: Array, s_h: int, s_w: int) -> None:
    """Twin: ``reference.add_filters``, for a ``dy`` that is mostly zeros: these cost nothing.

    At each place of the window, the filters whose ``dy`` is not zero are listed (without a branch) and added.
    """
    n, h, w, c = x.shape
    _, out_h, out_w, filters = dy.shape
    _, k_h, k_w, _ = filters_.shape
    source, gradient, target = filters_.reshape(-1), dy.reshape(-1), x.reshape(-1)
    run, row, size = uint(k_w * c), uint(w * c), uint(k_h * k_w * c)
    places = np.empty(filters + 4, np.uintp)
    values = np.empty(filters + 4, dy.dtype)
    g = uint(0)
    for image in range(n):
        for i in range(out_h):
            for j in range(out_w):
                count = uint(0)
                for f in range(uint(filters)):
                    value = gradient[g]
                    places[count] = f * size
                    values[count] = value
                    count += uint(value != 0)
                    g += uint(1)
                if count > 0:
                    corner = uint(((image * h + i * s_h) * w + j * s_w) * c)
                    _add_blocks(target, corner, row, source, run, places, values, count, run, k_h)


@jit
def count_nonzero(x: Array) -> int:
    """Twin: ``reference.count_nonzero``."""
    values = x.reshape(-1)
    count = 0
    for i in range(uint(values.size)):
        count += values[i] != 0
    return count


@jit
def _better(value: Any, best: Any) -> Any:
    """Whether ``value`` takes the place of ``best`` as the largest: the first NaN wins."""
    return (value > best) | ((value != value) & (best == best))


@jit
def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array, argmax: Array) -> None:
    """Twin: ``reference.max_pool``. The window is clipped to the image, so there is no padding that could win.

    Windows of 2x2, the usual ones, have a loop of their own: it compares all four entries before it stores anything.
    """
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, largest, place = x.reshape(-1), y.reshape(-1), argmax.reshape(-1)
    channels, row = uint(c), uint(w * c)
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            i_start, i_stop = max(i * s_h - top, 0), min(i * s_h - top + k_h, h)
            for j in range(out_w):
                j_start, j_stop = max(j * s_w - left, 0), min(j * s_w - left + k_w, w)
                first = np.int32(i_start * w + j_start)
                s = uint((image * h * w + first) * c)
                if i_stop - i_start == 2 and j_stop - j_start == 2:
                    second, third, fourth = np.int32(first + 1), np.int32(first + w), np.int32(first + w + 1)
                    for channel in range(channels):
                        best, where = source[s + channel], first
                        value = source[s + channels + channel]
                        wins = _better(value, best)
                        best, where = value if wins else best, second if wins else where
                        value = source[s + row + channel]
                        wins = _better(value, best)
                        best, where = value if wins else best, third if wins else where
                        value = source[s + row + channels + channel]
                        wins = _better(value, best)
                        best, where = value if wins else best, fourth if wins else where
                        largest[t + channel] = best
                        place[t + channel] = where
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
                t += channels


@jit
def max_pool_backward(dy: Array, argmax: Array, dx: Array) -> None:
    """Twin: ``reference.max_pool_backward``."""
    n, out_h, out_w, c = dy.shape
    gradient, place, target = dy.reshape(-1), argmax.reshape(-1), dx.reshape(-1)
    channels, size = uint(c), uint(dx.size // n)
    target[:] = 0
    g = uint(0)
    for image in range(n):
        start = uint(image) * size
        for _ in range(out_h * out_w):
            for channel in range(channels):
                target[start + uint(place[g]) * channels + channel] += gradient[g]
                g += uint(1)


@jit
def average_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array) -> None:
    """Twin: ``reference.average_pool``. The window is clipped to the image, as in ``max_pool``."""
    n, h, w, c = x.shape
    out_h, out_w = y.shape[1:3]
    (top, _), (left, _) = pads
    source, target = x.reshape(-1), y.reshape(-1)
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
    gradient, target = dy.reshape(-1), dx.reshape(-1)
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
    source, target = x.reshape(-1), y.reshape(-1)
    for i in range(uint(x.size)):
        target[i] = source.dtype.type(0) if source[i] <= 0 else source[i]


@jit
def relu_backward(dy: Array, y: Array, dx: Array) -> None:
    """Twin: ``reference.relu_backward``, in one pass."""
    gradient, output, target = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    for i in range(uint(dy.size)):
        target[i] = gradient[i] if output[i] > 0 else gradient.dtype.type(0)
