"""Weights for PyTorch and back, without PyTorch.

The equivalent PyTorch network is an ``nn.Sequential`` with one module for each of these, in order:

    tinynet                     nn.Sequential
    Conv2D, Dense               nn.Conv2d, nn.Linear; then a module for the activation, unless it is "linear"
    Activation, ReLU, Softmax   nn.ReLU, nn.Softmax(dim=1), nn.Tanh, nn.Sigmoid, nn.Identity
    MaxPooling2D                nn.MaxPool2d
    AveragePooling2D            nn.AvgPool2d
    Flatten, Dropout            nn.Flatten, nn.Dropout
    a Sequential                an nn.Sequential of its own

so the LeNet of the examples has its weights under "0.weight", "0.bias", "3.weight" and so on. Padding changes no
weights, but outputs. Where a Conv2D has padding="same", PyTorch needs it as a number, or an nn.ZeroPad2d in the same
module. A max-pooling is padded by MaxPool2d itself, or with minus infinity (nn.ConstantPad2d); an AvgPool2d needs
count_include_pad=False.

PyTorch keeps images as (n, c, h, w) and kernels the other way round:

    Conv2D  W (k_h, k_w, in, out)     weight (out, in, k_h, k_w)
    Dense   W (in, out)               weight (out, in)

and its Flatten lays channels first, so the rows of the W of a Dense layer behind a Flatten change places too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.layers.activation import Activation, Linear, ReLU, Sigmoid, Softmax, Tanh
from tinynet.layers.conv2d import Conv2D
from tinynet.layers.dense import Dense
from tinynet.layers.dropout import Dropout
from tinynet.layers.flatten import Flatten
from tinynet.layers.layer import Array, Layer, Shape
from tinynet.layers.weighted import Weighted
from tinynet.network import Network
from tinynet.validation import are_finite_in, check_writeable, describe

_IN_PLACE = (Activation, Linear, ReLU, Sigmoid, Softmax, Tanh, Dropout)  # every number stays where it is


def to_torch_state_dict(model: Network) -> dict[str, Array]:
    """The model's weights as the state of the equivalent ``nn.Sequential``, by name; copies, as NumPy arrays.

    In PyTorch: ``net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})``.

    Raises:
        TypeError: the model is no Sequential.
        ValueError: the model has no weights yet, or a layer that has no equivalent here: one with weights, or one
            between a Flatten and the Dense layer behind it.

    Example:
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((28, 28, 1)), layers.Conv2D(20, 5, activation="relu"),
        ...                     layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10, activation="softmax")])
        >>> {name: array.shape for name, array in to_torch_state_dict(model).items()}
        {'0.weight': (20, 1, 5, 5), '0.bias': (20,), '4.weight': (10, 2880), '4.bias': (10,)}
    """
    state = {}
    for prefix, layer, image_shape in _weighted_modules(model):
        state[f"{prefix}.weight"] = _to_torch(layer, layer.params["W"], image_shape)
        if layer.use_bias:
            state[f"{prefix}.bias"] = layer.params["b"].copy()
    return state


def from_torch_state_dict(model: Network, state: Mapping[str, Any]) -> None:
    """Copy the state of the equivalent ``nn.Sequential`` into the model; all of it is checked before anything changes.

    Args:
        model: a model that is built.
        state: arrays by name, or what ``net.state_dict()`` returns, with its tensors on the CPU.

    Raises:
        ValueError: the names or shapes are not those of the equivalent network, a number is NaN or infinite, or a
            parameter of the model is read-only.
        TypeError: the model is no Sequential, the state no dictionary, or an entry no array of floats.

    Example:
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> from_torch_state_dict(model, {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([3.0])})
        >>> model.predict([[10.0, 100.0]])
        array([[213.]], dtype=float32)
    """
    expected = to_torch_state_dict(model)
    if not isinstance(state, Mapping):
        raise TypeError(f"from_torch_state_dict takes what net.state_dict() returns, got {describe(state)}.")
    arrays = {name: _as_array(name, value) for name, value in state.items()}
    if arrays.keys() != expected.keys():
        raise ValueError(
            f"from_torch_state_dict: the equivalent nn.Sequential has {list(expected)}, got {list(arrays)}; "
            "see the table in tinynet.interop for its modules."
        )
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise ValueError(
                f"from_torch_state_dict: {name} must have shape {expected[name].shape}, got {array.shape}."
            )
        dtype = expected[name].dtype
        if not are_finite_in(dtype, array):
            raise ValueError(f"from_torch_state_dict: {name} has numbers that are NaN or infinite in {dtype}.")
    for _, layer, _ in _weighted_modules(model):
        for key, param in layer.params.items():
            check_writeable(f"from_torch_state_dict: {layer}", key, param)
    for prefix, layer, image_shape in _weighted_modules(model):
        layer.params["W"][...] = _from_torch(layer, arrays[f"{prefix}.weight"], image_shape)
        if layer.use_bias:
            layer.params["b"][...] = arrays[f"{prefix}.bias"]


def _weighted_modules(model: Network) -> Iterator[tuple[str, Weighted, Shape | None]]:
    """(name in PyTorch, layer, shape of the image that was flattened before it, if any) of the layers with weights."""
    if not isinstance(model, Network):
        raise TypeError(f"Weights go to PyTorch and back for a Sequential, got {describe(model)}.")
    if model.output_shape is None:
        raise ValueError("The model has no weights yet: give it an input shape, or data, first.")
    image_shape: Shape | None = None
    for name, layer in _modules(model):
        if isinstance(layer, Flatten):
            assert layer.input_shape is not None, "the model is built"
            image_shape = layer.input_shape if len(layer.input_shape) == 3 else image_shape
        elif isinstance(layer, (Conv2D, Dense)):
            yield name, layer, image_shape
            image_shape = None
        elif layer.params:
            raise ValueError(f"{layer} has weights, and no equivalent in PyTorch that tinynet knows.")
        elif image_shape is not None and not isinstance(layer, _IN_PLACE):
            raise ValueError(
                f"{layer} stands between a Flatten and a Dense layer, whose inputs PyTorch has in another order: "
                "tinynet does not know where this layer leaves them."
            )


def _modules(network: Network, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers with the names of their modules; activations of layers with weights have modules of their own."""
    number = 0
    for layer in network.layers:
        if isinstance(layer, Network):
            yield from _modules(layer, f"{prefix}{number}.")
        else:
            yield f"{prefix}{number}", layer
        number += 2 if isinstance(layer, Weighted) and not isinstance(layer.activation, Linear) else 1


