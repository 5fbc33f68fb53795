"""Input: says what the samples look like, and does nothing to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinynet.layers.activation import Linear
from tinynet.validation import check_shape, reject_arguments


class Input(Linear):
    """The shape of one sample, without the batch axis: the first entry of ``Sequential([Input((28, 28, 1)), ...])``.

    Raises:
        ValueError, TypeError: the shape is not a tuple of positive integers.

    Example:
        >>> Input(shape=(28, 28, 1)).input_shape
        (28, 28, 1)
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        batch_size: int | None = None,
        *,
        name: str | None = None,
        **other: Any,
    ):
        reject_arguments(
            "Input",
            {"batch_size": batch_size, "batch_shape": other.pop("batch_shape", None)},
            only={"batch_size": (None,), "batch_shape": (None,)},
            hints={"batch_shape": "Write shape, without the batch axis: Input((28, 28, 1))."},
        )
        shape = check_shape("Input", "shape", shape)
        super().__init__(input_shape=shape, name=name, **other)
