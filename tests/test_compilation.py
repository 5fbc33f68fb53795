"""While kernels are compiled, Python's garbage collector waits, and another process compiles some of them.

And SciPy is not imported for it.
"""

import errno
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core import event

from tinynet import kernels
from tinynet.kernels import backward, compilation
from tinynet.kernels.compilation import PausedCollector, SecondCompiler
from tinynet.kernels.settings import SECOND_COMPILER


@pytest.fixture(params=[True, False])
def was_enabled(request):
    """Whether the collector works before."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def of(module):
    """What Numba tells of a function of a module."""
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))})


def test_the_collector_waits_until_the_outermost_function_is_compiled(was_enabled):
    collector, own = PausedCollector("own"), of("own.file")
    collector.on_start(own)
    assert not gc.isenabled()
    collector.on_start(own)
    collector.on_end(own)
    assert not gc.isenabled()
    collector.on_end(own)
    assert gc.isenabled() == was_enabled


@pytest.mark.parametrize("module", ["owner.file", None])  # None: a function of a text that was executed
def test_functions_of_other_packages_do_not_matter(was_enabled, module):
    collector, own, other = PausedCollector("own"), of("own.file"), of(module)
    collector.on_start(other)
    assert gc.isenabled() == was_enabled
    collector.on_start(own)
    collector.on_end(other)
    assert not gc.isenabled()
    collector.on_end(own)
    assert gc.isenabled() == was_enabled


class Noted(event.Listener):
    """Whether the collector worked when compiling began, and when it had ended."""

    def __init__(self):
        self.enabled = []

    def on_start(self, event):
        self.enabled.append(gc.isenabled())

    def on_end(self, event):
        self.enabled.append(gc.isenabled())


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("fails", [False, True])
def test_the_kernels_are_compiled_without_it(was_enabled, fails):
    kernel, noted = numba.njit(kernels.decay.py_func), Noted()
    with event.install_listener("numba:compile", noted):
        if fails:
            with pytest.raises(numba.TypingError):
                kernel("no array", 0.5)
        else:
            kernel(np.ones(3), 0.5)
    assert noted.enabled[0] is False
    assert gc.isenabled() == was_enabled


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_other_functions_are_compiled_with_it(was_enabled):
    @numba.njit
    def half(x):
        return x / 2

    noted = Noted()
    with event.install_listener("numba:compile", noted):
        half(1.0)
    assert set(noted.enabled) == {was_enabled}


# SciPy ----------------------------------------------------------------------------------------------------------------

FIRST_CALL = """
import sys

HAS_SCIPY = sys.argv[1] == "True"
if not HAS_SCIPY:
    sys.modules["scipy"] = None  # as if it were not installed
import numba
import numpy as np
from tinynet import kernels

x = np.array([-1, 2], np.float32)
kernels.relu(x, x)
assert x.tolist() == [0, 2]
assert "scipy.linalg" not in sys.modules

a = np.array([[2.0, 0.0], [0.0, 4.0]])
assert numba.njit(lambda a, b: np.convolve(a, b))(a[0], a[1]).tolist() == [0, 8, 0]
try:
    assert numba.njit(lambda a: a @ a)(a).tolist() == [[4, 0], [0, 16]]
    assert HAS_SCIPY
