"""The networks that are measured, described once for all libraries, and the arithmetic they cost.

Layers are named and given options as in Keras. Data is NHWC, kernels are HWIO, and weights are listed in Keras's order
(kernel, bias, kernel, bias, ...); each side turns them into its own layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class Step(NamedTuple):
    """One layer with the shapes of a sample before and after it."""

    kind: str
    options: dict[str, Any]
    input_shape: Shape
    output_shape: Shape

    @property
    def kernel_shape(self) -> Shape | None:
        """The shape of the layer's weights, (k_h, k_w, in_channels, filters) or (in, units); None if it has none."""
        if self.kind == "Conv2D":
            k = self.options["kernel_size"]
            return (k, k, self.input_shape[-1], self.options["filters"])
        if self.kind == "Dense":
            return (self.input_shape[0], self.options["units"])
        return None

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of the layer's matrix product for one sample: a multiplication and an addition
        for each weight at each place where it is used. Bias, ReLU and pooling are not counted."""
        if self.kernel_shape is None:
            return 0
        places = math.prod(self.output_shape[:-1])  # 1 for Dense
        return 2 * places * math.prod(self.kernel_shape)


@dataclass(frozen=True)
class Network:
    """Layers in a row, as (kind, options) pairs: what ``keras.layers`` calls them."""

    title: str
    input_shape: Shape
    layers: tuple[tuple[str, dict[str, Any]], ...]

    def steps(self) -> Iterator[Step]:
        """The layers in order, with their shapes."""
        shape = tuple(self.input_shape)
        for kind, options in self.layers:
            before, shape = shape, _output_shape(kind, options, shape)
            yield Step(kind, options, before, shape)

    @property
    def inference_flops(self) -> int:
        """What the matrix products cost for one sample, forward."""
        return sum(step.forward_flops for step in self.steps())

    @property
    def training_flops(self) -> int:
        """What they cost forward and back. A layer's two gradients cost what its forward product does, each; the
        first layer has only one of them, because nobody needs the gradient of the input."""
        costs = [step.forward_flops for step in self.steps() if step.kernel_shape]
        return 3 * sum(costs) - costs[0]

    def initial_weights(self, seed: int = 0) -> list[Array]:
        """Glorot-uniform kernels and zero biases, float32."""
        rng = np.random.default_rng(seed)
        weights: list[Array] = []
        for step in self.steps():
            if shape := step.kernel_shape:
                field = math.prod(shape[:-2])
                limit = math.sqrt(6 / (field * (shape[-2] + shape[-1])))
                weights.append(rng.uniform(-limit, limit, shape).astype(np.float32))
                weights.append(np.zeros(shape[-1], np.float32))
        return weights

    def keras_layers(self, library: ModuleType, *, softmax: bool) -> list[Any]:
        """The layers as objects of ``library`` (Keras, or one with its names), with or without the final softmax."""
        layers = [library.layers.Input(tuple(self.input_shape))]
        layers += [getattr(library.layers, kind)(**options) for kind, options in self.layers]
        return [*layers, library.layers.Activation("softmax")] if softmax else layers


def lenet(image_size: int = 28, filters: int = 20) -> Network:
    """The notebook's LeNet: 20 and 50 filters of 5x5 "same", each with ReLU and 2x2 pooling, 500 units, 10 classes.

    ``filters`` scales both convolutions: the second has 2.5 times as many.
    """
    return Network(
        title="LeNet (20-50-500)" if (image_size, filters) == (28, 20) else f"LeNet {image_size}px {filters} filters",
        input_shape=(image_size, image_size, 1),
        layers=(
            ("Conv2D", {"filters": filters, "kernel_size": 5, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Conv2D", {"filters": filters * 5 // 2, "kernel_size": 5, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Flatten", {}),
            ("Dense", {"units": 500, "activation": "relu"}),
            ("Dense", {"units": 10}),
        ),
    )


def lenet5() -> Network:
    """LeNet-5 with ReLU and max-pooling: 6 and 16 filters of 5x5, "same" and "valid", 120, 84 and 10 units."""
    return Network(
        title="LeNet-5 (6-16-120-84)",
        input_shape=(28, 28, 1),
        layers=(
            ("Conv2D", {"filters": 6, "kernel_size": 5, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Conv2D", {"filters": 16, "kernel_size": 5, "padding": "valid", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Flatten", {}),
            ("Dense", {"units": 120, "activation": "relu"}),
            ("Dense", {"units": 84, "activation": "relu"}),
            ("Dense", {"units": 10}),
        ),
    )


def perceptron(*units: int) -> Network:
    """Layers of so many units with ReLU, and 10 classes: a multilayer perceptron."""
    dense = (("Dense", {"units": count, "activation": "relu"}) for count in units)
    return Network(
        title=f"Dense layers ({'-'.join(map(str, units))})",
        input_shape=(28, 28, 1),
        layers=(("Flatten", {}), *dense, ("Dense", {"units": 10})),
    )


def simple_convnet() -> Network:
    """The network of Keras's example "Simple MNIST convnet", without its dropout: 32 and 64 filters of 3x3 "valid"."""
    return Network(
        title="Keras's MNIST convnet (32-64)",
        input_shape=(28, 28, 1),
        layers=(
            ("Conv2D", {"filters": 32, "kernel_size": 3, "padding": "valid", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Conv2D", {"filters": 64, "kernel_size": 3, "padding": "valid", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 2}),
            ("Flatten", {}),
            ("Dense", {"units": 10}),
        ),
    )


NETWORKS = {"lenet": lenet(), "lenet5": lenet5()}
OTHER_NETWORKS = {  # and the batches they are given
    "small": (perceptron(64), 32),
    "large": (perceptron(512, 512), 128),
    "convnet": (simple_convnet(), 128),
}


def _output_shape(kind: str, options: dict[str, Any], shape: Shape) -> Shape:
    match kind:
        case "Conv2D":
            lost = 0 if options["padding"] == "same" else options["kernel_size"] - 1
            return (shape[0] - lost, shape[1] - lost, options["filters"])
        case "MaxPooling2D":
            return (shape[0] // options["pool_size"], shape[1] // options["pool_size"], shape[2])
        case "Flatten":
            return (math.prod(shape),)
        case "Dense":
            return (options["units"],)
    raise ValueError(f"networks.py does not know the layer {kind!r}; add its output shape here.")
