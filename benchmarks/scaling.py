"""Scaling: a training step's time and memory against batch size, image size and number of filters.

Run it with ``python benchmarks/scaling.py``.

Where cost grows as the arithmetic does, the time for a GFLOP stays level; where memory is bounded, it grows with the
batch and the weights and no faster.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from comparisons import comparison_json
from measure import Comparison, compare
from networks import lenet
from options import all_cores, parse
from report import duration, left_out_lines, new_figure, save, table
from worker import Job

BATCH_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
IMAGE_SIZES = (14, 28, 56, 84, 112)
FILTERS = (4, 8, 20, 40, 80)


def main() -> None:
    sides = ("tinynet", "pytorch")
    options = parse(__doc__, rounds=7, sides=sides, networks=(), threads=[all_cores()])
    count = 2 if options.quick else None
    figure, axes = new_figure(2, 3 * len(options.threads))
    panels, results = iter(axes), []
    for threads in options.threads:
        # Two batches are enough to go round: with more, the memory would be the data's.
        def job(batch_size: int = 128, threads: int = threads, **size: int) -> Job:
            return Job("training", lenet(**size), batch_size, threads, num_batches=2)

        series = {
            "batch size": {n: job(batch_size=n) for n in BATCH_SIZES[:count]},
            "image size": {n: job(image_size=n) for n in IMAGE_SIZES[:count]},
            "filters": {n: job(filters=n) for n in FILTERS[:count]},
        }
        for name, jobs in series.items():
            comparisons = {}
            for n, each in jobs.items():
                block_seconds = 0.05 if options.quick else 0.3
                comparisons[n] = compare(options.sides, each, rounds=options.rounds, block_seconds=block_seconds)
                results.append({"series": name, name: n, "job": dataclasses.asdict(each)})
                results[-1] |= comparison_json(comparisons[n])
            print(f"\nLeNet, training, {name}, threads: {threads}\n\n{scaling_table(name, comparisons)}", flush=True)
            draw(next(panels), next(panels), f"{name}, threads: {threads}", comparisons)
    save("scaling", options, results, figure)


def scaling_table(name: str, comparisons: dict[int, Comparison]) -> str:
    """A row for each side and size."""
    rows = []
    for side in range(len(next(iter(comparisons.values())).timings)):
        for n, comparison in comparisons.items():
            timing, memory = comparison.timings[side], comparison.peak_memory[side]
            median = timing.spread.median
            rows.append(
                [
                    timing.title,
                    str(n),
                    duration(median),
                    f"{median / comparison.flops * 1e12:.1f}",
                    f"{comparison.share_of_dense_limit(timing).median:.2f}",
                    f"{timing.over(comparison.timings[0]).median:.2f}",
                    f"{memory / 2**20:.0f}",
                ]
            )
    header = ["side", name, "median step", "ms for a GFLOP", "share of dense limit", "ratio to first", "peak MiB"]
    left_out = next(iter(comparisons.values())).left_out
    return "\n".join([table(header, rows), *left_out_lines(left_out)])


def draw(time_axis: Any, memory_axis: Any, title: str, comparisons: dict[int, Comparison]) -> None:
    """Seconds with the dense limit, and memory, against the size."""
    sizes = list(comparisons)
    for side, timing in enumerate(next(iter(comparisons.values())).timings):
        label = timing.title.partition(",")[0]
        seconds = [comparison.timings[side].spread.median for comparison in comparisons.values()]
        memory = [comparison.peak_memory[side] / 2**20 for comparison in comparisons.values()]
        time_axis.plot(sizes, seconds, "o-", label=label)
        memory_axis.plot(sizes, memory, "o-", label=label)
    limits = [comparison.dense_limit.spread.median for comparison in comparisons.values()]
    time_axis.plot(sizes, limits, "--", color="tab:red", label="dense limit")
    time_axis.set(title=f"Training step against {title}", ylabel="seconds", xscale="log", yscale="log")
    memory_axis.set(title=f"Peak memory against {title}", ylabel="MiB", xscale="log", ylim=(0, None))
    for axis in (time_axis, memory_axis):
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.legend(fontsize=8)


if __name__ == "__main__":
    main()
