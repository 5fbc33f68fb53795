"""What is done while Numba compiles kernels: Python's garbage collector waits, and another process helps.

And Numba is kept from importing SciPy, which would take longer than all of its own modules.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core import config, event
from numba.core.caching import FunctionCache, IndexDataCacheFile

from tinynet.cores import default_num_threads


class PausedCollector(event.Listener):
    """Pauses Python's garbage collector while functions of one package are compiled.

    It would look again and again through all that Numba is building, to find that nothing of it is garbage yet: that is
    a tenth of the time.
    """

    def __init__(self, package: str):
        self.package = package
        self._depth = 0  # one function may have another compiled; Numba's lock keeps other threads out meanwhile
        self._was_enabled = False

    def on_start(self, event: Any) -> None:
        if self._is_of_package(event):
            if self._depth == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, event: Any) -> None:
        if self._is_of_package(event):
            self._depth -= 1
            if self._depth == 0 and self._was_enabled:
                gc.enable()

    def _is_of_package(self, event: Any) -> bool:
        module: str | None = event.data["dispatcher"].py_func.__module__
        return module is not None and module.startswith(f"{self.package}.")


def pause_collector_for(package: str) -> None:
    """From now on, pause the garbage collector while functions of this package are compiled."""
    event.register("numba:compile", PausedCollector(package))  # type: ignore[no-untyped-call]


class SecondCompiler:
    """Another process that compiles some functions while this one compiles others, where there are cores for both.

    Numba compiles one function at a time. What the other process has compiled, this one finds in the cache on disk,
    just as in any later run. If that process can't be started or fails, or where TINYNET_NUM_THREADS is 1, this one
    compiles everything itself.

    Args:
        program: the module to run, as in ``python -m``, with a dtype as its argument. It prints the name of each
            function that it has compiled, on a line of its own.
        names: of the functions that it compiles.
        begins_with: names of functions; once one of these has to be compiled here, the program is started.
    """

    def __init__(self, program: str, names: Collection[str], begins_with: Collection[str]):
        self.program, self.names, self.begins_with = program, names, begins_with
        self._process: subprocess.Popen[str] | None = None
        self._was_started = False
        self._compiled: set[str] = set()

    def share(self, dispatcher: Any) -> None:
        """Let this function, compiled by ``numba.njit(cache=True)``, be one of those that are shared out."""
        dispatcher._cache = SharedCache(dispatcher.py_func, self)

    def start(self, dtype: str) -> None:
        """Run the program, unless it was before or there is but one core to work on."""
        if self._was_started or default_num_threads() == 1:
            return
        self._was_started = True
        if getattr(sys, "frozen", False) or not sys.executable:  # no interpreter that takes a module's name
            return
        folders = [folder for folder in sys.path if folder and isinstance(folder, str)]  # Python ignores others
        folders.append(str(Path(__file__).parents[2]))
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.program, dtype],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
                text=True,
            )
            atexit.register(self.stop)

    def wait_for(self, name: str) -> None:
        """Wait until the program, if it runs, has compiled the function of this name, if it is one of its own."""
        while self._process is not None and name in self.names and name not in self._compiled:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            self._compiled.add(line.strip())
            if not line:
                self.stop()

    def stop(self) -> None:
        """End the program, if it still runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


class CacheFile(IndexDataCacheFile):
    """The files of a function's cache. One that is damaged counts as one that is not there, and is written anew.

    So it may be after a power cut, or on a full disk. Numba would raise what ``pickle`` does, in each run.
    """

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)  # type: ignore[no-untyped-call]
        except Exception:  # damaged bytes may stand for anything
            return None

    def _load_index(self) -> dict[Any, str]:
        try:
            return super()._load_index()  # type: ignore[no-any-return, no-untyped-call]
        except Exception:
            return {}


class SharedCache(FunctionCache):
    """A function's cache on disk, into which another process may be writing.

    What was compiled from other files than there are now is not used, nor what has bounds checks where none are wanted,
    or the other way round. (Numba itself looks only at the file that the function is in, and not at those of the
    functions that it calls.) Where nothing can be written, as on a full disk, each process compiles anew.
    """

    def __init__(self, function: Any, second: SecondCompiler):
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._function_name, self._second = function.__name__, second
        files = _stamp_of(Path(function.__code__.co_filename).parent)
        stamp = self._impl.locator.get_source_stamp(), files, bool(config.BOUNDSCHECK)  # type: ignore[attr-defined]
        self._cache_file = CacheFile(self.cache_path, self._impl.filename_base, stamp)  # type: ignore[no-untyped-call]

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What is in the cache for a signature, or None; Numba asks before it compiles."""
        if self._function_name in self._second.begins_with and not self._has(signature, target):
            self._second.start(str(signature[0].dtype))  # before Numba imports, which takes a while
        import_numba_without_scipy()
        self._second.wait_for(self._function_name)
        return super().load_overload(signature, target)  # type: ignore[no-untyped-call]

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Write what was compiled into the cache, where that is possible."""
        with suppress(OSError):
            super().save_overload(signature, compiled)  # type: ignore[no-untyped-call]

    def _has(self, signature: Any, target: Any) -> bool:
        """Whether the function is in the cache for a signature."""
        return self._cache_file.load(self._index_key(signature, target.codegen())) is not None  # type: ignore[no-untyped-call]


@functools.cache
def import_numba_without_scipy() -> None:
    """Import a module of Numba's, which it needs to load or compile functions, without SciPy's linear algebra.

    It would import that only to see whether it is there, and it takes longer than all of Numba's own. Whoever compiles
    linear algebra still has it imported then.
    """
    linalg = importlib.import_module("numba.np.linalg")
    import_scipy = getattr(linalg, "ensure_blas", None)
    if import_scipy is None:  # a Numba that does it in another way
        return
    linalg.ensure_blas = _find_scipy  # type: ignore[attr-defined]
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = import_scipy  # type: ignore[attr-defined]


def _find_scipy() -> None:
    if importlib.util.find_spec("scipy") is None:
        raise ImportError("SciPy is not installed.")


@functools.cache
def _stamp_of(folder: Path) -> list[tuple[str, int, int]]:
    """The Python files of a folder, with their times and sizes."""
    return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.glob("*.py"))]
