"""The matrix products of a dense layer, by a kernel where that is faster, and otherwise by NumPy's BLAS.

BLAS libraries are made for large matrices, which they first copy into the order they need. A small batch is done sooner
if its numbers are read where they are, as long as a few columns of the other matrix fit into the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels

Array = npt.NDArray[Any]

CACHE_BYTES = 1 << 20  # of a matrix, in the columns that the kernel multiplies at a time


def times(x: Array, W: Array, b: Array) -> Array:
    """x @ W + b, for x (n, size), W (size, columns) and b (columns,)."""
    if not _stays_in_cache(x, W):
        y: Array = x @ W + b
        return y
    y = np.empty((len(x), W.shape[1]), x.dtype)
    kernels.matmul(_in_rows(x), _in_rows(W), _in_rows(b), y)
    return y


def times_transposed(dy: Array, W: Array) -> Array:
    """dy @ W.T, for dy (n, columns) and W (size, columns).

    It is computed as (W @ dy.T).T, because it takes longer to transpose W, which is large.
    """
    left, right = _in_rows(W), _in_rows(dy.T)
    if not _stays_in_cache(left, right):
        dx: Array = (left @ right).T
        return dx
    transposed = np.empty((len(left), right.shape[1]), dy.dtype)
    kernels.matmul(left, right, np.zeros(right.shape[1], dy.dtype), transposed)
    return transposed.T


def transposed_times(x: Array, dy: Array, rows: slice, out: Array) -> None:
    """Write some rows of x.T @ dy, for x (n, size) and dy (n, columns), into ``out`` (number of rows, columns)."""
    if _stays_in_cache(x.T[rows], dy):
        kernels.transposed_matmul(_in_rows(x), _in_rows(dy), rows.start, out)
    else:
        np.matmul(x.T[rows], dy, out=out)


_in_rows = np.ascontiguousarray  # as kernels need their arrays: row by row


def _stays_in_cache(left: Array, right: Array) -> bool:
    in_cache = len(right) * kernels.COLUMNS * right.itemsize <= CACHE_BYTES
    return kernels.VECTOR_BYTES > 0 and len(left) >= kernels.TILE and in_cache
