"""Where a sliding window stands: the geometry that convolution and pooling share.

Along one axis of ``size`` entries, a window of ``k`` entries moves in steps of ``stride``:

    "valid"   only where it fits whole        out = (size - k) // stride + 1; a remainder is left out
    "same"    zeros are added at both ends    out = ceil(size / stride)

"same" adds what the last step needs, ``(out - 1) * stride + k - size`` entries, half of them before; where that number
is odd, the extra one comes after. It is the rule of TensorFlow and Keras.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinynet.layers.layer import Shape
from tinynet.validation import check_choice, check_pair

PADDINGS = "valid", "same"


class Window(NamedTuple):
    """A window of ``size`` (rows, columns) moving in steps of ``strides`` (rows, columns)."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str

    @classmethod
    def checked(cls, owner: str, size_argument: str, size: Any, strides: Any, padding: Any) -> Window:
        """The window that a layer is asked for: one integer means rows and columns, and "SAME" is "same".

        Raises:
            ValueError, TypeError: an argument is out of range, or of the wrong type.
        """
        rows_and_columns = check_pair(owner, size_argument, size)
        if isinstance(padding, str) and padding.lower() in PADDINGS:
            padding = padding.lower()
        check_choice(owner, "padding", padding, PADDINGS)
        return cls(rows_and_columns, check_pair(owner, "strides", strides), padding)

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring positions have entries in common."""
        return any(size > stride for size, stride in zip(self.size, self.strides, strict=True))

    def pads(self, owner: str, input_shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)): entries to add around an image of shape (h, w, c).

        Raises:
            ValueError: the input is not an image, or a window without padding does not fit into it.
        """
        if len(input_shape) != 3:
            raise ValueError(
                f"{owner} takes images of shape (rows, columns, channels), got samples of shape {input_shape}; "
                "add a channel axis with x[..., None], or put it before Flatten."
            )
        if self.padding == "same":
            before_and_after = []
            for size, k, stride in zip(input_shape, self.size, self.strides, strict=False):
                out = -(-size // stride)
                total = max((out - 1) * stride + k - size, 0)
                before_and_after.append((total // 2, total - total // 2))
            rows, columns = before_and_after
            return rows, columns
        if any(k > size for size, k in zip(input_shape, self.size, strict=False)):
            raise ValueError(
                f"{owner}: a window of {self.size} does not fit into images of {input_shape[:2]}; "
                'make it smaller or use padding="same".'
            )
        return (0, 0), (0, 0)

    def output_size(self, padded_h: int, padded_w: int) -> tuple[int, int]:
        """(out_h, out_w): how many positions the window takes in a padded image."""
        (k_h, k_w), (s_h, s_w) = self.size, self.strides
        return (padded_h - k_h) // s_h + 1, (padded_w - k_w) // s_w + 1


class Windowed:
    """What the layers with a window say of it. The window is settled when a layer is made, so none can be set."""

    window: Window

    @property
    def strides(self) -> tuple[int, int]:
        """Steps of the window in rows and columns."""
        return self.window.strides

    @property
    def padding(self) -> str:
        """ "valid" or "same"."""
        return self.window.padding
