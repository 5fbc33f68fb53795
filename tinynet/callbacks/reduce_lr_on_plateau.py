"""A smaller learning rate whenever learning has come to a standstill."""

from __future__ import annotations

from tinynet.callbacks.callback import Logs
from tinynet.callbacks.monitor import Monitor
from tinynet.validation import check_flag, check_int, check_number


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by a factor when a figure has not improved for some epochs.

    It also adds the rate of each epoch to the logs, as "learning_rate".

    Args:
        monitor, mode, min_delta: see ``Monitor``.
        factor: the new rate divided by the old one, in [0, 1).
        patience: epochs without improvement after which the rate is reduced.
        verbose: 1 says so when it happens, 0 does not.
        cooldown: the epoch after a reduction from which on a lack of improvement counts again: 0 and 1 are the same.
        min_lr: the rate is not reduced below this.

    Raises:
        ValueError, TypeError: an argument is out of range; or, when training begins, ``mode`` is "auto" and the model
            has no such figure, or the learning rate follows a schedule.

    Example:
        >>> import numpy as np
        >>> from tinynet import Sequential, layers, optimizers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile(optimizers.SGD(0.8), "sparse_categorical_crossentropy")
        >>> reduce = ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=10)
        >>> model.fit(np.eye(2), [0, 1], epochs=5, verbose=0, callbacks=[reduce]).history["learning_rate"]
        [0.8, 0.8, 0.8, 0.4, 0.4]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.factor = check_number("ReduceLROnPlateau", "factor", factor, low=0, high=1)
        if self.factor == 1:
            raise ValueError("ReduceLROnPlateau: factor must be below 1, got 1: it would reduce nothing.")
        self.patience = check_int("ReduceLROnPlateau", "patience", patience, minimum=0)
        self.verbose = check_flag("ReduceLROnPlateau", "verbose", verbose)
        self.cooldown = check_int("ReduceLROnPlateau", "cooldown", cooldown, minimum=0)
        self.min_lr = check_number("ReduceLROnPlateau", "min_lr", min_lr, low=0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        _, optimizer = self.model.loss_and_optimizer()
        optimizer.refuse_schedule(type(self).__name__)
        self.best: float | None = None
        self.wait = 0
        self.cooldown_left = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        _, optimizer = self.model.loss_and_optimizer()
        if logs is not None:
            logs["learning_rate"] = optimizer.learning_rate
        value = self.watched(logs)
        if value is None:
            return
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_left == 0:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
                self.cooldown_left, self.wait = self.cooldown, 0
                if self.verbose:
                    rate = optimizer.learning_rate
                    print(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate:g}.")
