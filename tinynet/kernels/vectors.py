"""Vector instructions, written for LLVM, Numba's compiler.

The innermost loops of some kernels keep sums in the processor's vector registers until these are complete. Compilers do
not arrive at this by themselves, so it is written out: for a function of Python, which says what is done, there is
another one, which writes the instructions that do it. On processors without such registers, and to check bounds, the
Python is compiled itself.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, overload, type_callable

from tinynet.kernels.settings import VECTOR_BYTES, Function

HAS_MASK_REGISTERS = VECTOR_BYTES == 64  # as AVX-512 has them; AVX2 keeps masks where it keeps numbers
FULL = 0  # the kind of a block whose vectors are all full


def compiled_as(write: Callable[..., None]) -> Callable[[Function], Function]:
    """In kernels, the decorated function is what ``write(code, *arguments)`` writes, in which arrays are pointers.

    The vectors are of the first argument's dtype.
    """

    def decorate(function: Function) -> Function:
        if not VECTOR_BYTES:
            overload(function, strict=False)(lambda *_: function)
            return function

        @type_callable(function)
        def typing(_: Any) -> Any:
            @functools.wraps(function)  # Numba asks for its signature
            def returns(*_: Any) -> Any:
                return types.void

            return returns

        @lower_builtin(function, types.VarArg(types.Any))  # type: ignore[no-untyped-call, untyped-decorator]
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, values, strict=True)
            ]
            write(Code(context, builder, signature.args[0].dtype), *given)
            return context.get_dummy_value()

        return function

    return decorate


class Code:
    """Writes LLVM's instructions for numbers of a dtype, alone and in vectors."""

    def __init__(self, context: Any, builder: Any, dtype: Any):
        self.context, self.builder, self.dtype, self.bytes = context, builder, dtype, dtype.bitwidth // 8
        self.number = context.get_data_type(dtype)
        self.lanes = VECTOR_BYTES // self.bytes

    def integer(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    @contextlib.contextmanager
    def loop(self, start: Any, end: Any, step: int = 1) -> Iterator[Any]:
        """A loop over the integers from start to end, which LLVM does not unroll: most have few rounds."""
        build = self.builder
        with cgutils.for_range_slice(build, start, end, self.integer(step)) as (index, _):
            yield index
            body = build.block
        disabled = build.module.add_metadata(["llvm.loop.unroll.disable"])
        settings = build.module.add_metadata([disabled])
        settings.operands = (settings, disabled)  # LLVM wants the settings of a loop to begin with themselves
        body.terminator.set_metadata("llvm.loop", settings)

    def variable(self, value: Any) -> Any:
        """A variable; LLVM keeps it in a register."""
        place = cgutils.alloca_once(self.builder, value.type)  # type: ignore[no-untyped-call]
        self.builder.store(value, place)
        return place

    def element(self, pointer: Any, index: Any) -> Any:
        """pointer[index]"""
        return self.builder.load(self.builder.gep(pointer, [index]))

    def add_product(self, total: Any, a: Any, b: Any) -> None:
        """total += a * b, for a variable ``total``."""
        name = f"fmuladd.v{a.type.count}f{8 * self.bytes}"
        self.builder.store(self.call(name, a.type, a, b, self.builder.load(total)), total)

    def fetch(self, pointer: Any, index: Any) -> None:
        """Begin to bring pointer[index] into the fastest cache; it need not exist."""
        settings = [ir.Constant(ir.IntType(32), number) for number in (0, 3, 1)]  # for reading, the cache, of data
        place = self.builder.bitcast(self.builder.gep(pointer, [index]), ir.IntType(8).as_pointer())
        self.call("prefetch.p0", ir.VoidType(), place, *settings)

    def at_least(self, least: Any, value: Any) -> Any:
        """A vector, but ``least`` (a vector, too) where it is below that; NaN stays NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<=", value, least), least, value)

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """The columns of a square matrix, as vectors like its rows: halves of halves change places."""
        found, size = list(rows), len(rows)
        for step in (2**i for i in range(size.bit_length() - 1)):
            for i in range(size):
                if not i & step:
                    found[i], found[i + step] = self.halves(found[i], found[i + step], step)
        return found

    def sums_of(self, vectors: Sequence[Any]) -> list[Any]:
        """The sums of the numbers of each vector, one after another, in as many vectors as these fill."""
        zeros = ir.Constant(vectors[0].type, [0.0] * self.lanes)
        found, step = [*vectors, *[zeros] * (-len(vectors) % self.lanes)], 1
        while step < self.lanes:
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [self.builder.fadd(*self.halves(a, b, step)) for a, b in pairs]
            step *= 2
        return found

    def halves(self, a: Any, b: Any, step: int) -> tuple[Any, Any]:
        """Of every ``2 * step`` numbers of two vectors, the first halves side by side, and the second halves."""
        lanes = range(self.lanes)
        first = [lane - step + self.lanes if lane & step else lane for lane in lanes]
        second = [lane + self.lanes if lane & step else lane + step for lane in lanes]
        return self.shuffle(a, b, first), self.shuffle(a, b, second)

    def shuffle(self, a: Any, b: Any, order: Sequence[int]) -> Any:
        """A vector of these numbers of two, those of b counted on from those of a."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order)))

    def blocks(self, width: Any, most: int, halves: bool = False) -> Iterator[tuple[Any, list[Vector]]]:
        """Write a loop over blocks of up to ``most`` vectors, with a case for each number of them.

        Yields, for each case, where the block starts, and its vectors, of which the last one may be part full. With
        ``halves``, and in blocks of one or two, a last one that is less than half full is half as long. Where a mask
        takes time, and a register from sums, there is one more case: that all vectors are full.
        """
        build, lanes = self.builder, self.lanes
        with self.loop(self.integer(0), width, most * lanes) as start:
            left = build.sub(width, start)
            case = build.udiv(build.add(left, self.integer(lanes - 1)), self.integer(lanes))
            kinds = {i: (i, lanes) for i in range(1, most)}
            if halves:
                for number in range(1, min(2, most) + 1):
                    kinds[-number] = (number, lanes // 2)
                    fits = build.icmp_unsigned("<=", left, self.integer((number - 1) * lanes + lanes // 2))
                    fits = build.and_(fits, build.icmp_unsigned("==", case, self.integer(number)))
                    case = build.select(fits, self.integer(-number), case)
            kinds[most] = (most, lanes)  # where there are more, too, and the last one is full
            if not HAS_MASK_REGISTERS:
                are_full = build.icmp_unsigned(">=", left, self.integer(most * lanes))
                case = build.select(are_full, self.integer(FULL), case)
                kinds[FULL] = (most, lanes)
            for kind in self.cases(case, list(kinds)):
                number, last = kinds[kind]
                full, offset = [Vector(self, lanes, i * lanes) for i in range(number - 1)], (number - 1) * lanes
                in_last = None if kind == FULL else build.sub(left, self.integer(offset))
                yield start, [*full, Vector(self, last, offset, in_last)]

    def cases(self, value: Any, values: Sequence[int]) -> Iterator[int]:
        """Write a case for each of the values that ``value`` may have; the last one is for all others, too."""
        build = self.builder
        last, end = build.append_basic_block(), build.append_basic_block()
        switch = build.switch(value, last)
        for number in values:
            case = last
            if number != values[-1]:
                case = build.append_basic_block()
                switch.add_case(self.integer(number), case)
            build.position_at_end(case)
            yield number
            build.branch(end)
        build.position_at_end(end)

    def call(self, name: str, returns: Any, *args: Any) -> Any:
        """Call one of LLVM's intrinsic functions."""
        function = ir.FunctionType(returns, [arg.type for arg in args])
        intrinsic_ = cgutils.get_or_insert_function(self.builder.module, function, f"llvm.{name}")  # type: ignore[no-untyped-call]
        return self.builder.call(intrinsic_, args)


class Vector:
    """``lanes`` numbers, ``offset`` after where others begin; where ``left`` is given, only so many of them."""

    def __init__(self, code: Code, lanes: int, offset: int, left: Any = None):
        self.code, self.lanes, self.offset, self.left, self.mask = code, lanes, offset, left, None
        self.type = ir.VectorType(code.number, lanes)
        self.zeros = ir.Constant(self.type, [0.0] * lanes)
        if left is not None:  # integers as wide as the numbers make a mask that needs no conversion
            build, integer = code.builder, ir.IntType(8 * code.bytes)
            numbers = ir.Constant(ir.VectorType(integer, lanes), list(range(lanes)))
            count = left if integer == left.type else build.trunc(left, integer)
            self.mask = build.icmp_signed("<", numbers, self.splat(count))

    def splat(self, value: Any) -> Any:
        """``value`` in each lane."""
        build = self.code.builder
        empty = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return build.shuffle_vector(build.insert_element(empty, value, ir.Constant(ir.IntType(32), 0)), empty, zeros)

    def load(self, pointer: Any, index: Any) -> Any:
        """The vector from pointer[index + offset] on; what is masked out is 0, and not read."""
        place = self._place(pointer, index, self.type)
        if self.mask is None:
            return self.code.builder.load(place, align=self.code.bytes)
        alignment = ir.Constant(ir.IntType(32), self.code.bytes)
        name = f"masked.load.v{self.lanes}f{8 * self.code.bytes}.p0"
        return self.code.call(name, self.type, place, alignment, self.mask, self.zeros)

    def store(self, vector: Any, pointer: Any, index: Any) -> None:
        """Store numbers, or 32-bit integers, from pointer[index + offset] on, but not what is masked out."""
        kind, bytes_ = (f"f{8 * self.code.bytes}", self.code.bytes) if vector.type == self.type else ("i32", 4)
        if self.mask is None:
            self.code.builder.store(vector, self._place(pointer, index, vector.type), align=bytes_)
        elif HAS_MASK_REGISTERS:
            place, alignment = self._place(pointer, index, vector.type), ir.Constant(ir.IntType(32), bytes_)
            name = f"masked.store.v{self.lanes}{kind}.p0"
            self.code.call(name, ir.VoidType(), vector, place, alignment, self.mask)
        else:
            self._store_in_parts(vector, pointer, index, bytes_)

    def _store_in_parts(self, vector: Any, pointer: Any, index: Any, bytes_: int) -> None:
        """Store all numbers, or else half of them, a quarter, and so on: masked stores of AVX2 may be very slow."""
        code, build = self.code, self.code.builder
        rest, at = code.variable(vector), code.variable(index)
        is_full = build.icmp_unsigned(">=", self.left, code.integer(self.lanes))
        with build.if_else(is_full) as (then, otherwise):
            with then:
                build.store(vector, self._place(pointer, index, vector.type), align=bytes_)
            with otherwise:
                size = self.lanes // 2
                while size:
                    with build.if_then(build.trunc(build.udiv(self.left, code.integer(size)), ir.IntType(1))):
                        values, to = build.load(rest), build.load(at)
                        part = self._lanes_from(values, 0, size)
                        build.store(part, self._place(pointer, to, part.type), align=bytes_)
                        build.store(self._lanes_from(values, size, self.lanes), rest)
                        build.store(build.add(to, code.integer(size)), at)
                    size //= 2

    def _lanes_from(self, vector: Any, first: int, count: int) -> Any:
        """A vector of ``count`` lanes of another one, from lane ``first`` on; after its last one come any."""
        return self.code.shuffle(vector, vector, [min(first + i, self.lanes - 1) for i in range(count)])

    def _place(self, pointer: Any, index: Any, type_: Any) -> Any:
        build = self.code.builder
        first = build.gep(pointer, [build.add(index, self.code.integer(self.offset))])
        return build.bitcast(first, type_.as_pointer())
