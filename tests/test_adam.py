"""Adam and what it shares with SGD, by hand: betas of 1/2 make running means that binary fractions hold exactly."""

import copy
import math

import numpy as np
import pytest
from strategies import lay_out

from tinynet.optimizers import SGD, Adam, Optimizer, get_optimizer
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
        ({"epsilon": 1e-50}, ValueError, "Adam: epsilon must be above 0 in float32, such as 1e-7, got 1e-50"),
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
    with pytest.raises(TypeError, match="learning_rate"):  # it has no default, so its class alone is not enough
        get_optimizer(SignDescent)
    with pytest.raises(NotImplementedError, match=r"Optimizer does not define update\(w, g, lr, \*remembered\)"):
        Optimizer(0.5).step(params, {"w": np.ones(2)})


OPTIMIZERS = pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.1),
        lambda: SGD(0.1, momentum=0.9),
        lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        Adam,
        lambda: Adam(weight_decay=0.1),
    ],
)


@OPTIMIZERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_any_shape_and_layout_move_to_the_same_bits(make, dtype):
    """Matrices, vectors, single numbers and views of other arrays: every number once, and none beside them."""
    rng = np.random.default_rng(0)
    shapes = {"W": (10, 3, 2), "b": (7,), "scale": (), "empty": (0, 3), "wide": (2, 9), "tall": (5, 4)}
    params = {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}
    whole = np.full((9, 12), 7, dtype)
    views = {"W": np.asfortranarray(params["W"]), "wide": whole[:, :2].T, "tall": whole[:5, 4::2]}
    views |= {"b": whole[:7, 11], "scale": whole[8, 10, ...]}
    laid_out = {name: views.get(name, param.copy()) for name, param in params.items()}
    for name, param in params.items():
        laid_out[name][...] = param
    others = np.ones(whole.shape, bool)
    others[:, :2] = others[:5, 4::2] = others[:7, 11] = others[8, 10] = False
    in_rows, in_views = make(), make()
    for step in range(3):
        grads = {name: np.asarray(rng.standard_normal(param.shape), dtype) for name, param in params.items()}
        in_rows.step(params, grads)
        layout = ["F", "every second", "read-only"][step]
        in_views.step(laid_out, {name: lay_out(grad, layout) if grad.ndim else grad for name, grad in grads.items()})
    assert in_views.iterations == 3
    for name, param in params.items():
        assert laid_out[name].dtype == dtype
        np.testing.assert_array_equal(laid_out[name], param)
        for slot in in_rows.slots_in_use():
            np.testing.assert_array_equal(getattr(in_views, slot)[name], getattr(in_rows, slot)[name])
    np.testing.assert_array_equal(whole[others], 7)
    assert laid_out["W"].flags.f_contiguous


@OPTIMIZERS
def test_a_state_of_any_layout_is_taken_on(make):
    rng = np.random.default_rng(0)
    optimizer, params = make(), {"w": rng.standard_normal((4, 3))}
    random_steps(optimizer, params, range(2))
    other, others = make(), copy.deepcopy(params)
    other.state = {key: np.asfortranarray(array) for key, array in optimizer.state.items()}
    other.iterations = 2
    for each, moved in ((optimizer, params), (other, others)):
        random_steps(each, moved, range(2, 4))
    np.testing.assert_array_equal(others["w"], params["w"])


def test_an_update_gets_whole_arrays_row_by_row_and_of_one_dtype():
    got: list[tuple[np.ndarray, ...]] = []

    class Notes(Adam):
        def update(self, w: np.ndarray, g: np.ndarray, lr: float, *remembered: np.ndarray) -> None:
            got.append((w, g, *remembered))
            super().update(w, g, lr, *remembered)

    params = {"w": np.ones((300, 400), np.float32).T, "b": np.ones((), np.float32)}
    Notes().step(params, {"w": np.ones((400, 300)), "b": np.ones((), int)})
    for arrays, shape in zip(got, [(400, 300), ()], strict=True):
        assert len(arrays) == 4
        for array in arrays:
            assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, np.float32, True)
    assert got[1][0].base is params["b"] or got[1][0] is params["b"]


@pytest.mark.parametrize("make", [lambda: SGD(0.5, momentum=0.5), Adam])
def test_a_parameter_may_be_a_single_number(make):
    params = {"w": np.ones((), np.float32)}
    make().step(params, {"w": np.ones(3, np.float32).sum()})  # no array, but NumPy's scalar
    assert params["w"].shape == ()
    assert params["w"] < 1


@pytest.mark.parametrize("dtype", [int, bool, np.float16, complex, object, ">f4"])
@pytest.mark.parametrize("make", [lambda: SGD(0.1), Adam])
def test_parameters_that_are_no_floats_are_refused_before_anything_moves(make, dtype):
    optimizer, params = make(), {"v": np.ones(2), "w": np.ones(2, dtype)}
    with pytest.raises(
        TypeError, match=rf"step: parameters are arrays of float32 or float64, but w is {params['w'].dtype}\.$"
    ):
        optimizer.step(params, {"v": np.ones(2), "w": np.ones(2)})
    np.testing.assert_array_equal(params["v"], 1)
    assert optimizer.iterations == 0
    assert not optimizer.state
