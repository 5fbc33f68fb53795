"""The LeNet-5 of 1998 is the paper's network: its sizes, its missing connections, its inputs; and its example runs."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tinynet.datasets import mnist, write_idx
from tinynet.gradient_check import check_gradients
from tinynet.layers import Conv2D

pytestmark = pytest.mark.trains_for_long
EXAMPLE = Path(__file__).parents[1] / "examples" / "lenet5_1998.py"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The first digits of MNIST as a data set of their own."""
    folder = tmp_path_factory.mktemp("digits")
    for name, (images, labels) in zip(("train", "t10k"), mnist.load_data(), strict=True):
        write_idx(folder / f"{name}-images-idx3-ubyte", images[:100])
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels[:100])
    return folder


def run_example(*options):
    """(the example's variables, after it has run as a script with these options)"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(EXAMPLE), *map(str, options)])
        return runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.fixture(scope="module")
def example(digits):
    return run_example("--epochs", 1, "--seed", 3, "--threads", 1, "--data", digits)


def test_it_states_its_test_error_and_the_papers(digits, capsys):
    example = run_example("--epochs", 2, "--data", digits)
    last = capsys.readouterr().out.splitlines()[-3:]
    assert last[0].endswith("; in the paper 0.35%")
    assert last[1] == f"Test error {1 - example['test_accuracy']:.2%}; in the paper 0.95%"
    assert last[2].startswith("2 epochs, seed 0, ")
    losses = example["model"].history.history["loss"]
    assert losses[1] < losses[0]
    assert example["model"].optimizer.iterations == 2 * 2  # batches of 64 of the 100 digits


def test_layers_have_the_papers_sizes(example):
    model = example["model"]
    names = ["C1", "S2", "C3", "S4", "C5", "F6", "output"]
    assert [model.get_layer(name).output_shape for name in names] == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (1, 1, 120),
        (84,),
        (10,),
    ]
    trainable = {name: model.get_layer(name).count_params() for name in ("C1", "C5", "F6")}
    assert trainable == {"C1": 156, "C5": 48_120, "F6": 10_164}
    assert model.get_layer("S2_coefficients").count_params() == 12
    assert model.get_layer("S4_coefficients").count_params() == 32


def test_c3_has_1516_parameters_before_and_after_training(example):
    c3, fresh = example["model"].get_layer("C3"), example["lenet5"](3, 1).get_layer("C3")
    for layer in (c3, fresh):
        present = np.broadcast_to(example["TABLE"] == 1, layer.params["W"].shape)
        np.testing.assert_array_equal(layer.params["W"] != 0, present)
        assert np.count_nonzero(layer.params["W"]) + layer.params["b"].size == 1516
    assert (c3.params["W"] != fresh.params["W"]).any()


def test_c3s_table_is_as_in_the_paper(example):
    table = example["TABLE"]
    assert table.sum(axis=0).tolist() == [3] * 6 + [4] * 9 + [6]
    assert table.sum(axis=1).tolist() == [10] * 6
    assert len({tuple(column) for column in table.T}) == 16
    # "the first six take inputs from every contiguous subset of three, the next six from every one of four"
    for first, count in ((0, 3), (6, 4)):
        for i in range(6):
            assert set(np.flatnonzero(table[:, first + i])) == {(i + j) % 6 for j in range(count)}


def test_c3_is_a_convolution_of_the_maps_that_it_sees(example):
    c3 = example["lenet5"](3, 1).get_layer("C3").astype(np.float64)
    x = np.random.default_rng(0).standard_normal((2, 14, 14, 6))
    y, _ = c3.forward(x)
    for number in (0, 7, 15):
        maps = np.flatnonzero(example["TABLE"][:, number])
        alone = Conv2D(1, 5)
        alone.build((14, 14, len(maps)), np.random.default_rng(0))
        alone = alone.astype(np.float64)
        alone.set_weights([c3.params["W"][:, :, maps, number, None], c3.params["b"][number, None]])
        np.testing.assert_allclose(alone.forward(x[..., maps])[0][..., 0], y[..., number], rtol=1e-10, atol=1e-12)


def test_initial_weights_are_within_the_papers_bounds(example):
    model = example["lenet5"](5, 1)
    inputs = {"C1": 25, "C5": 400, "F6": 120, "output": 84}
    for name, number in inputs.items():
        W = np.abs(model.get_layer(name).params["W"])
        assert 0.8 * 2.4 / number < W.max() <= 2.4 / number
    W = np.abs(model.get_layer("C3").params["W"]).max(axis=(0, 1, 2))
    limits = 2.4 / (25 * example["TABLE"].sum(axis=0))
    assert (0.8 * limits < W).all()
    assert (limits * (1 + 1e-6) >= W).all()


def test_images_are_framed_and_scaled(example):
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 0, 27] = 255
    x = example["prepared"](images)
    assert (x.shape, x.dtype) == ((1, 32, 32, 1), np.float32)
    assert x[0, 2, 29, 0] == pytest.approx(1.175)
    x[0, 2, 29, 0] = -0.1
    np.testing.assert_allclose(x, -0.1, rtol=1e-6)


def test_the_squashing_function_maps_one_to_one(example):
    squash = example["ScaledTanh"]()
    squash.build((3,), np.random.default_rng(0))
    y, _ = squash.forward(np.array([[1.0, -1.0, 100.0]]))
    np.testing.assert_allclose(y, [[1, -1, 1.7159]], atol=1e-4)


@pytest.mark.parametrize("name", ["ScaledTanh", "Coefficients"])
def test_the_layers_of_its_own_have_right_gradients(example, name):
    layer = example[name]()
    layer.build((3, 3, 2), np.random.default_rng(0))
    for param in layer.params.values():
        param[...] = np.random.default_rng(1).standard_normal(param.shape)
    check_gradients(layer, raise_error=True)


@pytest.mark.parametrize(
    ("size", "labels", "what"),
    [
        (20, [0, 1, 9], "got 3 images of 20x20, of classes 0 to 9"),
        (28, [1, 10], "got 2 images of 28x28, of classes 1 to 10"),
        (28, [], "got 0 images of 28x28, of no classes"),
    ],
)
def test_data_that_the_paper_had_not_is_refused(size, labels, what, tmp_path, capsys):
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", np.zeros((len(labels), size, size), np.uint8))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", np.array(labels, np.uint8))
    with pytest.raises(SystemExit):
        run_example("--data", tmp_path)
    assert f"LeNet-5 reads images of 28x28, of classes 0 to 9; {what}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", 0], "'0' is not an integer above 0"),
        (["--seed", "one"], "'one' is not an integer of at least 0"),
        (["--threads", "many"], "'many' is not an integer above 0"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_options_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        run_example(*options)
    assert message in capsys.readouterr().err
