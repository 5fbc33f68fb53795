"""evaluate and predict: the same figures however batches are cut, and callbacks that are told of each."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import numpy as np
import pytest

from tinynet import evaluation, parallel, sharding
from tinynet.callbacks import LambdaCallback
from tinynet.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D, Softmax
from tinynet.losses import SparseCategoricalCrossentropy
from tinynet.models import Sequential
from tinynet.plan import Plan
from tinynet.regularizers import L2

Array = np.ndarray
pytestmark = pytest.mark.usefixtures("as_with_vectors")
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((75, 6, 5, 2)).astype(np.float32)
CLASSES = RNG.integers(0, 3, len(IMAGES))


def network(*end: Layer, from_logits: bool = False, num_threads: int = 2, **options: Any) -> Sequential:
    """A convolutional network for IMAGES and CLASSES, with some parameters of both signs."""
    layers = [Input((6, 5, 2)), Conv2D(4, 3, activation="relu", **options), MaxPooling2D(), Flatten(), Dropout(0.5)]
    model = Sequential([*layers, *(end or [Dense(3, activation="softmax")])], seed=0, num_threads=num_threads)
    for param in model.params.values():
        param[...] = np.random.default_rng(1).normal(0, 0.5, param.shape)
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=from_logits), metrics=["accuracy"])
    return model


def by_hand(model: Sequential, batch_size: int) -> list[float]:
    """What the layers say of the same shards, without regularizers."""
    loss, right = 0.0, 0
    for batch in sharding.batches(len(IMAGES), batch_size):
        for rows in sharding.shards(model, batch):
            logits, _ = model.up_to_logits(model.loss).forward(IMAGES[rows])
            loss += float(model.loss.value_and_gradient(logits, CLASSES[rows])[0].sum(dtype=np.float64))
            right += int((logits.argmax(axis=1) == CLASSES[rows]).sum())
    return [loss / len(IMAGES), right / len(IMAGES)]


ENDS = {
    "softmax": lambda: network(),
    "softmax apart": lambda: network(Dense(3), Softmax()),
    "logits": lambda: network(Dense(3), from_logits=True),
    "logits after a softmax": lambda: network(Dense(3, activation="softmax"), Flatten(), from_logits=True),
    "in a network": lambda: network(Sequential([Dense(4, activation="relu"), Sequential([Dense(3), Softmax()])])),
}


@pytest.mark.parametrize("batch_size", [1, 7, 32, 70, 1000])
@pytest.mark.parametrize("end", ENDS)
def test_evaluate_is_what_the_layers_say(end, batch_size):
    model = ENDS[end]()
    expected = by_hand(model, batch_size)
    assert model.evaluate(IMAGES, CLASSES, batch_size, verbose=0) == expected
    with mock.patch.object(Plan, "gives_logits", return_value=False):
        assert model.evaluate(IMAGES, CLASSES, batch_size, verbose=0) == expected


@pytest.mark.parametrize("make", [network, ENDS["logits"], ENDS["in a network"]])
def test_the_usual_networks_are_evaluated_in_one_call_for_each_shard(make):
    with mock.patch.object(Plan, "logits", autospec=True, side_effect=Plan.logits) as logits:
        make().evaluate(IMAGES, CLASSES, verbose=0)
    assert [len(call.args[1]) for call in logits.mock_calls] == [32, 32, 11]


def test_a_network_that_is_nothing_but_a_softmax():
    model = Sequential([Input((3,)), Softmax()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.log(np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]], np.float32))
    assert model.evaluate(x, [1, 0], verbose=0) == pytest.approx((np.log(2) + np.log(8)) / 2)


class Cold(Sequential):
    """Its loss is that of half the logits."""

    def before_softmax(self):
        logits = super().before_softmax()
        forward_with = logits.forward_with
        logits.forward_with = lambda x, rng: (0.5 * forward_with(x, rng)[0], None)
        return logits


def test_a_derived_network_has_logits_of_its_own():
    model = Cold([Input((3,)), Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.set_weights([4 * np.eye(3), np.zeros(3)])
    assert model.evaluate(np.eye(3), [0, 1, 2], verbose=0) == pytest.approx(np.log(1 + 2 * np.exp(-2)))


def test_integers_are_evaluated_and_predicted_as_numbers():
    model, whole = network(), np.round(4 * IMAGES).astype(np.int64)
    as_floats = whole.astype(np.float32)
    assert model.evaluate(whole, CLASSES, verbose=0) == model.evaluate(as_floats, CLASSES, verbose=0)
    np.testing.assert_array_equal(model.predict(whole), model.predict(as_floats))


# Batches together and apart -------------------------------------------------------------------------------------------


VERBS = {"evaluate": "test", "predict": "predict"}


def run(verb: str, model: Sequential, callbacks: list[LambdaCallback] | None = None) -> Any:
    data = (IMAGES,) if verb == "predict" else (IMAGES, CLASSES)
    return getattr(model, verb)(*data, batch_size=10, verbose=0, callbacks=callbacks)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("together", [1, 20, 1024])
def test_neither_threads_nor_batches_that_are_taken_together_change_a_bit(monkeypatch, together, num_threads):
    options = {"kernel_regularizer": L2(0.1)}
    told = LambdaCallback(on_test_batch_end=lambda batch, logs: None, on_predict_batch_begin=lambda batch, logs: None)
    model = network(num_threads=1, **options)
    figures = model.evaluate(IMAGES, CLASSES, 10, verbose=0, callbacks=[told])
    outputs = model.predict(IMAGES, 10, callbacks=[told])
    monkeypatch.setattr(evaluation, "SAMPLES_AT_ONCE", together)
    model = network(num_threads=num_threads, **options)
    assert model.evaluate(IMAGES, CLASSES, 10, verbose=0) == figures
    np.testing.assert_array_equal(model.predict(IMAGES, 10), outputs)


@pytest.mark.parametrize("verb", VERBS)
def test_layers_are_given_one_shard_at_a_time(verb):
    """BLAS may round the products of more rows in another way, so their number is not to depend on the threads."""
    sizes: list[int] = []
    note = Activation("relu")
    forward = note.forward
    note.forward = lambda x: sizes.append(len(x)) or forward(x)
    run(verb, network(note, Dense(3), Softmax(), num_threads=1))
    assert sizes == [10] * 7 + [5]


def test_a_regularizer_counts_once():
    model = network(kernel_regularizer=L2(0.1))
    penalty = 0.1 * float((model.layers[0].params["W"] ** 2).sum())
    loss, _ = model.evaluate(IMAGES, CLASSES, 10, verbose=0)
    assert loss == pytest.approx(by_hand(model, 10)[0] + penalty)


@pytest.fixture
def shared_out(monkeypatch):
    """How many shards were shared out at a time."""
    counts: list[int] = []
    run_all = parallel.run_all

    def note(function, items, *others):
        counts.append(sum(map(len, items)))
        return run_all(function, items, *others)

    monkeypatch.setattr(parallel, "run_all", note)
    return counts


@pytest.mark.parametrize("verb", VERBS)
def test_the_shards_of_several_batches_are_shared_out_together(monkeypatch, shared_out, verb):
    run(verb, network())
    assert shared_out == [8]
    monkeypatch.setattr(evaluation, "SAMPLES_AT_ONCE", 35)
    run(verb, network())
    assert shared_out == [8, 3, 3, 2]
    monkeypatch.setattr(evaluation, "SAMPLES_AT_ONCE", 9)  # less than a batch
    run(verb, network())
    assert shared_out == [8, 3, 3, 2, *[1] * 8]


@pytest.mark.parametrize("verb", VERBS)
def test_a_batch_of_one_goes_in_one_call_where_several_samples_are_left_to_blas(verb):
    model = Sequential([Input((17000,)), Dense(3, activation="softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, told = np.ones((5, 17000), np.float32), LambdaCallback(**{f"on_{VERBS[verb]}_batch_end": lambda *_: None})
    data, name = ((x, np.zeros(5, int)), "logits") if verb == "evaluate" else ((x,), "run")
    with mock.patch.object(Plan, name, autospec=True, side_effect=getattr(Plan, name)) as one_call:
        getattr(model, verb)(*data, batch_size=2, verbose=0, callbacks=[told])
    assert [len(call.args[1]) for call in one_call.mock_calls] == [1]


@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("verb", VERBS)
def test_who_wants_to_be_told_of_a_batch_is_told_before_the_next_one(shared_out, verb, when):
    told: list[tuple[int, int]] = []
    hook = {f"on_{VERBS[verb]}_batch_{when}": lambda batch, logs: told.append((batch, len(shared_out)))}
    run(verb, network(), [LambdaCallback(**hook)])
    assert told == [(batch, batch + (when == "end")) for batch in range(8)]


def test_a_single_sample_is_not_shared_out(shared_out):
    network().predict(IMAGES[:1])
    assert shared_out == []


def test_callbacks_are_told_of_a_single_sample_too():
    told: list[Any] = []
    hooks = ("on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end")
    note = LambdaCallback(**{hook: lambda *given, hook=hook: told.append(hook) for hook in hooks})
    alone = network().predict(IMAGES[:1])
    np.testing.assert_array_equal(network().predict(IMAGES[:1], callbacks=[note]), alone)
    assert told == list(hooks)


@pytest.mark.parametrize("verb", VERBS)
def test_who_wants_to_be_told_of_other_things_does_not_hold_them_up(shared_out, verb):
    told: list[str] = []
    hooks = {f"on_{VERBS[verb]}_{when}": functools.partial(told.append, when) for when in ("begin", "end")}
    run(verb, network(), [LambdaCallback(**{hook: lambda logs, f=f: f() for hook, f in hooks.items()})])
    assert told == ["begin", "end"]
    assert shared_out == [8]


def test_fit_evaluates_batches_together(shared_out):
    network().fit(IMAGES, CLASSES, batch_size=40, validation_data=(IMAGES, CLASSES), verbose=0)
    assert shared_out == [2, 2, 2 + 2]  # two batches of training, 40 and 35, and both for validation


def test_logs_are_the_means_so_far():
    seen: list[dict[str, float]] = []
    model = network()
    run("evaluate", model, [LambdaCallback(on_test_batch_end=lambda batch, logs: seen.append(logs))])
    for number, logs in enumerate(seen):
        stop = min(10 * (number + 1), len(IMAGES))
        loss, accuracy = model.evaluate(IMAGES[:stop], CLASSES[:stop], verbose=0)
        assert logs == {"loss": pytest.approx(loss), "accuracy": pytest.approx(accuracy)}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("expected", "slower"), [([2], 2), ([2, 2], 1)])
def test_work_is_shared_out_again_if_that_took_less_time(monkeypatch, verb, expected, slower):
    for name, value in {"TRIALS": 1, "LONG": 1e9}.items():
        monkeypatch.setattr(parallel, name, value)
    model, asked, now = network(), [], [0.0]
    run_all = parallel.run_all

    def timed(function, items, num_threads):
        now[0] += 1 + (num_threads == slower)
        if num_threads > 1:
            asked.append(num_threads)
        return run_all(function, items, num_threads)

    monkeypatch.setattr(parallel, "run_all", timed)
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: now[0])
    outcomes = [run(verb, model) for _ in range(3)]  # tried in both ways, and then done in the better one
    assert asked == expected
    for other in outcomes[1:]:
        np.testing.assert_array_equal(other, outcomes[0])


def test_the_outputs_for_one_batch_are_those_of_predict():
    model = network()
    np.testing.assert_array_equal(model.predict_on_batch(IMAGES), model.predict(IMAGES, batch_size=len(IMAGES)))
    np.testing.assert_array_equal(model.predict_on_batch(IMAGES[:1].tolist()), model.predict(IMAGES[:1]))
    with pytest.raises(ValueError, match=r"^predict_on_batch: the network takes x of shape \(n, 6, 5, 2\), got"):
        model.predict_on_batch(IMAGES[0])
