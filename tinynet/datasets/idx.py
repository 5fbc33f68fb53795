"""The IDX file format: MNIST's own way to store an array of numbers.

An IDX file is a header and then the numbers in row-major order, everything big-endian:

    bytes 0-1     00 00                    the magic number is these two zeros with the two bytes that follow
    byte  2       type code                one of the keys of DTYPES
    byte  3       ndim                     how many dimensions
    4 * ndim      shape                    one unsigned 32-bit integer for each dimension
    the rest      prod(shape) * itemsize   the numbers

so `train-images-idx3-ubyte` starts with 00 00 08 03 and the dimensions 60000, 28, 28.

Source: "The IDX file format", in LeCun, Cortes and Burges, The MNIST database of handwritten digits.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_TYPE_NAMES = ", ".join(f"0x{code:02X} {dtype.name}" for code, dtype in DTYPES.items())
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


class IdxError(ValueError):
    """What a file holds is not what its format, or the data set it belongs to, promises; the message names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     try:
        ...         array = read_idx(file.name)
        ...     except IdxError as error:
        ...         print("refused")
        refused
    """


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an array from an IDX file, gzip-compressed or not (told by its content, not by its name).

    Returns a new writable array in the byte order of this machine: uint8, int8, int16, int32, float32 or float64.
    A damaged or hostile file costs no more memory than the data it really holds and no more than it promises.

    Raises:
        IdxError: not an IDX file; an unknown type code; a header or data that stop early or go on too long;
            damaged gzip; a shape that NumPy can't hold.
        OSError: the file can't be read (FileNotFoundError, PermissionError, ...).

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(os.path.join(folder, "labels"), np.array([5, 0, 4], np.uint8))
        ...     read_idx(os.path.join(folder, "labels"))
        array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
        try:
            dtype, shape = _read_header(stream, path)
            data = _read_data(stream, path, math.prod(shape) * dtype.itemsize)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            size = path.stat().st_size
            raise IdxError(f"{path}: damaged gzip file of {size:,} bytes ({error}): fetch it again") from error
    try:
        return np.ndarray(shape, dtype, buffer=data).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # more dimensions than NumPy has, or (0, huge, huge)
        raise IdxError(f"{path}: NumPy can't hold {len(shape)} dimensions of sizes {shape}: {error}") from error


def write_idx(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write an array as an IDX file, gzip-compressed if the name ends in `.gz`; an existing file is replaced.

    Raises:
        TypeError: IDX has no code for the dtype of the array, or some of it is masked.
        ValueError: a dimension does not fit into 32 bits.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(os.path.join(folder, "numbers.gz"), np.array([[1.5, 2.5]]))
        ...     read_idx(os.path.join(folder, "numbers.gz"))
        array([[1.5, 2.5]])
    """
    path = Path(path)
    if isinstance(array, np.ma.MaskedArray) and array.mask.any():
        raise TypeError(f"{path}: IDX can't hold what is masked; fill it or remove it, as with array.filled(0)")
    array = np.asarray(array)
    big_endian = array.dtype.newbyteorder(">")
    code = next((code for code, dtype in DTYPES.items() if dtype == big_endian), None)
    if code is None:
        raise TypeError(f"{path}: IDX can't hold {array.dtype}, only {_TYPE_NAMES}: convert the array with .astype")
    if any(size >= 1 << 32 for size in array.shape):
        raise ValueError(f"{path}: each dimension must be below 2**32, got shape {array.shape}")
    content = (
        struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(big_endian).tobytes()
    )
    path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if path.suffix == ".gz" else content)


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read the dtype and the shape that the data should have."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise IdxError(f"{path}: the IDX header stops after {len(magic)} bytes, expected at least 4")
    if magic[:2] != b"\0\0":
        raise IdxError(f"{path}: not an IDX file: it starts with {magic!r}, expected two zero bytes")
    code, ndim = magic[2:]
    if code not in DTYPES:
        raise IdxError(f"{path}: unknown IDX type code 0x{code:02X}, expected one of {_TYPE_NAMES}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise IdxError(
            f"{path}: the IDX header stops after {4 + len(sizes)} bytes, "
            f"expected {4 + 4 * ndim} for an array of {ndim} dimensions"
        )
    return DTYPES[code], struct.unpack(f">{ndim}I", sizes)


def _read_data(stream: BinaryIO, path: Path, num_bytes: int) -> bytearray:
    """Read the `num_bytes` that must be all the rest of the stream."""
    data = bytearray()
    # In chunks, because read(n) allocates n bytes before it reads, and a false header may promise any n.
    while chunk := stream.read(min(_CHUNK_BYTES, num_bytes - len(data))):
        data += chunk
    if len(data) < num_bytes:
        raise IdxError(
            f"{path}: truncated, or a false header: the header promises {num_bytes:,} bytes of data, "
            f"the file holds {len(data):,}"
        )
    # At the end of a gzip stream this read also checks length and CRC.
    if extra := len(stream.read(_CHUNK_BYTES)):
        more = " or more" if extra == _CHUNK_BYTES else ""
        raise IdxError(
            f"{path}: too long: the header promises {num_bytes:,} bytes of data, "
            f"the file holds {num_bytes + extra:,}{more}"
        )
    return data
