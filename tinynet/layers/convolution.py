"""The three products of a convolution, each computed in the way that is cheapest.

    y  = im2col(x) @ W + b        dW = im2col(x).T @ dy        dx = col2im(dy @ W.T)

Dense: just so, for a few images at a time, so that their patches stay in the processor's cache. For y no patch matrix
is needed if the weights fit into the cache and the processor has vector registers: a kernel reads patches in place.
And where a window of 3x3 or 5x5 has many channels and filters, neighbouring outputs are made of products in common, by
Winograd's algorithm, which takes half as many multiplications.

Sparse: where one factor is mostly zeros, only its other numbers are multiplied. That is so for a gradient that comes
through 2x2 max-pooling and ReLU: of four numbers in a window one gets it, and ReLU stops half of these. (In training it
comes as a ``PooledGradient``, without the zeros of the first kind.) It is also so for an image with an empty
background. For the gradient of the weights either will do, for stride 1:

    dW[k] = sum over positions p of dy[p] x[p + k]     patches of x, weighted by dy
          = sum over pixels q of x[q] dy[q - k]        patches of dy, weighted by x, in the opposite order

The results are the same but for rounding; only where an image or a weight is infinite, Winograd's algorithm may give
NaN instead of infinity. Shapes are those of ``Conv2D``, x and dx without the padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinynet import kernels
from tinynet.kernels.convolution_winograd import winograd_room
from tinynet.layers.layer import Array, Shape
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.layers.window import Window

PATCH_BYTES = 1 << 19  # how much of a patch matrix is made at a time
WEIGHT_BYTES = 1 << 19  # weights that stay in the processor's cache need no patch matrix
MANY_CHANNELS, MANY_FILTERS = 16, 24  # for Winograd's algorithm to save more than its additions take
WORTH_SHARING = 0.75  # at most: the share of the products that it makes

# What a product costs, in multiplications: the matrix product makes DENSE_SPEED of them in the time that the sparse
# kernels need for one, and these need as much time to start a run of numbers as for RUN_START multiplications.
DENSE_SPEED = 3
RUN_START = 8

NO_ARGMAX = np.empty((0, 0, 0, 0), np.int32)  # of a gradient that is not pooled

Pads = tuple[tuple[int, int], tuple[int, int]]


def padded_size(x_shape: Shape, pads: Pads) -> tuple[int, int]:
    """(h, w) of the images with what ``pad`` adds."""
    (top, bottom), (left, right) = pads
    return top + x_shape[1] + bottom, left + x_shape[2] + right


def pad(x: Array, pads: Pads) -> Array:
    """``x`` with zeros around each image; itself where there are none to add."""
    (top, bottom), (left, right) = pads
    if not (top or bottom or left or right):
        return x
    n, h, w, c = x.shape
    padded = np.zeros((n, *padded_size(x.shape, pads), c), x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def crop(padded: Array, pads: Pads) -> Array:
    """The images without what ``pad`` added."""
    (top, bottom), (left, right) = pads
    _, h, w, _ = padded.shape
    return padded[:, top : h - bottom, left : w - right]


def reads_in_place(W: Array) -> bool:
    """Whether ``convolve`` needs no patch matrix for these weights, and calls a kernel."""
    return kernels.VECTOR_BYTES > 0 and W.nbytes <= WEIGHT_BYTES


def shares_products(W: Array, window: Window, out: Shape) -> bool:
    """Whether Winograd's algorithm is the faster one, among the ways to read the patches in place.

    It makes outputs in tiles of 2x2, the last of which may stick out.
    """
    k_h, k_w, c, filters = W.shape
    if c < MANY_CHANNELS or filters < MANY_FILTERS or window.strides != (1, 1):
        return False
    if k_h not in kernels.TAPS or k_w not in kernels.TAPS:
        return False
    terms_h, terms_w = (kernels.FIRST_TERMS[taps][-1] for taps in (k_h, k_w))
    products = math.prod(math.ceil(size / 2) for size in out) * terms_h * terms_w
    are_fewer: bool = products <= WORTH_SHARING * math.prod(out) * k_h * k_w
    return are_fewer


def convolve(x: Array, W: Array, b: Array, window: Window, pads: Pads, least: float) -> Array:
    """y = im2col(pad(x)) @ W + b, as images, and at least ``least``."""
    n, filters = len(x), len(b)
    out_h, out_w = window.output_size(*padded_size(x.shape, pads))
    y = np.empty((n, out_h, out_w, filters), x.dtype)
    if reads_in_place(W) and n:
        if shares_products(W, window, (out_h, out_w)):
            kernels.winograd(x, W, b, y, np.zeros(winograd_room(W), W.dtype), pads, least)
        else:
            kernels.convolve(x, W, b, y, *window.strides, pads, least)
        return y
    weights = np.vstack([W.reshape(-1, filters), b])  # the bias is one more weight, whose input is always 1
    for images, patches in patch_matrices(pad(x, pads), window):
        np.matmul(patches, weights, out=y[images].reshape(-1, filters))
    return np.maximum(y, least, out=y)


def weight_gradient(x: Array, dy: Array | PooledGradient, W_shape: Shape, window: Window, pads: Pads) -> Array:
    """dW = im2col(pad(x)).T @ dy, in the shape of W."""
    k_h, k_w, c, filters = W_shape
    numbers, argmax = nonzeros(dy)
    dense = math.prod(dy.shape) * k_h * k_w * c
    if window.strides == (1, 1) and is_cheaper(x, k_h, k_w * filters, dense):
        dW = np.empty(W_shape, x.dtype)
        kernels.sum_patches(*by_channel(x, numbers, argmax, dy.shape[1:3], dW, pads))
        return dW
    if is_cheaper(dy, k_h, k_w * c, dense):
        dW = np.empty(W_shape, x.dtype)
        kernels.sum_patches(*by_filter(x, numbers, argmax, dW, window.strides, pads))
        return dW
    dW, dy = np.zeros((k_h * k_w * c + 1, filters), x.dtype), whole(dy)
    for images, patches in patch_matrices(pad(x, pads), window):
        dW += patches.T @ dy[images].reshape(-1, filters)
    return dW[:-1].reshape(W_shape)


def by_channel(x: Array, dy: Array, argmax: Array, size: Shape, dW: Array, pads: Pads) -> tuple[Any, ...]:
    """What to call ``sum_patches`` with, for the sum over the pixels of x, with stride 1, to write ``dW``.

    dy is pooled from ``size`` (rows, columns), or ``argmax`` is NO_ARGMAX.
    """
    (top, bottom), (left, right) = pads
    k_h, k_w, _, _ = dW.shape
    around = (k_h - 1 - top, k_h - 1 - bottom), (k_w - 1 - left, k_w - 1 - right)
    return dy, argmax, size, x, NO_ARGMAX, dW.transpose(2, 0, 1, 3)[:, ::-1, ::-1], 1, 1, around


def by_filter(x: Array, dy: Array, argmax: Array, dW: Array, strides: tuple[int, int], pads: Pads) -> tuple[Any, ...]:
    """The same for the sum over the positions of dy."""
    return x, NO_ARGMAX, x.shape[1:3], dy, argmax, dW.transpose(3, 0, 1, 2), *strides, pads


def bias_gradient(dy: Array | PooledGradient) -> Array:
    """db = dy.sum(axis=(0, 1, 2))"""
    numbers, _ = nonzeros(dy)
    db = np.empty(numbers.shape[-1], numbers.dtype)
    kernels.sum_channels(numbers, db)
    return db


def input_gradient(dy: Array | PooledGradient, W: Array, x_shape: Shape, window: Window, pads: Pads) -> Array:
    """dx = col2im(dy @ W.T) without the padding, in the shape of x."""
    k_h, k_w, c, filters = W.shape
    numbers, argmax = nonzeros(dy)
    filters_ = W.transpose(3, 0, 1, 2)
    if is_cheaper(dy, k_h, k_w * c, math.prod(dy.shape) * k_h * k_w * c):
        dx = np.empty(x_shape, numbers.dtype)
        kernels.add_filters(numbers, argmax, filters_, dx, *window.strides, pads)
        return dx
    dy, n = whole(dy), len(numbers)
    padded = np.zeros((n, *padded_size(x_shape, pads), c), dy.dtype)
    positions, weights = math.prod(dy.shape[1:3]), filters_.reshape(filters, -1)
    for images in chunks(n, positions * k_h * k_w * c * dy.itemsize):
        patches = dy[images].reshape(-1, filters) @ weights
        kernels.col2im(patches, padded[images], k_h, k_w, *window.strides)
    return crop(padded, pads)


def nonzeros(dy: Array | PooledGradient) -> tuple[Array, Array]:
    """All numbers of ``dy`` that may not be zero, (n, rows, columns, filters), and their argmax, if it is pooled."""
    return (dy.numbers, dy.argmax) if isinstance(dy, PooledGradient) else (dy, NO_ARGMAX)


def is_cheaper(factor: Array | PooledGradient, k_h: int, run: int, dense: int) -> bool:
    """Whether k_h runs of ``run`` products for each non-zero of a factor cost less than ``dense`` products."""
    count = factor.num_nonzero if isinstance(factor, PooledGradient) else kernels.count_nonzero(factor)
    return count <= most_nonzeros(k_h, run, dense)


def most_nonzeros(k_h: int, run: int, dense: int) -> int:
    """For how many non-zeros at most that is so."""
    return (dense - 1) // (k_h * (run + RUN_START) * DENSE_SPEED)


def chunks(n: int, bytes_per_image: int) -> Iterator[slice]:
    """Slices of as many images as have about PATCH_BYTES of patches."""
    step = max(1, PATCH_BYTES // bytes_per_image)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def patch_matrices(x: Array, window: Window) -> Iterator[tuple[slice, Array]]:
    """For a few images at a time: which, and im2col of them with a column of ones after it.

    With one channel the matrix is made by rows of the image, and its transpose is handed out: what is copied then
    lies side by side.
    """
    n, h, w, c = x.shape
    positions, size = math.prod(window.output_size(h, w)), math.prod(window.size) * c
    for images in chunks(n, positions * (size + 1) * x.itemsize):
        m = (images.stop - images.start) * positions
        if c == 1:
            matrix = np.empty((size + 1, m), x.dtype)
            matrix[-1] = 1
            kernels.im2col_transposed(x[images], *window.size, *window.strides, matrix)
            yield images, matrix.T
        else:
            matrix = np.empty((m, size + 1), x.dtype)
            matrix[:, -1] = 1
            kernels.im2col(x[images], *window.size, *window.strides, matrix)
            yield images, matrix
