"""The search on a Dask cluster: the same table as without one, and kernels compiled once a worker."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "search_on_dask.py"
SMALL = ["--samples", "900", "--epochs", "1"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_on_dask", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*command: str | Path) -> str:
    """What a Python script prints, run where it finds tinynet and the examples, and so do its workers."""
    path = os.pathsep.join([str(ROOT), str(EXAMPLE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(output: str) -> list[str]:
    lines = output.splitlines()
    return lines[lines.index("learning rate  mean accuracy  std of folds") :]


@pytest.fixture(scope="module")
def table_without_dask() -> list[str]:
    return table(run(EXAMPLE, "--without-dask", *SMALL))


def test_two_workers_find_the_same_table_and_the_better_learning_rate(table_without_dask: list[str]):
    output = run(EXAMPLE, *SMALL)
    assert "12 fits on 2 Dask workers, each on 600 of 900 digits" in output
    assert table(output) == table_without_dask
    (best,) = [line for line in table_without_dask if line.endswith("<- best")]
    accuracy = {float(line.split()[0]): float(line.split()[1].rstrip("%")) for line in table_without_dask[1:]}
    assert list(accuracy) == [0.0001, 0.001, 0.01, 0.1]
    assert float(best.split()[0]) == max(accuracy, key=accuracy.get)
    assert accuracy[0.01] > 2 * accuracy[0.0001]


SCRIPT = """
import json
import search_on_dask
from tinynet.datasets import mnist

def preparations():
    "How often each kernel has been compiled or read from the cache in this process."
    from tinynet import kernels
    counters = {name: k.stats for name, k in vars(kernels).items() if hasattr(k, "stats")}
    return {name: sum(c.cache_hits.values()) + sum(c.cache_misses.values()) for name, c in counters.items()}

if __name__ == "__main__":
    (x, y), _ = mnist.load_data()
    x, y = (x[:300, :, :, None] / 255).astype("float32"), y[:300]
    with search_on_dask.dask_client(None) as client:
        print(json.dumps(list(client.nthreads().values())))
        for _ in range(2):
            search_on_dask.run_on_dask(search_on_dask.make_search(1, 0), x, y, client)
        print(json.dumps(list(client.run(preparations).values())))
        search_on_dask.main(["--scheduler", client.scheduler.address, "--samples", "900", "--epochs", "1"])
"""


def test_kernels_are_compiled_once_a_worker_and_a_running_cluster_serves_too(
    table_without_dask: list[str], tmp_path: Path
):
    script = tmp_path / "two_searches.py"
    script.write_text(SCRIPT)
    output = run(script)
    threads, prepared, *_ = output.splitlines()
    assert json.loads(threads) == [1, 1]
    counts = json.loads(prepared)
    assert len(counts) == 2
    for worker in counts:
        assert sum(worker.values()) >= 4, "both workers have trained"
        assert set(worker.values()) <= {0, 1}
    assert table(output) == table_without_dask


def test_each_fit_trains_on_one_thread(example: ModuleType):
    assert example.make_search(epochs=1, seed=0).estimator.num_threads == 1


def test_without_dask_installed_the_example_says_what_to_install(example: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit, match=r"pip install 'tinynet\[dask\]'"):
        example.main(SMALL)
