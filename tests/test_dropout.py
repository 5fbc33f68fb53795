"""Dropout: what is dropped and scaled, by hand; and in training, the same bits for any number of threads."""

import numpy as np
import pytest

from tinynet import sharding
from tinynet.layers import Activation, Dense, Dropout, Input, Layer
from tinynet.models import Sequential
from tinynet.optimizers import SGD

X = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
Y = np.arange(100) % 3


def built(layer: Layer, *shape: int) -> Layer:
    layer.build(shape, np.random.default_rng(0))
    return layer


def network(*first: Layer, seed: int = 1, threads: int = 1, rate: float = 0.1) -> Sequential:
    """A compiled network for X and Y that begins with some layers."""
    last = [Dense(8, activation="tanh"), Dense(3, activation="softmax")]
    model = Sequential([Input((6,)), *first, *last], seed=seed, num_threads=threads)
    model.compile(SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def state(model: Sequential) -> dict:
    return model.rng.bit_generator.state


# The layer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "scale"), [(0.75, 4), (0.5, 2), (0.2, 1.25), (0, 1)])
def test_a_share_is_dropped_and_the_rest_scaled_up(rate, scale):
    dropout = built(Dropout(rate), 50, 40)
    x = np.random.default_rng(1).uniform(1, 2, (10, 50, 40))
    y, cache = dropout.forward(x, np.random.default_rng(2))
    dropped = y == 0
    assert dropped.mean() == pytest.approx(rate, abs=0.02)
    np.testing.assert_allclose(y[~dropped], scale * x[~dropped], rtol=1e-15)
    assert y.mean() == pytest.approx(x.mean(), rel=0.04)
    for axis in ((1, 2), (0, 2), (0, 1)):  # every entry has a fate of its own
        shares = dropped.mean(axis=axis)
        assert rate == 0 or 0 < shares.min() < shares.max() < 1
    dy = np.random.default_rng(3).uniform(1, 2, y.shape)
    dx, grads = dropout.backward(dy, cache)
    np.testing.assert_allclose(dx, np.where(dropped, 0, scale * dy), rtol=1e-15)
    assert grads == {}


@pytest.mark.parametrize(("rate", "kept"), [(0, [1, 1, 1]), (0.25, [0, 1, 1]), (0.5, [0, 0, 1])])
def test_of_numbers_from_0_to_just_below_1_those_below_the_rate_are_dropped(rate, kept):
    class Generator:
        def random(self, shape, dtype):
            return np.array([[0, 0.25, 0.5]], dtype)

    y, _ = built(Dropout(rate), 3).forward(np.ones((1, 3)), Generator())
    np.testing.assert_array_equal(y > 0, [kept])


def test_without_a_generator_nothing_is_dropped():
    dropout = built(Dropout(0.9), 6)
    y, cache = dropout.forward(X)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(dropout.backward(X, cache)[0], X)


@pytest.mark.parametrize("seed", [None, 1])
def test_no_two_of_many_forwards_drop_the_same(seed):
    dropout, rng = built(Dropout(0.5, seed=seed), 6), np.random.default_rng(0)
    assert len({dropout.forward(X, rng)[0].tobytes() for _ in range(100)}) == 100


def test_the_layers_seed_makes_other_numbers_of_the_same_generator():
    def drop(seed: int | None, generator: int) -> np.ndarray:
        return built(Dropout(0.5, seed=seed), 6).forward(X, np.random.default_rng(generator))[0]

    different = [drop(seed, generator) for seed in (None, 0, 1) for generator in (5, 6)]
    assert all((a != b).any() for i, a in enumerate(different) for b in different[:i])
    np.testing.assert_array_equal(drop(1, 5), drop(1, 5))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rate": 1.5}, ValueError, "Dropout: rate must be finite and between 0 and 1, got 1.5"),
        ({"rate": -0.1}, ValueError, "Dropout: rate must be finite and between 0 and 1, got -0.1"),
        ({"rate": 1}, ValueError, "Dropout: rate must be below 1, got 1"),
        ({"rate": "half"}, TypeError, "Dropout: rate must be a number, got 'half'"),
        ({"rate": 0.5, "seed": -1}, ValueError, "Dropout: seed must be at least 0, got -1"),
        ({"rate": 0.5, "seed": 0.5}, TypeError, "Dropout: seed must be an integer, got 0.5"),
        ({"rate": 0.5, "noise_shape": (1, 6)}, ValueError, "Dropout: noise_shape=.* is not supported by tinynet"),
        ({"rate": 0.5, "p": 1}, TypeError, "Dropout has no argument 'p'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Dropout(**arguments)


# In training --------------------------------------------------------------------------------------------------------


def trained(threads: int, **options) -> Sequential:
    """A network with dropout in it, and in a network in it, trained for some batches of several shards each."""
    inner = Sequential([Dropout(0.3), Dense(6, activation="relu"), Dropout(0.2, seed=4)])
    model = network(Dropout(0.1), inner, threads=threads, **options)
    model.fit(X, Y, batch_size=70, epochs=2, verbose=0)
    return model


def test_any_number_of_threads_gives_the_same_bits():
    models = [trained(threads) for threads in (1, 2, 5)]
    for model in models[1:]:
        assert model.history.history == models[0].history.history
        assert state(model) == state(models[0])
        for name, param in model.params.items():
            np.testing.assert_array_equal(param, models[0].params[name])


def test_training_repeats_with_its_seed_and_only_with_it():
    a, b, c = trained(1), trained(1), trained(1, seed=2)
    assert a.history.history == b.history.history
    assert a.history.history["loss"] != c.history.history["loss"]


class Spy(Dropout):
    """Draws a number in each forward pass of training, and writes it down."""

    def __init__(self, drawn: list[float]):
        super().__init__(0.5)
        self.drawn = drawn

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, object]:
        if rng is not None:
            self.drawn.append(rng.random())
        return super().forward(x, rng)


def test_every_shard_of_every_batch_draws_numbers_of_its_own():
    drawn: list[float] = []
    model = network(Spy(drawn))
    for _ in range(50):
        model.train_on_batch(X, Y)
    shards = sharding.shards(model, slice(0, len(X)))
    assert len(shards) > 1
    assert len(drawn) == len(set(drawn)) == 50 * len(shards)


def test_only_training_drops():
    drawn: list[float] = []
    model = network(Sequential([Spy(drawn)]))
    before = state(model)
    predictions = model.predict(X, batch_size=100)
    figures = model.evaluate(X, Y, verbose=0), model.test_on_batch(X, Y)
    assert not drawn
    assert state(model) == before
    plain = network(seed=5)
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(plain.predict(X, batch_size=100), predictions)
    assert (plain.evaluate(X, Y, verbose=0), plain.test_on_batch(X, Y)) == figures


@pytest.mark.parametrize("train", ["fit", "train_on_batch", "loss_and_gradients"])
def test_all_ways_to_train_drop_alike(train):
    model, expected = network(Dropout(0.5), rate=0.0), network(Dropout(0.5), rate=0.0)
    loss, _ = expected.loss_and_gradients(X, Y)
    if train == "fit":
        losses = model.fit(X, Y, batch_size=100, shuffle=False, verbose=0).history["loss"]
    else:
        losses = [model.train_on_batch(X, Y)[0] if train == "train_on_batch" else model.loss_and_gradients(X, Y)[0]]
    assert losses == [loss]
    assert loss != model.evaluate(X, Y, verbose=0)[0]
    assert state(model) == state(expected)


def test_the_gradient_is_that_of_the_loss_with_the_same_parts_dropped():
    model = network(Dropout(0.5), Dense(5), Dropout(0.2)).astype(np.float64)
    start = state(model)
    _, grads = model.loss_and_gradients(X, Y)
    name, h = "dense/W", 1e-6
    for i, j in np.ndindex(2, 5):
        losses = []
        for sign in (1, -1):
            model.rng.bit_generator.state = start
            model.params[name][i, j] += sign * h
            losses.append(model.loss_and_gradients(X, Y)[0])
            model.params[name][i, j] -= sign * h
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(grads[name][i, j], rel=1e-6, abs=1e-9)


def test_networks_without_dropout_draw_nothing_but_the_order_of_samples():
    model = network(Activation("relu"))
    before = state(model)
    model.fit(X, Y, shuffle=False, verbose=0)
    model.train_on_batch(X, Y)
    model.loss_and_gradients(X, Y)
    assert state(model) == before
    model.fit(X, Y, epochs=2, verbose=0)
    order = np.random.default_rng()
    order.bit_generator.state = before
    for _ in range(2):
        order.permutation(len(X))
    assert state(model) == order.bit_generator.state
