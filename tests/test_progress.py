"""What fit shows: in a terminal, a notebook and a log file, as a person would see it."""

import io
import re
import sys
import time
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from numba.core import event

from tinynet import progress
from tinynet.callbacks import Callback, LambdaCallback
from tinynet.layers import Dense, Input
from tinynet.models import Sequential

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 70)


def mlp() -> Sequential:
    model = Sequential([Input((2,)), Dense(3, activation="softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Tee:
    """What people put in stdout's place to keep a log."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_fit_writes_to_whatever_is_in_the_place_of_stdout(monkeypatch):
    tee = Tee()
    for stdout in (tee, None):  # a program of windows has none
        monkeypatch.setattr(sys, "stdout", stdout)
        mlp().fit(X, Y)
    assert re.fullmatch(r"Epoch 1/1 .*accuracy 0\.\d+\n", tee.text)


class OutStream(io.StringIO):
    """Named as a notebook's stdout is."""

    __module__ = "ipykernel.iostream"


def screen(text: str) -> list[str]:
    """The lines that are left to see: a carriage return goes back, and what follows covers what was there."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.fixture
def redraw(monkeypatch):
    """Every update of a bar is drawn, however fast."""
    monkeypatch.setattr(progress.tqdm, "__init__", _at_once(progress.tqdm.__init__))


def _at_once(init):
    return lambda bar, *arguments, **options: init(bar, *arguments, **{"mininterval": 0, "miniters": 1, **options})


def fit(stream: io.StringIO, monkeypatch, verbose: int | str, epochs: int = 2, **options) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        mlp().fit(X, Y, epochs=epochs, verbose=verbose, **options)
    return stream.getvalue()


FIGURES = "  ".join(rf"{name} \d\.\d{{4}}" for name in ("loss", "accuracy", "val_loss", "val_accuracy"))


def line(epoch: int) -> str:
    return rf"Epoch {epoch}/2 +\d+\.\d s +[\d,]+ images/s  {FIGURES}"


@pytest.mark.parametrize("kind", [Terminal, OutStream])
@pytest.mark.parametrize("verbose", [1, "auto"])
def test_a_bar_an_epoch_and_then_a_line(kind, verbose, monkeypatch, redraw):
    text = fit(kind(), monkeypatch, verbose, validation_split=0.1)
    first, second, end = screen(text)
    assert re.fullmatch(line(1), first)
    assert re.fullmatch(line(2), second)
    assert end == ""
    states = [part for part in text.split("\r") if "Epoch 2/2:" in part]
    assert [re.search(r"([\d.]+)/63\.0", state)[1] for state in states] == ["0.00", "32.0", "63.0"]
    assert re.search(
        r"100%.*63\.0/63\.0 \[00:\d\d<00:00, .* images/s, loss \d\.\d{4}  accuracy \d\.\d{4}\]", states[-1]
    )


def test_a_log_file_has_a_line_an_epoch_and_no_control_characters(monkeypatch):
    for verbose in (1, 2, "auto"):
        text = fit(io.StringIO(), monkeypatch, verbose, validation_split=0.1)
        first, second = text.splitlines()
        assert re.fullmatch(line(1), first)
        assert re.fullmatch(line(2), second)
        assert text.isascii()
        assert text.replace("\n", "").isprintable()


def test_verbose_2_has_no_bar_in_a_terminal(monkeypatch):
    assert "\r" not in fit(Terminal(), monkeypatch, 2)


@pytest.mark.parametrize("kind", [Terminal, OutStream, io.StringIO])
def test_verbose_0_shows_nothing(kind, monkeypatch):
    assert fit(kind(), monkeypatch, 0) == ""


def test_what_callbacks_print_when_epochs_begin_and_end_stands_on_lines_of_its_own(monkeypatch, redraw):
    says = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: print(f"begin {epoch}"),
        on_epoch_end=lambda epoch, logs: print(f"end {epoch}"),
    )
    lines = screen(fit(Terminal(), monkeypatch, 1, callbacks=[says]))
    assert [lines[0], lines[1], lines[3], lines[4]] == ["begin 0", "end 0", "begin 1", "end 1"]
    assert lines[2].startswith("Epoch 1/2 ")


class Fails(Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise RuntimeError("a callback of one's own")


def test_an_error_takes_the_bar_away(monkeypatch, redraw):
    stream = Terminal()
    with pytest.raises(RuntimeError, match="one's own"):
        fit(stream, monkeypatch, 1, callbacks=[Fails()])
    assert screen(stream.getvalue()) == [""]


def compile_something() -> None:
    """As far as those who listen know."""
    function = SimpleNamespace(py_func=SimpleNamespace(__module__="elsewhere"))
    with event.trigger_event("numba:compile", data={"dispatcher": function}):
        pass


def test_the_bar_says_that_numba_compiles_until_there_are_figures(monkeypatch):
    stream = Terminal()
    seen: list[str] = []

    def begin(batch: int, logs: object) -> None:
        if batch == 0:
            compile_something()
            seen.append(screen(stream.getvalue())[-1])

    fit(stream, monkeypatch, 1, callbacks=[LambdaCallback(on_train_batch_begin=begin)])
    assert len(seen) == 2  # epochs
    for shown in seen:
        assert re.search(r"  0%.* 0\.00/70\.0 \[.*, compiling, this first time\]$", shown)
    assert "compiling" not in stream.getvalue().split("\r")[-1]


def test_no_bar_listens_once_training_has_ended(monkeypatch):
    fit(Terminal(), monkeypatch, 1)
    with pytest.raises(RuntimeError, match="one's own"):
        fit(Terminal(), monkeypatch, 1, callbacks=[Fails()])
    with mock.patch.object(progress.CompilationNote, "on_start") as told:
        compile_something()
    assert not told.called


def test_epochs_have_as_many_digits_as_the_last_one(monkeypatch):
    lines = fit(io.StringIO(), monkeypatch, 2, epochs=10).splitlines()
    assert [line[:11] for line in (lines[0], lines[9])] == ["Epoch  1/10", "Epoch 10/10"]


def test_a_small_learning_rate_is_not_rounded_to_zero(monkeypatch):
    adds = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(learning_rate=0.0000123))
    assert fit(io.StringIO(), monkeypatch, 2, callbacks=[adds]).count("learning_rate 1.23e-05") == 2


def test_what_a_callback_adds_need_not_be_a_number(monkeypatch):
    adds = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(note="best", nothing=None))
    assert fit(io.StringIO(), monkeypatch, 2, callbacks=[adds]).count("note best  nothing None") == 2


def test_the_time_is_that_of_the_epoch_and_the_speed_that_of_training(monkeypatch):
    """By a clock of our own: half a second a batch, 4 s for the validation data; the last batch never comes."""
    clock = [100.0]

    def batch_takes(batch: int, logs: object) -> None:
        clock[0] += 0.5
        model.stop_training = batch == 5

    def validation_takes(logs: object) -> None:
        clock[0] += 4

    model, stream = mlp(), io.StringIO()
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        takes = LambdaCallback(on_train_batch_end=batch_takes, on_test_begin=validation_takes)
        model.fit(X, Y, 10, validation_data=(X, Y), verbose=2, callbacks=[takes])
    assert stream.getvalue().startswith("Epoch 1/1     7.0 s       20 images/s  loss ")


def test_evaluate_and_predict_print_a_line_or_nothing(capsys):
    model = mlp()
    model.evaluate(X, Y)
    assert re.fullmatch(r"70 images  \d+\.\d s  loss \d\.\d{4}  accuracy \d\.\d{4}\n", capsys.readouterr().out)
    model.predict(X, verbose=1)
    assert re.fullmatch(r"70 images  \d+\.\d s\n", capsys.readouterr().out)
    model.predict(X)
    model.evaluate(X, Y, verbose=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [3, -1, "1", None, True], ids=str)
def test_other_values_of_verbose(verbose):
    if verbose is True:  # an int in Python, and in Keras scripts
        mlp().fit(X, Y, verbose=verbose)
        return
    with pytest.raises(ValueError, match='fit: verbose must be 0, 1, 2 or "auto", got '):
        mlp().fit(X, Y, verbose=verbose)


def test_a_bar_is_drawn_no_more_than_ten_times_a_second(monkeypatch):
    """A million batches would make no flood."""
    stream = Terminal()
    bar = progress.EpochBar(num_samples=5000, batch_size=1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        bar.set_params({"epochs": 1})
        bar.on_epoch_begin(0)
        start = time.perf_counter()
        for batch in range(5000):
            bar.on_train_batch_begin(batch)
            bar.on_train_batch_end(batch, {"loss": 0.5})
        seconds = time.perf_counter() - start
        bar.close()
    assert stream.getvalue().count("%|") <= 3 + 10 * seconds
