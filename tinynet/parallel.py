"""Work on several cores: the one place where threads are made.

Kernels and matrix products release the GIL, so plain threads serve. While they run, NumPy's BLAS is held to one thread
of its own: the cores are taken already, and its results could otherwise depend on their number.
"""

from __future__ import annotations

import functools
import math
import os
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

TRIALS, AGAIN = 8, 1000  # calls in each way, and after how many calls they are made again
LONG = 2e-3  # seconds that several threads take, for which they are surely worth waking

_lock = threading.RLock()
_users = 0
_before: list[int] = []
_helpers: tuple[int, ThreadPoolExecutor] | None = None  # how many threads, and these


class Pace:
    """Finds out whether one thread or all of them finish some kind of work sooner.

    To wake a thread takes time, and only one at a time can run Python, so for short work several may be slower. How
    short depends on the machine, so both ways are timed, for TRIALS calls each, and again every AGAIN calls.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._seconds: dict[int, float] = {}  # at best, in the last trial and since, by the number of threads

    def run(self, work: Callable[[int], Result], most: int) -> Result:
        """``work(num_threads)``, for whichever number takes least time: one, or ``most``."""
        num_threads = self.num_threads(most)
        start = time.perf_counter()
        result = work(num_threads)
        self._note(num_threads, time.perf_counter() - start)
        return result

    def num_threads(self, most: int) -> int:
        """How many threads are to do it this time."""
        if most not in self._seconds or self._seconds[most] >= LONG:
            return most
        number = self._calls % AGAIN
        if number < 2 * TRIALS:
            return most if number < TRIALS else 1
        return min((most, 1), key=lambda count: self._seconds.get(count, math.inf))

    def _note(self, num_threads: int, seconds: float) -> None:
        is_first = self._calls % AGAIN in (0, TRIALS)  # what was before is forgotten
        best = math.inf if is_first else self._seconds.get(num_threads, math.inf)
        self._seconds[num_threads] = min(seconds, best)
        self._calls += 1


def run_all(function: Callable[[Item], Result], items: Sequence[Item], num_threads: int) -> list[Result]:
    """``[function(item) for item in items]``, on up to ``num_threads`` threads, of which the caller's is one.

    If an item fails, no other begins any more. Once all that have begun have ended, the exception of the first one that
    failed is raised; an interrupt goes before any error.
    """
    if num_threads == 1 or len(items) == 1:
        return [function(item) for item in items]
    todo = deque(range(len(items)))
    results: dict[int, Result] = {}
    errors: dict[int, BaseException] = {}
    done: SimpleQueue[None] = SimpleQueue()  # it wakes a thread sooner than concurrent.futures.wait

    def work() -> None:
        with suppress(IndexError):
            while True:
                number = todo.popleft()
                try:
                    results[number] = function(items[number])
                except BaseException as error:
                    errors[number] = error
                    todo.clear()  # of earlier items, all have begun

    def help_out() -> None:
        try:
            work()
        finally:
            done.put(None)

    helpers = []
    with suppress(RuntimeError):  # no more work is begun: the interpreter is about to end, or more threads take over
        for _ in range(min(num_threads, len(items)) - 1):
            helpers.append(_pool(num_threads).submit(help_out))
    try:
        work()
    finally:  # after an interrupt, what has not begun stays undone
        todo.clear()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun may wait for this very thread: calls may be nested
                done.get()
    for number in sorted(errors, key=lambda number: (isinstance(errors[number], Exception), number)):
        raise errors[number]
    return [results[number] for number in range(len(items))]


class single_threaded_blas:  # noqa: N801 - it is called like a function, but takes less time than a generator
    """Hold BLAS to one thread, however many callers overlap; the last one to leave restores what was set before.

    Ctrl-C may interrupt it anywhere, on entering and on leaving too: what was not done then is done once nobody refers
    to it any more.
    """

    _held: object = None  # while it holds BLAS, this process's lock: a forked child has another one, and holds nothing

    def __enter__(self) -> None:
        global _users, _before
        with _lock:
            if _users == 0:
                _before = [library.get_num_threads() for library in _blas_libraries()]
            self._held, _users = _lock, _users + 1
            if _users == 1:
                _set_num_threads([1] * len(_before))

    def __exit__(self, *exception: object) -> None:
        global _users
        with _lock:
            if self._held is not _lock:
                return
            if _users == 1:
                _set_num_threads(_before)
            self._held, _users = None, _users - 1

    def __del__(self) -> None:
        if self._held is not None:
            self.__exit__()


def _set_num_threads(numbers: list[int]) -> None:
    for library, number in zip(_blas_libraries(), numbers, strict=True):
        library.set_num_threads(number)
        # threadpoolctl (from 3.7 on) lets the thread that was the first to set it do so alone, until that is cleared.
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            if library.get_num_threads() != number:
                clear(force=True)
                library.set_num_threads(number)
            clear(force=True)


@functools.cache
def _blas_libraries() -> list[Any]:
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


def _pool(num_threads: int) -> ThreadPoolExecutor:
    """The threads that help the caller's; where there are too few, more of them take their place."""
    global _helpers
    with _lock:
        if _helpers is None or _helpers[0] < num_threads - 1:
            if _helpers is not None:
                _helpers[1].shutdown(wait=False)
            _helpers = num_threads - 1, ThreadPoolExecutor(num_threads - 1, thread_name_prefix="tinynet")
        return _helpers[1]


def _forget_threads() -> None:
    """A forked child has none of its parent's threads, and none that hold BLAS to one of its own."""
    global _helpers, _lock, _users
    if _users:
        _set_num_threads(_before)
    _helpers, _lock, _users = None, threading.RLock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
