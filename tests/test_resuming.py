"""Training that is stopped and goes on from its last checkpoint ends with the bits of training that is not."""

import copy
import pickle
import signal

import numpy as np
import pytest
from kill_and_resume import kill_and_resume, new_model, train
from model_files import IMAGES, ONE_HOT

from tinynet.callbacks import Callback, LambdaCallback, ModelCheckpoint
from tinynet.layers import Dense, Input
from tinynet.models import Sequential, load_model
from tinynet.optimizers import SGD, Adam


def assert_same(model: Sequential, other: Sequential) -> None:
    for weight, same in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    np.testing.assert_equal(model.optimizer.state, other.optimizer.state)
    assert model.rng.bit_generator.state == other.rng.bit_generator.state
    assert (model.optimizer.iterations, model.epoch) == (other.optimizer.iterations, other.epoch)


class DiedError(Exception):
    """Stands for whatever ends a process."""


class StopsAt(Callback):
    """Raises DiedError at a hook of an epoch (and batch)."""

    def __init__(self, hook: str, epoch: int, batch: int = 0):
        self.epoch, self.batch, self.hook, self.current = epoch, batch, hook, -1
        setattr(self, hook, self.stop)

    def on_epoch_begin(self, epoch, logs=None):
        self.current = epoch

    def stop(self, number=0, logs=None):
        if self.current == self.epoch and (number == self.batch or "batch" not in self.hook):
            raise DiedError


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    "stop",
    [
        StopsAt("on_train_batch_begin", epoch=1, batch=0),
        StopsAt("on_train_batch_end", epoch=1, batch=3),
        StopsAt("on_test_begin", epoch=2),
        StopsAt("on_epoch_end", epoch=0),
    ],
    ids=lambda stop: f"{stop.hook} of epoch {stop.epoch}",
)
def test_a_stop_anywhere(optimizer, stop, tmp_path):
    train(tmp_path / "undisturbed", optimizer, 4)
    with pytest.raises(DiedError):
        train(tmp_path / "stopped", optimizer, 4, stop)
    assert load_model(tmp_path / "stopped").epoch == stop.epoch + (stop.hook == "on_epoch_end")
    train(tmp_path / "stopped", optimizer, 4)
    assert_same(load_model(tmp_path / "stopped"), load_model(tmp_path / "undisturbed"))


def test_every_checkpoint_leads_to_the_same_end(tmp_path):
    model = new_model("adam")
    model.fit(IMAGES, ONE_HOT, 8, epochs=4, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{epoch}")])
    for epoch in (1, 2, 3):
        resumed = load_model(tmp_path / str(epoch))
        resumed.num_threads = epoch
        resumed.fit(IMAGES, ONE_HOT, 8, epochs=4, initial_epoch=resumed.epoch, verbose=0)
        assert_same(resumed, model)


def test_ctrl_c_and_the_last_checkpoint(tmp_path, capsys):
    presses = LambdaCallback(
        on_train_batch_end=lambda batch, logs: batch == 2 and iterations() == 8 and signal.raise_signal(signal.SIGINT)
    )
    model, undisturbed, checkpoint = new_model("sgd"), new_model("sgd"), ModelCheckpoint(tmp_path / "last")

    def iterations() -> int:
        return model.optimizer.iterations

    model.fit(IMAGES, ONE_HOT, 8, epochs=3, verbose=0, callbacks=[checkpoint, presses])
    assert "Interrupted in epoch 2/3, after batch 3/5" in capsys.readouterr().err
    resumed = load_model(tmp_path / "last")
    assert resumed.epoch == model.epoch == 1
    resumed.fit(IMAGES, ONE_HOT, 8, epochs=3, initial_epoch=resumed.epoch, verbose=0)
    undisturbed.fit(IMAGES, ONE_HOT, 8, epochs=3, verbose=0)
    assert_same(resumed, undisturbed)


def test_epochs_that_end_early_are_not_counted():
    def stop(batch, logs):
        model.stop_training = True

    model = new_model("sgd")
    model.fit(IMAGES, ONE_HOT, 8, epochs=3, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=stop)])
    assert model.epoch == 0
    model.fit(IMAGES, ONE_HOT, 8, epochs=3, initial_epoch=1, verbose=0)
    assert model.epoch == 3


