"""Calls of kernels that are written down and made later: each with its own arrays, in order, and jumps."""

import gc
import math
import threading
import weakref

import numba
import numpy as np
import pytest

from tinynet import kernels, program
from tinynet.kernels import calls
from tinynet.program import FinishedProgram, Place, Program, Room

NONE = np.empty(0, np.float32)
pytestmark = pytest.mark.usefixtures("as_with_vectors")


def doubled_and_shifted(dtype: type = np.float32) -> tuple[FinishedProgram, Place]:
    """relu(2 x + 1): x is given, and the result is returned."""
    program = Program(dtype)
    x, _ = program.given(3, 2), program.given(0)
    between = program.work.add((3, 2), program.dtype)
    y = program.results.add((3, 2), program.dtype)
    W, b = 2 * np.eye(2, dtype=dtype), np.ones(2, dtype)
    program.call(kernels.matmul, x, W, b, between, False, False, -math.inf)
    program.call(kernels.relu, between.reshape(-1), y.reshape(-1))
    return program.finish(), program.results.place(y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_uses_what_it_is_given_and_returns_new_results(dtype):
    program, place = doubled_and_shifted(dtype)
    x = np.array([[1, -1], [0, -0.5], [3, 2]], dtype)
    first, second = program.run(x, NONE), program.run(-x, NONE)
    np.testing.assert_array_equal(place.of(first), [[3, 0], [1, 0], [7, 5]])
    np.testing.assert_array_equal(place.of(second), [[0, 3], [1, 2], [0, 0]])


def test_parts_of_arrays_and_constants_that_are_changed_in_place():
    program = Program(np.float32)
    x, y = program.given(4), program.given(4)
    constant = np.array([1.0, -1.0], np.float32)
    program.call(kernels.relu_backward, x[:2], constant, y[2:])
    program.call(kernels.relu, x[2:], y[:2])
    given, out = np.array([5, 6, 7, -8], np.float32), np.zeros(4, np.float32)
    finished = program.finish()
    finished.run(given, out)
    np.testing.assert_array_equal(out, [7, 0, 5, 0])
    constant[:] = [-1.0, 1.0]
    finished.run(given, out)
    np.testing.assert_array_equal(out, [7, 0, 0, 6])


def test_several_threads_may_run_a_program():
    (program, place), wrong = doubled_and_shifted(), []

    def work(number: int) -> None:
        x = np.full((3, 2), number, np.float32)
        for _ in range(200):
            if not (place.of(program.run(x, NONE)) == 2 * number + 1).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_jumps(zeros):
    """With two non-zeros or more past the first call, with all three to the end."""
    program = Program(np.float32)
    x, y = program.given(3), program.given(3)
    past = program.jump_if_dense(x, 1)
    program.call(kernels.divide, y, 2)
    past()
    program.jump_if_dense(x, 2)
    program.call(kernels.divide, y, 3)
    given, out = np.array([0.0] * zeros + [1.0] * (3 - zeros), np.float32), np.full(3, 36, np.float32)
    complete = program.finish().run(given, out) is not None
    assert complete == (zeros > 0)
    assert out[0] == {0: 36, 1: 12, 2: 6, 3: 6}[zeros]


def test_a_jump_in_any_case():
    program = Program(np.float32)
    x, _ = program.given(3), program.given(0)
    past = program.jump()
    program.call(kernels.divide, x, 2)
    past()
    program.call(kernels.divide, x, 3)
    given = np.full(3, 36, np.float32)
    assert program.finish().run(given, NONE) is not None
    np.testing.assert_array_equal(given, [12, 12, 12])


def test_a_run_is_given_up_however_many_calls_follow():
    program = Program(np.float32)
    x, y = program.given(1), program.given(1)
    program.jump_if_dense(x, 0)
    for _ in range(100):
        program.call(kernels.divide, y, 2)
    given, out = np.ones(1, np.float32), np.ones(1, np.float32)
    assert program.finish().run(given, out) is None
    assert out[0] == 1


def test_arrays_begin_at_lines_of_the_cache():
    room = Room()
    arrays = [room.add(shape, np.dtype(kind)) for shape, kind in (((3,), "f"), ((0, 2), "i"), ((5, 7), "d"))]
    assert room.size == 64 + 0 + 320
    memory = program._memory(room.size)
    places = [room.place(array).of(memory) for array in arrays]
    assert [(place.shape, place.dtype) for place in places] == [(array.shape, array.dtype) for array in arrays]
    assert [place.ctypes.data % 64 for place in places] == [0, 0, 0]
    places[0][:], places[2][:] = 1, 2
    assert (places[0] == 1).all()


def test_memory_begins_at_a_line_of_the_cache_wherever_numpy_has_found_it():
    memories = [program._memory(size) for size in range(1, 200)]
    assert [memory.size for memory in memories] == list(range(1, 200))
    assert {memory.ctypes.data % 64 for memory in memories} == {0}


def test_memory_is_used_again_unless_there_is_much_of_it(monkeypatch):
    finished, _ = doubled_and_shifted()
    x, sizes = np.ones((3, 2), np.float32), []
    memory = program._memory
    monkeypatch.setattr(program, "_memory", lambda size, *make: sizes.append(size) or memory(size, *make))
    for _ in range(3):
        finished.run(x, NONE)
    work, results = 128, 64  # bytes: the number of the next call takes a line, too
    assert sorted(sizes) == [results] * 3 + [work]
    monkeypatch.setattr(program, "KEPT_BYTES", 0)
    for _ in range(3):
        finished.run(x, NONE)
    assert sizes.count(work) == 3, "the one that was kept is used up, and then there are two more"


def test_memory_for_work_is_zeros_at_first_and_stays_as_a_run_has_left_it():
    program = Program(np.float32)
    x, none, found = program.given(3), program.given(0), program.results.add((3,), program.dtype)
    before = program.work.add((3,), program.dtype)
    program.call(kernels.relu, before, found)
    program.call(kernels.relu, x, before)
    place, finished = program.results.place(found), program.finish()
    for size in range(1, 1000):  # NumPy hands out small blocks again as they are
        np.full(size, 255, np.uint8)
    for last, now in [(0, 1), (1, 2), (2, 3)]:
        np.testing.assert_array_equal(place.of(finished.run(np.full(3, now, np.float32), none)), np.full(3, last))


def test_what_only_stands_for_other_arrays_is_freed():
    program = Program(np.float32)
    x, y, constant = program.given(3), program.work.add((3,), program.dtype), np.ones(3, np.float32)
    gone, kept = [weakref.ref(x), weakref.ref(y)], weakref.ref(constant)
    program.call(kernels.relu_backward, x, constant, y)
    finished = program.finish()
    del program, x, y, constant
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert kept() is not None
    finished.run(np.ones(3, np.float32), NONE)


def test_results_outlive_the_program():
    program, place = doubled_and_shifted()
    gone = weakref.ref(program)
    results = program.run(np.ones((3, 2), np.float32), NONE)
    del program
    gc.collect()
    assert gone() is None
    np.testing.assert_array_equal(place.of(results), np.full((3, 2), 3))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="plain Python raises what it raises")
def test_a_call_that_fails_is_noticed(monkeypatch):
    """Kernels fail where there is no memory for their rooms; this one does for other reasons."""

    @numba.njit
    def fail(x, y):
        if x[0] > 0:
            raise ValueError

    x = np.zeros(1, np.float32)
    fail(x, x)
    (compiled,) = fail.overloads.values()
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    monkeypatch.setattr(calls, "machine_code", lambda kernel, dtype: address)
    program = Program(np.float32)
    program.call(kernels.relu, program.given(1), program.given(1))
    finished = program.finish()
    assert finished.run(x, x) is not None
    with pytest.raises(MemoryError, match="no memory left"):
        finished.run(x + 1, x)
