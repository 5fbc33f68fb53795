"""Callbacks: each by what a user sees of it, with Keras's rules worked out by hand."""

import json
import os

import numpy as np
import pytest

from tinynet.callbacks import (
    Callback,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from tinynet.callbacks.callback import CallbackList
from tinynet.layers import Dense, Input
from tinynet.models import Sequential, load_model
from tinynet.optimizers import SGD
from tinynet.optimizers.schedules import ExponentialDecay

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 70)


def mlp(rate: float = 0.1, metrics=("accuracy",)) -> Sequential:
    model = Sequential([Input((2,)), Dense(3, activation="softmax")], seed=0)
    model.compile(SGD(rate), "sparse_categorical_crossentropy", list(metrics))
    return model


class Says(Callback):
    """Puts figures of our choice into the logs of each epoch, and gives the weights a number of their own."""

    def __init__(self, **figures):
        self.figures = figures

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.figures.items()})
        self.model.layers[0].params["b"][:] = epoch


def epochs_until_stop(values, **options) -> int:
    says, stop = Says(val_loss=values), EarlyStopping(**options)
    return len(mlp().fit(X, Y, epochs=len(values), verbose=0, callbacks=[says, stop]).epoch)


# The calls ------------------------------------------------------------------------------------------------------------


def test_every_hook_is_called_in_the_order_that_is_documented():
    calls = []
    notes = LambdaCallback(
        **{
            name: lambda *arguments, name=name: calls.append((name.removeprefix("on_"), *arguments[:-1]))
            for name in dir(Callback)
            if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end")
        }
    )
    model = mlp()
    model.fit(X, Y, batch_size=50, verbose=0, callbacks=[notes], validation_data=(X[:9], Y[:9]))
    test = [("test_begin",), ("test_batch_begin", 0), ("test_batch_end", 0), ("test_end",)]
    assert calls == [
        ("train_begin",),
        ("epoch_begin", 0),
        *[("train_batch_begin", 0), ("train_batch_end", 0), ("train_batch_begin", 1), ("train_batch_end", 1)],
        *test,
        ("epoch_end", 0),
        ("train_end",),
    ]
    calls.clear()
    model.evaluate(X[:9], Y[:9], verbose=0, callbacks=[notes])
    assert calls == test
    calls.clear()
    model.predict(X, batch_size=40, callbacks=notes)
    assert calls == [
        ("predict_begin",),
        *[("predict_batch_begin", 0), ("predict_batch_end", 0), ("predict_batch_begin", 1), ("predict_batch_end", 1)],
        ("predict_end",),
    ]


def test_the_older_names_of_the_batch_hooks_are_called_too():
    class Old(Callback):
        batches = ()

        def on_batch_end(self, batch, logs=None):
            self.batches = (*self.batches, batch)

    old = Old()
    mlp().fit(X, Y, verbose=0, callbacks=[old])
    assert old.batches == (0, 1, 2)


def test_a_list_of_callbacks_has_hooks_and_nothing_else():
    epochs = []
    every = CallbackList([LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))] * 2, mlp(), {})
    every.on_epoch_begin(3, {})
    assert epochs == [3, 3]
    with pytest.raises(AttributeError, match="CallbackList has no attribute 'set_epoch'"):
        every.set_epoch(4)


def test_logs_at_the_ends_hold_the_figures():
    ends = {}
    notes = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: ends.update(begin=dict(logs)),
        on_train_end=lambda logs: ends.update(train=dict(logs)),
        on_test_end=lambda logs: ends.update(test=dict(logs)),
        on_predict_batch_end=lambda batch, logs: ends.update(predict=logs["outputs"]),
    )
    model = mlp()
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[notes], validation_split=0.2).history
    assert ends["begin"] == {}
    assert ends["train"] == {name: values[-1] for name, values in history.items()}
    assert {f"val_{name}": value for name, value in ends["test"].items()}.items() <= ends["train"].items()
    np.testing.assert_array_equal(model.predict(X[:5], callbacks=[notes]), ends["predict"])


