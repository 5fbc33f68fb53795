"""The steps of the optimizers, each in one pass over the weights."""

from __future__ import annotations

import numpy as np

from tinynet.kernels.arrays import flat
from tinynet.kernels.settings import Array, jit, uint


@jit
def decay(w: Array, share: float) -> None:
    """Twin: ``reference.decay``."""
    weights, factor = flat(w), w.dtype.type(share)
    for i in range(uint(w.size)):
        weights[i] -= factor * weights[i]


@jit
def sgd(w: Array, g: Array, v: Array, lr: float, momentum: float, nesterov: bool) -> None:
    """Twin: ``reference.sgd``, in one pass."""
    weights, gradient, velocity = flat(w), flat(g), flat(v)
    rate, share = w.dtype.type(lr), w.dtype.type(momentum)
    if not velocity.size:
        for i in range(uint(w.size)):
            weights[i] -= rate * gradient[i]
    else:
        for i in range(uint(w.size)):
            step = rate * gradient[i]
            velocity[i] = share * velocity[i] - step
            weights[i] += share * velocity[i] - step if nesterov else velocity[i]


@jit
def adam(w: Array, g: Array, m: Array, v: Array, alpha: float, beta_1: float, beta_2: float, epsilon: float) -> None:
    """Twin: ``reference.adam``, in one pass."""
    weights, gradient, mean, square = flat(w), flat(g), flat(m), flat(v)
    kind = w.dtype.type
    step, new_1, new_2, least = kind(alpha), kind(1 - beta_1), kind(1 - beta_2), kind(epsilon)
    for i in range(uint(w.size)):
        mean[i] += new_1 * (gradient[i] - mean[i])
        square[i] += new_2 * (gradient[i] * gradient[i] - square[i])
        weights[i] -= step * mean[i] / (np.sqrt(square[i]) + least)
