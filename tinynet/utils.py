"""What Keras users import from ``keras.utils``."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.validation import check_int, refuse_keras_name

_seeds = np.random.SeedSequence()
_is_seeded = False


def set_random_seed(seed: int) -> None:
    """Make what follows repeat: seeds Python's ``random``, NumPy's ``np.random`` and the models made from now on.

    It is the one function of tinynet that touches Python's and NumPy's global generators, because that is what
    Keras's function of this name is called for. tinynet itself never draws from them; but ``SequentialClassifier``
    does, where it has no ``random_state``, as all of scikit-learn.

    Raises:
        ValueError, TypeError: the seed is not an integer from 0 to 2**32 - 1.

    Example:
        >>> from tinynet import Sequential, layers
        >>> def first_weight():
        ...     set_random_seed(1)
        ...     return Sequential([layers.Input((2,)), layers.Dense(2)]).get_weights()[0][0, 0]
        >>> bool(first_weight() == first_weight())
        True
    """
    global _seeds, _is_seeded
    seed = check_int("set_random_seed", "seed", seed, minimum=0)
    if seed >= 2**32:
        raise ValueError(f"set_random_seed: seed must be below 2**32, got {seed}.")
    random.seed(seed)
    np.random.seed(seed)
    _seeds, _is_seeded = np.random.SeedSequence(seed), True


def new_generator(owner: str, seed: int | None = None) -> np.random.Generator:
    """A generator of its own for each caller: from ``seed``, or else the next of those ``set_random_seed`` started."""
    return np.random.default_rng(_seeds.spawn(1)[0] if seed is None else check_int(owner, "seed", seed, minimum=0))


def _seed_anew() -> None:
    """A forked child would draw the numbers that its parent and the other children draw."""
    global _seeds
    if not _is_seeded:
        _seeds = np.random.SeedSequence()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seed_anew)


def to_categorical(x: npt.ArrayLike, num_classes: int | None = None) -> npt.NDArray[np.float64]:
    """One-hot vectors: integers of shape (...,) become (..., num_classes); a last axis of size 1 is dropped first.

    Raises:
        ValueError: a label is not an integer in 0..num_classes-1, or there are none to count the classes by.

    Example:
        >>> to_categorical([0, 2, 1])
        array([[1., 0., 0.],
               [0., 0., 1.],
               [0., 1., 0.]])
    """
    labels = np.asarray(x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    are_whole = labels.dtype.kind == "f" and np.isfinite(labels).all() and np.array_equal(labels, np.floor(labels))
    if labels.dtype.kind not in "biu" and not are_whole:
        raise ValueError(f"to_categorical takes integer labels, got dtype {labels.dtype}.")
    if num_classes is None:
        if not labels.size:
            raise ValueError("to_categorical cannot tell the number of classes from no labels; give num_classes.")
        num_classes = max(int(labels.max()), 0) + 1
    num_classes = check_int("to_categorical", "num_classes", num_classes)
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"to_categorical: labels must be in 0..{num_classes - 1} for num_classes={num_classes}, "
            f"got values from {labels.min()} to {labels.max()}."
        )
    vectors = np.zeros((*labels.shape, num_classes))
    np.put_along_axis(vectors, labels.astype(np.intp)[..., None], 1, axis=-1)
    return vectors


__all__ = ["set_random_seed", "to_categorical"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
