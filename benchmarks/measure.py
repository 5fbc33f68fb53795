"""How two or more sides are compared: the same numbers first, then short blocks in turn.

A shared machine's speed drifts by more than the sides differ. So a round gives each side one short block, the order
goes on by one place from round to round, and what counts is the ratio of two blocks of the same round.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sides.sgemm import FLOPS as SGEMM_FLOPS
from worker import Job, MissingLibraryError, Worker

CHECK_STEPS = 20
RELATIVE_TOLERANCE = 1e-3  # of the losses: two float32 libraries that add in different orders stay well below it


class DisagreementError(Exception):
    """Two sides that should compute the same do not."""


@dataclass
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))


@dataclass
class Timing:
    """One side's seconds per step, one number a round."""

    title: str
    seconds: list[float]

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)

    def over(self, other: Timing) -> Spread:
        """This side's time divided by another's, round by round: above 1, the other is faster."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)])


@dataclass
class Comparison:
    """What came of a job: the timings of all sides (the first is the one the others are compared with).

    Attributes:
        flops: what the matrix products of a step cost.
        sgemm: seconds for a large matrix product of ``SGEMM_FLOPS``, in the same rounds.
        steps: how many steps a block has, the same ones for all sides.
        left_out: sides whose library is not there, with the reason.
        peak_memory: bytes, of each side that was timed.
    """

    flops: int
    timings: list[Timing]
    sgemm: Timing
    steps: int
    left_out: dict[str, str] = field(default_factory=dict)
    peak_memory: list[int] = field(default_factory=list)

    @property
    def dense_limit(self) -> Timing:
        """Seconds that a step's matrix products would take at the speed of the large one."""
        return Timing("dense limit", [seconds * self.flops / SGEMM_FLOPS for seconds in self.sgemm.seconds])

    @property
    def sgemm_rate(self) -> float:
        """Floating-point operations per second of the large matrix product, in the median round."""
        return SGEMM_FLOPS / self.sgemm.spread.median

    def share_of_dense_limit(self, timing: Timing) -> Spread:
        """The dense limit's time divided by a side's, round by round: above 1, the side beats dense arithmetic."""
        return self.dense_limit.over(timing)


def compare(sides: Sequence[str], job: Job, *, rounds: int, block_seconds: float) -> Comparison:
    """Start the sides, check that they compute the same losses, and time them in alternating blocks.

    ``block_seconds`` is about how long the fastest side's block lasts, or a tenth of the slowest one's; all sides do
    the same steps in theirs. Before a block nothing happens for as long: the threads of some libraries (OpenBLAS's, for
    one) go on looking for work for a tenth of a second, on a core that belongs to the next side by then.

    Raises:
        DisagreementError: a side computes other losses than the first one.
        WorkerError: a side failed.
    """
    with ExitStack() as stack:
        workers, left_out = start(stack, sides, job)
        sgemm = stack.enter_context(Worker("sgemm", job))
        check_same_losses([(worker.title, worker.losses(CHECK_STEPS)) for worker in workers])
        step_seconds = [min(worker.time(3) for _ in range(3)) for worker in workers]
        steps = max(1, round(block_seconds * min(1 / min(step_seconds), 10 / max(step_seconds))))

        def block(worker: Worker, steps: int, warmup: int) -> float:
            time.sleep(block_seconds)
            return worker.time(steps, warmup)

        blocks = [functools.partial(block, worker, steps, _warmup(steps)) for worker in workers]
        *seconds, sgemm_seconds = alternate([*blocks, functools.partial(block, sgemm, 1, 1)], rounds)
        return Comparison(
            flops=job.flops,
            timings=[Timing(worker.title, times) for worker, times in zip(workers, seconds, strict=True)],
            sgemm=Timing(sgemm.title, sgemm_seconds),
            steps=steps,
            left_out=left_out,
            peak_memory=[worker.peak_memory() for worker in workers],
        )


def start(stack: ExitStack, sides: Sequence[str], job: Job, **options: Any) -> tuple[list[Worker], dict[str, str]]:
    """Workers for all sides whose library is there, and the others by name, with the reason.

    Raises:
        MissingLibraryError: tinynet itself is not there, or none of them is.
    """
    workers, left_out = [], {}
    for side in sides:
        try:
            workers.append(stack.enter_context(Worker(side, job, **options)))
        except MissingLibraryError as error:
            if side == "tinynet":
                raise
            left_out[side] = str(error)
    if not workers:
        raise MissingLibraryError(f"Nothing to measure: {left_out}")
    return workers, left_out


def check_same_losses(losses: Sequence[tuple[str, Sequence[float]]], rtol: float = RELATIVE_TOLERANCE) -> None:
    """Refuse sides whose losses, step by step, are not those of the first side.

    Raises:
        DisagreementError: names the side, the step and both numbers.
    """
    first_title, expected = losses[0]
    for title, values in losses[1:]:
        for step, (mine, theirs) in enumerate(zip(expected, values, strict=True)):
            if not math.isclose(mine, theirs, rel_tol=rtol, abs_tol=1e-5):  # NaN is close to nothing
                raise DisagreementError(f"Loss {step}: {mine:.7g} by {first_title}, but {theirs:.7g} by {title}.")


def alternate(blocks: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Run all blocks once a round, starting one place later each time; each block's numbers, in order of rounds."""
    results: list[list[float]] = [[] for _ in blocks]
    for first in range(rounds):
        for place in range(len(blocks)):
            turn = (first + place) % len(blocks)
            results[turn].append(blocks[turn]())
    return results


def _warmup(steps: int) -> int:
    """Steps at the head of a block that are not timed: the others have used the caches meanwhile."""
    return max(1, steps // 10)
