"""The benchmarks' own arithmetic, their turns and checks, and a comparison of tinynet with itself; no other library.

Nothing here depends on how long anything takes.
"""

import itertools
import json
import os
from pathlib import Path

import kernels
import numpy as np
import pytest
from comparisons import comparison_table
from data import load_mnist
from measure import Comparison, DisagreementError, Spread, Timing, alternate, check_same_losses, compare
from networks import NETWORKS, OTHER_NETWORKS, Network, lenet
from options import parse
from report import duration, spread_of_durations, table
from scaling import scaling_table
from sides.base import Setup, channels_first
from startup import memory_table, start_table
from time_to_accuracy import run_table
from training_step import main as training_step
from worker import Bench, Job, MissingLibraryError, Worker, WorkerError

import tinynet
from tinynet.datasets import mnist

TINY = Network(
    "tiny",
    (7, 7, 1),
    (
        ("Conv2D", {"filters": 2, "kernel_size": 3, "padding": "same", "activation": "relu"}),
        ("MaxPooling2D", {"pool_size": 2}),
        ("Flatten", {}),
        ("Dense", {"units": 10}),
    ),
)


def tiny_job(kind: str = "training") -> Job:
    return Job(kind, TINY, batch_size=4, threads=1, num_batches=3)


# The networks and what they cost -------------------------------------------------------------------------------------


def test_lenet_costs_what_it_does_by_hand():
    conv1 = 2 * (28 * 28) * (5 * 5 * 1) * 20  # a multiplication and an addition, at each place, for each weight
    conv2 = 2 * (14 * 14) * (5 * 5 * 20) * 50
    dense = 2 * (7 * 7 * 50) * 500 + 2 * 500 * 10
    network = NETWORKS["lenet"]
    assert network.inference_flops == conv1 + conv2 + dense == 13_044_000
    assert network.training_flops == 2 * conv1 + 3 * conv2 + 3 * dense == 38_348_000  # no dx for the first layer


def test_lenet5_costs_what_it_does_by_hand():
    conv1 = 2 * (28 * 28) * (5 * 5 * 1) * 6
    conv2 = 2 * (10 * 10) * (5 * 5 * 6) * 16  # "valid": 14 - 4
    dense = 2 * (5 * 5 * 16) * 120 + 2 * 120 * 84 + 2 * 84 * 10
    network = NETWORKS["lenet5"]
    assert network.inference_flops == conv1 + conv2 + dense == 833_040
    assert network.training_flops == 2 * conv1 + 3 * conv2 + 3 * dense == 2_263_920


def test_the_other_networks_cost_what_they_do_by_hand():
    (small, _), (large, _), (convnet, _) = OTHER_NETWORKS.values()
    assert small.inference_flops == 2 * (784 * 64 + 64 * 10)
    assert large.training_flops == 2 * (2 * 784 * 512 + 3 * 512 * 512 + 3 * 512 * 10)
    conv1, conv2 = 2 * (26 * 26) * (3 * 3) * 32, 2 * (11 * 11) * (3 * 3 * 32) * 64
    assert convnet.inference_flops == conv1 + conv2 + 2 * (5 * 5 * 64) * 10


def test_a_job_costs_its_batch_forward_and_back_or_forward_only():
    assert Job("training", TINY, 4, threads=1).flops == 4 * TINY.training_flops
    assert Job("inference", TINY, 4, threads=1).flops == 4 * TINY.inference_flops


OTHERS = [network for network, _ in OTHER_NETWORKS.values()]


@pytest.mark.parametrize(
    "network", [*NETWORKS.values(), *OTHERS, lenet(image_size=14, filters=8), TINY], ids=lambda n: n.title
)
def test_tinynet_builds_the_networks_with_these_shapes(network):
    model = tinynet.Sequential(network.keras_layers(tinynet, softmax=True))
    weights = network.initial_weights()
    assert [w.shape for w in weights] == [w.shape for w in model.get_weights()]
    assert [w.dtype for w in weights] == [np.float32] * len(weights)
    assert model.output_shape == (10,)


def test_weights_for_channels_first_give_the_same_numbers():
    weights = TINY.initial_weights()
    kernel, _, matrix, _ = weights
    filters, bias, rows, _ = channels_first(weights, Setup(TINY, threads=1, learning_rate=0.1, momentum=0.0))
    assert filters[1, 0, 2, 0] == kernel[2, 0, 0, 1]
    assert bias is weights[1]
    image = np.random.default_rng(0).standard_normal((3, 3, 2))
    np.testing.assert_allclose(rows @ image.transpose(2, 0, 1).ravel(), image.ravel() @ matrix, rtol=1e-6)


