"""A network's passes without its layers: the kernels that these would call, in one call.

What is computed is the same, to the last bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet import kernels, passes
from tinynet.layers.activation import Activation, Linear, ReLU, Softmax
from tinynet.layers.conv2d import Conv2D
from tinynet.layers.dense import Dense
from tinynet.layers.flatten import Flatten
from tinynet.layers.layer import Layer, Shape
from tinynet.layers.max_pooling2d import MaxPooling2D
from tinynet.layers.products import columns_stay_in_cache
from tinynet.layers.step import Step, steps_of
from tinynet.losses import Loss
from tinynet.network import Network
from tinynet.parallel import Pace
from tinynet.passes import Found, Gradients, GradientsWriter, PlacedStep, can_go_back
from tinynet.program import FinishedProgram

Array = npt.NDArray[Any]
Getter = Callable[[str], Any]

MOST_PROGRAMS, MOST_PACES = 8, 64  # that are kept, for as many numbers of samples
TRIED_AGAIN = 32  # calls after one that was given up

# What a layer's steps are made from, besides its parameters, and the names of these.
_ATTRIBUTES = ("name", "_activation", "function", "use_bias", "window", "pads")
# Layers whose backward pass ``passes.GradientsWriter`` knows, and the methods that they must not have been given anew.
_KNOWN = (Conv2D, MaxPooling2D, Flatten, Dense, Activation, Linear, ReLU, Softmax)
_BACKWARD = ("backward", "backward_unsummed")
_FORWARD = ("forward", "forward_with", "check_input", "before_softmax")


class Plan:
    """The steps of a built network, as long as the network stays as it is.

    Programs made of them hold the addresses of the parameters. These are updated in place; but another array may be put
    in the place of one, and layers may be added or changed, so ``is_current`` is to be asked before each use.

    Raises:
        ValueError: two layers have one name, or one layer two places.

    Attributes:
        steps: none where a layer needs more than kernels.
        dtype: of the parameters.
        paces: see ``pace_of``.
    """

    def __init__(self, network: Network):
        network.refuse_clashes()
        self.dtype = network.dtype
        self._layers: list[tuple[list[Layer], list[Layer]]] = []  # lists of layers, and what was in them
        self._seen: list[tuple[Getter, str, Any]] = []  # where a value is found, its name there, and what it was
        self._weights: list[Array] = []  # they must not be freed while their addresses are in use
        self._parts: list[Layer] = []  # the layers, and their activations
        self._classes: list[type[Layer]] = []  # of all these, and of the networks
        self._names: list[str] = []  # of the parameters
        self._shape = network.input_shape  # of what the next layer is given
        steps: list[PlacedStep] = []
        complete = self._add_all(network, steps) and kernels.VECTOR_BYTES > 0
        self.steps = steps if complete else []
        self._takes_one = len(self.steps) > 0
        matrices = [W for W in self._weights if W.ndim == 2]
        self._takes_several = self._takes_one and all(map(columns_stay_in_cache, matrices))
        self._programs: dict[Any, Any] = {}
        self._left_out: dict[Any, int] = {}  # calls that are not tried, by the program's key
        self.paces: dict[tuple[str, int], Pace] = {}
        self._ends_in_softmax = len(self.steps) > 0 and self.steps[-1].step.kernel is kernels.softmax
        self._up_to_logits = self.steps[:-1] if self._ends_in_softmax else self.steps
        self._goes_back = (
            len(self._layers) == 1
            and all(type(layer) in _KNOWN for layer in self._parts)
            and all(getattr(type(network), name) is getattr(Network, name) for name in _BACKWARD)
            and self._takes_several
            and can_go_back(self._up_to_logits)
            and self._up_to_logits[-1].y_shape[-1] > 1  # cross-entropy needs two classes
        )

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

    def pace_of(self, work: str, n: int) -> Pace:
        """How many threads are soonest done with some work on batches of n samples."""
        pace = self.paces.get((work, n))
        if pace is None:
            if len(self.paces) >= MOST_PACES:
                self.paces.clear()
            pace = self.paces[work, n] = Pace()
        return pace

    def takes(self, n: int) -> bool:
        """Whether ``run`` does what ``forward`` would do with n samples."""
        return self._takes_several if n > 1 else self._takes_one

    def run(self, x: Array, y: Array) -> None:
        """Write the outputs for samples x (n, *input_shape) into y (n, *output_shape); both lie row by row."""
        program: FinishedProgram = self._program_for(len(x), lambda: passes.prediction(self.steps, len(x), self.dtype))
        program.run(x, y)

    def gives_logits(self, loss: Loss, n: int) -> bool:
        """Whether ``logits`` does what ``forward`` of the network up to the loss's logits would do with n samples."""
        return self.takes(n) and len(self._up_to_logits) > 0 and self._ends_in_softmax != loss.from_logits

    def logits(self, x: Array) -> Array:
        """The logits (n, classes) of samples x (n, *input_shape), which lie row by row."""
        n, steps = len(x), self._up_to_logits
        logits = np.empty((n, steps[-1].y_shape[-1]), self.dtype)
        program: FinishedProgram = self._program_for(("logits", n), lambda: passes.prediction(steps, n, self.dtype))
        program.run(x, logits)
        return logits

    def goes_back(self, network: Network, loss: Loss) -> bool:
        """Whether ``gradients`` does what the network's and the loss's own methods would do."""
        if not self._goes_back or not loss.is_cross_entropy():
            return False
        if self._ends_in_softmax == loss.from_logits:  # its outputs are the logits; or else the two do not fit
            return False
        if not all(kind.is_as_written() for kind in self._classes):
            return False
        for each in (network, *self._parts):
            names = vars(each)
            if "backward" in names or "backward_unsummed" in names:
                return False
        return True

    def gradients(self, x: Array, classes: Array, sizes: Sequence[int], batch: int) -> list[Found] | None:
        """Of some shards, the loss of each sample, the logits, and the gradients of the batch's mean loss by parameter.

        x        (n, *input_shape), row by row
        classes  (n,) intp
        sizes    how many of the samples are in each shard, in order
        batch    how many there are in all shards of the batch

        None where most of a convolution's gradient is not zero, which is left to the layers. So are some calls after
        it: theirs is most likely no different.
        """
        key = (*sizes, "of", batch)
        left_out = self._left_out.get(key, 0)
        if left_out > 0:
            self._left_out[key] = left_out - 1
            return None
        program: Gradients = self._program_for(
            key, lambda: GradientsWriter(self._up_to_logits, self._names, sizes, batch, self.dtype).write()
        )
        found = program.run(x, classes)
        if found is None:
            self._left_out[key] = TRIED_AGAIN
        return found

    def _program_for(self, key: Any, make: Callable[[], Any]) -> Any:
        program = self._programs.get(key)
        if program is None:
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.clear()
                self._left_out.clear()
            program = self._programs[key] = make()
        return program

    def _add_all(self, network: Network, steps: list[PlacedStep]) -> bool:
        """Append the steps of all layers; whether that is all that the network does."""
        self._note_class(network)
        self._layers.append((network.layers, list(network.layers)))
        complete = [self._add(layer, steps) for layer in network.layers]
        return _runs_its_layers(network) and all(complete)

    def _add(self, layer: Layer, steps: list[PlacedStep]) -> bool:
        if isinstance(layer, Network):
            self._note(layer, "layers")
            return self._add_all(layer, steps)
        self._note(layer, *_ATTRIBUTES)
        self._parts.append(layer)
        self._names += [f"{layer.name}/{name}" for name in layer.params]
        if layer.params:
            self._note(layer, "params")
            self._seen += [(layer.params.get, name, param) for name, param in layer.params.items()]
        for part in vars(layer).values():
            if isinstance(part, Layer):  # an activation
                self._note(part)
                self._parts.append(part)
        own_steps, shape, output_shape = steps_of(layer), layer.input_shape, layer.output_shape
        fits, self._shape = shape == self._shape, output_shape
        if own_steps is None or shape is None or output_shape is None or not fits:
            return False
        for step in own_steps:
            if not _fits(step, shape, output_shape, self.dtype):
                return False
            steps.append(PlacedStep(step, layer.name or "", _three(shape), _three(output_shape)))
            self._weights += [array for array in (step.W, step.b) if array is not None]
            shape = output_shape
        return True

    def _note(self, layer: Layer, *names: str) -> None:
        """Note what these attributes are, where the layer has them, and its ``forward``, or that of its class."""
        get = vars(layer).get
        present = [name for name in names if name in vars(layer)]
        self._seen += [(get, name, get(name)) for name in ("forward", *present)]
        self._note_class(layer)

    def _note_class(self, layer: Layer) -> None:
        kind = type(layer)
        if kind not in self._classes:
            self._classes.append(kind)
            self._seen.append((functools.partial(getattr, kind), "forward", kind.forward))


def _runs_its_layers(network: Network) -> bool:
    """Whether its forward pass is that of ``Network``, and not of a derived class."""
    kind = type(network)
    is_own = "forward" in vars(network) or not kind.is_as_written()
    return not is_own and all(getattr(kind, name) is getattr(Network, name) for name in _FORWARD)


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


def _three(shape: Shape) -> Shape:
    """The shape of a sample with three axes, of which the last one stays."""
    shape = (1, 1, *shape)
    return math.prod(shape[:-2]), *shape[-2:]
