"""All kernels in plain NumPy, those of convolution and pooling first: read this before ``kernels``.

Each function here has a twin of the same name in ``kernels``, which computes the same numbers faster; the tests
run both on the same random shapes. Data is NHWC: (n images, h rows, w columns, c channels). A window of k_h x k_w
moves in steps of s_h, s_w, and takes out_h x out_w positions. Nearly every function writes into an array that it is
given; its docstring says which. After the sliding windows come dense layers, activations, the loss, and the steps of
the optimizers.

A convolution is a matrix product once every patch under the window is laid out as a row: that is what ``im2col``
does (K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing",
2006, section 3.1). ``col2im`` is its transpose: it adds every number of a patch back to the pixel it came from.
``winograd`` gets the same sums from half as many products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[Any]
Pads = tuple[tuple[int, int], tuple[int, int]]


def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Write the patch under each position of the window into a row of a matrix.

    x        (n, h, w, c)
    patches  (n * out_h * out_w, k_h * k_w * c or more); columns beyond are left as they are
    """
    c = x.shape[-1]
    windows = sliding_window_view(x, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w]  # (n, out_h, out_w, c, k_h, k_w)
    patches[:, : k_h * k_w * c] = windows.transpose(0, 1, 2, 4, 5, 3).reshape(len(patches), -1)


def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """The same, transposed: one row for each weight of a filter.

    x        (n, h, w, c)
    patches  (k_h * k_w * c or more, n * out_h * out_w); rows beyond are left as they are
    """
    im2col(x, k_h, k_w, s_h, s_w, patches.T)


