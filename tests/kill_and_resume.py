"""Kill training with SIGKILL at random moments, go on from its last checkpoint each time, and compare with training
that nobody disturbed: the same weights, bit for bit, and never a file that does not load.

    python tests/kill_and_resume.py --kills 20
"""

import argparse
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from model_files import IMAGES, ONE_HOT, large

from tinynet.callbacks import Callback, LearningRateScheduler, ModelCheckpoint
from tinynet.models import Sequential, load_model
from tinynet.optimizers import SGD

RATES = [0.1, 0.05, 0.02]
BATCH_SIZE = 8


class Reports(Callback):
    """Prints a line after each batch, so that it is training that is killed, and at a moment told in batches: a
    computer of any speed is killed equally often before it is done."""

    def on_train_batch_end(self, batch, logs=None):
        print(self.model.epoch, flush=True)


def new_model(optimizer: str) -> Sequential:
    """Convolution, dropout in two places, shuffled samples; Adam with a schedule, or SGD with momentum."""
    model = large()
    if optimizer == "sgd":
        model.compile(SGD(0.1, momentum=0.9, nesterov=True), "categorical_crossentropy", ["accuracy"])
    return model


def train(path: pathlib.Path, optimizer: str, epochs: int, *others: Callback) -> None:
    """What a script does that can be killed and started again: it goes on from its last checkpoint."""
    model = load_model(path) if path.exists() else new_model(optimizer)
    callbacks = [ModelCheckpoint(path), *others]
    if optimizer == "sgd":
        callbacks.append(LearningRateScheduler(lambda epoch, rate: RATES[epoch % 3] if epoch % 2 else rate))
    model.fit(
        IMAGES,
        ONE_HOT,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        initial_epoch=model.epoch,
        validation_data=(IMAGES[:9], ONE_HOT[:9]),
        verbose=0,
        callbacks=callbacks,
    )


def kill_and_resume(kills: int, optimizer: str, epochs: int, seed: int, folder: pathlib.Path) -> list[int]:
    """The epochs that were done whenever training started again. AssertionError if a file or a weight is wrong."""
    rng, starts = random.Random(seed), []
    undisturbed, path = folder / "undisturbed.safetensors", folder / "killed.safetensors"
    train(undisturbed, optimizer, epochs)
    command = [sys.executable, __file__, "--child", str(path), optimizer, str(epochs)]
    batches = epochs * -(-len(IMAGES) // BATCH_SIZE)
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            lines = [child.stdout.readline() for _ in range(rng.randint(1, batches // (2 * kills)))]
            time.sleep(rng.uniform(0, 0.01))  # into the next batch, or into saving
            child.kill()
        assert child.returncode == -signal.SIGKILL, "training ended before it was killed; it needs more epochs"
        starts.append(int(lines[0]))
        if path.exists():
            load_model(path)
    starts.append(load_model(path).epoch if path.exists() else 0)
    train(path, optimizer, epochs)
    one, other = load_model(undisturbed), load_model(path)
    for name, param in one.params.items():
        np.testing.assert_array_equal(other.params[name], param)
    np.testing.assert_equal(other.optimizer.state, one.optimizer.state)
    assert one.rng.bit_generator.state == other.rng.bit_generator.state
    return starts


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        train(pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Reports())
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often, for each optimizer (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=300, help="how long to train (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="for other moments (default: %(default)s)")
    options = parser.parse_args()
    for name in ("adam", "sgd"):
        with tempfile.TemporaryDirectory() as temporary:
            found = kill_and_resume(options.kills, name, options.epochs, options.seed, pathlib.Path(temporary))
        print(f"{name}: killed {options.kills} times, having done {found} of {options.epochs} epochs: the same bits")
