"""A network as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinynet.network import Network


def summary_table(network: Network) -> str:
    """The layers, their output shapes (without the batch axis) and their numbers of parameters, as text."""
    rows = [
        (f"{layer.name} ({type(layer).__name__})", str(layer.output_shape or "?"), f"{layer.count_params():,}")
        for layer in network.layers
    ]
    header = ("Layer (type)", "Output shape", "Parameters")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]

    def line(row: tuple[str, str, str]) -> str:
        return f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"

    rule = "-" * (sum(widths) + 4)
    count = network.count_params()
    total = f"Parameters: {count:,} ({count * network.dtype.itemsize / 2**20:.2f} MiB)"
    unbuilt = [] if network.output_shape else ["Not built yet: shapes are known once there is an input shape or data."]
    return "\n".join(
        [f"Model: {network.name or 'sequential'}", rule, line(header), rule, *map(line, rows), rule, total, *unbuilt],
    )
