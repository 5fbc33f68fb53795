"""The C library is asked to keep freed memory, where it is glibc and the user has not said otherwise."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from tinynet.memory import keep_freed_memory

ask = keep_freed_memory.__wrapped__  # without the memory of earlier calls


@pytest.mark.parametrize("variable", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_users_own_setting_is_left_alone(variable, monkeypatch):
    monkeypatch.setenv(variable, "131072")
    assert ask() is False


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert ask() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert ask() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_not_fetched_from_the_system_again():
    """Arrays in the place of freed ones bring no new pages, in a process of its own; untold, glibc fetches them."""
    program = """
import resource, sys
import numpy as np
from tinynet.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for round in range(25):
    if round == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(400_000) for _ in range(20)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    command = [sys.executable, "-c", program]
    kept, untold = (
        int(subprocess.run([*command, told], env=environment, capture_output=True, check=True).stdout)
        for told in ("keep", "no")
    )
    assert kept < 100 < untold
