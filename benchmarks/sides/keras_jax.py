"""Keras 3 on JAX: the whole step in one jitted function, the old weights' memory given back for the new ones."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from sides.base import Array, BaseSide, Setup


class Side(BaseSide):
    title = f"Keras {keras.__version__}, JAX {jax.__version__}"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        model = keras.Sequential(setup.network.keras_layers(keras, softmax=False))
        model.set_weights(weights)
        optimizer = keras.optimizers.SGD(setup.learning_rate, momentum=setup.momentum)
        optimizer.build(model.trainable_variables)

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            logits, _ = model.stateless_call(params, [], x, training=True)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

        def step(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            params, state = optimizer.stateless_apply(state, grads, params)
            return loss, params, state

        def probabilities(params: Any, x: Any) -> Any:
            logits, _ = model.stateless_call(params, [], x, training=False)
            return jax.nn.softmax(logits)

        # Copies: donated arrays are gone after a step, and the model keeps its own.
        self.params = [jnp.array(variable.value) for variable in model.trainable_variables]
        self.state = [jnp.array(variable.value) for variable in optimizer.variables]
        self._step = jax.jit(step, donate_argnums=(0, 1))
        self._probabilities = jax.jit(probabilities)

    def put(self, x: Array, y: Array) -> tuple[Any, Any]:
        return jnp.asarray(x), jnp.asarray(y.astype(np.int32))

    def train_step(self, x: Any, y: Any) -> Any:
        loss, self.params, self.state = self._step(self.params, self.state, x, y)
        return loss

    def predict(self, x: Any) -> Array:
        return np.asarray(self._probabilities(self.params, x))
