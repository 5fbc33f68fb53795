"""Many calls of kernels in one call from Python: what a table says is done, one row after another.

A row has the number of a kernel, the address of its machine code, and then the words of its arguments: one for a
number, and for an array what Numba hands over for it, which is nine of them for a matrix.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.np.numpy_support import as_dtype

from tinynet.kernels.activations import divide, relu, relu_backward, softmax, softmax_cross_entropy
from tinynet.kernels.arrays import flat
from tinynet.kernels.convolution import convolve
from tinynet.kernels.convolution_winograd import winograd
from tinynet.kernels.pooling import average_pool, max_pool
from tinynet.kernels.products import matmul, vecmat
from tinynet.kernels.settings import Array, jit
from tinynet.kernels.sparse import add_filters, jump_if_dense, sum_channels, sum_patches
from tinynet.kernels.vectors import Code, compiled_as

Call = tuple[Callable[..., Any], Sequence[Any]]  # a kernel, and what it is called with
KERNELS = (
    convolve,
    winograd,
    max_pool,
    average_pool,
    matmul,
    vecmat,
    relu,
    softmax,
    softmax_cross_entropy,
    divide,
    relu_backward,
    sum_patches,
    add_filters,
    sum_channels,
    jump_if_dense,
)
NUMBERS = {kernel: number for number, kernel in enumerate(KERNELS)}
ADDRESS = 4  # its place among an array's words
WORDS, FIRST_WORD = 80, 2  # of a row, more than any kernel needs; and where those of the arguments begin


def signature_of(kernel: Callable[..., Any], dtype: Any) -> tuple[Any, ...]:
    """What a kernel is compiled for, to be called from a table; ``dtype`` is Numba's."""
    size, flag, real, tuple_of = types.int64, types.boolean, types.float64, types.UniTuple
    row, matrix, images = (types.Array(dtype, axes, "C") for axes in (1, 2, 4))
    windows, places, whole = types.Array(dtype, 4, "A"), types.Array(types.int32, 4, "C"), types.Array(size, 1, "C")
    pads: Any = tuple_of(tuple_of(size, 2), 2)  # type: ignore[no-untyped-call]
    signatures: dict[Callable[..., Any], tuple[Any, ...]] = {
        convolve: (images, images, row, images, size, size, pads, real),
        winograd: (images, images, row, images, row, pads, real),
        max_pool: (images, size, size, size, size, pads, images, places),
        average_pool: (images, size, size, size, size, pads, images),
        matmul: (matrix, matrix, row, matrix, flag, flag, real),
        vecmat: (matrix, matrix, row, matrix, real),
        relu: (row, row),
        softmax: (matrix, matrix),
        softmax_cross_entropy: (matrix, whole, row, matrix),
        divide: (row, size),
        relu_backward: (row, row, row),
        sum_patches: (images, places, tuple_of(size, 2), images, places, windows, size, size, pads),  # type: ignore[no-untyped-call]
        add_filters: (images, places, windows, images, size, size, pads),
        sum_channels: (images, row),
        jump_if_dense: (row, size, size, whole),
    }
    return signatures[kernel]


def machine_code(kernel: Any, dtype: Any) -> int:
    """The address of a kernel's machine code for a dtype, compiled if it was not; 0 in plain Python."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return 0
    signature = signature_of(kernel, numba.from_dtype(np.dtype(dtype)))
    kernel.compile(signature)
    compiled = kernel.overloads[signature]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def table_of(calls: Sequence[Call], dtype: Any) -> Array:
    """The table (calls, WORDS) of int64. What is called must exist for as long as the table is in use."""
    codes = {kernel: machine_code(kernel, dtype) for kernel, _ in calls}
    table = np.zeros((len(calls), WORDS), np.int64)
    for row, (kernel, arguments) in zip(table, calls, strict=True):
        words = [NUMBERS[kernel], codes[kernel], *_words(tuple(arguments))]
        row[: len(words)] = words
    return table


def address_places(row: int, arguments: Sequence[Any]) -> Iterator[tuple[int, Array]]:
    """Where in a table, as a flat array, the addresses of a row's arrays stand, and these."""
    place = row * WORDS + FIRST_WORD
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            yield place + ADDRESS, argument
        place += len(_words(argument))