def test_every_side_reads_the_same_images():
    images, labels = load_mnist("t10k", count=100)
    (_, _), (x_test, y_test) = mnist.load_data()
    np.testing.assert_array_equal(images, x_test[:100, :, :, None].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(labels, y_test[:100])


def test_images_of_other_sizes_are_made_of_whole_pixels():
    images, _ = load_mnist(count=2)
    small, _ = load_mnist(count=2, image_size=14)
    large, _ = load_mnist(count=2, image_size=56)
    np.testing.assert_array_equal(small, images[:, ::2, ::2])
    np.testing.assert_array_equal(large[:, 1::2, ::2], images)
    with pytest.raises(ValueError, match="multiple or a divisor of 28, got 30"):
        load_mnist(count=2, image_size=30)


# Turns and statistics ------------------------------------------------------------------------------------------------


def test_blocks_take_turns_and_each_round_starts_one_later():
    turns = []

    def block(name):
        def run():
            turns.append(name)
            return len(turns)

        return run

    results = alternate([block("A"), block("B"), block("C")], rounds=4)
    assert "".join(turns) == "ABCBCACABABC"
    assert results == [[1, 6, 8, 10], [2, 4, 9, 11], [3, 5, 7, 12]]


def test_spread_is_the_median_and_the_quartiles():
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(median=3.0, low=2.0, high=4.0)


def test_ratios_are_taken_round_by_round():
    ours, theirs = Timing("ours", [1.0, 10.0, 2.0]), Timing("theirs", [2.0, 20.0, 8.0])
    assert theirs.over(ours) == Spread(median=2.0, low=2.0, high=3.0)  # not 8 / 2, the ratio of the medians


def test_share_of_the_dense_limit_is_that_of_the_same_round():
    sgemm = Timing("sgemm", [1.0, 2.0])
    flops = 2 * 2048**3 // 4  # a quarter of the large product's
    comparison = Comparison(flops, [Timing("side", [0.5, 0.25])], sgemm, steps=1)
    assert comparison.dense_limit.seconds == [0.25, 0.5]
    assert comparison.share_of_dense_limit(comparison.timings[0]) == Spread(median=1.25, low=0.875, high=1.625)


def test_losses_may_differ_by_rounding():
    check_same_losses([("a", [2.0, 1.0]), ("b", [2.0, 1.0005])])


@pytest.mark.parametrize("wrong", [1.002, 0.998, float("nan"), float("inf")])
def test_other_losses_are_refused_by_name(wrong):
    with pytest.raises(DisagreementError, match=r"Loss 1: 1 by a, but .* by c"):
        check_same_losses([("a", [2.0, 1.0]), ("b", [2.0, 1.0]), ("c", [2.0, wrong])])


# Tables --------------------------------------------------------------------------------------------------------------


def test_table_is_markdown_and_lines_up():
    assert table(["side", "ms"], [["tinynet", "37.0"], ["x", "9.5"]]) == (
        "| side    |   ms |\n"
        "| :------ | ---: |\n"
        "| tinynet | 37.0 |\n"
        "| x       |  9.5 |"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (1.0, "1.00 s"), (0.1234, "123 ms"), (0.01234, "12.3 ms"), (0.00042, "420 µs")],
)
def test_durations_have_three_figures(seconds, text):
    assert duration(seconds) == text


def test_quartiles_are_in_the_medians_unit():
    assert spread_of_durations(Spread(median=0.5, low=0.1, high=1.5)) == ("500 ms", "100 to 1500")


COMPARISON = Comparison(
    flops=2 * 2048**3,
    timings=[Timing("ours 1", [0.1, 0.1, 0.2]), Timing("theirs 2", [0.2, 0.3, 0.4])],
    sgemm=Timing("BLAS", [0.1, 0.1, 0.1]),
    steps=7,
    left_out={"absent": "No module named 'absent'"},
    peak_memory=[2**20, 2**22],
)


