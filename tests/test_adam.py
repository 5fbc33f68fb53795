"""Adam and what it shares with SGD, by hand: betas of 1/2 make running means that binary fractions hold exactly."""

import copy
import math

import numpy as np
import pytest

from tinynet.optimizers import SGD, Adam, Optimizer, get_optimizer
from tinynet.optimizers import optimizer as optimizer_module
from tinynet.optimizers.schedules import ExponentialDecay, PiecewiseConstantDecay

GRADIENTS = [1.0, 2.0, -4.0]


def three_steps(**options) -> list[float]:
    """Where a weight that starts at 1 goes with the gradients above, at a learning rate of 1/2."""
    adam = Adam(**{"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.5, **options})
    params = {"w": np.array([1.0])}
    path = []
    for g in GRADIENTS:
        adam.step(params, {"w": np.array([g])})
        path.append(params["w"].item())
    assert adam.iterations == 3
    return path


# m = (m + g) / 2:         1/2    5/4    -11/8          over 1 - 1/2**t:      1    5/3    -11/7
# v = (v + g**2) / 2:      1/2    9/4     73/8          over 1 - 1/2**t:      1    3      73/7
STEPS = [1.0, (5 / 3) / math.sqrt(3), -(11 / 7) / math.sqrt(73 / 7)]


def test_steps_go_against_the_mean_gradient_over_the_root_of_the_mean_square():
    assert three_steps(epsilon=1e-15) == pytest.approx(1 - 0.5 * np.cumsum(STEPS), rel=1e-12)


def test_the_two_means_fade_at_rates_of_their_own():
    # beta_1 = 0: the mean gradient is the gradient; beta_2 = 3/4: v = 1/4, 19/16, 313/64 over 1 - (3/4)**t
    means = [1, (19 / 16) / (7 / 16), (313 / 64) / (37 / 64)]
    steps = [g / math.sqrt(mean) for g, mean in zip(GRADIENTS, means, strict=True)]
    assert three_steps(beta_1=0.0, beta_2=0.75, epsilon=1e-15) == pytest.approx(1 - 0.5 * np.cumsum(steps), rel=1e-12)


def test_epsilon_is_added_to_the_root_of_the_uncorrected_mean_square():
    # first step: alpha = 1/2 * sqrt(1/2) / (1/2), m = 1/2, v = 1/2
    assert three_steps(epsilon=2.0)[0] == pytest.approx(1 - math.sqrt(0.5) * 0.5 / (math.sqrt(0.5) + 2), rel=1e-12)


def test_weight_decay_shrinks_the_weight_before_the_step():
    w = 1.0
    expected = []
    for step in STEPS:
        w = 0.75 * w - 0.5 * step  # 1 - 1/2 * 1/2
        expected.append(w)
    assert three_steps(weight_decay=0.5, epsilon=1e-15) == pytest.approx(expected, rel=1e-12)


def test_a_schedule_is_asked_with_the_number_of_steps_taken():
    rates = np.array([0.5, 0.25, 0.125])
    path = three_steps(learning_rate=ExponentialDecay(0.5, 1, 0.5), epsilon=1e-15)
    assert path == pytest.approx(1 - np.cumsum(rates * STEPS), rel=1e-12)


def test_a_weight_without_gradient_stays_where_it_is():
    adam, params = Adam(), {"w": np.array([1.0, 1.0], np.float32)}
    for _ in range(3):
        adam.step(params, {"w": np.array([0.0, 1.0], np.float32)})
    assert params["w"][0] == 1 > params["w"][1]


def test_every_entry_of_every_array_moves_by_itself_and_in_place():
    adam = Adam(0.5)
    W, b = np.ones((2, 2), np.float32), np.zeros(2, np.float32)
    params = {"W": W, "b": b}
    grads = {"W": np.array([[1, -2], [3, -4]], np.float32), "b": np.array([-2, 2], np.float32)}
    before = {name: grad.copy() for name, grad in grads.items()}
    adam.step(params, grads)
    np.testing.assert_allclose(W, [[0.5, 1.5], [0.5, 1.5]], rtol=1e-5)
    np.testing.assert_allclose(b, [0.5, -0.5], rtol=1e-5)
    assert params["W"] is W
    assert W.dtype == adam.m["W"].dtype == adam.v["b"].dtype == np.float32
    for name, grad in grads.items():
        np.testing.assert_array_equal(grad, before[name])


def test_keras_defaults():
    adam = Adam()
    defaults = (adam.learning_rate, adam.beta_1, adam.beta_2, adam.epsilon, adam.weight_decay)
    assert defaults == (0.001, 0.9, 0.999, 1e-7, None)


@pytest.mark.parametrize("optimizer", ["adam", "Adam", Adam, Adam(0.01)])
def test_adam_can_be_named_in_three_ways(optimizer):
    assert isinstance(get_optimizer(optimizer), Adam)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"learning_rate": -0.1}, ValueError, "Adam: learning_rate must be finite and at least 0, got -0.1"),
        ({"beta_1": 1.5}, ValueError, "Adam: beta_1 must be finite and between 0 and 1, got 1.5"),
        ({"beta_1": 1}, ValueError, "beta_1 and beta_2 must be below 1, got 1 and 0.999"),
        ({"beta_2": -0.1}, ValueError, "Adam: beta_2 must be finite and between 0 and 1, got -0.1"),
        ({"beta_2": 1.0}, ValueError, "beta_1 and beta_2 must be below 1, got 0.9 and 1"),
        ({"epsilon": -1}, ValueError, "Adam: epsilon must be finite and at least 0, got -1"),
        ({"epsilon": 0}, ValueError, "Adam: epsilon must be above 0"),
        ({"epsilon": "tiny"}, TypeError, "Adam: epsilon must be a number, got 'tiny'"),
        ({"amsgrad": True}, ValueError, "Adam: amsgrad=True is not supported by tinynet, only False"),
        ({"clipnorm": 1.0}, ValueError, "Adam: clipnorm=1.0 is not supported"),
        ({"momentum": 0.9}, TypeError, "Adam has no argument 'momentum'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Adam(**arguments)


# What all optimizers share ------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda: SGD(0.1),
    "SGD with momentum": lambda: SGD(0.1, momentum=0.9),
    "Adam": lambda: Adam(PiecewiseConstantDecay([1], [0.1, 0.01])),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def random_steps(optimizer: Optimizer, params: dict[str, np.ndarray], seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        optimizer.step(params, {name: rng.standard_normal(w.shape) for name, w in params.items()})


@every_optimizer
def test_state_and_iterations_are_all_that_later_steps_depend_on(make):
    optimizer, params = make(), {"dense/W": np.ones((2, 3)), "dense/b": np.zeros(3)}
    random_steps(optimizer, params, range(3))
    other, other_params = make(), {name: w.copy() for name, w in params.items()}
    other.state, other.iterations = optimizer.state, optimizer.iterations
    random_steps(optimizer, params, range(3, 6))
    random_steps(other, other_params, range(3, 6))
    for name, w in params.items():
        np.testing.assert_array_equal(other_params[name], w)


def test_state_is_named_by_slot_and_parameter():
    params = {"dense/W": np.ones((2, 3)), "dense/b": np.zeros(3)}
    optimizer = Adam()
    assert optimizer.state == {}
    random_steps(optimizer, params, range(1))
    assert {key: array.shape for key, array in optimizer.state.items()} == {
        "m/dense/W": (2, 3),
        "m/dense/b": (3,),
        "v/dense/W": (2, 3),
        "v/dense/b": (3,),
    }
    assert optimizer.state["v/dense/b"] is optimizer.v["dense/b"]


@pytest.mark.parametrize("key", ["velocity/dense/W", "m", "m/", ""])
def test_a_state_that_is_not_this_optimizers_is_refused_and_nothing_changes(key):
    optimizer = Adam()
    random_steps(optimizer, {"w": np.ones(2)}, range(1))
    before = optimizer.m["w"]
    with pytest.raises(ValueError, match=rf"Adam: '{key}' is no part of its state, which is named m/\.\.\. or v/"):
        optimizer.state = {"m/w": np.zeros(2), key: np.zeros(2)}
    assert optimizer.m["w"] is before


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), Adam])
@pytest.mark.parametrize(("earlier", "now"), [(2, 3), (3, 2)])
def test_an_optimizer_is_not_passed_on_to_a_model_of_other_shapes(make, earlier, now):
    optimizer, params = make(), {"w": np.ones(now)}
    random_steps(optimizer, {"w": np.ones(earlier)}, range(1))
    with pytest.raises(ValueError, match=rf"w has shape \({now},\), but had \({earlier},\) in earlier steps; give ev"):
        random_steps(optimizer, params, range(1))
    np.testing.assert_array_equal(params["w"], 1)
    assert optimizer.iterations == 1


