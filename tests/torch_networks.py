"""Models whose weights are handed to PyTorch in the tests of tinynet.interop."""

from collections.abc import Callable

from tinynet.layers import AveragePooling2D, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from tinynet.models import Sequential


def lenet5(seed: int) -> Sequential:
    layers = [
        Input((28, 28, 1)),
        Conv2D(6, 5, padding="same", activation="tanh", bias_initializer="random_normal"),
        AveragePooling2D(2),
        Conv2D(16, 5, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(120, activation="relu"),
        Dense(84, activation="sigmoid"),
        Dropout(0.5),
        Dense(10, activation="softmax", bias_initializer="random_normal"),
    ]
    return Sequential(layers, seed=seed)


def nested(seed: int) -> Sequential:
    features = [
        Conv2D(5, (3, 2), strides=(2, 1), use_bias=False),
        MaxPooling2D((2, 3), strides=1),
        Conv2D(4, (1, 2), padding="same", activation="relu"),
    ]
    return Sequential([Input((9, 12, 3)), Sequential(features), Flatten(), Dense(7), Dense(3)], seed=seed)


def dense(seed: int) -> Sequential:
    return Sequential([Input((4, 5)), Flatten(), Dense(6, activation="tanh"), Dense(2)], seed=seed)


MODELS: dict[str, Callable[..., Sequential]] = {"LeNet-5": lenet5, "nested": nested, "dense": dense}
