"""Ctrl-C while a model trains: training ends at the next batch, and nothing of it is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from tinynet.callbacks.callback import Callback, Logs


class Interrupted(Exception):  # noqa: N818 - it is a request, not an error
    """Ctrl-C was pressed, and a batch has ended since."""


class InterruptWatch(Callback):
    """Within its ``with`` block, the first Ctrl-C raises Interrupted before the next batch, the second one at once.

    It listens only in the main thread, where Python delivers signals, and only where nobody else does.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.listening = False

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self.listening = True
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _check(self) -> None:
        if self.pressed:
            raise Interrupted

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.place = "before the first batch"

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._check()

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._check()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        epochs, steps = self.params["epochs"], self.params["steps"]
        self.place = f"in epoch {self.epoch + 1}/{epochs}, after batch {batch + 1}/{steps}"

    def report(self) -> str:
        """Where training stopped, and what remains."""
        done = len(self.model.history.epoch) if self.model.history else 0
        return (
            f"Interrupted {self.place}. The model keeps its weights, and model.history the figures of {done} whole "
            f"epoch{'s' * (done != 1)}."
        )
