"""The base class of callbacks, History, and several callbacks as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinynet.models import Sequential

Logs = dict[str, Any]


class Callback:
    """Base class; every method may be overridden, and does nothing by itself.

    What is called, in order; epochs and batches count from 0:

        fit         on_train_begin()
                      each epoch      on_epoch_begin(epoch)
                        each batch      on_train_batch_begin(batch), on_train_batch_end(batch, logs)
                        validation      as in evaluate
                                      on_epoch_end(epoch, logs)
                    on_train_end(logs)
        evaluate    on_test_begin()
                      each batch      on_test_batch_begin(batch), on_test_batch_end(batch, logs)
                    on_test_end(logs)
        predict     on_predict_begin()
                      each batch      on_predict_batch_begin(batch), on_predict_batch_end(batch, logs)
                    on_predict_end()

    ``logs`` is a dictionary: the means of the epoch (or of the evaluation) so far, "loss" and "accuracy"; at the end of
    an epoch those of the validation data too, "val_loss" and "val_accuracy"; for predict, "outputs". Callbacks share
    it: what one adds at the end of an epoch, the later ones see, and ``History`` keeps. Callbacks are called in the
    order in which they were given, and ``History`` after them.

    Attributes:
        model: the model that trains; setting ``model.stop_training = True`` ends training after the batch, and
            ``stop_evaluating`` and ``stop_predicting`` end ``evaluate`` and ``predict``.
        params: {"epochs": ..., "steps": batches an epoch, "verbose": ...}; {} outside ``fit``.

    Example:
        >>> from tinynet import Sequential, layers
        >>> class Losses(Callback):
        ...     def on_train_begin(self, logs=None):
        ...         self.losses = []
        ...     def on_train_batch_end(self, batch, logs=None):
        ...         self.losses.append(logs["loss"])
        >>> model = Sequential([layers.Input((1,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> losses = Losses()
        >>> history = model.fit([[0.0], [1.0], [2.0]], [0, 1, 1], batch_size=1, verbose=0, callbacks=[losses])
        >>> len(losses.losses)
        3
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

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of ``on_train_batch_end``."""

    def on_test_begin(self, logs: Logs | None = None) -> None: ...

    def on_test_end(self, logs: Logs | None = None) -> None: ...

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_begin(self, logs: Logs | None = None) -> None: ...

    def on_predict_end(self, logs: Logs | None = None) -> None: ...

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


class History(Callback):
    """What ``fit`` returns: the figures of each epoch.

    Attributes:
        epoch: the numbers of the epochs, from 0.
        history: lists by name, one entry an epoch: "loss", "accuracy", "val_loss", "val_accuracy". One that a callback
            adds in some epochs only is shorter: see ``epochs_of``.
        interrupted: whether Ctrl-C was pressed in the last ``fit``.

    Example:
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((1,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> history = model.fit([[0.0], [1.0]], [0, 1], epochs=3, verbose=0)
        >>> history.epoch, list(history.history), len(history.history["loss"])
        ([0, 1, 2], ['loss'], 3)
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.interrupted = False
        self._epochs: dict[str, list[int]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """As in Keras, the figures of an earlier ``fit`` stay, before those of this one; its epochs do not."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._epochs.setdefault(name, []).append(epoch)

    def epochs_of(self, name: str) -> list[int]:
        """The numbers of the epochs, from 0, to which the figures of this name belong; [] where there are none."""
        return list(self._epochs.get(name, []))


class CallbackList:
    """Several callbacks as one: ``CallbackList(...).on_epoch_end(epoch, logs)`` calls that of each, in order."""

    def __init__(self, callbacks: Iterable[Callback], model: Sequential, params: dict[str, Any]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    def __getattr__(self, hook: str) -> Callable[..., None]:
        if not hook.startswith("on_"):
            raise AttributeError(f"CallbackList has no attribute {hook!r}.")
        if not self.callbacks:
            return _do_nothing

        def call_each(*arguments: Any) -> None:
            for callback in self.callbacks:
                getattr(callback, hook)(*arguments)

        return call_each


def _do_nothing(*arguments: Any) -> None:
    pass


def check_callbacks(verb: str, callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """The callbacks given to ``fit``, ``evaluate`` or ``predict`` as a list; TypeError for what is none."""
    if callbacks is None:
        return []
    given = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    for callback in given:
        if not isinstance(callback, Callback):
            raise TypeError(f"{verb}: callbacks must be instances of tinynet.callbacks.Callback, got {callback!r}.")
    return given
