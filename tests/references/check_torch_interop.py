"""Compare tinynet.interop with PyTorch itself, which the tests do without: where PyTorch and tinynet are installed,

PYTHONPATH=.:tests python tests/references/check_torch_interop.py
"""

import numpy as np
import torch
from torch import nn
from torch_networks import MODELS

from tinynet.interop import from_torch_state_dict, to_torch_state_dict
from tinynet.layers import AveragePooling2D, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D
from tinynet.models import Sequential

TOLERANCE = 1e-5
ACTIVATIONS = {"ReLU": nn.ReLU, "Softmax": lambda: nn.Softmax(dim=1), "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid}


class SamePadding(nn.Conv2d):
    """A convolution with TensorFlow's padding, which may have one more row or column behind than before."""

    def __init__(self, pads, *arguments, **options):
        super().__init__(*arguments, **options)
        (top, bottom), (left, right) = pads
        self.pads = (left, right, top, bottom)

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.pads))


def modules(layer: Layer) -> list[nn.Module]:
    """What the table in tinynet.interop says."""
    if isinstance(layer, Sequential):
        return [nn.Sequential(*(module for inner in layer.layers for module in modules(inner)))]
    if isinstance(layer, Conv2D):
        window = layer.window
        first = SamePadding(
            layer.pads, layer.input_shape[-1], layer.filters, window.size, stride=window.strides, bias=layer.use_bias
        )
    elif isinstance(layer, Dense):
        first = nn.Linear(layer.input_shape[0], layer.units, bias=layer.use_bias)
    elif isinstance(layer, MaxPooling2D):
        return [nn.MaxPool2d(layer.window.size, layer.window.strides)]
    elif isinstance(layer, AveragePooling2D):
        return [nn.AvgPool2d(layer.window.size, layer.window.strides)]
    else:
        return [nn.Flatten() if isinstance(layer, Flatten) else nn.Dropout() if isinstance(layer, Dropout) else None]
    kind = type(layer.activation).__name__
    return [first] if kind == "Linear" else [first, ACTIVATIONS[kind]()]


def check(name: str) -> None:
    model, other = MODELS[name](seed=1), MODELS[name](seed=2)
    x = np.random.default_rng(3).standard_normal((50, *model.input_shape)).astype(np.float32)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x)
    (net,) = modules(model)
    net.eval()
    net.load_state_dict({key: torch.from_numpy(array) for key, array in to_torch_state_dict(model).items()})
    with torch.no_grad():
        differences = [np.abs(net(images).numpy() - model.predict(x)).max()]
    from_torch_state_dict(other, net.state_dict())
    differences.append(np.abs(other.predict(x) - model.predict(x)).max())
    (fresh,) = modules(model)
    from_torch_state_dict(other, fresh.eval().state_dict())
    with torch.no_grad():
        differences.append(np.abs(fresh(images).numpy() - other.predict(x)).max())
    print(
        f"{name:8}  to PyTorch {differences[0]:.1e}  and back {differences[1]:.1e}  from PyTorch {differences[2]:.1e}"
    )
    if max(differences) > TOLERANCE:
        raise AssertionError(f"{name}: predictions differ by more than {TOLERANCE}")


if __name__ == "__main__":
    for model_name in MODELS:
        check(model_name)
