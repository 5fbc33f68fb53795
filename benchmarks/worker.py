"""One side in a process of its own, and the handle by which the benchmark drives it.

The parent writes a request as a line of JSON, the worker answers with one: so nothing runs in a worker unless it was
asked to, and the parent decides whose turn it is. Each process has its own thread settings, made before any library is
imported, and on Linux is bound to as many cores as it may use threads.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from data import SPLIT_SIZES, load_mnist
from networks import Network
from sides import SIDES
from sides.base import Setup

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TINYNET_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # JAX
)


@dataclass(frozen=True)
class Job:
    """What all sides of a comparison do.

    Attributes:
        kind: "training" or "inference".
        num_batches: how many batches of MNIST the worker holds and goes round; 0 for the whole data set, for epochs.
    """

    kind: str
    network: Network
    batch_size: int
    threads: int
    num_batches: int = 100
    learning_rate: float = 0.01
    momentum: float = 0.0

    @property
    def flops(self) -> int:
        """What the matrix products of one step cost."""
        network = self.network
        return self.batch_size * (network.training_flops if self.kind == "training" else network.inference_flops)


class MissingLibraryError(Exception):
    """The side's library can't be imported."""


class WorkerError(Exception):
    """A worker failed; the message has its traceback."""


@dataclass
class Worker:
    """A side at work; use it in a ``with`` statement, which ends its process.

    Args:
        side: a key of ``sides.SIDES``.
        variant: the library's settings; by default all are tried and the fastest is kept.
        environment: variables to set besides those for threads.

    Attributes:
        title: the library, its version and the chosen variant.
        startup: seconds from starting Python to each library being ready: "import", "data", "build".

    Raises:
        MissingLibraryError: the library is not there.
        WorkerError: the worker could not build the network.
    """

    side: str
    job: Job
    variant: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.job.threads))
        started = time.time()
        with _bound_to_cores(self.job.threads):
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**_inherited(), "TF_CPP_MIN_LOG_LEVEL": "3", **threads, **self.environment},
                text=True,
            )
        try:
            ready = self._ask(side=self.side, job=asdict(self.job), variant=self.variant, started=started)
        except BaseException:
            self.close()
            raise
        self.title: str = ready["title"]
        self.variant = ready["variant"]
        self.startup: dict[str, float] = ready["startup"]

    def losses(self, steps: int) -> list[float]:
        """Do some steps and return each loss in training, and in inference each image's loss."""
        return self._ask(do="losses", steps=steps)

    def time(self, steps: int, warmup: int = 0) -> float:
        """Seconds for each of ``steps`` steps, on average, after ``warmup`` that are not timed."""
        return self._ask(do="time", steps=steps, warmup=warmup)

    def epoch(self, number: int, max_batches: int | None = None) -> float:
        """Train on the whole training set, or on some batches of it, in this epoch's own order; the seconds it took."""
        return self._ask(do="epoch", number=number, max_batches=max_batches)

    def accuracy(self) -> tuple[float, float]:
        """The share of test images classified correctly, and the seconds it took."""
        return tuple(self._ask(do="accuracy"))

    def peak_memory(self) -> int:
        """The most bytes of memory that the process has had so far."""
        return self._ask(do="peak_memory")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._stderr.seek(0)
            raise WorkerError(f"The worker of {self.side} died:\n{self._stderr.read()[-2000:]}")
        answer = json.loads(line)
        if "missing" in answer:
            raise MissingLibraryError(answer["missing"])
        if "error" in answer:
            raise WorkerError(f"The worker of {self.side} failed:\n{answer['error']}")
        return answer["value"]


def _inherited() -> dict[str, str]:
    """The variables of this process, but for one that keeps Python's compiled modules from being written to disk.

    pip has written those of libraries that it copied; tinynet, as a rule, is imported from where its sources are.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def _bound_to_cores(count: int) -> Iterator[None]:
    """Processes that are started meanwhile may use the last ``count`` of this process's cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


# The worker's own process --------------------------------------------------------------------------------------------

MAX_BATCH_BYTES = 1 << 27  # of all images that a worker holds, so that large batches do not fill the memory
TURNS, TURN_SECONDS = 8, 0.1  # in which the settings of a library are tried out


