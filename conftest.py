"""What all tests share: how long Hypothesis searches, what plain Python leaves out, what doctests take for granted."""

import os
import signal

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

# First calls compile kernels, and CI machines are slow: time says nothing about a test. Quick runs repeat exactly.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=20, derandomize=True, database=None, **_COMMON)
settings.register_profile("few", max_examples=5, derandomize=True, database=None, **_COMMON)
settings.register_profile("deep", max_examples=200, print_blob=True, **_COMMON)
# A mutant (see tests/mutation.py) is killed by any failure; the simplest one is of no use.
_UNSHRUNK = {"derandomize": True, "database": None, "phases": (Phase.explicit, Phase.generate), **_COMMON}
settings.register_profile("mutants", max_examples=30, **_UNSHRUNK)
settings.register_profile("surviving_mutants", max_examples=5, **_UNSHRUNK)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored; the tests of Ctrl-C press it themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if numba.config.DISABLE_JIT:
        for item in items:
            if item.get_closest_marker("trains_for_long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes where the kernels are plain Python"))


@pytest.fixture(autouse=True)
def names_in_doctests(doctest_namespace):
    """The examples in docstrings say np without importing it."""
    doctest_namespace["np"] = np