def test_comparison_table_shows_ratios_shares_and_who_was_left_out():
    lines = comparison_table(COMPARISON).splitlines()
    assert lines[0].split("|")[4].strip() == "times ours's"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["ours 1", "100 ms", "100 to 150", "1", "", "1.00"]
    theirs = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert theirs == ["theirs 2", "300 ms", "250 to 350", "2.00", "2.00 to 2.50", "0.33"]
    assert lines[4] == "dense limit 100 ms: 17.2 GFLOP at 172 GFLOP/s (BLAS); 3 rounds of 7 steps"
    assert lines[5] == "left out: absent (No module named 'absent')"


def test_scaling_table_has_a_row_for_each_side_and_size():
    lines = scaling_table("filters", {8: COMPARISON, 20: COMPARISON}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["ours 1", "ours 1", "theirs 2", "theirs 2"]
    cells = [cell.strip() for cell in lines[5].split("|")[1:-1]]
    assert cells == ["theirs 2", "20", "300 ms", "17.5", "0.33", "2.00", "4"]


def test_start_table_adds_up_the_stages_of_each_start():
    starts = {"ours": {"import": [1.0, 2.0, 3.0], "build": [0.1, 0.1, 0.1], "first step": [3.0, 2.0, 0.0]}}
    cells = [cell.strip() for cell in start_table(starts).splitlines()[2].split("|")[1:-1]]
    assert cells == ["ours", "2.00 s", "100 ms", "2.00 s", "4.10 s", "3.60 to 4.10"]


def test_memory_table_compares_with_the_first():
    cells = [cell.strip() for cell in memory_table({"ours": 2**30, "theirs": 3 * 2**29}).splitlines()[3].split("|")]
    assert cells[1:-1] == ["theirs", "1536 MiB", "1.50"]


def test_run_table_adds_up_what_a_run_took():
    run = {"startup": {"import": 1.0, "data": 0.5, "build": 0.25}, "train": [2.0, 4.0], "test": [0.25, 1.0]}
    runs = {
        "ours": [{**run, "accuracy": [0.98, 0.991]}],
        "theirs": [{**run, "train": [9.0, 6.0], "accuracy": [0.9, 0.98]}],
    }
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in run_table(runs).splitlines()[2:]]
    assert rows[0] == ["ours", "9.00 s", "9.00 to 9.00", "1.00", "1.25 s", "500 ms", "3.00 s", "2", "1 of 1"]
    assert rows[1][1:4] == ["18.0 s", "18.0 to 18.0", "2.00"]
    assert rows[1][-1] == "0 of 1"


def test_options_have_their_defaults_and_refuse_what_cannot_be_measured(capsys):
    options = parse("About.", rounds=15, sides=("tinynet", "pytorch"), arguments=["--quick", "--threads", "1", "3"])
    assert (options.rounds, options.threads, options.sides) == (3, [1, 3], ["tinynet", "pytorch"])
    assert options.networks == ["lenet", "lenet5"]
    assert parse("About.", rounds=15, arguments=["--rounds", "4"]).rounds == 4
    others = tuple(OTHER_NETWORKS)
    assert parse("About.", rounds=15, networks=others, choices=others, arguments=[]).networks == list(others)
    for arguments in (["--sides", "onnxruntime"], ["--rounds", "0"], ["--networks", "vgg"]):
        with pytest.raises(SystemExit):
            parse("About.", rounds=15, sides=("tinynet",), arguments=arguments)
    assert "must be a positive integer, got '0'" in capsys.readouterr().err


# Kernels -------------------------------------------------------------------------------------------------------------


def test_every_kernel_with_a_twin_is_measured():
    assert kernels.cases(images=1).keys() == kernels.kernel_names()


@pytest.mark.trains_for_long
@pytest.mark.parametrize("name", kernels.cases(images=1))
def test_kernel_twin_and_other_numpy_compute_the_same(name):
    arguments, other = kernels.cases(images=1)[name]
    functions = [getattr(kernels.kernels, name), getattr(kernels.reference, name), other]
    kernels.check_same_results(name, functions, arguments)


def test_kernels_that_compute_something_else_are_refused():
    ones = np.ones(3, np.float32)
    with pytest.raises(DisagreementError, match=r"^relu: "):
        kernels.check_same_results("relu", [np.positive, np.negative], [ones])

    def write_two(x, y):
        y[...] = 2

    with pytest.raises(DisagreementError, match=r"^relu: "):
        kernels.check_same_results("relu", [kernels.reference.relu, write_two], [ones, np.zeros_like(ones)])


def test_the_gradient_that_kernels_are_timed_on_is_mostly_zeros():
    """Of the numbers that pooling leaves, about half; a quarter of that in the whole image."""
    dy, argmax = kernels.pooled_gradient(np.random.default_rng(0), images=4)
    assert dy.shape == argmax.shape
    assert 0.4 < np.count_nonzero(dy) / dy.size < 1


