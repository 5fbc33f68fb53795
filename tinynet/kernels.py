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
def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> Array:
    """Twin: ``reference.im2col``. A patch is k_h runs of k_w * c numbers that lie side by side in the image."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    patches = np.empty((n * out_h * out_w, k_h * k_w * c), x.dtype)
    source, target = x.reshape(-1), patches.reshape(-1)
    run, row, step = uint(k_w * c), uint(w * c), uint(s_w * c)
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            corner = uint((image * h + i * s_h) * w * c)
            for _ in range(out_w):
                s = corner
                for _ in range(k_h):
                    target[t : t + run] = source[s : s + run]
                    t += run
                    s += row
                corner += step
    return patches


@jit
def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> Array:
    """Twin: ``reference.im2col_transposed``. With one channel and stride 1 its runs are whole image rows."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    patches = np.empty((k_h * k_w * c, n * out_h * out_w), x.dtype)
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
                            target[t : t + width] = source[s : s + width]
                        else:
                            for j in range(width):
                                target[t + j] = source[s + j * step]
                        t += width
    return patches


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
def conv2d_weight_gradient(x: Array, dy: Array, dW: Array, s_h: int, s_w: int) -> None:
    """Twin: ``reference.conv2d_weight_gradient``, for a ``dy`` that is mostly zeros: these cost nothing.

    For each filter, the places of an image where ``dy`` is not zero are listed; their patches are added four at a
    time, so that a sum in ``dW`` is loaded and stored once for four products.
    """
    n, h, w, c = x.shape
    _, out_h, out_w, _ = dy.shape
    filters, k_h, k_w, _ = dW.shape
    source, gradient, target = x.reshape(-1), dy.reshape(-1), dW.reshape(-1)
    run, row = uint(k_w * c), uint(w * c)
    places = np.empty((filters, out_h * out_w + 3), np.uintp)
    values = np.empty((filters, out_h * out_w + 3), x.dtype)
    for image in range(n):
        counts = np.zeros(filters, np.uintp)
        g = uint(image * out_h * out_w * filters)
        for i in range(out_h):
            for j in range(out_w):
                corner = uint(((image * h + i * s_h) * w + j * s_w) * c)
                for f in range(uint(filters)):
                    value = gradient[g]
                    g += uint(1)
                    if value != 0:
                        k = counts[f]
                        places[f, k] = corner
                        values[f, k] = value
                        counts[f] = k + uint(1)
        for f in range(uint(filters)):
            count = counts[f]
            if count == 0:
                continue
            while count % uint(4) != 0:  # fill the last group of four with zeros times a patch that exists
                places[f, count] = places[f, uint(0)]
                values[f, count] = 0
                count += uint(1)
            for k in range(uint(0), count, uint(4)):
                v0, v1, v2, v3 = values[f, k], values[f, k + uint(1)], values[f, k + uint(2)], values[f, k + uint(3)]
                p0, p1, p2, p3 = places[f, k], places[f, k + uint(1)], places[f, k + uint(2)], places[f, k + uint(3)]
                t = f * uint(k_h) * run
                for _ in range(k_h):
                    sums = target[t : t + run]
                    x0, x1 = source[p0 : p0 + run], source[p1 : p1 + run]
                    x2, x3 = source[p2 : p2 + run], source[p3 : p3 + run]
                    for r in range(run):
                        sums[r] += v0 * x0[r] + v1 * x1[r] + v2 * x2[r] + v3 * x3[r]
                    t += run
                    p0 += row
                    p1 += row
                    p2 += row
                    p3 += row


