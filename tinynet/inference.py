"""Prediction in one call: the kernels of all layers in a table, through which one more kernel walks.

Layer by layer, some microseconds of Python go by for each, which for one image is more than the arithmetic takes. What
is computed is the same as by ``forward``, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.layers.layer import Layer, Shape
from tinynet.layers.products import columns_stay_in_cache
from tinynet.layers.step import Step, steps_of
from tinynet.network import Network

Array = npt.NDArray[Any]
Getter = Callable[[str], Any]

# What a layer's steps are made from, besides its parameters.
_ATTRIBUTES = ("activation", "function", "use_bias", "window", "pads")


class Plan:
    """The table of a built network, as long as the network stays as it is.

    The table holds the addresses of the parameters. These are updated in place; but another array may be put in the
    place of one, and layers may be added or changed, so ``is_current`` is to be asked before each use.

    Attributes:
        steps: records of ``kernels.STEP``; none where a layer needs more than kernels.
        dtype: of the parameters.
    """

    def __init__(self, network: Network):
        self.dtype = network.dtype
        self._layers: list[tuple[list[Layer], list[Layer]]] = []  # lists of layers, and what was in them
        self._seen: list[tuple[Getter, str, Any]] = []  # where a value is found, its name there, and what it was
        self._weights: list[Array] = []  # they must not be freed while their addresses are in use
        rows: list[tuple[Any, ...]] = []
        complete = self._add_all(network, rows) and kernels.VECTOR_BYTES > 0
        self.steps = np.array(rows if complete else [], kernels.STEP)
        self._with_code: dict[bool, Array] = {}  # the table for one sample, and for several
        self._takes_one = len(self.steps) > 0
        matrices = [W for W in self._weights if W.ndim == 2]
        self._takes_several = self._takes_one and all(map(columns_stay_in_cache, matrices))

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of a model, or one from a pickle, has other arrays, and makes a plan of its own."""
        return type(None), ()

    def is_current(self, network: Network) -> bool:
        """Whether this is what a new plan of the network would be."""
        if network.layers is not self._layers[0][0] or "forward" in vars(network):
            return False
        for layers, before in self._layers:
            if layers != before:
                return False
        for get, name, value in self._seen:  # noqa: SIM110 - all() takes twice as long
            if get(name) is not value:
                return False
        return True

    def takes(self, n: int) -> bool:
        """Whether ``run`` does what ``forward`` would do with n samples."""
        return self._takes_several if n > 1 else self._takes_one

    def run(self, x: Array, y: Array) -> None:
        """Write the outputs for samples x (n, *input_shape) into y (n, *output_shape); both lie row by row."""
        single = len(x) == 1
        if single not in self._with_code:
            self._with_code[single] = self._look_up(single)
        kernels.run_steps(self._with_code[single], x.reshape(len(x), -1), y.reshape(len(y), -1))

    def _look_up(self, single: bool) -> Array:
        """The table with the addresses of the kernels' machine code, which is compiled if it was not."""
        steps = self.steps.copy()
        kinds, codes = steps["kind"], steps["code"]
        if single:
            kinds[kinds == kernels.MATMUL] = kernels.VECMAT
        codes[:] = [kernels.machine_code(kind, self.dtype) for kind in kinds]
        return steps

    def _add_all(self, network: Network, rows: list[tuple[Any, ...]]) -> bool:
        """Append the rows of all layers; whether that is all that the network does."""
        self._layers.append((network.layers, list(network.layers)))
        complete = [self._add(layer, rows) for layer in network.layers]
        return _runs_its_layers(network) and all(complete)

    def _add(self, layer: Layer, rows: list[tuple[Any, ...]]) -> bool:
        if isinstance(layer, Network):
            self._note(layer, "layers")
            return self._add_all(layer, rows)
        self._note(layer, *_ATTRIBUTES)
        if layer.params:
            self._note(layer, "params")
            self._seen += [(layer.params.get, name, param) for name, param in layer.params.items()]
        for part in vars(layer).values():
            if isinstance(part, Layer):  # an activation
                self._note(part)
        steps, shape, output_shape = steps_of(layer), layer.input_shape, layer.output_shape
        if steps is None or shape is None or output_shape is None:
            return False
        for step in steps:
            if not _fits(step, shape, output_shape, self.dtype):
                return False
            rows.append(_row(step, shape, output_shape))
            self._weights += [array for array in (step.W, step.b) if array is not None]
            shape = output_shape
        return True

    def _note(self, layer: Layer, *names: str) -> None:
        """Note what these attributes are, where the layer has them, and whether it has a ``forward`` of its own."""
        get = vars(layer).get
        present = [name for name in names if name in vars(layer)]
        self._seen += [(get, name, get(name)) for name in ("forward", *present)]


def _runs_its_layers(network: Network) -> bool:
    """Whether its forward pass is that of ``Network``, and not of a derived class."""
    methods = ("forward", "forward_with", "check_input")
    kind = type(network)
    return "forward" not in vars(network) and all(getattr(kind, name) is getattr(Network, name) for name in methods)


def _fits(step: Step, x_shape: Shape, y_shape: Shape, dtype: np.dtype[Any]) -> bool:
    """Whether the kernel can be called: it checks nothing, and a layer may have been given other arrays."""
    arrays = []
    size: Shape = ()
    if step.window is not None:
        (top, bottom), (left, right) = step.pads
        if step.window.output_size(top + x_shape[0] + bottom, left + x_shape[1] + right) != y_shape[:2]:
            return False
        size = step.window.size
    if step.W is not None:
        arrays = [(step.W, (*size, x_shape[-1], y_shape[-1])), (step.b, y_shape[-1:])]
    return all(
        isinstance(array, np.ndarray)
        and (array.shape, array.dtype) == (shape, dtype)
        and array.flags.c_contiguous
        and array.flags.aligned
        for array, shape in arrays
    )


def _row(step: Step, x_shape: Shape, y_shape: Shape) -> tuple[Any, ...]:
    """A record of ``kernels.STEP``."""
    addresses = [0 if array is None else array.ctypes.data for array in (step.W, step.b)]
    size, strides = ((0, 0), (0, 0)) if step.window is None else (step.window.size, step.window.strides)
    return step.kind, 0, _three(x_shape), _three(y_shape), *addresses, step.least, size, strides, step.pads


def _three(shape: Shape) -> Shape:
    """The shape of a sample with three axes, of which the last one stays."""
    shape = (1, 1, *shape)
    return math.prod(shape[:-2]), *shape[-2:]
