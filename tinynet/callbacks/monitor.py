"""What EarlyStopping, ModelCheckpoint and ReduceLROnPlateau share: a figure to watch, and which value is better."""

from __future__ import annotations

import warnings

from tinynet.callbacks.callback import Callback, Logs
from tinynet.validation import check_choice, check_number


class Monitor(Callback):
    """Base of the callbacks that watch a figure from the logs.

    Args:
        monitor: its name, such as "val_loss" or "accuracy".
        mode: "min" if smaller is better, "max" if larger is, or "auto": "min" for a loss and "max" for a metric.
        min_delta: an improvement is a change by more than this.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        owner = type(self).__name__
        check_choice(owner, "mode", mode, ("auto", "min", "max"))
        if not isinstance(monitor, str):
            raise TypeError(f'{owner}: monitor must be a name such as "val_loss", got {monitor!r}.')
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(check_number(owner, "min_delta", min_delta, low=float("-inf")))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        name = self.monitor.removeprefix("val_")
        if self.mode == "auto" and name not in self.model.metrics_names:
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r} is not known, so neither is whether more or less of "
                f'it is better; the model has {self.model.metrics_names} (and "val_..."). If a callback adds it, say '
                'mode="min" or "max".'
            )
        self.larger_is_better = name != "loss" if self.mode == "auto" else self.mode == "max"

    def better(self, value: float, reference: float | None) -> bool:
        """Whether ``value`` improves on ``reference`` by more than ``min_delta``; anything does on None."""
        if reference is None:
            return True
        if self.larger_is_better:
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def watched(self, logs: Logs | None) -> float | None:
        """The figure's value; where there is none a warning, and None."""
        value: float | None = (logs or {}).get(self.monitor)
        if value is None:
            hint = " Give fit validation data." if self.monitor.startswith("val_") else ""
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} to watch, only {', '.join(logs or {})}.{hint}",
                stacklevel=2,
            )
        return value
