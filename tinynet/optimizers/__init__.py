"""Optimizers: how gradients become new weights; ``schedules`` has learning rates that change on the way."""

from __future__ import annotations

from typing import Any

from tinynet.optimizers import schedules
from tinynet.optimizers.sgd import SGD
from tinynet.validation import check_choice, refuse_keras_name

__all__ = ["SGD", "schedules"]


def get_optimizer(optimizer: str | SGD | type[SGD]) -> SGD:
    """The optimizer for a name, a class or an instance.

    Raises:
        ValueError: the name is not known; it lists those that are.
        TypeError: the value is none of these.
    """
    if isinstance(optimizer, SGD):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, SGD):
        return optimizer()
    if isinstance(optimizer, str):
        check_choice("compile", "optimizer", optimizer.lower(), ["sgd"])
        return SGD()
    raise TypeError(f'compile: optimizer must be "sgd" or an SGD(...) of tinynet.optimizers, got {optimizer!r}.')


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints={"legacy": "SGD(lr=...) works as it is."})
