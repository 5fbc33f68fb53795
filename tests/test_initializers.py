"""Initial weights: their size, by the formula of each; that they repeat; and that they are random."""

import math

import numpy as np
import pytest

from tinynet import initializers
from tinynet.initializers import (
    Constant,
    GlorotUniform,
    Initializer,
    Ones,
    RandomNormal,
    RandomUniform,
    Zeros,
    fans,
    get_initializer,
)
from tinynet.layers import Dense, Input
from tinynet.models import Sequential

SHAPE = (5, 5, 40, 60)  # fan_in = 25 * 40 = 1000, fan_out = 25 * 60 = 1500


def draw(name: str, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return get_initializer("test", "initializer", name)(shape, np.random.default_rng(seed))


def test_fans():
    assert fans((100, 10)) == (100, 10)
    assert fans(SHAPE) == (1000, 1500)
    assert fans((7,)) == (7, 7)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("glorot_uniform", math.sqrt(6 / 2500)),
        ("he_uniform", math.sqrt(6 / 1000)),
        ("lecun_uniform", math.sqrt(3 / 1000)),
        ("random_uniform", 0.05),
    ],
)
def test_uniform_weights_fill_their_interval_evenly(name, limit):
    weights = draw(name)
    assert np.abs(weights).max() <= np.float32(limit)
    shares, _ = np.histogram(weights / limit, bins=10, range=(-1, 1))
    np.testing.assert_allclose(shares / weights.size, 0.1, atol=0.005)


@pytest.mark.parametrize(
    ("name", "stddev"),
    [
        ("glorot_normal", math.sqrt(2 / 2500)),
        ("he_normal", math.sqrt(2 / 1000)),
        ("lecun_normal", math.sqrt(1 / 1000)),
    ],
)
def test_normal_weights_have_their_deviation_and_are_cut_off_at_two(name, stddev):
    weights = draw(name)
    assert weights.std() == pytest.approx(stddev, rel=0.01)
    assert weights.mean() == pytest.approx(0, abs=0.02 * stddev)
    cut = 2 * stddev / 0.8796256610342398  # so that what is left has the deviation asked for
    assert 0.99 * cut < np.abs(weights).max() <= cut * (1 + 1e-6)
    # Of a normal variable inside two deviations, 0.6827 / 0.9545 lie inside one.
    assert (np.abs(weights) < cut / 2).mean() == pytest.approx(0.6827 / 0.9545, abs=0.01)


def test_random_normal_is_not_cut_off():
    weights = RandomNormal(mean=-3.0, stddev=2.0)(SHAPE, np.random.default_rng(0))
    assert weights.mean() == pytest.approx(-3, abs=0.05)
    assert weights.std() == pytest.approx(2, rel=0.02)
    assert np.abs(weights + 3).max() > 6
    assert draw("random_normal").std() == pytest.approx(0.05, rel=0.02)
    assert draw("random_normal").mean() == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("low", [2.0, -3.0])
def test_random_uniform_takes_its_interval(low):
    weights = RandomUniform(low, low + 1)(SHAPE, np.random.default_rng(0))
    assert weights.min() == pytest.approx(low, abs=0.01)
    assert weights.max() == pytest.approx(low + 1, abs=0.01)


