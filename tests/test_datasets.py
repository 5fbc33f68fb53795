"""The data sets: MNIST as published, every IDX type, and a refusal for each file or folder that is not what it says."""

import gzip
import hashlib
import importlib
import math
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinynet import datasets
from tinynet.datasets import IdxError, mnist, read_idx, write_idx

DATA = Path(mnist.__file__).parent / "data"
DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TYPE_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
MIB = 1 << 20


def idx_bytes(array: np.ndarray) -> bytes:
    """The bytes of an IDX file, made independently of write_idx."""
    header = bytes([0, 0, TYPE_CODES[array.dtype.name], array.ndim]) + b"".join(
        n.to_bytes(4, "big") for n in array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@st.composite
def idx_arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(sorted(TYPE_CODES)))
    order = draw(st.sampled_from("<>"))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
    return draw(hnp.arrays(np.dtype(dtype).newbyteorder(order), shape))


def write_folder(folder: Path, names: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in names.items():
        write_idx(folder / name, array)
    return folder


def four_arrays(train: str = "train", test: str = "t10k", ending: str = "", mark: str = "-") -> dict[str, np.ndarray]:
    """A small data set: 3 training and 2 test images of 4 rows and 5 columns, all pixels different."""
    pixels = np.arange(5 * 4 * 5, dtype=np.uint8).reshape(5, 4, 5)
    labels = np.array([7, 0, 9, 3, 1], np.uint8)
    return {
        f"{train}-images{mark}idx3-ubyte{ending}": pixels[:3],
        f"{train}-labels{mark}idx1-ubyte{ending}": labels[:3],
        f"{test}-images{mark}idx3-ubyte{ending}": pixels[3:],
        f"{test}-labels{mark}idx1-ubyte{ending}": labels[3:],
    }


# MNIST itself


@pytest.mark.parametrize("name", DIGESTS)
def test_packaged_files_are_the_published_ones(name):
    content = gzip.decompress((DATA / f"{name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == DIGESTS[name]
    assert f"| {name} | {len(content):,} | {DIGESTS[name]} |" in (DATA / "README.md").read_text()


def test_attribution_lies_beside_the_data():
    text = (DATA / "README.md").read_text()
    for words in ("Yann LeCun", "Corinna Cortes", "Burges", "CC BY-SA 3.0", "NIST Special Databases 1 and 3"):
        assert words in text


def test_load_data_returns_what_keras_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    assert (x_train.shape, y_train.shape) == ((60000, 28, 28), (60000,))
    assert (x_test.shape, y_test.shape) == ((10000, 28, 28), (10000,))
    for name, array in zip(DIGESTS, (x_train, y_train, x_test, y_test), strict=True):
        content = gzip.decompress((DATA / f"{name}.gz").read_bytes())
        assert array.dtype == np.uint8
        assert array.tobytes() == content[4 + 4 * array.ndim :]
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]


def test_loaded_arrays_are_the_callers_own():
    _, (x_test, y_test) = mnist.load_data()
    x_test[:], y_test[:] = 0, 0
    _, (x_again, y_again) = mnist.load_data()
    assert x_again.any()
    assert y_again.any()


# The IDX format: round trips


@given(idx_arrays(), st.booleans())
def test_read_idx_reads_every_type_and_shape(tmp_path_factory, array, packed):
    path = tmp_path_factory.getbasetemp() / "array"
    path.write_bytes(gzip.compress(idx_bytes(array), 1) if packed else idx_bytes(array))
    got = read_idx(str(path))
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.dtype.isnative
    assert got.shape == array.shape
    assert got.tobytes() == array.astype(got.dtype).tobytes()
    assert got.flags.writeable
    assert got.flags.c_contiguous


@given(idx_arrays(), st.sampled_from(["array", "array.gz"]))
def test_write_idx_writes_the_format(tmp_path_factory, array, name):
    path = tmp_path_factory.getbasetemp() / name
    write_idx(path, array)
    content = path.read_bytes()
    assert content.startswith(b"\x1f\x8b") == (name == "array.gz")
    assert (gzip.decompress(content) if name == "array.gz" else content) == idx_bytes(array)


def test_write_idx_keeps_row_major_order_and_repeats_byte_for_byte(tmp_path):
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    write_idx(tmp_path / "a.gz", array)
    write_idx(tmp_path / "b.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_write_idx_refuses_what_is_masked(tmp_path):
    masked = np.ma.masked_equal(np.arange(3, dtype=np.uint8), 1)
    with pytest.raises(TypeError, match="IDX can't hold what is masked; fill it"):
        write_idx(tmp_path / "array", masked)
    write_idx(tmp_path / "array", masked.filled(7))
    assert read_idx(tmp_path / "array").tolist() == [0, 7, 2]


@pytest.mark.parametrize("array", [np.zeros(2, bool), np.zeros(2, np.int64), np.zeros(2, np.float16), np.array(["a"])])
def test_write_idx_refuses_a_type_idx_does_not_have(tmp_path, array):
    with pytest.raises(TypeError, match=f"array.*{re.escape(str(array.dtype))}.*0x08 uint8"):
        write_idx(tmp_path / "array", array)
    assert not (tmp_path / "array").exists()


def test_write_idx_refuses_a_dimension_beyond_32_bits(tmp_path):
    with pytest.raises(ValueError, match=r"2\*\*32.*4294967296"):
        write_idx(tmp_path / "array", np.zeros((0, 1 << 32), np.uint8))


def test_a_gzip_file_of_several_members_is_one_file(tmp_path):
    content = idx_bytes(np.arange(9, dtype=np.int32))
    (tmp_path / "array").write_bytes(gzip.compress(content[:11]) + gzip.compress(content[11:]))
    np.testing.assert_array_equal(read_idx(tmp_path / "array"), np.arange(9))


# The IDX format: refusals

HEADER = struct.pack(">4B2I", 0, 0, 0x0B, 2, 3, 5)
REFUSED = {
    "empty": (b"", r"after 0 bytes, expected at least 4"),
    "short magic": (b"\0\0\x08", r"after 3 bytes, expected at least 4"),
    "wrong magic": (b"\0\1\x08\1\0\0\0\0", r"not an IDX file.*b'\\x00\\x01\\x08\\x01'"),
    "a web page": (b"<!DOCTYPE html>", r"not an IDX file.*b'<!DO'"),
    "unknown type": (b"\0\0\x0a\1\0\0\0\0", r"type code 0x0A.*0x0B int16"),
    "no sizes": (b"\0\0\x08\3", r"header stops after 4 bytes, expected 16"),
    "short sizes": (HEADER[:11], r"header stops after 11 bytes, expected 12"),
    "no data": (HEADER, r"promises 30 bytes of data, the file holds 0$"),
    "short data": (HEADER + bytes(29), r"promises 30 bytes of data, the file holds 29$"),
    "long data": (HEADER + bytes(31), r"too long.*promises 30 bytes of data, the file holds 31$"),
    "very long data": (
        HEADER + bytes(3 * MIB),
        r"too long.*promises 30 bytes of data, the file holds 1,048,606 or more$",
    ),
    "long 0-D data": (b"\0\0\x08\0ab", r"promises 1 bytes of data, the file holds 2$"),
    "65 dimensions": (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"a", r"can't hold 65 dimensions"),
    "nothing times too much": (
        b"\0\0\x08\4" + bytes(4) + b"\xff" * 12,
        r"can't hold 4 dimensions of sizes \(0, 4294967295",
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", REFUSED)
def test_read_idx_refuses_naming_file_and_figure(tmp_path, case, packed):
    content, message = REFUSED[case]
    path = tmp_path / "some-file"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(IdxError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, ValueError)


def damage(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]


GZIPPED = gzip.compress(idx_bytes(np.arange(1000, dtype=np.int32)), mtime=0)
BAD_GZIP = {
    "cut in the header": GZIPPED[:7],
    "cut in the data": GZIPPED[:-20],
    "cut in the trailer": GZIPPED[:-3],
    "unknown method": damage(GZIPPED, 2),
    "damaged data": damage(GZIPPED, len(GZIPPED) // 2),
    "wrong checksum": damage(GZIPPED, len(GZIPPED) - 8),
    "wrong length": damage(GZIPPED, len(GZIPPED) - 1),
    "rubbish behind": GZIPPED + b"rubbish",
}


@pytest.mark.parametrize("case", BAD_GZIP)
def test_read_idx_refuses_damaged_gzip(tmp_path, case):
    path = tmp_path / "some-file.gz"
    path.write_bytes(BAD_GZIP[case])
    with pytest.raises(IdxError, match=rf"some-file\.gz: damaged gzip file of {len(BAD_GZIP[case]):,} bytes"):
        read_idx(path)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere-idx3-ubyte"):
        read_idx(tmp_path / "nowhere-idx3-ubyte")


FALSE_HEADERS = {
    "4 GiB": [0xFFFFFFFF],
    "2**63": [1 << 31, 1 << 31, 2],
    "2**64 + 2**32: an overflow to 2**32": [0xFFFFFFFF, 0xFFFFFFFF, 3],
    "2**64: an overflow to 0": [1 << 16, 1 << 16, 1 << 16, 1 << 16],
    "255 dimensions": [0xFFFFFFFF] * 255,
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", FALSE_HEADERS)
def test_a_false_header_costs_no_memory(tmp_path, case, packed):
    shape = FALSE_HEADERS[case]
    content = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(100)
    path = tmp_path / "false"
    path.write_bytes(gzip.compress(content) if packed else content)
    message = rf"promises {math.prod(shape):,} bytes of data, the file holds 100$"
    assert peak_memory_of_refusal(path, message) < 4 * MIB


def test_a_gzip_bomb_costs_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEADER + bytes(64 * MIB), 1))
    assert peak_memory_of_refusal(path, "too long.*promises 30 bytes") < 4 * MIB


def peak_memory_of_refusal(path: Path, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(IdxError, match=message):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = idx_bytes(draw(idx_arrays()))
    if draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
    kind = draw(st.sampled_from(["cut", "flip", "append", "insert"]))
    position = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:position]
    if kind == "flip":
        return content[:position] + bytes([content[position] ^ 1 << draw(st.integers(0, 7))]) + content[position + 1 :]
    extra = draw(st.binary(min_size=1, max_size=20))
    return content + extra if kind == "append" else content[:position] + extra + content[position:]


@given(damaged_files() | st.binary(max_size=50).map(lambda tail: b"\0\0" + tail))
def test_a_damaged_file_is_refused_or_means_what_its_header_says(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except IdxError:
        return
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    assert plain == idx_bytes(array)


# Folders of MNIST-format files


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("as_type", [str, Path])
def test_load_data_reads_a_folder(tmp_path, mark, ending, as_type):
    names = four_arrays(ending=ending, mark=mark)
    (x_train, y_train), (x_test, y_test) = mnist.load_data(as_type(write_folder(tmp_path, names)))
    for got, expected in zip((x_train, y_train, x_test, y_test), names.values(), strict=True):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected)


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    names = four_arrays()
    for name, array in names.items():
        (tmp_path / name).write_bytes(gzip.compress(idx_bytes(array)))
    (x_train, _), _ = mnist.load_data(tmp_path)
    np.testing.assert_array_equal(x_train, names["train-images-idx3-ubyte"])


def test_emnist_digits_come_upright(tmp_path):
    names = four_arrays("emnist-digits-train", "emnist-digits-test", ".gz")
    stored = list(names.values())
    (x_train, y_train), (x_test, y_test) = mnist.load_data(write_folder(tmp_path, names))
    assert x_train[1, 4, 2] == stored[0][1, 2, 4]
    np.testing.assert_array_equal(x_train, stored[0].transpose(0, 2, 1))
    np.testing.assert_array_equal(x_test, stored[2].transpose(0, 2, 1))
    np.testing.assert_array_equal(y_train, stored[1])
    np.testing.assert_array_equal(y_test, stored[3])
    assert x_train.flags.c_contiguous


def test_packed_and_unpacked_copies_may_lie_side_by_side(tmp_path):
    names = four_arrays()
    write_folder(tmp_path, names)
    write_folder(tmp_path, four_arrays(ending=".gz"))
    (tmp_path / "train-images.idx3-ubyte").mkdir()
    (x_train, _), _ = mnist.load_data(tmp_path)
    np.testing.assert_array_equal(x_train, names["train-images-idx3-ubyte"])


def refuse(folder: Path, changes: dict[str, np.ndarray], message: str) -> None:
    write_folder(folder, {**four_arrays(), **changes})
    with pytest.raises(IdxError, match=message) as caught:
        mnist.load_data(folder)
    assert str(folder) in str(caught.value)


def test_load_data_refuses_copies_that_differ(tmp_path):
    message = r"train-labels-idx1-ubyte and train-labels-idx1-ubyte\.gz hold different arrays"
    refuse(tmp_path, {"train-labels-idx1-ubyte.gz": np.zeros(3, np.uint8)}, message)


def test_load_data_refuses_two_data_sets_in_one_folder(tmp_path):
    refuse(tmp_path, four_arrays("emnist-digits-train", "emnist-digits-test"), "both MNIST and EMNIST")


@pytest.mark.parametrize("count", [2, 4])
def test_load_data_refuses_a_count_that_differs(tmp_path, count):
    message = f"train has 3 images but {count} labels"
    refuse(tmp_path, {"train-labels-idx1-ubyte": np.zeros(count, np.uint8)}, message)


def test_load_data_refuses_test_images_of_another_size(tmp_path):
    message = r"training images of \(4, 5\) rows and columns, but test images of \(5, 4\)"
    refuse(tmp_path, {"t10k-images-idx3-ubyte": np.zeros((2, 5, 4), np.uint8)}, message)


@pytest.mark.parametrize("bad", [np.zeros((3, 20), np.uint8), np.zeros((3, 4, 5, 1), np.uint8)])
def test_load_data_refuses_images_that_are_not_3d(tmp_path, bad):
    message = (
        rf"train-images-idx3-ubyte: images must be a 3-D uint8 array, got a {bad.ndim}-D .* {re.escape(str(bad.shape))}"
    )
    refuse(tmp_path, {"train-images-idx3-ubyte": bad}, message)


@pytest.mark.parametrize("bad", [np.array(3, np.uint8), np.zeros((3, 1), np.uint8)])
def test_load_data_refuses_labels_that_are_not_1d(tmp_path, bad):
    message = f"train-labels-idx1-ubyte: labels must be a 1-D uint8 array, got a {bad.ndim}-D "
    refuse(tmp_path, {"train-labels-idx1-ubyte": bad}, message)


def test_load_data_refuses_another_dtype(tmp_path):
    message = "t10k-images-idx3-ubyte: images must be a 3-D uint8 array, got a 3-D float32 array"
    refuse(tmp_path, {"t10k-images-idx3-ubyte": np.zeros((2, 4, 5), np.float32)}, message)


def test_load_data_refuses_a_damaged_file(tmp_path):
    write_folder(tmp_path, four_arrays())
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IdxError, match=r"t10k-labels-idx1-ubyte: .*promises 2 bytes of data, the file holds 1"):
        mnist.load_data(tmp_path)


@pytest.mark.parametrize("name", four_arrays())
def test_load_data_names_a_missing_file(tmp_path, name):
    names = four_arrays()
    del names[name]
    with pytest.raises(FileNotFoundError) as caught:
        mnist.load_data(write_folder(tmp_path, names))
    dotted = name.replace("-idx", ".idx")
    assert f"looked for {name}, {name}.gz, {dotted}, {dotted}.gz" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_load_data_refuses_a_folder_without_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte, .* emnist-digits-train-images-idx3-ubyte"):
        mnist.load_data(tmp_path)


def test_load_data_names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere"):
        mnist.load_data(tmp_path / "nowhere")


def test_load_data_wants_the_folder_not_a_file(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"train-images-idx3-ubyte: pass its folder"):
        mnist.load_data(write_folder(tmp_path, four_arrays()) / "train-images-idx3-ubyte")


def test_load_data_explains_keras_archive_name():
    with pytest.raises(ValueError, match=r"'mnist\.npz'.*call load_data\(\) without a path"):
        mnist.load_data(path="mnist.npz")


# Keras's other data sets


@pytest.mark.parametrize(
    "name",
    ["boston_housing", "california_housing", "cifar10", "cifar100", "fashion_mnist", "imdb", "reuters"],
)
def test_keras_data_sets_that_are_not_here_are_refused_by_name(name):
    with pytest.raises(ImportError, match=f"no data set '{name}', only 'mnist'"):
        exec(f"from tinynet.datasets import {name}")


def test_fashion_mnist_is_pointed_to_its_folder():
    with pytest.raises(ImportError, match=r"mnist\.load_data\(folder\)"):
        _ = datasets.fashion_mnist


def test_any_other_name_is_an_attribute_error():
    assert not hasattr(datasets, "mnits")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tinynet.datasets.mnits")
