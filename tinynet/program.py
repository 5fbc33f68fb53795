"""Calls of kernels, written down once and then made in one go, as often as need be.

Layer by layer, some microseconds of Python go by for each kernel. For one image that is more than the arithmetic takes;
and the threads that share a batch wait for each other then, since only one at a time may run Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.kernels import calls

Array = npt.NDArray[Any]
DType = np.dtype[Any]
Addresses = tuple[Array, Array]  # where addresses stand in a table, and how far they are from the array's beginning

LINE = 64  # bytes: arrays begin where a line of the cache does
GIVEN_UP = 1 << 40  # the next row of a run that has ended before its last call
KEPT_BYTES = 1 << 24  # of an array's memory, that is kept for the next run


class Room:
    """Arrays that lie one after another in one piece of memory. At first they only stand for those of later runs."""

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
        work: arrays for what need not be kept after a run.
        results: arrays that each run returns.

    Example:
        >>> program = Program(np.float32)
        >>> x, y = program.given(3), program.results.add((3,), program.dtype)
        >>> program.call(kernels.relu, x, y)
        >>> place = program.results.place(y)
        >>> place.of(program.finish().run(np.array([-1, 0, 2], np.float32)))
        array([0., 0., 2.], dtype=float32)
    """

    def __init__(self, dtype: npt.DTypeLike):
        self.dtype = np.dtype(dtype)
        self.work, self.results = Room(), Room()
        self._next_row = self.work.add((1,), np.dtype(np.int64))
        self._given: list[Array] = []
        self._calls: list[calls.Call] = []

    def given(self, *shape: int, dtype: npt.DTypeLike | None = None) -> Array:
        """Stands for an array that each run is given; they are given in this order."""
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

    def finish(self) -> FinishedProgram:
        """The program as it is now, without the arrays that only stand for others."""
        table = calls.table_of(self._calls, self.dtype)
        given = [[(array, 0)] for array in self._given]
        work, *others = map(self._addresses_in, (self.work.arrays, self.results.arrays, *given))
        moved = np.concatenate([places for places, _ in (work, *others)])
        own = [array for place, array in self._arrays() if place not in moved]
        return FinishedProgram(self, table, work, others, own)

    def next_row(self) -> Place:
        """Where in the memory for work the number of the next call is."""
        return self.work.place(self._next_row)

    def _arrays(self) -> Iterator[tuple[int, Array]]:
        """All arrays in the calls, and where in the table their addresses stand."""
        for row, (_, arguments) in enumerate(self._calls):
            yield from calls.address_places(row, arguments)

    def _addresses_in(self, arrays: Sequence[tuple[Array, int]]) -> Addresses:
        """The addresses in the table that lie in one of these arrays, with the offset of each array added."""
        found = [
            (place, offset + array.ctypes.data - whole.ctypes.data)
            for place, array in self._arrays()
            for whole, offset in arrays
            if array.size and 0 <= array.ctypes.data - whole.ctypes.data < whole.nbytes
        ]
        places, offsets = zip(*found, strict=True) if found else ((), ())
        return np.array(places, np.intp), np.array(offsets, np.int64)


class FinishedProgram:
    """A program to run.

    Args:
        program: how it was written.
        table: its calls.
        work: the addresses in the table of what lies in the memory for work.
        others: those that each run changes: of the results, and of each array that is given.
        own: arrays that stand for no others.
    """

    def __init__(self, program: Program, table: Array, work: Addresses, others: list[Addresses], own: list[Array]):
        self._work_size, self._results_size = program.work.size, program.results.size
        self._next_row = program.next_row()
        self._table, self._work, self._others, self._own = table, work, others, own
        self._like = np.empty(0, program.dtype)
        self._desks: list[_Desk] = []  # that no run is using

    def run(self, *given: Array) -> Array | None:
        """Make the calls, for C-contiguous arrays of the right shapes and dtypes: the results, None if it was given up.

        Several threads may do so at a time.
        """
        try:
            desk = self._desks.pop()
        except IndexError:
            desk = self._new_desk()
        results = _memory(self._results_size)
        for (places, offsets), array in zip(self._others, (results, *given), strict=True):
            desk.words[places] = offsets + array.ctypes.data
        desk.next_row[0] = 0
        calls.run_calls(desk.table, desk.next_row, self._like)
        complete = desk.next_row[0] < GIVEN_UP
        if self._work_size <= KEPT_BYTES:
            self._desks.append(desk)
        return results if complete else None

    def _new_desk(self) -> _Desk:
        memory, table = _memory(self._work_size), self._table.copy()
        words, (places, offsets) = table.reshape(-1), self._work
        words[places] = offsets + memory.ctypes.data
        return _Desk(memory, table, words, self._next_row.of(memory))


class _Desk(NamedTuple):
    """What a run needs: memory for its work, the table of calls with the addresses there, and the next one's number."""

    memory: Array
    table: Array
    words: Array  # the same, as one row
    next_row: Array


def _memory(size: int) -> Array:
    """So many bytes, from the beginning of a line of the cache on."""
    memory = np.empty(size + LINE, np.uint8)
    skip = -memory.ctypes.data % LINE
    return memory[skip : skip + size]
