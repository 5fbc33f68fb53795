"""What goes on inside a network: the filters that it learned, and what they make of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from tinynet.layers.conv2d import Conv2D
from tinynet.layers.layer import Layer, Shape
from tinynet.network import Network
from tinynet.plots.canvas import BLUE, Array, aspect, best_columns, check_finite, name_of, new_figure, shape_text
from tinynet.validation import check_int

_MAX_FILTERS = 5000
_MAX_LAYERS = 40
_MAX_BARS = 30  # longer vectors than this are drawn as a strip of colours


def plot_filters(layer: Layer, *, ax: Axes | None = None) -> Figure:
    """The filters of a convolution, each weight as a colour: blue below zero, white at zero, red above.

    Filters on one channel stand in a grid, in order, row by row. Filters on several channels stand in a table: a
    column for each filter (channel of the output), a row for each channel of the input.

    Args:
        layer: a built ``Conv2D``, such as ``model.layers[0]``.
        ax: axes to draw in; by default those of a new figure.

    Returns:
        The figure: ``figure.savefig("filters.png")`` writes it.

    Raises:
        TypeError: it is not a Conv2D.
        ValueError: it has no weights yet, weights that are not finite, or more filters times input channels (5000)
            than a picture can show.

    Example:
        >>> from tinynet.layers import Conv2D, Input
        >>> from tinynet.models import Sequential
        >>> figure = plot_filters(Sequential([Input((8, 8, 1)), Conv2D(4, 3)], seed=0).layers[0])
        >>> len(figure.axes)
        1
    """
    if not isinstance(layer, Conv2D):
        raise TypeError(f"plot_filters takes a Conv2D, such as model.layers[0], got {layer}.")
    if not layer.params:
        raise ValueError(f"plot_filters: {layer} has no weights yet: give the model an input shape, or data, first.")
    W = layer.params["W"]
    k_h, k_w, channels, filters = W.shape
    if channels * filters > _MAX_FILTERS:
        raise ValueError(
            f"plot_filters: {layer} has {filters} filters on {channels} channels, {channels * filters:,} squares; "
            f"at most {_MAX_FILTERS:,} fit into one picture."
        )
    check_finite(f"plot_filters: {layer}", W)
    tiles = W.transpose(2, 3, 0, 1)
    if channels == 1:
        tiles = _wrap(tiles[0], best_columns(filters))
    rows, columns = tiles.shape[:2]
    if ax is None:
        tile, margin = (0.75, 0.45) if channels == 1 else (0.24, 0.95)  # inches
        ax = new_figure(tile * columns + margin + 0.9, tile * rows * aspect((k_h, k_w)) + margin).subplots()
    limit = float(np.abs(W).max()) or 1.0
    cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.75")
    image = ax.imshow(_mosaic(tiles), cmap=cmap, vmin=-limit, vmax=limit, interpolation="nearest")
    _number_tiles(ax, tiles.shape, numbered=channels > 1)
    title = f"{layer.name or 'Conv2D'}: {filters} filters of {shape_text((k_h, k_w, channels))}"
    ax.set_title(title, fontsize=10, parse_math=False)
    _add_scale(ax, image, (0.2 if channels == 1 else 0.6) / columns, (-limit, 0, limit), "weight")
    return ax.figure.figure


def plot_feature_maps(
    model: Network,
    image: npt.ArrayLike,
    *,
    max_maps: int = 10,
    class_names: Sequence[str] | None = None,
    fig: Figure | SubFigure | None = None,
) -> Figure:
    """One image on its way through the network: a row for each layer, with what comes out of it.

    Images stand as maps, one for each channel; long vectors as strips of colours, from the first entry at the left to
    the last; a last vector of up to 30 entries as bars. Each row has a scale of its own.

    Args:
        model: a built model.
        image: one image, (rows, columns) or (rows, columns, channels), scaled like those that the model learned from.
        max_maps: how many channels to show of each layer, from the first one on.
        class_names: what to write under the bars instead of the numbers of the classes.
        fig: a figure to draw in; by default a new one.

    Returns:
        The figure: ``figure.savefig("maps.png")`` writes it.

    Raises:
        TypeError: it is not a model.
        ValueError: the model is not built, has more than 40 layers, does not take this image, or makes NaN of it.

    Example:
        >>> from tinynet.layers import Conv2D, Input
        >>> from tinynet.models import Sequential
        >>> figure = plot_feature_maps(Sequential([Input((8, 8, 1)), Conv2D(4, 3)], seed=0), np.ones((8, 8, 1)))
        >>> len(figure.axes)  # the image, and the maps of the convolution
        2
    """
    owner = "plot_feature_maps"
    max_maps = check_int(owner, "max_maps", max_maps)
    outputs = _outputs(owner, model, image)
    *others, (last_name, last) = outputs
    bars = last.ndim == 1 and len(last) <= _MAX_BARS
    strips = others if bars else outputs

    channels = max((y.shape[-1] for _, y in strips if y.ndim == 3), default=1)
    columns = max(min(max_maps, channels), 6)
    tile = 8.0 / columns  # inches
    heights = [0.3 + (tile * aspect(y.shape) if y.ndim == 3 else 0.16) for _, y in strips] + [1.8] * bars
    fig = fig or new_figure(8.8, sum(heights))
    axes = fig.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, y) in zip(axes, strips, strict=False):
        _show_output(ax, name, y, columns)
    if bars:
        _show_bars(axes[-1], last_name, last, class_names, is_probability=model.before_softmax() is not None)
    return fig.figure


def _outputs(owner: str, model: Network, image: npt.ArrayLike) -> list[tuple[str, Array]]:
    """The image and what each layer makes of it, by name, without the batch axis."""
    if not isinstance(model, Network):
        raise TypeError(f"{owner} takes a Sequential, got {type(model).__name__}.")
    if model.input_shape is None or model.output_shape is None:
        raise ValueError(f"{owner}: the model is not built: give it an input shape, or data, first.")
    if len(model.layers) > _MAX_LAYERS:
        raise ValueError(f"{owner}: {len(model.layers)} layers are too many for one picture (at most {_MAX_LAYERS}).")
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: image must be an array of numbers, got dtype {pixels.dtype}.")
    if pixels.squeeze().shape != tuple(size for size in model.input_shape if size > 1):
        raise ValueError(f"{owner}: the model takes one image of shape {model.input_shape}, got {pixels.shape}.")
    y = pixels.reshape(1, *model.input_shape).astype(model.dtype)
    outputs = [("input", y[0])]
    for layer in model.layers:
        y, _ = layer.forward(y)
        outputs.append((str(layer.name), y[0]))
    for name, y in outputs:
        check_finite(f"{owner}: {name}", y)
    return outputs


def _mosaic(tiles: Array) -> Array:
    """One picture of tiles (rows, columns, tile_h, tile_w), with a frame of NaN, one pixel wide, around each."""
    rows, columns, h, w = tiles.shape
    picture = np.full((rows, h + 1, columns, w + 1), np.nan)
    picture[:, 1:, :, 1:] = tiles.transpose(0, 2, 1, 3)
    picture = picture.reshape(rows * (h + 1), columns * (w + 1))
    return np.pad(picture, ((0, 1), (0, 1)), constant_values=np.nan)


def _wrap(tiles: Array, columns: int) -> Array:
    """Tiles (n, h, w) in rows of ``columns``: (rows, columns, h, w), the missing ones NaN."""
    rows = math.ceil(len(tiles) / columns)
    padded = np.full((rows * columns, *tiles.shape[1:]), np.nan)
    padded[: len(tiles)] = tiles
    return padded.reshape(rows, columns, *tiles.shape[1:])


def _add_scale(ax: Axes, image: AxesImage, width: float, ticks: Sequence[float], label: str = "") -> None:
    """What the colours mean, in a bar as high as the picture; ``width`` as a share of the picture's."""
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1 + width, 0, width, 1)), ticks=ticks, format="%.2g")
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)


