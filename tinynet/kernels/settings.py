"""How all kernels are compiled, and what of a processor they are made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from numba.core import config

from tinynet.kernels.compilation import SecondCompiler, pause_collector_for

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
uint = np.uintp

# "contract" allows fused multiply-add and nothing else: NaN and infinity stay what they are.
SETTINGS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "no_cfunc_wrapper": True}
pause_collector_for(__package__)
# While what else a convolutional network needs is compiled here, another process compiles these: half of the work.
SECOND_COMPILER = SecondCompiler(
    "tinynet.kernels.backward",
    (
        "run_calls",
        "max_pool",
        "sum_patches",
        "add_filters",
        "sum_channels",
        "sgd",
        "relu_backward",
    ),
    begins_with=("convolve", "winograd"),
)


def _vector_bytes(features: Mapping[str, bool]) -> int:
    """What a vector register of a processor holds, in bytes; 0 where the Python of the vector code is compiled."""
    if config.DISABLE_JIT or config.BOUNDSCHECK:  # type: ignore[attr-defined]
        return 0
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") and features.get("fma") else 0


def _features() -> Mapping[str, bool]:
    """What the processor has that Numba compiles for: this one, or the one that NUMBA_CPU_FEATURES tells of."""
    told: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    if told is None:
        return dict(llvmlite.binding.get_host_cpu_features())
    return {name[1:]: name.startswith("+") for name in told.split(",")}


VECTOR_BYTES = _vector_bytes(_features())
# Sums that are kept in such registers (the others are for factors), and for how many rows and columns of a matrix at
# once.
SUMS, TILE, COLUMNS = (24, 8, 48) if VECTOR_BYTES == 64 else (12, 6, 16)
PITCH = 16  # numbers: rows of weights begin at multiples of it, which is where a vector does


def jit(function: Function, **others: Any) -> Function:
    """Compile on first use, keeping the machine code on disk where a folder for it can be written."""
    settings = SETTINGS | others
    try:
        kernel = numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # Numba found no writable cache folder: compile anew in each process
        return numba.njit(**settings)(function)  # type: ignore[no-any-return]
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        SECOND_COMPILER.share(kernel)
    return kernel  # type: ignore[no-any-return]


def short_jit(function: Function) -> Function:
    """``jit`` without releasing the GIL, for a pass that takes microseconds: to get the GIL back may take many more."""
    return jit(function, nogil=False)


def inline(function: Function) -> Function:
    """Compile as a part of the kernels that call it: that takes less time than a function of its own."""
    return numba.njit(inline="always", **SETTINGS)(function)  # type: ignore[no-any-return]
