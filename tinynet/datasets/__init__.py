"""Data to learn from: MNIST, which comes with the package, and a reader for data sets in its file format."""

from typing import NoReturn

from tinynet.datasets import mnist
from tinynet.datasets.idx import IdxError, read_idx, write_idx

__all__ = ["IdxError", "mnist", "read_idx", "write_idx"]

_NOT_HERE = dict.fromkeys(
    ("boston_housing", "california_housing", "cifar10", "cifar100", "imdb", "reuters"),
    "load it with another library and pass its NumPy arrays to fit",
)
_NOT_HERE["fashion_mnist"] = "download its four files and load their folder with mnist.load_data(folder)"


def __getattr__(name: str) -> NoReturn:
    if name in _NOT_HERE:
        raise ImportError(
            f"tinynet has no data set {name!r}, only 'mnist': {_NOT_HERE[name]}", name=f"{__name__}.{name}"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
