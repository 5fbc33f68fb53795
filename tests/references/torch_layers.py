"""Convolution and max-pooling with their gradients by PyTorch's autograd, on NumPy arrays in tinynet's layouts.

PyTorch has no uneven "same" padding, so the padding is laid around the input here, by the rule in Keras's
documentation: as many outputs as strides fit into the input, rounded up, and any odd row or column of padding at the
bottom or on the right.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

Pair = tuple[int, int]


def conv2d(
    x: np.ndarray, W: np.ndarray, b: np.ndarray | None, dy: np.ndarray | None, strides: Pair, padding: str
) -> dict[str, np.ndarray]:
    """y, and with an upstream gradient dy also dx, dW and, with a bias, db.

    x  (n, h, w, c)   W  (k_h, k_w, c, filters)   b  (filters,)   dy, y  (n, out_h, out_w, filters)
    """
    leaves = {name: _leaf(array) for name, array in {"x": x, "W": W, "b": b}.items() if array is not None}
    image = functional.pad(_channels_first(leaves["x"]), _pads(x, W.shape[:2], strides, padding))
    y = functional.conv2d(image, leaves["W"].permute(3, 2, 0, 1).contiguous(), leaves.get("b"), strides)
    return _results(y, dy, leaves)


def max_pooling2d(
    x: np.ndarray, dy: np.ndarray | None, pool_size: Pair, strides: Pair, padding: str
) -> dict[str, np.ndarray]:
    """y, and with an upstream gradient dy also dx.   x, dx  (n, h, w, c)   dy, y  (n, out_h, out_w, c)"""
    leaves = {"x": _leaf(x)}
    image = functional.pad(_channels_first(leaves["x"]), _pads(x, pool_size, strides, padding), value=-torch.inf)
    return _results(functional.max_pool2d(image, pool_size, strides), dy, leaves)


def _leaf(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2).contiguous()


def _pads(x: np.ndarray, window: Any, strides: Pair, padding: str) -> tuple[int, int, int, int]:
    """Padding in PyTorch's order: left, right, top, bottom."""
    if padding == "valid":
        return (0, 0, 0, 0)
    pads = []
    for size, k, stride in zip(x.shape[1:3], window, strides, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + k - size, 0)
        pads.append((total // 2, total - total // 2))
    return (*pads[1], *pads[0])


def _results(y: torch.Tensor, dy: np.ndarray | None, leaves: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    y = y.permute(0, 2, 3, 1)
    if dy is None:
        return {"y": y.detach().numpy()}
    grads = torch.autograd.grad(y, list(leaves.values()), torch.tensor(dy))
    return {"y": y.detach().numpy()} | {f"d{name}": g.numpy() for name, g in zip(leaves, grads, strict=True)}
