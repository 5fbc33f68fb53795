"""Callbacks: what else happens while a model trains. Write your own by overriding some of ``Callback``'s methods."""

from __future__ import annotations

from typing import Any

from tinynet.callbacks.callback import Callback, History
from tinynet.validation import refuse_keras_name

__all__ = ["Callback", "History"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
