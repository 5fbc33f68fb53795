"""Model files: NumPy arrays and a description, in the safetensors format, whatever the file's name.

A safetensors file is a header with the names, types, shapes and places of its arrays, and then their bytes; it holds no
code (https://github.com/huggingface/safetensors). Its header also has room for text, and there tinynet keeps

    "tinynet"   the description, as JSON
    "sha256"    a check sum over the description and all arrays
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

Array = npt.NDArray[Any]
Path = str | bytes | os.PathLike[str]

MAX_HEADER_BYTES = 2**20  # a LeNet's has 3 kB
_DTYPES = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64)}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as Keras's .keras files are",
    b"\x89HDF": "an HDF5 file, as Keras's .h5 files are",
    b"\x93NUM": "a NumPy file",
}


class ModelFileError(ValueError):
    """A model file is damaged, of another kind, or does not fit; it names the file and what is wrong with it.

    Example:
        >>> import tempfile
        >>> from tinynet.models import load_model
        >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        ...     try:
        ...         model = load_model(file.name)
        ...     except ModelFileError as error:
        ...         print(error)
        /...safetensors: it is empty.
    """

    def __init__(self, path: Path, fault: object):
        super().__init__(f"{os.fsdecode(path)}: {fault}")


def write(path: Path, tensors: Mapping[str, Array], description: Mapping[str, Any], *, overwrite: bool = True) -> None:
    """Write a model file, whole or not at all: whoever opens ``path`` finds the old file or the new one.

    The bytes go to a hidden file in the same folder, and from there to the disk, before that file takes the name; a
    process that is killed meanwhile leaves the hidden file, ".NAME.*.tmp", behind. Copies of the arrays are checked
    and written, so that one that changes meanwhile does no harm.

    Raises:
        FileExistsError: there is a file of this name, and ``overwrite`` is False.
        FileNotFoundError, IsADirectoryError: its folder is not there, or it is a folder itself.
        ValueError: a number is NaN or infinite, or the description is too large; no file has been touched.
        OSError: the file cannot be written.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{path!r} is not written: it is a folder; give a file's name.")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(f"{path!r} is not written: it is a device or a pipe, in whose place a file would come.")
    folder, file_name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path} is not written: there is no folder {folder}; make it first.")
    arrays = {name: np.array(array, order="C") for name, array in tensors.items()}  # another thread may train meanwhile
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{path} is not written: {name} has NaN or infinite numbers.")
    text = json.dumps(description, allow_nan=False)
    data = safetensors.numpy.save(arrays, {"tinynet": text, "sha256": _check_sum(text, arrays)})
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise ValueError(f"{path} is not written: its header would exceed {MAX_HEADER_BYTES:,} bytes.")
    if not overwrite and os.path.exists(target):
        raise FileExistsError(f"{path} exists; save with overwrite=True to replace it.")
    temporary = os.path.join(folder, f".{file_name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description of a model file, all of it checked but the meaning of the description.

    Raises:
        ModelFileError: it is no model file of tinynet, or damaged.
        OSError: it cannot be read, or there is none.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
    if not start:
        raise ModelFileError(path, "it is empty.")
    for magic, kind in _FOREIGN.items():
        if start.startswith(magic):
            raise ModelFileError(path, f"it is {kind}; tinynet reads only files that it has saved itself.")
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > size - 8:
        raise ModelFileError(path, "it is cut off, or not in the safetensors format.")
    if header > MAX_HEADER_BYTES:
        raise ModelFileError(path, f"its header has {header:,} bytes, more than {MAX_HEADER_BYTES:,}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no mapping
            wrong = next((name for name, kind in kinds.items() if kind not in _DTYPES), None)
            if wrong is not None:
                raise ModelFileError(path, f"{wrong!r} has numbers of type {kinds[wrong]}, not F32 or F64.")
            tensors = {name: file.get_tensor(name) for name in kinds}
    except safetensors.SafetensorError as error:
        raise ModelFileError(path, f"it is damaged, or not in the safetensors format ({error}).") from None
    if "tinynet" not in metadata or "sha256" not in metadata:
        raise ModelFileError(path, "it is a safetensors file, but not one of a tinynet model.")
    text = metadata["tinynet"]
    if metadata["sha256"] != _check_sum(text, tensors):
        raise ModelFileError(path, "it is damaged: its check sum differs.")
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ModelFileError(path, f"{name!r} has NaN or infinite numbers.")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelFileError(path, "its description is no JSON.") from None
    if not isinstance(description, dict):
        raise ModelFileError(path, "its description is no JSON object.")
    return tensors, description


def _check_sum(text: str, tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _sync_folder(folder: str) -> None:
    """Bring the new name to the disk too, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
