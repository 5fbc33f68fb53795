"""A learning rate for each epoch, by a function of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tinynet.callbacks.callback import Callback, Logs
from tinynet.validation import check_flag


class LearningRateScheduler(Callback):
    """Sets the optimizer's learning rate when an epoch begins, and adds it to the logs, as "learning_rate".

    Args:
        schedule: a function of the epoch (from 0) and the rate so far, or of the epoch alone, that returns the rate.
        verbose: 1 prints the rate of each epoch, 0 does not.

    Raises:
        TypeError: ``schedule`` is not such a function, or does not return a number; or the optimizer's learning rate
            follows a schedule of its own.
        ValueError: the rate that it returns is negative, infinite or NaN.

    Example:
        >>> import numpy as np
        >>> from tinynet import Sequential, layers, optimizers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile(optimizers.SGD(0.8), "sparse_categorical_crossentropy")
        >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
        >>> model.fit(np.eye(2), [0, 1], epochs=3, verbose=0, callbacks=[halve]).history["learning_rate"]
        [0.8, 0.4, 0.2]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule must be a function of the epoch, got {schedule!r}.")
        self.schedule = schedule
        self.verbose = check_flag("LearningRateScheduler", "verbose", verbose)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        _, optimizer = self.model.loss_and_optimizer()
        optimizer.refuse_schedule(type(self).__name__)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        _, optimizer = self.model.loss_and_optimizer()
        arguments = (epoch, optimizer.learning_rate)
        try:
            inspect.signature(self.schedule).bind(*arguments)
        except (TypeError, ValueError):  # ValueError: a method of Python's own, such as that of a list
            arguments = arguments[:1]  # type: ignore[assignment]
        optimizer.learning_rate = self.schedule(*arguments)
        if self.verbose:
            print(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {optimizer.learning_rate:g}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            _, optimizer = self.model.loss_and_optimizer()
            logs["learning_rate"] = optimizer.learning_rate
