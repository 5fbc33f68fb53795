"""Training that ends early: Ctrl-C, and a loss or a gradient that is no number."""

import signal
import threading

import numpy as np
import pytest

from tinynet import training
from tinynet.callbacks import Callback, EarlyStopping
from tinynet.layers import Dense, Input, Linear, outer_products
from tinynet.models import Sequential
from tinynet.optimizers import SGD, Adam
from tinynet.training import DivergenceError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 70)


def mlp(*first, optimizer=None) -> Sequential:
    model = Sequential([Input((2,)), *first, Dense(8, activation="relu"), Dense(3, activation="softmax")], seed=0)
    model.compile(optimizer or SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class PressesCtrlC(Callback):
    """Presses Ctrl-C at a hook of one epoch, and notes what is called afterwards."""

    def __init__(self, hook: str, epoch: int, times: int = 1):
        self.calls: list[str] = []
        self.current, self.pressed = -1, False
        self.hook, self.epoch, self.times = hook, epoch, times
        for name in dir(Callback):
            if name.startswith("on_"):
                setattr(self, name, lambda *args, name=name: self.note(name, *args))

    def note(self, name: str, *args: object) -> None:
        if name == "on_epoch_begin":
            self.current = args[0]
        if self.pressed:
            self.calls.append(name)
        if name == self.hook and self.current == self.epoch and not self.pressed:
            self.pressed = True
            for _ in range(self.times):
                press_ctrl_c()


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def test_ctrl_c_in_a_batch_ends_fit_before_the_next_one(capsys):
    presses, model, expected = PressesCtrlC("on_train_batch_begin", epoch=1), mlp(), mlp()
    history = model.fit(X, Y, epochs=9, verbose=0, shuffle=False, callbacks=[presses])
    assert presses.calls == ["on_train_batch_end", "on_train_end"], "the batch is finished"
    expected.fit(X, Y, verbose=0, shuffle=False)
    expected.train_on_batch(X[:32], Y[:32])
    for weight, same in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    assert history is model.history
    assert (history.epoch, len(history.history["loss"]), model.epoch) == ([0], 1, 1)
    assert history.interrupted
    assert not model.fit(X, Y, verbose=0).interrupted
    assert "Interrupted in epoch 2/9, after batch 1/3." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("hook", "calls", "whole", "place"),
    [
        ("on_train_begin", ["on_epoch_begin", "on_train_end"], 0, "before the first batch"),
        ("on_test_begin", ["on_train_end"], 0, "in epoch 1/2, after batch 3/3"),
        ("on_test_batch_begin", ["on_test_batch_end", "on_train_end"], 0, "in epoch 1/2, after batch 3/3"),
        ("on_epoch_end", ["on_epoch_begin", "on_train_end"], 1, "in epoch 1/2, after batch 3/3"),
    ],
)
def test_ctrl_c_at_any_other_time(capsys, hook, calls, whole, place):
    presses = PressesCtrlC(hook, epoch=-1 if hook == "on_train_begin" else 0)
    history = mlp().fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[presses])
    assert presses.calls == calls
    assert len(history.epoch) == whole
    assert f"Interrupted {place}." in capsys.readouterr().err


def test_ctrl_c_after_the_last_batch_is_told_too(capsys):
    history = mlp().fit(X, Y, verbose=0, callbacks=[PressesCtrlC("on_epoch_end", epoch=0)])
    assert history.epoch == [0]
    assert "Interrupted in epoch 1/1, after batch 3/3. The model keeps" in capsys.readouterr().err


