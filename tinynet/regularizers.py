"""Regularizers: a price on large weights, so that the network does not learn its samples by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.validation import check_choice, check_number, refuse_keras_name, reject_arguments

Array = npt.NDArray[Any]


class Regularizer:
    """Base class: a function of one array of weights that is added to the loss, and its gradient.

    Example:
        >>> class Quartic(Regularizer):
        ...     def __call__(self, W):
        ...         return float((W**4).sum())
        ...     def gradient(self, W):
        ...         return 4 * W**3
        >>> Quartic()(np.array([1.0, 2.0]))
        17.0
    """

    def __call__(self, W: Array) -> float:
        """What is added to the loss of a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(W).")

    def gradient(self, W: Array) -> Array:
        """What is added to the gradient of the loss, in the shape and dtype of ``W``."""
        raise NotImplementedError(f"{type(self).__name__} does not define gradient(W).")


class L2(Regularizer):
    """Sum of the squared weights: its gradient pulls every weight towards zero, large ones more.

        added to the loss    l2 * (W**2).sum()
        added to dW          2 * l2 * W

    With plain SGD this does to W what a weight decay of ``2 * l2`` does; with momentum or Adam it does not.

    Source: A. Krogh, J. Hertz, "A Simple Weight Decay Can Improve Generalization", 1992.

    Args:
        l2: the factor, at least 0.

    Raises:
        ValueError, TypeError: the factor is negative or no number, or an argument is not known.

    Example:
        >>> regularizer = L2(0.5)
        >>> regularizer(np.array([[1.0, -2.0]]))
        2.5
        >>> regularizer.gradient(np.array([[1.0, -2.0]]))
        array([[ 1., -2.]])
    """

    def __init__(self, l2: float = 0.01, **unsupported: Any):
        reject_arguments("L2", unsupported)
        self.l2 = check_number("L2", "l2", l2, low=0)

    def __call__(self, W: Array) -> float:
        return self.l2 * float(np.square(W).sum(dtype=np.float64))

    def gradient(self, W: Array) -> Array:
        return 2 * self.l2 * W


l2 = L2


def penalty_of(regularizer: Regularizer, W: Array) -> float:
    """What a regularizer adds to the loss.

    Raises:
        ValueError: it gives something other than one number.
    """
    penalty = np.asarray(regularizer(W))
    if penalty.ndim or penalty.dtype.kind not in "biuf":
        what = f"an array of shape {penalty.shape}" if penalty.ndim else repr(penalty.item())
        raise ValueError(f"{type(regularizer).__name__}: __call__ must return one number, such as a sum; got {what}.")
    return float(penalty)


REGULARIZERS: dict[str, type[L2]] = {"l2": L2, "L2": L2}


def get_regularizer(
    owner: str, argument: str, value: str | Regularizer | type[Regularizer] | None
) -> Regularizer | None:
    """The regularizer for a name, a class or an instance; None for None.

    Raises:
        ValueError: the name is not known; it lists those that are.
        TypeError: the value is none of these.
    """
    if value is None or isinstance(value, Regularizer):
        return value
    if isinstance(value, type) and issubclass(value, Regularizer):
        return value()
    if not isinstance(value, str):
        raise TypeError(f'{owner}: {argument} must be "l2", an L2(...) of tinynet.regularizers or None, got {value!r}.')
    check_choice(owner, argument, value, REGULARIZERS)
    return REGULARIZERS[value]()


__all__ = ["L2", "Regularizer", "l2"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
