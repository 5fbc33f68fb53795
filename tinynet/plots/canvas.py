"""What all pictures share: their colours, their paper, and the reading of labels and images.

The colours are those of M. Okabe and K. Ito, "Color Universal Design", 2008, which people with any of the common
kinds of colour blindness tell apart; what a colour says is also said by a line style or a word.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

Array = npt.NDArray[Any]

BLUE, ORANGE, RED, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#555555"
DARK_RED = "#A13D00"  # for words
MAX_PANELS = 400


class Picture(Figure):
    """A Figure that notebooks show by themselves, whether or not pyplot is in use; pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of a size in inches, whose parts move apart to make room for their labels."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    return Picture(figsize=(width, height), dpi=120, facecolor="white", layout=layout)


def grid_of_axes(fig: Figure | SubFigure, count: int, columns: int) -> list[Axes]:
    """``count`` panels without ticks or frames, in rows of ``columns``."""
    axes = fig.subplots(math.ceil(count / columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    return list(axes[:count])


def check_images(owner: str, images: npt.ArrayLike) -> Array:
    """Images as an array (n, rows, columns), or (n, rows, columns, 3) for colour.

    Raises:
        TypeError: they are not numbers.
        ValueError: they have another shape, there are none, or they hold NaN or infinity.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: images must be an array of numbers, got dtype {array.dtype}.")
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[-1] == 3):
        hint = " One image is images[None]." if array.ndim == 2 else ""
        raise ValueError(
            f"{owner}: images must have shape (n, rows, columns), or that with 1 or 3 channels at the end, "
            f"got {np.shape(images)}.{hint}"
        )
    if not array.size:
        raise ValueError(f"{owner}: images is empty, its shape is {np.shape(images)}.")
    check_finite(f"{owner}: images", array)
    return array


def check_finite(what: str, array: Array) -> None:
    """Raise ValueError where a picture would show NaN or infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{what} has {int((~np.isfinite(array)).sum()):,} values that are NaN or infinite. Where training made "
            "them, try a smaller learning rate, and scale the images to [0, 1]."
        )


def check_panels(owner: str, count: int) -> None:
    """Raise ValueError for more panels than a picture can hold."""
    if count > MAX_PANELS:
        raise ValueError(f"{owner}: {count:,} images are too many for one picture (at most {MAX_PANELS}); try [:25].")


def show_images(axes: Sequence[Axes], images: Array, cmap: str) -> None:
    """Draw each image in its panel, all on one scale from the smallest to the largest value."""
    low, high = float(images.min()), float(images.max())
    if images.ndim == 4 and images.dtype != np.uint8:  # colour: matplotlib takes floats in [0, 1]
        images = (images - low) / ((high - low) or 1.0)
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")


def check_labels(owner: str, argument: str, labels: npt.ArrayLike, count: int | None = None) -> Array:
    """Labels (n,), numbers or text, and one-hot labels or probabilities (n, classes) as the largest's column.

    Whole numbers become integers, so that 5.0 and 5 are one class.

    Raises:
        TypeError: some are neither numbers nor text, or there are both.
        ValueError: they have another shape, are not ``count`` many, or hold NaN or infinity.
    """
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ValueError(f"{owner}: {argument} must have shape (n,) or (n, classes), not unlike rows.") from None
    if array.dtype.kind == "O" and len({isinstance(label, str) for label in array.flat}) == 1:  # a column of pandas
        array = np.array(array.tolist())
    if array.dtype.kind not in "biufU":
        raise TypeError(f"{owner}: {argument} must be all numbers or all text, got dtype {array.dtype}.")
    check_finite(f"{owner}: {argument}", array)
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
        array = array.argmax(axis=1)
    elif array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{owner}: {argument} must have shape (n,) or (n, classes), got {np.shape(labels)}.")
    if count is not None and len(array) != count:
        raise ValueError(f"{owner}: {count} images, but {argument} has {len(array)} entries.")
    is_whole = array.dtype.kind == "b" or (array.dtype.kind == "f" and np.array_equal(array, np.floor(array)))
    return array.astype(np.int64) if is_whole else array


def check_probabilities(owner: str, argument: str, probabilities: npt.ArrayLike, count: int) -> Array:
    """Probabilities as an array (n, classes); ValueError where they are something else, or hold NaN or infinity."""
    array = np.asarray(probabilities)
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) != count:
        raise ValueError(
            f"{owner}: {argument} must be floats of shape ({count}, classes), as predict returns them, "
            f"got shape {array.shape} and dtype {array.dtype}."
        )
    check_finite(f"{owner}: {argument}", array)
    return array


def name_of(label: Any, class_names: Sequence[str] | None) -> str:
    """What to call a class; ValueError if there is no such entry in ``class_names``."""
    if class_names is None:
        return str(label)
    try:
        number = int(label)
    except ValueError:
        number = -1
    if not 0 <= number < len(class_names) or (isinstance(label, np.floating) and label != number):
        raise ValueError(
            f"class_names has {len(class_names)} names, so labels must be in 0..{len(class_names) - 1}, got {label!r}."
        )
    return str(class_names[number])


def best_columns(count: int) -> int:
    """From as many as rows to four times as many, those that leave the fewest panels empty; of equals, the fewest."""
    root = math.ceil(math.sqrt(count))
    return min(range(root, min(2 * root, count) + 1), key=lambda columns: (-count % columns, columns))


def shape_text(shape: Sequence[int]) -> str:
    """A shape in words: "28 × 28 × 20"."""
    return " × ".join(map(str, shape))


def aspect(shape: Sequence[int]) -> float:
    """Height over width of a picture for pixels (rows, columns, ...), kept between 1/4 and 4."""
    return min(max(shape[0] / shape[1], 0.25), 4.0)
