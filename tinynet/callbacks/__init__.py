"""Callbacks: what else happens while a model trains. Write your own by overriding some of ``Callback``'s methods."""

from __future__ import annotations

from typing import Any

from tinynet.callbacks.callback import Callback, History
from tinynet.callbacks.early_stopping import EarlyStopping
from tinynet.callbacks.lambda_callback import LambdaCallback
from tinynet.callbacks.learning_rate_scheduler import LearningRateScheduler
from tinynet.callbacks.model_checkpoint import ModelCheckpoint
from tinynet.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from tinynet.validation import refuse_keras_name

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
]


def __getattr__(name: str) -> Any:
    refuse_keras_name(
        __name__,
        name,
        __all__,
        hints={
            "CSVLogger": "What fit returns has the figures of each epoch: history.history.",
            "TerminateOnNaN": "fit stops by itself with a DivergenceError.",
            "ProgbarLogger": "fit(verbose=1) shows a bar.",
            "BackupAndRestore": "A ModelCheckpoint's file goes on with load_model and initial_epoch=model.epoch.",
        },
    )
