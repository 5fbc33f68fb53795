"""Convolution and max-pooling by PyTorch in tinynet's layouts, and their gradients by PyTorch's autograd.

PyTorch has no uneven "same" padding, so the padding is laid around the input here, by the rule in Keras's
documentation: as many outputs as strides fit into the input, rounded up, and any odd row or column of padding at the
bottom or on the right.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

Pair = tuple[int, int]


def conv2d(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, strides: Pair, padding: str) -> torch.Tensor:
    """x (n, h, w, c), W (k_h, k_w, c, filters) and b (filters,) or None to y (n, out_h, out_w, filters)."""
    image = functional.pad(_channels_first(x), _pads(x.shape[1:3], W.shape[:2], strides, padding))
    return functional.conv2d(image, W.permute(3, 2, 0, 1).contiguous(), b, strides).permute(0, 2, 3, 1)


def max_pooling2d(x: torch.Tensor, pool_size: Pair, strides: Pair, padding: str) -> torch.Tensor:
    """x (n, h, w, c) to y (n, out_h, out_w, c)."""
    image = functional.pad(_channels_first(x), _pads(x.shape[1:3], pool_size, strides, padding), value=-torch.inf)
    return functional.max_pool2d(image, pool_size, strides).permute(0, 2, 3, 1)


def with_gradients(
    forward: Callable[..., torch.Tensor],
    arrays: Mapping[str, np.ndarray],
    draw_dy: Callable[[tuple[int, ...]], np.ndarray],
) -> dict[str, np.ndarray]:
    """{"y": y} for y = forward(**arrays), and {"dx": dx, ...} for each of the arrays, given dy for the shape of y."""
    leaves = {name: torch.tensor(np.ascontiguousarray(array), requires_grad=True) for name, array in arrays.items()}
    y = forward(**leaves)
    grads = torch.autograd.grad(y, list(leaves.values()), torch.tensor(draw_dy(tuple(y.shape))))
    return {"y": y.detach().numpy()} | {f"d{name}": g.numpy() for name, g in zip(leaves, grads, strict=True)}


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2).contiguous()


def _pads(sizes: Sequence[int], window: Sequence[int], strides: Pair, padding: str) -> tuple[int, int, int, int]:
    """Padding in PyTorch's order: left, right, top, bottom."""
    if padding == "valid":
        return (0, 0, 0, 0)
    pads = []
    for size, k, stride in zip(sizes, window, strides, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + k - size, 0)
        pads.append((total // 2, total - total // 2))
    return (*pads[1], *pads[0])
