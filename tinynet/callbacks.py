"""Callbacks: what else happens while a model trains. Write your own by overriding some of ``Callback``'s methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinynet.validation import refuse_keras_name

if TYPE_CHECKING:
    from tinynet.models import Sequential

Logs = Mapping[str, float]


class Callback:
    """Base class; every method may be overridden, and does nothing by itself.

    In order, ``fit`` calls: on_train_begin; for each epoch on_epoch_begin(epoch), for each batch
    on_train_batch_begin(batch) and on_train_batch_end(batch, logs), then on_epoch_end(epoch, logs); on_train_end.
    Epochs and batches count from 0. ``logs`` holds the means of the epoch so far ("loss", "accuracy"), and at its end
    those of the validation data too ("val_loss", "val_accuracy").

    Attributes:
        model: the model that trains; setting ``model.stop_training = True`` ends training after the batch.
        params: {"epochs": ..., "steps": batches an epoch, "verbose": ...}.
    """

    model: Sequential
    params: dict[str, Any]

    def set_model(self, model: Sequential) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None: ...

    def on_train_end(self, logs: Logs | None = None) -> None: ...

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


class History(Callback):
    """What ``fit`` returns: the figures of each epoch.

    Attributes:
        epoch: the numbers of the epochs, from 0.
        history: lists by name, one entry an epoch: "loss", "accuracy", "val_loss", "val_accuracy".
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class CallbackList(Callback):
    """Several callbacks as one, called in order."""

    def __init__(self, callbacks: Iterable[Callback], model: Sequential, params: dict[str, Any]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


def check_callbacks(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """The callbacks given to ``fit`` as a list; TypeError for what is none."""
    if callbacks is None:
        return []
    given = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    for callback in given:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks must be instances of tinynet.callbacks.Callback, got {callback!r}.")
    return given


__all__ = ["Callback", "History"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
