"""Flatten: from images to vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet.layers.layer import Array, Gradients, Layer, Shape
from tinynet.layers.step import Step
from tinynet.validation import reject_arguments


class Flatten(Layer):
    """Lays each sample out as one vector, row by row, so that Dense layers can follow.

        y  = x.reshape(n, -1)         x, dx (n, *shape)      y, dy (n, product of shape)
        dx = dy.reshape(x.shape)

    Example:
        >>> Flatten().build((7, 7, 50), np.random.default_rng(0))
        (2450,)
    """

    def __init__(self, *, name: str | None = None, input_shape: Sequence[int] | None = None, **unsupported: Any):
        options = {"data_format": unsupported.pop("data_format", None)}
        reject_arguments("Flatten", options, only={"data_format": (None, "channels_last")})
        super().__init__(name=name, input_shape=input_shape, **unsupported)

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self.check_input(x)
        return x.reshape(len(x), math.prod(x.shape[1:])), (x.shape, x.dtype)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        shape, dtype = cache
        dy = self.check_gradient(dy, shape[0], dtype)
        return dy.reshape(shape), {}

    def kernel_steps(self) -> list[Step] | None:
        return []
