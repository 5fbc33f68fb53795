"""The training loop, from one gradient to many epochs.

    a shard    a few samples, which one thread takes through the whole network and back
    a lane     a few shards that are taken one after another, their gradients added up
    a batch    all its lanes, which run side by side; then their gradients are added up, lane by lane, and
               the optimizer takes one step
    an epoch   all batches of the training data, shuffled anew

How a batch is cut depends on its size alone, never on the number of threads, and sums are taken in a fixed order. So
one thread and many give the same weights, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinynet import parallel
from tinynet.callbacks import CallbackList

if TYPE_CHECKING:
    from tinynet.models import Sequential

Array = npt.NDArray[Any]

SHARD_SIZE = 32  # samples: enough for efficient matrix products, few enough to share a batch of 128 among four cores
MAX_LANES = 8  # each lane holds gradients of its own


@dataclass
class BatchResult:
    """Sums over some samples: of the loss and of each metric, and the gradients of the batch's mean loss."""

    num_samples: int
    loss: float
    metrics: list[float]
    grads: dict[str, Array]

    def add(self, other: BatchResult) -> None:
        """Add the sums of other samples to these."""
        self.num_samples += other.num_samples
        self.loss += other.loss
        self.metrics = [a + b for a, b in zip(self.metrics, other.metrics, strict=True)]
        for key, grad in self.grads.items():
            grad += other.grads[key]

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """The mean loss and metrics by name, as they stand in logs and in History."""
        sums = [self.loss, *self.metrics]
        return {name: total / self.num_samples for name, total in zip(names, sums, strict=True)}


def lanes_of(num_samples: int) -> list[list[slice]]:
    """How a batch is cut: lanes of shards of rows, in order."""
    shards = [slice(i, min(i + SHARD_SIZE, num_samples)) for i in range(0, num_samples, SHARD_SIZE)]
    per_lane = math.ceil(len(shards) / MAX_LANES)
    return [shards[i : i + per_lane] for i in range(0, len(shards), per_lane)]


def run_batch(model: Sequential, x: Array, classes: Array, *, gradients: bool) -> BatchResult:
    """Take a batch forward, and back if ``gradients``: the loss, the metrics and the gradients of the mean loss.

    x        (n, *input_shape), in the model's dtype
    classes  (n,) integers
    """
    network, loss, _ = model.up_to_logits()
    n = len(x)

    def run_shard(rows: slice) -> BatchResult:
        logits, caches = network.forward(x[rows])
        losses, dlogits = loss.value_and_gradient(logits, classes[rows])
        grads: dict[str, Array] = {}
        if gradients:
            dlogits /= n
            _, grads = network.backward(dlogits, caches, need_dx=False)
        right = [float(metric.per_sample(classes[rows], logits).sum()) for metric in model.metrics]
        return BatchResult(len(losses), float(losses.sum(dtype=np.float64)), right, grads)

    def run_lane(shards: list[slice]) -> BatchResult:
        total = run_shard(shards[0])
        for rows in shards[1:]:
            total.add(run_shard(rows))
        return total

    with parallel.single_threaded_blas():
        total, *others = parallel.run_all(run_lane, lanes_of(n), model.num_threads)
        for other in others:
            total.add(other)
    return total


def train_step(model: Sequential, x: Array, classes: Array) -> BatchResult:
    """One step of the optimizer on a batch; the sums are those from before the step, without the gradients."""
    result = run_batch(model, x.astype(model.dtype, copy=False), classes, gradients=True)
    _, _, optimizer = model.up_to_logits()
    optimizer.step(model.params, result.grads)
    result.grads = {}
    return result


def train(
    model: Sequential,
    x: Array,
    classes: Array,
    *,
    batch_size: int,
    epochs: range,
    shuffle: bool,
    validate: Callable[[], dict[str, float]] | None,
    callbacks: CallbackList,
) -> None:
    """Train for some epochs, telling the callbacks; ``validate`` returns the figures on the validation data."""
    callbacks.on_train_begin()
    for epoch in epochs:
        callbacks.on_epoch_begin(epoch)
        order = model.rng.permutation(len(x)) if shuffle else np.arange(len(x))
        total: BatchResult | None = None
        for number, rows in enumerate(batches(len(x), batch_size)):
            callbacks.on_train_batch_begin(number)
            chosen = order[rows]
            result = train_step(model, x[chosen], classes[chosen])
            if total is None:
                total = result
            else:
                total.add(result)
            callbacks.on_train_batch_end(number, total.means(model.metrics_names))
            if model.stop_training:
                break
        assert total is not None, "fit refuses empty data"
        logs = total.means(model.metrics_names)
        if validate is not None:
            logs |= {f"val_{name}": value for name, value in validate().items()}
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callbacks.on_train_end()


def evaluate(model: Sequential, x: Array, classes: Array, batch_size: int) -> dict[str, float]:
    """The mean loss and metrics over all samples, by name."""
    total = BatchResult(0, 0.0, [0.0] * len(model.metrics), {})
    for rows in batches(len(x), batch_size):
        total.add(run_batch(model, x[rows].astype(model.dtype, copy=False), classes[rows], gradients=False))
    return total.means(model.metrics_names)


def predict(model: Sequential, x: Array, batch_size: int) -> Array:
    """The network's outputs for all samples, (n, *output_shape)."""
    assert model.output_shape is not None, "predict builds the model first"
    outputs = np.empty((len(x), *model.output_shape), model.dtype)

    def run_shard(rows: slice) -> None:
        outputs[rows], _ = model.forward(x[rows].astype(model.dtype, copy=False))

    with parallel.single_threaded_blas():
        for rows in batches(len(x), batch_size):
            shards = [
                slice(start, min(start + SHARD_SIZE, rows.stop)) for start in range(rows.start, rows.stop, SHARD_SIZE)
            ]
            parallel.run_all(run_shard, shards, model.num_threads)
    return outputs


def batches(num_samples: int, batch_size: int) -> Iterator[slice]:
    """Slices of ``batch_size`` rows, the last one with what remains."""
    for start in range(0, num_samples, batch_size):
        yield slice(start, min(start + batch_size, num_samples))
