"""A network as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinynet.layers.layer import Layer
    from tinynet.network import Network


def summary_table(network: Network) -> str:
    """The layers, their output shapes (without the batch axis) and their numbers of parameters, as text."""
    rows = [(f"{layer.name} ({type(layer).__name__})", *_shape_and_count(layer)) for layer in network.layers]
    header = ("Layer (type)", "Output shape", "Parameters")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]

    def line(row: tuple[str, str, str]) -> str:
        return f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"

    rule = "-" * (sum(widths) + 4)
    if network.output_shape is None:
        total = "Not built yet: shapes and parameters are known once there is an input shape or data."
    else:
        count = network.count_params()
        total = f"Parameters: {count:,} ({count * network.dtype.itemsize / 2**20:.2f} MiB)"
    title = f"Model: {network.name or 'sequential'}"
    return "\n".join([title, rule, line(header), rule, *map(line, rows), rule, total])


def _shape_and_count(layer: Layer) -> tuple[str, str]:
    return ("?", "?") if layer.output_shape is None else (str(layer.output_shape), f"{layer.count_params():,}")
