"""Work on several cores: the one place where threads are made.

Kernels and matrix products release the GIL, so plain threads serve. While they run, NumPy's BLAS is held to one thread
of its own: the cores are taken already, and its results could otherwise depend on their number.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

# The time that a thread has worked, not that it has waited; but Windows tells that in steps of a 64th of a second.
_clock = time.perf_counter if sys.platform == "win32" else time.thread_time
LEAST_SECONDS, LEAST_IN_ALL = 1e-4, 1.5e-3  # of a piece, and of all, that make other threads worth waking

_lock = threading.Lock()
_users = 0
_before: list[int] = []


class Pace:
    """How long a thread takes for pieces of work of one kind; where that is short, no other thread is worth waking.

    To wake one takes a while, and only one at a time may run Python: two threads may do fewer short pieces than one.

    Attributes:
        seconds: how long a piece took in the slowest call of the last time, without waiting; infinity before the first.
    """

    def __init__(self) -> None:
        self.seconds = math.inf

    def num_threads(self, num_pieces: int, most: int) -> int:
        """How many of at most so many threads are to share the pieces."""
        is_worth_it = self.seconds >= LEAST_SECONDS and self.seconds * num_pieces >= LEAST_IN_ALL
        return most if is_worth_it else 1

    def timed(self, function: Callable[[Sequence[Item]], Result]) -> Callable[[Sequence[Item]], Result]:
        """The function of some pieces, but each call of it is timed; those of all pieces of this time."""
        slowest = 0.0

        def run(pieces: Sequence[Item]) -> Result:
            nonlocal slowest
            start = _clock()
            result = function(pieces)
            self.seconds = slowest = max(slowest, (_clock() - start) / len(pieces))
            return result

        return run


def run_all(function: Callable[[Item], Result], items: Sequence[Item], num_threads: int) -> list[Result]:
    """``[function(item) for item in items]``, on up to ``num_threads`` threads, of which the caller's is one.

    Where several items fail, the exception of the first one is raised, once all that have begun have ended. No item
    begins after one has failed.
    """
    if num_threads == 1 or len(items) == 1:
        return [function(item) for item in items]
    todo = deque(range(len(items)))
    results: dict[int, Result] = {}
    errors: dict[int, Exception] = {}
    done: SimpleQueue[None] = SimpleQueue()  # it wakes a thread sooner than concurrent.futures.wait

    def work() -> None:
        with suppress(IndexError):
            while True:
                number = todo.popleft()
                try:
                    results[number] = function(items[number])
                except Exception as error:
                    errors[number] = error
                    todo.clear()  # of earlier items, all have begun

    def help_out() -> None:
        try:
            work()
        finally:
            done.put(None)

    helpers = [_pool(num_threads).submit(help_out) for _ in range(min(num_threads, len(items)) - 1)]
    try:
        work()
    finally:  # after an interrupt, what has not begun stays undone
        todo.clear()
        for _ in helpers:
            done.get()
    for number in sorted(errors):
        raise errors[number]
    return [results[number] for number in range(len(items))]


class single_threaded_blas:  # noqa: N801 - it is called like a function, but takes less time than a generator
    """Hold BLAS to one thread, however many callers overlap; the last one to leave restores what was set before."""

    def __enter__(self) -> None:
        global _users, _before
        with _lock:
            if _users == 0:
                _before = [library.get_num_threads() for library in _blas_libraries()]
                _set_num_threads([1] * len(_before))
            _users += 1

    def __exit__(self, *exception: object) -> None:
        global _users
        with _lock:
            _users -= 1
            if _users == 0:
                _set_num_threads(_before)


def _set_num_threads(numbers: list[int]) -> None:
    for library, number in zip(_blas_libraries(), numbers, strict=True):
        library.set_num_threads(number)


@functools.cache
def _blas_libraries() -> list[Any]:
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads - 1, thread_name_prefix="tinynet")


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _lock, _users
    _pool.cache_clear()
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
