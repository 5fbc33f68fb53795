"""Damage model files in every way we can think of, and see that each is refused and leaves the model as it was:

python tests/fuzz_model_files.py --n 10000
"""

import argparse
import collections
import copy
import json
import pathlib
import random
import tempfile
import time
import tracemalloc

import numpy as np
from model_files import IMAGES, ONE_HOT, large, read_file, small, write_file

from tinynet.models import Sequential, load_model
from tinynet.saving import ModelFileError

MAX_SECONDS = 10.0  # for one file; a good one takes some milliseconds
MAX_BYTES = 30 * 2**20  # beyond what is there already; the files have up to 20 kB


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for place in rng.sample(range(len(data)), rng.choice([1, 1, 1, 2, 5, 50])):
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flip_header(data: bytes, rng: random.Random) -> bytes:
    end = 8 + int.from_bytes(data[:8], "little")
    return flip_bits(data[:end], rng) + data[end:]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.choice([1, 8, 1000]))


def insert_or_remove(data: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice([1, 4, 100])
    return data[:start] + (rng.randbytes(size) if rng.random() < 0.5 else b"") + data[start + size :]


def shuffle_blocks(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.sample(range(len(data)), 2))
    return data[:a] + data[b:] + data[a:b] if a > 0 else data[b:] + data[:b]


def other_length(data: bytes, rng: random.Random) -> bytes:
    length = rng.choice([0, 1, 2**63, 2**64 - 1, 2**32, len(data), rng.randrange(2**20), rng.getrandbits(64)])
    return length.to_bytes(8, "little") + data[8:]


def other_header(data: bytes, rng: random.Random) -> bytes:
    """A header that is JSON still, and lies about a shape, a type, a place or a text."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    entry = header[rng.choice(sorted(header))]
    key = rng.choice(sorted(entry))
    entry[key] = rng.choice(
        [lie for lie in (None, -1, [2**40], [0, 2**62], "F64", "BF16", [], "", {}) if lie != entry[key]]
    )
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[end:]


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([1, 7, 8, 9, 100, 20_000]))


def other_kind(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"\x80\x04", b"{}", b"<html>", b""]) + noise(
        data, rng
    )


DAMAGES = [
    cut,
    flip_bits,
    flip_header,
    append,
    insert_or_remove,
    shuffle_blocks,
    other_length,
    other_header,
    noise,
    other_kind,
]


def lie(tensors: dict[str, np.ndarray], description: dict, rng: random.Random) -> None:
    """Change something to what no model has, in place; the check sum will be right."""
    if rng.random() < 0.3:
        name = rng.choice(sorted(tensors))
        array = tensors.pop(name)
        kind = rng.randrange(5)
        if kind == 1:
            tensors[f"{name}x"] = array
        elif kind == 2:
            tensors[name] = np.append(array, np.float32(0))
        elif kind == 3:
            tensors[name] = np.full_like(array, rng.choice([np.nan, np.inf]))
        elif kind == 4:
            tensors[name] = array.astype(np.int32)
        return
    places = []

    def walk(node: object) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            walk(value)

    walk(description)
    node, key = rng.choice(places)
    # None of these may stand anywhere, other than some numbers and names. (No arguments at all are the defaults.)
    node[key] = rng.choice([{"class": "Lambda", "arguments": {}}, [[]], [{}], {"a": 1}, -(2**70), [None, {}]])


def remembered(model: Sequential) -> list[object]:
    return [
        model.get_weights(),
        model.optimizer.iterations,
        copy.deepcopy(model.optimizer.state),
        model.rng.bit_generator.state,
    ]


def fuzz(n: int, seed: int, folder: pathlib.Path) -> dict[str, int]:
    """Make ``n`` damaged files and load each; how many there were of each kind. AssertionError if one went wrong."""
    rng, counts = random.Random(seed), collections.Counter()
    goods = []
    for number, model in enumerate([small(), large(), large()]):
        if number == 2:
            model.fit(IMAGES, ONE_HOT, verbose=0)
        path = folder / f"good-{number}"
        model.save(path)
        load_model(path)
        goods.append((path.read_bytes(), read_file(path), model, remembered(model)))
    path = folder / "damaged"
    tracemalloc.start()
    for _ in range(n):
        data, (tensors, description), model, before = rng.choice(goods)
        damage = rng.choice([*DAMAGES, None, None, None])
        if damage is None:
            counts["lie"] += 1
            tensors, description = copy.deepcopy((tensors, description))
            lie(tensors, description, rng)
            write_file(path, tensors, description)
        else:
            counts[damage.__name__] += 1
            damaged = damage(data, rng)
            if damaged == data:
                damaged = data[:-1]
            path.write_bytes(damaged)
        tracemalloc.reset_peak()
        start, memory = time.monotonic(), tracemalloc.get_traced_memory()[0]
        loads = [load_model] if damage is None else [load_model, model.load_weights]
        for load in loads:
            try:
                load(path)
            except ModelFileError as error:
                if not str(error).startswith(f"{path}: "):
                    raise AssertionError(f"{error} does not name the file") from error
            else:
                kept = path.rename(folder / "loaded")
                raise AssertionError(f"{load} took a file damaged by {damage}: {kept}")
        assert time.monotonic() - start < MAX_SECONDS, f"{path} took too long"
        assert tracemalloc.get_traced_memory()[1] - memory < MAX_BYTES, f"{path} took too much memory"
        np.testing.assert_equal(remembered(model), before)
    tracemalloc.stop()
    return dict(counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="how many files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="for other files (default: %(default)s)")
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        for kind, count in sorted(fuzz(options.n, options.seed, pathlib.Path(temporary)).items()):
            print(f"{count:6,}  {kind}")
    print(f"{options.n:6,}  damaged files, each refused by name, in {time.monotonic() - begin:.0f} s")
