"""The search on a Dask cluster: the same table as without one, and kernels compiled once a worker."""

import contextlib
import gc
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
pytestmark = pytest.mark.trains_for_long

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "search_on_dask.py"
SMALL = ["--samples", "900", "--epochs", "1"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_on_dask", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(output: str) -> list[str]:
    lines = output.splitlines()
    return lines[lines.index("learning rate  mean accuracy  std of folds") :]


@pytest.fixture(scope="module")
def table_without_dask(example: ModuleType) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        example.main(["--without-dask", *SMALL])
    return table(printed.getvalue())


# The example starts a cluster of its own. Before it ends, it searches there a second time, counts, and is called once
# more with the address of that cluster.
SCRIPT = f"""
import json
import search_on_dask
from search_on_dask import run_on_dask

def preparations():
    "How often each kernel has been compiled or read from the cache in this process."
    from tinynet import kernels
    counters = {{name: k.stats for name, k in vars(kernels).items() if hasattr(k, "stats")}}
    return {{name: sum(c.cache_hits.values()) + sum(c.cache_misses.values()) for name, c in counters.items()}}

def search_twice(search, x, y, client):
    print(json.dumps(list(client.nthreads().values())))
    for _ in range(2):
        run_on_dask(search, x, y, client)
    print(json.dumps(list(client.run(preparations).values())))
    search_on_dask.run_on_dask = run_on_dask
    search_on_dask.main(["--scheduler", client.scheduler.address, *{SMALL}])
    print("its own cluster:")

if __name__ == "__main__":
    search_on_dask.run_on_dask = search_twice
    search_on_dask.main({SMALL})
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script above prints, run where it finds tinynet and the examples, and so do its workers."""
    script = tmp_path_factory.mktemp("dask") / "two_searches.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), str(EXAMPLE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_workers_find_the_same_table_and_the_better_learning_rate(output: str, table_without_dask: list[str]):
    assert output.startswith("12 fits on 2 Dask workers, each on 600 of 900 digits")
    assert table(output.partition("its own cluster:")[2]) == table_without_dask
    (best,) = [line for line in table_without_dask if line.endswith("<- best")]
    accuracy = {float(line.split()[0]): float(line.split()[1].rstrip("%")) for line in table_without_dask[1:]}
    assert list(accuracy) == [0.0001, 0.001, 0.01, 0.1]
    assert float(best.split()[0]) == max(accuracy, key=accuracy.get)
    assert accuracy[0.01] > 2 * accuracy[0.0001]


def test_a_running_cluster_serves_too(output: str, table_without_dask: list[str]):
    there, _, _ = output.partition("its own cluster:")
    assert there.count("12 fits on 2 Dask workers") == 2
    assert table(there)[: len(table_without_dask)] == table_without_dask


def test_kernels_are_compiled_once_a_worker(output: str):
    _, threads, prepared, *_ = output.splitlines()
    assert json.loads(threads) == [1, 1]
    counts = json.loads(prepared)
    assert len(counts) == 2
    for worker in counts:
        assert sum(worker.values()) >= 4, "both workers have trained"
        assert set(worker.values()) <= {0, 1}


def test_each_fit_trains_on_one_thread(example: ModuleType):
    assert example.make_search(epochs=1, seed=0).estimator.num_threads == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "-59000"], "'-59000' is not an integer above 0"),
        (["--samples", "20"], "the first 20 have fewer than 3 of a digit, one for each fold"),
        (["--epochs", "0"], "'0' is not an integer above 0"),
        (["--seed", "-1"], "'-1' is not an integer of at least 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: list[str], message: str, example: ModuleType, capsys: Any):
    with pytest.raises(SystemExit):
        example.main(["--without-dask", *options])
    assert message in capsys.readouterr().err


@pytest.fixture
def no_clients_left() -> Iterator[None]:
    """Close those that found no scheduler, as they do when collected: while another one starts, that never ends."""
    yield
    gc.collect()


@pytest.mark.usefixtures("no_clients_left")
@pytest.mark.parametrize("address", ["nope", "tcp://127.0.0.1:9", "nope://127.0.0.1:9"])
def test_an_address_without_a_scheduler_is_refused(address: str, example: ModuleType, capsys: Any):
    soon = dask.config.set({"distributed.comm.timeouts.connect": "0.5s"})
    with soon, pytest.raises(SystemExit) as caught:
        example.main(["--scheduler", address, *SMALL])
    assert caught.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"--scheduler: no Dask scheduler at '{address}', an address such as tcp://host:8786" in told


def test_without_dask_installed_the_example_says_what_to_install(example: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[dask\]'"):
        example.main(SMALL)
