"""Models that have all there is to save, and ways to write files that say what they like."""

import hashlib
import json

import numpy as np
import safetensors.numpy

from tinynet.initializers import Constant, HeNormal
from tinynet.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Linear,
    MaxPooling2D,
    ReLU,
    Softmax,
)
from tinynet.losses import CategoricalCrossentropy
from tinynet.metrics import CategoricalAccuracy
from tinynet.models import Sequential
from tinynet.optimizers import SGD, Adam
from tinynet.optimizers.schedules import CosineDecay, ExponentialDecay, PiecewiseConstantDecay
from tinynet.regularizers import L2

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 6, 7, 2)).astype(np.float32)
CLASSES = RNG.integers(0, 3, 40)
ONE_HOT = np.eye(3)[CLASSES]


def small(optimizer=None) -> Sequential:
    """One Dense layer for flat images, trained for a step."""
    model = Sequential([Input((6, 7, 2)), Flatten(), Dense(3, activation="softmax")], seed=1)
    model.compile(optimizer or SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(IMAGES, CLASSES, verbose=0)
    return model


def large() -> Sequential:
    """Every kind of layer, with arguments other than the defaults; networks in networks; no training yet."""
    model = Sequential(
        [
            Input((6, 7, 2)),
            Conv2D(4, (3, 2), (1, 2), "same", activation="relu", use_bias=False, kernel_initializer=HeNormal(seed=3)),
            Sequential(
                [
                    MaxPooling2D((2, 1), strides=1, padding="same", name="pool"),
                    Sequential([AveragePooling2D(2, strides=(1, 2)), Dropout(0.2, seed=4)]),
                    Activation("tanh"),
                ],
                name="inner",
            ),
            ReLU(),
            Flatten(),
            Linear(),
            Dense(5, "sigmoid", bias_initializer=Constant(0.25), kernel_regularizer=L2(0.001), name="Größe 1"),
            Dropout(0.3),
            Dense(3),
            Softmax(),
        ],
        name="large",
        seed=7,
    )
    optimizer = Adam(CosineDecay(0.0, 50, warmup_target=0.01, warmup_steps=2), beta_1=0.8, weight_decay=0.01)
    model.compile(optimizer, CategoricalCrossentropy(), [CategoricalAccuracy("right")])
    return model


OPTIMIZERS = [
    SGD(0.1),
    SGD(PiecewiseConstantDecay([2, 4], [0.1, 0.01, 0.001]), momentum=0.9, nesterov=True),
    SGD(ExponentialDecay(0.1, 3, 0.5, staircase=True), weight_decay=0.01),
    Adam(0.02, beta_1=0.7, beta_2=0.9, epsilon=1e-5),
]


def write_file(path, tensors, description) -> None:
    """A file with the right check sum, whatever it says; ``description`` is data for JSON, or text."""
    text = description if isinstance(description, str) else json.dumps(description)
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode() + array.tobytes())
    metadata = {"tinynet": text, "sha256": digest.hexdigest()}
    path.write_bytes(safetensors.numpy.save(dict(tensors), metadata))


def read_file(path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the description of a good file."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["tinynet"])  # noqa: SIM118
