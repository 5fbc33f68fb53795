"""tinynet, by its public methods: train_on_batch and predict."""

from __future__ import annotations

import numpy as np

import tinynet
from sides.base import Array, BaseSide, Setup
from tinynet.datasets import mnist


class Side(BaseSide):
    title = f"tinynet {tinynet.__version__}"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        layers = setup.network.keras_layers(tinynet, softmax=True)
        self.model = tinynet.Sequential(layers, num_threads=setup.threads)
        self.model.compile(
            optimizer=tinynet.optimizers.SGD(setup.learning_rate, momentum=setup.momentum),
            loss="sparse_categorical_crossentropy",
        )
        self.model.set_weights(weights)

    def train_step(self, x: Array, y: Array) -> float:
        return self.model.train_on_batch(x, y)

    def predict(self, x: Array) -> Array:
        return self.model.predict(x, batch_size=len(x))

    @staticmethod
    def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        train, test = mnist.load_data()
        return _scaled(*train), _scaled(*test)


def _scaled(images: Array, labels: Array) -> tuple[Array, Array]:
    return images[..., None].astype(np.float32) / np.float32(255), labels.astype(np.int64)
