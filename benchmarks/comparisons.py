"""Comparisons of sides on jobs, from start to table, JSON and plot: what training_step and inference are made of."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from measure import Comparison, compare
from report import duration, left_out_lines, new_figure, save, spread_of_durations, table
from worker import Job


def compare_jobs(name: str, options: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Compare ``options.sides`` on one job after another; print a table for each, save all of them as ``name``."""
    columns = min(2, len(jobs))
    figure, axes = new_figure(columns, -(-len(jobs) // columns))
    results = []
    for axis, job in zip(axes, jobs, strict=False):
        title = f"{job.network.title}, {job.kind}, batch {job.batch_size}, threads: {job.threads}"
        comparison = compare(options.sides, job, rounds=options.rounds, block_seconds=0.05 if options.quick else 0.3)
        print(f"\n{title}\n\n{comparison_table(comparison)}", flush=True)
        draw_comparison(axis, title, comparison)
        results.append({"job": dataclasses.asdict(job), **comparison_json(comparison)})
    for axis in axes[len(jobs) :]:
        axis.remove()
    save(name, options, results, figure)


def comparison_table(comparison: Comparison) -> str:
    """Medians, ratios to the first side and shares of the dense limit, and below it who was left out."""
    yardstick = comparison.timings[0]
    rows = []
    for timing in comparison.timings:
        ratio, share = timing.over(yardstick), comparison.share_of_dense_limit(timing)
        own = timing is yardstick
        rows.append(
            [
                timing.title,
                *spread_of_durations(timing.spread),
                "1" if own else f"{ratio.median:.2f}",
                "" if own else f"{ratio.low:.2f} to {ratio.high:.2f}",
                f"{share.median:.2f}",
            ]
        )
    name = yardstick.title.split()[0]
    header = ["side", "median", "quartiles", f"times {name}'s", "quartiles", "share of dense limit"]
    limit = comparison.dense_limit.spread.median
    lines = [
        table(header, rows),
        f"dense limit {duration(limit)}: {comparison.flops / 1e9:.3g} GFLOP at {comparison.sgemm_rate / 1e9:.0f} "
        f"GFLOP/s ({comparison.sgemm.title}); {len(yardstick.seconds)} rounds of {comparison.steps} steps",
        *left_out_lines(comparison.left_out),
    ]
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Every number of a comparison, and the figures of its table."""
    yardstick = comparison.timings[0]
    return {
        "flops_per_step": comparison.flops,
        "steps_per_block": comparison.steps,
        "sgemm_flops_per_second": comparison.sgemm_rate,
        "dense_limit_seconds": dataclasses.asdict(comparison.dense_limit.spread),
        "left_out": comparison.left_out,
        "sides": [
            {
                "title": timing.title,
                "seconds_by_round": timing.seconds,
                "seconds": dataclasses.asdict(timing.spread),
                "ratio_to_first": dataclasses.asdict(timing.over(yardstick)),
                "share_of_dense_limit": dataclasses.asdict(comparison.share_of_dense_limit(timing)),
                "peak_memory_bytes": memory,
            }
            for timing, memory in zip(comparison.timings, comparison.peak_memory, strict=True)
        ],
    }


def draw_comparison(axis: Any, title: str, comparison: Comparison) -> None:
    """Bars of median milliseconds with their quartiles, and the dense limit as a line."""
    timings = comparison.timings[::-1]  # the first on top
    medians = [timing.spread.median * 1e3 for timing in timings]
    errors = [
        [(timing.spread.median - timing.spread.low) * 1e3 for timing in timings],
        [(timing.spread.high - timing.spread.median) * 1e3 for timing in timings],
    ]
    colours = ["tab:gray"] * (len(timings) - 1) + ["tab:blue"]
    axis.barh([str(i) for i in range(len(timings))], medians, xerr=errors, color=colours, ecolor="black", capsize=3)
    axis.set_yticks(range(len(timings)), [timing.title.replace(", ", "\n") for timing in timings], fontsize=8)
    axis.axvline(comparison.dense_limit.spread.median * 1e3, color="tab:red", linestyle="--", label="dense limit")
    axis.set_title(title, fontsize="medium")
    axis.set_xlabel("milliseconds (median, quartiles)")
    axis.legend(loc="best", fontsize=8)
