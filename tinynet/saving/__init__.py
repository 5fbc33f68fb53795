"""Models in files, in the safetensors format: ``model.save`` and ``load_model``."""

from __future__ import annotations

from typing import Any

from tinynet.saving.file import ModelFileError
from tinynet.saving.model_file import load_model
from tinynet.validation import refuse_keras_name

__all__ = ["ModelFileError", "load_model"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
