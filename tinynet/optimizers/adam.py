"""Adam: every weight takes steps of its own size, large where its gradients agree and small where they vary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.optimizers.optimizer import Optimizer, elementwise
from tinynet.optimizers.schedules import LearningRateSchedule
from tinynet.validation import check_number, reject_arguments

Array = npt.NDArray[Any]


class Adam(Optimizer):
    """Adaptive moment estimation, as Keras defines it.

    For each parameter w with gradient g, in step number t (from 1) at the learning rate lr of this step, after any
    weight decay:

        m = m + (1 - beta_1) * (g - m)                          running mean of the gradient, from 0
        v = v + (1 - beta_2) * (g**2 - v)                       running mean of its square, from 0
        alpha = lr * sqrt(1 - beta_2**t) / (1 - beta_1**t)      makes up for the start at 0
        w = w - alpha * m / (sqrt(v) + epsilon)

    It is computed by a kernel, in one pass; ``reference.adam`` is the same in NumPy.

    Source: D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1 in the form that ends
    section 2, whose epsilon-hat Keras calls epsilon.

    Args:
        learning_rate, weight_decay: see ``Optimizer``.
        beta_1: share of the old m in the new one, in [0, 1).
        beta_2: share of the old v in the new one, in [0, 1).
        epsilon: keeps the quotient finite where all gradients were 0; above 0.

    Attributes:
        iterations: number of steps taken.
        m, v: the running means of each parameter, by name.

    Raises:
        ValueError, TypeError: an argument is out of range, of the wrong type, or one that only Keras has.

    Example, a first step, which is as long as the learning rate whatever the gradient:
        >>> adam = Adam(learning_rate=0.5)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> adam.step(params, {"w": np.array([0.001, -1000.0])})
        >>> params["w"].round(2)
        array([0.5, 2.5])
    """

    slots = ("m", "v")
    m: dict[str, Array]
    v: dict[str, Array]

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        **unsupported: Any,
    ):
        reject_arguments("Adam", {"amsgrad": amsgrad}, only={"amsgrad": (False,)})
        super().__init__(learning_rate, weight_decay, **unsupported)
        self.beta_1 = check_number("Adam", "beta_1", beta_1, low=0, high=1)
        self.beta_2 = check_number("Adam", "beta_2", beta_2, low=0, high=1)
        self.epsilon = check_number("Adam", "epsilon", epsilon, low=0)
        if self.beta_1 == 1 or self.beta_2 == 1:
            raise ValueError(f"Adam: beta_1 and beta_2 must be below 1, got {self.beta_1:g} and {self.beta_2:g}.")
        if not np.float32(self.epsilon):
            raise ValueError(
                f"Adam: epsilon must be above 0 in float32, such as 1e-7, got {self.epsilon:g}: "
                "a gradient of 0 would give 0 / 0."
            )

    @elementwise
    def update(self, w: Array, g: Array, lr: float, *remembered: Array) -> None:
        m, v = remembered
        t = self.iterations + 1
        alpha = lr * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        flat = w.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1)
        kernels.adam(*flat, alpha, self.beta_1, self.beta_2, self.epsilon)
