"""The sliding-window maths of convolution and pooling in plain NumPy: read this before ``kernels.py``.

Each function here has a twin of the same name in ``kernels.py``, which computes the same numbers faster; the tests
run both on the same random shapes. Data is NHWC: (n images, h rows, w columns, c channels), already padded.

A convolution is a matrix product once every patch under the window is laid out as a row: that is what ``im2col``
does (K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
2006, section 3.1). ``col2im`` is its transpose: it adds every number of a patch back to the pixel it came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[Any]
Pads = tuple[tuple[int, int], tuple[int, int]]


def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> Array:
    """The patch under each position of the window, as rows of a matrix.

    x        (n, h, w, c)
    patches  (n * out_h * out_w, k_h * k_w * c)      out_h = (h - k_h) // s_h + 1, out_w alike
    """
    c = x.shape[-1]
    windows = sliding_window_view(x, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w]  # (n, out_h, out_w, c, k_h, k_w)
    return np.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3)).reshape(-1, k_h * k_w * c)


def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> Array:
    """The transpose of ``im2col``: (k_h * k_w * c, n * out_h * out_w), one row for each weight of a filter."""
    return np.ascontiguousarray(im2col(x, k_h, k_w, s_h, s_w).T)


def col2im(patches: Array, x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> None:
    """Add each patch to the place in ``x`` that it stands for: the transpose of ``im2col``, in place.

    patches  (n * out_h * out_w, k_h * k_w * c)      x  (n, h, w, c), added to
    """
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    windows = patches.reshape(n, out_h, out_w, k_h, k_w, c)
    for i in range(out_h):
        for j in range(out_w):
            x[:, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w] += windows[:, i, j]


def conv2d_weight_gradient(x: Array, dy: Array, dW: Array, s_h: int, s_w: int) -> None:
    """Add ``dy``-weighted patches to the filters' gradient, in place: dW = dy.T @ im2col(x).

    x   (n, h, w, c)
    dy  (n, out_h, out_w, filters)
    dW  (filters, k_h, k_w, c), added to
    """
    filters, k_h, k_w, _ = dW.shape
    dW += (dy.reshape(-1, filters).T @ im2col(x, k_h, k_w, s_h, s_w)).reshape(dW.shape)


def conv2d_input_gradient(dy: Array, W: Array, dx: Array, s_h: int, s_w: int) -> None:
    """Add ``dy``-weighted filters to the input's gradient, in place: dx = col2im(dy @ W).

    dy  (n, out_h, out_w, filters)
    W   (filters, k_h, k_w, c)
    dx  (n, h, w, c), added to
    """
    filters, k_h, k_w, _ = W.shape
    col2im(dy.reshape(-1, filters) @ W.reshape(filters, -1), dx, k_h, k_w, s_h, s_w)


def count_nonzero(x: Array) -> int:
    """How many entries of ``x`` are not zero."""
    return int(np.count_nonzero(x))


def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads) -> tuple[Array, Array]:
    """The largest entry under each position of the window, and where it was.

    x       (n, h, w, c)
    y       (n, out_h, out_w, c)      NaN counts as largest, so that it shows
    argmax  the same shape, int32: row * w + column of that entry in x; of equal ones the first, row by row

    Padding never wins: it is minus infinity, and a real minus infinity is preferred to it.
    """
    n, h, w, c = x.shape
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    position = np.pad(np.arange(h * w, dtype=np.int32).reshape(h, w), pads, constant_values=-1)

    windows = sliding_window_view(padded, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w].reshape(n, -1, c, k_h * k_w)
    places = sliding_window_view(position, (k_h, k_w))[::s_h, ::s_w]
    out_h, out_w = places.shape[:2]
    places = places.reshape(1, -1, 1, k_h * k_w)

    y = windows.max(axis=-1)
    hit = ((windows == y[..., None]) | np.isnan(windows)) & (places >= 0)
    argmax = np.take_along_axis(np.broadcast_to(places, hit.shape), hit.argmax(axis=-1)[..., None], axis=-1)
    return y.reshape(n, out_h, out_w, c), np.ascontiguousarray(argmax).reshape(n, out_h, out_w, c)


def max_pool_backward(dy: Array, argmax: Array, h: int, w: int) -> Array:
    """Send each entry of ``dy`` to the place that won its window; where windows overlap, gradients add up.

    dy, argmax  (n, out_h, out_w, c)
    dx          (n, h, w, c)
    """
    n, _, _, c = dy.shape
    dx = np.zeros((n, h * w, c), dy.dtype)
    sample, channel = np.arange(n)[:, None, None], np.arange(c)[None, None, :]
    np.add.at(dx, (sample, argmax.reshape(n, -1, c), channel), dy.reshape(n, -1, c))
    return dx.reshape(n, h, w, c)


def relu_backward(dy: Array, y: Array) -> Array:
    """The gradient passes where the output is positive: dx = dy * (y > 0)."""
    return np.where(y > 0, dy, np.zeros((), dy.dtype))
