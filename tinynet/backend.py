"""What Keras scripts ask of ``keras.backend``: the layout of images."""

from __future__ import annotations

from typing import Any

from tinynet.validation import refuse_keras_name


def image_data_format() -> str:
    """ "channels_last": images are (rows, columns, channels).

    Example:
        >>> image_data_format()
        'channels_last'
    """
    return "channels_last"


__all__ = ["image_data_format"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__)