def test_history_keeps_what_callbacks_add_to_the_logs():
    assert mlp().fit(X, Y, epochs=2, verbose=0, callbacks=[Says(extra=[1.0, 2.0])]).history["extra"] == [1.0, 2.0]


def test_a_callback_may_train_meanwhile():
    model = mlp()

    def train_once(epoch, logs):
        model.fit(X, Y, verbose=0)

    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[LambdaCallback(on_epoch_end=train_once)])
    assert history.epoch == [0, 1, 2]


def test_a_lambda_callback_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="no argument 'on_epoch_ends'; it has on_batch_begin, "):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match="on_epoch_end must be a function, got 3"):
        LambdaCallback(on_epoch_end=3)


# EarlyStopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([3, 2, 1, 1, 1], {}, 4),
        ([3, 2, 1, 0.9], {}, 4),
        ([3, 2, 2.5, 2.5, 1.9, 2, 2], {"patience": 2}, 4),
        ([3, 2, 2.5, 1.9, 2, 2, 2], {"patience": 2}, 6),
        ([3, 4, 4, 4, 4], {"patience": 3}, 4),
        ([3, 2.95, 2.9, 2.5, 2], {"min_delta": 0.2}, 2),
        ([3, 2.95, 2.9, 2.5, 2], {"min_delta": -0.2, "patience": 2}, 3),
        ([1, 2, 3, 3, 3], {"mode": "max"}, 4),
        ([9, 8, 7, 6, 5], {"baseline": 7.5, "patience": 2}, 5),
        ([9, 8, 7.8, 7.7, 8], {"baseline": 7.5, "patience": 2}, 5),
        ([9, 8, 7.8, 8, 7], {"baseline": 7.5, "patience": 2}, 4),
        ([1, 2, 3, 2, 3], {"start_from_epoch": 2}, 5),
        ([np.nan, 2, np.nan, np.nan], {}, 2),
    ],
    ids=str,
)
def test_early_stopping_by_hand(values, options, epochs):
    assert epochs_until_stop(values, **options) == epochs


def test_early_stopping_restores_the_best_weights(capsys):
    model, stop = mlp(), EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[Says(val_loss=[3, 1, 2, 2, 0, 0, 0, 0, 0]), stop])
    assert (stop.stopped_epoch, stop.best_epoch, stop.best) == (3, 1, 1)
    np.testing.assert_array_equal(model.layers[0].params["b"], 1)
    text = "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    assert capsys.readouterr().out == text


def test_the_best_weights_are_restored_though_training_ran_to_its_end():
    model, stop = mlp(), EarlyStopping(patience=9, restore_best_weights=True)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[Says(val_loss=[3, 1, 2]), stop])
    np.testing.assert_array_equal(model.layers[0].params["b"], 1)


def test_without_restoring_the_last_weights_stay():
    model = mlp()
    model.fit(X, Y, epochs=9, verbose=0, callbacks=[Says(val_loss=[1, 2, 3]), EarlyStopping(patience=2)])
    np.testing.assert_array_equal(model.layers[0].params["b"], 2)


def test_an_early_stopping_starts_afresh_in_each_fit():
    stop, model = EarlyStopping(), mlp()
    for _ in range(2):
        history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[Says(val_loss=[1, 2, 3]), stop])
        assert len(history.epoch) == 2


@pytest.mark.parametrize(
    ("monitor", "values"), [("accuracy", [1, 2, 2]), ("val_accuracy", [1, 2, 2]), ("loss", [2, 1, 1])]
)
def test_auto_takes_more_of_a_metric_and_less_of_a_loss(monitor, values):
    stop = EarlyStopping(monitor=monitor)
    mlp().fit(X, Y, epochs=3, verbose=0, callbacks=[Says(**{monitor: values}), stop])
    assert (stop.best_epoch, stop.stopped_epoch) == (1, 2)


