"""A network at work: its outputs, and how good they are.

Batches are cut into shards, as in training (see ``sharding.py``), and the threads share those of several batches.
Neither their number nor how many batches are taken together changes a bit of the outputs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinynet import parallel
from tinynet.callbacks.callback import Callback, CallbackList
from tinynet.interrupt import InterruptWatch
from tinynet.layers.returned import output_and_cache
from tinynet.losses import losses_and_gradient
from tinynet.memory import keep_freed_memory
from tinynet.plan import Plan
from tinynet.regularizers import penalty_of
from tinynet.sharding import batches, rows_of, run_in_groups, shards
from tinynet.training import BatchResult, for_kernels, plan_of, result_of

if TYPE_CHECKING:
    from tinynet.models import Sequential

Array = npt.NDArray[Any]

SAMPLES_AT_ONCE = 1024  # samples of batches that are taken together


def evaluate(model: Sequential, x: Array, classes: Array, batch_size: int, callbacks: CallbackList) -> dict[str, float]:
    """The mean loss and metrics over all samples, by name; regularizers count in the loss.

    A callback may set ``model.stop_evaluating``: then they are those of the batches up to there.
    """
    keep_freed_memory()
    model.stop_evaluating = False
    names, total = model.metrics_names, BatchResult(0, 0.0, [0.0] * len(model.metrics), {})
    callbacks.on_test_begin({})
    for group in _groups(len(x), batch_size, "test", callbacks):
        for number, _ in group:
            callbacks.on_test_batch_begin(number, {})
        penalty = sum(penalty_of(regularizer, model.params[key]) for key, regularizer in model.regularizers.items())
        cut = [shards(model, rows) for _, rows in group]
        plan = plan_of(model)
        run_shards = functools.partial(_evaluate_shards, model, plan, x, classes)
        pieces, pace = list(itertools.chain(*cut)), plan.pace_of("evaluate", batch_size)
        with parallel.single_threaded_blas():
            results = itertools.chain(*run_in_groups(run_shards, pieces, model.num_threads, pace))
        for (number, rows), own in zip(group, cut, strict=True):
            for result in itertools.islice(results, len(own)):
                total.add(result)
            total.loss += penalty * (rows.stop - rows.start)
            callbacks.on_test_batch_end(number, total.means(names))
        if model.stop_evaluating:
            break
    logs = total.means(names)
    callbacks.on_test_end(logs)
    return logs


def _evaluate_shards(
    model: Sequential, plan: Plan, x: Array, classes: Array, together: Sequence[slice]
) -> list[BatchResult]:
    loss, _ = model.loss_and_optimizer()
    rows = rows_of(together)
    if plan.gives_logits(loss, rows.stop - rows.start):
        logits = plan.logits(for_kernels(x[rows], plan.dtype))
        of_shards = [logits[shard.start - rows.start : shard.stop - rows.start] for shard in together]
    else:
        network = model.up_to_logits(loss)
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity show in the loss
            of_shards = [network.forward_with(x[shard].astype(model.dtype, copy=False), None)[0] for shard in together]
    results = []
    for shard, logits in zip(together, of_shards, strict=True):
        losses, _ = losses_and_gradient(loss, logits, classes[shard])
        results.append(result_of(model, classes[shard], losses, logits, {}))
    return results


def predict(model: Sequential, x: Array, batch_size: int, callbacks: CallbackList) -> Array:
    """The network's outputs for all samples, (n, *output_shape).

    A callback may set ``model.stop_predicting``: then they are those of the batches up to there.
    """
    keep_freed_memory()
    model.stop_predicting, done = False, len(x)
    assert model.output_shape is not None, "predict builds the model first"
    plan = plan_of(model)
    outputs = np.empty((len(x), *model.output_shape), plan.dtype)
    if len(x) == 1 and plan.takes(1) and not callbacks.callbacks:
        plan.run(for_kernels(x, plan.dtype), outputs)  # at once: to share out a single sample may take as long
        return outputs
    callbacks.on_predict_begin({})
    for group in _groups(len(x), batch_size, "predict", callbacks):
        for number, _ in group:
            callbacks.on_predict_batch_begin(number, {})
        plan = plan_of(model)
        run_shards = functools.partial(_predict_shards, model, plan, x, outputs)
        pieces = [shard for _, rows in group for shard in shards(model, rows)]
        pace = plan.pace_of("predict", batch_size)
        run_in_groups(run_shards, pieces, model.num_threads, pace)
        for number, rows in group:
            callbacks.on_predict_batch_end(number, {"outputs": outputs[rows]})
        if model.stop_predicting:
            done = rows.stop
            break
    callbacks.on_predict_end({})
    return outputs[:done]


def _predict_shards(model: Sequential, plan: Plan, x: Array, outputs: Array, together: Sequence[slice]) -> None:
    rows = rows_of(together)
    if plan.takes(rows.stop - rows.start) and plan.dtype == outputs.dtype:
        plan.run(for_kernels(x[rows], plan.dtype), outputs[rows])
        return
    for shard in together:
        with parallel.single_threaded_blas():
            samples = x[shard].astype(outputs.dtype, copy=False)
            outputs[shard], _ = output_and_cache(model, samples, model.forward(samples))


def _groups(n: int, batch_size: int, verb: str, callbacks: CallbackList) -> Iterator[list[tuple[int, slice]]]:
    """The batches that are taken together, with their numbers: one alone, if a callback is to be told of each."""
    hooks = f"on_{verb}_batch_begin", f"on_{verb}_batch_end"
    follows = any(
        getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)
        for callback in callbacks.callbacks
        if not isinstance(callback, InterruptWatch)  # which may well look a little later
        for hook in hooks
    )
    numbered, size = enumerate(batches(n, batch_size)), 1 if follows else max(1, SAMPLES_AT_ONCE // batch_size)
    while group := list(itertools.islice(numbered, size)):
        yield group
