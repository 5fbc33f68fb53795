"""A whole network in one call, for prediction: a table of steps, each a kernel and what it is called with.

A kernel is called by the address of its machine code, lest it be compiled once more within its caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload

from tinynet.kernels.activations import relu, softmax
from tinynet.kernels.convolution import convolve
from tinynet.kernels.convolution_winograd import winograd
from tinynet.kernels.pooling import average_pool, max_pool
from tinynet.kernels.products import matmul, vecmat
from tinynet.kernels.settings import TILE, Array, inline, jit

TOGETHER = TILE  # images that go through convolutions and poolings: what is between these stays in the cache

# A step of ``run_steps``: a kernel and what it is called with.
CONVOLVE, MATMUL, VECMAT, MAX_POOL, AVERAGE_POOL, RELU, SOFTMAX, WINOGRAD = range(8)
STEP = np.dtype(
    [
        ("kind", np.int64),
        ("code", np.int64),  # address of the kernel's machine code
        ("x", np.int64, 3),  # shape of a sample before it: (h, w, c), (1, w, c) or (1, 1, c); and after it
        ("y", np.int64, 3),
        ("W", np.int64),  # addresses of arrays, whose shapes follow from the others
        ("b", np.int64),
        ("least", np.float64),
        ("size", np.int64, 2),  # of a window
        ("strides", np.int64, 2),
        ("pads", np.int64, (2, 2)),
    ]
)


@jit
def run_steps(steps: Array, x: Array, y: Array) -> None:
    """Twin: ``reference.run_steps``. The steps before the first matrix product are taken by a few images at a time."""
    apart, many = 0, len(x)
    while apart < len(steps) and steps[apart]["kind"] != MATMUL and steps[apart]["kind"] != VECMAT:
        apart += 1
    between = x
    if apart == len(steps):
        between = y
    elif apart > 0:
        between = np.empty((many, _numbers(steps[apart]["x"])), x.dtype)
    first = 0 if apart > 0 else many
    while first < many:
        _run(steps[:apart], x[first : first + TOGETHER], between[first : first + TOGETHER])
        first += TOGETHER
    _run(steps[apart:], between, y)


@jit
def _run(steps: Array, x: Array, y: Array) -> None:
    """Take some steps with all samples: what comes of them goes to and fro between two rooms, and at last to y."""
    most = 0
    for step in steps:
        most = max(most, len(x) * _numbers(step["y"]))
    rooms = np.empty(2 * most, x.dtype)
    source = x.ravel()
    for i in range(len(steps)):
        start = i % 2 * most
        target = rooms[start : start + len(x) * _numbers(steps[i]["y"])]
        if i == len(steps) - 1:
            target = y.ravel()
        _run_step(steps[i], len(x), source, target)
        source = target


@inline
def _run_step(step: Any, n: int, source: Array, target: Array) -> None:
    """Call the kernel of a step, for n samples."""
    kind, code, least = step["kind"], step["code"], step["least"]
    (h, w, c), (out_h, out_w, out_c) = _three(step["x"]), _three(step["y"])
    (k_h, k_w), (s_h, s_w) = _two(step["size"]), _two(step["strides"])
    pads = _two(step["pads"][0]), _two(step["pads"][1])
    x, y = source.reshape(n, h, w, c), target.reshape(n, out_h, out_w, out_c)
    if kind in (CONVOLVE, WINOGRAD):
        W, b = _array_at(step["W"], (k_h, k_w, c, out_c), source), _array_at(step["b"], (out_c,), source)
        if kind == CONVOLVE:
            _call(convolve, code, x, W, b, y, s_h, s_w, pads, least)
        else:
            _call(winograd, code, x, W, b, y, pads, least)
    elif kind in (MATMUL, VECMAT):
        row, product = source.reshape(n, c), target.reshape(n, out_c)
        matrix, bias = _array_at(step["W"], (c, out_c), source), _array_at(step["b"], (out_c,), source)
        if kind == MATMUL:
            _call(matmul, code, row, matrix, bias, product, False, False, least)
        else:
            _call(vecmat, code, row, matrix, bias, product, least)
    elif kind == MAX_POOL:
        _call(max_pool, code, x, k_h, k_w, s_h, s_w, pads, y, np.empty((n, out_h, out_w, out_c), np.int32))
    elif kind == AVERAGE_POOL:
        _call(average_pool, code, x, k_h, k_w, s_h, s_w, pads, y)
    elif kind == RELU:
        _call(relu, code, source, target)
    else:
        _call(softmax, code, source.reshape(n * h * w, c), target.reshape(n * h * w, c))


@inline
def _numbers(shape: Any) -> Any:
    """How many numbers a sample of a shape has."""
    return shape[0] * shape[1] * shape[2]


@inline
def _two(numbers: Any) -> Any:
    return numbers[0], numbers[1]


@inline
def _three(numbers: Any) -> Any:
    return numbers[0], numbers[1], numbers[2]


def machine_code(kind: int, dtype: Any) -> int:
    """The address of the machine code for a kind of steps and a dtype, compiled if it was not; 0 in plain Python."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return 0
    number, size, flag = numba.from_dtype(np.dtype(dtype)), types.int64, types.boolean
    row, matrix, images = (types.Array(number, axes, "C") for axes in (1, 2, 4))
    tuple_of: Any = types.UniTuple
    pads = tuple_of(tuple_of(size, 2), 2)
    window = (size, size, size, size, pads)
    functions: dict[int, tuple[Any, tuple[Any, ...]]] = {
        CONVOLVE: (convolve, (images, images, row, images, size, size, pads, types.float64)),
        MATMUL: (matmul, (matrix, matrix, row, matrix, flag, flag, types.float64)),
        VECMAT: (vecmat, (matrix, matrix, row, matrix, types.float64)),
        MAX_POOL: (max_pool, (images, *window, images, types.Array(types.int32, 4, "C"))),
        AVERAGE_POOL: (average_pool, (images, *window, images)),
        RELU: (relu, (row, row)),
        SOFTMAX: (softmax, (matrix, matrix)),
        WINOGRAD: (winograd, (images, images, row, images, pads, types.float64)),
    }
    kernel, arguments = functions[kind]
    kernel.compile(arguments)
    compiled = kernel.overloads[arguments]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def _pointer_to(_: Any, address: Any, like: Any) -> Any:
    """In kernels, an address as a pointer to numbers of the dtype of an array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    pointer: Any = types.CPointer
    return pointer(like.dtype)(address, like), generate


_pointer: Any = intrinsic(_pointer_to)
_array_of: Any = numba.carray  # type: ignore[attr-defined]


def _array_at(address: Any, shape: Any, like: Array) -> Array:
    """The array of a shape that begins at an address, of the dtype of ``like``."""
    numbers: Any = np.ctypeslib.as_ctypes_type(like.dtype) * math.prod(map(int, shape))
    return np.frombuffer(numbers.from_address(int(address)), like.dtype).reshape(shape)


@overload(_array_at, strict=False)
def _compiled_array_at(*_: Any) -> Any:
    return lambda address, shape, like: _array_of(_pointer(address, like), shape)


def _call_of(_: Any, address: Any, arguments: Any) -> Any:
    """In kernels, a call of the machine code of another one, which returns nothing; whether that failed."""
    kinds = tuple(map(types.unliteral, arguments))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = cgutils.unpack_tuple(builder, values[1])  # type: ignore[no-untyped-call]
        function = context.call_conv.get_function_type(types.none, kinds)
        # Numba passes two more arguments: where to write the result, and where the exception.
        places = [cgutils.alloca_once(builder, place.pointee) for place in function.args[:2]]  # type: ignore[no-untyped-call]
        arguments = context.get_arg_packer(kinds).as_arguments(builder, given)
        code = builder.call(builder.inttoptr(values[0], function.as_pointer()), [*places, *arguments])
        succeeded = [builder.icmp_signed("==", code, ir.Constant(code.type, status)) for status in (0, -2)]
        return builder.not_(builder.or_(*succeeded))  # a result, or None

    return types.boolean(address, arguments), generate


_call_address: Any = intrinsic(_call_of)


def _call(kernel: Callable[..., None], address: Any, *arguments: Any) -> None:
    """Call a kernel; compiled, by the address of its machine code, lest it be compiled once more within its caller."""
    kernel(*arguments)


@overload(_call, strict=False)
def _compiled_call(*_: Any) -> Any:
    def call(kernel, address, *arguments):  # type: ignore[no-untyped-def]
        if _call_address(address, arguments):
            raise MemoryError("There is no memory left for a kernel.")

    return call
