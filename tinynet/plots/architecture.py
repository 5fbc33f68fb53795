"""A network as a drawing: what each layer does to the shape of the data, and how much it has to learn."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinynet.layers.activation import Activation, Linear
from tinynet.layers.conv2d import Conv2D
from tinynet.layers.dense import Dense
from tinynet.layers.dropout import Dropout
from tinynet.layers.layer import Layer, Shape
from tinynet.layers.max_pooling2d import MaxPooling2D
from tinynet.layers.pooling import Pooling2D
from tinynet.layers.weighted import Weighted
from tinynet.network import Network
from tinynet.plots.canvas import BLUE, GREEN, GREY, ORANGE, new_figure, shape_text

_ROW = 0.8  # inches from layer to layer
_CENTRE = 0.75  # where the middle of each symbol is
_SYMBOL = 0.42  # height of the largest image
_LONGEST = 1.3  # length of the longest vector
_SHEETS = 7  # at most; more channels than this are drawn as so many
_TEXT = 1.65  # left edge of the layers' names
_MAX_LAYERS = 60
_COLOURS: dict[type[Layer], str] = {Conv2D: BLUE, Dense: ORANGE, Pooling2D: GREEN}


def plot_model(model: Network, *, ax: Axes | None = None) -> Figure:
    """A network from input to output: for each layer the shape that it puts out and its number of parameters.

    Images are drawn as stacks of sheets, one for each channel (up to seven), as large as they are; vectors as bars,
    longer for more entries, on a logarithmic scale. Convolutions are blue, pools green, dense layers orange.

    Args:
        model: a built model.
        ax: axes to draw in; by default those of a new figure.

    Returns:
        The figure: ``figure.savefig("model.png")`` writes it.

    Raises:
        TypeError: it is not a model.
        ValueError: it is not built, has no layers or more than 60.

    Example:
        >>> from tinynet.layers import Dense, Input
        >>> from tinynet.models import Sequential
        >>> figure = plot_model(Sequential([Input((4,)), Dense(3, activation="softmax")], seed=0))
        >>> len(figure.axes)
        1
    """
    if not isinstance(model, Network):
        raise TypeError(f"plot_model takes a Sequential, got {type(model).__name__}.")
    if model.input_shape is None or model.output_shape is None or not model.layers:
        raise ValueError("plot_model: the model is not built: give it layers, and an input shape or data, first.")
    if len(model.layers) > _MAX_LAYERS:
        raise ValueError(
            f"plot_model: {len(model.layers)} layers are too many for one picture (at most {_MAX_LAYERS})."
        )
    rows = [("input", "", model.input_shape, GREY, 0)]
    for layer in model.layers:
        colour = next((colour for kind, colour in _COLOURS.items() if isinstance(layer, kind)), GREY)
        rows.append((str(layer.name), describe(layer), layer.output_shape or (), colour, layer.count_params()))

    # Right edges of the columns, by the longest texts in them: about 0.1 inches a bold letter, 0.075 a small one.
    names = max(0.1 * max(len(name), 0.75 * len(details)) for name, details, *_ in rows)
    shapes = max(0.095 * len(shape_text(shape)) for _, _, shape, *_ in rows)
    columns = (_TEXT, _TEXT + names + 0.2 + shapes, _TEXT + names + shapes + 1.5)
    width, height = columns[2] + 0.15, _ROW * (len(rows) + 1.4)
    if ax is None:
        ax = new_figure(width, height).subplots()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_aspect("equal")
    ax.set_axis_off()

    def write(y: float, texts: tuple[str, str, str], color: str = "black", weight: str = "normal") -> None:
        for x, text, side in zip(columns, texts, ("left", "right", "right"), strict=True):
            ax.text(x, y, text, ha=side, va="center", fontsize=10, color=color, weight=weight)

    largest = max((size for _, _, shape, *_ in rows if len(shape) == 3 for size in shape[:2]), default=1)
    longest = max((shape[0] for _, _, shape, *_ in rows if len(shape) == 1), default=1)
    write(0.3, ("layer", "output", "parameters"), color=GREY)
    bottom = 0.0
    for i, (name, details, shape, colour, count) in enumerate(rows):
        y = 0.3 + (i + 0.75) * _ROW
        half = _draw_symbol(ax, y, shape, colour, largest, longest)
        if i:
            arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (_CENTRE, y - half - 0.03), (_CENTRE, bottom + 0.03), arrowprops=arrow)
        bottom = y + half
        va = "bottom" if details else "center"
        ax.text(_TEXT, y, name, va=va, fontsize=10, weight="bold", parse_math=False)
        ax.text(_TEXT, y + 0.04, details, va="top", fontsize=8.5, color=GREY)
        write(y, ("", shape_text(shape), f"{count:,}" if count else "–"))
    y = 0.3 + (len(rows) + 0.55) * _ROW
    ax.plot([_TEXT, columns[2]], [y - 0.2, y - 0.2], color=GREY, linewidth=0.8)
    write(y, ("total", "", f"{model.count_params():,}"), weight="bold")
    return ax.figure.figure


def describe(layer: Layer) -> str:
    """What a layer does, in a few words: "20 filters of 5 × 5, padding same, ReLU"."""
    words = []
    if isinstance(layer, Conv2D):
        words = [f"{layer.filters} filters of {shape_text(layer.kernel_size)}", f"padding {layer.padding}"]
        if layer.strides != (1, 1):
            words.append(f"strides {shape_text(layer.strides)}")
    elif isinstance(layer, Pooling2D):
        kind = "max" if isinstance(layer, MaxPooling2D) else "mean"
        words = [f"{kind} of {shape_text(layer.pool_size)}"]
        if layer.strides != layer.pool_size:
            words.append(f"strides {shape_text(layer.strides)}")
        if layer.padding == "same":
            words.append("padding same")
    elif isinstance(layer, Dense):
        words = [f"{layer.units} units"]
    elif isinstance(layer, Dropout):
        words = [f"drops {layer.rate:.0%} in training"]
    elif isinstance(layer, Activation):
        words = [type(layer.function).__name__]
    elif isinstance(layer, Network):
        words = [f"{len(layer.layers)} layers"]
    if isinstance(layer, Weighted) and not isinstance(layer.activation, Linear):
        words.append(type(layer.activation).__name__)
    return ", ".join(words)


def _draw_symbol(ax: Axes, y: float, shape: Shape, colour: str, largest: int, longest: int) -> float:
    """A stack of sheets for an image, a bar for a vector; nothing for other shapes. Returns half its height."""
    if len(shape) == 3:
        h, w = (max(_SYMBOL * size / largest, 0.06) for size in shape[:2])
        sheets = min(shape[2], _SHEETS)
        shifts = [0.04 * (i - (sheets - 1) / 2) for i in range(sheets)]
        for shift in reversed(shifts):
            _box(ax, _CENTRE - w / 2 + shift, y - h / 2 - shift / 2, w, h, colour)
        return h / 2 + shifts[-1] / 2
    if len(shape) == 1:
        length = max(_LONGEST * math.log1p(shape[0]) / math.log1p(longest), 0.12)
        _box(ax, _CENTRE - length / 2, y - 0.06, length, 0.12, colour)
        return 0.06
    return 0.0


def _box(ax: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor="white", zorder=2))
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, alpha=0.35, linewidth=0, zorder=2))
    ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1, zorder=2))