def _to_torch(layer: Weighted, W: Array, image_shape: Shape | None) -> Array:
    if isinstance(layer, Conv2D):
        return np.ascontiguousarray(W.transpose(3, 2, 0, 1))
    if image_shape is not None:
        h, w, c = image_shape
        W = W.reshape(h, w, c, -1).transpose(2, 0, 1, 3).reshape(h * w * c, -1)
    return W.T.copy()


def _from_torch(layer: Weighted, weight: Array, image_shape: Shape | None) -> Array:
    if isinstance(layer, Conv2D):
        return weight.transpose(2, 3, 1, 0)
    W = weight.T
    if image_shape is not None:
        h, w, c = image_shape
        W = W.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(h * w * c, -1)
    return W


def _as_array(name: str, value: Any) -> npt.NDArray[Any]:
    try:  # a tensor that asks for gradients refuses to become an array
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:  # on another device, of a dtype that NumPy has not, ragged
        raise TypeError(f"from_torch_state_dict: {name} cannot become an array; try .cpu().float(). {error}") from None
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise TypeError(f"from_torch_state_dict: some of {name} is masked; fill it, as with array.filled(0).")
    if array.dtype.kind != "f":
        raise TypeError(f"from_torch_state_dict: {name} must be an array of floats, got dtype {array.dtype}.")
    return array
