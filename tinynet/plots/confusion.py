"""Which classes are taken for which."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinynet.plots.canvas import check_labels, name_of, new_figure

_MAX_CLASSES = 100
_MAX_NUMBERED = 30  # more classes than this are shown by colour alone


def plot_confusion_matrix(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """How often each class (row) was taken for each class (column): right answers in blue, mistakes in orange.

    The depth of a blue is the share of its row that is right; the deepest orange is the commonest mistake.

    Args:
        labels: the true classes, (n,), numbers or text, or one-hot (n, classes).
        predictions: classes (n,), or probabilities (n, classes) as ``model.predict`` returns them.
        class_names: what to write instead of the numbers of the classes; all of them are shown then.
        ax: axes to draw in; by default those of a new figure.

    Returns:
        The figure: ``figure.savefig("confusion.png")`` writes it.

    Raises:
        TypeError: labels or predictions are neither numbers nor text.
        ValueError: labels and predictions do not fit together, or there are more than 100 classes.

    Example:
        >>> figure = plot_confusion_matrix([0, 1, 1, 0], [0, 1, 0, 0])
        >>> len(figure.axes) >= 1
        True
    """
    from sklearn.metrics import confusion_matrix

    owner = "plot_confusion_matrix"
    is_class = check_labels(owner, "labels", labels)
    is_taken_for = check_labels(owner, "predictions", predictions)
    if not len(is_class) or len(is_class) != len(is_taken_for):
        raise ValueError(f"{owner}: needs a prediction for each label, got {len(is_taken_for)} for {len(is_class)}.")
    for argument, found in ("labels", is_class), ("predictions", is_taken_for):
        if found.dtype.kind == "f":
            odd = found[found % 1 != 0][0]
            raise ValueError(f"{owner}: {argument} must be classes, whole numbers or text, got {odd}.")
    if "U" in (is_class.dtype.kind, is_taken_for.dtype.kind):
        is_class, is_taken_for = is_class.astype(str), is_taken_for.astype(str)
    classes = np.union1d(is_class, is_taken_for)
    names = [name_of(label, class_names) for label in classes]
    if class_names is not None:
        is_class, is_taken_for = is_class.astype(np.intp), is_taken_for.astype(np.intp)
        classes, names = np.arange(len(class_names)), list(map(str, class_names))
    if len(classes) > _MAX_CLASSES:
        raise ValueError(f"{owner}: {len(classes)} classes are too many for one picture (at most {_MAX_CLASSES}).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is but one class
        counts = confusion_matrix(is_class, is_taken_for, labels=classes)

    numbered = len(classes) <= _MAX_NUMBERED
    if ax is None:
        size = 1.6 + len(classes) * (0.4 if numbered else 0.16)
        ax = new_figure(size, size).subplots()
    colours = _colours(counts)
    ax.imshow(colours)
    if numbered:
        _write_counts(ax, counts, colours)
    fontsize = 9 if numbered else 6
    rotation = 45 if max(map(len, names)) > 2 else 0
    ha = "right" if rotation else "center"
    ax.set_xticks(range(len(classes)), names, fontsize=fontsize, rotation=rotation, ha=ha, parse_math=False)
    ax.set_yticks(range(len(classes)), names, fontsize=fontsize, parse_math=False)
    ax.tick_params(length=0)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    mistakes = int((is_class != is_taken_for).sum())
    ax.set_title(f"Mistakes: {mistakes:,} of {len(is_class):,} ({1 - mistakes / len(is_class):.2%} right)", fontsize=10)
    return ax.figure.figure


def _colours(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A colour (red, green, blue, alpha) for each cell; cells without a count stay white."""
    right = np.diag(np.diag(counts))
    recall = right / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = (counts - right) / max((counts - right).max(), 1)
    darkest = 0.8  # of the two colour maps, whose ends are nearly black
    diagonal = np.eye(len(counts), dtype=bool)[..., None]
    blues, oranges = (matplotlib.colormaps[name] for name in ("Blues", "Oranges"))
    colours: npt.NDArray[np.float64] = np.where(diagonal, blues(darkest * recall), oranges(darkest * mistakes))
    colours[counts == 0] = 1.0
    return colours


def _write_counts(ax: Axes, counts: npt.NDArray[np.int64], colours: npt.NDArray[np.float64]) -> None:
    luminance = colours[..., :3] @ [0.2126, 0.7152, 0.0722]
    for row, column in zip(*np.nonzero(counts), strict=True):
        ax.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=8 if counts[row, column] < 10_000 else 6,
            color="white" if luminance[row, column] < 0.5 else "black",
        )
