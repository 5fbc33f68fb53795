"""tinynet against stored results of Keras and PyTorch; `references/` holds the scripts that made them.

These figures come from other people's code, which shares no mistake with ours. Neither Keras nor PyTorch is needed to
run the tests.
"""

from pathlib import Path

import numba
import numpy as np
import pytest
from references.layer_cases import CASES, LayerCase, draw_arrays
from references.networks import (
    EVALUATE_BATCH_SIZE,
    NETWORKS,
    NUM_STEPS,
    Network,
    build,
    data_checksum,
    evaluation_samples,
    initial_weights,
    train_batches,
    weight_projections,
)

import tinynet
from tinynet.layers import Conv2D, MaxPooling2D

REFERENCES = Path(__file__).with_name("references")


# Training, against Keras --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_training() -> dict[str, np.ndarray]:
    with np.load(REFERENCES / "keras_training.npz") as stored:
        return dict(stored)


def network_case(network: Network):
    marks = [pytest.mark.trains_for_long] if network.name == "lenet" else []
    return pytest.param(network, id=network.name, marks=marks)


@pytest.mark.parametrize("network", [*map(network_case, NETWORKS)])
def test_training_follows_keras(network: Network, keras_training: dict[str, np.ndarray]) -> None:
    model = build(network, tinynet)
    start = initial_weights(network, [w.shape for w in model.get_weights()])
    np.testing.assert_allclose(
        data_checksum(network, start),
        keras_training[f"{network.name}/checksum"],
        rtol=1e-12,
        err_msg="NumPy draws other data than it did when the reference was made: make it again",
    )
    model.set_weights(start)

    batches = list(train_batches(network))
    if numba.config.DISABLE_JIT:
        batches = batches[:2]  # a step takes up to seconds where the kernels are plain Python
    losses = [model.train_on_batch(x, y)[0] for x, y in batches]
    expected_losses = keras_training[f"{network.name}/losses"][: len(batches)]
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3, atol=1e-5)
    if len(batches) < NUM_STEPS:
        return

    evaluation = model.evaluate(*evaluation_samples(network), batch_size=EVALUATE_BATCH_SIZE, verbose=0)
    np.testing.assert_allclose(evaluation, keras_training[f"{network.name}/evaluation"], rtol=1e-3, atol=1e-5)

    # How far each weight array moved, and how far along a random direction: relative to the first of the two.
    expected = keras_training[f"{network.name}/projections"]
    error = np.abs(weight_projections(network, start, model.get_weights()) - expected) / expected[:, :1]
    assert error.max() < 1e-3, error


# Single layers, against PyTorch and Keras ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layer_gradients() -> dict[str, np.ndarray]:
    with np.load(REFERENCES / "layer_gradients.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: CASES[index].name)
def test_layer_agrees_with_pytorch_and_keras(index: int, layer_gradients: dict[str, np.ndarray]) -> None:
    case = CASES[index]
    x, W, b, dy = draw_arrays(index, tuple(layer_gradients["shapes"][index]))
    layer = built_layer(case, W, b)
    y, cache = layer.forward(x)
    assert y.shape == dy.shape

    dx, grads = layer.backward(dy, cache)
    results = {"y": y, "dx": dx} | {f"d{key}": grads[key] for key in ("W", "b") if key in grads}
    stored = layer_gradients[str(index)]
    ends = np.cumsum([array.size for array in results.values()])
    assert ends[-1] == stored.size, f"{[*results]} are not the results that are stored"
    for (key, array), expected in zip(results.items(), np.split(stored, ends[:-1]), strict=True):
        np.testing.assert_allclose(array.ravel(), expected, rtol=1e-12, atol=1e-13, err_msg=key)


def built_layer(case: LayerCase, W: np.ndarray, b: np.ndarray) -> Conv2D | MaxPooling2D:
    """The case's layer in float64, with W and b as its parameters."""
    if not case.filters:
        pooling = MaxPooling2D(case.window, case.strides, case.padding)
        pooling.build(case.input_shape[1:], np.random.default_rng(0))
        return pooling.astype("float64")
    conv = Conv2D(case.filters, case.window, case.strides, case.padding, use_bias=case.use_bias)
    conv.build(case.input_shape[1:], np.random.default_rng(0))
    conv = conv.astype("float64")
    conv.set_weights([W, b] if case.use_bias else [W])
    return conv
