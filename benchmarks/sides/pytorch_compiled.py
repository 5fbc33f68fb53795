"""PyTorch with torch.compile, which needs a C++ compiler and takes a minute to start: only where it is asked for."""

from __future__ import annotations

import torch

from sides import pytorch
from sides.base import Array, Setup


class Side(pytorch.Side):
    title = f"{pytorch.Side.title} compiled"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        super().__init__(setup, weights, variant)
        self.model = torch.compile(self.model)
