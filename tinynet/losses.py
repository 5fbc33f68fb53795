"""Softmax cross-entropy: how surprised the network is by the right answers, and the gradient of that.

For one sample with logits z (classes,), probabilities p = softmax(z) and the number t of the true class, the loss is
``-log p[t]``. With m = max(z):

    loss   = log(sum(exp(z - m))) - (z[t] - m)
    dloss  = p - one_hot(t)                       (with respect to z)

Softmax and logarithm are taken together, so that no probability is rounded to zero before its logarithm is taken;
and the gradient, which is a long formula for each of the two alone, becomes ``p - one_hot(t)``.

Source: I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, section 6.2.2.3; C. Bishop, "Pattern
Recognition and Machine Learning", 2006, section 4.3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.validation import FLOATS, check_choice, check_flag, describe, refuse_keras_name, reject_arguments

Array = npt.NDArray[Any]

_SMALLEST = 1e-7  # Keras's epsilon: probabilities given from outside are kept this far from 0 and 1


def softmax_cross_entropy(logits: Array, classes: Array) -> tuple[Array, Array]:
    """The loss of each sample, and its gradient with respect to that sample's logits.

    logits   (n, k)
    classes  (n,) integers in 0..k-1
    losses   (n,)        dlogits  (n, k): p - one_hot(classes)

    It is computed by a kernel; ``reference.softmax_cross_entropy`` is the same in NumPy.

    Raises:
        ValueError: the shapes do not fit, or a class is out of range.

    Example:
        >>> losses, dlogits = softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
        >>> losses.round(4), dlogits
        (array([0.6931]), array([[ 0.5, -0.5]]))
    """
    logits, classes = np.asarray(logits), np.asarray(classes)
    if logits.ndim != 2 or not logits.shape[1] or logits.dtype.kind not in "fiub":
        raise ValueError(
            f"softmax_cross_entropy takes logits of shape (n, k), real numbers, got shape {logits.shape} and dtype "
            f"{logits.dtype}."
        )
    n, k = logits.shape
    if classes.shape != (n,) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"softmax_cross_entropy takes one integer for each of the {n} rows of logits, got classes of shape "
            f"{classes.shape} and dtype {classes.dtype}."
        )
    numbers = np.ascontiguousarray(classes, np.intp)
    if n and numbers.view(np.uintp).max() >= k:  # without its sign a negative number is a large one
        raise ValueError(
            f"softmax_cross_entropy takes classes in 0..{k - 1}, one for each column of logits, got values from "
            f"{classes.min()} to {classes.max()}."
        )
    dtype = logits.dtype
    if dtype not in FLOATS:
        dtype = FLOATS[0] if np.result_type(logits, np.float32) == np.float32 else FLOATS[1]
    losses, dlogits = np.empty(n, dtype), np.empty((n, k), dtype)
    kernels.softmax_cross_entropy(np.ascontiguousarray(logits, dtype), numbers, losses, dlogits)
    return losses, dlogits


class Loss:
    """Cross-entropy between the true classes and a softmax; the subclasses differ in how labels are written.

    Args:
        from_logits: whether the network's outputs are logits. If not, they are the probabilities of a final softmax.

    Example:
        >>> SparseCategoricalCrossentropy(from_logits=True).name
        'sparse_categorical_crossentropy'
    """

    def __init__(self, from_logits: bool = False, **unsupported: Any):
        name = unsupported.pop("name", None)
        reject_arguments(
            type(self).__name__,
            unsupported,
            only={
                "label_smoothing": (0, 0.0),
                "axis": (-1,),
                "reduction": ("sum_over_batch_size",),
                "ignore_class": (None,),
                "dtype": (None, "float32"),
            },
        )
        self.name = name or self.default_name
        self.from_logits = check_flag(type(self).__name__, "from_logits", from_logits)

    default_name = "loss"

    def check_labels(self, y: npt.ArrayLike, num_classes: int) -> Array:
        """The labels as integers (n,) in 0..num_classes-1; ValueError says what is wrong with others."""
        raise NotImplementedError(f"{type(self).__name__} does not define check_labels(y, num_classes).")

    def value_and_gradient(self, logits: Array, classes: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and its gradient with respect to that sample's logits, (n, k)."""
        return softmax_cross_entropy(logits, classes)

    def is_cross_entropy(self) -> bool:
        """Whether ``value_and_gradient`` is that of this class, and not one of a derived class or set from outside."""
        return getattr(self.value_and_gradient, "__func__", None) is Loss.value_and_gradient

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """The mean loss of predictions ``y_pred`` (n, k): logits if ``from_logits``, else probabilities."""
        return float(self.per_sample(y_true, y_pred).mean())

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
        """The loss of each sample, (n,). Probabilities are scaled to sum to one and kept 1e-7 away from 0 and 1."""
        outputs = np.asarray(y_pred)
        if outputs.ndim != 2 or outputs.dtype.kind != "f":
            raise ValueError(
                f"{type(self).__name__}: y_pred must be an array of floats (n, classes), "
                f"got shape {outputs.shape} and dtype {outputs.dtype}."
            )
        classes = self.check_labels(y_true, outputs.shape[1])
        if len(classes) != len(outputs):
            raise ValueError(f"{type(self).__name__}: {len(classes)} labels for {len(outputs)} predictions.")
        if self.from_logits:
            return losses_and_gradient(self, outputs, classes)[0]
        p = np.clip(outputs / outputs.sum(axis=1, keepdims=True), _SMALLEST, 1 - _SMALLEST)
        if not self.is_cross_entropy():  # but something else, of logits whose softmax is p
            return losses_and_gradient(self, np.log(p), classes)[0]
        losses: Array = -np.log(p[np.arange(len(p)), classes])
        return losses


