"""What max-pooling and average-pooling share: their options, and the shape of their output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet.layers.layer import Layer, Shape
from tinynet.layers.window import Window, Windowed
from tinynet.validation import reject_arguments


class Pooling2D(Windowed, Layer):
    """Base of the layers that make one number of each window of an image, channel by channel.

    Args:
        pool_size: rows and columns of the window; one integer means both.
        strides: steps of the window; ``pool_size`` by default.
        padding: "valid" or "same" (see ``window.py``).
        input_shape, name: see ``Layer``.

    Raises:
        ValueError: an argument is out of range, or the input is not an image that the window fits into.
        TypeError: an argument has the wrong type or is not known.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        *,
        input_shape: Sequence[int] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ):
        owner = type(self).__name__
        data_format = {"data_format": unsupported.pop("data_format", None)}
        reject_arguments(owner, data_format, only={"data_format": (None, "channels_last")})
        super().__init__(input_shape=input_shape, name=name, **unsupported)
        strides = pool_size if strides is None else strides
        self.window = Window.checked(owner, "pool_size", pool_size, strides, padding)

    @property
    def pool_size(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        return self.window.size

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        self.pads = (top, bottom), (left, right) = self.window.pads(str(self), input_shape)
        h, w, c = input_shape
        return (*self.window.output_size(top + h + bottom, left + w + right), c)