@pytest.mark.trains_for_long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_random_moments(tmp_path):
    """``python tests/kill_and_resume.py`` does it more often."""
    starts = kill_and_resume(2, "adam", epochs=100, seed=1, folder=tmp_path)
    assert starts == sorted(starts)
    assert starts[-1] > 0


# An optimizer and its model -----------------------------------------------------------------------------------------


X, Y = np.random.default_rng(0).standard_normal((9, 2)), np.arange(9) % 3


def mlp(units: int = 3) -> Sequential:
    return Sequential([Input((2,)), Dense(units, activation="softmax")], seed=0)


LOSS = "sparse_categorical_crossentropy"


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.1)], ids=["SGD", "Adam"])
def test_an_optimizer_that_has_trained_a_model_trains_no_other(make):
    optimizer, first, second = make(), mlp(), mlp()
    first.compile(optimizer, LOSS)
    second.compile(optimizer, LOSS)
    first.train_on_batch(X, Y)
    before = second.get_weights()
    message = f"This {type(optimizer).__name__} has trained another model, .* give every model an optimizer of its own"
    for verb in (
        lambda: second.fit(X, Y, verbose=0),
        lambda: second.train_on_batch(X, Y),
        lambda: second.compile(optimizer, LOSS),
        lambda: mlp().compile(optimizer, LOSS),
    ):
        with pytest.raises(ValueError, match=message):
            verb()
    for weight, same in zip(second.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert optimizer.iterations == 1


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_an_optimizer_goes_on_with_its_model_and_its_copies(make_copy):
    model = mlp()
    model.compile(SGD(0.1, momentum=0.9), LOSS)
    model.train_on_batch(X, Y)
    twin = make_copy(model)
    for each in (model, twin):
        each.compile(each.optimizer, LOSS, ["accuracy"])  # anew, for another metric
        each.train_on_batch(X, Y)
        assert each.optimizer.iterations == 2
    for weight, same in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    with pytest.raises(ValueError, match="has trained another model"):
        twin.compile(model.optimizer, LOSS)


def grown(model: Sequential) -> None:
    model.layers[0].activation = "linear"
    model.add(Dense(3, activation="softmax"))


def renamed(model: Sequential) -> None:
    model.layers[0].name = "first"


@pytest.mark.parametrize("change", [grown, renamed])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_model_that_has_changed_since_its_last_step_is_saved_all_the_same(change, steps, tmp_path):
    model = mlp()
    model.compile(SGD(0.1, momentum=0.9), LOSS)
    model.train_on_batch(X, Y)
    change(model)
    for _ in range(steps):
        model.train_on_batch(X, Y)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for each in (model, loaded):
        each.train_on_batch(X, Y)
    for weight, same in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


def test_an_optimizer_of_other_parameters_is_not_saved(tmp_path):
    model, other = mlp(), mlp(4)
    other.compile(SGD(0.1, momentum=0.9), LOSS)
    other.train_on_batch(X, Y)
    model.compile("sgd", LOSS)
    model.optimizer = other.optimizer
    with pytest.raises(
        ValueError, match=r"SGD cannot be saved: dense/W has shape \(2, 3\), but had \(2, 4\) in earlier"
    ):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("optimizer", ["adam", SGD(0.1, momentum=0.9)])
def test_what_is_remembered_of_a_layer_goes_with_it(optimizer, classes):
    """The one in its place has its name, and may have its shape."""
    model = Sequential([Input((2,)), Dense(4), Dense(3, activation="softmax")], seed=0)
    model.compile(copy.deepcopy(optimizer), LOSS)
    model.train_on_batch(X, Y)
    slots = model.optimizer.slots
    earlier = {slot: getattr(model.optimizer, slot)["dense/W"].copy() for slot in slots}
    model.pop()
    model.add(Dense(classes, activation="softmax"))
    assert model.layers[-1].name == "dense_1"
    assert {key.partition("/")[2] for key in model.optimizer.state} == {"dense/W", "dense/b"}
    for slot in slots:
        np.testing.assert_array_equal(getattr(model.optimizer, slot)["dense/W"], earlier[slot])
    model.train_on_batch(X, Y)
    assert all(getattr(model.optimizer, slot)["dense_1/W"].shape == (4, classes) for slot in slots)