def test_a_figure_that_is_missing_is_a_warning_and_one_that_nobody_knows_an_error():
    with pytest.warns(
        UserWarning, match=r"EarlyStopping: there is no 'val_loss' to watch, only loss, accuracy\. Give fit"
    ):
        mlp().fit(X, Y, verbose=0, callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match=r"monitor='val_acc' is not known.*the model has \['loss', 'accuracy'\]"):
        mlp().fit(X, Y, verbose=0, callbacks=[EarlyStopping("val_acc")])


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "best"},
        {"patience": -1},
        {"patience": 0.5},
        {"monitor": 3},
        {"baseline": "x"},
        {"verbose": None},
        {"restore_best_weights": "no"},
    ],
    ids=str,
)
def test_early_stopping_refuses_bad_arguments(options):
    with pytest.raises((ValueError, TypeError), match=f"EarlyStopping: {next(iter(options))}"):
        EarlyStopping(**options)


# ModelCheckpoint ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_saves_each_epoch_under_its_name(tmp_path):
    model = mlp()
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.keras"
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Says(val_loss=[1.234, 5]), ModelCheckpoint(path)])
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["01-1.23.keras", "02-5.00.keras"]
    loaded = load_model(tmp_path / "new" / "01-1.23.keras")
    np.testing.assert_array_equal(loaded.layers[0].params["b"], 0)
    assert loaded.epoch == 1


def test_a_checkpoint_of_the_best_epoch(tmp_path, capsys):
    model, path = mlp(), tmp_path / "best.keras"
    checkpoint = ModelCheckpoint(path, save_best_only=True, verbose=1)
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[Says(val_loss=[3, 1, 2, 1]), checkpoint])
    np.testing.assert_array_equal(load_model(path).layers[0].params["b"], 1)
    assert checkpoint.best == 1
    assert capsys.readouterr().out.splitlines() == [
        f"Epoch 1: val_loss improved from None to 3.00000, saving model to {path}",
        f"Epoch 2: val_loss improved from 3.00000 to 1.00000, saving model to {path}",
        "Epoch 3: val_loss did not improve from 1.00000",
        "Epoch 4: val_loss did not improve from 1.00000",
    ]
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[Says(val_loss=[2]), checkpoint])  # not the best of all fits
    np.testing.assert_array_equal(load_model(path).layers[0].params["b"], 1)


def test_a_checkpoint_has_a_first_value_to_beat(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "best", "val_accuracy", save_best_only=True, initial_value_threshold=0.5)
    mlp().fit(X, Y, epochs=2, verbose=0, callbacks=[Says(val_accuracy=[0.3, 0.5]), checkpoint])
    assert list(tmp_path.iterdir()) == []


class StopsAtABatch(Callback):
    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == self.batch


@pytest.mark.parametrize(("batch", "saved"), [(0, False), (1, False), (2, True)])
def test_of_an_epoch_that_ends_early_there_is_no_checkpoint(tmp_path, capsys, batch, saved):
    checkpoint = ModelCheckpoint(tmp_path / "model", verbose=1)
    mlp().fit(X, Y, batch_size=32, epochs=2, verbose=0, callbacks=[StopsAtABatch(batch), checkpoint])
    assert (tmp_path / "model").exists() == saved
    not_saved = f"Epoch 1: not saved, because it was ended after {batch + 1} batches\n"
    assert capsys.readouterr().out == (f"Epoch 1: saving model to {tmp_path / 'model'}\n" if saved else not_saved)


def test_a_checkpoint_in_a_loop_of_ones_own_is_told_of_no_batches(tmp_path):
    model, checkpoint = mlp(), ModelCheckpoint(tmp_path / "model")
    model.stop_training = True
    checkpoint.set_model(model)
    checkpoint.set_params({})
    checkpoint.on_epoch_end(0, {})
    assert (tmp_path / "model").exists()


def test_a_checkpoint_of_the_weights_alone(tmp_path):
    model, other = mlp(), mlp()
    model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "m.weights.h5", save_weights_only=True)])
    other.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_checkpoint_without_its_figure_saves_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="ModelCheckpoint: there is no 'val_loss' to watch"):
        mlp().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "best", save_best_only=True)])
    assert load_model(tmp_path / "best").epoch == 1