@jit
def conv2d_input_gradient(dy: Array, W: Array, dx: Array, s_h: int, s_w: int) -> None:
    """Twin: ``reference.conv2d_input_gradient``, for a ``dy`` that is mostly zeros: these cost nothing.

    At each place of the window, the filters whose ``dy`` is not zero are listed and added four at a time.
    """
    n, h, w, c = dx.shape
    _, out_h, out_w, _ = dy.shape
    filters, k_h, k_w, _ = W.shape
    weights, gradient, target = W.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    run, row, size = uint(k_w * c), uint(w * c), uint(k_h * k_w * c)
    places = np.empty(filters + 3, np.uintp)
    values = np.empty(filters + 3, dx.dtype)
    g = uint(0)
    for image in range(n):
        for i in range(out_h):
            for j in range(out_w):
                count = uint(0)
                for f in range(uint(filters)):
                    value = gradient[g]
                    g += uint(1)
                    if value != 0:
                        places[count] = f * size
                        values[count] = value
                        count += uint(1)
                if count == 0:
                    continue
                while count % uint(4) != 0:  # fill the last group of four with zeros times a filter that exists
                    places[count] = places[uint(0)]
                    values[count] = 0
                    count += uint(1)
                corner = uint(((image * h + i * s_h) * w + j * s_w) * c)
                for k in range(uint(0), count, uint(4)):
                    v0, v1, v2, v3 = values[k], values[k + uint(1)], values[k + uint(2)], values[k + uint(3)]
                    p0, p1, p2, p3 = places[k], places[k + uint(1)], places[k + uint(2)], places[k + uint(3)]
                    t = corner
                    for _ in range(k_h):
                        sums = target[t : t + run]
                        w0, w1 = weights[p0 : p0 + run], weights[p1 : p1 + run]
                        w2, w3 = weights[p2 : p2 + run], weights[p3 : p3 + run]
                        for r in range(run):
                            sums[r] += v0 * w0[r] + v1 * w1[r] + v2 * w2[r] + v3 * w3[r]
                        t += row
                        p0 += run
                        p1 += run
                        p2 += run
                        p3 += run


@jit
def count_nonzero(x: Array) -> int:
    """Twin: ``reference.count_nonzero``."""
    count = 0
    for value in x.reshape(-1):
        count += value != 0
    return count


@jit
def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any) -> tuple[Array, Array]:
    """Twin: ``reference.max_pool``. The window is clipped to the image, so there is no padding that could win."""
    n, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    out_h, out_w = (h + top + bottom - k_h) // s_h + 1, (w + left + right - k_w) // s_w + 1
    y = np.empty((n, out_h, out_w, c), x.dtype)
    argmax = np.empty((n, out_h, out_w, c), np.int32)
    source, best, place = x.reshape(-1), y.reshape(-1), argmax.reshape(-1)
    channels = uint(c)
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            row_start, row_stop = max(i * s_h - top, 0), min(i * s_h - top + k_h, h)
            for j in range(out_w):
                col_start, col_stop = max(j * s_w - left, 0), min(j * s_w - left + k_w, w)
                largest, where = best[t : t + channels], place[t : t + channels]
                first = row_start * w + col_start
                s = uint((image * h * w + first) * c)
                largest[:] = source[s : s + channels]
                where[:] = first
                for row in range(row_start, row_stop):
                    for column in range(col_start, col_stop):
                        position = np.int32(row * w + column)
                        s = uint((image * h * w + row * w + column) * c)
                        values = source[s : s + channels]
                        for channel in range(channels):
                            value, old = values[channel], largest[channel]
                            wins = (value > old) | ((value != value) & (old == old))  # NaN wins, the first one
                            largest[channel] = value if wins else old
                            where[channel] = position if wins else where[channel]
                t += channels
    return y, argmax


@jit
def max_pool_backward(dy: Array, argmax: Array, h: int, w: int) -> Array:
    """Twin: ``reference.max_pool_backward``."""
    n, out_h, out_w, c = dy.shape
    dx = np.zeros((n, h, w, c), dy.dtype)
    gradient, place, target = dy.reshape(-1), argmax.reshape(-1), dx.reshape(-1)
    channels = uint(c)
    g = uint(0)
    for image in range(n):
        start = uint(image * h * w * c)
        for _ in range(out_h * out_w):
            for channel in range(channels):
                target[start + uint(place[g]) * channels + channel] += gradient[g]
                g += uint(1)
    return dx


@jit
def relu_backward(dy: Array, y: Array) -> Array:
    """Twin: ``reference.relu_backward``, in one pass."""
    dx = np.empty_like(dy)
    gradient, output, target = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    for i in range(uint(dy.size)):
        target[i] = gradient[i] if output[i] > 0 else gradient.dtype.type(0)
    return dx