def _words(argument: Any) -> list[int]:
    if isinstance(argument, tuple):
        return [word for part in argument for word in _words(part)]
    if isinstance(argument, np.ndarray):
        address = argument.ctypes.data
        return [0, 0, argument.size, argument.itemsize, address, *argument.shape, *argument.strides]
    if isinstance(argument, float):
        return list(struct.unpack("q", struct.pack("d", argument)))
    return [int(argument)]


@jit
def run_calls(table: Array, moves: Array, next_row: Array, results: Array, x: Array, other: Array) -> bool:
    """Make the calls in a table's rows, in the dtype of x; whether none of them has ended the run.

    Before that, move[1] + the address of one of the three arrays is written into word move[0] of the table, for each of
    the moves: of ``results`` where move[2] is 0, of x where it is 1, of ``other`` where it is 2. A call may change
    next_row[0], which is the number of the one that follows.
    """
    words = flat(table)
    for i in range(len(moves)):
        array = moves[i, 2]
        address = results.ctypes.data if array == 0 else x.ctypes.data if array == 1 else other.ctypes.data
        words[moves[i, 0]] = moves[i, 1] + np.int64(address)
    next_row[0] = 0
    while next_row[0] < len(table):
        row = next_row[0]
        next_row[0] = row + 1
        _make_call(x, table, row, next_row)
        if next_row[0] < 0:
            raise MemoryError("There is no memory left for a kernel.")
    is_complete: bool = next_row[0] == len(table)
    return is_complete


def _write_call(code: Code, _: Any, table: Any, row: Any, next_row: Any) -> None:
    build = code.builder
    words = build.gep(table, [build.mul(row, code.integer(WORDS))])
    for number in code.cases(code.element(words, code.integer(0)), range(len(KERNELS))):
        kinds = signature_of(KERNELS[number], code.dtype)
        function = code.context.call_conv.get_function_type(types.none, kinds)
        # Numba passes two more arguments: where to write the result, and where the exception.
        places = [cgutils.alloca_once(build, place.pointee) for place in function.args[:2]]  # type: ignore[no-untyped-call]
        arguments = [
            _from_word(code, code.element(words, code.integer(i)), kind)
            for i, kind in enumerate(function.args[2:], start=FIRST_WORD)
        ]
        address = build.inttoptr(code.element(words, code.integer(1)), function.as_pointer())
        status = build.call(address, [*places, *arguments])
        succeeded = [build.icmp_signed("==", status, ir.Constant(status.type, good)) for good in (0, -2)]
        with build.if_then(build.not_(build.or_(*succeeded))):  # neither a result nor None
            build.store(code.integer(-1), next_row)


def _from_word(code: Code, word: Any, kind: Any) -> Any:
    """A word of a row as an argument of a machine's type."""
    if isinstance(kind, ir.PointerType):
        return code.builder.inttoptr(word, kind)
    if isinstance(kind, ir.DoubleType):
        return code.builder.bitcast(word, kind)
    return code.builder.trunc(word, kind) if kind.width < 64 else word


@compiled_as(_write_call)
def _make_call(like: Array, table: Array, row: int, next_row: Array) -> None:
    """Make the call in a row; where it fails, next_row[0] becomes -1."""
    kernel, words = KERNELS[table[row, 0]], iter(table[row, FIRST_WORD:].tolist())
    kernel(*(_from_words(words, kind) for kind in signature_of(kernel, numba.from_dtype(like.dtype))))


def _from_words(words: Iterator[int], kind: Any) -> Any:
    """The argument that the next words stand for."""
    if isinstance(kind, types.UniTuple):
        return tuple(_from_words(words, kind.dtype) for _ in range(kind.count))
    if isinstance(kind, types.Array):
        _, _, _, _, address, *sizes = itertools.islice(words, 5 + 2 * kind.ndim)
        return _array_at(address, sizes[: kind.ndim], sizes[kind.ndim :], as_dtype(kind.dtype))
    word = next(words)
    return struct.unpack("d", struct.pack("q", word))[0] if kind == types.float64 else word


def _array_at(address: int, shape: Sequence[int], strides: Sequence[int], dtype: Any) -> Array:
    """The array of a shape, whose first number is at an address."""
    interface = {"data": (address, False), "shape": tuple(shape), "strides": tuple(strides), "typestr": dtype.str}
    holder = SimpleNamespace(__array_interface__={**interface, "version": 3})
    return np.asarray(holder)
