"""Learning-rate schedules: the learning rate as a function of the number of steps taken so far (from 0).

Definitions and argument names are Keras's.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

from tinynet.validation import check_flag, check_int, check_number, refuse_keras_name


class LearningRateSchedule:
    """Base class: ``schedule(step)`` returns the learning rate for step number ``step``, a number of at least 0.

    Example:
        >>> class Halving(LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.1 / 2**step
        >>> Halving()(1)
        0.05
    """

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(step).")


class ExponentialDecay(LearningRateSchedule):
    """rate(step) = initial_learning_rate * decay_rate ** (step / decay_steps).

    With ``staircase=True`` the exponent is rounded down, so that the rate falls in steps.
    ``decay_steps`` need not be whole: ``len(x) / 32`` is an epoch.

    Raises:
        ValueError: ``decay_steps`` is not above 0; or the rate has grown (``decay_rate`` is above 1) beyond what a
            number can hold.

    Example:
        >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
        0.025
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        self.initial_learning_rate = check_number(name, "initial_learning_rate", initial_learning_rate, low=0)
        self.decay_steps = _check_steps(name, decay_steps)
        self.decay_rate = check_number(name, "decay_rate", decay_rate, low=0)
        self.staircase = check_flag(name, "staircase", staircase)
        self.name = name

    def __call__(self, step: int) -> float:
        try:
            exponent = step / self.decay_steps
            if self.staircase:
                exponent = float(math.floor(exponent))
            rate: float = self.initial_learning_rate * self.decay_rate**exponent
            return rate
        except OverflowError:
            raise ValueError(
                f"{self.name}: with decay_rate={self.decay_rate:g}, the rate is too large by step {step}."
            ) from None


class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from the highest rate down to ``alpha`` times it, after an optional linear warm-up.

        warm-up   rate = initial + (warmup_target - initial) * step / warmup_steps          for step < warmup_steps
        decay     rate = top * ((1 - alpha) * (1 + cos(pi * done)) / 2 + alpha)             done = s / decay_steps

    with top = warmup_target and s = step - warmup_steps where there is a warm-up, top = initial_learning_rate and
    s = step where there is none; from s = decay_steps on the rate stays. The numbers of steps need not be whole.

    Source: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.

    Example:
        >>> schedule = CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10)
        >>> [round(schedule(step), 4) for step in (0, 5, 10, 60, 110, 500)]
        [0.0, 0.05, 0.1, 0.05, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ):
        self.initial_learning_rate = check_number(name, "initial_learning_rate", initial_learning_rate, low=0)
        self.decay_steps = _check_steps(name, decay_steps)
        self.alpha = check_number(name, "alpha", alpha, low=0, high=1)
        self.warmup_target = warmup_target
        if warmup_target is not None:
            self.warmup_target = check_number(name, "warmup_target", warmup_target, low=0)
        self.warmup_steps = check_number(name, "warmup_steps", warmup_steps, low=0)
        if self.warmup_target is None and self.warmup_steps:
            raise ValueError(f"{name}: warmup_steps={warmup_steps} needs warmup_target, the rate to warm up to.")
        self.name = name

    def __call__(self, step: int) -> float:
        top, s = self.initial_learning_rate, float(step)
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                rise = self.warmup_target - self.initial_learning_rate
                return self.initial_learning_rate + rise * step / self.warmup_steps
            top, s = self.warmup_target, step - self.warmup_steps
        done = min(s, self.decay_steps) / self.decay_steps
        return top * ((1 - self.alpha) * 0.5 * (1 + math.cos(math.pi * done)) + self.alpha)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], values[1] up to boundaries[1], and so on.

    Example:
        >>> schedule = PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
        >>> [schedule(step) for step in (0, 100, 101, 1000)]
        [0.1, 0.1, 0.01, 0.001]
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstantDecay"):
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                f"{name}: there must be one more value than boundaries, got {len(values)} values "
                f"and {len(boundaries)} boundaries."
            )
        self.boundaries = [check_int(name, "boundaries", boundary, minimum=0) for boundary in boundaries]
        if self.boundaries != sorted(set(self.boundaries)):
            raise ValueError(f"{name}: boundaries must grow from one to the next, got {list(boundaries)}.")
        self.values = [check_number(name, "values", value, low=0) for value in values]
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_left(self.boundaries, step)]


def _check_steps(name: str, decay_steps: float) -> float:
    number = check_number(name, "decay_steps", decay_steps)
    if number <= 0:
        raise ValueError(f"{name}: decay_steps must be above 0, got {number:g}.")
    return number


__all__ = ["CosineDecay", "ExponentialDecay", "LearningRateSchedule", "PiecewiseConstantDecay"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
