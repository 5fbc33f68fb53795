"""Stochastic gradient descent: a small step downhill, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.optimizers.schedules import LearningRateSchedule
from tinynet.validation import check_number, reject_arguments

Array = npt.NDArray[Any]


class SGD:
    """Gradient descent with optional momentum and weight decay, as Keras defines it.

    For each parameter w with gradient g, at the learning rate lr of this step:

        w = w - lr * weight_decay * w                  if weight_decay
        w = w - lr * g                                 without momentum
        v = momentum * v - lr * g;  w = w + v          with momentum (v starts at 0)
        v as above;  w = w + momentum * v - lr * g     with nesterov

    Source: B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964 (momentum);
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning",
    2013, section 2 (Nesterov); I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2019, section 2.

    Args:
        learning_rate: a number, or a schedule from ``tinynet.optimizers.schedules``. ``lr`` is its old name.
        momentum: share of the last step that goes into the next, in [0, 1].
        nesterov: look ahead along the momentum.
        weight_decay: share of each weight taken away per step, times the learning rate; None for none.

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

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        **unsupported: Any,
    ):
        if "lr" in unsupported:
            learning_rate = unsupported.pop("lr")
        self.name = unsupported.pop("name", "SGD")
        reject_arguments(
            "SGD",
            unsupported,
            only={
                "clipnorm": (None,),
                "clipvalue": (None,),
                "global_clipnorm": (None,),
                "use_ema": (False,),
                "ema_momentum": (0.99,),
                "ema_overwrite_frequency": (None,),
                "loss_scale_factor": (None,),
                "gradient_accumulation_steps": (None,),
                "decay": (0, 0.0),
            },
            hints={"decay": "Use learning_rate=ExponentialDecay(...) from tinynet.optimizers.schedules."},
        )
        self._learning_rate = _check_rate(learning_rate)
        self.momentum = check_number("SGD", "momentum", momentum, low=0, high=1)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")
        self.weight_decay = None if weight_decay is None else check_number("SGD", "weight_decay", weight_decay, low=0)
        self.iterations = 0
        self.velocity: dict[str, Array] = {}

    @property
    def learning_rate(self) -> float:
        """The rate of the next step. It can be set to a number or a schedule."""
        rate = self._learning_rate
        return rate(self.iterations) if isinstance(rate, LearningRateSchedule) else rate

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule) -> None:
        self._learning_rate = _check_rate(value)

    lr = learning_rate

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Update every array in ``params`` in place from the gradient of the same name and shape.

        Raises:
            ValueError: the names or shapes of the two differ.
        """
        if params.keys() != grads.keys():
            raise ValueError(f"SGD.step: gradients for {sorted(grads)}, but parameters {sorted(params)}.")
        for name, w in params.items():
            if grads[name].shape != w.shape:
                raise ValueError(f"SGD.step: {name} has shape {w.shape}, its gradient {grads[name].shape}.")
        lr = self.learning_rate
        for name, w in params.items():
            g = grads[name]
            if self.weight_decay:
                w -= lr * self.weight_decay * w
            if not self.momentum:
                w -= lr * g
                continue
            v = self.velocity.setdefault(name, np.zeros_like(w))
            v *= self.momentum
            v -= lr * g
            if self.nesterov:
                w += self.momentum * v
                w -= lr * g
            else:
                w += v
        self.iterations += 1


def _check_rate(rate: float | LearningRateSchedule) -> float | LearningRateSchedule:
    return rate if isinstance(rate, LearningRateSchedule) else check_number("SGD", "learning_rate", rate, low=0)
