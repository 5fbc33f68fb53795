"""Stochastic gradient descent: a small step downhill, again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.optimizers.optimizer import Optimizer, elementwise
from tinynet.optimizers.schedules import LearningRateSchedule
from tinynet.validation import check_flag, check_number

Array = npt.NDArray[Any]


class SGD(Optimizer):
    """Gradient descent with optional momentum and weight decay, as Keras defines it.

    For each parameter w with gradient g, at the learning rate lr of this step, after any weight decay:

        w = w - lr * g                                 without momentum
        v = momentum * v - lr * g;  w = w + v          with momentum (v starts at 0)
        v as above;  w = w + momentum * v - lr * g     with nesterov

    It is computed by a kernel, in one pass; ``reference.sgd`` is the same in NumPy.

    Source: B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964 (momentum);
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning",
    2013, section 2 (Nesterov).

    Args:
        learning_rate, weight_decay: see ``Optimizer``.
        momentum: share of the last step that goes into the next, in [0, 1].
        nesterov: look ahead along the momentum.

    Attributes:
        iterations: number of steps taken.
        velocity: v of each parameter, by name; empty without momentum.

    Raises:
        ValueError, TypeError: an argument is out of range, of the wrong type, or one that only Keras has.

    Example:
        >>> sgd = SGD(learning_rate=0.5)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> sgd.step(params, {"w": np.array([1.0, -1.0])})
        >>> params["w"]
        array([0.5, 2.5])
    """

    slots = ("velocity",)
    velocity: dict[str, Array]

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        **unsupported: Any,
    ):
        super().__init__(learning_rate, weight_decay, **unsupported)
        self.momentum = check_number("SGD", "momentum", momentum, low=0, high=1)
        self.nesterov = check_flag("SGD", "nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")

    def slots_in_use(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

    @elementwise
    def update(self, w: Array, g: Array, lr: float, *remembered: Array) -> None:
        v = remembered[0] if self.momentum else np.empty(0, w.dtype)
        kernels.sgd(w.reshape(-1), g.reshape(-1), v.reshape(-1), lr, self.momentum, self.nesterov)
