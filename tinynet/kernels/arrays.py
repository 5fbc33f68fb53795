"""Arrays in kernels: room for new ones, and flat views. (To compile NumPy's own takes Numba several times as long.)"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import lower_builtin, type_callable

from tinynet.kernels.settings import Array, Function

LINE = 64  # bytes: of a line of the processor's cache, where a vector should begin


def _written_by(write: Callable[..., Any], *kinds: Any, returns: Callable[..., Any]) -> Callable[[Function], Function]:
    """In kernels, the decorated function is what ``write`` writes for LLVM; ``returns`` says its type."""

    def decorate(function: Function) -> Function:
        type_callable(function)(lambda _: functools.wraps(function)(lambda *given: returns(*given)))
        lower_builtin(function, *kinds)(write)  # type: ignore[no-untyped-call]
        return function

    return decorate


def _array(
    context: Any, builder: Any, kind: Any, data: Any, shape: Sequence[Any], meminfo: Any, parent: Any = None
) -> Any:
    """An array of one axis or two, row by row in memory that ``meminfo`` keeps."""
    array, itemsize = context.make_array(kind)(context, builder), _bytes_of(context, kind)
    strides = [*(builder.mul(itemsize, size) for size in shape[1:]), itemsize]
    array.shape, array.strides = (cgutils.pack_array(builder, sizes) for sizes in (shape, strides))  # type: ignore[no-untyped-call]
    array.itemsize, array.nitems = itemsize, functools.reduce(builder.mul, shape)
    array.data, array.meminfo = data, meminfo
    array.parent = context.get_constant_null(types.pyobject) if parent is None else parent
    return array._getvalue()


def _bytes_of(context: Any, kind: Any) -> Any:
    """What a number of an array takes."""
    return context.get_constant(types.intp, kind.dtype.bitwidth // 8)


def _write_flat(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    (kind,), returned = signature.args, signature.return_type
    array = context.make_array(kind)(context, builder, values[0])
    view = _array(context, builder, returned, array.data, [array.nitems], array.meminfo, array.parent)
    return impl_ret_borrowed(context, builder, returned, view)  # type: ignore[no-untyped-call]


def _type_of_flat(x: Any) -> Any:
    return x.copy(ndim=1) if isinstance(x, types.Array) and x.layout == "C" else None


@_written_by(_write_flat, types.Array, returns=_type_of_flat)
def flat(x: Array) -> Array:
    """The numbers of a C-contiguous array, one after another, where they are."""
    return x.reshape(-1)


def _write_empty(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    returned, kinds = signature.return_type, signature.args[:-1]
    shape = [context.cast(builder, size, kind, types.intp) for size, kind in zip(values[:-1], kinds, strict=True)]
    bytes_ = functools.reduce(builder.mul, shape, _bytes_of(context, returned))
    meminfo = context.nrt.meminfo_alloc_aligned(builder, bytes_, LINE)  # it raises MemoryError
    numbers = context.get_data_type(returned.dtype).as_pointer()
    data = builder.bitcast(context.nrt.meminfo_data(builder, meminfo), numbers)
    array = _array(context, builder, returned, data, shape, meminfo)
    return impl_ret_new_ref(context, builder, returned, array)  # type: ignore[no-untyped-call]


@_written_by(_write_empty, types.Integer, types.Any, returns=lambda _, dtype: types.Array(dtype.dtype, 1, "C"))
def empty(size: Any, dtype: Any) -> Array:
    """Room for ``size`` numbers that begins where a vector should: an unaligned one takes twice as long to load."""
    room = np.empty(size + LINE, dtype)
    skip = -room.ctypes.data % LINE // room.itemsize
    return room[skip : skip + size]


@_written_by(
    _write_empty,
    types.Integer,
    types.Integer,
    types.Any,
    returns=lambda _, __, dtype: types.Array(dtype.dtype, 2, "C"),
)
def empty_matrix(rows: Any, columns: Any, dtype: Any) -> Array:
    """Room for a matrix, row by row."""
    return np.empty((rows, columns), dtype)
