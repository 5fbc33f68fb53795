"""Work on several threads: its order, its errors, how many threads there are and what BLAS does meanwhile."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest
from forking import answer_of_child, needs_fork
from threadpoolctl import threadpool_limits

from tinynet import cores, parallel


@pytest.fixture(autouse=True)
def look_for_libraries_again():
    """An earlier test may have loaded one."""
    parallel._blas_libraries.cache_clear()


def test_run_all_raises_the_first_error_once_all_that_have_begun_have_ended():
    begun, ended, done = threading.Barrier(3), [], []

    def work(item: int) -> int:
        done.append(item)
        begun.wait(10)
        if item == 0:
            raise ValueError("the first")
        time.sleep(0.2)
        ended.append(item)
        raise KeyError("a later one")

    with pytest.raises(ValueError, match="the first"):
        parallel.run_all(work, range(20), 3)
    assert sorted(ended) == [1, 2]
    assert sorted(done) == [0, 1, 2]  # no other one has begun


def test_run_all_keeps_the_order():
    assert parallel.run_all(lambda i: i * i, range(20), 3) == [i * i for i in range(20)]


@pytest.mark.parametrize(
    ("items", "num_threads", "helpers"), [(1, 4, 0), (3, 1, 0), (2, 2, 1), (2, 4, 1), (3, 4, 2), (9, 4, 3)]
)
def test_run_all_wakes_no_more_threads_than_there_are_items(monkeypatch, items, num_threads, helpers):
    submitted = []

    class Pool:
        def submit(self, work):
            submitted.append(work)
            return parallel.ThreadPoolExecutor.submit(pool, work)

    with parallel.ThreadPoolExecutor(3) as pool:
        monkeypatch.setattr(parallel, "_pool", lambda number: Pool())
        assert parallel.run_all(str, range(items), num_threads) == [str(i) for i in range(items)]
    assert len(submitted) == helpers


@pytest.mark.parametrize("num_threads", [2, 3])
def test_calls_within_calls_do_not_wait_for_each_other(num_threads):
    """Those of the inner ones find no thread that is free, or only some."""

    def inner(item: int) -> list[int]:
        time.sleep(0.001)
        return parallel.run_all(lambda i: 10 * item + i, range(3), num_threads)

    found: list[list[list[int]]] = []
    caller = threading.Thread(
        target=lambda: found.extend(parallel.run_all(inner, range(4), num_threads) for _ in range(20)), daemon=True
    )
    caller.start()
    caller.join(30)
    assert found == [[[10 * item + i for i in range(3)] for item in range(4)]] * 20


def test_while_the_interpreter_ends_a_thread_does_the_work_alone(monkeypatch):
    """As concurrent.futures refuses work then."""

    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(parallel.ThreadPoolExecutor, "submit", refuse)
    assert parallel.run_all(lambda i: i * i, range(5), 3) == [0, 1, 4, 9, 16]


def test_a_thread_that_outlives_the_main_one_trains_on():
    script = """
import threading, time
import numpy as np
from tinynet import Sequential, layers, parallel
parallel.LONG = 0.0
model = Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")], seed=0, num_threads=2)
model.compile("sgd", "sparse_categorical_crossentropy")
def train():
    threading.main_thread().join()
    model.fit(np.zeros((100, 4), np.float32), np.zeros(100, int), batch_size=50, verbose=0)
    print("done")
threading.Thread(target=train).start()
"""
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "done\n"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("in_caller", [False, True])
def test_an_interrupt_on_any_thread_comes_before_an_error(kind, in_caller):
    both = threading.Barrier(2)
    caller = threading.get_ident()

    def work(_: int) -> None:
        both.wait(10)
        raise kind if (threading.get_ident() == caller) == in_caller else ValueError

    with pytest.raises(kind):
        parallel.run_all(work, range(2), 2)


class Work:
    """Work that takes as long as is said, by the number of threads; it notes these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: float):
        for name, value in {"TRIALS": 2, "AGAIN": 7, "LONG": 10.0, **settings}.items():
            monkeypatch.setattr(parallel, name, value)
        monkeypatch.setattr(parallel.time, "perf_counter", lambda: self.now)
        self.now, self.asked, self.pace = 0.0, [], parallel.Pace()

    def times(self, seconds: dict[int, float], calls: int, most: int = 3) -> list[int]:
        """Do it so many times: on how many threads."""

        def work(num_threads: int) -> int:
            self.now += seconds[num_threads]
            return num_threads

        return [self.pace.run(work, most) for _ in range(calls)]