except ImportError:
    assert not HAS_SCIPY
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("has_scipy", [True, False])
def test_kernels_do_not_need_scipy_and_other_functions_still_find_it(tmp_path, has_scipy):
    own = {"NUMBA_CACHE_DIR": str(tmp_path), "TINYNET_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FIRST_CALL, str(has_scipy)]
    ran = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert ran.stderr == ""


@pytest.mark.parametrize("knows_it", [True, False])
def test_what_numba_does_to_find_scipy_is_as_before(monkeypatch, knows_it):
    linalg = importlib.import_module("numba.np.linalg")
    monkeypatch.setattr(linalg, "ensure_blas", before := lambda: None)
    if not knows_it:
        monkeypatch.delattr(linalg, "ensure_blas")
    compilation.import_numba_without_scipy.__wrapped__()
    assert getattr(linalg, "ensure_blas", None) is (before if knows_it else None)


# The other process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def second(tmp_path, monkeypatch):
    """Makes second compilers that run a program of these lines, and stops them."""
    made = []
    monkeypatch.setenv("TINYNET_NUM_THREADS", "2")
    monkeypatch.syspath_prepend(tmp_path)

    def make(*lines):
        (tmp_path / "program.py").write_text("\n".join(("import sys, time", *lines)))
        made.append(SecondCompiler("program", ("first", "last"), begins_with=("leader",)))
        return made[-1]

    yield make
    for each in made:
        each.stop()


WAIT_FOR_FILE = "while not __import__('os').path.exists({!r}): time.sleep(0.01)"


def test_a_function_is_waited_for_until_it_is_compiled_and_no_longer(second, tmp_path):
    first, go, last = (tmp_path / name for name in ("first", "go", "last"))
    compiler = second(
        f"time.sleep(0.2); open({str(first)!r}, 'w'); print('first', flush=True)",
        WAIT_FOR_FILE.format(str(go)),
        f"time.sleep(0.2); open({str(last)!r}, 'w'); print('last', flush=True); time.sleep(60)",
    )
    compiler.start("float32")
    compiler.wait_for("one that is compiled here")
    assert not first.exists()
    for _ in range(2):
        compiler.wait_for("first")
        assert first.exists()
        assert not last.exists()
    go.touch()
    compiler.wait_for("last")
    assert last.exists()


def test_nothing_is_waited_for_before_the_program_runs(second, tmp_path):
    second(f"open({str(tmp_path / 'ran')!r}, 'w'); time.sleep(60)").wait_for("first")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("line", ["1 / 0", "print('first')", "import no_such_module"])
def test_a_program_that_fails_or_leaves_functions_out_is_waited_for_to_its_end(second, tmp_path, line):
    compiler = second(f"time.sleep(0.2); open({str(tmp_path / 'ran')!r}, 'w')", line)
    compiler.start("float32")
    for _ in range(2):
        compiler.wait_for("last")
        assert (tmp_path / "ran").exists()


def test_the_program_is_told_the_dtype_finds_what_is_imported_here_and_runs_once(second, tmp_path):
    compiler = second(f"open({str(tmp_path / 'told')!r}, 'a').write(sys.argv[1] + __import__('tinynet').__name__)")
    sys.path.insert(0, tmp_path)  # no text: a beginner's mistake that Python passes over
    try:
        compiler.start("float64")
    finally:
        sys.path.remove(tmp_path)
    compiler.wait_for("last")
    compiler.start("float32")
    compiler.wait_for("last")
    assert (tmp_path / "told").read_text() == "float64tinynet"


@pytest.mark.parametrize("why", ["one core", "no interpreter", "frozen", "not a program"])
def test_without_an_interpreter_or_a_core_for_it_all_is_compiled_here(second, tmp_path, monkeypatch, why):
    compiler = second(f"open({str(tmp_path / 'ran')!r}, 'w')")
    match why:
        case "one core":
            monkeypatch.setenv("TINYNET_NUM_THREADS", "1")
        case "no interpreter":
            monkeypatch.setattr(sys, "executable", "")
        case "frozen":
            monkeypatch.setattr(sys, "frozen", True, raising=False)
        case "not a program":
            monkeypatch.setattr(sys, "executable", str(tmp_path))
    compiler.start("float32")
    compiler.wait_for("last")
    assert not (tmp_path / "ran").exists()


def test_a_program_that_still_runs_is_ended_with_this_process(second, tmp_path):
    compiler = second(
        f"open({str(tmp_path / 'ran')!r}, 'w').write('-')", "print('first', flush=True)", "time.sleep(60)"
    )
    script = (
        "from tinynet.kernels.compilation import SecondCompiler\n"
        "compiler = SecondCompiler('program', ('first', 'last'), ())\n"
        "compiler.start('float32')\n"
        "compiler.wait_for('first')\n"
        "print(compiler._process.pid)\n"
    )
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (tmp_path / "ran").read_text() == "-"
    assert time.monotonic() - started < 60
    assert ran.stderr == ""
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(int(ran.stdout), 0)
    compiler.stop()  # one that never ran


SHARED = """
import numba
from tinynet.kernels.compilation import SecondCompiler

COMPILER = SecondCompiler("program", ("first", "last"), begins_with=("leader",))

"""


@pytest.fixture
def shared_functions(tmp_path, monkeypatch):
    """Imports functions by name, some of which a program may compile for this process."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYNET_NUM_THREADS", "2")
    monkeypatch.syspath_prepend(tmp_path)
    names = "leader", "first", "last", "other"
    functions = (
        f"@numba.njit(cache=True)\ndef {name}(x):\n    return x + 1\n\nCOMPILER.share({name})\n" for name in names
    )
    (tmp_path / "shared_functions.py").write_text(SHARED + "\n".join(functions))
    monkeypatch.delitem(sys.modules, "shared_functions", raising=False)
    return lambda: {name: getattr(importlib.import_module("shared_functions"), name) for name in names}


def found_and_not(function):
    """How often Numba has found it in the cache, and how often not."""
    return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_what_the_other_process_has_compiled_is_found_in_the_cache(second, shared_functions):
    calls = (f"{name}(np.ones(2, sys.argv[1])); print({name!r}, flush=True)" for name in ("first", "last"))
    second("import numpy as np", "from shared_functions import first, last", *calls)
    functions = shared_functions()
    x = np.ones(2, np.float32)
    for function in functions.values():
        assert function(x).tolist() == [2, 2]
    assert functions["last"](x.astype(float)).tolist() == [2, 2]  # a dtype that the program was not told
    found = {name: found_and_not(function) for name, function in functions.items()}
    assert found == {"leader": (0, 1), "first": (1, 0), "last": (1, 1), "other": (0, 1)}


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("is_changed", [False, True])
def test_what_was_compiled_from_other_files_is_not_used(shared_functions, tmp_path, is_changed):
    helper = tmp_path / "helper.py"
    helper.touch()
    other = shared_functions()["other"].py_func
    compiler = importlib.import_module("shared_functions").COMPILER

    def anew():
        compilation._stamp_of.cache_clear()
        function = numba.njit(cache=True)(other)
        compiler.share(function)
        assert function(np.ones(2)).tolist() == [2, 2]
        return found_and_not(function)

    assert anew() == (0, 1)
    if is_changed:
        helper.write_text("# another one")
    assert anew() == ((0, 1) if is_changed else (1, 0))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("size", [0, 50])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_file_of_the_cache_that_was_cut_off_is_written_anew(shared_functions, tmp_path, suffix, size):
    other = shared_functions()["other"].py_func
    compiler = importlib.import_module("shared_functions").COMPILER

    def anew():
        function = numba.njit(cache=True)(other)
        compiler.share(function)
        assert function(np.ones(2)).tolist() == [2, 2]
        return found_and_not(function)

    assert anew() == (0, 1)
    (path,) = (tmp_path / "cache").rglob(f"*.{suffix}")
    os.truncate(path, size)
    assert anew() == (0, 1)
    assert path.stat().st_size > size
    assert anew() == (1, 0)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_without_room_for_the_cache_functions_are_compiled_all_the_same(shared_functions, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    other = shared_functions()["other"]
    monkeypatch.setattr(os, "replace", full)
    assert other(np.ones(2)).tolist() == [2, 2]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


ONE_TOO_FAR = """
import numpy as np
from tinynet.kernels.settings import jit


@jit
def at(x, i):
    return x[i]


try:
    at(np.ones(2), np.uintp(2))
    print("read")
except IndexError:
    print("refused")
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_what_was_compiled_without_bounds_checks_is_not_used_where_they_are_wanted(tmp_path):
    (tmp_path / "program.py").write_text(ONE_TOO_FAR)
    own = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(checks: str) -> str:
        env = {**os.environ, **own, "NUMBA_BOUNDSCHECK": checks}
        return subprocess.run([sys.executable, tmp_path / "program.py"], env=env, capture_output=True, text=True).stdout

    assert [run(checks).strip() for checks in ("0", "1", "0")] == ["read", "refused", "read"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_program_prints_the_names_of_the_kernels_that_it_compiles(capsys, dtype):
    backward.main(dtype)
    assert tuple(capsys.readouterr().out.split()) == SECOND_COMPILER.names


FIRST_STEP = """
import json
import numpy as np
from tinynet import Sequential, kernels
from tinynet.kernels.calls import run_calls
from tinynet.kernels.settings import SECOND_COMPILER
from tinynet.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D

images = [Input((14, 14, 1)), Conv2D(16, 3, activation="relu"), MaxPooling2D()]
images += [Conv2D(24, 3, activation="relu"), MaxPooling2D(), Flatten()]
model = Sequential([*images, Dense(9, activation="relu"), Dense(3, activation="softmax")], seed=0)
model.compile("sgd", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).random((40, 14, 14, 1), np.float32)
model.train_on_batch(x, np.arange(40) % 3)
functions = {**vars(kernels), "run_calls": run_calls}
misses = {name: sum(functions[name].stats.cache_misses.values()) for name in SECOND_COMPILER.names}
print(json.dumps({"misses": misses, "weights": [w.tolist() for w in model.get_weights()]}))
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_the_first_step_is_the_same_on_one_core_and_on_two_which_share_the_kernels(tmp_path):
    def first_step(threads):
        own = {"NUMBA_CACHE_DIR": str(tmp_path / threads), "TINYNET_NUM_THREADS": threads}
        ran = subprocess.run(
            [sys.executable, "-c", FIRST_STEP], env={**os.environ, **own}, capture_output=True, text=True, check=True
        )
        return json.loads(ran.stdout)

    alone, shared = first_step("1"), first_step("2")
    assert set(alone["misses"].values()) == {1}
    assert set(shared["misses"].values()) == {0}
    assert alone["weights"] == shared["weights"]
