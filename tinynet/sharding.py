"""How batches are cut into shards, and which of these a thread takes together.

Nothing here depends on the number of threads but who does what: sums are taken shard by shard, in order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tinynet import parallel
from tinynet.network import Network

Result = TypeVar("Result")

# The most samples in a shard: few enough to share a batch of 128 among four cores. A small network's batches are half
# done before a third core has begun.
SHARD_SIZE, LARGE_SHARD = 32, 64
CUT_FROM, SMALL_CUT_FROM = 16, 33  # samples of a batch: another core is not worth waking for fewer
SMALL_NETWORK = 1 << 14  # outputs of all its layers
SHARDS_AT_ONCE, MOST_ROWS = (4, 2, 1), 64  # that a thread takes, and the most samples that two or more of them have


def batches(num_samples: int, batch_size: int) -> Iterator[slice]:
    """Slices of ``batch_size`` rows, the last one with what remains."""
    for start in range(0, num_samples, batch_size):
        yield slice(start, min(start + batch_size, num_samples))


def shards(network: Network, rows: slice) -> list[slice]:
    """How rows of a batch are cut, in order: by their number and the network's size, not by the number of threads.

    An even number of shards, as equal as can be, or one.
    """
    n, outputs = rows.stop - rows.start, sum(math.prod(layer.output_shape or ()) for layer in network.layers)
    cut_from, most = (SMALL_CUT_FROM, LARGE_SHARD) if outputs < SMALL_NETWORK else (CUT_FROM, SHARD_SIZE)
    if n < cut_from:
        return [rows]
    count = 2 * math.ceil(n / (2 * most))
    ends = [rows.start + n * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def in_groups(pieces: Sequence[slice], num_threads: int) -> list[Sequence[slice]]:
    """The shards that a thread takes together, in order: four or two, as long as there are so many for each thread.

    Matrix products of more rows are faster. Sums over samples remain those of each shard, so no bit depends on it. (For
    a single sample there are other kernels, so it goes alone.)
    """
    groups: list[Sequence[slice]] = []
    while pieces:
        for_each = next(filter(None, (_one_for_each(pieces, count, num_threads) for count in SHARDS_AT_ONCE)))
        groups += for_each
        pieces = pieces[sum(map(len, for_each)) :]
    return groups


def _one_for_each(pieces: Sequence[slice], count: int, num_threads: int) -> list[Sequence[slice]]:
    """For each thread, ``count`` of the next shards; none where there are too few, or they do not go together."""
    if count == 1:
        return [[piece] for piece in pieces[:num_threads]]
    if len(pieces) < count * num_threads:
        return []
    groups = [pieces[i : i + count] for i in range(0, count * num_threads, count)]
    return groups if all(map(_go_together, groups)) else []


def _go_together(pieces: Sequence[slice]) -> bool:
    rows = rows_of(pieces)
    return rows.stop - rows.start <= MOST_ROWS and all(piece.stop - piece.start > 1 for piece in pieces)


def run_in_groups(
    function: Callable[[Sequence[slice]], Result], pieces: Sequence[slice], num_threads: int, pace: parallel.Pace
) -> list[Result]:
    """What the function gives for shards that go together, for all of them in order, on up to so many threads."""
    if len(pieces) == 1:
        return parallel.run_all(function, [pieces], 1)
    return pace.run(lambda count: parallel.run_all(function, in_groups(pieces, count), count), num_threads)


def rows_of(together: Sequence[slice]) -> slice:
    """All rows of shards that follow each other."""
    return slice(together[0].start, together[-1].stop)