def _number_tiles(ax: Axes, tiles_shape: Shape, *, numbered: bool) -> None:
    """Count the rows and columns of a mosaic at its edges, one in five where there are many."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=8)
    rows, columns, h, w = tiles_shape
    for axis, count, size, label in ((ax.yaxis, rows, h, "input channel"), (ax.xaxis, columns, w, "filter")):
        shown = range(0, count if numbered else 0, 1 if count <= 10 else 5)
        axis.set_ticks([(size + 1) * i + (size + 1) / 2 for i in shown], [str(i) for i in shown])
        axis.set_label_text(label if numbered else "", fontsize=9)


def _show_output(ax: Axes, name: str, y: Array, columns: int) -> None:
    """A row of up to ``columns`` maps for an image (h, w, channels), or a strip for a vector."""
    low, high = float(y.min()), float(y.max())
    title = f"{name}: {shape_text(y.shape)}"
    maps = y.transpose(2, 0, 1)[:columns] if y.ndim == 3 else y.reshape(1, 1, -1)
    width, height = (1.0, aspect(y.shape)) if y.ndim == 3 else (1.06 * columns - 0.06, 0.02 * columns)
    if y.ndim == 3 and len(maps) < y.shape[-1]:
        title += f", the first {len(maps)} channels"
    for i, pixels in enumerate(maps):
        picture = ax.imshow(
            pixels, extent=(1.06 * i, 1.06 * i + width, 0, height), vmin=low, vmax=high, interpolation="nearest"
        )
    ax.set_xlim(0, 1.06 * columns - 0.06)
    ax.set_ylim(0, height)
    ax.set_axis_off()
    ax.set_title(title, loc="left", fontsize=9, pad=3, parse_math=False)
    _add_scale(ax, picture, 0.01, (low, high))


def _show_bars(ax: Axes, name: str, y: Array, class_names: Sequence[str] | None, *, is_probability: bool) -> None:
    bars = ax.bar(range(len(y)), y, color=BLUE)
    if is_probability:
        ax.bar_label(bars, [f"{p:.2f}" if p >= 0.005 else "" for p in y], fontsize=8)
        ax.set_ylim(0, 1.18)
        ax.set_yticks([0, 0.5, 1])
    names = [name_of(i, class_names) for i in range(len(y))]
    slanted = sum(map(len, names)) > 90  # too many letters for one line
    ax.set_xlim(-0.5, len(y) - 0.5)
    ha = "right" if slanted else "center"
    ax.set_xticks(range(len(y)), names, fontsize=8, rotation=45 * slanted, ha=ha, parse_math=False)
    ax.set_xlabel("class", fontsize=9)
    ax.set_ylabel("probability" if is_probability else "output", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"{name}: {shape_text(y.shape)}", loc="left", fontsize=9, pad=3, parse_math=False)
