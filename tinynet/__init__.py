"""tinynet: a deep learning library whose maths you can read in an afternoon.

Keras's front door, hand-written backprop, NumPy and Numba inside. Start with ``tinynet.models.Sequential`` to use it,
and with ``tinynet/layers/dense.py`` to read it.
"""

import importlib
from typing import Any

from tinynet import (
    backend,
    callbacks,
    datasets,
    gradient_check,
    initializers,
    interop,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    saving,
    utils,
)
from tinynet.layers import Input
from tinynet.models import Sequential
from tinynet.validation import refuse_keras_name

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Sequential",
    "backend",
    "callbacks",
    "datasets",
    "gradient_check",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "saving",
    "utils",
]


def __getattr__(name: str) -> Any:
    """Load the pictures and the scikit-learn estimator when they are asked for: they need heavy libraries."""
    if name in ("plots", "estimator"):
        return importlib.import_module(f"tinynet.{name}")
    refuse_keras_name(
        __name__,
        name,
        sorted([*__all__, "plots", "estimator"]),
        hints={
            "Model": "Layers in a row are a Sequential.",
            "activations": 'Activations are names such as "relu", or layers such as tinynet.layers.ReLU.',
            "Layer": "It is tinynet.layers.Layer.",
        },
    )
