"""What the verbs ask of training data: checked once, before any work, so that mistakes have a name."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def as_array(verb: str, name: str, value: npt.ArrayLike) -> Array:
    """``value`` as an array; ValueError where its rows have different lengths, TypeError where some of it is masked."""
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise TypeError(f"{verb}: {name} is a masked array; fill or remove what is masked, as with {name}.filled(0).")
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{verb}: {name} must be an array, but its entries have different shapes.") from None


# What takes one batch, and what to write for a verb's own arguments.
_ON_A_BATCH = {
    "fit": "train_on_batch(x, y)",
    "evaluate": "test_on_batch(x, y)",
    "predict": "predict_on_batch(x)",
    "fit, validation_data": "test_on_batch(x, y)",
}
_WRITTEN_OUT = {"fit, validation_data": "validation_data=(x, y)"}


def refuse_streams(verb: str, x: object) -> None:
    """Raise TypeError for what gives batches one by one: a generator, a tf.data.Dataset, PyTorch's DataLoader."""
    if isinstance(x, np.ndarray) or not isinstance(x, Iterable):
        return
    if not any(hasattr(x, name) for name in ("__getitem__", "__array__", "__array_interface__", "__array_struct__")):
        raise TypeError(
            f"{verb}: x must be an array, got a {type(x).__name__}; generators and other streams of batches are not "
            f"taken: call {_ON_A_BATCH.get(verb, f'{verb}(x, y)')} in a loop over them."
        )


def refuse_missing_labels(verb: str, y: object) -> None:
    """Raise TypeError where ``y`` is None."""
    if y is None:
        raise TypeError(
            f"{verb}: y, the labels, is missing: write {_WRITTEN_OUT.get(verb, f'{verb}(x, y)')}. Batches that come "
            f"with their labels are not taken: call {_ON_A_BATCH.get(verb, f'{verb}(x, y)')} in a loop over them."
        )


def check_data(verb: str, x: npt.ArrayLike, input_shape: tuple[int, ...] | None) -> Array:
    """``x`` as an array of numbers of shape (n, *input_shape), n > 0; any shape (n, ...) where None is asked for.

    Raises:
        TypeError: it holds something other than real numbers, or is a generator.
        ValueError: it is empty, or has another shape.
    """
    refuse_streams(verb, x)
    data = as_array(verb, "x", x)
    if data.dtype.kind not in "biuf":
        hint = " x.to_numpy('float32') converts what pandas keeps so." if hasattr(x, "to_numpy") else ""
        raise TypeError(f"{verb}: x must be an array of numbers, got dtype {data.dtype}.{hint}")
    if input_shape is None:
        if data.ndim < 2:
            raise ValueError(f"{verb}: x must be a batch of samples, got shape {data.shape}; one sample is x[None].")
    elif data.ndim == 0 or data.shape[1:] != input_shape:
        batch = ", ".join(["n", *map(str, input_shape)])
        hint = how_to_fit(data.shape, input_shape)
        raise ValueError(f"{verb}: the network takes x of shape ({batch}), got {data.shape}.{hint}")
    if not len(data):
        raise ValueError(f"{verb}: x is empty, its shape is {data.shape}.")
    return data


def how_to_fit(shape: tuple[int, ...], input_shape: tuple[int, ...]) -> str:
    """How an array of another shape becomes a batch for the network, as the end of a message; "" where nobody knows.

    An array may have the right number of numbers in the wrong order. Then ``reshape`` would give the right shape, and
    scrambled images: it is named only where it does no more than split axes or merge neighbours.
    """
    sizes = shape[1:] if len(shape) > 1 else shape
    if shape == input_shape:
        return " The batch axis is missing: x[None] is a batch of one."
    if input_shape == (1,) and len(shape) == 1:
        return " One number a sample: x[:, None] makes a column of them."
    if input_shape[1:] and input_shape[-1] == 1 and shape[1:] == input_shape[:-1]:
        return " The channel axis is missing: x[..., None] adds it."
    if input_shape[1:] and input_shape[-1] == 1 and shape == input_shape[:-1]:
        return " The batch and channel axes are missing: x[None, ..., None] is a batch of one."
    if len(input_shape) == 3 and sizes == (input_shape[-1], *input_shape[:-1]):
        return " The channels come first: numpy.moveaxis(x, 1, -1) puts them last."
    if sorted(sizes) == sorted(input_shape):
        axes: list[int] = []
        for size in input_shape:
            axes.append(next(i for i, found in enumerate(sizes, 1) if found == size and i not in axes))
        return f" The axes are in another order: x.transpose(0, {', '.join(map(str, axes))}) has that shape."
    ends, expected_ends = (set(itertools.accumulate(all_sizes, operator.mul)) for all_sizes in (sizes, input_shape))
    if math.prod(sizes) == math.prod(input_shape) and (ends <= expected_ends or expected_ends <= ends):
        return f" x.reshape((-1, {', '.join(map(str, input_shape))})) has that shape."
    return ""


def check_same_length(verb: str, x: Array, y: npt.ArrayLike) -> None:
    """Raise ValueError unless there is one label for each sample; TypeError where ``y`` is no array at all."""
    labels = as_array(verb, "y", y)
    if labels.ndim == 0 and labels.dtype == object:
        hint = " y.toarray() makes one of it." if hasattr(y, "toarray") else ""
        raise TypeError(f"{verb}: y must be an array of labels, got a {type(y).__name__}.{hint}")
    n = len(labels) if labels.ndim else 0
    if n != len(x):
        raise ValueError(f"{verb}: x has {len(x)} samples, but y has {n} labels.")


def split_off_validation(x: Array, classes: Array, share: float) -> tuple[Array, Array, Array, Array]:
    """(x, classes) without, and with only, the last rows; warns where classes are missing from these.

    Raises:
        ValueError: the share leaves one side without samples.
    """
    n = int(len(x) * (1 - share))
    if n in (0, len(x)):
        raise ValueError(f"fit: validation_split={share:g} of {len(x)} samples leaves one of the two parts empty.")
    missing = np.setdiff1d(classes[:n], classes[n:])
    if len(missing):
        warnings.warn(
            f"validation_split={share:g} takes the last {len(x) - n} samples, and these have none of the classes "
            f"{missing.tolist()}: is the data sorted? Shuffle it before fit.",
            stacklevel=3,
        )
    return x[:n], classes[:n], x[n:], classes[n:]
