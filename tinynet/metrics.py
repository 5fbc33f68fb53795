"""Metrics: what people look at while a network learns. They are measured, never differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.validation import check_choice, describe, refuse_keras_name

Array = npt.NDArray[Any]


class Accuracy:
    """The share of samples whose largest output is at the true class.

    It is what Keras means by "accuracy". Keras's class of this name compares labels with outputs number by number.

    Args:
        name: the name it goes by in ``History.history`` and in reports.

    Example:
        >>> import numpy as np
        >>> Accuracy().per_sample(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
        array([ True, False])
    """

    def __init__(self, name: str = "accuracy"):
        self.name = name

    def per_sample(self, classes: Array, logits: Array) -> Array:
        """Whether each sample is right: (n,) bool, from ``classes`` (n,) and ``logits`` (n, k).

        Logits are what the network's outputs are before a final softmax, which does not change their order. (Some that
        differ by less than rounding it makes equal.)
        """
        right: Array = logits.argmax(axis=1) == classes
        return right


class CategoricalAccuracy(Accuracy):
    """Keras's name of the accuracy for one-hot labels; tinynet's works for both kinds.

    Example:
        >>> CategoricalAccuracy().name
        'categorical_accuracy'
    """

    def __init__(self, name: str = "categorical_accuracy"):
        super().__init__(name)


class SparseCategoricalAccuracy(Accuracy):
    """Keras's name of the accuracy for integer labels; tinynet's works for both kinds.

    Example:
        >>> SparseCategoricalAccuracy().name
        'sparse_categorical_accuracy'
    """

    def __init__(self, name: str = "sparse_categorical_accuracy"):
        super().__init__(name)


def values_of(metric: Accuracy, classes: Array, logits: Array) -> Array:
    """What ``metric.per_sample`` returns.

    Raises:
        ValueError: a metric of the user's own returns no number for each sample.
    """
    values = np.asarray(metric.per_sample(classes, logits))
    if values.shape != classes.shape or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{metric.name}: per_sample must return a number for each of the {len(classes)} samples, "
            f"got {describe(values)}."
        )
    return values


# As in Keras, a metric has the name that it was asked for by.
_NAMES = (
    *("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy"),
    *(kind.__name__ for kind in (Accuracy, CategoricalAccuracy, SparseCategoricalAccuracy)),
)


def get_metrics(metrics: Sequence[str | Accuracy | type[Accuracy]] | None) -> list[Accuracy]:
    """The metrics for a list of names, classes or instances.

    Raises:
        TypeError: ``metrics`` is not a list of these.
        ValueError: a name is not known, or comes twice.
    """
    if metrics is None:
        return []
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(f'compile: metrics must be a list such as ["accuracy"], got {metrics!r}.')
    found = []
    for metric in metrics:
        if isinstance(metric, Accuracy):
            found.append(metric)
        elif isinstance(metric, type) and issubclass(metric, Accuracy):
            found.append(metric())
        elif isinstance(metric, str):
            check_choice("compile", "metrics", metric, _NAMES)
            found.append(Accuracy(metric))
        else:
            raise TypeError(f"compile: a metric must be one of {', '.join(_NAMES)}, got {metric!r}.")
    names = [metric.name for metric in found]
    if len(set(names)) < len(names) or "loss" in names:
        raise ValueError(f"compile: metrics {names} have a name twice, or one that is the loss's.")
    return found


__all__ = ["Accuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
