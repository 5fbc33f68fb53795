"""The networks whose training Keras and tinynet must agree on, described once and built by either library.

`make_keras_training.py` trains them with Keras and stores the losses; `tests/test_references.py` trains them with
tinynet and compares. Both call the functions below with their own library as `keras`, so that the two sides share
the layers, the starting weights and the batches, none of which has to be stored.

Random numbers come from `Generator.random` alone, whose stream NumPy has never changed; `data_checksum` would tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from tinynet.datasets import mnist

NUM_STEPS = 50
# Not a multiple of any batch size here, so that evaluate has to weight its last, smaller batch.
NUM_TEST_SAMPLES = 100
EVALUATE_BATCH_SIZE = 32
MNIST_SHAPE = (28, 28, 1)

# The name of a class and the arguments it is called with; among a layer's, kernel_regularizer may be a Call again.
Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Network:
    """One network, with the data, the loss and the optimizer it is trained with.

    input_shape: MNIST_SHAPE stands for real MNIST digits, any other shape for noisy patterns, one to a class.
    loss: a name, or a class with its arguments. Labels are integers when the name starts with "sparse".
    learning_rate: a number, or a class of `keras.optimizers.schedules` with its arguments.
    optimizer, options: its class, and its remaining arguments.
    bias_limit: biases start in [-bias_limit, bias_limit). Keras starts them at 0, which makes whole windows of equal
        numbers wherever an image is black, so 0 tests ties and ReLU's kink as they occur in practice.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: list[Call]
    learning_rate: float | Call = 0.01
    optimizer: str = "SGD"
    options: dict[str, Any] = field(default_factory=dict)
    loss: str | Call = "categorical_crossentropy"
    batch_size: int = 32
    bias_limit: float = 0.1
    seed: int = 0

    @property
    def num_classes(self) -> int:
        return next(kwargs["units"] for name, kwargs in reversed(self.layers) if name == "Dense")

    @property
    def integer_labels(self) -> bool:
        name = self.loss if isinstance(self.loss, str) else self.loss[0]
        return name.lower().startswith("sparse")


