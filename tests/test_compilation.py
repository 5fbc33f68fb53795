"""While kernels are compiled, Python's garbage collector waits; it is afterwards what it was before."""

import gc
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core import event

from tinynet import kernels
from tinynet.compilation import PausedCollector


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
    collector, own = PausedCollector("own"), of("own")
    collector.on_start(own)
    assert not gc.isenabled()
    collector.on_start(own)
    collector.on_end(own)
    assert not gc.isenabled()
    collector.on_end(own)
    assert gc.isenabled() == was_enabled


def test_functions_of_other_modules_do_not_matter(was_enabled):
    collector, own, other = PausedCollector("own"), of("own"), of("other")
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
