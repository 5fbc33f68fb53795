"""Time to 99% test accuracy, from starting Python: the same weights, batches and SGD with momentum on all sides.

Run it with ``python benchmarks/time_to_accuracy.py``.

After each epoch the test images are classified. Rounding decides in which epoch a run gets over 99%, so the rounds
take the training images in different orders, and the seconds of an epoch are shown beside the time in all.
"""

from __future__ import annotations

import argparse
import dataclasses
from contextlib import ExitStack
from typing import Any

from measure import Spread, Timing, alternate, check_same_losses, start
from networks import NETWORKS
from options import all_cores, parse
from report import duration, left_out_lines, new_figure, save, spread_of_durations, table
from worker import Job, Worker

BATCH_SIZE, LEARNING_RATE, MOMENTUM = 128, 0.05, 0.9
TARGET = 0.99
MAX_EPOCHS = 15
CHECK_STEPS = 5  # momentum at this learning rate soon makes a chaos of rounding


def main() -> None:
    sides = ("tinynet", "pytorch", "keras-tensorflow", "keras-jax")
    options = parse(__doc__, rounds=3, quick_rounds=1, sides=sides, threads=[all_cores()])
    figure, axes = new_figure(len(options.threads), len(options.networks))
    results: list[dict[str, Any]] = []
    for name in options.networks:
        for threads in options.threads:
            title = f"{NETWORKS[name].title}, threads: {threads}"
            job = Job("training", NETWORKS[name], BATCH_SIZE, threads, CHECK_STEPS, LEARNING_RATE, MOMENTUM)
            runs, left_out = measure(job, options)
            print(f"\n{title}\n\n{run_table(runs)}\n" + "\n".join(left_out_lines(left_out)), flush=True)
            draw(axes[len(results)], title, runs)
            results.append({"network": name, "threads": threads, "runs": runs, "left_out": left_out})
    save("time_to_accuracy", options, results, figure)


def measure(job: Job, options: argparse.Namespace) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Every run of every side by title, and the sides left out."""
    with ExitStack() as stack:
        workers, left_out = start(stack, options.sides, job)
        check_same_losses([(worker.title, worker.losses(CHECK_STEPS)) for worker in workers])
    runs: dict[str, list[dict[str, Any]]] = {worker.title: [] for worker in workers}

    def run_once(like: Worker) -> float:
        done = runs[like.title]
        done.append(run(like, seed=len(done), quick=options.quick))
        return sum(done[-1]["startup"].values())

    alternate([lambda worker=worker: run_once(worker) for worker in workers], options.rounds)
    return runs, left_out


def run(like: Worker, *, seed: int, quick: bool) -> dict[str, Any]:
    """Train a side like this one, in a new process, until it classifies TARGET of the test images correctly.

    Returns:
        startup: seconds of each stage before training; train, test: seconds of each epoch; accuracy: after each epoch.
    """
    job = dataclasses.replace(like.job, num_batches=0)
    train: list[float] = []
    test: list[float] = []
    accuracies = [0.0]
    with Worker(like.side, job, like.variant) as worker:
        while accuracies[-1] < TARGET and len(train) < (1 if quick else MAX_EPOCHS):
            train.append(worker.epoch(seed * MAX_EPOCHS + len(train), max_batches=20 if quick else None))
            accuracy, seconds = worker.accuracy()
            accuracies.append(accuracy)
            test.append(seconds)
        return {"startup": worker.startup, "train": train, "test": test, "accuracy": accuracies[1:]}


def seconds_in_all(run: dict[str, Any]) -> float:
    """From starting Python to the last epoch's accuracy."""
    return sum(run["startup"].values()) + sum(run["train"]) + sum(run["test"])


def run_table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Medians over the rounds; ratios are taken round by round."""
    first = Timing("first", [seconds_in_all(run) for run in next(iter(runs.values()))])
    rows = []
    for title, own in runs.items():
        in_all = Timing(title, [seconds_in_all(run) for run in own])
        library = Spread.of([run["startup"]["import"] + run["startup"]["build"] for run in own]).median
        data = Spread.of([run["startup"]["data"] for run in own]).median
        epochs = [seconds for run in own for seconds in run["train"]]
        reached = sum(run["accuracy"][-1] >= TARGET for run in own)
        counts = ", ".join(str(len(run["train"])) for run in own)
        rows.append(
            [
                title,
                *spread_of_durations(in_all.spread),
                f"{in_all.over(first).median:.2f}",
                duration(library),
                duration(data),
                duration(Spread.of(epochs).median),
                counts,
                f"{reached} of {len(own)}",
            ]
        )
    header = ["side", f"to {TARGET:.0%}", "quartiles", "ratio", "start-up", "data", "an epoch", "epochs", "reached"]
    return table(header, rows)


def draw(axis: Any, title: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Test error against seconds since Python was started, a line a run."""
    for number, (side, own) in enumerate(runs.items()):
        for run in own:
            seconds = sum(run["startup"].values())
            times = []
            for train, test in zip(run["train"], run["test"], strict=True):
                seconds += train + test
                times.append(seconds)
            errors = [100 * (1 - accuracy) for accuracy in run["accuracy"]]
            axis.plot(times, errors, "o-", color=f"C{number}", label=side if run is own[0] else None)
    axis.axhline(100 * (1 - TARGET), color="gray", linestyle="--")
    axis.set(title=title, xlabel="seconds since Python was started", ylabel="test error in %", yscale="log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:.1f}")
    axis.legend(fontsize=8)


if __name__ == "__main__":
    main()