@pytest.mark.parametrize(("alone", "together", "best"), [(1.0, 0.9, 3), (0.9, 1.0, 1), (1.0, 1.0, 3), (99.0, 9.9, 3)])
def test_work_is_done_by_as_many_threads_as_take_least_time(monkeypatch, alone, together, best):
    work = Work(monkeypatch)
    assert work.times({1: alone, 3: together}, 7) == [3, 3, 1, 1, best, best, best]


def test_how_long_it_took_is_found_out_again_and_what_was_before_forgotten(monkeypatch):
    work = Work(monkeypatch)
    assert work.times({1: 0.2, 3: 0.1}, 7) == [3, 3, 1, 1, 3, 3, 3]
    assert work.times({1: 1.0, 3: 2.0}, 7) == [3, 3, 1, 1, 1, 1, 1]
    assert work.times({1: 3.0, 3: 1.5}, 7) == [3, 3, 1, 1, 3, 3, 3]


def test_a_slow_call_among_fast_ones_does_not_count(monkeypatch):
    """The first one compiles, and others wait for another program."""
    work = Work(monkeypatch, TRIALS=3, AGAIN=100)
    for seconds, threads in (50.0, 3), (1.0, 3), (50.0, 3), (50.0, 1), (2.0, 1), (50.0, 1):
        assert work.times({threads: seconds}, 1) == [threads]
    assert work.times({3: 3.0, 1: 2.0}, 3) == [3, 3, 3]


def test_what_threads_take_long_for_is_theirs_without_trial(monkeypatch):
    work = Work(monkeypatch)
    assert work.times({3: 11.0}, 7) == [3] * 7
    assert work.times({3: 10.0}, 20) == [3] * 20
    assert work.times({1: 1.0, 3: 9.9}, 8)[-1] == 1  # until it takes no time any more


def test_one_thread_alone_has_no_choice_and_another_number_is_tried_at_once(monkeypatch):
    work = Work(monkeypatch)
    assert work.times({1: 1.0}, 20, most=1) == [1] * 20
    assert work.times({1: 1.0, 2: 0.5}, 1, most=2) == [2]


def test_work_that_fails_says_nothing_of_the_time(monkeypatch):
    work = Work(monkeypatch)

    def fail(_: int) -> None:
        raise ZeroDivisionError

    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            work.pace.run(fail, 3)
    assert work.times({1: 1.0, 3: 2.0}, 5) == [3, 3, 1, 1, 1]


def test_the_caller_is_one_of_the_threads():
    both = threading.Barrier(2)
    caller = threading.get_ident()

    def work(_: int) -> int:
        both.wait(10)
        return threading.get_ident()

    idents = parallel.run_all(work, [0, 1], 2)
    assert caller in idents
    assert len(set(idents)) == 2


@pytest.mark.parametrize("setting", ["1", "2", " 16 "])
def test_the_environment_says_how_many_threads_there_are(monkeypatch, setting):
    monkeypatch.setenv("TINYNET_NUM_THREADS", setting)
    assert cores.default_num_threads() == int(setting)


@pytest.mark.parametrize("setting", ["0", "-1", "1.5", "many"])
def test_what_is_no_number_of_threads_is_refused(monkeypatch, setting):
    monkeypatch.setenv("TINYNET_NUM_THREADS", setting)
    with pytest.raises(ValueError, match=f"TINYNET_NUM_THREADS must be a positive integer, got '{setting}'"):
        cores.default_num_threads()


def test_otherwise_there_is_a_thread_for_each_core_that_this_process_may_use(monkeypatch):
    monkeypatch.delenv("TINYNET_NUM_THREADS", raising=False)
    allowed = {0: {0, 1, 2}}  # of this process, which goes by the number 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed.get(process, set()), raising=False)
    assert cores.default_num_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cores.default_num_threads() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)  # it cannot tell
    assert cores.default_num_threads() == 1


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in parallel.ThreadpoolController().select(user_api="blas").info()}


def test_blas_is_held_to_one_thread_until_the_last_user_leaves():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with parallel.single_threaded_blas():
            with parallel.single_threaded_blas():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


class Library:
    """What threadpoolctl says of a library: how many threads it has, and that it can be told."""

    def __init__(self, num_threads: int):
        self.num_threads = num_threads

    def get_num_threads(self) -> int:
        return self.num_threads

    def set_num_threads(self, num_threads: int) -> None:
        self.num_threads = num_threads


