"""The gradient of an image that is max-pooled: one number for each window, and where in the image it belongs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels

Array = npt.NDArray[Any]


class PooledGradient:
    """A gradient of images, (n, h, w, c), that is zero but for the entries that won a window of max-pooling.

    Where windows do not overlap, each has a winner of its own, so one number and one place for each window say it all.
    That saves making, masking and searching images that are mostly zeros.

        numbers  (n, out_h, out_w, c)    the gradient of each window's winner
        argmax   (n, out_h, out_w, c)    where it stands in its image: row * w + column
        largest  (n, out_h, out_w, c)    its own value there

    Example:
        >>> dy = PooledGradient(np.full((1, 1, 1, 1), 5.0), np.full((1, 1, 1, 1), 3, np.int32), None, (1, 2, 2, 1))
        >>> dy.whole().reshape(2, 2)
        array([[0., 0.],
               [0., 5.]])
    """

    def __init__(self, numbers: Array, argmax: Array, largest: Array, shape: tuple[int, ...]):
        self.numbers, self.argmax, self.largest, self.shape = numbers, argmax, largest, shape

    def with_numbers(self, numbers: Array) -> PooledGradient:
        """Other numbers at the same places."""
        return PooledGradient(numbers, self.argmax, self.largest, self.shape)

    @functools.cached_property
    def num_nonzero(self) -> int:
        """How many of the numbers are not zero."""
        return kernels.count_nonzero(self.numbers)

    def whole(self) -> Array:
        """The images, with all their zeros."""
        images = np.empty(self.shape, self.numbers.dtype)
        kernels.max_pool_backward(self.numbers, self.argmax, images)
        return images


def whole(dy: Array | PooledGradient) -> Array:
    """The gradient as an array, whatever it is."""
    return dy.whole() if isinstance(dy, PooledGradient) else dy
