"""What ``fit`` shows while it works: a bar in a terminal or notebook, and a line an epoch everywhere."""

from __future__ import annotations

import numbers
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core import event
from tqdm import tqdm

from tinynet.callbacks.callback import Callback, Logs

COMPILES = "numba:compile"  # Numba's name for what it tells of


class CompilationNote(event.Listener):
    """Says in a bar that Numba is compiling, which may take some seconds: the first time that a network is trained.

    Args:
        bar: of tqdm.
    """

    def __init__(self, bar: Any):
        self.bar = bar

    def on_start(self, _: Any) -> None:
        self.bar.set_postfix_str("compiling, this first time")

    def on_end(self, _: Any) -> None:
        """The note stays until there are figures, so that it does not flicker between two functions."""


class EpochBar(Callback):
    """One bar an epoch, with images per second, time left and running figures; it goes when the epoch ends.

    While Numba compiles kernels, it says so. tqdm redraws it ten times a second at most, however fast the batches come.
    It is text in a notebook too, so that none needs widgets.

    Args:
        num_samples: images in an epoch.
        batch_size: images a batch.
    """

    def __init__(self, num_samples: int, batch_size: int):
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.bar: Any = None
        self._note: CompilationNote | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.title = _title(epoch, self.params["epochs"])

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        if self.bar is None:  # only now: what callbacks print when an epoch begins stands above the bar
            self.bar = tqdm(
                desc=self.title,
                total=self.num_samples,
                unit=" images",
                unit_scale=True,
                leave=False,
                file=sys.stdout,
                dynamic_ncols=True,
            )
            self._note = CompilationNote(self.bar)
            event.register(COMPILES, self._note)  # type: ignore[no-untyped-call]

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.bar.set_postfix_str(_figures(logs or {}), refresh=False)
        self.bar.update(min(self.batch_size, self.num_samples - batch * self.batch_size))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; training may also end in the middle of an epoch."""
        if self.bar is not None:
            event.unregister(COMPILES, self._note)  # type: ignore[no-untyped-call]
            self.bar.close()
            self.bar = None


class EpochLine(Callback):
    """A line when an epoch ends: its time, images per second in training, and its figures.

    Args:
        num_samples, batch_size: see ``EpochBar``.
    """

    def __init__(self, num_samples: int, batch_size: int):
        self.num_samples = num_samples
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.trained = time.perf_counter() - self.start
        self.seen = min((batch + 1) * self.batch_size, self.num_samples)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = time.perf_counter() - self.start
        title, rate = _title(epoch, self.params["epochs"]), self.seen / self.trained
        print(f"{title}  {seconds:6.1f} s  {rate:7,.0f} images/s  {_figures(logs or {})}", flush=True)


@contextmanager
def report(what: str, *, shown: bool) -> Iterator[Logs]:
    """Time a piece of work, and print a line with the figures that it put into the dictionary."""
    start = time.perf_counter()
    logs: Logs = {}
    yield logs
    if shown:
        print(f"{what}  {time.perf_counter() - start:.1f} s  {_figures(logs)}".rstrip(), flush=True)


def check_verbose(verb: str, verbose: int | str) -> None:
    """Raise ValueError unless ``verbose`` is one of Keras's choices."""
    if not isinstance(verbose, (int, np.integer, str)) or verbose not in (0, 1, 2, "auto"):
        raise ValueError(f'{verb}: verbose must be 0, 1, 2 or "auto", got {verbose!r}.')


def shows_bar(verbose: int | str) -> bool:
    """Whether ``verbose`` asks for a bar and there is somebody to see it: a terminal or a notebook."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    is_terminal = getattr(sys.stdout, "isatty", lambda: False)  # some write into a log; a program of windows has None
    return verbose in (1, "auto") and (is_terminal() or in_notebook)


def _title(epoch: int, epochs: int) -> str:
    return f"Epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"


def _figures(logs: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_figure(name, value)}" for name, value in logs.items())


def _figure(name: str, value: Any) -> str:
    if not isinstance(value, numbers.Real):  # a callback may add what it likes
        return str(value)
    return f"{value:{'.3g' if name == 'learning_rate' else '.4f'}}"  # a rate may be far below 0.0001
