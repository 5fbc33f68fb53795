"""Compare tinynet with PyTorch on thousands of random layers and networks, in float64 and in float32.

    python benchmarks/differential_torch.py [--n 2000] [--seed 0] [--only INDEX]

Needs torch. Every configuration draws its own kind (Conv2D, MaxPooling2D, Dense, an activation, or a network that ends
in softmax cross-entropy), shapes, options, numbers and memory layout from (seed, index), and is computed by both sides
in both precisions: outputs, or the loss, and all gradients. The figure compared is max|a - b| / max|b|, array by array.
The exit status is 1 if any is above 1e-9 in float64 or 1e-4 in float32; `--only` runs one configuration again.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch_layers import conv2d, max_pooling2d, with_gradients

import tinynet
from tinynet.layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D, ReLU, Softmax
from tinynet.layers.layer import Layer

LIMITS = {"float64": 1e-9, "float32": 1e-4}
# Where float32 may round a number to the other side of ReLU's kink, the upstream gradient is zero.
KINK = 1e-3

Arrays = dict[str, np.ndarray]
Pair = tuple[int, int]


class Draw:
    """Random shapes and numbers."""

    def __init__(self, seed: int, index: int):
        self.rng = np.random.default_rng([seed, index])

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pair(self, low: int, high: int) -> Pair:
        return self.integer(low, high), self.integer(low, high)

    def choice(self, *options: Any) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def numbers(self, *shape: int) -> np.ndarray:
        """Of both signs, but positive on average: sums that cancel out would compare rounding with rounding."""
        return self.rng.uniform(-0.5, 1.0, shape)

    def distinct(self, *shape: int) -> np.ndarray:
        """Numbers that no precision takes for equal, so that maxima are not ties."""
        size = int(np.prod(shape))
        return (self.rng.permutation(size).reshape(shape) + 0.5) / size * 2 - 1

    def upstream(self, *shape: int) -> np.ndarray:
        """A gradient for an output; often mostly zeros, as pooling and ReLU make them."""
        return self.numbers(*shape) * (self.rng.random(shape) < self.choice(1.0, 1.0, 0.5, 0.15, 0.0))

    def image_shape(self, max_channels: int) -> tuple[int, int, int, int]:
        if self.integer(0, 39) == 0:  # now and then as much as one batch of the notebook's network has
            return self.integer(9, 33), *self.pair(20, 32), self.integer(1, max_channels)
        return self.integer(1, 5), *self.pair(1, 13), self.integer(1, max_channels)

    def window(self, shape: tuple[int, ...]) -> tuple[Pair, Pair, str]:
        """(size, strides, padding), such that the window fits into an image (n, h, w, c)."""
        _, h, w, _ = shape
        size, strides, padding = self.pair(1, 6), self.pair(1, 5), self.choice("valid", "same")
        if padding == "valid":
            size = (min(size[0], h), min(size[1], w))
        return size, strides, padding

    def layout(self, array: np.ndarray) -> np.ndarray:
        """The same numbers: in C order, in Fortran order, as every second number of something larger, or read-only."""
        kind = self.choice("c", "fortran", "strided", "read-only")
        if kind == "fortran":
            return np.asfortranarray(array)
        if kind == "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        array = array.copy()
        array.flags.writeable = kind != "read-only"
        return array


@dataclass
class Case:
    """A configuration: `ours` and `theirs` compute the same arrays, by name, in a dtype."""

    name: str
    ours: Callable[[str], Arrays]
    theirs: Callable[[str], Arrays]
    dtypes: tuple[str, ...] = ("float64", "float32")


def draw_case(seed: int, index: int) -> Case:
    draw = Draw(seed, index)
    return draw.choice(conv2d_case, conv2d_case, conv2d_case, pooling_case, dense_case, activation_case, network_case)(
        draw
    )


# Layers -------------------------------------------------------------------------------------------------------------


def conv2d_case(draw: Draw) -> Case:
    shape, filters, use_bias = draw.image_shape(8), draw.integer(1, 8), draw.choice(True, True, False)
    size, strides, padding = draw.window(shape)
    arrays = {"x": draw.numbers(*shape), "W": draw.numbers(*size, shape[-1], filters)}
    if use_bias:
        arrays["b"] = draw.numbers(filters)
    activation = draw.choice(None, "relu", "softmax")

    def linear(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return conv2d(x, W, b, strides, padding)

    layer = Conv2D(filters, size, strides, padding, use_bias=use_bias, activation=activation)
    name = f"Conv2D({filters}, {size}, {strides}, {padding!r}, {activation=}, {use_bias=}) on {shape}"
    return weighted_case(draw, name, layer, arrays, linear, activation)


def dense_case(draw: Draw) -> Case:
    n, inputs, units = draw.integer(1, 40), draw.integer(1, 60), draw.integer(1, 40)
    use_bias, activation = draw.choice(True, True, False), draw.choice(None, "relu", "softmax")
    arrays = {"x": draw.numbers(n, inputs), "W": draw.numbers(inputs, units) / inputs}
    if use_bias:
        arrays["b"] = draw.numbers(units)

    def linear(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return x @ W if b is None else x @ W + b

    layer = Dense(units, use_bias=use_bias, activation=activation)
    return weighted_case(
        draw, f"Dense({units}, {activation=}, {use_bias=}) on {(n, inputs)}", layer, arrays, linear, activation
    )


def weighted_case(
    draw: Draw, name: str, layer: Layer, arrays: Arrays, linear: Callable[..., torch.Tensor], activation: str | None
) -> Case:
    """A layer with weights: `linear` is what it computes before its activation."""
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    before = linear(**tensors).numpy()
    dy = draw.upstream(*before.shape)
    if activation == "relu":
        dy *= np.abs(before) > KINK * np.abs(before).max()

    def forward(**leaves: torch.Tensor) -> torch.Tensor:
        return TORCH_ACTIVATIONS[activation](linear(**leaves))

    return layer_case(draw, name, layer, arrays, dy, forward)


def pooling_case(draw: Draw) -> Case:
    shape = draw.image_shape(6)
    size, strides, padding = draw.window(shape)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return max_pooling2d(x, size, strides, padding)

    x = draw.distinct(*shape)
    dy = draw.upstream(*forward(torch.tensor(x)).shape)
    layer = MaxPooling2D(size, strides, padding)
    return layer_case(draw, f"MaxPooling2D({size}, {strides}, {padding!r}) on {shape}", layer, {"x": x}, dy, forward)


def activation_case(draw: Draw) -> Case:
    shape = draw.choice((draw.integer(1, 40), draw.integer(1, 30)), draw.image_shape(6))
    kind = draw.choice("relu", "softmax")
    layer = draw.choice(Activation(kind), ReLU() if kind == "relu" else Softmax())
    x = draw.distinct(*shape) * draw.choice(1, 20)
    return layer_case(draw, f"{layer} on {shape}", layer, {"x": x}, draw.upstream(*shape), TORCH_ACTIVATIONS[kind])


TORCH_ACTIVATIONS: dict[str | None, Callable[..., torch.Tensor]] = {
    None: lambda x: x,
    "relu": lambda x: torch.relu(x),
    "softmax": lambda x: torch.softmax(x, dim=-1),
}


def layer_case(
    draw: Draw, name: str, layer: Layer, arrays: Arrays, dy: np.ndarray, forward: Callable[..., torch.Tensor]
) -> Case:
    layer.build(arrays["x"].shape[1:], np.random.default_rng(0))

    def ours(dtype: str) -> Arrays:
        twin = layer.astype(dtype)
        twin.set_weights([arrays[key].astype(dtype) for key in twin.params])
        y, cache = twin.forward(draw.layout(arrays["x"].astype(dtype)))
        dx, grads = twin.backward(draw.layout(dy.astype(dtype)), cache)
        return {"y": y, "dx": dx} | {f"d{key}": grad for key, grad in grads.items()}

    def theirs(dtype: str) -> Arrays:
        cast = {key: array.astype(dtype) for key, array in arrays.items()}
        return with_gradients(forward, cast, lambda _: dy.astype(dtype))

    return Case(name, ours, theirs)


# Networks: the whole of a training step's loss and gradients ----------------------------------------------------------


def network_case(draw: Draw) -> Case:
    """Conv2D, MaxPooling2D and ReLU (or neither), Dense with softmax, and cross-entropy."""
    n, h, w, c = draw.integer(1, 150), *draw.pair(2, 12), draw.integer(1, 3)
    filters, classes, integer_labels = draw.integer(1, 6), draw.integer(2, 10), draw.choice(True, False)
    from_logits, smooth = draw.choice(True, False), draw.choice(True, False)
    size, strides, padding = draw.window((n, h, w, c))
    layers = [Input((h, w, c)), Conv2D(filters, size, strides, padding)]
    if not smooth:
        layers += [ReLU(), MaxPooling2D(2, padding="same")]
    layers += [Flatten(), Dense(classes, activation=None if from_logits else "softmax")]
    model = tinynet.Sequential(layers)
    prefix = "Sparse" if integer_labels else ""
    loss_class = getattr(tinynet.losses, f"{prefix}CategoricalCrossentropy")
    model.compile(optimizer="sgd", loss=loss_class(from_logits=from_logits))

    x, labels = draw.numbers(n, h, w, c), draw.rng.integers(0, classes, n)
    y = labels if integer_labels else np.eye(classes)[labels]
    weights = [draw.choice(1, 1, 10) * draw.numbers(*param.shape) / len(param) for param in model.get_weights()]

    def forward(
        x: torch.Tensor, W1: torch.Tensor, b1: torch.Tensor, W2: torch.Tensor, b2: torch.Tensor
    ) -> torch.Tensor:
        image = conv2d(x, W1, b1, strides, padding)
        if not smooth:
            image = max_pooling2d(torch.relu(image), (2, 2), (2, 2), "same")
        return functional.cross_entropy(image.reshape(n, -1) @ W2 + b2, torch.tensor(labels))

    def ours(dtype: str) -> Arrays:
        twin = model.astype(dtype)
        twin.set_weights([weight.astype(dtype) for weight in weights])
        loss, grads = twin.loss_and_gradients(draw.layout(x.astype(dtype)), y)
        return {"loss": np.array(loss)} | dict(zip(("dW1", "db1", "dW2", "db2"), grads.values(), strict=True))

    def theirs(dtype: str) -> Arrays:
        arrays = dict(zip(("x", "W1", "b1", "W2", "b2"), [x, *weights], strict=True))
        results = with_gradients(
            forward, {key: array.astype(dtype) for key, array in arrays.items()}, lambda _: np.ones((), dtype)
        )
        return {"loss": results.pop("y")} | {key: results[key] for key in results if key != "dx"}

    name = (
        f"{[str(layer) for layer in layers]}, n={n}, {size=}, {strides=}, {padding=}, {integer_labels=}, {from_logits=}"
    )
    # Rounding may take the two sides of a float32 network to different sides of a kink or a near tie.
    return Case(name, ours, theirs, ("float64", "float32") if smooth else ("float64",))


# The comparison -----------------------------------------------------------------------------------------------------


def relative_difference(a: np.ndarray, b: np.ndarray, dtype: str) -> float:
    """max|a - b| / max|b|; infinite for another shape or dtype, or for NaN."""
    if a.shape != b.shape or (a.ndim > 0 and a.dtype != dtype) or not np.isfinite(a).all():
        return np.inf
    difference, scale = np.max(np.abs(a.astype(float) - b), initial=0.0), np.max(np.abs(b), initial=0.0)
    return float(difference / scale) if scale > 0 else float(difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="number of configurations (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="INDEX", help="run this one configuration")
    options = parser.parse_args()

    torch.set_num_threads(1)
    # PyTorch 2.13's float32 convolution by oneDNN is wrong for some images of one channel: (4, 12, 5, 1) with a kernel
    # of (4, 6), strides (1, 5) and "same" padding, for one. Its own convolution is right.
    torch.backends.mkldnn.enabled = False
    kinds: Counter[str] = Counter()
    worst = dict.fromkeys(LIMITS, (0.0, ""))
    failures = 0
    for index in range(options.n) if options.only is None else [options.only]:
        case = draw_case(options.seed, index)
        kinds[case.name.split("(")[0].split(" ")[0] if case.name[0] != "[" else "network"] += 1
        for dtype in case.dtypes:
            a, b = case.ours(dtype), case.theirs(dtype)
            if a.keys() != b.keys():
                sys.exit(f"{index}: {case.name} gives {[*a]}, expected {[*b]}")
            differences = {key: relative_difference(a[key], b[key], dtype) for key in b}
            key = max(differences, key=lambda key: differences[key])
            summary = f"{index}: {key} of {case.name}"
            worst[dtype] = max(worst[dtype], (differences[key], summary))
            if differences[key] > LIMITS[dtype]:
                failures += 1
                print(f"{dtype}: {differences[key]:.1e} in {summary}")
    print(f"{sum(kinds.values())} configurations: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    for dtype, (difference, summary) in worst.items():
        print(f"{dtype}: largest relative difference {difference:.1e} (limit {LIMITS[dtype]:.0e}), in {summary}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