# Workers -------------------------------------------------------------------------------------------------------------


def test_a_worker_trains_the_network_it_was_given():
    x, y = load_mnist(count=12, image_size=7)
    model = tinynet.Sequential(TINY.keras_layers(tinynet, softmax=True))
    model.compile(tinynet.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    model.set_weights(TINY.initial_weights())
    rows = [slice(4 * (i % 3), 4 * (i % 3) + 4) for i in range(7)]  # three batches, again and again
    expected = [model.train_on_batch(x[r], y[r]) for r in rows]
    with Worker("tinynet", tiny_job()) as worker:
        assert worker.losses(7) == expected
        assert worker.startup.keys() == {"import", "data", "build"}
        assert worker.time(steps=2) > 0
        assert worker.peak_memory() > 2**20


def test_workers_keep_the_modules_that_python_compiles(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    with Worker("tinynet", tiny_job()):
        assert list(tmp_path.rglob("training.*.pyc"))


def test_one_slow_moment_chooses_no_settings():
    """It outlasts the first turns, in which both are ten times as slow."""
    calls = itertools.count()
    bench = object.__new__(Bench)
    bench._use = lambda side: setattr(bench, "side", side)
    bench.time = lambda steps, warmup: bench.side * (10 if next(calls) < 10 else 1)
    assert bench._fastest({"fast": 1.0, "slow": 2.0}) == "fast"


def test_in_inference_each_images_loss_is_compared():
    x, y = load_mnist(count=8, image_size=7)
    model = tinynet.Sequential(TINY.keras_layers(tinynet, softmax=True))
    model.set_weights(TINY.initial_weights())
    with Worker("tinynet", tiny_job("inference")) as worker:
        np.testing.assert_allclose(worker.losses(2), -np.log(model.predict(x)[np.arange(8), y]), rtol=1e-5)


def test_a_worker_tells_what_went_wrong_and_its_process_ends():
    network = Network("odd", (7, 7, 1), (("Flatten", {}), ("Dense", {"units": 10}), ("Dropout", {"rate": 0.5})))
    with pytest.raises(WorkerError, match="does not know the layer 'Dropout'"):
        Worker("tinynet", Job("training", network, 4, threads=1, num_batches=3))
    with Worker("tinynet", tiny_job()) as worker:
        process = worker._process
        process.kill()
        with pytest.raises(WorkerError, match="The worker of tinynet died"):
            worker.losses(1)
    assert process.returncode is not None


@pytest.fixture
def broken_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from here find a ``torch`` that can't be imported."""
    (tmp_path / "torch.py").write_text("raise ImportError('no such luck')")
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), inherited])))


@pytest.mark.usefixtures("broken_torch")
def test_tinynet_against_itself_without_a_peer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training_step.NETWORKS", {"lenet": TINY})
    monkeypatch.setattr("training_step.BATCH_SIZE", 4)
    arguments = ["--quick", "--threads", "1", "--networks", "lenet", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["training_step.py", *arguments, "--sides", "tinynet", "pytorch", "tinynet"])
    training_step()
    printed = capsys.readouterr().out
    assert printed.count(f"| tinynet {tinynet.__version__} ") == 2
    assert "left out: pytorch (no such luck)" in printed

    document = json.loads((tmp_path / "training_step-quick.json").read_text())
    assert document["machine"]["packages"]["numpy"] == np.__version__
    (result,) = document["results"]
    assert result["flops_per_step"] == 4 * TINY.training_flops
    assert [len(side["seconds_by_round"]) for side in result["sides"]] == [3, 3]
    assert (tmp_path / "training_step-quick.png").read_bytes().startswith(b"\x89PNG")


def test_a_tinynet_that_cannot_be_imported_is_not_left_out(tmp_path, monkeypatch):
    (tmp_path / "numba.py").write_text("raise ImportError('no such luck')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(MissingLibraryError, match="no such luck"):
        compare(["tinynet", "pytorch"], tiny_job(), rounds=1, block_seconds=0.001)


@pytest.mark.usefixtures("broken_torch")
def test_nothing_to_measure_is_an_error():
    with pytest.raises(MissingLibraryError, match=r"pytorch.*no such luck"):
        compare(["pytorch"], tiny_job(), rounds=1, block_seconds=0.001)