def losses_and_gradient(loss: Loss, logits: Array, classes: Array) -> tuple[Array, Array]:
    """What ``loss.value_and_gradient`` returns.

    Raises:
        TypeError, ValueError: a loss of the user's own returns something else.
    """
    returned, owner = loss.value_and_gradient(logits, classes), f"{type(loss).__name__}.value_and_gradient"
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(f"{owner} must return two arrays, the losses and the gradient, got {describe(returned)}.")
    losses, dlogits = returned
    for what, array, shape in ("loss of each sample", losses, classes.shape), ("gradient", dlogits, logits.shape):
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
            raise ValueError(f"{owner} must return the {what} as floats of shape {shape}, got {describe(array)}.")
    return losses, dlogits


class CategoricalCrossentropy(Loss):
    """Cross-entropy for one-hot labels: each row of y is 1 at the true class and 0 elsewhere.

    Example:
        >>> loss = CategoricalCrossentropy()
        >>> round(loss([[0, 1], [1, 0]], [[0.5, 0.5], [0.25, 0.75]]), 4)
        1.0397
    """

    default_name = "categorical_crossentropy"

    def check_labels(self, y: npt.ArrayLike, num_classes: int) -> Array:
        labels = np.asarray(y)
        if labels.ndim == 1:
            raise ValueError(
                f"categorical_crossentropy takes one-hot labels of shape (n, {num_classes}), got shape {labels.shape}; "
                'use loss="sparse_categorical_crossentropy" for integer labels, or to_categorical(y).'
            )
        if labels.ndim != 2 or labels.shape[1] != num_classes:
            hint = ""
            if labels.ndim == 2 and labels.shape[1] == 1:
                hint = (
                    " (scikit-learn's LabelBinarizer makes a single column of two classes, and integer labels need "
                    'loss="sparse_categorical_crossentropy"; to_categorical(y, num_classes) makes one column a class)'
                )
            raise ValueError(
                f"categorical_crossentropy takes labels of shape (n, {num_classes}), one column for each output of "
                f"the network, got shape {labels.shape}{hint}."
            )
        if labels.dtype.kind not in "biuf":
            raise ValueError(f"categorical_crossentropy takes labels of zeros and ones, got dtype {labels.dtype}.")
        ones = labels == 1
        good = (ones | (labels == 0)).all(axis=1) & (ones.sum(axis=1) == 1)
        if not good.all():
            row = int(np.argmin(good))
            hint = (
                " A row of zeros is what scikit-learn's LabelBinarizer makes of a label that it did not see in fit."
                if not labels[row].any()
                else ""
            )
            raise ValueError(
                f"categorical_crossentropy takes one-hot labels, with a single 1 in each row; row {row} is "
                f"{np.array2string(labels[row], threshold=20)}.{hint}"
            )
        classes: Array = np.argmax(ones, axis=1)
        return classes


