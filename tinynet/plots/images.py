"""Images with what they are and what the network took them for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure, SubFigure

from tinynet.plots.canvas import (
    DARK_RED,
    aspect,
    best_columns,
    check_images,
    check_labels,
    check_panels,
    check_probabilities,
    grid_of_axes,
    name_of,
    new_figure,
    show_images,
)
from tinynet.validation import check_int

_INK = "gray_r"  # MNIST's 0 is paper and its 255 ink


def plot_images(
    images: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    predictions: npt.ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    columns: int | None = None,
    cmap: str = _INK,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """A grid of images, each under its label and prediction; wrong predictions stand out, with the true class.

    Args:
        images: (n, rows, columns), or (n, rows, columns, channels) with 1 or 3 channels; all on one scale.
        labels: the true classes, (n,) or one-hot (n, classes).
        predictions: classes (n,), or probabilities (n, classes) as ``model.predict`` returns them.
        class_names: what to write instead of the numbers of the classes.
        columns: images in a row; by default as many as leave the fewest gaps in a grid that is wider than high.
        cmap: matplotlib's name of a colour map for grey images; "gray" shows 0 as black.
        fig: a figure to draw in; by default a new one.

    Returns:
        The figure: ``figure.savefig("images.png")`` writes it.

    Raises:
        TypeError, ValueError: images, labels and predictions do not fit together, or there are more than 400 images.

    Example:
        >>> from tinynet.datasets import mnist
        >>> (x, y), _ = mnist.load_data()
        >>> figure = plot_images(x[:20], y[:20])
    """
    pixels = check_images("plot_images", images)
    check_panels("plot_images", len(pixels))
    is_class = None if labels is None else check_labels("plot_images", "labels", labels, len(pixels))
    is_taken_for = None if predictions is None else check_labels("plot_images", "predictions", predictions, len(pixels))
    titles, wrong = [], []
    for i in range(len(pixels)):
        true = None if is_class is None else name_of(is_class[i], class_names)
        predicted = None if is_taken_for is None else name_of(is_taken_for[i], class_names)
        wrong.append(is_class is not None and is_taken_for is not None and str(is_class[i]) != str(is_taken_for[i]))
        titles.append(f"{predicted} (is {true})" if wrong[-1] else predicted or true or "")
    return _titled_grid("plot_images", pixels, titles, wrong, columns=columns, cmap=cmap, fig=fig)


def plot_mistakes(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    count: int = 20,
    class_names: Sequence[str] | None = None,
    columns: int | None = None,
    cmap: str = _INK,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """The most confident mistakes: of the images taken for something else, those with the highest probability.

    Each stands under the prediction with its probability, and the true class. Without any mistake, the picture says so.

    Args:
        images: (n, rows, columns), or (n, rows, columns, channels) with 1 or 3 channels.
        labels: the true classes as numbers (n,), or one-hot (n, classes).
        probabilities: (n, classes), as ``model.predict(images)`` returns them.
        count: how many to show, at most.
        class_names, columns, cmap, fig: see ``plot_images``.

    Returns:
        The figure: ``figure.savefig("mistakes.png")`` writes it.

    Raises:
        TypeError, ValueError: images, labels and probabilities do not fit together.

    Example:
        >>> images = np.zeros((2, 8, 8))
        >>> figure = plot_mistakes(images, np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
        >>> len(figure.axes) >= 1
        True
    """
    owner = "plot_mistakes"
    pixels = check_images(owner, images)
    is_class = check_labels(owner, "labels", labels, len(pixels))
    if is_class.dtype.kind not in "iu":
        raise TypeError(
            f"{owner}: labels must be whole numbers, as the columns of probabilities, got {is_class.dtype}."
        )
    p = check_probabilities(owner, "probabilities", probabilities, len(pixels))
    count = check_int(owner, "count", count)
    check_panels(owner, count)

    is_taken_for, confidence = p.argmax(axis=1), p.max(axis=1)
    wrong = np.flatnonzero(is_taken_for != is_class)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    if not len(worst):
        fig = fig or new_figure(5, 1.5)
        fig.text(0.5, 0.5, f"No mistakes among {len(pixels):,} images", ha="center", va="center", fontsize=12)
        return fig.figure
    titles = [
        f"{name_of(is_taken_for[i], class_names)} ({_percent(confidence[i])})\nis {name_of(is_class[i], class_names)}"
        for i in worst
    ]
    heading = (
        f"Mistakes: {len(wrong):,} of {len(pixels):,} images; {len(worst)} shown, the most confident first:\n"
        "prediction (its probability) and true class"
    )
    return _titled_grid(
        owner, pixels[worst], titles, [True] * len(worst), heading=heading, columns=columns, cmap=cmap, fig=fig
    )


def _percent(p: float) -> str:
    """In percent, and never rounded up to 100, which no softmax means."""
    return f"{min(float(p) * 100, 99.99):.2f}%"


def _titled_grid(
    owner: str,
    images: npt.NDArray[np.generic],
    titles: Sequence[str],
    wrong: Sequence[bool],
    *,
    heading: str = "",
    columns: int | None,
    cmap: str,
    fig: Figure | SubFigure | None,
) -> Figure:
    count = len(images)
    columns = best_columns(count) if columns is None else min(check_int(owner, "columns", columns), count)
    lines = 1 + max(title.count("\n") for title in titles)
    width = max(1.1, 0.085 * _longest_line(titles))  # inches, as 0.085 is a bold letter
    height = width * aspect(images.shape[1:]) + 0.17 * lines
    if fig is None:
        total_height = height * math.ceil(count / columns) + (0.6 if heading else 0.2)
        fig = new_figure(max(width * columns, 0.09 * _longest_line([heading])) + 0.2, total_height)
    if heading:
        fig.suptitle(heading, fontsize=11)
    axes = grid_of_axes(fig, count, columns)
    show_images(axes, images, cmap)
    for ax, title, is_wrong in zip(axes, titles, wrong, strict=True):
        color, weight = (DARK_RED, "bold") if is_wrong else ("black", "normal")
        # y=1 is the upper edge; without it, each drawing looks for ticks to keep clear of, for more than half its time.
        ax.set_title(title, y=1, fontsize=9, pad=3, color=color, weight=weight, parse_math=False)
    return fig.figure


def _longest_line(texts: Sequence[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))
