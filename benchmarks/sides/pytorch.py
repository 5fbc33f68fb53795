"""PyTorch in eager mode: the fused SGD, gradients set to None, and the faster of its two memory layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sides.base import Array, BaseSide, Setup, channels_first


class Side(BaseSide):
    variants = ("contiguous", "channels_last")
    title = f"PyTorch {torch.__version__.partition('+')[0]}"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        torch.set_num_threads(setup.threads)
        self.layout = torch.channels_last if variant == "channels_last" else torch.contiguous_format
        self.model = nn.Sequential(*(layer for step in setup.network.steps() for layer in _layers(*step[:3])))
        with torch.no_grad():
            for param, value in zip(self.model.parameters(), channels_first(weights, setup), strict=True):
                param.copy_(torch.from_numpy(value))
        self.model.to(memory_format=self.layout)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=setup.learning_rate, momentum=setup.momentum, fused=True
        )

    def put(self, x: Array, y: Array) -> tuple[Any, Any]:
        images = torch.from_numpy(np.moveaxis(x, -1, 1))
        return images.contiguous(memory_format=self.layout), torch.from_numpy(y)

    def train_step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def predict(self, x: Any) -> Array:
        return torch.softmax(self.model(x), dim=1).numpy()


def _layers(kind: str, options: dict[str, Any], input_shape: tuple[int, ...]) -> list[nn.Module]:
    match kind:
        case "Conv2D":
            k = options["kernel_size"]
            padding = k // 2 if options["padding"] == "same" else 0
            layer: nn.Module = nn.Conv2d(input_shape[-1], options["filters"], k, padding=padding)
        case "Dense":
            layer = nn.Linear(input_shape[0], options["units"])
        case "MaxPooling2D":
            layer = nn.MaxPool2d(options["pool_size"])
        case "Flatten":
            layer = nn.Flatten()
        case _:
            raise ValueError(f"pytorch.py does not know the layer {kind!r}; add it here.")
    return [layer, nn.ReLU(inplace=True)] if options.get("activation") == "relu" else [layer]
