"""Pictures: how training went, what the network saw, what it made of it. Needs matplotlib, which it loads.

Each function returns its figure and shows nothing by itself: ``figure.savefig("name.png")`` writes it, and a notebook
shows it as the value of a cell. They neither use nor change pyplot's state; to draw into a figure of your own, pass it.
"""

from __future__ import annotations

from tinynet.plots.architecture import plot_model
from tinynet.plots.confusion import plot_confusion_matrix
from tinynet.plots.images import plot_images, plot_mistakes
from tinynet.plots.inside import plot_feature_maps, plot_filters
from tinynet.plots.training import plot_history

__all__ = [
    "plot_confusion_matrix",
    "plot_feature_maps",
    "plot_filters",
    "plot_history",
    "plot_images",
    "plot_mistakes",
    "plot_model",
]
