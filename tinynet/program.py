"""Calls of kernels, written down once and then made in one go, as often as need be.

Layer by layer, some microseconds of Python go by for each kernel. For one image that is more than the arithmetic takes;
and the threads that share a batch wait for each other then, since only one at a time may run Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.kernels import calls
from tinynet.kernels.arrays import LINE

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Addresses = list[tuple[int, int]]  # where addresses stand in a table, and how far they are from an array's beginning

GIVEN_UP = 1 << 40  # the next row of a run that has ended before its last call
KEPT_BYTES = 1 << 24  # of memory for work: where a run needs no more, it is kept for the next one


class Room:
    """Arrays that lie one after another in one block of memory. These only stand for them: each run has its own."""

    def __init__(self) -> None:
        self.arrays: list[tuple[Array, int]] = []  # and where in the memory they are, in bytes
        self.size = 0

    def add(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Stands for an array of this shape."""
        array = np.empty(shape, dtype)
        self.arrays.append((array, self.size))
        self.size += -(-array.nbytes // LINE) * LINE
        return array

    def place(self, array: Array) -> Place:
        """Where one of the arrays is."""
        return next(Place(array.shape, array.dtype, offset) for other, offset in self.arrays if other is array)


class Place(NamedTuple):
    """Where an array is in some memory."""

    shape: tuple[int, ...]
    dtype: DType
    offset: int

    def of(self, memory: Array) -> Array:
        """The array in this memory."""
        return np.ndarray(self.shape, self.dtype, memory, self.offset)


class Program:
    """A list of calls. It is written with arrays that stand for those of later runs, which lie elsewhere.

    Args:
        dtype: of all numbers.

    Attributes:
        work: arrays that no run returns. They are zeros at first, and a later run may find them as one has left them.
        results: arrays that each run returns.

    Example:
        >>> program = Program(np.float32)
        >>> dy, y, dx = program.given(3), program.given(3), program.results.add((3,), program.dtype)
        >>> program.call(kernels.relu_backward, dy, y, dx)
        >>> place = program.results.place(dx)
        >>> place.of(program.finish().run(np.array([5, 6, 7], np.float32), np.array([0, 1, -1], np.float32)))
        array([0., 6., 0.], dtype=float32)
    """

    def __init__(self, dtype: npt.DTypeLike):
        self.dtype = np.dtype(dtype)
        self.work, self.results = Room(), Room()
        self._next_row = self.work.add((1,), np.dtype(np.int64))
        self._given: list[Array] = []
        self._calls: list[calls.Call] = []

    def given(self, *shape: int, dtype: npt.DTypeLike | None = None) -> Array:
        """Stands for an argument of ``run``: the first call for ``x``, the second one for ``other``."""
        array = np.empty(shape, dtype or self.dtype)
        self._given.append(array)
        return array

    def call(self, kernel: Callable[..., Any], *arguments: Any) -> None:
        """Write down a call. An array that stands for no other one is used itself, where it is."""
        self._calls.append((kernel, arguments))

    def jump_if_dense(self, x: Array, most: int) -> Callable[[], None]:
        """Jump, if more than ``most`` of the numbers of x are not zero, to where the returned function is called.

        Where that is never called, the run is given up.
        """
        number = len(self._calls)

        def jump_to(row: int) -> None:
            self._calls[number] = kernels.jump_if_dense, (x.reshape(-1), most, row, self._next_row)

        self._calls.append((kernels.jump_if_dense, ()))
        jump_to(GIVEN_UP)
        return lambda: jump_to(len(self._calls))

    def jump(self) -> Callable[[], None]:
        """Jump in any case to where the returned function is called: an empty array has more than -1 non-zeros."""
        return self.jump_if_dense(np.empty(0, self.dtype), -1)

    def finish(self) -> FinishedProgram:
        """The program as it is now, without the arrays that only stand for others."""
        return FinishedProgram(self)

    def table(self) -> Array:
        """The calls, with the addresses of the arrays with which they were written."""
        return calls.table_of(self._calls, self.dtype)

    def addresses(self) -> tuple[Addresses, list[Addresses], list[Array]]:
        """Where addresses stand in the table: of arrays in ``work``, of those in ``results`` and of each that is given.

        And the arrays that stand for no others.
        """
        groups = [self.work.arrays, self.results.arrays, *([(array, 0)] for array in self._given)]
        found: list[Addresses] = [[] for _ in groups]
        own = []
        for row, (_, arguments) in enumerate(self._calls):
            for place, array in calls.address_places(row, arguments):
                for group, addresses in zip(groups, found, strict=True):
                    offset = _offset_in(group, array)
                    if offset is not None:
                        addresses.append((place, offset))
                        break
                else:
                    own.append(array)
        return found[0], found[1:], own

    @property
    def next_row(self) -> Place:
        """Where in the memory for work the number of the next call is."""
        return self.work.place(self._next_row)


def _offset_in(arrays: Sequence[tuple[Array, int]], part: Array) -> int | None:
    """How far a part of one of these arrays is from the beginning of all; None if it is no part of any."""
    for array, offset in arrays:
        distance: int = part.ctypes.data - array.ctypes.data
        if part.size and 0 <= distance < array.nbytes:
            return offset + distance
    return None


class FinishedProgram:
    """A program to run, which several threads may do at a time."""

    def __init__(self, program: Program):
        self._table, self._next_row = program.table(), program.next_row
        self._work_size, self._results_size = program.work.size, program.results.size
        work, others, self._own = program.addresses()  # the table has the addresses of the last, so they are kept
        self._work = np.array(work, np.int64).reshape(-1, 2)
        self._moves = np.array([(*move, i) for i, moves in enumerate(others) for move in moves], np.int64).reshape(
            -1, 3
        )
        self._nothing = np.empty(0, np.uint8)
        self._desks: list[_Desk] = []  # that no run is using

    def run(self, x: Array, other: Array) -> Array | None:
        """Make the calls for the two arrays that are given: the results, or None if it was given up.

        They are C-contiguous, may be written, and have the right shapes and dtypes; x has the program's.
        """
        try:
            desk = self._desks.pop()
        except IndexError:
            desk = self._new_desk()
        results = _memory(self._results_size) if self._results_size else self._nothing
        is_complete = calls.run_calls(*desk, results, x.reshape(-1), other.reshape(-1))
        if self._work_size <= KEPT_BYTES:
            self._desks.append(desk)
        return results if is_complete else None

    def _new_desk(self) -> _Desk:
        memory, table = _memory(self._work_size, np.zeros), self._table.copy()
        table.reshape(-1)[self._work[:, 0]] = self._work[:, 1] + memory.ctypes.data
        return _Desk(table, self._moves, self._next_row.of(memory))


class _Desk(NamedTuple):
    """What a run needs besides what it is given: the calls with addresses in the memory for work, of which one is kept.

    See ``kernels.calls.run_calls``.
    """

    table: Array
    moves: Array
    next_row: Array


def _memory(size: int, make: Callable[..., Array] = np.empty) -> Array:
    """So many bytes, from the beginning of a line of the cache on."""
    memory = make(size + LINE, np.uint8)
    skip = -memory.ctypes.data % LINE
    return memory[skip : skip + size]
