"""fit, evaluate, predict and what they do to a model: the loop, batch by batch."""

import copy
import itertools
import math
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from forking import answer_of_child, needs_fork
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from tinynet import parallel, sharding, training
from tinynet.callbacks import Callback
from tinynet.layers import (
    Activation,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPooling2D,
    Softmax,
    outer_products,
)
from tinynet.layers.outer_products import OuterProducts
from tinynet.losses import SparseCategoricalCrossentropy, softmax_cross_entropy
from tinynet.models import Sequential
from tinynet.optimizers import SGD, Adam
from tinynet.regularizers import L2
from tinynet.utils import to_categorical

NUM_CLASSES = 3
RNG = np.random.default_rng(0)
# 70 points around three corners of a square: 32 + 32 + 6 with Keras's batch size
Y = RNG.integers(0, NUM_CLASSES, 70)
X = (np.array([[0, 0], [0, 3], [3, 0]])[Y] + RNG.standard_normal((70, 2))).astype(np.float32)
IMAGES = RNG.standard_normal((300, 6, 5, 2)).astype(np.float32)
IMAGE_CLASSES = RNG.integers(0, NUM_CLASSES, 300)


def mlp(*first: Layer, seed: int | None = 0, metrics: tuple[str, ...] = ("accuracy",), **options) -> Sequential:
    """A small compiled network for X and Y; ``first`` come before its layers, ``options`` go to SGD."""
    layers = [Input((2,)), *first, Dense(8, activation="relu"), Dense(NUM_CLASSES, activation="softmax")]
    model = Sequential(layers, seed=seed)
    model.compile(SGD(**{"learning_rate": 0.1, **options}), "sparse_categorical_crossentropy", list(metrics))
    return model


def cnn(num_threads: int | None = None) -> Sequential:
    """A small compiled LeNet for IMAGES and IMAGE_CLASSES."""
    layers = [
        Input((6, 5, 2)),
        Conv2D(4, 3, padding="same", activation="relu"),
        MaxPooling2D(2),
        Conv2D(3, (1, 2), activation="relu"),
        Flatten(),
        Dense(NUM_CLASSES),
        Activation("softmax"),
    ]
    model = Sequential(layers, seed=1, num_threads=num_threads)
    model.compile(SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def assert_same_weights(model: Sequential, other: Sequential) -> None:
    """Bit for bit."""
    for weight, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


class Spy(Linear):
    """Passes everything through, and notes the samples it sees and whether it is asked for its gradient."""

    def __init__(self, on_forward: Callable[[], object] = lambda: None):
        super().__init__()
        self.samples: list[np.ndarray] = []
        self.need_dx: list[bool] = []
        self.noted: list[object] = []
        self.on_forward = on_forward

    def forward(self, x):
        self.samples.extend(x)
        self.noted.append(self.on_forward())
        return super().forward(x)

    def backward(self, dy, cache, *, need_dx=True):
        self.need_dx.append(need_dx)
        return super().backward(dy, cache, need_dx=need_dx)


class Diary(Callback):
    """Notes every call with its arguments."""

    def __init__(self, stop_at: tuple[int, int] | None = None):
        self.calls: list[str] = []
        self.logs: list[dict[str, float]] = []
        self.stop_at = stop_at

    def on_train_begin(self, logs=None):
        self.calls.append("train begins")

    def on_train_end(self, logs=None):
        self.calls.append("train ends")

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.calls.append(f"epoch {epoch} begins")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} ends")
        self.logs.append(dict(logs))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"batch {batch} begins")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"batch {batch} ends")
        self.logs.append(dict(logs))
        if self.stop_at == (self.epoch, batch):
            self.model.stop_training = True


# One step -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["softmax", "logits"])
def test_gradients_of_the_loss_agree_with_finite_differences(ending):
    """Of the whole thing: the network, softmax and cross-entropy in one, and the mean over the batch."""
    logits = [Softmax()] if ending == "softmax" else []
    model = Sequential([Input((2,)), Dense(4, activation="relu"), Dense(NUM_CLASSES), *logits], seed=0)
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=ending == "logits"))
    model = model.astype(np.float64)
    x, y, h = X[:40].astype(np.float64), Y[:40], 1e-6
    _, grads = model.loss_and_gradients(x, y)
    assert grads.keys() == model.params.keys() == {"dense/W", "dense/b", "dense_1/W", "dense_1/b"}
    for name, param in model.params.items():
        slopes = np.zeros_like(param)
        for index in np.ndindex(param.shape):
            before = param[index]
            param[index] = before + h
            ahead, _ = model.loss_and_gradients(x, y)
            param[index] = before - h
            behind, _ = model.loss_and_gradients(x, y)
            param[index] = before
            slopes[index] = (ahead - behind) / (2 * h)
        np.testing.assert_allclose(grads[name], slopes, rtol=1e-6, atol=1e-8)


def test_the_loss_is_the_mean_over_the_batch_by_hand():
    """With all weights 0, every class has probability 1/3; each bias of the last layer gets mean(1/3 - t)."""
    model = mlp()
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    loss, grads = model.loss_and_gradients(X, Y)
    assert loss == pytest.approx(np.log(3), rel=1e-6)
    shares = np.bincount(Y, minlength=3) / len(Y)
    np.testing.assert_allclose(grads["dense_1/b"], 1 / 3 - shares, rtol=1e-5)


def test_a_step_in_the_open_is_train_on_batch_is_fit():
    in_the_open, on_batches, fitted = mlp(momentum=0.9), mlp(momentum=0.9), mlp(momentum=0.9)
    for rows in (slice(0, 32), slice(32, 64), slice(64, 70)):
        _, grads = in_the_open.loss_and_gradients(X[rows], Y[rows])
        in_the_open.optimizer.step(in_the_open.params, grads)
        on_batches.train_on_batch(X[rows], Y[rows])
    fitted.fit(X, Y, shuffle=False, verbose=0)
    assert_same_weights(in_the_open, on_batches)
    assert_same_weights(in_the_open, fitted)
    assert fitted.optimizer.iterations == 3


