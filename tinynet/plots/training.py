"""How training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tinynet.callbacks import History
from tinynet.plots.canvas import BLUE, RED, new_figure

_MAX_MARKED = 30  # more epochs than this are drawn as a line without a dot each


def plot_history(history: History | Mapping[str, Sequence[float]], *, fig: Figure | SubFigure | None = None) -> Figure:
    """Training curves: the loss and each other figure by epoch, for the training and the validation data.

    A training figure is the mean over an epoch in which the network kept learning, a validation figure was measured
    at its end: so in the first epochs validation often looks better.

    Args:
        history: what ``fit`` returned, or its dictionary ``history.history``.
        fig: a figure to draw in; by default a new one.

    Returns:
        The figure: ``figure.savefig("training.png")`` writes it.

    Raises:
        TypeError: ``history`` is neither, or a figure in it is no number.
        ValueError: it holds no epochs; or it is a dictionary in which some figures are fewer than others, so that
            nobody knows their epochs (a History does).

    Example:
        >>> from tinynet.callbacks import History
        >>> history = History()
        >>> history.on_epoch_end(0, {"loss": 0.5, "accuracy": 0.9})
        >>> history.on_epoch_end(1, {"loss": 0.3, "accuracy": 0.95})
        >>> len(plot_history(history).axes)
        2
    """
    figures = history.history if isinstance(history, History) else history
    if not isinstance(figures, Mapping):
        raise TypeError(f"plot_history takes what fit returned (a History), got {type(history).__name__}.")
    for name, values in figures.items():
        if not isinstance(name, str) or isinstance(values, str) or not np.iterable(values):
            raise TypeError(f"plot_history takes a list of figures for each name, got {values!r:.60} for {name!r}.")
    names = list(dict.fromkeys(name.removeprefix("val_") for name in figures))
    if not any(len(values) for values in figures.values()):
        raise ValueError("plot_history: the history holds no epochs; call fit first.")

    fig = fig or new_figure(4.4 * len(names), 3.4)
    for ax, name in zip(fig.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label, colour, line in ((name, "training", BLUE, "o-"), (f"val_{name}", "validation", RED, "s--")):
            if key in figures:
                values, epochs = _numbers(key, figures[key]), _epochs_of(history, key)
                size = 4 if len(values) <= _MAX_MARKED else 0
                ax.plot([epoch + 1 for epoch in epochs], values, line, color=colour, markersize=size, label=label)
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss (nats a sample)" if name == "loss" else name.replace("_", " "), parse_math=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if "acc" in name:
            ax.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, handlelength=3)
    return fig.figure


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    """The figures of this name; TypeError where one is no number."""
    for value in values:
        if np.ndim(value) or np.asarray(value).dtype.kind not in "biuf":
            raise TypeError(f"plot_history: a figure of {name!r} is no number, but {value!r:.60}; leave it out.")
    return list(values)


def _epochs_of(history: History | Mapping[str, Sequence[float]], name: str) -> Sequence[int]:
    """The epochs, from 0, of the figures of this name."""
    figures = history.history if isinstance(history, History) else history
    count, most = len(figures[name]), max(map(len, figures.values()))
    for epochs in (history.epochs_of(name), history.epoch) if isinstance(history, History) else ():
        if len(epochs) == count and epochs == sorted(set(epochs)):  # and not those of two calls of fit
            return epochs
    if count != most:
        raise ValueError(
            f"plot_history: there are {count} figures of {name!r}, but {most} of others, and nothing tells their "
            "epochs; give it the History that fit returned, which knows them."
        )
    return range(count)
