"""ReLU and softmax, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet.kernels.arrays import flat
from tinynet.kernels.common import better
from tinynet.kernels.settings import Array, inline, jit, short_jit, uint


@jit
def relu(x: Array, y: Array) -> None:
    """Twin: ``reference.relu``."""
    source, target = flat(x), flat(y)
    for i in range(uint(x.size)):
        target[i] = source.dtype.type(0) if source[i] <= 0 else source[i]


@jit
def relu_backward(dy: Array, y: Array, dx: Array) -> None:
    """Twin: ``reference.relu_backward``, in one pass."""
    gradient, output, target = flat(dy), flat(y), flat(dx)
    for i in range(uint(dy.size)):
        target[i] = gradient[i] if output[i] > 0 else gradient.dtype.type(0)


@jit
def softmax(x: Array, y: Array) -> None:
    """Twin: ``reference.softmax``."""
    for i in range(len(x)):
        p = y[i]  # by this name: for y[i] /= total Numba compiles checks of NumPy's that take seconds
        _, total = _exponentials(x[i], p)
        p /= total


@short_jit
def softmax_cross_entropy(logits: Array, classes: Array, losses: Array, dlogits: Array) -> None:
    """Twin: ``reference.softmax_cross_entropy``."""
    for i in range(len(logits)):
        z, p, t = logits[i], dlogits[i], uint(classes[i])
        largest, total = _exponentials(z, p)
        losses[i] = np.log(total) - (z[t] - largest)
        p /= total
        p[t] -= p.dtype.type(1)


@short_jit
def divide(x: Array, by: int) -> None:
    """Twin: ``reference.divide``."""
    numbers, divisor = flat(x), x.dtype.type(by)
    for i in range(uint(x.size)):
        numbers[i] /= divisor


@inline
def _exponentials(z: Array, p: Array) -> tuple[Any, Any]:
    """Write exp(z - max(z)) into ``p``; that maximum, and the sum of them."""
    largest = z[0]
    for k in range(1, len(z)):
        largest = z[k] if better(z[k], largest) else largest
    total = p.dtype.type(0)
    for k in range(len(z)):
        p[k] = np.exp(z[k] - largest)
        total += p[k]
    return largest, total
