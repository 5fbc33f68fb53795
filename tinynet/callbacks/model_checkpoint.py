"""Checkpoints: the model in a file at the end of each epoch, or of each that was better than those before."""

from __future__ import annotations

import os

from tinynet.callbacks.callback import Logs
from tinynet.callbacks.monitor import Monitor
from tinynet.validation import check_flag, check_number


class ModelCheckpoint(Monitor):
    """Saves the model at the end of each epoch. Training that was stopped goes on from such a file:

        model = tinynet.models.load_model("last.safetensors")
        model.fit(x, y, epochs=10, initial_epoch=model.epoch, callbacks=[ModelCheckpoint("last.safetensors")])

    and ends with the weights of training that was not stopped, bit for bit. (What callbacks remember is not in the
    file: EarlyStopping counts afresh, and ``initial_value_threshold`` says what a ModelCheckpoint has to beat.) After
    an epoch that a callback has ended before its last batch nothing is saved: from there, training cannot go on so.

    Args:
        filepath: of any name; the format is that of ``model.save``. It may hold the number of the epoch (from 1) and
            figures of the logs: "{epoch:02d}-{val_loss:.2f}.safetensors". Folders are made as needed.
        monitor, mode: see ``Monitor``.
        verbose: 1 says what is saved and why, 0 does not.
        save_best_only: whether to save only after epochs that are better than all before; where there is no such
            figure, there is a warning, and every epoch is saved.
        save_weights_only: whether to save with ``model.save_weights``, instead of ``model.save``. Training cannot go
            on exactly from such a file.
        save_freq: "epoch"; numbers of batches are refused, because training does not go on exactly from the middle of
            an epoch.
        initial_value_threshold: the value that the first save has to beat, with ``save_best_only``.

    Attributes:
        best: the best value so far, or None.

    Raises:
        ValueError, TypeError: an argument is out of range; or, when training begins, ``mode`` is "auto" and the model
            has no such figure; or, when an epoch ends, ``filepath`` asks for a figure that there is not.
        OSError: the file cannot be written.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = ModelCheckpoint(os.path.join(folder, "{epoch:02d}.safetensors"))
        ...     history = model.fit(np.eye(2), [0, 1], epochs=2, verbose=0, callbacks=[checkpoint])
        ...     sorted(os.listdir(folder))
        ['01.safetensors', '02.safetensors']
    """

    batches = 0  # of this epoch, done

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        self.filepath = os.fsdecode(filepath)
        self.verbose = check_flag("ModelCheckpoint", "verbose", verbose)
        self.save_best_only = check_flag("ModelCheckpoint", "save_best_only", save_best_only)
        self.save_weights_only = check_flag("ModelCheckpoint", "save_weights_only", save_weights_only)
        if save_freq != "epoch":
            raise ValueError(
                f'ModelCheckpoint: save_freq={save_freq!r} is not supported by tinynet, only "epoch": training goes on '
                "exactly from the end of an epoch, not from its middle. More and smaller epochs do the same."
            )
        if initial_value_threshold is not None:
            initial_value_threshold = check_number(
                "ModelCheckpoint", "initial_value_threshold", initial_value_threshold, low=float("-inf")
            )
        self.best: float | None = initial_value_threshold

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.save_best_only:
            super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.batches = 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.batches = batch + 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.model.stop_training and self.batches < self.params.get("steps", 0):
            self.say(f"Epoch {epoch + 1}: not saved, because it was ended after {self.batches} batches")
            return
        path = self.path(epoch, logs or {})
        reason = ""
        if self.save_best_only:
            value = self.watched(logs)
            if value is not None:
                best = "None" if self.best is None else f"{self.best:.5f}"
                if not self.better(value, self.best):
                    self.say(f"Epoch {epoch + 1}: {self.monitor} did not improve from {best}")
                    return
                reason = f"{self.monitor} improved from {best} to {value:.5f}, "
                self.best = value
        self.say(f"Epoch {epoch + 1}: {reason}saving model to {path}")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def path(self, epoch: int, logs: Logs) -> str:
        """The file's name for this epoch, with the figures of its logs."""
        try:
            return self.filepath.format(epoch=epoch + 1, **logs)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath {self.filepath!r} does not fit ({error}); it may hold "
                f"{', '.join(f'{{{name}}}' for name in ['epoch', *logs])}."
            ) from None

    def say(self, text: str) -> None:
        if self.verbose:
            print(text)
