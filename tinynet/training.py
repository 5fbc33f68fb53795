"""The training loop, from one gradient to many epochs.

    a shard    a few samples that one thread takes through the whole network and back, often with their neighbours
    a wave     a few shards, which run side by side; then their gradients are added up, shard by shard
    a batch    all its waves, one after another; then the optimizer takes one step
    an epoch   all batches of the training data, shuffled anew

How a batch is cut depends on its size and the network's, never on the number of threads, and sums are taken in a fixed
order. So one thread and many give the same weights, bit for bit. (For the usual networks a shard runs as one call: see
``plan.py``. A large gradient is only summed as the optimizer uses it: see ``OuterProducts``. What one thread finishes
sooner than several, one does: see ``parallel.Pace``.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinynet import parallel
from tinynet.callbacks.callback import CallbackList
from tinynet.layers.outer_products import OuterProducts
from tinynet.losses import losses_and_gradient
from tinynet.memory import keep_freed_memory
from tinynet.metrics import values_of
from tinynet.plan import Plan
from tinynet.regularizers import penalty_of
from tinynet.sharding import batches, rows_of, run_in_groups, shards

if TYPE_CHECKING:
    from tinynet.models import Sequential

Array = npt.NDArray[Any]

WAVE_SIZE = 256  # samples: their shards' gradients are in memory together


class DivergenceError(FloatingPointError):
    """The loss or a gradient became NaN or infinite; the weights are those from before the step.

    Example:
        >>> from tinynet import Sequential, layers, optimizers
        >>> model = Sequential([layers.Input((1,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        >>> try:
        ...     history = model.fit([[np.nan]], [0], verbose=0)
        ... except DivergenceError as error:
        ...     print(error)
        The loss became nan in epoch 1/1, batch 1/1, at learning rate 0.1: x has NaN, infinite or (for float32) too \
large numbers in this batch; remove or replace these. The weights are as they were before this step.
    """


@dataclass
class BatchResult:
    """Sums over some samples: of the loss and of each metric, and the gradients of the batch's mean loss."""

    num_samples: int
    loss: float
    metrics: list[float]
    grads: dict[str, Any]  # arrays, or OuterProducts that are still to be added up: see ``add_up``
    finite: set[str] = field(default_factory=set)  # the names of gradients that are known to be so

    def add(self, other: BatchResult) -> None:
        """Add the sums of other samples to these."""
        self.num_samples += other.num_samples
        self.loss += other.loss
        self.metrics = [a + b for a, b in zip(self.metrics, other.metrics, strict=True)]
        for key in self.grads:
            self.grads[key] += other.grads[key]
        self.finite.clear()

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """The mean loss and metrics by name, as they stand in logs and in History."""
        sums = [self.loss, *self.metrics]
        return {name: total / self.num_samples for name, total in zip(names, sums, strict=True)}


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
    """Train for some epochs, telling the callbacks; ``validate`` returns the figures on the validation data.

    Raises:
        DivergenceError: see ``train_step``.
    """
    steps = math.ceil(len(x) / batch_size)
    logs: dict[str, float] = {}
    callbacks.on_train_begin({})
    for epoch in epochs:
        callbacks.on_epoch_begin(epoch, {})
        order = model.rng.permutation(len(x)) if shuffle else np.arange(len(x))
        total: BatchResult | None = None
        for number, rows in enumerate(batches(len(x), batch_size)):
            callbacks.on_train_batch_begin(number, {})
            chosen = order[rows]
            where = f"in epoch {epoch + 1}/{epochs.stop}, batch {number + 1}/{steps}"
            result = train_step(model, x[chosen], classes[chosen], where)
            if total is None:
                total = result
            else:
                total.add(result)
            callbacks.on_train_batch_end(number, total.means(model.metrics_names))
            if model.stop_training:
                break
        assert total is not None, "fit refuses empty data"
        if number == steps - 1:
            model.epoch = epoch + 1
        logs = total.means(model.metrics_names)
        if validate is not None:
            logs |= {f"val_{name}": value for name, value in validate().items()}
        callbacks.on_epoch_end(epoch, dict(logs))  # what callbacks add is for each other
        if model.stop_training:
            break
    callbacks.on_train_end(logs)


def train_step(model: Sequential, x: Array, classes: Array, where: str = "on this batch") -> BatchResult:
    """One step of the optimizer on a batch; the sums are those from before the step, without the gradients.

    Raises:
        DivergenceError: the loss or a gradient is NaN or infinite; there has been no step then.
    """
    _, optimizer = model.loss_and_optimizer()
    optimizer.belong_to(model.identity)
    with parallel.single_threaded_blas():
        with np.errstate(over="ignore", invalid="ignore"):
            x = x.astype(model.dtype, copy=False)
            result = run_batch(model, x, classes)
            products = {key: grad for key, grad in result.grads.items() if isinstance(grad, OuterProducts)}
            if optimizer.takes_outer_products and all(grad.is_surely_finite() for grad in products.values()):
                result.finite |= products.keys()
            else:
                result.finite |= add_up(model, result.grads, len(x))
                products = {}
        refuse_divergence(model, x, result, where)
        if products:
            pace = _pace_of(model, "step", len(x))

            def share_out(move: Callable[[Any], None], parts: Sequence[Any]) -> None:
                pace.run(lambda count: parallel.run_all(move, parts, count), model.num_threads)

            optimizer.step(model.params, result.grads, share_out)
        else:
            optimizer.step(model.params, result.grads)
    result.grads = {}
    return result


def refuse_divergence(model: Sequential, x: Array, result: BatchResult, where: str) -> None:
    """Raise DivergenceError unless the loss and all gradients of the batch ``x`` are finite."""
    unknown = [name for name in result.grads if name not in result.finite]
    with parallel.single_threaded_blas():
        wrong = next((name for name in unknown if not _all_finite(result.grads[name])), None)
    if math.isfinite(result.loss):
        if wrong is None:
            return
        what = f"The gradient of {wrong} became NaN or infinite"
    else:
        what = f"The loss became {result.loss}"
    _, optimizer = model.loss_and_optimizer()
    rate = optimizer.learning_rate
    if not _all_finite(x):
        advice = f"x has NaN, infinite or (for {x.dtype}) too large numbers in this batch; remove or replace these."
    else:
        advice = f"use a smaller learning rate, such as {rate / 10:g}, and scale x to about 0..1."
    raise DivergenceError(
        f"{what} {where}, at learning rate {rate:g}: {advice} The weights are as they were before this step."
    )


def _all_finite(array: Array) -> bool:
    """Whether none is NaN or infinite. The sum of squares is quick to show them, but large numbers overflow it, too."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def run_batch(model: Sequential, x: Array, classes: Array) -> BatchResult:
    """Take a batch forward and back: the loss, the metrics and the gradients of the mean loss.

    The loss is that of the samples and of the regularizers, the latter counted once for each sample. Gradients may be
    ``OuterProducts``.

    x        (n, *input_shape), in the model's dtype
    classes  (n,) integers
    """
    keep_freed_memory()
    loss, _ = model.loss_and_optimizer()
    n = len(x)
    draw = int(model.rng.integers(2**63)) if model.random else None
    plan = plan_of(model)
    has_program = plan.dtype == x.dtype and plan.goes_back(model, loss)

    def run_shards(together: Sequence[slice]) -> list[BatchResult]:
        rows, sizes, done = rows_of(together), [shard.stop - shard.start for shard in together], None
        if has_program:
            done = plan.gradients(for_kernels(x[rows], x.dtype), for_kernels(classes[rows], np.intp), sizes, n)
        if done is None:
            return [run_layers(shard) for shard in together]
        return [result_of(model, classes[shard], *found) for shard, found in zip(together, done, strict=True)]

    def run_layers(rows: slice) -> BatchResult:
        network = model.up_to_logits(loss)
        # A generator for each shard, of the batch's number and its own: it draws the same on whatever thread.
        rng = None if draw is None else np.random.default_rng([draw, rows.start])
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity show in the loss; train_step refuses them
            logits, caches = network.forward_with(x[rows], rng)
            losses, dlogits = losses_and_gradient(loss, logits, classes[rows])
            _, grads = network.backward_unsummed(dlogits / n, caches, need_dx=False)
        return result_of(model, classes[rows], losses, logits, grads)

    total: BatchResult | None = None
    with parallel.single_threaded_blas():
        for wave in batches(n, WAVE_SIZE):
            results = run_in_groups(run_shards, shards(model, wave), model.num_threads, plan.pace_of("train", n))
            first, *others = itertools.chain(*results)
            for other in others:
                first.add(other)
            if n > WAVE_SIZE:
                add_up(model, first.grads, first.num_samples)
            if total is None:
                total = first
            else:
                total.add(first)
    assert total is not None, "a batch has samples"
    if model.regularizers:
        total.finite |= add_up(model, total.grads, n)
        _add_regularizers(model, total)
    return total


def _add_regularizers(model: Sequential, total: BatchResult) -> None:
    """Add the regularizers' loss and gradients to the sums of a batch."""
    for key, regularizer in model.regularizers.items():  # once: the loss is a mean, but here is a sum
        W = model.params[key]
        total.loss += total.num_samples * penalty_of(regularizer, W)
        gradient = regularizer.gradient(W)
        if np.shape(gradient) != W.shape:
            raise ValueError(
                f"{type(regularizer).__name__}: gradient must return an array of the shape of W, {W.shape}, "
                f"got {np.shape(gradient)}."
            )
        total.grads[key] += gradient
        total.finite.discard(key)


def plan_of(model: Sequential) -> Plan:
    """The model's plan, a new one where the model has changed."""
    plan = model.plan
    if plan is None or not plan.is_current(model):
        plan = model.plan = Plan(model)
    return plan


def for_kernels(x: Array, dtype: Any) -> Array:
    """``x`` as kernels take it, in rows and such that it may be written: itself, or a copy."""
    return x.astype(dtype, order="C", copy=not x.flags.behaved)


def result_of(model: Sequential, classes: Array, losses: Array, logits: Array, grads: dict[str, Any]) -> BatchResult:
    """What comes of some samples, from the loss and the logits of each."""
    sums = [float(values_of(metric, classes, logits).sum()) for metric in model.metrics]
    return BatchResult(len(losses), float(losses.sum(dtype=np.float64)), sums, grads)


def add_up(model: Sequential, grads: dict[str, Any], n: int) -> set[str]:
    """Replace each ``OuterProducts``, of n samples, with its sum, of which the threads work out some rows each.

    Returns the names of those sums that are finite: while they are in the cache, looking at them costs little.
    """
    parts: list[tuple[str, OuterProducts, slice]] = []
    for key, grad in grads.items():
        if isinstance(grad, OuterProducts):
            parts += [(key, grad, rows) for rows in grad.parts()]
    if not parts:
        return set()
    sums = {key: np.empty(grad.shape, grad.dtype) for key, grad, _ in parts}

    @np.errstate(over="ignore", invalid="ignore")
    def add_part(part: tuple[str, OuterProducts, slice]) -> bool:
        key, products, rows = part
        return _all_finite(products.sum(rows, out=sums[key][rows]))

    with parallel.single_threaded_blas():
        finite = _pace_of(model, "add up", n).run(
            lambda count: parallel.run_all(add_part, parts, count), model.num_threads
        )
    grads.update(sums)
    return sums.keys() - {key for (key, _, _), is_finite in zip(parts, finite, strict=True) if not is_finite}


def _pace_of(model: Sequential, work: str, n: int) -> parallel.Pace:
    """Of what is done with n samples once ``run_batch`` has been."""
    assert model.plan is not None, "run_batch makes one"
    return model.plan.pace_of(work, n)
