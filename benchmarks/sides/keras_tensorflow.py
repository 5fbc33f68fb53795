"""Keras 3 on TensorFlow: one tf.function for the whole step, with or without XLA, whichever is faster."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported

from typing import Any

import keras
import tensorflow as tf

from sides.base import Array, BaseSide, Setup


class Side(BaseSide):
    variants = ("tf.function", "tf.function + XLA")
    title = f"Keras {keras.__version__}, TensorFlow {tf.__version__}"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        _set_threads(setup.threads)
        self.model = keras.Sequential(setup.network.keras_layers(keras, softmax=False))
        self.model.set_weights(weights)
        self.optimizer = keras.optimizers.SGD(setup.learning_rate, momentum=setup.momentum)
        self.optimizer.build(self.model.trainable_variables)
        xla = variant.endswith("XLA")
        self._train_step = tf.function(self._uncompiled_train_step, jit_compile=xla)
        self._predict = tf.function(self._uncompiled_predict, jit_compile=xla)

    def put(self, x: Array, y: Array) -> tuple[Any, Any]:
        return tf.constant(x), tf.constant(y)

    def train_step(self, x: Any, y: Any) -> Any:
        return self._train_step(x, y)

    def predict(self, x: Any) -> Array:
        return self._predict(x).numpy()

    def _uncompiled_train_step(self, x: Any, y: Any) -> Any:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def _uncompiled_predict(self, x: Any) -> Any:
        return tf.nn.softmax(self.model(x, training=False))


def _set_threads(threads: int) -> None:
    """TensorFlow takes the number before its first operation only."""
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
