"""What several files of tests need."""

import numba
import pytest

from tinynet import kernels, parallel

# The networks of most tests are too small for threads to be woken for them: here they are.
parallel.LONG = 0.0


@pytest.fixture
def as_with_vectors(monkeypatch):
    """In plain Python there are none, and layers would be called one by one; the kernels' Python does as well."""
    if numba.config.DISABLE_JIT:
        monkeypatch.setattr(kernels, "VECTOR_BYTES", 32)
    if not kernels.VECTOR_BYTES:
        pytest.skip("compiled without vectors, layers are called one by one")
