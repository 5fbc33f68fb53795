"""Dropout: train with random parts of the network missing, so that no part relies on a single other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet.layers.layer import Array, Gradients, Layer, Shape
from tinynet.layers.step import Step
from tinynet.validation import check_int, check_number, reject_arguments


class Dropout(Layer):
    """In training, sets a random share ``rate`` of its inputs to zero and scales the others up; else, the identity.

        keep = rng.random(x.shape) >= rate
        mask = keep / (1 - rate)            x, y, dx, dy, mask (n, ...)
        y    = x * mask
        dx   = dy * mask

    Dividing by 1 - rate makes the mean of y equal to x, so that predictions need no correction ("inverted" dropout).

    Source: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting", 2014, section 4 (the scale: section 10).

    Args:
        rate: the share that is dropped, in [0, 1).
        seed: an integer, mixed into what this layer draws. (It is the model's seed that makes training repeat.)
        input_shape, name: see ``Layer``.

    Raises:
        ValueError: the rate or the seed is out of range.
        TypeError: an argument has the wrong type or is not known.

    Example:
        >>> dropout = Dropout(0.75)
        >>> dropout.build((6,), np.random.default_rng(0))
        (6,)
        >>> x = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
        >>> y, cache = dropout.forward(x, np.random.default_rng(3))
        >>> y
        array([[ 4.,  0.,  0.,  0.,  0., 24.]])
        >>> dropout.backward(np.ones((1, 6)), cache)[0]
        array([[4., 0., 0., 0., 0., 4.]])
        >>> dropout.forward(x)[0]
        array([[1., 2., 3., 4., 5., 6.]])
    """

    random = True

    def __init__(
        self,
        rate: float,
        noise_shape: None = None,
        seed: int | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ):
        reject_arguments("Dropout", {"noise_shape": noise_shape}, only={"noise_shape": (None,)})
        super().__init__(input_shape=input_shape, name=name, **unsupported)
        self.rate = check_number("Dropout", "rate", rate, low=0, high=1)
        if self.rate == 1:
            raise ValueError("Dropout: rate must be below 1, got 1: it would leave nothing to learn from.")
        self.seed = None if seed is None else check_int("Dropout", "seed", seed, minimum=0)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return input_shape

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> tuple[Array, Any]:
        x = self.check_input(x)
        if rng is None:
            return x, (len(x), x.dtype, None)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, int(rng.integers(2**63))])
        keep = rng.random(x.shape, np.float32) >= self.rate
        mask = keep.astype(x.dtype) / (1 - self.rate)
        return x * mask, (len(x), x.dtype, mask)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        n, dtype, mask = cache
        dy = self.check_gradient(dy, n, dtype)
        return (dy if mask is None else dy * mask), {}

    def kernel_steps(self) -> list[Step] | None:
        return []