def test_a_checkpoint_refuses_names_and_frequencies_that_do_not_work(tmp_path):
    with pytest.raises(
        ValueError, match=r"filepath '.*' does not fit \('mse'\); it may hold \{epoch\}, \{loss\}, \{acc"
    ):
        mlp().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{mse:.2f}")])
    for name in ("{epoch.foo}", "{epoch[0]}", "{loss:d}"):
        with pytest.raises(ValueError, match=r"filepath '.*' does not fit"):
            mlp().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / name)])
    with pytest.raises(ValueError, match='save_freq=100 is not supported by tinynet, only "epoch"'):
        ModelCheckpoint("last.keras", save_freq=100)
    for options in ({"verbose": "x"}, {"save_best_only": "no"}, {"save_weights_only": None}):
        with pytest.raises(TypeError, match=f"ModelCheckpoint: {next(iter(options))} must be True or False"):
            ModelCheckpoint("last.keras", **options)


def test_a_checkpoint_takes_a_name_in_bytes(tmp_path):
    mlp().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(os.fsencode(tmp_path / "last"))])
    assert load_model(os.fsencode(tmp_path / "last")).epoch == 1


def test_a_rate_scheduler_refuses_another_verbose():
    with pytest.raises(TypeError, match="LearningRateScheduler: verbose must be True or False, got 2"):
        LearningRateScheduler(lambda epoch: 0.1, verbose=2)


# LearningRateScheduler ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (lambda epoch, rate: rate * 0.5, [0.25, 0.125, 0.0625]),
        (lambda epoch: 0.1 * (epoch + 1), [0.1, 0.2, pytest.approx(0.3)]),
        (lambda epoch, rate=7: rate, [0.5, 0.5, 0.5]),
        (ExponentialDecay(0.2, 1, 0.5), [0.2, 0.1, 0.05]),
        (lambda epoch, rate: np.float32(0.25), [0.25, 0.25, 0.25]),
        ([0.3, 0.2, 0.1].__getitem__, [0.3, 0.2, 0.1]),
        ({1: 0.2}.get, [0.5, 0.2, 0.2]),
    ],
    ids=["of epoch and rate", "of the epoch", "with a default", "a schedule", "NumPy", "a list's", "a dict's"],
)
def test_a_rate_for_each_epoch(schedule, rates, capsys):
    seen, model = [], mlp(0.5)
    watch = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(model.optimizer.learning_rate))
    callbacks = [LearningRateScheduler(schedule, verbose=1), watch]
    history = model.fit(X, Y, batch_size=70, epochs=3, verbose=0, callbacks=callbacks).history
    assert seen == history["learning_rate"] == rates
    json.dumps(history)
    assert capsys.readouterr().out.startswith(f"Epoch 1: LearningRateScheduler setting learning rate to {seen[0]:g}.\n")


def test_an_error_in_a_schedule_is_not_hidden():
    def schedule(epoch, rate):
        return rate + "1"

    with pytest.raises(TypeError, match="unsupported operand"):
        mlp().fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(schedule)])
    with pytest.raises(TypeError, match="learning_rate must be a number, got None"):
        mlp().fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: None)])
    with pytest.raises(TypeError, match=r"schedule must be a function of the epoch, got 0\.1"):
        LearningRateScheduler(0.1)


# ReduceLROnPlateau ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "options", "rates"),
    [
        ([5, 4, 4, 4, 4, 4], {"patience": 2}, [1, 1, 1, 1, 0.5, 0.5]),
        ([5, 4, 4, 3, 3, 3, 3], {"patience": 2}, [1, 1, 1, 1, 1, 1, 0.5]),
        ([5, 5, 5, 5, 5, 5, 5], {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ([5, 5, 5, 5, 5], {"patience": 1, "min_lr": 0.4}, [1, 1, 0.5, 0.4, 0.4]),
        ([5, 4.99, 4.98, 4.97], {"patience": 1, "min_delta": 0.1}, [1, 1, 0.5, 0.25]),
        ([5, 6, 7, 7, 7], {"patience": 1, "mode": "max"}, [1, 1, 1, 1, 0.5]),
    ],
    ids=str,
)
def test_a_plateau_reduces_the_rate(values, options, rates):
    callbacks = [Says(val_loss=values), ReduceLROnPlateau(factor=0.5, **options)]
    history = mlp(1.0).fit(X, Y, epochs=len(values), verbose=0, callbacks=callbacks).history
    assert history["learning_rate"] == rates


def test_without_its_figure_the_rate_stays():
    with pytest.warns(UserWarning, match="ReduceLROnPlateau: there is no 'val_loss' to watch"):
        history = mlp(1.0).fit(X, Y, epochs=3, verbose=0, callbacks=[ReduceLROnPlateau(patience=1)]).history
    assert history["learning_rate"] == [1, 1, 1]


@pytest.mark.parametrize("callback", [LearningRateScheduler(lambda epoch: 0.5), ReduceLROnPlateau("loss", patience=1)])
@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau. there is no 'loss'")
def test_a_loop_of_ones_own_needs_no_logs(callback):
    model = mlp(0.5)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch)
    assert model.optimizer.learning_rate == 0.5