def test_what_is_told_of_the_weights_holds_where_a_callback_brings_back_earlier_ones(capsys):
    best = EarlyStopping("loss", patience=9, restore_best_weights=True, min_delta=9)
    mlp().fit(X, Y, epochs=3, verbose=0, callbacks=[best, PressesCtrlC("on_train_batch_begin", epoch=1)])
    told = capsys.readouterr().err
    assert "The model keeps its weights, and model.history the figures of 1 whole epoch." in told


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt):
        mlp().fit(X, Y, verbose=0, callbacks=[PressesCtrlC("on_train_batch_begin", epoch=0, times=2)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_handler_of_ctrl_c_is_left_alone():
    received = []
    signal.signal(signal.SIGINT, lambda *args: received.append(args))
    try:
        mlp().fit(X, Y, verbose=0, callbacks=[PressesCtrlC("on_train_batch_begin", epoch=0)])
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert len(received) == 1


def test_fit_works_in_a_thread_that_cannot_listen():
    model = mlp()
    thread = threading.Thread(target=lambda: model.fit(X, Y, verbose=0))
    thread.start()
    thread.join()
    assert model.epoch == 1


# NaN ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(0.25, momentum=0.9), Adam(0.25)], ids=["SGD", "Adam"])
def test_nan_in_the_data_stops_training_by_name_with_the_weights_from_before(optimizer):
    x = X.copy()
    x[40, 1] = np.nan
    model, expected = mlp(optimizer=optimizer), mlp(optimizer=type(optimizer)(0.25))
    expected.optimizer.momentum = 0.9
    with pytest.raises(DivergenceError) as error:
        model.fit(x, Y, epochs=2, verbose=0, shuffle=False)
    assert str(error.value) == (
        "The loss became nan in epoch 1/2, batch 2/3, at learning rate 0.25: x has NaN, infinite or (for float32) too "
        "large numbers in this batch; remove or replace these. The weights are as they were before this step."
    )
    expected.train_on_batch(X[:32], Y[:32])
    for weight, same in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    assert (model.optimizer.iterations, model.epoch, model.history.epoch) == (1, 0, [])
    for key, array in model.optimizer.state.items():
        np.testing.assert_array_equal(array, expected.optimizer.state[key])


@pytest.mark.parametrize("rate", [123456.0, 1e10, 1e20, 1e30])
def test_a_rate_that_is_too_large_stops_with_finite_weights_and_advice(rate):
    model = mlp(optimizer=SGD(rate))
    message = rf"The (loss|gradient of \S+) became .* in epoch [12]/50, batch \d/3, at learning rate {rate:g}: "
    message += f"use a smaller learning rate, such as {rate / 10:g}, and scale x"
    with pytest.raises(FloatingPointError, match=message.replace("e+", r"e\+")):
        model.fit(X * 100, Y, epochs=50, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


class Poisons(Linear):
    """Its input's gradient is infinite, though the loss is a number."""

    def backward(self, dy, cache, *, need_dx=True):
        dx, grads = super().backward(dy, cache, need_dx=need_dx)
        return np.full_like(dx, np.inf), grads


def test_an_infinite_gradient_stops_training_though_the_loss_is_a_number():
    model = Sequential([Input((2,)), Dense(4), Poisons(), Dense(3, activation="softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(DivergenceError, match=r"The gradient of dense/W became NaN or infinite on this batch, at"):
        model.train_on_batch(X, Y)
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_gradient_that_overflows_on_any_thread_gives_no_warning(num_threads):
    size = 520  # its gradient is shared out among the threads
    assert size**2 > outer_products.LARGE
    layers = Dense(size, kernel_initializer="zeros"), Dense(3, activation="softmax")
    model = Sequential([Input((size,)), *layers], seed=0, num_threads=num_threads)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.params["dense_1/W"][:] *= np.float32(1e20)
    with pytest.raises(DivergenceError, match="The gradient of dense/W became NaN or infinite"):
        model.train_on_batch(np.full((2, size), 1e25, np.float32), Y[:2])


def test_large_gradients_that_are_finite_are_no_reason_to_stop():
    """Their float32 sum overflows."""
    model = mlp()
    grads = {"dense/W": np.full((2, 8), 3e38, np.float32)}
    result = training.BatchResult(1, 0.5, [], grads)
    training.refuse_divergence(model, X, result, "here")
    grads["dense/W"][1, 3] = -np.inf
    with pytest.raises(DivergenceError, match="gradient of dense/W"):
        training.refuse_divergence(model, X, result, "here")


def test_numbers_that_float32_has_not_are_told_of_without_a_warning():
    with pytest.raises(DivergenceError, match=r"\(for float32\) too large numbers in this batch"):
        mlp().train_on_batch(np.full((4, 2), 1e300), [0, 1, 2, 0])