def test_constants():
    np.testing.assert_array_equal(draw("zeros", (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(draw("ones", (2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(Constant()((2,), np.random.default_rng(0)), [0, 0])
    np.testing.assert_array_equal(Constant(-2.5)((3,), np.random.default_rng(0)), [-2.5, -2.5, -2.5])


@pytest.mark.parametrize("name", initializers.INITIALIZERS)
def test_weights_are_float32_and_follow_the_generator(name):
    weights = draw(name, (6, 4))
    assert (weights.dtype, weights.shape) == (np.float32, (6, 4))
    np.testing.assert_array_equal(weights, draw(name, (6, 4)))
    if name not in ("zeros", "ones"):
        assert (weights != draw(name, (6, 4), seed=1)).all()
        assert len(np.unique(weights)) == 24


@pytest.mark.parametrize("kind", [GlorotUniform, initializers.HeNormal, RandomUniform, RandomNormal])
def test_a_seed_of_its_own_wins_over_the_generator(kind):
    first, second = (kind(seed=5)((4, 3), np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)
    assert (kind(seed=6)((4, 3), np.random.default_rng(1)) != first).all()


def test_keras_has_more_names_for_them():
    for name, kind in {"normal": RandomNormal, "uniform": RandomUniform, "zero": Zeros, "one": Ones}.items():
        assert type(get_initializer("Dense", "kernel_initializer", name)) is kind
    for name in [*initializers.INITIALIZERS, "constant"]:
        assert getattr(initializers, name) is getattr(initializers, "".join(map(str.capitalize, name.split("_"))))
    with pytest.raises(ImportError, match=r"tinynet has no Orthogonal in tinynet\.initializers; it has Constant, "):
        from tinynet.initializers import Orthogonal  # noqa: F401


@pytest.mark.parametrize("value", ["he_normal", "HeNormal", initializers.HeNormal, initializers.HeNormal()])
def test_an_initializer_can_be_named_in_four_ways(value):
    assert type(get_initializer("Dense", "kernel_initializer", value)) is initializers.HeNormal


def test_an_initializer_of_ones_own():
    class Identity(Initializer):
        def draw(self, shape, rng):
            return np.eye(*shape)

    weights = Identity()((2, 2), np.random.default_rng(0))
    np.testing.assert_array_equal(weights, np.eye(2, dtype=np.float32))
    assert weights.dtype == np.float32


@pytest.mark.parametrize(
    ("drawn", "error", "message"),
    [
        (np.ones(2), ValueError, r"Drawn: draw must return an array of shape \(3, 2\), got \(2,\)"),
        (np.ones((3, 2, 1)), ValueError, r"draw must return an array of shape \(3, 2\), got \(3, 2, 1\)"),
        (0.5, ValueError, r"draw must return an array of shape \(3, 2\), got \(\)"),
        (None, TypeError, "draw must return an array of numbers, got dtype object"),
        (np.full((3, 2), 1e39), ValueError, "the numbers that draw returns must be finite in float32"),
        (np.full((3, 2), np.nan), ValueError, "the numbers that draw returns must be finite in float32"),
    ],
)
def test_an_initializer_of_ones_own_that_draws_something_else_is_refused(drawn, error, message):
    class Drawn(Initializer):
        def draw(self, shape, rng):
            return drawn

    with pytest.raises(error, match=message):
        Sequential([Input((3,)), Dense(2, kernel_initializer=Drawn())])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: get_initializer("Dense", "kernel_initializer", "xavier"),
            ValueError,
            "Dense: kernel_initializer='xav",
        ),
        (lambda: get_initializer("Dense", "kernel_initializer", np.zeros), TypeError, "must be a name or an Initiali"),
        (lambda: GlorotUniform(scale=2), TypeError, "GlorotUniform has no argument 'scale'"),
        (lambda: RandomUniform(1.0, 0.0), ValueError, "maxval must be finite and at least 1, got 0"),
        (lambda: RandomNormal(stddev=-1), ValueError, "stddev must be finite and at least 0, got -1"),
        (lambda: RandomNormal(mean="0"), TypeError, "mean must be a number, got '0'"),
        (lambda: Constant(0.5, seed=3), TypeError, "Constant has no argument 'seed'"),
        (lambda: RandomUniform(-1e308, 1e308), ValueError, r"minval=-1e\+308 and maxval=1e\+308 are too far apart"),
        (
            lambda: Constant(1e39)((2,), np.random.default_rng(0)),
            ValueError,
            "Constant: the numbers .* finite in float32",
        ),
        (lambda: Constant(math.nan), ValueError, "value must be finite, got nan"),
        (lambda: RandomNormal(mean=-math.inf), ValueError, "mean must be finite, got -inf"),
        (lambda: RandomUniform(maxval=math.inf), ValueError, "maxval must be finite and at least -0.05, got inf"),
        (lambda: GlorotUniform(seed="lucky"), TypeError, "GlorotUniform: seed must be an integer, got 'lucky'"),
        (lambda: GlorotUniform(seed=-1), ValueError, "GlorotUniform: seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
