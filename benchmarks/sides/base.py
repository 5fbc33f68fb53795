"""What a side does: the contract that the worker process drives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from networks import Network

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Setup:
    """What every side of a comparison is given alike."""

    network: Network
    threads: int
    learning_rate: float
    momentum: float


class BaseSide(ABC):
    """A network in one library, with the weights it was given.

    Attributes:
        variants: settings of the library to choose from; the fastest on this job is measured.
        title: the library and its version, as it stands in tables.
    """

    variants: tuple[str, ...] = ("",)
    title: str

    @abstractmethod
    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        """Build the network; ``weights`` are Keras's: HWIO and (in, units) kernels, each followed by its bias."""

    def put(self, x: Array, y: Array) -> tuple[Any, Any]:
        """A batch, x (n, h, w, c) float32 and y (n,) int64, as the library's own arrays; not timed in step times."""
        return x, y

    @abstractmethod
    def train_step(self, x: Any, y: Any) -> Any:
        """One SGD step; the batch's mean cross-entropy before it, as anything that ``float`` takes."""

    @abstractmethod
    def predict(self, x: Any) -> Array:
        """Probabilities (n, classes) as a NumPy array."""

    @staticmethod
    def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """(x_train, y_train), (x_test, y_test) as ``data.load_mnist`` returns them."""
        from data import load_mnist

        return load_mnist("train"), load_mnist("t10k")


def channels_first(weights: list[Array], setup: Setup) -> list[Array]:
    """Keras's weights for a library of NCHW images: OIHW kernels, (units, in) matrices, and in the first dense layer
    rows in the order in which an NCHW image is flattened."""
    converted: list[Array] = []
    flattened: tuple[int, ...] | None = None
    kernels = iter(weights[::2])
    for step in setup.network.steps():
        if step.kind == "Flatten":
            flattened = step.input_shape
        if step.kernel_shape is None:
            continue
        W = next(kernels)
        if step.kind == "Conv2D":
            W = W.transpose(3, 2, 0, 1)
        elif flattened is not None:
            W = W.reshape(*flattened, -1).transpose(3, 2, 0, 1).reshape(W.shape[1], -1)
            flattened = None
        else:
            W = W.T
        converted += [np.ascontiguousarray(W), weights[len(converted) + 1]]
    return converted
