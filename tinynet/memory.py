"""Keep the memory that a step frees, because the next step needs as much again.

The C library of most Linux systems returns large freed blocks to the system, which hands them out again page by page,
each cleared: in LeNet's training step that took a fifth of the time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

# Parameters of glibc's mallopt(3), and the bytes that it may keep at the top of its heap, or take from there at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
TRIM_THRESHOLD = 256 * 2**20
MMAP_THRESHOLD = 32 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library, once in a process, to keep up to 256 MiB of freed memory; whether it was told.

    It is left alone where it is not glibc, and where the user has set glibc's own variables for this
    (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_).
    """
    if sys.platform != "linux" or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD)) and bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD))
