"""A layer's forward pass as a list of calls of kernels.

``tinynet/plan.py`` puts those of a whole network together, to run it in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

if TYPE_CHECKING:
    from tinynet.layers.layer import Layer
    from tinynet.layers.window import Window

Array = npt.NDArray[Any]


class Step(NamedTuple):
    """A call of a kernel. The first one reads the layer's input; each writes an array of the output's shape, which the
    next one reads.

    Attributes:
        kernel: ``kernels.convolve``, ``winograd``, ``max_pool``, ``average_pool``, ``matmul``, ``relu`` or ``softmax``.
        W, b: the layer's own arrays, not copies, where it has some.
        least: the lower bound of the weighted sums: 0 makes them a ReLU.
        window, pads: where a window slides over the input.
    """

    kernel: Callable[..., Any]
    W: Array | None = None
    b: Array | None = None
    least: float = -math.inf
    window: Window | None = None
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))


def steps_of(layer: Layer) -> list[Step] | None:
    """Its ``kernel_steps()``; None where ``forward`` may do something else, in a derived class or set from outside."""
    its_own = "kernel_steps" in vars(type(layer)) and "forward" not in vars(layer) and layer.is_as_written()
    return layer.kernel_steps() if its_own else None
