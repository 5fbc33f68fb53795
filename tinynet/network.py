"""Layers in a row: the chain rule, once forward and once back. The result is again a layer."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tinynet.layers.input import Input
from tinynet.layers.layer import (
    Array,
    Gradients,
    Layer,
    Shape,
    UnsummedGradients,
    before_softmax_of,
    check_parameter,
    parts_of,
)
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.layers.returned import dx_and_gradients, output_and_cache
from tinynet.regularizers import Regularizer

_building = threading.RLock()


def _forget_builders() -> None:
    """A forked child has none of its parent's threads, for one of which it would wait for ever."""
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_builders)


class Network(Layer):
    """A chain of layers, each fed with the output of the one before; it keeps the contract of a layer.

    Attributes:
        layers: the layers, in order (``Input`` is no layer: it only says the shape).
        params: the parameters of all layers, as "layer name/parameter name", in order; the layers' own arrays.
        rng: the generator that draws initial weights (and, in ``Sequential``, the order of training samples, and seeds
            for random layers).
    """

    def __init__(self, rng: np.random.Generator, *, name: str | None = None):
        self.layers: list[Layer] = []
        super().__init__(name=name)
        self.rng = rng

    def add(self, layer: Layer) -> None:
        """Append a layer; where the input shape is known, build it.

        Raises:
            TypeError: it is not a layer.
            ValueError: it does not fit what comes before it, its name is taken, it is in the network already, or an
                Input is not the first.
        """
        self._check_new(layer)
        if isinstance(layer, Input):
            if self.layers or self.input_shape is not None:
                raise ValueError("Input says the shape of the samples, so it comes first, and once.")
            self.input_shape = layer.input_shape
            return
        name = layer.name
        if name is None:
            layer.name = self._free_name(type(layer).__name__)
        elif any(other.name == name for other in self.layers):
            raise ValueError(f"There is a layer named {name!r} already; every layer needs a name of its own.")
        input_shape = self.input_shape
        if input_shape is None and not self.layers:
            input_shape = layer.input_shape
        if input_shape is not None and (not self.layers or self.output_shape is not None):
            try:
                layer.build(self.output_shape or input_shape, self.rng)
            except BaseException:
                layer.name = name
                raise
        self.input_shape = input_shape
        self.layers.append(layer)

    def refuse_clashes(self) -> None:
        """Raise ValueError where two layers have one name, or one layer two places, and TypeError for what is no layer.

        ``layers`` is a list that anybody may edit. Parameters are told apart by name, so one of the two would never be
        trained.
        """
        layers = list(_layers_in(self))
        strangers = [each for each in layers if not isinstance(each, Layer)]
        if strangers:
            raise TypeError(f"The layers of a network must be layers of tinynet.layers, but one is {strangers[0]!r}.")
        twice = next((layer for i, layer in enumerate(layers) if any(layer is other for other in layers[:i])), None)
        if twice is not None:
            raise ValueError(f"{twice} is in the network twice; a layer can have only one place in it.")
        for network in (layer for layer in layers if isinstance(layer, Network)):
            names = [layer.name for layer in network.layers]
            for name in names:
                if names.count(name) > 1:
                    what = "have no name" if name is None else f"are named {name!r}"
                    raise ValueError(f"Two layers {what}; every layer needs a name of its own, as add gives it one.")

    def _check_new(self, layer: Any) -> None:
        """Raise TypeError or ValueError unless this is a layer that can be added."""
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"add takes a layer, got the class {layer.__name__}; write {layer.__name__}(...).")
        if not isinstance(layer, Layer):
            raise TypeError(f"add takes a layer of tinynet.layers, got {layer!r}.")
        if "name" not in vars(layer):
            kind = type(layer).__name__
            raise TypeError(f"add: {kind}.__init__ must call super().__init__(...), as that of every layer does.")
        if any(part is self for part in parts_of(layer)):
            raise ValueError("add: a network cannot be one of its own layers.")
        present = {id(each) for each in _layers_in(self)}
        shared = next((each for each in _layers_in(layer) if id(each) in present), None)
        if shared is not None:
            raise ValueError(f"add: {shared} is in this network already; a layer can have only one place in it.")

    def pop(self) -> Layer:
        """Take away the last layer, and return it.

        Raises:
            TypeError: there is none.
        """
        if not self.layers:
            raise TypeError("pop: the network has no layers.")
        return self.layers.pop()

    @property
    def output_shape(self) -> Shape | None:  # type: ignore[override]
        """Shape of one output sample, that of the last layer, once that is built."""
        last = self.layers[-1] if self.layers else None
        return last.output_shape if isinstance(last, Layer) else None

    def build(self, input_shape: Sequence[int | None], rng: np.random.Generator | None = None) -> Shape:
        """Build all layers for samples of ``input_shape``; a leading None, Keras's batch axis, is left out."""
        sizes = tuple(input_shape)
        shape = self.check_shape(sizes[1:] if sizes[:1] == (None,) else sizes)  # type: ignore[arg-type]
        with self.unbuilt_by_errors():
            output_shape = self.make(shape, self.rng if rng is None else rng)
            self.input_shape = shape
        return output_shape

    def make(self, input_shape: Shape, rng: np.random.Generator) -> Shape:
        if not self.layers:
            raise ValueError("The network has no layers; add some first.")
        shape = input_shape
        for layer in self.layers:
            shape = layer.build(shape, rng)
        return shape

    @contextlib.contextmanager
    def unbuilt_by_errors(self) -> Iterator[None]:
        """A block that may build the network: where it raises, nothing is built after it that was not before.

        Other threads wait meanwhile, so that they all find the same weights.
        """
        if self.output_shape is not None:
            yield
            return
        with _building:
            yield from self._unbuilt_by_errors()

    def _unbuilt_by_errors(self) -> Iterator[None]:
        self.refuse_clashes()
        parts = [part for part in parts_of(self) if part.output_shape is None]
        before = [(dict(vars(part)), dict(part.params)) for part in parts]
        random_state = self.rng.bit_generator.state
        try:
            yield
        except BaseException:
            for part, (values, params) in zip(parts, before, strict=True):
                vars(part).clear()
                vars(part).update(values)
                if "params" in values:  # a network's are its layers'
                    part.params = params
            self.rng.bit_generator.state = random_state
            raise

    @property
    def regularizers(self) -> Mapping[str, Regularizer]:  # type: ignore[override]
        """The regularizers of all layers by parameter name."""
        return {
            f"{layer.name}/{key}": regularizer
            for layer in self.layers
            for key, regularizer in layer.regularizers.items()
        }

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether any layer is random."""
        return any(layer.random for layer in self.layers)

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> tuple[Array, Any]:
        """y = f_k(... f_2(f_1(x))), and the layers' caches; random layers draw from ``rng``, one after another."""
        y, caches = self.check_input(x), []
        for layer in self.layers:
            y, cache = output_and_cache(layer, y, layer.forward_with(y, rng))
            caches.append(cache)
        return y, caches

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Gradients:
        """The chain rule, from the last layer to the first: each layer's dx is the dy of the one before."""
        return self._backward(dy, cache, need_dx, unsummed=False)

    def backward_unsummed(self, dy: Array | PooledGradient, cache: Any, *, need_dx: bool = True) -> UnsummedGradients:
        return self._backward(dy, cache, need_dx, unsummed=True)

    def _backward(
        self, dy: Array | PooledGradient, cache: Any, need_dx: bool, *, unsummed: bool
    ) -> tuple[Any, dict[str, Any]]:
        first = 0
        if not need_dx:  # no further than the first layer that has something to learn
            first = next((i for i, layer in enumerate(self.layers) if layer.params), len(self.layers))
        grads: list[dict[str, Any]] = [{}] * len(self.layers)
        dx: Any = dy
        batch = np.shape(dy)[:1]  # (n,)
        for i in reversed(range(first, len(self.layers))):
            layer, need = self.layers[i], need_dx or i > first
            returned: Any
            if unsummed and not layer.backward_is_replaced():
                returned = layer.backward_unsummed(dx, cache[i], need_dx=need)
            else:
                returned = layer.backward(whole(dx), cache[i], need_dx=need)
            x_shape = (*batch, *layer.input_shape) if need and layer.input_shape is not None else None
            dx, grads[i] = dx_and_gradients(layer, x_shape, returned)
        by_name = {f"{layer.name}/{key}": grads[i][key] for i, layer in enumerate(self.layers) for key in layer.params}
        return dx if need_dx else None, by_name

    def before_softmax(self) -> Layer | None:
        linear = before_softmax_of(self.layers[-1]) if self.layers else None
        if linear is None:
            return None
        twin = copy.copy(self)
        twin.layers = [*self.layers[:-1], linear]
        return twin

    @property  # type: ignore[override]
    def params(self) -> Mapping[str, Array]:
        """The parameters of all layers by name. The arrays are the layers' own; the mapping is a read-only view."""
        return MappingProxyType(
            {f"{layer.name}/{key}": param for layer in self.layers for key, param in layer.params.items()}
        )

    @params.setter
    def params(self, params: Mapping[str, Array]) -> None:
        for layer in self.layers:
            layer.params = {key: params[f"{layer.name}/{key}"] for key in layer.params}

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters, in which the network computes: float32 unless made by ``astype``.

        Raises:
            TypeError: the first of them is no array of such numbers.
        """
        for layer in self.layers:
            for name, param in layer.params.items():
                check_parameter(layer, name, param)
                return param.dtype
        return np.dtype(np.float32)

    def _free_name(self, kind: str) -> str:
        """Keras's names: "conv2d", "conv2d_1", "max_pooling2d", "re_lu"."""
        base = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        base = {"relu": "re_lu"}.get(base, base)
        taken = {layer.name for layer in self.layers}
        names = [base, *(f"{base}_{i}" for i in range(1, len(taken) + 1))]
        return next(name for name in names if name not in taken)


def _layers_in(layer: Layer) -> Iterator[Layer]:
    """A layer, and those of a network, and of networks in it."""
    yield layer
    for each in layer.layers if isinstance(layer, Network) else ():
        yield from _layers_in(each)
