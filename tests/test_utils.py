"""One-hot vectors and the random seed."""

import random

import numpy as np
import pytest
from forking import answer_of_child, needs_fork

from tinynet import utils
from tinynet.layers import Dense, Input
from tinynet.models import Sequential
from tinynet.utils import set_random_seed, to_categorical


@pytest.mark.parametrize("labels", [[0, 2], (0, 2), np.array([0, 2], np.uint8), np.array([0.0, 2.0]), [[0], [2]]])
def test_to_categorical_makes_one_hot_rows(labels):
    one_hot = to_categorical(labels)
    np.testing.assert_array_equal(one_hot, [[1, 0, 0], [0, 0, 1]])
    assert one_hot.dtype == np.float64


def test_the_number_of_classes_can_be_more_than_the_labels_show():
    np.testing.assert_array_equal(to_categorical([0, 1], 4), [[1, 0, 0, 0], [0, 1, 0, 0]])
    assert to_categorical([], 4).shape == (0, 4)


def test_labels_of_any_shape_get_an_axis_more():
    np.testing.assert_array_equal(to_categorical([[0, 1], [1, 1]]), [[[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    np.testing.assert_array_equal(to_categorical(1, 2), [0, 1])


def test_many_classes_take_no_more_room_than_their_vectors():
    vectors = to_categorical([0, 199_999])
    assert vectors.shape == (2, 200_000)
    assert vectors.sum() == vectors[0, 0] + vectors[1, -1] == 2


@pytest.mark.parametrize(
    ("labels", "num_classes", "error", "message"),
    [
        ([0, 3], 3, ValueError, "labels must be in 0..2 for num_classes=3, got values from 0 to 3"),
        ([-1], None, ValueError, "labels must be in 0..0 for num_classes=1, got values from -1 to -1"),
        ([np.inf], None, ValueError, "takes integer labels, got dtype float64"),
        ([-1, 1], None, ValueError, "labels must be in 0..1 for num_classes=2, got values from -1 to 1"),
        ([-2, -1], None, ValueError, "labels must be in 0..0"),
        ([0.5], None, ValueError, "takes integer labels, got dtype float64"),
        ([np.nan], 3, ValueError, "takes integer labels, got dtype float64"),
        ([np.inf], 3, ValueError, "takes integer labels, got dtype float64"),
        (["a"], None, ValueError, "takes integer labels, got dtype <U1"),
        ([], None, ValueError, "cannot tell the number of classes from no labels; give num_classes"),
        ([0], 0, ValueError, "num_classes must be at least 1, got 0"),
        ([0], 2.0, TypeError, "num_classes must be an integer, got 2.0"),
    ],
)
def test_labels_that_are_not_class_numbers_are_refused(labels, num_classes, error, message):
    with pytest.raises(error, match=message):
        to_categorical(labels, num_classes)


@pytest.fixture
def global_generators():
    """Keep the global generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def model_weights(seed: int | None = None) -> np.ndarray:
    return Sequential([Input((3,)), Dense(4)], seed=seed).get_weights()[0]


@pytest.mark.usefixtures("global_generators")
def test_set_random_seed_makes_models_and_global_generators_repeat():
    def everything() -> list[float]:
        models = [model_weights().sum(), model_weights().sum()]
        return [*models, random.random(), np.random.random()]

    set_random_seed(3)
    first = everything()
    set_random_seed(3)
    assert everything() == first
    assert first[0] != first[1], "each model has weights of its own"
    set_random_seed(4)
    assert all(a != b for a, b in zip(everything(), first, strict=True))


@pytest.mark.usefixtures("global_generators")
def test_a_models_own_seed_wins():
    set_random_seed(1)
    weights = model_weights(seed=5)
    set_random_seed(2)
    np.testing.assert_array_equal(model_weights(seed=5), weights)
    assert (model_weights(seed=6) != weights).all()


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, "seed must be at least 0, got -1"),
        (2**32, ValueError, r"seed must be below 2\*\*32, got 4294967296"),
        (1.5, TypeError, "seed must be an integer, got 1.5"),
        (None, TypeError, "seed must be an integer, got None"),
    ],
)
def test_bad_seeds_are_refused(seed, error, message):
    with pytest.raises(error, match=message):
        set_random_seed(seed)


def _send_a_weight(connection) -> None:
    connection.send(float(Sequential([Input((2,)), Dense(2)]).get_weights()[0][0, 0]))


@needs_fork
@pytest.mark.parametrize(("is_seeded", "different"), [(False, 3), (True, 1)])
def test_models_made_in_forked_processes_differ_unless_there_is_a_seed(is_seeded, different, monkeypatch):
    monkeypatch.setattr(utils, "_is_seeded", is_seeded)
    assert len({answer_of_child(_send_a_weight) for _ in range(3)}) == different
