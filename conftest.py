"""What all tests share: how long Hypothesis searches, and what the examples in docstrings may take for granted."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# First calls compile kernels, and CI machines are slow: time says nothing about a test. Quick runs repeat exactly.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=20, derandomize=True, database=None, **_COMMON)
settings.register_profile("deep", max_examples=500, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def names_in_doctests(doctest_namespace):
    """The examples in docstrings say np without importing it."""
    doctest_namespace["np"] = np