def test_each_library_gets_its_number_of_threads_back_after_an_error_too(monkeypatch):
    libraries = [Library(3), Library(5)]
    monkeypatch.setattr(parallel, "_blas_libraries", lambda: libraries)
    with parallel.single_threaded_blas():
        libraries[0].num_threads = 2  # while it is held, somebody else changes it: that is lost
    assert [library.num_threads for library in libraries] == [3, 5]
    libraries[1].num_threads = 7
    with pytest.raises(KeyError, match=r"\[1, 1\]"), parallel.single_threaded_blas(), parallel.single_threaded_blas():
        raise KeyError([library.num_threads for library in libraries])
    assert [library.num_threads for library in libraries] == [3, 7]


def test_the_libraries_are_those_of_blas():
    found = [library.filepath for library in parallel._blas_libraries()]
    assert found == [library["filepath"] for library in parallel.ThreadpoolController().select(user_api="blas").info()]
    assert parallel._blas_libraries() is parallel._blas_libraries()


def test_the_threads_are_kept_for_the_next_batch_and_make_way_where_more_are_needed(monkeypatch):
    monkeypatch.setattr(parallel, "_helpers", None)
    pool = parallel._pool(3)
    assert parallel._pool(3) is parallel._pool(2) is pool
    before = threading.active_count()
    for num_threads in range(3, 9):
        together = threading.Barrier(num_threads)  # all of them are needed
        parallel.run_all(lambda _, together=together: together.wait(60), range(num_threads), num_threads)
    assert parallel._pool(3) is parallel._pool(8) is not pool
    deadline = time.monotonic() + 60
    while threading.active_count() > before + 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before + 7
    parallel._pool(8).shutdown()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_while_blas_is_being_held_or_set_free_leaves_it_as_it_was(monkeypatch, number, when):
    """At the worst moments: just before, or after, the number of threads is set to 1, or to 2 again."""
    set_num_threads, presses = parallel._set_num_threads, [True]

    def pressed(numbers: list[int]) -> None:
        is_it = set(numbers) == {number} and bool(presses and presses.pop())
        if is_it and when == "before":
            raise KeyboardInterrupt
        set_num_threads(numbers)
        if is_it:
            raise KeyboardInterrupt

    def hold() -> None:
        with parallel.single_threaded_blas():
            pass

    with threadpool_limits(2, user_api="blas"):
        monkeypatch.setattr(parallel, "_set_num_threads", pressed)
        with contextlib.suppress(KeyboardInterrupt):
            hold()
        assert not presses
        assert blas_threads() == {2}
        hold()
        assert blas_threads() == {2}
    assert parallel._users == 0


@needs_fork
def test_what_a_forked_child_had_held_is_left_without_effect():
    def leave_and_hold(connection) -> None:
        held.__exit__()
        with parallel.single_threaded_blas():
            connection.send((blas_threads(), parallel._users))

    held = parallel.single_threaded_blas()
    with threadpool_limits(2, user_api="blas"), held:
        assert answer_of_child(leave_and_hold) == ({1}, 1)


def test_blas_is_held_in_any_thread_whoever_was_the_first_to_hold_it():
    """threadpoolctl lets only one thread at a time set the number, and ignores others without a word."""
    seen = []

    def hold() -> None:
        with parallel.single_threaded_blas():
            seen.append(blas_threads())

    with threadpool_limits(2, user_api="blas"):  # by this thread
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()
        assert seen == [{1}]
        assert blas_threads() == {2}


def test_the_last_thread_to_leave_sets_blas_free_though_another_one_held_it():
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with parallel.single_threaded_blas():
            inside.set()
            leave.wait(60)

    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=hold)
        with parallel.single_threaded_blas():
            thread.start()
            assert inside.wait(60)
        assert blas_threads() == {1}
        leave.set()
        thread.join()
        assert blas_threads() == {2}


def _report_blas_threads(connection) -> None:
    with threadpool_limits(2, user_api="blas"), parallel.single_threaded_blas():
        connection.send(blas_threads())


def _report_blas_threads_at_first(connection) -> None:
    connection.send(blas_threads())


@needs_fork
@pytest.mark.parametrize(("target", "expected"), [(_report_blas_threads, {1}), (_report_blas_threads_at_first, {2})])
def test_a_child_forked_in_the_middle_of_a_batch_holds_blas_itself_or_not_at_all(target, expected):
    with threadpool_limits(2, user_api="blas"), parallel.single_threaded_blas():
        assert answer_of_child(target) == expected
