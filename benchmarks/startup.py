"""Start-up: from starting Python to the first training step done; and peak memory of the main job.

Run it with ``python benchmarks/startup.py``.

tinynet is started with a filled ("warm") and with an empty Numba cache. Reading the images is left out: it is not the
library's work. The main job is an epoch of training on all of MNIST and the prediction of its test images, with a
filled cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from contextlib import ExitStack
from typing import Any

from measure import Spread, alternate, check_same_losses, start
from networks import NETWORKS
from options import all_cores, parse
from report import duration, left_out_lines, new_figure, save, spread_of_durations, table
from worker import Job, Worker

SIDES = ("tinynet", "pytorch", "keras-tensorflow", "keras-jax")
STAGES = ("import", "build", "first step")
CHECK_STEPS = 5


def main() -> None:
    options = parse(__doc__, rounds=7, quick_rounds=2, sides=SIDES, networks=["lenet"], threads=[all_cores()])
    figure, axes = new_figure(2, len(options.networks) * len(options.threads))
    results: list[dict[str, Any]] = []
    for name in options.networks:
        for threads in options.threads:
            title = f"{NETWORKS[name].title}, batch 128, threads: {threads}"
            result = measure(Job("training", NETWORKS[name], 128, threads, num_batches=CHECK_STEPS), options)
            print(f"\n{title}\n\n{start_table(result['starts'])}\n\n{memory_table(result['memory'])}")
            print("\n".join(left_out_lines(result["left_out"])), flush=True)
            draw(axes[2 * len(results)], axes[2 * len(results) + 1], title, result)
            results.append({"network": name, "threads": threads, **result})
    save("startup", options, results, figure)


def measure(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every stage of every start by title, and the main job's bytes by title."""
    starts: dict[str, dict[str, list[float]]] = {}

    def record(title: str, worker: Worker, cache: str) -> float:
        """Start a worker like this one and do a step; in all, the seconds are those of the stages."""
        with Worker(worker.side, job, worker.variant, {"NUMBA_CACHE_DIR": cache}) as fresh:
            seconds = {**fresh.startup, "first step": fresh.time(1)}
        for stage in STAGES:
            starts.setdefault(title, {}).setdefault(stage, []).append(seconds[stage])
        return sum(seconds[stage] for stage in STAGES)

    def record_with_empty_cache(title: str, worker: Worker) -> float:
        with tempfile.TemporaryDirectory() as cache:
            return record(title, worker, cache)

    with tempfile.TemporaryDirectory() as cache:
        with ExitStack() as stack:  # these starts read all files once and fill the cache
            workers, left_out = start(stack, options.sides, job, environment={"NUMBA_CACHE_DIR": cache})
            check_same_losses([(worker.title, worker.losses(CHECK_STEPS)) for worker in workers])
        blocks = []
        for worker in workers:
            if worker.side == "tinynet":
                blocks.append(lambda worker=worker: record(f"{worker.title}, warm cache", worker, cache))
                blocks.append(lambda worker=worker: record_with_empty_cache(f"{worker.title}, empty cache", worker))
            else:
                blocks.append(lambda worker=worker: record(worker.title, worker, cache))
        alternate(blocks, options.rounds)
        for worker in workers:  # once to fill the cache with what prediction needs, too
            main_job_memory(worker, cache, quick=True)
        memory = {worker.title: main_job_memory(worker, cache, quick=options.quick) for worker in workers}
    return {"starts": starts, "memory": memory, "left_out": left_out}


def main_job_memory(like: Worker, cache: str, *, quick: bool) -> int:
    """The most bytes that an epoch of training, or part of it, and the prediction of all test images take."""
    job = dataclasses.replace(like.job, num_batches=0)
    with Worker(like.side, job, like.variant, {"NUMBA_CACHE_DIR": cache}) as worker:
        worker.epoch(0, max_batches=10 if quick else None)
        worker.accuracy()
        return worker.peak_memory()


def totals(stages: dict[str, list[float]]) -> list[float]:
    """The seconds of each start, all stages together."""
    return [sum(seconds) for seconds in zip(*stages.values(), strict=True)]


def start_table(starts: dict[str, dict[str, list[float]]]) -> str:
    """Medians of the stages and of their sum."""
    rows = []
    for title, stages in starts.items():
        medians = [duration(Spread.of(stages[stage]).median) for stage in STAGES]
        rows.append([title, *medians, *spread_of_durations(Spread.of(totals(stages)))])
    return table(["side", *STAGES, "in all", "quartiles"], rows)


def memory_table(memory: dict[str, int]) -> str:
    """Peak memory in MiB and as a multiple of the first side's."""
    first = next(iter(memory.values()))
    rows = [[title, f"{peak / 2**20:.0f} MiB", f"{peak / first:.2f}"] for title, peak in memory.items()]
    return table(["side", "peak memory of the main job", "ratio"], rows)


def draw(time_axis: Any, memory_axis: Any, title: str, result: dict[str, Any]) -> None:
    """Stacked bars of the stages, and bars of memory."""
    titles = list(result["starts"])[::-1]
    left = [0.0] * len(titles)
    for stage in STAGES:
        widths = [Spread.of(result["starts"][each][stage]).median for each in titles]
        time_axis.barh(titles, widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    time_axis.set(title=f"Start-up: {title}", xlabel="seconds")
    time_axis.legend(fontsize=8)
    titles = list(result["memory"])[::-1]
    memory_axis.barh(titles, [result["memory"][each] / 2**20 for each in titles], color="tab:gray")
    memory_axis.set(title="Peak memory of the main job", xlabel="MiB")
    for axis in (time_axis, memory_axis):
        axis.tick_params(axis="y", labelsize=8)


if __name__ == "__main__":
    main()