NETWORKS = [
    Network(
        "lenet",
        MNIST_SHAPE,
        [
            ("Conv2D", {"filters": 20, "kernel_size": 5, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": (2, 2), "strides": (2, 2)}),
            ("Conv2D", {"filters": 50, "kernel_size": 5, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": (2, 2), "strides": (2, 2)}),
            ("Flatten", {}),
            ("Dense", {"units": 500, "activation": "relu"}),
            ("Dense", {"units": 10, "activation": "softmax"}),
        ],
        learning_rate=0.03,
        bias_limit=0.0,
        seed=4,
    ),
    Network(
        "lenet5_momentum_integer_labels",
        MNIST_SHAPE,
        [
            ("Conv2D", {"filters": 6, "kernel_size": 5, "padding": "same"}),
            ("Activation", {"activation": "relu"}),
            ("MaxPooling2D", {}),
            ("Conv2D", {"filters": 16, "kernel_size": 5}),
            ("ReLU", {}),
            ("MaxPooling2D", {}),
            ("Flatten", {}),
            ("Dense", {"units": 120, "activation": "relu"}),
            ("Dense", {"units": 84, "activation": "relu"}),
            ("Dense", {"units": 10}),
            ("Activation", {"activation": "softmax"}),
        ],
        learning_rate=0.01,
        options={"momentum": 0.9},
        loss="sparse_categorical_crossentropy",
        bias_limit=0.0,
        seed=2,
    ),
    Network(
        # "same" pads unevenly: an even kernel, and strides that leave a remainder of the 28 rows and columns.
        "mnist_uneven_same_nesterov",
        MNIST_SHAPE,
        [
            ("Conv2D", {"filters": 7, "kernel_size": 4, "strides": 3, "padding": "same", "activation": "relu"}),
            ("Conv2D", {"filters": 9, "kernel_size": (2, 4), "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}),
            ("Flatten", {}),
            ("Dense", {"units": 10, "activation": "softmax"}),
        ],
        learning_rate=0.02,
        options={"momentum": 0.9, "nesterov": True},
        loss=("CategoricalCrossentropy", {}),
        batch_size=20,
        bias_limit=0.0,
        seed=3,
    ),
    Network(
        "odd_strides_no_bias_exponential_decay",
        (17, 13, 3),
        [
            (
                "Conv2D",
                {"filters": 8, "kernel_size": (4, 3), "strides": (2, 3), "padding": "same", "use_bias": False},
            ),
            ("ReLU", {}),
            ("Conv2D", {"filters": 6, "kernel_size": (2, 3), "strides": (3, 1), "activation": "relu"}),
            ("Flatten", {}),
            ("Dense", {"units": 7, "activation": "softmax", "use_bias": False}),
        ],
        learning_rate=("ExponentialDecay", {"initial_learning_rate": 0.05, "decay_steps": 10, "decay_rate": 0.8}),
        options={"momentum": 0.5},
        seed=4,
    ),
    Network(
        # Pooling straight after a convolution: without ReLU, zeros in the padding would win over negative numbers.
        "overlapping_pools_same_piecewise",
        (12, 15, 2),
        [
            ("Conv2D", {"filters": 5, "kernel_size": 3, "padding": "same"}),
            ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}),
            ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "padding": "same"}),
            ("MaxPooling2D", {"pool_size": (3, 4), "strides": (1, 3), "padding": "same"}),
            ("ReLU", {}),
            ("Flatten", {}),
            ("Dense", {"units": 5}),
        ],
        learning_rate=("PiecewiseConstantDecay", {"boundaries": [10, 30], "values": [0.05, 0.02, 0.005]}),
        loss=("SparseCategoricalCrossentropy", {"from_logits": True}),
        batch_size=16,
        seed=8,
    ),
    Network(
        "overlapping_pools_valid_remainders_weight_decay",
        (14, 11, 1),
        [
            ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": 3, "strides": 2}),
            ("Conv2D", {"filters": 8, "kernel_size": 2, "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": (3, 2), "strides": (2, 1)}),
            ("Flatten", {}),
            ("Dense", {"units": 4, "activation": "softmax"}),
        ],
        learning_rate=0.05,
        options={"weight_decay": 0.05},
        batch_size=9,
        seed=6,
    ),
    Network(
        # Strides larger than the windows: some entries of the input reach no window, and get no gradient.
        "gaps_cosine_decay_with_warm_up",
        (19, 16, 2),
        [
            ("Conv2D", {"filters": 6, "kernel_size": (2, 1), "strides": (3, 2), "activation": "relu"}),
            ("Conv2D", {"filters": 9, "kernel_size": 1, "padding": "same", "activation": "relu"}),
            ("MaxPooling2D", {"pool_size": (1, 2), "strides": (2, 3), "padding": "same"}),
            ("Flatten", {}),
            ("Dense", {"units": 6, "activation": "softmax"}),
        ],
        learning_rate=(
            "CosineDecay",
            {
                "initial_learning_rate": 0.005,
                "decay_steps": 30,
                "alpha": 0.1,
                "warmup_target": 0.05,
                "warmup_steps": 10,
            },
        ),
        options={"momentum": 0.9, "nesterov": True, "weight_decay": 0.02},
        loss="sparse_categorical_crossentropy",
        batch_size=25,
        seed=7,
    ),
    Network(
        # Every kernel is larger than what it slides over in one direction; one filter and one channel.
        "large_kernels_cosine_decay_from_logits",
        (5, 9, 1),
        [
            ("Conv2D", {"filters": 4, "kernel_size": (7, 4), "strides": (2, 1), "padding": "same", "use_bias": False}),
            ("MaxPooling2D", {"pool_size": (4, 3), "strides": 1, "padding": "same"}),
            ("Conv2D", {"filters": 1, "kernel_size": (1, 5), "strides": (1, 2), "padding": "same"}),
            ("Flatten", {}),
            ("Dense", {"units": 8, "activation": "relu"}),
            ("Dense", {"units": 3, "activation": "linear"}),
        ],
        learning_rate=("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 40}),
        options={"momentum": 0.5},
        loss=("CategoricalCrossentropy", {"from_logits": True}),
        batch_size=8,
        seed=8,
    ),
    Network(
        # Softmax in the middle, over the channels: its backward pass is not the one fused with the loss.
        "hidden_softmax_staircase",
        (10, 8, 2),
        [
            ("Conv2D", {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}),
            ("Softmax", {}),
            ("Flatten", {}),
            ("Dense", {"units": 9, "activation": "softmax"}),
            ("Dense", {"units": 6}),
            ("Softmax", {}),
        ],
        learning_rate=(
            "ExponentialDecay",
            {"initial_learning_rate": 1.0, "decay_steps": 20, "decay_rate": 0.5, "staircase": True},
        ),
        loss=("SparseCategoricalCrossentropy", {}),
        seed=11,
    ),
    Network(
        "dense_only_momentum_weight_decay",
        (23,),
        [
            ("Dense", {"units": 17, "activation": "relu"}),
            ("Dense", {"units": 1}),
            ("Dense", {"units": 4, "activation": "softmax"}),
        ],
        learning_rate=0.01,
        options={"momentum": 0.9, "weight_decay": 0.05},
        batch_size=1,
        seed=12,
    ),
    Network(
        "lenet5_1998_adam",
        MNIST_SHAPE,
        [
            ("Conv2D", {"filters": 6, "kernel_size": 5, "padding": "same", "activation": "tanh"}),
            ("AveragePooling2D", {"pool_size": 2}),
            ("Conv2D", {"filters": 16, "kernel_size": 5}),
            ("Activation", {"activation": "tanh"}),
            ("AveragePooling2D", {"pool_size": (2, 2), "strides": (2, 2)}),
            ("Flatten", {}),
            ("Dense", {"units": 120, "activation": "tanh"}),
            ("Dense", {"units": 84, "activation": "tanh"}),
            ("Dense", {"units": 10, "activation": "softmax"}),
        ],
        learning_rate=0.001,
        optimizer="Adam",
        bias_limit=0.0,
        seed=13,
    ),
    Network(
        # Averages of windows that hang over the edge: the padding must not count.
        "sigmoid_overlapping_averages_same_adam_cosine_decay",
        (11, 9, 2),
        [
            ("Conv2D", {"filters": 6, "kernel_size": 3, "activation": "sigmoid"}),
            ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}),
            ("Conv2D", {"filters": 7, "kernel_size": 2, "padding": "same"}),
            ("Activation", {"activation": "sigmoid"}),
            ("AveragePooling2D", {"pool_size": (4, 3), "strides": (1, 2), "padding": "same"}),
            ("Flatten", {}),
            ("Dense", {"units": 8, "activation": "tanh"}),
            ("Dense", {"units": 5}),
        ],
        learning_rate=("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 60}),
        optimizer="Adam",
        options={"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "weight_decay": 0.02},
        loss=("SparseCategoricalCrossentropy", {"from_logits": True}),
        batch_size=24,
        seed=14,
    ),
    Network(
        # 40 samples are more than one of tinynet's shards: the regularizers must count once a batch.
        "l2_averages_valid_remainders_momentum",
        (12, 10, 2),
        [
            (
                "Conv2D",
                {"filters": 6, "kernel_size": 3, "activation": "tanh", "kernel_regularizer": ("L2", {"l2": 0.05})},
            ),
            ("AveragePooling2D", {"pool_size": (3, 2), "strides": (2, 3)}),
            ("Conv2D", {"filters": 5, "kernel_size": 2, "activation": "relu", "kernel_regularizer": "l2"}),
            ("Flatten", {}),
            ("Dense", {"units": 4, "activation": "softmax", "kernel_regularizer": ("L2", {"l2": 0.1})}),
        ],
        learning_rate=0.02,
        options={"momentum": 0.9},
        batch_size=40,
        seed=15,
    ),
    Network(
        "l2_adam",
        (31,),
        [
            ("Dense", {"units": 14, "activation": "sigmoid", "kernel_regularizer": ("L2", {"l2": 0.003})}),
            ("Dense", {"units": 6, "activation": "softmax", "kernel_regularizer": "l2"}),
        ],
        learning_rate=0.01,
        optimizer="Adam",
        loss="sparse_categorical_crossentropy",
        batch_size=33,
        seed=16,
    ),
]


def build(network: Network, keras: ModuleType) -> Any:
    """The compiled model, made with `keras`, which is Keras or tinynet."""
    model = keras.Sequential([keras.Input(shape=network.input_shape)])
    for name, kwargs in network.layers:
        regularizer = kwargs.get("kernel_regularizer")
        if isinstance(regularizer, tuple):
            kwargs = kwargs | {"kernel_regularizer": getattr(keras.regularizers, regularizer[0])(**regularizer[1])}
        model.add(getattr(keras.layers, name)(**kwargs))
    learning_rate, loss = network.learning_rate, network.loss
    if isinstance(learning_rate, tuple):
        learning_rate = getattr(keras.optimizers.schedules, learning_rate[0])(**learning_rate[1])
    if isinstance(loss, tuple):
        loss = getattr(keras.losses, loss[0])(**loss[1])
    optimizer = getattr(keras.optimizers, network.optimizer)(learning_rate=learning_rate, **network.options)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def initial_weights(network: Network, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Weights to start from, in the order of `get_weights`: kernels in Glorot's range, biases small."""
    rng = np.random.default_rng([network.seed, 1])
    weights = []
    for shape in shapes:
        # The kernel (k_h, k_w, in, out) of a convolution sees k_h * k_w * in numbers and feeds k_h * k_w * out.
        glorot_limit = np.sqrt(6 / (np.prod(shape[:-2]) * sum(shape[-2:])))
        limit = glorot_limit if len(shape) > 1 else network.bias_limit
        weights.append((limit * (2 * rng.random(shape) - 1)).astype(np.float32))
    return weights


def train_batches(network: Network) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The (x, y) of each of the training steps."""
    x, y = _samples(network, NUM_STEPS * network.batch_size, stream=2)
    for start in range(0, len(x), network.batch_size):
        yield x[start : start + network.batch_size], y[start : start + network.batch_size]


def evaluation_samples(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """The (x, y) to evaluate the trained network on."""
    return _samples(network, NUM_TEST_SAMPLES, stream=3)


def _samples(network: Network, count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([network.seed, stream])
    if network.input_shape == MNIST_SHAPE:
        (images, digits), _ = mnist.load_data()
        chosen = (len(images) * rng.random(count)).astype(int)
        x = images[chosen].reshape(count, *MNIST_SHAPE).astype(np.float32) / np.float32(255)
        labels = digits[chosen].astype(np.int64)
    else:
        patterns = np.random.default_rng([network.seed, 4]).random((network.num_classes, *network.input_shape)) - 0.5
        labels = (network.num_classes * rng.random(count)).astype(np.int64)
        x = (2 * patterns[labels] + 2 * rng.random((count, *network.input_shape)) - 1).astype(np.float32)
    if network.integer_labels:
        return x, labels
    return x, np.eye(network.num_classes, dtype=np.float32)[labels]


def data_checksum(network: Network, weights: list[np.ndarray]) -> float:
    """One number that changes if any batch or any starting weight does."""
    total = sum(float(np.sum(np.cos(array, dtype=np.float64))) for batch in train_batches(network) for array in batch)
    return total + sum(float(np.sum(np.cos(w, dtype=np.float64))) for w in weights)


def weight_projections(network: Network, before: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """Two numbers for each weight array: the length of its change, and the change along one random direction."""
    rng = np.random.default_rng([network.seed, 5])
    projections = []
    for w_before, w_after in zip(before, after, strict=True):
        change = w_after.astype(np.float64) - w_before
        projections.append((np.linalg.norm(change), np.sum(change * (2 * rng.random(change.shape) - 1))))
    return np.array(projections)
