"""What the passes of a layer have returned, checked: a layer of the user's own may return anything.

The error names that layer. Without it the next one would be blamed, or Python would speak of values to unpack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.validation import describe

Array = npt.NDArray[Any]


def output_and_cache(layer: Any, x: Array, returned: Any) -> tuple[Array, Any]:
    """What ``layer.forward(x)`` has ``returned``.

    Raises:
        TypeError: it is no output with a cache.
        ValueError: the output has another dtype than x, or another shape than ``make`` said.
    """
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(
            f"{layer}: forward must return the output and the cache, as in return y, cache; got {describe(returned)}."
        )
    y, cache = returned
    if not isinstance(y, np.ndarray):
        raise TypeError(f"{layer}: forward must return the output as an array, got {describe(y)}.")
    if y.dtype != x.dtype:
        raise ValueError(
            f"{layer}: forward gives {y.dtype} for x of {x.dtype}; compute in the dtype of x, as np.empty_like(x) does."
        )
    shape = getattr(layer, "output_shape", None)
    if shape is not None and y.shape != (len(x), *shape):
        raise ValueError(
            f"{layer}: make says that outputs have shape {(len(x), *shape)}, but forward gives {y.shape}; "
            "the two must agree."
        )
    return y, cache


def dx_and_gradients(layer: Any, x_shape: tuple[int, ...] | None, returned: Any) -> tuple[Any, dict[str, Any]]:
    """What ``layer.backward(dy, cache)`` has ``returned``; ``x_shape`` is None where nobody asked for dx.

    Raises:
        TypeError: it is no dx with gradients by name.
        ValueError: a gradient is missing, is one too many, or has another shape than what it is the gradient of.
    """
    is_pair = isinstance(returned, (tuple, list)) and len(returned) == 2
    if not is_pair or not isinstance(returned[1], Mapping):
        what = f"{describe(returned[0])} and {describe(returned[1])}" if is_pair else describe(returned)
        raise TypeError(
            f"{layer}: backward must return dx and the gradients of the parameters by name, as in "
            f'return dx, {{"W": dW}}; got {what}.'
        )
    (dx, grads), params = returned, layer.params
    if grads.keys() != params.keys():
        raise ValueError(f"{layer}: backward gave gradients of {[*grads]}, but its params are {[*params]}.")
    found = [(key, param.shape, grads[key]) for key, param in params.items()]
    for name, shape, grad in found if x_shape is None else [("x", x_shape, dx), *found]:
        if getattr(grad, "shape", None) != shape:
            raise ValueError(
                f"{layer}: {name} has shape {shape}, so its gradient must be an array of this shape; "
                f"backward gave {describe(grad)}."
            )
    return dx, dict(grads)