class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy for integer labels: y is the number of the true class, from 0.

    Example:
        >>> loss = SparseCategoricalCrossentropy()
        >>> round(loss([1, 0], [[0.5, 0.5], [0.25, 0.75]]), 4)
        1.0397
    """

    default_name = "sparse_categorical_crossentropy"

    def check_labels(self, y: npt.ArrayLike, num_classes: int) -> Array:
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise ValueError(
                f"sparse_categorical_crossentropy takes integer labels of shape (n,), got shape {labels.shape}; "
                'use loss="categorical_crossentropy" for one-hot labels.'
            )
        whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and np.array_equal(labels, np.floor(labels)))
        if not whole:
            what = labels[labels != np.floor(labels)][0] if labels.dtype.kind == "f" else f"dtype {labels.dtype}"
            raise ValueError(f"sparse_categorical_crossentropy takes integer labels, got {what}.")
        if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
            raise ValueError(
                f"sparse_categorical_crossentropy: the network has {num_classes} outputs, so labels must be in "
                f"0..{num_classes - 1}, got values from {labels.min()} to {labels.max()}."
            )
        return labels.astype(np.intp)


def categorical_crossentropy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, from_logits: bool = False) -> Array:
    """The loss of each sample, (n,), for one-hot labels; see ``CategoricalCrossentropy``.

    Example:
        >>> categorical_crossentropy([[0, 1], [1, 0]], np.array([[0.5, 0.5], [0.25, 0.75]])).round(4)
        array([0.6931, 1.3863])
    """
    return CategoricalCrossentropy(from_logits).per_sample(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, from_logits: bool = False) -> Array:
    """The loss of each sample, (n,), for integer labels; see ``SparseCategoricalCrossentropy``.

    Example:
        >>> sparse_categorical_crossentropy([1, 0], np.array([[0.5, 0.5], [0.25, 0.75]])).round(4)
        array([0.6931, 1.3863])
    """
    return SparseCategoricalCrossentropy(from_logits).per_sample(y_true, y_pred)


LOSSES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "CategoricalCrossentropy": CategoricalCrossentropy,
    "SparseCategoricalCrossentropy": SparseCategoricalCrossentropy,
}
_BY_FUNCTION: dict[Callable[..., Any], type[Loss]] = {
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}


_TWO_CLASSES = (
    'Two classes are a Dense(2, activation="softmax") at the end, with labels 0 and 1 for '
    '"sparse_categorical_crossentropy".'
)
_NO_NUMBERS = "tinynet learns to tell classes apart, not to predict numbers."
_HINTS = {
    "binary_crossentropy": _TWO_CLASSES,
    "BinaryCrossentropy": _TWO_CLASSES,
    "mse": _NO_NUMBERS,
    "mae": _NO_NUMBERS,
    "mean_squared_error": _NO_NUMBERS,
    "mean_absolute_error": _NO_NUMBERS,
    "MeanSquaredError": _NO_NUMBERS,
    "MeanAbsoluteError": _NO_NUMBERS,
}


def get_loss(loss: str | Loss | type[Loss] | Callable[..., Any]) -> Loss:
    """The loss for a name, a class, an instance, or one of the two functions of this module.

    Raises:
        ValueError: the name is not known; it lists those that are.
        TypeError: the value is none of these.
    """
    if isinstance(loss, Loss) and type(loss) is not Loss:
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss) and loss is not Loss:
        return loss()
    if isinstance(loss, str):
        check_choice("compile", "loss", loss, LOSSES, hints=_HINTS)
        return LOSSES[loss]()
    if callable(loss) and loss in _BY_FUNCTION:
        return _BY_FUNCTION[loss]()
    raise TypeError(f"compile: loss must be one of {', '.join(LOSSES)} or a Loss of tinynet.losses, got {loss!r}.")


__all__ = [
    "CategoricalCrossentropy",
    "Loss",
    "SparseCategoricalCrossentropy",
    "categorical_crossentropy",
    "softmax_cross_entropy",
    "sparse_categorical_crossentropy",
]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints=_HINTS)
