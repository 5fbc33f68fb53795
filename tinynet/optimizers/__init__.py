"""Optimizers: how gradients become new weights; ``schedules`` has learning rates that change on the way."""

from __future__ import annotations

from typing import Any

from tinynet.optimizers import schedules
from tinynet.optimizers.adam import Adam
from tinynet.optimizers.optimizer import Optimizer, elementwise
from tinynet.optimizers.sgd import SGD
from tinynet.validation import check_choice, refuse_keras_name

__all__ = ["SGD", "Adam", "Optimizer", "elementwise", "schedules"]

OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}


def get_optimizer(optimizer: str | Optimizer | type[Optimizer]) -> Optimizer:
    """The optimizer for a name, a class or an instance.

    Raises:
        ValueError: the name is not known; it lists those that are.
        TypeError: the value is none of these, or a class of one's own that needs arguments.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer) and optimizer is not Optimizer:
        return optimizer()  # type: ignore[call-arg]
    if isinstance(optimizer, str):
        check_choice("compile", "optimizer", optimizer.lower(), OPTIMIZERS)
        return OPTIMIZERS[optimizer.lower()]()
    raise TypeError(
        f"compile: optimizer must be one of {', '.join(map(repr, OPTIMIZERS))} or an Optimizer of tinynet.optimizers, "
        f"such as SGD(...), got {optimizer!r}."
    )


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints={"legacy": "SGD(lr=...) works as it is."})
