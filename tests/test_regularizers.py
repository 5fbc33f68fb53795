"""L2: what it adds to the loss and to the gradient, once a batch, by hand and through the training loop."""

import re
from typing import Any

import numpy as np
import pytest

from tinynet import regularizers
from tinynet.layers import Conv2D, Dense, Flatten, Input
from tinynet.models import Sequential
from tinynet.optimizers import SGD
from tinynet.regularizers import L2, Regularizer

X = np.random.default_rng(0).standard_normal((75, 4, 4, 2)).astype(np.float32)
Y = np.arange(75) % 3


def network(first: object = None, last: object = None, nested: bool = False) -> Sequential:
    """A compiled network for X and Y in float64, with the given regularizers on its kernels."""
    features = [Conv2D(3, 2, kernel_regularizer=first), Flatten()]
    head = Dense(3, activation="softmax", kernel_regularizer=last)
    layers = [Sequential(features), Sequential([head])] if nested else [*features, head]
    model = Sequential([Input((4, 4, 2)), *layers], seed=1)
    model.compile(SGD(0.1), "sparse_categorical_crossentropy")
    return model.astype(np.float64)


def test_the_sum_of_squares_and_its_gradient():
    W = np.array([[1.0, -2.0], [0.0, 3.0]], np.float32)
    assert L2(0.5)(W) == 0.5 * 14
    np.testing.assert_array_equal(L2(0.5).gradient(W), W)
    assert L2(0.5).gradient(W).dtype == np.float32
    assert L2().l2 == 0.01


@pytest.mark.parametrize("nested", [False, True])
def test_loss_and_gradients_gain_it_once_a_batch(nested):
    """75 samples are several shards: a term for each would count several times."""
    model, plain = network(L2(0.5), "l2", nested), network(nested=nested)
    (loss, grads), (plain_loss, plain_grads) = model.loss_and_gradients(X, Y), plain.loss_and_gradients(X, Y)
    kernels = [name for name in model.params if name.endswith("W")]
    added = sum(factor * (model.params[name] ** 2).sum() for name, factor in zip(kernels, (0.5, 0.01), strict=True))
    assert added > 1
    assert loss == pytest.approx(plain_loss + added, rel=1e-12)
    for name, factor in zip(kernels, (0.5, 0.01), strict=True):
        np.testing.assert_allclose(grads[name], plain_grads[name] + 2 * factor * model.params[name], rtol=1e-10)
        np.testing.assert_array_equal(grads[name[:-1] + "b"], plain_grads[name[:-1] + "b"])


@pytest.mark.parametrize("layer", [Dense(3), Conv2D(3, 1)])
def test_it_can_be_set_later(layer):
    other = L2(3.0)
    layer.regularizers = {"V": other, "scale": other}
    layer.kernel_regularizer = "l2"
    assert type(layer.kernel_regularizer) is L2
    assert layer.regularizers == {"W": layer.kernel_regularizer, "V": other, "scale": other}
    layer.kernel_regularizer = None
    assert (layer.kernel_regularizer, layer.regularizers) == (None, {"V": other, "scale": other})
    with pytest.raises(ValueError, match="kernel_regularizer"):
        layer.kernel_regularizer = "l3"
    model, plain = network(L2(0.5)), network()
    plain.layers[0].kernel_regularizer = L2(0.5)
    assert plain.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_every_loss_that_is_reported_has_it():
    model, plain = network(L2(0.5)), network()
    added = 0.5 * (model.params["conv2d/W"] ** 2).sum()
    assert model.evaluate(X, Y, batch_size=32, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0) + added)
    assert model.test_on_batch(X, Y) == pytest.approx(plain.test_on_batch(X, Y) + added)
    assert model.train_on_batch(X, Y) == pytest.approx(plain.train_on_batch(X, Y) + added)
    model, plain = network(L2(0.5)), network()
    for each in (model, plain):
        each.optimizer.learning_rate = 0.0
        each.fit(X, Y, validation_data=(X, Y), verbose=0)
    for name in ("loss", "val_loss"):
        assert model.history.history[name] == pytest.approx([plain.history.history[name][0] + added])


def test_with_plain_sgd_it_is_weight_decay():
    model, decaying = network("l2", "l2"), network()
    model.optimizer = SGD(0.1)
    decaying.optimizer = SGD(0.1, weight_decay=0.02)
    for each in (model, decaying):
        each.train_on_batch(X, Y)
    for name, param in model.params.items():  # biases start at 0, where they cannot decay
        np.testing.assert_allclose(param, decaying.params[name], rtol=1e-10)