def col2im(patches: Array, x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> None:
    """Add each patch to the place in ``x`` that it stands for: the transpose of ``im2col``.

    patches  (n * out_h * out_w, k_h * k_w * c)
    x        (n, h, w, c), added to
    """
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    windows = patches.reshape(n, out_h, out_w, k_h, k_w, c)
    for i in range(out_h):
        for j in range(out_w):
            x[:, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w] += windows[:, i, j]


def matmul(x: Array, W: Array, b: Array, y: Array, x_transposed: bool, W_transposed: bool, least: float) -> None:
    """x @ W + b, but at least ``least``: 0 makes it a ReLU, minus infinity changes nothing. NaN stays NaN.

    x  (rows, size), or (size, rows) if ``x_transposed``
    W  (size, columns), or (columns, size) if ``W_transposed``; not both
    b  (columns,)
    y  (rows, columns)
    """
    y[...] = np.maximum((x.T if x_transposed else x) @ (W.T if W_transposed else W) + b, least)


def vecmat(x: Array, W: Array, b: Array, y: Array, least: float) -> None:
    """``matmul`` for a single row. What of it is zero counts for nothing, even where W is NaN or infinite.

    x  (1, size)
    """
    counts = x[0] != 0
    matmul(x[:, counts], W[counts], b, y, False, False, least)


def convolve(x: Array, W: Array, b: Array, y: Array, s_h: int, s_w: int, pads: Pads, least: float) -> None:
    """Multiply each patch of ``x`` with zeros around it with every filter, and add the bias: im2col(pad(x)) @ W + b.

    What is below ``least`` becomes that, as in ``matmul``.

    x     (n, h, w, c)
    W     (k_h, k_w, c, filters)
    b     (filters,)
    y     (n, out_h, out_w, filters)
    pads  ((top, bottom), (left, right)): zeros around the image
    """
    k_h, k_w, c, filters = W.shape
    patches = np.empty((y.size // filters, k_h * k_w * c), x.dtype)
    im2col(np.pad(x, ((0, 0), *pads, (0, 0))), k_h, k_w, s_h, s_w, patches)
    y[...] = np.maximum(patches @ W.reshape(-1, filters) + b, least).reshape(y.shape)


def winograd_matrices(taps: int) -> tuple[Array, Array, Array]:
    """(A, B, G) with which two neighbouring sums of ``taps`` products take fewer than 2 * taps multiplications.

        y = A @ ((G @ w) * (B @ x))     x (taps + 1,)     w (taps,)     y (2,)

    is y[0] = x[0] w[0] + x[1] w[1] + ... and y[1] = x[1] w[0] + x[2] w[1] + .... Three weights take four
    multiplications instead of six, two take three instead of four; more weights are groups of three and two.

    Source: S. Winograd, "Arithmetic Complexity of Computations", 1980: F(2, 3) and F(2, 2).
    """
    three = (
        np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    )
    two = (
        np.array([[1, 1, 0], [0, 1, 1]]),
        np.array([[1, -1, 0], [0, 1, 0], [0, -1, 1]]),
        np.array([[1, 0], [1, 1], [0, 1]]),
    )
    twos = -taps % 3
    groups = [three] * ((taps - 2 * twos) // 3) + [two] * twos
    terms = sum(len(G) for _, _, G in groups)
    A, B, G = np.zeros((2, terms)), np.zeros((terms, taps + 1)), np.zeros((terms, taps))
    term = tap = 0
    for A_group, B_group, G_group in groups:
        rows, size = slice(term, term + len(G_group)), G_group.shape[1]
        A[:, rows], B[rows, tap : tap + size + 1], G[rows, tap : tap + size] = A_group, B_group, G_group
        term, tap = term + len(G_group), tap + size
    return A, B, G


def winograd(x: Array, W: Array, b: Array, y: Array, kept: Array, pads: Pads, least: float) -> None:
    """``convolve`` with stride 1, for windows of two rows and columns or more, with fewer multiplications.

    Two rows of two sums are made of the same few products: see ``winograd_matrices``, which are applied in both
    directions. For a window of 5x5 these are 49 instead of 100, for 3x3 16 instead of 36.

    Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.

    Arguments are those of ``convolve``, without the strides, and:

    kept  zeros at first, as many as ``winograd_room(W)``: where the kernel keeps what it makes of W for its next call
    """
    k_h, k_w, _, _ = W.shape
    _, out_h, out_w, _ = y.shape
    (A_h, B_h, G_h), (A_w, B_w, G_w) = (
        [matrix.astype(x.dtype) for matrix in winograd_matrices(taps)] for taps in (k_h, k_w)
    )
    (top, bottom), (left, right) = pads
    even = (top, bottom + out_h % 2), (left, right + out_w % 2)
    tiles = sliding_window_view(np.pad(x, ((0, 0), *even, (0, 0))), (k_h + 1, k_w + 1), axis=(1, 2))[:, ::2, ::2]
    pixels = np.einsum("nijchw,th,uw->nijtuc", tiles, B_h, B_w)
    weights = np.einsum("hwcf,th,uw->tucf", W, G_h, G_w)
    products = np.einsum("nijtuc,tucf->nijtuf", pixels, weights)
    sums = np.einsum("nijtuf,pt,qu->nipjqf", products, A_h, A_w)
    n, rows, _, columns, _, filters = sums.shape
    y[...] = np.maximum(sums.reshape(n, 2 * rows, 2 * columns, filters)[:, :out_h, :out_w] + b, least)


def sum_patches(
    x: Array,
    x_argmax: Array,
    size: tuple[int, int],
    dy: Array,
    argmax: Array,
    sums: Array,
    s_h: int,
    s_w: int,
    pads: Pads,
) -> None:
    """Add up the patches of ``x`` with zeros around it, weighted by ``dy``, for each filter: dy.T @ im2col(pad(x)).

    x, dy             (n, h, w, c) and (n, out_h, out_w, filters), or what max-pooling leaves of them, which is smaller
    x_argmax, argmax  in the second case where each number belongs, as from ``max_pool``; without entries in the first
    size              (h, w)
    sums              (filters, k_h, k_w, c), written; in any layout
    pads              ((top, bottom), (left, right)): zeros around the image
    """
    filters, k_h, k_w, c = sums.shape
    x = _unpooled(x, x_argmax, size)
    dy = _unpooled(dy, argmax, _output_size(size, k_h, k_w, s_h, s_w, pads))
    patches = np.empty((dy.size // filters, k_h * k_w * c), x.dtype)
    im2col(np.pad(x, ((0, 0), *pads, (0, 0))), k_h, k_w, s_h, s_w, patches)
    sums[...] = (dy.reshape(-1, filters).T @ patches).reshape(sums.shape)


def add_filters(dy: Array, argmax: Array, filters: Array, x: Array, s_h: int, s_w: int, pads: Pads) -> None:
    """Add up every filter, weighted by ``dy``, at each position of the window: col2im(dy @ filters), cropped.

    dy       (n, out_h, out_w, number of filters), or what max-pooling leaves of it, as in ``sum_patches``
    argmax   likewise; each place has one number of a channel at most
    filters  (number of filters, k_h, k_w, c), in any layout
    x        (n, h, w, c)
    pads     ((top, bottom), (left, right)): around the image, where the window may stand, too
    """
    (top, bottom), (left, right) = pads
    n, h, w, c = x.shape
    number, k_h, k_w, _ = filters.shape
    dy = _unpooled(dy, argmax, _output_size((h, w), k_h, k_w, s_h, s_w, pads))
    padded = np.zeros((n, top + h + bottom, left + w + right, c), x.dtype)
    col2im(dy.reshape(-1, number) @ filters.reshape(number, -1), padded, k_h, k_w, s_h, s_w)
    x[...] = padded[:, top : top + h, left : left + w]


def _unpooled(numbers: Array, argmax: Array, size: tuple[int, int]) -> Array:
    """The images of this size, of which there may be only what max-pooling leaves: see ``sum_patches``."""
    if not argmax.size:
        return numbers
    n, _, _, c = numbers.shape
    whole = np.empty((n, *size, c), numbers.dtype)
    max_pool_backward(numbers, argmax, whole)
    return whole


def _output_size(size: tuple[int, int], k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads) -> tuple[int, int]:
    """(out_h, out_w) of a convolution of images of this size."""
    (top, bottom), (left, right) = pads
    return (top + size[0] + bottom - k_h) // s_h + 1, (left + size[1] + right - k_w) // s_w + 1


def count_nonzero(x: Array) -> int:
    """How many entries of ``x`` are not zero."""
    return int(np.count_nonzero(x))


def jump_if_dense(x: Array, most: int, to: int, next_row: Array) -> None:
    """Where more than ``most`` entries of ``x`` are not zero, make ``to`` the next row of a table of calls."""
    if np.count_nonzero(x) > most:
        next_row[0] = to


def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads, y: Array, argmax: Array) -> None:
    """Write the largest entry under each position of the window into ``y``, and where it was into ``argmax``.

    x       (n, h, w, c)
    pads    ((top, bottom), (left, right)): entries around the image that the window may cover, but that never win
    y       (n, out_h, out_w, c); NaN counts as largest, so that it shows
    argmax  the same shape, int32: row * w + column of that entry in x; of equal ones the first, row by row
    """
    n, h, w, c = x.shape
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    position = np.pad(np.arange(h * w).reshape(h, w), pads, constant_values=-1)

    windows = sliding_window_view(padded, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w].reshape(n, -1, c, k_h * k_w)
    positions = sliding_window_view(position, (k_h, k_w))[::s_h, ::s_w].reshape(1, -1, 1, k_h * k_w)

    largest = windows.max(axis=-1, keepdims=True)
    wins = ((windows == largest) | np.isnan(windows)) & (positions >= 0)
    first = wins.argmax(axis=-1, keepdims=True)
    y[...] = largest.reshape(y.shape)
    argmax[...] = np.take_along_axis(np.broadcast_to(positions, wins.shape), first, axis=-1).reshape(y.shape)


def max_pool_backward(dy: Array, argmax: Array, dx: Array) -> None:
    """Send each entry of ``dy`` to the place that won its window; where windows overlap, gradients add up.

    dy, argmax  (n, out_h, out_w, c)
    dx          (n, h, w, c)
    """
    n, h, w, c = dx.shape
    images = np.zeros((n, h * w, c), dx.dtype)
    sample, channel = np.arange(n)[:, None, None, None], np.arange(c)
    np.add.at(images, (sample, argmax, channel), dy)
    dx[...] = images.reshape(n, h, w, c)


def sum_channels(x: Array, sums: Array) -> None:
    """Add up each channel: the gradient of a convolution's bias.

    x     (n, h, w, c)
    sums  (c,)
    """
    sums[...] = x.sum(axis=(0, 1, 2))


def average_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads, y: Array) -> None:
    """Write the mean of the entries under each position of the window into ``y``; padding does not count.

    x     (n, h, w, c)
    pads  ((top, bottom), (left, right)): entries around the image that the window may cover
    y     (n, out_h, out_w, c)
    """
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    sums = sliding_window_view(padded, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w].sum(axis=(-2, -1))
    y[...] = sums / _count_entries(x.shape, k_h, k_w, s_h, s_w, pads)


def average_pool_backward(dy: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads, dx: Array) -> None:
    """Share each entry of ``dy`` out equally among the entries of its window: the transpose of ``average_pool``.

    dy  (n, out_h, out_w, c)
    dx  (n, h, w, c)
    """
    (top, bottom), (left, right) = pads
    n, h, w, c = dx.shape
    padded = np.zeros((n, top + h + bottom, left + w + right, c), dx.dtype)
    shares = dy / _count_entries(dx.shape, k_h, k_w, s_h, s_w, pads)
    _, out_h, out_w, _ = dy.shape
    for i in range(out_h):
        for j in range(out_w):
            padded[:, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w] += shares[:, i : i + 1, j : j + 1]
    dx[...] = padded[:, top : top + h, left : left + w]


def _count_entries(shape: tuple[int, ...], k_h: int, k_w: int, s_h: int, s_w: int, pads: Pads) -> Array:
    """How many entries of an image (n, h, w, c) each position of the window covers: (out_h, out_w, 1)."""
    inside = np.pad(np.ones(shape[1:3], np.float32), pads)
    counts: Array = sliding_window_view(inside, (k_h, k_w))[::s_h, ::s_w].sum(axis=(-2, -1))
    return counts[..., None]


def relu(x: Array, y: Array) -> None:
    """y = max(x, 0); NaN stays NaN."""
    np.maximum(x, 0, out=y)


def relu_backward(dy: Array, y: Array, dx: Array) -> None:
    """The gradient passes where the output is positive: dx = dy * (y > 0), also where dy is infinite or NaN."""
    dx[...] = np.where(y > 0, dy, 0)


def softmax(x: Array, y: Array) -> None:
    """y = exp(x) / exp(x).sum(), row by row. The row's maximum is subtracted first, so that no exponential overflows.

    x, y  (n, k)
    """
    y[...] = np.exp(x - x.max(axis=1, keepdims=True))
    y /= y.sum(axis=1, keepdims=True)


def softmax_cross_entropy(logits: Array, classes: Array, losses: Array, dlogits: Array) -> None:
    """The loss of each sample and its gradient: see ``losses.py``.

    logits, dlogits  (n, k)
    classes          (n,) integers in 0..k-1
    losses           (n,)
    """
    rows = np.arange(len(logits))
    z = logits - logits.max(axis=1, keepdims=True)
    losses[...] = np.log(np.exp(z).sum(axis=1)) - z[rows, classes]
    softmax(logits, dlogits)
    dlogits[rows, classes] -= 1


def divide(x: Array, by: int) -> None:
    """x /= by, in place."""
    x /= by


def decay(w: Array, share: float) -> None:
    """w = w - share * w."""
    w -= share * w


def sgd(w: Array, g: Array, v: Array, lr: float, momentum: float, nesterov: bool) -> None:
    """A step of gradient descent, with momentum where ``v`` is not empty: see ``optimizers.SGD``.

    w, g  any shape
    v     the same shape, or empty
    """
    if not v.size:
        w -= lr * g
        return
    v *= momentum
    v -= lr * g
    w += momentum * v - lr * g if nesterov else v


def adam(w: Array, g: Array, m: Array, v: Array, alpha: float, beta_1: float, beta_2: float, epsilon: float) -> None:
    """A step of Adam: see ``optimizers.Adam``.

    w, g, m, v  any shape
    """
    m += (1 - beta_1) * (g - m)
    v += (1 - beta_2) * (g * g - v)
    w -= alpha * m / (np.sqrt(v) + epsilon)