def test_an_optimizer_of_ones_own():
    class SignDescent(Optimizer):
        def update(self, w: np.ndarray, g: np.ndarray, lr: float, *remembered: np.ndarray) -> None:
            w -= lr * np.sign(g)

    optimizer, params = SignDescent(0.5, weight_decay=0.5), {"w": np.array([1.0, 2.0])}
    optimizer.step(params, {"w": np.array([7.0, -0.1])})
    np.testing.assert_array_equal(params["w"], [0.25, 2])
    assert get_optimizer(optimizer) is optimizer
    with pytest.raises(NotImplementedError, match=r"Optimizer does not define update\(w, g, lr, \*remembered\)"):
        Optimizer(0.5).step(params, {"w": np.ones(2)})


@pytest.mark.parametrize(
    "make", [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1), Adam]
)
def test_large_parameters_are_updated_in_blocks_in_whatever_order(monkeypatch, make):
    """Matrices, vectors, single numbers and views of other arrays: every number once, to the same bits."""
    rng = np.random.default_rng(0)
    shapes = {"W": (10, 3, 2), "b": (7,), "scale": (), "empty": (0, 3), "wide": (2, 9)}
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    params["view"] = rng.standard_normal((4, 9)).T[::2]
    grads = {name: rng.standard_normal(param.shape) for name, param in params.items()}
    whole, parts = copy.deepcopy(params), copy.deepcopy(params)
    parts["view"] = np.empty((4, 9)).T[::2]
    parts["view"][...] = params["view"]
    rows: list[list[int]] = []

    def backwards(function, blocks):
        rows.append([len(np.atleast_1d(block[0])) for block in blocks])
        for block in reversed(blocks):
            function(block)

    at_once, in_blocks = make(), make()
    for _ in range(3):
        at_once.step(whole, grads)
        with monkeypatch.context() as patched:
            patched.setattr(optimizer_module, "BLOCK_SIZE", 6)
            in_blocks.step(parts, grads, backwards)
    assert rows == [[1] * 10 + [6, 1] + [1] + [0] + [1, 1] + [1] * 5] * 3
    assert in_blocks.iterations == 3
    for name in params:
        assert not params[name].size or (parts[name] != params[name]).any()
        np.testing.assert_array_equal(parts[name], whole[name])
