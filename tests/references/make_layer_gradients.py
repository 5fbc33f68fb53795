"""Compute the layers of `layer_cases.py` with PyTorch and Keras and store what they get.

    KERAS_BACKEND=tensorflow PYTHONPATH=.:tests:benchmarks python -m references.make_layer_gradients

Needs torch, keras and tensorflow, which the tests do not. PyTorch and Keras are independent of each other, and only
Keras knows "same" padding by itself; where they differ by more than rounding, the script stops. For case number I,
`layer_gradients.npz` holds PyTorch's numbers in float64, one after another:

    I          y, dx and, for a convolution, dW and, with a bias, db
    shapes     (cases, 4)  of y
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import torch
from references.layer_cases import CASES, LayerCase, draw_arrays
from torch_layers import conv2d, max_pooling2d, with_gradients

FILE = Path(__file__).with_name("layer_gradients.npz")


def by_torch(case: LayerCase, index: int) -> dict[str, np.ndarray]:
    x, W, b, _ = draw_arrays(index, ())
    arrays = {"x": x} | ({"W": W} if case.filters else {}) | ({"b": b} if case.filters and case.use_bias else {})

    def forward(x: torch.Tensor, W: torch.Tensor | None = None, b: torch.Tensor | None = None) -> torch.Tensor:
        if W is None:
            return max_pooling2d(x, case.window, case.strides, case.padding)
        return conv2d(x, W, b, case.strides, case.padding)

    return with_gradients(forward, arrays, lambda shape: draw_arrays(index, shape)[3])


def by_keras(case: LayerCase, index: int) -> dict[str, np.ndarray]:
    if case.filters:
        layer = keras.layers.Conv2D(
            case.filters, case.window, case.strides, case.padding, use_bias=case.use_bias, dtype="float64"
        )
    else:
        layer = keras.layers.MaxPooling2D(case.window, case.strides, case.padding, dtype="float64")
    layer.build(case.input_shape)
    x, W, b, dy = draw_arrays(index, layer.compute_output_shape(case.input_shape))
    if case.filters:
        layer.set_weights([W, b] if case.use_bias else [W])
    image = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(image)
        y = layer(image)
    grads = tape.gradient(y, [image, *layer.trainable_variables], output_gradients=tf.constant(dy))
    return {"y": y.numpy()} | {name: g.numpy() for name, g in zip(("dx", "dW", "db"), grads, strict=False)}


def main() -> None:
    stored: dict[str, np.ndarray] = {}
    shapes, worst = [], 0.0
    for index, case in enumerate(CASES):
        results, others = by_torch(case, index), by_keras(case, index)
        if results.keys() != others.keys():
            sys.exit(f"{case.name}: {[*results]} by PyTorch, {[*others]} by Keras")
        for key, other in others.items():
            if results[key].shape != other.shape:
                sys.exit(f"{case.name}: {key} is {results[key].shape} by PyTorch, {other.shape} by Keras")
            error = np.max(np.abs(results[key] - other)) / max(np.max(np.abs(other)), 1.0)
            worst = max(worst, error)
            if error > 1e-13:
                sys.exit(f"{case.name}: PyTorch and Keras differ by {error:.1e} in {key}")
        stored[str(index)] = np.concatenate([array.ravel() for array in results.values()])
        shapes.append(results["y"].shape)
    np.savez_compressed(FILE, shapes=np.array(shapes), **stored)
    print(f"{len(CASES)} cases; PyTorch and Keras differ by at most {worst:.1e}")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}, Keras {keras.__version__}")


if __name__ == "__main__":
    main()
