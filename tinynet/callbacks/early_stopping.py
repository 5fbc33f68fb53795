"""Early stopping: end training when it no longer helps with what the network has not seen."""

from __future__ import annotations

from typing import Any

from tinynet.callbacks.callback import Logs
from tinynet.callbacks.monitor import Monitor
from tinynet.validation import check_flag, check_int, check_number


class EarlyStopping(Monitor):
    """Stops training when a figure has not improved for some epochs.

    Source: L. Prechelt, "Early Stopping - But When?", 1998 (its third class of criteria).

    Args:
        monitor, mode, min_delta: see ``Monitor``.
        patience: epochs without improvement after which training stops.
        verbose: 1 says so when it happens, 0 does not.
        baseline: until a value beats this one, improvements do not begin the count of ``patience`` anew.
        restore_best_weights: whether the model ends with the weights of its best epoch, instead of the last one.
        start_from_epoch: epochs to let pass before watching.

    Attributes:
        best, best_epoch: the best value so far, and its epoch (from 0).
        stopped_epoch: the epoch after which training stopped; 0 if it did not.

    Raises:
        ValueError, TypeError: an argument is out of range; or, when training begins, ``mode`` is "auto" and the model
            has no such figure. (A figure that the model has but this training lacks, such as "val_loss" without
            validation data, is a warning.)

    Example:
        >>> import numpy as np
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> stop = EarlyStopping(monitor="loss", min_delta=0.1, patience=2)
        >>> len(model.fit(np.eye(2), [0, 1], epochs=100, verbose=0, callbacks=[stop]).epoch)
        3
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = check_int("EarlyStopping", "patience", patience, minimum=0)
        self.verbose = check_flag("EarlyStopping", "verbose", verbose)
        if baseline is not None:
            baseline = check_number("EarlyStopping", "baseline", baseline, low=float("-inf"))
        self.baseline = baseline
        self.restore_best_weights = check_flag("EarlyStopping", "restore_best_weights", restore_best_weights)
        self.start_from_epoch = check_int("EarlyStopping", "start_from_epoch", start_from_epoch, minimum=0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.wait = 0
        self.stopped_epoch = 0
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.watched(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)
