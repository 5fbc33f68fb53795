"""What a benchmark leaves behind: a table to read, a JSON file with every number, and a plot."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Spread
from options import all_cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("numpy", "numba", "torch", "keras", "tensorflow", "tensorflow-cpu", "jax", "onnxruntime")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well in a terminal; the first column to the left, numbers to the right.

    Example:
        >>> print(table(["side", "ms"], [["tinynet", "37.0"], ["x", "9.5"]]))
        | side    |   ms |
        | :------ | ---: |
        | tinynet | 37.0 |
        | x       |  9.5 |
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    widths = [widths[0], *(max(width, 2) for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = line([":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join([line(header), rule, *map(line, rows)])


def duration(seconds: float) -> str:
    """Seconds with three figures, in the unit that suits: "37.1 ms", "420 µs", "12.3 s"."""
    factor, unit = _unit(seconds)
    return f"{_three_figures(seconds * factor)} {unit}"


def spread_of_durations(spread: Spread) -> tuple[str, str]:
    """The median and the quartiles, in the median's unit."""
    factor, _ = _unit(spread.median)
    low, high = (_three_figures(value * factor) for value in (spread.low, spread.high))
    return duration(spread.median), f"{low} to {high}"


def left_out_lines(left_out: dict[str, str]) -> list[str]:
    """A line for each side that could not be measured."""
    return [f"left out: {side} ({reason})" for side, reason in left_out.items()]


def save(name: str, options: argparse.Namespace, results: Any, figure: Figure) -> None:
    """Write ``results`` with a description of this run as JSON, and the plot beside it; say where.

    A quick run writes files of its own, so that it never replaces figures that were measured with care.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    path: Path = options.output / (f"{name}-quick.json" if options.quick else f"{name}.json")
    document = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "options": {key: value for key, value in vars(options).items() if key != "output"},
        "results": results,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    figure.savefig(path.with_suffix(".png"), dpi=150)
    for written in (path, path.with_suffix(".png")):
        print(f"wrote {os.path.relpath(written)}")


def machine() -> dict[str, Any]:
    """The processor, its cores and memory, the system, and the versions of what was measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": all_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions,
    }


def new_figure(columns: int, rows: int = 1, *, width: float = 6.0, height: float = 3.2) -> tuple[Figure, list[Any]]:
    """A figure of so many panels, and the panels row by row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _unit(seconds: float) -> tuple[float, str]:
    return (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")


def _three_figures(value: float) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