def test_a_reduction_is_told_and_bad_arguments_refused(capsys):
    mlp(1.0).fit(X, Y, epochs=2, verbose=0, callbacks=[Says(val_loss=[1, 1]), ReduceLROnPlateau(patience=1, verbose=1)])
    assert capsys.readouterr().out == "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.1.\n"
    for options in (
        {"factor": 1.0},
        {"factor": -0.1},
        {"patience": 0.5},
        {"cooldown": -1},
        {"min_lr": -1},
        {"verbose": 2},
    ):
        with pytest.raises((ValueError, TypeError), match=f"ReduceLROnPlateau: {next(iter(options))} "):
            ReduceLROnPlateau(**options)


@pytest.mark.parametrize("callback", [LearningRateScheduler(lambda epoch: 0.5), ReduceLROnPlateau("loss")])
def test_a_schedule_of_the_optimizer_is_not_ended_by_a_callback(callback):
    model = mlp()
    model.compile(SGD(ExponentialDecay(0.5, 1, 0.5)), "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(TypeError, match=f"{type(callback).__name__}: the learning rate follows a ExponentialDecay"):
        model.fit(X, Y, verbose=0, callbacks=[callback])
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


# Ending evaluate and predict, and a History of one's own --------------------------------------------------------------


class StopsAfter(Callback):
    """Ends evaluate and predict after a batch."""

    def __init__(self, last: int):
        self.last, self.ended = last, []

    def on_test_batch_end(self, batch, logs=None):
        self.model.stop_evaluating = batch == self.last

    def on_predict_batch_end(self, batch, logs=None):
        self.model.stop_predicting = batch == self.last

    def on_test_end(self, logs=None):
        self.ended.append("evaluate")

    def on_predict_end(self, logs=None):
        self.ended.append("predict")


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_callback_ends_evaluate_and_predict_after_a_batch(last):
    model, stops, seen = mlp(), StopsAfter(last), 32 * (last + 1)
    assert model.evaluate(X, Y, verbose=0, callbacks=[stops]) == model.evaluate(X[:seen], Y[:seen], verbose=0)
    np.testing.assert_array_equal(model.predict(X, callbacks=[stops]), model.predict(X)[:seen])
    assert stops.ended == ["evaluate", "predict"]
    assert model.predict(X).shape == (70, 3), "the next call goes to the end"
    model.stop_evaluating = True
    assert model.evaluate(X, Y, verbose=0) != model.evaluate(X[:32], Y[:32], verbose=0)


def test_a_history_among_the_callbacks_is_the_one_that_fit_uses():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 1.0

    own, model = History(), mlp()
    assert model.fit(X, Y, epochs=2, verbose=0, callbacks=[own, Adds()]) is own is model.history
    assert model.fit(X, Y, epochs=3, initial_epoch=2, verbose=0, callbacks=[own]) is own
    assert (own.epoch, list(own.history), len(own.history["loss"])) == ([2], ["loss", "accuracy"], 3)


def test_what_callbacks_add_at_the_end_of_an_epoch_is_not_told_at_the_end_of_training():
    told = []
    add = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=1.0), on_train_end=told.append)
    assert "extra" in mlp().fit(X, Y, verbose=0, callbacks=[add]).history
    assert [list(logs) for logs in told] == [["loss", "accuracy"]]
