"""The matrix products of a dense layer, by a kernel where that is faster, and otherwise by NumPy's BLAS.

BLAS libraries are made for large matrices, which they first copy into the order they need. A kernel that reads them
where they are is faster, as long as the columns of the right one are not so long that they leave the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels

Array = npt.NDArray[Any]

COLUMN_BYTES = 1 << 16  # of a matrix that the kernel multiplies: where its columns are longer, BLAS is as fast


def times(x: Array, W: Array, b: Array, least: float) -> Array:
    """x @ W + b, but at least ``least``, for x (n, size), W (size, columns) and b (columns,)."""
    y = np.empty((len(x), W.shape[1]), x.dtype)
    if len(x) == 1:
        kernels.vecmat(_in_rows(x), _in_rows(W), _in_rows(b), y, least)
    elif len(x) > 0 and columns_stay_in_cache(W):
        kernels.matmul(_in_rows(x), _in_rows(W), _in_rows(b), y, False, False, least)
    else:
        np.matmul(x, W, out=y)
        y += b
        np.maximum(y, least, out=y)
    return y


def times_transposed(dy: Array, W: Array) -> Array:
    """dy @ W.T, for dy (n, columns) and W (size, columns)."""
    if not stays_in_cache(W, dy.T):
        dx: Array = dy @ W.T
        return dx
    dx = np.empty((len(dy), len(W)), dy.dtype)
    zeros = np.zeros(len(W), dy.dtype)
    kernels.matmul(_in_rows(dy), _in_rows(W), zeros, dx, False, True, -math.inf)
    return dx


def transposed_times(x: Array, dy: Array, out: Array | None = None) -> Array:
    """x.T @ dy, for x (n, size) and dy (n, columns); it is written into ``out`` where that is given."""
    if out is None:
        out = np.empty((x.shape[1], dy.shape[1]), x.dtype)
    if stays_in_cache(x.T, dy):
        zeros = np.zeros(dy.shape[1], dy.dtype)
        kernels.matmul(_in_rows(x), _in_rows(dy), zeros, out, True, False, -math.inf)
    else:
        np.matmul(x.T, dy, out=out)
    return out


def sum_rows(dy: Array) -> Array:
    """dy.sum(axis=0), one row after another."""
    total = np.empty(dy.shape[1], dy.dtype)
    kernels.sum_channels(_in_rows(dy).reshape(len(dy), 1, 1, len(total)), total)
    return total


_in_rows = np.ascontiguousarray  # as kernels need their arrays: row by row


def columns_stay_in_cache(W: Array) -> bool:
    """Whether ``times`` multiplies several rows with W by a kernel; a single one it does in any case."""
    return kernels.VECTOR_BYTES > 0 and len(W) * W.itemsize <= COLUMN_BYTES


def stays_in_cache(left: Array, right: Array) -> bool:
    """Whether left @ right is computed by a kernel."""
    return len(left) >= kernels.TILE and columns_stay_in_cache(right)