class Bench:
    """A side with its data, doing what it is asked to."""

    def __init__(self, side: str, job: dict[str, Any], variant: str | None, started: float):
        self.startup: dict[str, float] = {}
        self._last = started
        self.job = Job(**{**job, "network": Network(**job["network"])})
        module = importlib.import_module(SIDES[side])
        self._stage("import")
        if self.job.num_batches:
            self.batches = self._read_batches()
        else:
            self.train, self.test = module.Side.load_data()
        self._stage("data")
        weights = self.job.network.initial_weights()
        setup = Setup(self.job.network, self.job.threads, self.job.learning_rate, self.job.momentum)
        variants = module.Side.variants if variant is None else (variant,)
        self.variant = variants[0]
        if len(variants) > 1 and self.job.num_batches:
            self.variant = self._fastest({each: module.Side(setup, weights, each) for each in variants})
        self._use(module.Side(setup, weights, self.variant))
        self._stage("build")
        self.title = ", ".join(filter(None, (self.side.title, self.variant)))

    def losses(self, steps: int) -> list[float]:
        if self.job.kind == "training":
            return [float(self._step()) for _ in range(steps)]
        labels = [self.batches[(self.position + i) % len(self.batches)][1] for i in range(steps)]
        outputs = [self._step() for _ in range(steps)]
        chosen = [p[np.arange(len(y)), y] for p, y in zip(outputs, labels, strict=True)]
        return (-np.log(np.concatenate(chosen))).tolist()

    def time(self, steps: int, warmup: int) -> float:
        for _ in range(warmup):
            self._step()
        start = time.perf_counter()
        outcomes = [self._step() for _ in range(steps)]
        if self.job.kind == "training":
            float(outcomes[-1])  # JAX computes while Python goes on; a loss that can be read has been computed
        return (time.perf_counter() - start) / steps

    def epoch(self, number: int, max_batches: int | None) -> float:
        start = time.perf_counter()
        (x, y), size = self.train, self.job.batch_size
        order = np.random.default_rng(number).permutation(len(x))
        num_batches = len(x) // size  # whole ones only: XLA compiles anew for another shape
        for rows in order[: num_batches * size].reshape(num_batches, size)[:max_batches]:
            loss = self.side.train_step(*self.side.put(x[rows], y[rows]))
        float(loss)
        return time.perf_counter() - start

    def accuracy(self) -> tuple[float, float]:
        start = time.perf_counter()
        (x, y), right, size = self.test, 0, 500
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            right += int((self.side.predict(self.side.put(x[rows], y[rows])[0]).argmax(axis=1) == y[rows]).sum())
        return right / len(x), time.perf_counter() - start

    def peak_memory(self) -> int:
        status = Path("/proc/self/status")
        if status.exists():  # not getrusage: its maximum goes on from the parent's at the time of the fork
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            return int(fields["VmHWM"].split()[0]) * 1024
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def _use(self, side: Any) -> None:
        self.side, self.position = side, 0
        if self.job.num_batches:
            self.inputs = [side.put(x, y) for x, y in self.batches]

    def _step(self) -> Any:
        x, y = self.inputs[self.position % len(self.inputs)]
        self.position += 1
        return self.side.train_step(x, y) if self.job.kind == "training" else self.side.predict(x)

    def _fastest(self, sides: dict[str, Any]) -> str:
        """Which of these takes least time for a step at best, in turns: the machine's hiccups must not choose."""
        seconds, steps = dict.fromkeys(sides, math.inf), 0
        for _ in range(TURNS):
            for name, side in sides.items():
                self._use(side)
                once = self.time(1, warmup=1)
                steps = steps or max(1, int(TURN_SECONDS / once))
                seconds[name] = min(seconds[name], self.time(steps, warmup=0))
        return min(seconds, key=seconds.__getitem__)

    def _read_batches(self) -> list[tuple[Any, Any]]:
        size, pixels = self.job.batch_size, self.job.network.input_shape[0] ** 2
        count = min(self.job.num_batches, SPLIT_SIZES["train"] // size, max(2, MAX_BATCH_BYTES // (4 * pixels * size)))
        x, y = load_mnist("train", count * size, image_size=self.job.network.input_shape[0])
        return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]

    def _stage(self, name: str) -> None:
        now = time.time()
        self.startup[name], self._last = now - self._last, now


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    bench: Bench | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if bench is None:
                bench = Bench(**request)
                value = {"title": bench.title, "variant": bench.variant, "startup": bench.startup}
            else:
                value = getattr(bench, request.pop("do"))(**request)
            answer = {"value": value}
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
