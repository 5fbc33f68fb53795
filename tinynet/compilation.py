"""What is done about Python while Numba compiles kernels."""

from __future__ import annotations

import gc
from typing import Any

from numba.core import event


class PausedCollector(event.Listener):
    """Pauses Python's garbage collector while functions of one module are compiled.

    It would look again and again through all that Numba is building, to find that nothing of it is garbage yet: that is
    a tenth of the time.
    """

    def __init__(self, module: str):
        self.module = module
        self._depth = 0  # one function may have another compiled; Numba's lock keeps other threads out meanwhile
        self._was_enabled = False

    def on_start(self, event: Any) -> None:
        if self._is_of_module(event):
            if self._depth == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, event: Any) -> None:
        if self._is_of_module(event):
            self._depth -= 1
            if self._depth == 0 and self._was_enabled:
                gc.enable()

    def _is_of_module(self, event: Any) -> bool:
        return bool(event.data["dispatcher"].py_func.__module__ == self.module)


def pause_collector_for(module: str) -> None:
    """From now on, pause the garbage collector while functions of this module are compiled."""
    event.register("numba:compile", PausedCollector(module))  # type: ignore[no-untyped-call]