def test_train_on_batch_returns_the_figures_from_before_the_step():
    model = mlp()
    before = model.test_on_batch(X, Y)
    assert model.train_on_batch(X, Y) == pytest.approx(before)
    assert model.test_on_batch(X, Y)[0] < before[0]
    assert model.train_on_batch(X, Y, return_dict=True).keys() == {"loss", "accuracy"}


def test_parameters_are_updated_in_place():
    model = mlp()
    arrays = dict(model.params)
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert all(model.params[name] is array for name, array in arrays.items())
    assert all((param != weight).any() for param, weight in zip(model.params.values(), before, strict=True))


def test_the_gradient_of_the_data_is_never_computed():
    first, behind = Spy(), Spy()
    model = mlp(first)
    model.train_on_batch(X, Y)
    assert first.need_dx == [], "nothing to learn so early in the network"
    model = Sequential([Input((2,)), Dense(2), behind, Dense(NUM_CLASSES, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(X[:5], Y[:5])
    assert behind.need_dx == [True]


class NotesNeed(Dense):
    def backward_unsummed(self, dy, cache, *, need_dx=True):
        self.needs = need_dx
        return super().backward_unsummed(dy, cache, need_dx=need_dx)


def test_the_first_layer_that_learns_is_not_asked_for_its_input_gradient():
    first, second = NotesNeed(4), NotesNeed(NUM_CLASSES)
    model = Sequential([Input((2,)), Sequential([Linear(), first]), second, Activation("softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(X, Y)
    assert (first.needs, second.needs) == (False, True)


@pytest.mark.parametrize(
    "ending",
    [
        [Dense(NUM_CLASSES, activation="softmax")],
        [Dense(NUM_CLASSES), Activation("softmax")],
        [Dense(NUM_CLASSES), Softmax()],
        [Sequential([Dense(NUM_CLASSES), Sequential([Softmax()])])],
        [Dense(NUM_CLASSES)],
    ],
    ids=["activation=", "Activation", "Softmax", "nested", "from_logits"],
)
def test_softmax_and_cross_entropy_are_one_however_the_softmax_is_written(ending):
    expected = mlp()
    model = Sequential([Input((2,)), Dense(8, activation="relu"), *copy.deepcopy(ending)])
    from_logits = len(ending) == 1 and isinstance(ending[0], Dense) and ending[0].before_softmax() is None
    model.compile(SGD(0.1), SparseCategoricalCrossentropy(from_logits=from_logits))
    model.set_weights(expected.get_weights())
    expected.fit(X, Y, epochs=3, shuffle=False, verbose=0)
    model.fit(X, Y, epochs=3, shuffle=False, verbose=0)
    assert_same_weights(model, expected)


def test_a_sure_and_wrong_network_still_learns():
    """Probabilities that round to 0 have a logarithm here, and a gradient."""
    model = mlp()
    model.layers[-1].params["b"][:] = [1000, 0, 0]
    loss, grads = model.loss_and_gradients(X[:1], np.array([1]))
    assert loss == pytest.approx(1000, rel=0.02)
    np.testing.assert_allclose(grads["dense_1/b"], [1, -1, 0])


def test_nan_in_the_data_shows_in_the_loss():
    x = X.copy()
    x[3, 1] = np.nan
    assert np.isnan(mlp().evaluate(x, Y, verbose=0)[0])


# Epochs -------------------------------------------------------------------------------------------------------------


def test_it_learns():
    history = mlp().fit(X, Y, epochs=40, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["accuracy"][-1] > 0.85


def test_epoch_figures_weight_batches_by_their_size():
    """At a rate of 0 they are those of evaluate, though the last batch has 6 samples and the others 32."""
    model = mlp(learning_rate=0.0)
    history = model.fit(X, Y, verbose=0).history
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert history["loss"] == pytest.approx([loss], rel=1e-6)
    assert history["accuracy"] == [accuracy] == [(model.predict(X).argmax(axis=1) == Y).mean()]


def test_logs_of_a_batch_are_the_means_of_the_epoch_so_far():
    model, diary = mlp(learning_rate=0.0), Diary()
    model.fit(X, Y, shuffle=False, verbose=0, callbacks=[diary])
    for logs, n in zip(diary.logs, (32, 64, 70, 70), strict=True):
        assert list(logs.values()) == pytest.approx(model.evaluate(X[:n], Y[:n], verbose=0), rel=1e-6)


def test_shuffling_takes_every_sample_once_an_epoch_in_a_new_order():
    spy = Spy()
    mlp(spy).fit(X, Y, epochs=2, verbose=0)
    first, second = np.array(spy.samples[:70]), np.array(spy.samples[70:])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(X, axis=0))
        assert (epoch != X).any()
    assert (first != second).any()


def test_without_shuffling_samples_come_in_order():
    spy = Spy()
    model = mlp(spy)
    model.num_threads = 1
    model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(spy.samples, np.concatenate([X, X]))


def test_labels_stay_with_their_samples_when_shuffled():
    model = mlp(learning_rate=0.0)
    assert model.fit(X, Y, verbose=0).history["loss"] == pytest.approx([model.evaluate(X, Y, verbose=0)[0]], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 70, 1000])
def test_any_batch_size(batch_size):
    model, diary = mlp(), Diary()
    model.fit(X, Y, batch_size=batch_size, verbose=0, callbacks=diary)
    steps = -(-70 // batch_size)
    assert model.optimizer.iterations == diary.params["steps"] == steps
    assert diary.calls.count(f"batch {steps - 1} ends") == 1


def test_a_single_sample():
    model = mlp()
    model.fit(X[:1], Y[:1], verbose=0)
    assert model.predict(X[:1]).shape == (1, NUM_CLASSES)
    assert len(model.evaluate(X[:1], Y[:1], verbose=0)) == 2


def test_initial_epoch_goes_on_counting():
    diary = Diary()
    history = mlp().fit(X, Y, epochs=5, initial_epoch=3, verbose=0, callbacks=diary)
    assert history.epoch == [3, 4]
    assert [call for call in diary.calls if "epoch" in call] == [
        "epoch 3 begins",
        "epoch 3 ends",
        "epoch 4 begins",
        "epoch 4 ends",
    ]
    assert mlp().fit(X, Y, epochs=3, initial_epoch=3, verbose=0).history == {}


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_no_epochs_teach_nothing(verbose, capsys):
    model, diary = mlp(), Diary()
    history = model.fit(X, Y, epochs=0, validation_data=(X, Y), verbose=verbose, callbacks=diary)
    assert (history.epoch, history.history) == ([], {})
    assert diary.calls == ["train begins", "train ends"]
    assert_same_weights(model, mlp())
    assert capsys.readouterr().out == ""


def test_two_fits_are_one_longer_fit():
    twice, once = mlp(momentum=0.5), mlp(momentum=0.5)
    twice.fit(X, Y, epochs=2, verbose=0)
    twice.fit(X, Y, epochs=5, initial_epoch=2, verbose=0)
    once.fit(X, Y, epochs=5, verbose=0)
    assert_same_weights(twice, once)


# Validation ---------------------------------------------------------------------------------------------------------


def test_validation_split_takes_the_last_rows_and_learns_from_the_others():
    spy = Spy()
    model = mlp(spy, learning_rate=0.0)
    model.num_threads = 1
    history = model.fit(X, Y, validation_split=0.3, shuffle=False, verbose=0).history
    np.testing.assert_array_equal(spy.samples, X)  # 49 to learn from, and then 21 to watch
    assert [history["val_loss"][0], history["val_accuracy"][0]] == model.evaluate(X[49:], Y[49:], verbose=0)
    assert history["loss"] == pytest.approx([model.evaluate(X[:49], Y[:49], verbose=0)[0]], rel=1e-6)


def test_validation_split_warns_of_classes_that_are_missing():
    order = np.argsort(Y)
    with pytest.warns(UserWarning, match=r"the last 7 samples, and these have none of the classes \[0, 1\]: is the d"):
        mlp().fit(X[order], Y[order], validation_split=0.1, verbose=0)


def test_validation_data_is_watched_and_not_learnt_from():
    model, plain = mlp(), mlp()
    history = model.fit(X, Y, epochs=2, validation_data=(X[:9], Y[:9]), verbose=0).history
    plain.fit(X, Y, epochs=2, verbose=0)
    assert_same_weights(model, plain)
    assert [history["val_loss"][-1], history["val_accuracy"][-1]] == model.evaluate(X[:9], Y[:9], verbose=0)


def test_validation_data_wins_over_a_split():
    model = mlp(learning_rate=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(X, Y, validation_data=(X[:9], Y[:9]), validation_split=0.5, verbose=0).history
    assert history["val_loss"] == [model.evaluate(X[:9], Y[:9], verbose=0)[0]]


@pytest.mark.parametrize(
    ("metrics", "options", "names"),
    [
        ((), {}, ["loss"]),
        (("accuracy",), {}, ["loss", "accuracy"]),
        (("acc",), {"validation_split": 0.2}, ["loss", "acc", "val_loss", "val_acc"]),
        (("accuracy",), {"validation_split": 0.2}, ["loss", "accuracy", "val_loss", "val_accuracy"]),
    ],
)
def test_history_has_a_figure_an_epoch_under_keras_names(metrics, options, names):
    model = mlp(metrics=metrics)
    history = model.fit(X, Y, epochs=3, verbose=0, **options)
    assert list(history.history) == names
    assert all(len(values) == 3 and all(type(v) is float for v in values) for values in history.history.values())
    assert history.epoch == [0, 1, 2]
    assert model.history is history
    assert model.metrics_names == names[: 1 + len(metrics)]


# Callbacks ----------------------------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order():
    diary = Diary()
    model = mlp()
    model.fit(X, Y, batch_size=40, epochs=2, verbose=0, callbacks=[diary])
    batches = ["batch 0 begins", "batch 0 ends", "batch 1 begins", "batch 1 ends"]
    assert diary.calls == [
        "train begins",
        *("epoch 0 begins", *batches, "epoch 0 ends"),
        *("epoch 1 begins", *batches, "epoch 1 ends"),
        "train ends",
    ]
    assert diary.model is model
    assert diary.params == {"verbose": 0, "epochs": 2, "steps": 2}


def test_several_callbacks_are_called_one_after_the_other():
    order = []

    class Named(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_end(self, epoch, logs=None):
            order.append(self.name)

    mlp().fit(X, Y, verbose=0, callbacks=(Named("first"), Named("second")))
    assert order == ["first", "second"]


def test_stop_training_ends_after_the_batch_with_the_figures_so_far():
    diary = Diary(stop_at=(1, 0))
    model = mlp()
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[diary])
    assert diary.calls[-4:] == ["batch 0 begins", "batch 0 ends", "epoch 1 ends", "train ends"]
    assert history.epoch == [0, 1]
    assert model.optimizer.iterations == 3 + 1
    assert model.fit(X, Y, epochs=2, verbose=0).epoch == [0, 1], "the next fit starts afresh"


def test_a_callback_may_change_the_rate_and_use_the_model():
    class Freeze(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.weights = self.model.get_weights()
            self.predicted = self.model.predict(X)
            self.model.optimizer.learning_rate = 0.0

    freeze, model = Freeze(), mlp()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=freeze)
    for weight, frozen in zip(model.get_weights(), freeze.weights, strict=True):
        np.testing.assert_array_equal(weight, frozen)


# Repeating, and threads ---------------------------------------------------------------------------------------------


def test_a_seed_repeats_bit_for_bit():
    first, second, other = mlp(seed=5), mlp(seed=5), mlp(seed=6)
    histories = [model.fit(X, Y, epochs=3, verbose=0).history for model in (first, second, other)]
    assert histories[0] == histories[1] != histories[2]
    assert_same_weights(first, second)
    assert (first.get_weights()[0] != other.get_weights()[0]).all()


def test_without_a_seed_models_differ():
    assert (mlp(seed=None).get_weights()[0] != mlp(seed=None).get_weights()[0]).all()


def test_how_a_batch_is_cut_depends_on_its_size_and_the_networks():
    small = Sequential([Input((1,)), Dense(sharding.SMALL_NETWORK - 2), Dense(1)])
    large = Sequential([Input((1,)), Dense(sharding.SMALL_NETWORK - 1), Dense(1)])
    larger = Sequential([Input((1,)), Dense(2 * sharding.SMALL_NETWORK)])
    assert (sharding.SHARD_SIZE, sharding.LARGE_SHARD, sharding.SMALL_NETWORK) == (32, 64, 16384)

    def sizes(model: Sequential, n: int) -> list[int]:
        return [rows.stop - rows.start for rows in sharding.shards(model, slice(0, n))]

    for n in (1, 8, 15):
        assert sizes(small, n) == sizes(large, n) == sizes(larger, n) == [n]
    assert sizes(large, 16) == sizes(larger, 16) == [8, 8]
    assert (sizes(small, 32), sizes(large, 32)) == ([32], [16, 16])
    assert sizes(small, 33) == sizes(large, 33) == [16, 17]
    assert sizes(small, 64) == sizes(large, 64) == [32, 32]
    assert (sizes(small, 101), sizes(large, 101)) == ([50, 51], [25, 25, 25, 26])
    assert (sizes(small, 128), sizes(large, 128)) == ([64, 64], [32] * 4)
    assert (sizes(small, 130), sizes(large, 130)) == ([32, 33, 32, 33], [21, 22, 22, 21, 22, 22])
    assert (sizes(small, 256), sizes(large, 256)) == ([64] * 4, [32] * 8)


@given(st.integers(0, 1000), st.integers(1, 600), st.booleans())
def test_a_batch_is_cut_into_equal_shards(start, n, is_small):
    model = Sequential([Input((1,)), Dense(sharding.SMALL_NETWORK // (4 if is_small else 1))])
    pieces = sharding.shards(model, slice(start, start + n))
    sizes = [rows.stop - rows.start for rows in pieces]
    assert [i for rows in pieces for i in range(rows.start, rows.stop)] == [*range(start, start + n)]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= (64 if is_small else 32)
    assert len(sizes) == 1 or len(sizes) % 2 == 0


@given(st.lists(st.sampled_from([1, 2, 3, 16, 17, 32, 33, 64]) | st.just(16), max_size=20), st.integers(1, 5))
def test_shards_in_groups(sizes, num_threads):
    ends = np.cumsum(sizes).tolist()
    pieces = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    groups = sharding.in_groups(pieces, num_threads)
    assert list(itertools.chain(*groups)) == pieces
    taken = [0] * num_threads  # by each thread, if the next ones go to the one that has had fewest
    for group in groups:
        rows = sharding.rows_of(group)
        assert (rows.start, rows.stop) == (group[0].start, group[-1].stop)
        assert len(group) in sharding.SHARDS_AT_ONCE
        assert len(group) == 1 or rows.stop - rows.start <= sharding.MOST_ROWS
        assert len(group) == 1 or all(shard.stop - shard.start > 1 for shard in group)
        taken[taken.index(min(taken))] += len(group)
    if 1 not in sizes:
        assert max(taken) == math.ceil(len(sizes) / num_threads)  # no more than with one at a time


@pytest.mark.parametrize(
    ("size", "count", "num_threads", "expected"),
    [
        (16, 4, 1, [4]),
        (16, 8, 2, [4, 4]),
        (16, 7, 2, [2, 2, 1, 1, 1]),
        (16, 7, 1, [4, 2, 1]),
        (17, 4, 1, [2, 2]),
        (32, 4, 2, [2, 2]),
        (32, 4, 4, [1] * 4),
        (33, 4, 1, [1] * 4),
        (1, 4, 1, [1] * 4),
    ],
)
def test_as_many_shards_go_together_as_may(size, count, num_threads, expected):
    pieces = [slice(i * size, (i + 1) * size) for i in range(count)]
    assert [len(group) for group in sharding.in_groups(pieces, num_threads)] == expected


@pytest.mark.parametrize("num_threads", [1, 2])
def test_numbers_too_large_show_in_the_loss_without_a_warning(num_threads):
    model = mlp()
    model.num_threads = num_threads
    model.set_weights([10 * weight for weight in model.get_weights()])
    loss, _ = model.loss_and_gradients(np.float32(3e37) * X, Y)
    assert not np.isfinite(loss)


@pytest.mark.parametrize("large", [0, outer_products.LARGE])
@pytest.mark.parametrize("part_size", [1, 7, 1 << 16])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_batch_cut_into_waves_and_shards_gives_the_gradients_of_the_whole(monkeypatch, num_threads, part_size, large):
    monkeypatch.setattr(outer_products, "LARGE", large)
    monkeypatch.setattr(outer_products, "PART_SIZE", part_size)
    model = cnn(num_threads).astype(np.float64)
    n = 2 * training.WAVE_SIZE + 3
    images, classes = np.tile(IMAGES, (2, 1, 1, 1))[:n].astype(np.float64), np.tile(IMAGE_CLASSES, 2)[:n]
    loss, grads = model.loss_and_gradients(images, classes)
    network = model.up_to_logits(model.loss)
    logits, caches = network.forward(images)
    losses, dlogits = softmax_cross_entropy(logits, classes)
    _, expected = network.backward(dlogits / n, caches, need_dx=False)
    assert loss == pytest.approx(losses.mean(), rel=1e-12)
    assert grads.keys() == expected.keys() == model.params.keys()
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, expected[key], rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("large", [0, outer_products.LARGE])
@pytest.mark.parametrize("batch_size", [33, 100, 300])
def test_one_two_and_three_threads_give_the_same_bits(monkeypatch, batch_size, large):
    monkeypatch.setattr(outer_products, "LARGE", large)
    results = []
    for num_threads in (1, 2, 3):
        model = cnn(num_threads)
        history = model.fit(IMAGES, IMAGE_CLASSES, batch_size, epochs=2, verbose=0, validation_split=0.2).history
        figures = model.evaluate(IMAGES, IMAGE_CLASSES, batch_size, verbose=0)
        results.append((model, history, figures, model.predict(IMAGES, batch_size)))
    model, *expected, outputs = results[0]
    for other, *others, other_outputs in results[1:]:
        assert_same_weights(other, model)
        assert others == expected
        np.testing.assert_array_equal(other_outputs, outputs)


def test_two_models_can_train_at_once():
    def train(model: Sequential) -> None:
        model.fit(IMAGES, IMAGE_CLASSES, 100, epochs=2, verbose=0)

    models, expected = [cnn(2), cnn(3), cnn(2)], cnn(1)
    threads = [threading.Thread(target=train, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train(expected)
    for model in models:
        assert_same_weights(model, expected)


def blas_threads() -> set[int]:
    """Of NumPy's BLAS; SciPy may bring one of its own, which tinynet does not call."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in blas if "scipy.libs" not in library["filepath"]}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_blas_is_held_to_one_thread_and_set_free_again(num_threads):
    spy = Spy(on_forward=blas_threads)
    model = mlp(spy)
    model.num_threads = num_threads
    with threadpool_limits(2, user_api="blas"):
        model.fit(X, Y, verbose=0)
        model.predict(X)
        model.evaluate(X, Y, verbose=0)
        assert all(threads == {1} for threads in spy.noted)
        assert blas_threads() == {2}


class Fails(Linear):
    def forward(self, x):
        raise KeyError("out of order")


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("verb", ["train_on_batch", "evaluate", "predict"])
def test_an_error_in_a_layer_comes_through_and_leaves_everything_in_order(verb, num_threads):
    model = mlp(Fails())
    model.num_threads = num_threads
    before = model.get_weights()
    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):
            with pytest.raises(KeyError, match="out of order"):
                model.predict(X) if verb == "predict" else getattr(model, verb)(X, Y)
        assert blas_threads() == {2}
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert model.optimizer.iterations == 0
    mlp().fit(X, Y, verbose=0)


def _train_in_child(connection) -> None:
    model = cnn(2)
    model.fit(IMAGES, IMAGE_CLASSES, 100, verbose=0)
    connection.send(model.get_weights())


def test_threads_that_use_a_model_for_the_first_time_find_the_same_weights():
    """The first data builds it."""

    class SlowlyMade(Dense):
        def make(self, input_shape, rng):
            time.sleep(0.02)  # in which others begin
            return super().make(input_shape, rng)

    def made() -> Sequential:
        return Sequential([SlowlyMade(5, activation="relu"), SlowlyMade(3)], seed=0)

    model, x, outputs, together = made(), np.ones((4, 7), np.float32), [], threading.Barrier(4)

    def predict() -> None:
        together.wait(60)
        outputs.append(model.predict(x))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = made().predict(x)
    for output in outputs:
        np.testing.assert_array_equal(output, expected)
    assert len(outputs) == 4


def _build_a_model(connection) -> None:
    connection.send(Sequential([Dense(3)], seed=0).predict(np.ones((1, 2))).shape)


@needs_fork
def test_a_child_that_is_forked_while_a_thread_builds_a_model_builds_its_own():
    inside, leave = threading.Event(), threading.Event()

    class MadeWhenTold(Dense):
        def make(self, input_shape, rng):
            inside.set()
            leave.wait(60)
            return super().make(input_shape, rng)

    thread = threading.Thread(target=lambda: Sequential([MadeWhenTold(3)], seed=0).predict(np.ones((1, 2))))
    thread.start()
    assert inside.wait(60)
    try:
        assert answer_of_child(_build_a_model) == (1, 3)
    finally:
        leave.set()
        thread.join()


@needs_fork
def test_a_forked_child_makes_threads_of_its_own():
    model = cnn(2)
    model.fit(IMAGES, IMAGE_CLASSES, 100, verbose=0)  # the pool exists, and its threads do not survive the fork
    for weight, expected in zip(answer_of_child(_train_in_child), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_number_of_threads_comes_from_the_argument_or_the_environment(monkeypatch):
    monkeypatch.setenv("TINYNET_NUM_THREADS", "3")
    model = mlp()
    assert model.num_threads == 3
    model.num_threads = 2
    assert model.num_threads == 2
    monkeypatch.setenv("TINYNET_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="TINYNET_NUM_THREADS must be a positive integer, got 'many'"):
        mlp().fit(X, Y, verbose=0)


# Data ---------------------------------------------------------------------------------------------------------------


def test_data_of_any_type_is_converted():
    counts = np.arange(140).reshape(70, 2) % 11
    expected = mlp()
    expected.fit(counts.astype(np.float32), Y, verbose=0)
    for x in (
        counts.astype(np.uint8),
        counts.astype(np.float64),
        counts.astype(np.float16),
        counts.tolist(),
        np.asfortranarray(counts),
    ):
        model = mlp()
        model.fit(x, Y.tolist(), verbose=0)
        assert_same_weights(model, expected)
        np.testing.assert_array_equal(model.predict(x), expected.predict(counts))
        assert model.predict(x).dtype == np.float32


def test_the_data_stay_as_they_are():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    model = mlp()
    model.fit(x, y, validation_split=0.2, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_one_hot_labels_train_as_integers_do():
    integers, one_hot = mlp(), mlp()
    one_hot.compile(SGD(0.1), "categorical_crossentropy")
    integers.fit(X, Y, verbose=0)
    one_hot.fit(X, to_categorical(Y), verbose=0)
    assert_same_weights(one_hot, integers)


def test_a_float64_copy_trains_in_float64():
    model = mlp()
    double = model.astype(np.float64)
    double.fit(X.astype(np.float64), Y, verbose=0)
    assert double.dtype == np.float64
    assert double.predict(X).dtype == np.float64
    model.fit(X, Y, verbose=0)
    for weight, exact in zip(model.get_weights(), double.get_weights(), strict=True):
        assert exact.dtype == np.float64
        np.testing.assert_allclose(weight, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.1, momentum=0.9), Adam], ids=["SGD", "Adam"])
def test_a_float64_copy_of_a_trained_model_remembers_in_float64(optimizer):
    model = mlp()
    model.compile(optimizer(), "sparse_categorical_crossentropy")
    model.train_on_batch(X, Y)
    double = model.astype(np.float64)
    for each in (model, double):
        each.train_on_batch(X, Y)
    for name, array in double.optimizer.state.items():
        assert array.dtype == np.float64
        np.testing.assert_allclose(model.optimizer.state[name], array, rtol=1e-3, atol=1e-6)


# evaluate and predict -----------------------------------------------------------------------------------------------


def test_evaluate_is_the_mean_over_all_samples_whatever_the_batch_size():
    model = mlp()
    p = model.predict(X).astype(np.float64)
    expected = [-np.log(p[np.arange(70), Y]).mean(), (p.argmax(axis=1) == Y).mean()]
    for batch_size in (None, 1, 33, 64, 500):
        assert model.evaluate(X, Y, batch_size, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_evaluate_returns_a_list_a_number_or_a_dictionary():
    loss, accuracy = mlp().evaluate(X, Y, verbose=0)
    assert mlp(metrics=()).evaluate(X, Y, verbose=0) == loss
    assert mlp().evaluate(X, Y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert mlp().test_on_batch(X, Y, return_dict=True) == pytest.approx({"loss": loss, "accuracy": accuracy})


def test_evaluate_and_predict_change_nothing():
    model = mlp()
    before, state = model.get_weights(), model.rng.bit_generator.state
    model.evaluate(X, Y, verbose=0)
    model.predict(X)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert model.rng.bit_generator.state == state
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("batch_size", [None, 1, 33, 64, 500])
def test_predict_is_forward_of_everything(batch_size):
    model = cnn()
    outputs = model.predict(IMAGES, batch_size)
    np.testing.assert_allclose(outputs, model.forward(IMAGES)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-6)


def test_predict_needs_no_compile():
    model = Sequential([Input((2,)), Dense(3)], seed=0)
    np.testing.assert_allclose(model.predict(X), X @ model.get_weights()[0], rtol=1e-5, atol=1e-6)


# What is printed ----------------------------------------------------------------------------------------------------


def test_verbose_0_prints_nothing(capsys):
    model = mlp()
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.predict(X)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_there_is_a_line_an_epoch(capsys, verbose):
    model = mlp()
    history = model.fit(X, Y, epochs=2, validation_split=0.3, verbose=verbose).history
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for epoch, line in enumerate(lines):
        assert line.startswith(f"Epoch {epoch + 1}/2 ")
        for name, values in history.items():
            assert f"  {name} {values[epoch]:.4f}" in line
    model.evaluate(X, Y)
    assert "70 images" in capsys.readouterr().out


# Models -------------------------------------------------------------------------------------------------------------


def test_a_model_without_an_input_shape_builds_itself_on_the_first_data():
    for verb in ("fit", "evaluate", "predict", "train_on_batch", "build"):
        model = Sequential([Dense(8, activation="relu"), Dense(NUM_CLASSES, activation="softmax")], seed=0)
        model.compile(SGD(0.1), "sparse_categorical_crossentropy", ["accuracy"])
        assert model.output_shape is None
        with pytest.raises(ValueError, match="Sequential has no parameters to count yet: give it an input shape"):
            model.count_params()
        if verb == "build":
            assert model.build((None, 2)) == (3,)
        elif verb == "predict":
            model.predict(X)
        elif verb != "fit":
            getattr(model, verb)(X, Y)
        model.fit(X, Y, verbose=0)
        assert (model.input_shape, model.output_shape) == ((2,), (3,))
        if verb != "train_on_batch":
            expected = mlp()
            expected.fit(X, Y, verbose=0)
            assert_same_weights(model, expected)


class RemembersItsSize(Layer):
    def make(self, input_shape, rng):
        self.size = input_shape[-1]
        return input_shape

    def forward(self, x):
        return self.check_input(x), None

    def backward(self, dy, cache, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize(
    "refused",
    {
        "images that the second convolution is too large for": lambda model: model.fit(IMAGES[:, :3], IMAGE_CLASSES),
        "predict": lambda model: model.predict(IMAGES[:, :3]),
        "build": lambda model: model.build((3, 5, 2)),
        "labels out of range": lambda model: model.fit(IMAGES[:, :5], IMAGE_CLASSES + 99),
        "too few labels": lambda model: model.train_on_batch(IMAGES[:, :5], IMAGE_CLASSES[:-1]),
        "validation images of another size": lambda model: model.fit(
            IMAGES[:, :5], IMAGE_CLASSES, validation_data=(IMAGES, IMAGE_CLASSES)
        ),
        "a split that leaves nothing": lambda model: model.fit(IMAGES[:1, :5], IMAGE_CLASSES[:1], validation_split=0.5),
    }.items(),
    ids=lambda item: item[0],
)
def test_data_that_is_refused_builds_nothing(refused):
    def unbuilt() -> Sequential:
        features = Sequential([Conv2D(3, 3, activation="tanh"), RemembersItsSize(), Conv2D(3, (2, 1))])
        model = Sequential([features, Flatten(), Dense(NUM_CLASSES, activation=Softmax())], seed=2)
        model.compile(SGD(0.1), "sparse_categorical_crossentropy")
        return model

    model, expected = unbuilt(), unbuilt()
    with pytest.raises(ValueError, match=r"."):
        refused[1](model)
    assert model.output_shape is None
    assert dict(model.params) == {}
    assert not hasattr(model.layers[0].layers[1], "size")
    for each in (model, expected):
        each.fit(IMAGES, IMAGE_CLASSES, verbose=0)
    assert_same_weights(model, expected)


def test_nested_models_train_as_flat_ones_do():
    flat = cnn()
    features = Sequential([Conv2D(4, 3, padding="same", activation="relu"), MaxPooling2D(2)], name="features")
    head = Sequential([Flatten(), Sequential([Dense(NUM_CLASSES)]), Activation("softmax")])
    nested = Sequential([Input((6, 5, 2)), features, Conv2D(3, (1, 2), activation="relu"), head], seed=1)
    nested.compile(SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    nested.set_weights(flat.get_weights())
    nested.rng.bit_generator.state = flat.rng.bit_generator.state
    expected = flat.fit(IMAGES, IMAGE_CLASSES, 100, epochs=2, verbose=0).history
    assert nested.fit(IMAGES, IMAGE_CLASSES, 100, epochs=2, verbose=0).history == expected
    assert_same_weights(nested, flat)
    assert list(nested.params) == [
        "features/conv2d/W",
        "features/conv2d/b",
        "conv2d/W",
        "conv2d/b",
        "sequential/sequential/dense/W",
        "sequential/sequential/dense/b",
    ]


def test_weights_go_from_model_to_model():
    model, other = mlp(seed=1), mlp(seed=2)
    model.fit(X, Y, verbose=0)
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert [weight.shape for weight in model.get_weights()] == [(2, 8), (8,), (8, 3), (3,)]
    model.get_weights()[0][:] = 0
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_weights_are_checked_before_any_is_changed():
    model = mlp()
    before = model.get_weights()
    weights = [np.zeros_like(weight) for weight in before]
    for wrong in (weights[:-1], [*weights[:-1], np.zeros(4)], [*weights[:-1], np.array(["a", "b", "c"])]):
        with pytest.raises(ValueError, match=r"set_weights takes 4 arrays, got 3|'dense_1/b' is an array of numbers"):
            model.set_weights(wrong)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_copy_of_a_model_is_its_own():
    model = mlp(momentum=0.9)
    model.fit(X, Y, verbose=0)
    twin = copy.deepcopy(model)
    before = model.get_weights()
    twin.fit(X, Y, verbose=0)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    model.fit(X, Y, verbose=0)
    assert_same_weights(twin, model)


def test_layers_are_named_as_in_keras_and_found_by_name_or_index():
    model = cnn()
    names = ["conv2d", "max_pooling2d", "conv2d_1", "flatten", "dense", "activation"]
    assert [layer.name for layer in model.layers] == names
    assert model.get_layer("conv2d_1") is model.get_layer(index=2) is model.layers[2]
    assert model.get_layer(index=-1) is model.layers[-1]


def test_the_summary_counts_parameters(capsys):
    model = cnn()
    model.summary()
    text = capsys.readouterr().out
    counts = [3 * 3 * 2 * 4 + 4, 1 * 2 * 4 * 3 + 3, 9 * 3 + 3]  # 3 * 1 * 3 outputs of the second convolution
    for layer, count in zip([model.layers[0], model.layers[2], model.layers[4]], counts, strict=True):
        assert f"{layer.name} ({type(layer).__name__})" in text
        assert layer.count_params() == count
    assert f"Parameters: {sum(counts)}" in text
    assert model.count_params() == sum(counts)
    lines: list[str] = []
    half_built = Sequential([Flatten(input_shape=(2, 2)), Dense(3)])
    half_built.layers.append(Dense(5, name="last"))
    half_built.summary(print_fn=lines.append)
    *rows, _, last = lines.pop().splitlines()[4:]
    assert [row.split() for row in rows] == [
        ["flatten", "(Flatten)", "(4,)", "0"],
        ["dense", "(Dense)", "(3,)", "15"],
        ["last", "(Dense)", "?", "?"],
    ]
    assert "Not built yet" in last
    Sequential().summary(None, None, lines.append)  # as in Keras, the third argument
    assert "Not built yet" in lines.pop()


# What a mistake leaves behind: nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": X[:, :1]},
        {"x": X[:0], "y": Y[:0]},
        {"y": Y[:-1]},
        {"y": Y + 1},
        {"epochs": -1},
        {"batch_size": 0},
        {"verbose": 3},
        {"callbacks": ["stop"]},
        {"validation_split": 1.5},
        {"validation_data": (X, Y - 1)},
        {"validation_data": (X,)},
        {"class_weight": {0: 1}},
        {"shuffle": "batch"},
        {"epoch": 3},
    ],
    ids=lambda arguments: ", ".join(arguments),
)
def test_a_fit_that_is_refused_changes_nothing(arguments):
    model = mlp(momentum=0.9)
    history = model.fit(X, Y, verbose=0)
    before, state = model.get_weights(), model.rng.bit_generator.state
    with pytest.raises((ValueError, TypeError)):
        model.fit(**{"x": X, "y": Y, "verbose": 0, **arguments})
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert model.rng.bit_generator.state == state
    assert model.optimizer.iterations == 3
    assert model.history is history


def test_an_add_that_is_refused_changes_nothing():
    model = Sequential(seed=0)
    with pytest.raises(ValueError, match="takes images"):
        model.add(Conv2D(2, 3, input_shape=(9,)))
    assert model.layers == []
    model.add(Dense(3, input_shape=(4,)))
    with pytest.raises(ValueError, match="takes images"):
        model.add(Conv2D(2, 3))
    assert [layer.name for layer in model.layers] == ["dense"]
    model.add(Dense(2))
    assert model.output_shape == (2,)


def test_a_compile_that_is_refused_changes_nothing():
    model = mlp()
    optimizer, loss, metrics = model.optimizer, model.loss, model.metrics
    for wrong in (
        {"loss": "mse"},
        {"optimizer": "adamw"},
        {"metrics": ["f1"]},
        {"loss": SparseCategoricalCrossentropy(True)},
    ):
        with pytest.raises(ValueError, match=r"not known|from_logits"):
            model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", **wrong})
    assert (model.optimizer, model.loss, model.metrics) == (optimizer, loss, metrics)


@pytest.mark.filterwarnings("error")
def test_finite_numbers_whose_sum_is_not_are_finite():
    assert training._all_finite(np.full(10, 3e38, np.float32))
    assert not training._all_finite(np.array([3e38, np.inf, 3e38], np.float32))
    assert not training._all_finite(np.array([np.inf, -np.inf]))
    assert not training._all_finite(np.array([1.0, np.nan]))


def test_threads_share_the_shards_and_then_the_rows_of_large_weights(monkeypatch):
    """The two kernels, whose gradients are added up later, have 16 + 24 numbers."""
    asked: list[tuple[int, int]] = []
    run_all = parallel.run_all

    def note(function, items, num_threads):
        asked.append((len(items), num_threads))
        return run_all(function, items, num_threads)

    monkeypatch.setattr(parallel, "run_all", note)
    monkeypatch.setattr(outer_products, "PART_SIZE", 16)
    monkeypatch.setattr(outer_products, "LARGE", 0)
    model = mlp()
    model.num_threads = 3
    model.train_on_batch(X, Y)
    assert asked == [(2, 3), (1 + 2 + 2, 3)]  # two shards of 35; 2 rows of 8, 5 + 3 rows of 3, and two biases


def test_shards_and_rows_are_each_left_to_one_thread_that_is_sooner_done(monkeypatch):
    monkeypatch.setattr(parallel, "LONG", math.inf)
    monkeypatch.setattr(outer_products, "LARGE", 0)
    model = mlp()
    model.num_threads = 2
    model.train_on_batch(X, Y)
    assert set(model.plan.paces) == {("train", len(X)), ("step", len(X))}
    for work, num_threads in itertools.product(("train", "step"), (1, 2)):
        monkeypatch.setattr(model.plan.paces[work, len(X)], "num_threads", lambda most, fixed=num_threads: fixed)
        asked: list[int] = []
        with mock.patch.object(parallel, "run_all", wraps=parallel.run_all) as run_all:
            model.train_on_batch(X, Y)
        asked = [call.args[2] for call in run_all.call_args_list]
        assert asked[work == "step"] == num_threads


@pytest.mark.parametrize(("num_threads", "expected"), [(2, [2, 2]), (1, [4])])
def test_a_thread_alone_takes_more_shards_together(monkeypatch, num_threads, expected):
    pieces, pace = [slice(i, i + 2) for i in range(0, 8, 2)], parallel.Pace()
    monkeypatch.setattr(pace, "num_threads", lambda most: num_threads)
    assert sharding.run_in_groups(len, pieces, 2, pace) == expected


def test_a_single_shard_is_no_matter_of_pace(monkeypatch):
    monkeypatch.setattr(parallel.Pace, "run", mock.Mock(side_effect=AssertionError))
    assert sharding.run_in_groups(len, [slice(0, 5)], 2, parallel.Pace()) == [1]


class Norms(SGD):
    """Its step depends on the whole gradient."""

    def update(self, w, g, lr, *remembered):
        w -= lr * g / np.linalg.norm(g)


class Steps(SGD):
    """It has a ``step`` of its own."""

    def step(self, params, grads):
        for name, grad in grads.items():
            params[name][...] -= np.float32(0.5) * grad


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.1),
        lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda: Adam(0.1, weight_decay=0.1),
        lambda: Norms(0.1),
        Steps,
    ],
)
def test_gradients_that_are_used_part_by_part_give_the_step_of_whole_ones(monkeypatch, make, num_threads):
    monkeypatch.setattr(outer_products, "LARGE", 0)
    monkeypatch.setattr(outer_products, "PART_SIZE", 9)
    whole, by_parts = mlp(), mlp()
    for model in (whole, by_parts):
        model.num_threads = num_threads
        model.compile(make(), model.loss)
    for _ in range(3):
        _, grads = whole.loss_and_gradients(X, Y)
        whole.optimizer.step(whole.params, grads)
        by_parts.train_on_batch(X, Y)
    assert_same_weights(whole, by_parts)
    assert whole.optimizer.iterations == by_parts.optimizer.iterations
    for name, array in whole.optimizer.state.items():
        np.testing.assert_array_equal(by_parts.optimizer.state[name], array)


def test_only_a_step_that_treats_each_number_by_itself_is_given_parts(monkeypatch):
    assert SGD().takes_outer_products
    assert Adam().takes_outer_products
    assert not Norms().takes_outer_products
    assert not Steps().takes_outer_products
    for name in ("update", "step"):
        optimizer = SGD()
        monkeypatch.setattr(optimizer, name, lambda *_: None)
        assert not optimizer.takes_outer_products


def test_warnings_of_a_step_of_ones_own_are_shown():
    class Overflows(SGD):
        def update(self, w, g, lr, *remembered):
            np.full(1, 3e38, np.float32) * np.float32(10)

    model = mlp()
    model.compile(Overflows(0.1), model.loss)
    with pytest.warns(RuntimeWarning, match="overflow"):
        model.train_on_batch(X, Y)


def test_a_gradient_that_may_overflow_but_does_not_makes_a_step(monkeypatch):
    """Factors of 1e30, of different samples: the bound of their products says nothing, but the sum is finite."""
    monkeypatch.setattr(outer_products, "LARGE", 0)
    results = []
    for possible in (True, False):
        monkeypatch.setattr(OuterProducts, "is_surely_finite", lambda _, possible=possible: possible)
        model = mlp()
        model.train_on_batch(X, Y)
        results.append(model)
    assert_same_weights(*results)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("entry", [(0, 0), (9, 2)])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_gradients_are_looked_at_and_sums_of_outer_products_part_by_part(monkeypatch, num_threads, entry, number):
    monkeypatch.setattr(outer_products, "PART_SIZE", 6)
    left, right = np.ones((4, 10)), np.ones((4, 3))
    left[1, entry[0]], right[1, entry[1]] = number, 0.5
    grads = {
        "good": OuterProducts(np.ones((4, 10)), np.ones((4, 3))),
        "bad": OuterProducts(left, right),
        "b": np.ones(3),
        "bad b": np.array([1.0, number, 2.0]),
    }
    model = mlp()
    model.num_threads = num_threads
    training.plan_of(model)
    assert training.add_up(model, grads, 4) == {"good"}
    assert training.add_up(model, {"b": np.ones(3)}, 4) == set()
    assert all(isinstance(grad, np.ndarray) for grad in grads.values())
    assert np.isfinite(grads["good"]).all()
    assert not np.isfinite(grads["bad"][entry])


def overflowing(change: Callable[[dict[str, Any], set[str]], set[str]]) -> Any:
    """``add_up``, after which ``change`` has its way with the gradients."""
    add_up = training.add_up
    return lambda model, grads, n: change(grads, add_up(model, grads, n))


def test_two_finite_sums_whose_sum_is_not(monkeypatch):
    """Each wave's gradient is finite: what was known of the waves says nothing of the batch."""

    def large(grads, finite):
        for name in finite:
            grads[name][...] = np.finfo(np.float32).max
        return finite

    monkeypatch.setattr(outer_products, "LARGE", 0)
    monkeypatch.setattr(training, "WAVE_SIZE", len(X) // 2)
    monkeypatch.setattr(training, "add_up", overflowing(large))
    model = mlp()
    before = model.get_weights()
    with pytest.raises(training.DivergenceError, match="gradient of dense/W"):
        model.train_on_batch(X, Y)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_finite_gradient_and_a_regularizer_whose_sum_is_not(monkeypatch):
    def large(grads, finite):
        grads["dense/W"][...] = np.finfo(np.float32).max
        return finite

    monkeypatch.setattr(outer_products, "LARGE", 0)
    monkeypatch.setattr(training, "add_up", overflowing(large))
    model = Sequential([Input((2,)), Dense(3, kernel_regularizer=L2(1e37))], seed=0)
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(training.DivergenceError, match="gradient of dense/W"):
        model.train_on_batch(X, Y)
