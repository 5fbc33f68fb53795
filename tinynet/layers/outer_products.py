"""A gradient that is not added up yet: that of a dense layer's weights, which is large, over several shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LARGE = 1 << 17  # weights, whose gradient is added up once for several shards


def is_large(W: Array) -> bool:
    """Whether the gradient of these weights is to be passed on as ``OuterProducts``."""
    return W.size >= LARGE


class OuterProducts:
    """One outer product for each sample, of its rows in ``left`` and ``right``; the gradient is their sum.

        left (n, a)     right (n, b)     sum (a, b) = left.T @ right

    One matrix product for a whole batch takes less time than one for each shard, and writes the sum to memory once.

    Example:
        >>> products = OuterProducts(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]]))
        >>> products += OuterProducts(np.array([[1.0, 0.0]]), np.array([[5.0, 5.0]]))
        >>> products.left().T @ products.right()
        array([[ 6., 15.],
               [ 2., 20.]])
    """

    def __init__(self, left: Array, right: Array):
        self._lefts, self._rights = [left], [right]

    def __iadd__(self, other: OuterProducts) -> OuterProducts:
        self._lefts += other._lefts
        self._rights += other._rights
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(a, b), of the sum."""
        return self._lefts[0].shape[1], self._rights[0].shape[1]

    def left(self, columns: slice = slice(None)) -> Array:
        """All of ``left``, or some columns of it."""
        return np.concatenate([left[:, columns] for left in self._lefts])

    def right(self) -> Array:
        """All of ``right``."""
        return np.concatenate(self._rights)
