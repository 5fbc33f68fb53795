"""How many cores there are to work on."""

from __future__ import annotations

import os


def default_num_threads() -> int:
    """TINYNET_NUM_THREADS where it is set, else the number of cores that this process may use.

    Raises:
        ValueError: the variable is set to something other than a positive integer.
    """
    setting = os.environ.get("TINYNET_NUM_THREADS", "").strip()
    if setting:
        if not setting.isdecimal() or int(setting) < 1:
            raise ValueError(f"TINYNET_NUM_THREADS must be a positive integer, got {setting!r}.")
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
