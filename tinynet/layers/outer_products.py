"""A gradient that is not added up yet: that of a dense layer's weights, which is large, over several shards."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.layers.products import transposed_times

Array = npt.NDArray[Any]

LARGE = 1 << 17  # weights, whose gradient is added up once for several shards
PART_SIZE = 1 << 17  # numbers of a sum, about, that are worked out at a time
LONG_VECTORS = kernels.VECTOR_BYTES == 64  # as AVX-512 has them


def is_large(W: Array) -> bool:
    """Whether the gradient of these weights is to be passed on as ``OuterProducts``."""
    return W.size >= LARGE


class OuterProducts:
    """One outer product for each sample, of its rows in ``left`` and ``right``; the gradient is their sum.

        left (n, a)     right (n, b)     sum (a, b) = left.T @ right

    One matrix product for all shards is faster than one for each. And an optimizer may compute some rows of it at a
    time, one of the ``parts``, and use them while they are in the cache, so that the whole is never stored.

    Example:
        >>> products = OuterProducts(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]]))
        >>> products += OuterProducts(np.array([[1.0, 0.0]]), np.array([[5.0, 5.0]]))
        >>> products.sum()
        array([[ 6., 15.],
               [ 2., 20.]])
    """

    def __init__(self, left: Array, right: Array):
        self._lefts, self._rights = [left], [right]
        # Taken now, by the thread that has just made these arrays and has them in its cache.
        self._squares = float(np.vdot(left, left)), float(np.vdot(right, right))

    def __iadd__(self, other: OuterProducts) -> OuterProducts:
        self._lefts += other._lefts
        self._rights += other._rights
        self._squares = self._squares[0] + other._squares[0], self._squares[1] + other._squares[1]
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(a, b), of the sum."""
        return self._lefts[0].shape[1], self._rights[0].shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the sum."""
        return self._rights[0].dtype

    def parts(self) -> list[slice]:
        """The rows of the sum that are to be worked out together."""
        rows = self.shape[0]
        size = math.ceil(rows / math.ceil(math.prod(self.shape) / PART_SIZE))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def sum(self, rows: slice = slice(None), out: Array | None = None) -> Array:
        """The sum, or some rows of it; it is written into ``out`` where that is given."""
        left, right = np.concatenate([left[:, rows] for left in self._lefts]), self._joined_right()
        if out is None:
            out = np.empty((left.shape[1], right.shape[1]), self.dtype)
        if LONG_VECTORS or len(left) == 1:  # for a single product, BLAS takes ten times as long
            transposed_times(left, right, out)
        else:  # so many rows are sooner multiplied by BLAS, although it copies them
            np.matmul(left.T, right, out=out)
        return out

    def is_surely_finite(self) -> bool:
        """Whether no number of the sum, nor any on the way to it, can be NaN or infinite: False where that is unknown.

        By the inequality of Cauchy and Schwarz, all are at most the norm of left times that of right.
        """
        left, right = map(math.sqrt, self._squares)
        return left * right < float(np.finfo(self.dtype).max) / 2  # the norms are rounded

    def _joined_right(self) -> Array:
        if len(self._rights) > 1:
            self._rights = [np.concatenate(self._rights)]
        return self._rights[0]
