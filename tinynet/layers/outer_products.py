"""A gradient that is not added up yet: that of a dense layer's weights, which is large, over several shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class OuterProducts:
    """One outer product for each sample, of its rows in ``left`` and ``right``; the gradient is their sum.

        left (n, a)     right (n, b)     sum (a, b) = left.T @ right

    One matrix product for a whole batch takes less time than one for each shard, and writes the sum to memory once.

    Example:
        >>> products = OuterProducts(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]]))
        >>> products += OuterProducts(np.array([[1.0, 0.0]]), np.array([[5.0, 5.0]]))
        >>> left, right = products.factors()
        >>> left.T @ right
        array([[ 6., 15.],
               [ 2., 20.]])
    """

    def __init__(self, left: Array, right: Array):
        self._lefts, self._rights = [left], [right]

    def __iadd__(self, other: OuterProducts) -> OuterProducts:
        self._lefts += other._lefts
        self._rights += other._rights
        return self

    def factors(self) -> tuple[Array, Array]:
        """(left, right) of all samples."""
        return _joined(self._lefts), _joined(self._rights)


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
