"""What ``fit`` shows while it works: a bar in a terminal or notebook, a line an epoch in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from tinynet.callbacks import Callback, Logs


class Progress(Callback):
    """One bar an epoch (images per second, time left, running figures), then one line with the epoch's figures.

    Args:
        num_samples: images in an epoch.
        batch_size: images a batch.
        bar: whether there is a bar; the lines come in any case.
    """

    def __init__(self, num_samples: int, batch_size: int, *, bar: bool):
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.bar = bar

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        epochs = self.params["epochs"]
        self.title = f"Epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"
        self.start = time.perf_counter()
        self.progress: Any = tqdm(
            desc=self.title,
            total=self.num_samples,
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=not self.bar,
            file=sys.stdout,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.progress.set_postfix_str(_figures(logs or {}), refresh=False)
        self.progress.update(min(self.batch_size, self.num_samples - batch * self.batch_size))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.progress.close()
        seconds = time.perf_counter() - self.start
        rate = self.num_samples / seconds
        print(f"{self.title}  {seconds:6.1f} s  {rate:7,.0f} images/s  {_figures(logs or {})}", flush=True)


@contextmanager
def report(what: str, *, shown: bool) -> Iterator[dict[str, float]]:
    """Time a piece of work, and print a line with the figures that it put into the dictionary."""
    start = time.perf_counter()
    logs: dict[str, float] = {}
    yield logs
    if shown:
        print(f"{what}  {time.perf_counter() - start:.1f} s  {_figures(logs)}".rstrip(), flush=True)


def check_verbose(verb: str, verbose: int | str) -> None:
    """Raise ValueError unless ``verbose`` is one of Keras's choices."""
    if verbose not in (0, 1, 2, "auto"):
        raise ValueError(f'{verb}: verbose must be 0, 1, 2 or "auto", got {verbose!r}.')


def shows_bar(verbose: int | str) -> bool:
    """Whether ``verbose`` asks for a bar and there is somebody to see it: a terminal or a notebook."""
    in_notebook = "ipykernel" in sys.modules
    return verbose in (1, "auto") and (sys.stdout.isatty() or in_notebook)


def _figures(logs: Logs) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