def test_threads_change_no_bit():
    models = [network("l2", L2(0.1)), network("l2", L2(0.1))]
    models[0].num_threads, models[1].num_threads = 1, 3
    for model in models:
        model.fit(X, Y, epochs=2, verbose=0)
    assert models[0].history.history == models[1].history.history
    for name, param in models[0].params.items():
        np.testing.assert_array_equal(param, models[1].params[name])


def test_a_regularizer_of_ones_own():
    class Sum(Regularizer):
        def __call__(self, W: np.ndarray) -> float:
            return W.sum()

        def gradient(self, W: np.ndarray) -> np.ndarray:
            return np.ones_like(W)

    (loss, grads), (plain_loss, plain_grads) = (model.loss_and_gradients(X, Y) for model in (network(Sum()), network()))
    assert loss == pytest.approx(plain_loss + network().params["conv2d/W"].sum())
    np.testing.assert_allclose(grads["conv2d/W"], plain_grads["conv2d/W"] + 1)
    assert grads["conv2d/W"].dtype == np.float64


@pytest.mark.parametrize(("penalty", "what"), [(np.abs, "an array of shape "), (lambda W: None, "None.")])
def test_a_penalty_that_is_not_one_number_is_refused(penalty: Any, what: str):
    class Wrong(Regularizer):
        def __call__(self, W: np.ndarray) -> Any:
            return penalty(W)

        def gradient(self, W: np.ndarray) -> np.ndarray:
            return np.sign(W)

    model = network(Wrong())
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.zeros((4, *model.input_shape)), [0, 1, 0, 1]
    for verb in (model.train_on_batch, model.test_on_batch, model.evaluate):
        with pytest.raises(ValueError, match=f"Wrong: __call__ must return one number, such as a sum; got {what}"):
            verb(x, y)


def test_a_gradient_that_does_not_fit_the_weights_is_refused():
    class Sum(Regularizer):
        def __call__(self, W: np.ndarray) -> float:
            return W.sum()

        def gradient(self, W: np.ndarray) -> np.ndarray:
            return W.sum(axis=(0, 1, 2))

    model = network(Sum())
    shape = model.params["conv2d/W"].shape
    with pytest.raises(ValueError, match=re.escape(f"Sum: gradient must return an array of the shape of W, {shape}")):
        model.loss_and_gradients(X, Y)


def test_a_regularizer_of_ones_own_that_is_not_finished_says_what_is_missing():
    class Half(Regularizer):
        pass

    with pytest.raises(NotImplementedError, match=r"Half does not define __call__\(W\)"):
        Half()(np.ones(2))
    with pytest.raises(NotImplementedError, match=r"Half does not define gradient\(W\)"):
        Half().gradient(np.ones(2))


@pytest.mark.parametrize("value", ["l2", "L2", L2, L2(0.01), regularizers.l2(0.01)])
def test_a_regularizer_can_be_named_in_all_of_keras_ways(value):
    for layer in (Dense(3, kernel_regularizer=value), Conv2D(3, 2, kernel_regularizer=value)):
        assert (type(layer.kernel_regularizer), layer.kernel_regularizer.l2) == (L2, 0.01)
        assert layer.regularizers == {"W": layer.kernel_regularizer}
    assert Dense(3).kernel_regularizer is None
    assert not Dense(3).regularizers


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L2(-0.1), ValueError, "L2: l2 must be finite and at least 0, got -0.1"),
        (lambda: L2("0.1"), TypeError, "L2: l2 must be a number, got '0.1'"),
        (lambda: L2(l1=0.1), TypeError, "L2 has no argument 'l1'"),
        (lambda: Dense(3, kernel_regularizer="l1"), ValueError, "Dense: kernel_regularizer='l1' is not known; .* 'l2'"),
        (lambda: Conv2D(3, 2, kernel_regularizer=0.1), TypeError, r"Conv2D: kernel_regularizer must be \"l2\".* 0.1"),
        (lambda: Dense(3, bias_regularizer="l2"), ValueError, "Dense: bias_regularizer=.l2. is not supported"),
        (lambda: regularizers.L1, ImportError, "tinynet has no L1 in tinynet.regularizers; it has L2"),
        (lambda: regularizers.L1L2, ImportError, "tinynet has no L1L2 in tinynet.regularizers; it has L2"),
        (lambda: regularizers.l1, AttributeError, "tinynet has no l1 in tinynet.regularizers; it has L2"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
