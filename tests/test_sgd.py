"""SGD and learning rates, by hand: three steps of every variant, with numbers that binary fractions hold exactly."""

import math

import numpy as np
import pytest

from tinynet.optimizers import SGD, Optimizer, get_optimizer, schedules
from tinynet.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule, PiecewiseConstantDecay
from tinynet.saving.configuration import construct, describe

GRADIENTS = [1.0, 2.0, -4.0]


def three_steps(**options) -> list[float]:
    """Where a weight that starts at 1 goes with the gradients above, at a learning rate of 1/2."""
    sgd = SGD(**{"learning_rate": 0.5, **options})
    params = {"w": np.array([1.0])}
    path = []
    for g in GRADIENTS:
        sgd.step(params, {"w": np.array([g])})
        path.append(params["w"].item())
    assert sgd.iterations == 3
    return path


def test_plain_steps_go_against_the_gradient():
    assert three_steps() == [1 - 0.5 * 1, 0.5 - 0.5 * 2, -0.5 + 0.5 * 4]


def test_momentum_keeps_a_share_of_the_last_step():
    # v = v/2 - g/2:                         -0.5       -0.25 - 1 = -1.25      -0.625 + 2 = 1.375
    assert three_steps(momentum=0.5) == [1 - 0.5, 0.5 - 1.25, -0.75 + 1.375]


def test_nesterov_takes_the_next_share_of_momentum_ahead():
    # v as above; w = w + v/2 - g/2
    assert three_steps(momentum=0.5, nesterov=True) == [
        1 - 0.25 - 0.5,
        0.25 - 0.625 - 1,
        -1.375 + 0.6875 + 2,
    ]


def test_weight_decay_shrinks_the_weight_before_the_step():
    # w = w - 1/2 * 1/2 * w = 3/4 * w, then the step
    assert three_steps(weight_decay=0.5) == [0.75 - 0.5, 0.1875 - 1, -0.609375 + 2]


def test_weight_decay_with_momentum_does_not_enter_the_velocity():
    # w = 3/4 * w + v
    assert three_steps(weight_decay=0.5, momentum=0.5) == [0.75 - 0.5, 0.1875 - 1.25, -0.796875 + 1.375]


def test_weight_decay_with_nesterov():
    # w = 3/4 * w + v/2 - g/2
    assert three_steps(weight_decay=0.5, momentum=0.5, nesterov=True) == [
        0.75 - 0.25 - 0.5,
        0 - 0.625 - 1,
        -1.21875 + 0.6875 + 2,
    ]


@pytest.mark.parametrize("options", [{"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}, {"weight_decay": 0.1}, {}])
def test_a_rate_of_zero_moves_nothing(options):
    assert three_steps(**options, learning_rate=0.0) == [1, 1, 1]


def test_a_schedule_is_asked_with_the_number_of_steps_taken():
    # rates 1/2, 1/4, 1/8
    assert three_steps(learning_rate=ExponentialDecay(0.5, 1, 0.5)) == [1 - 0.5, 0.5 - 0.25 * 2, 0 + 0.125 * 4]


def test_a_rate_can_be_set_to_a_schedule_and_a_schedule_to_another_but_to_no_number():
    sgd = SGD(0.5)
    sgd.learning_rate = 0.25
    for rate in (2.0, 4.0):
        sgd.learning_rate = ExponentialDecay(rate, 1, 0.5)
        assert sgd.learning_rate == rate
    with pytest.raises(TypeError, match="SGD: the learning rate follows a ExponentialDecay, so it cannot be"):
        sgd.learning_rate = 0.5
    assert sgd.learning_rate == 4


def test_momentum_takes_the_rate_of_each_step_into_the_velocity():
    # rates 1/2, 1/4, 1/8; v = v/2 - rate * g:    -0.5       -0.25 - 0.5 = -0.75    -0.375 + 0.5 = 0.125
    schedule = ExponentialDecay(0.5, 1, 0.5)
    assert three_steps(learning_rate=schedule, momentum=0.5) == [0.5, 0.5 - 0.75, -0.25 + 0.125]


def test_every_entry_of_every_array_moves_by_itself_and_in_place():
    sgd = SGD(0.5, momentum=0.5)
    W, b = np.ones((2, 2), np.float32), np.zeros(2, np.float32)
    params = {"W": W, "b": b}
    for _ in range(2):
        sgd.step(params, {"W": np.array([[1, 2], [3, 4]], np.float32), "b": np.array([-2, 2], np.float32)})
    np.testing.assert_array_equal(W, 1 - 1.25 * np.array([[1, 2], [3, 4]]))  # 0.5 and then 0.25 + 0.5
    np.testing.assert_array_equal(b, [2.5, -2.5])
    assert params["W"] is W
    assert W.dtype == sgd.velocity["W"].dtype == np.float32


class Noting(Optimizer):
    """Notes the gradients that it is given."""

    def __init__(self):
        super().__init__(0.1)
        self.given = []

    def update(self, w, g, lr, *remembered):
        self.given.append(g)


def test_update_is_given_the_gradient_itself_or_a_copy_as_the_parameter_lies_in_memory():
    optimizer, w = Noting(), np.ones((2, 3))
    fitting = np.ones((2, 3))
    for gradient in (fitting, np.ones((2, 3), np.float32), np.ones((3, 2)).T):
        optimizer.step({"w": w}, {"w": gradient})
    optimizer.step({"w": w.astype(np.float32)}, {"w": fitting})
    assert optimizer.given[0] is fitting
    assert [g.dtype for g in optimizer.given] == [np.float64] * 3 + [np.float32]
    assert all(g.flags.c_contiguous for g in optimizer.given)


def test_what_is_remembered_is_updated_in_place_and_follows_the_dtype_of_the_parameter():
    sgd, w = SGD(0.5, momentum=0.5), np.ones(2)
    for _ in range(2):
        sgd.step({"w": w}, {"w": np.ones(2)})
        remembered = sgd.state["velocity/w"]
        sgd.step({"w": w}, {"w": np.ones(2)})
        assert sgd.state["velocity/w"] is remembered
        assert remembered.dtype == w.dtype
        w = w.astype(np.float32)


def test_the_gradients_stay_as_they_are():
    for options in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}):
        grads = {"w": np.array([1.0, 2.0])}
        SGD(0.1, **options).step({"w": np.ones(2)}, grads)
        np.testing.assert_array_equal(grads["w"], [1, 2])


def test_the_rate_can_be_read_and_set():
    sgd = SGD(lr=0.5)
    assert sgd.learning_rate == sgd.lr == 0.5
    sgd.lr = 0.25
    assert sgd.learning_rate == 0.25
    sgd.learning_rate = PiecewiseConstantDecay([0], [0.1, 0.2])
    assert sgd.learning_rate == 0.1
    sgd.step({}, {})
    assert sgd.learning_rate == 0.2


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({}, r"gradients for \[\], but parameters \['b', 'w'\]"),
        ({"w": np.ones(2), "c": np.ones(1)}, r"gradients for \['c', 'w'\], but parameters \['b', 'w'\]"),
        ({"w": np.ones(2), "b": np.ones((1, 1))}, r"b has shape \(1,\), its gradient \(1, 1\)"),
        ({"w": np.ones(2), "b": np.ones(())}, r"b has shape \(1,\), its gradient \(\)"),
        ({"w": np.ones(2), "b": [1.0]}, r"b has shape \(1,\), its gradient is no array, but list"),
    ],
)
def test_gradients_that_do_not_fit_are_refused_before_anything_moves(grads, message):
    sgd, params = SGD(0.5), {"w": np.zeros(2), "b": np.zeros(1)}
    with pytest.raises(ValueError, match=message):
        sgd.step(params, grads)
    np.testing.assert_array_equal(params["w"], [0, 0])
    assert sgd.iterations == 0


def test_a_parameter_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"SGD\.step: parameters are arrays of float32 or float64, but w is list"):
        SGD(0.5).step({"w": [1.0, 2.0]}, {"w": np.ones(2)})


def test_a_parameter_that_cannot_be_written_is_refused_before_anything_moves():
    sgd, params = SGD(0.5), {"w": np.zeros(2), "b": np.zeros(2)}
    params["b"].flags.writeable = False
    with pytest.raises(ValueError, match=r"SGD\.step: b is read-only.* copy it"):
        sgd.step(params, {"w": np.ones(2), "b": np.ones(2)})
    np.testing.assert_array_equal(params["w"], [0, 0])
    assert sgd.iterations == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be finite and at least 0, got -0.1"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be finite and at least 0, got nan"),
        ({"learning_rate": math.inf}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": 10**400}, ValueError, "learning_rate must be finite, got an integer too large for a float"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
        ({"learning_rate": None}, TypeError, "learning_rate must be a number, got None"),
        ({"momentum": 1.5}, ValueError, "momentum must be finite and between 0 and 1, got 1.5"),
        ({"momentum": -0.9}, ValueError, "momentum must be finite and between 0 and 1, got -0.9"),
        ({"nesterov": True}, ValueError, "nesterov=True needs a momentum above 0"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be finite and at least 0, got -1"),
        ({"clipnorm": 1.0}, ValueError, "clipnorm=1.0 is not supported by tinynet, only None"),
        ({"decay": 1e-6}, ValueError, "decay=1e-06 is not supported.* Use learning_rate=ExponentialDecay"),
        ({"rate": 0.1}, TypeError, "SGD has no argument 'rate'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        SGD(**arguments)


@pytest.mark.parametrize(
    ("option", "default", "other"),
    [("use_ema", False, True), ("ema_momentum", 0.99, 0.9), ("decay", 0, 1), ("decay", 0.0, 1.0)],
)
def test_options_that_keras_alone_has_are_taken_at_their_defaults_only(option, default, other):
    assert not hasattr(SGD(**{option: default}), option)
    with pytest.raises(ValueError, match=f"{option}={other} is not supported by tinynet, only"):
        SGD(**{option: other})


def test_a_bad_rate_is_refused_when_it_is_set_too():
    sgd = SGD(0.1)
    with pytest.raises(ValueError, match="learning_rate must be finite and at least 0, got -1"):
        sgd.learning_rate = -1
    assert sgd.learning_rate == 0.1


def test_keras_defaults():
    sgd = SGD()
    assert (sgd.learning_rate, sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.01, 0, False, None)


@pytest.mark.parametrize("optimizer", ["sgd", "SGD", SGD, SGD(0.01)])
def test_an_optimizer_can_be_named_in_three_ways(optimizer):
    assert isinstance(get_optimizer(optimizer), SGD)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        ("nadam", ValueError, "optimizer='nadam' is not known; choose one of 'sgd', 'adam'"),
        (0.1, TypeError, r"one of 'sgd', 'adam' or an Optimizer of tinynet.optimizers, such as SGD\(...\), got 0.1"),
        (Optimizer, TypeError, "one of 'sgd', 'adam' or an Optimizer"),
    ],
)
def test_unknown_optimizers_are_refused(optimizer, error, message):
    with pytest.raises(error, match=message):
        get_optimizer(optimizer)


# Learning rates that change -----------------------------------------------------------------------------------------


def test_exponential_decay():
    schedule = ExponentialDecay(8.0, decay_steps=2, decay_rate=0.25)
    assert [schedule(step) for step in (0, 1, 2, 4)] == [8, 4, 2, 0.5]
    stairs = ExponentialDecay(8.0, decay_steps=2, decay_rate=0.25, staircase=True)
    assert [stairs(step) for step in (0, 1, 2, 3, 4)] == [8, 8, 2, 2, 0.5]


def test_steps_of_decay_need_not_be_whole():
    schedule = ExponentialDecay(8.0, decay_steps=60 / 32, decay_rate=0.25)
    assert schedule(15) == 8 * 0.25**8
    stairs = ExponentialDecay(8.0, decay_steps=1.5, decay_rate=0.25, staircase=True)
    assert [stairs(step) for step in (0, 1, 2, 3, 4, 5)] == [8, 8, 2, 0.5, 0.5, 0.125]
    tenths = ExponentialDecay(1.0, decay_steps=0.1, decay_rate=0.5, staircase=True)
    assert tenths(3) == 0.5**30, "as Keras rounds: the quotient first, and then down"
    cosine = CosineDecay(1.0, decay_steps=2.5, warmup_target=3.0, warmup_steps=1.5)
    expected = [1, 1 + 2 / 1.5, 1.5 * (1 + math.cos(0.2 * math.pi)), 0]
    assert [cosine(step) for step in (0, 1, 2, 4)] == pytest.approx(expected, abs=1e-15)
    assert vars(construct(describe(schedule), LearningRateSchedule)) == vars(schedule)


def test_cosine_decay():
    schedule = CosineDecay(2.0, decay_steps=4)
    expected = [2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0, 0]
    assert [schedule(step) for step in (0, 1, 2, 3, 4, 9)] == pytest.approx(expected, abs=1e-15)


def test_cosine_decay_down_to_a_share():
    schedule = CosineDecay(2.0, decay_steps=4, alpha=0.25)
    assert [schedule(step) for step in (0, 2, 4, 9)] == pytest.approx([2, 1.25, 0.5, 0.5])


def test_cosine_decay_after_a_warm_up():
    schedule = CosineDecay(1.0, decay_steps=4, warmup_target=3.0, warmup_steps=2)
    assert [schedule(step) for step in (0, 1, 2, 4, 6, 9)] == pytest.approx([1, 2, 3, 1.5, 0, 0], abs=1e-15)


def test_cosine_decay_from_another_rate_without_a_warm_up():
    schedule = CosineDecay(1.0, decay_steps=4, warmup_target=3.0)
    assert [schedule(step) for step in (0, 2, 4)] == pytest.approx([3, 1.5, 0], abs=1e-15)


def test_piecewise_constant_decay_changes_after_its_boundaries():
    schedule = PiecewiseConstantDecay([2, 5], [0.5, 0.25, 0.125])
    assert [schedule(step) for step in range(7)] == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_a_schedule_of_ones_own():
    class Halves(LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return 2.0**-step

    assert three_steps(learning_rate=Halves()) == [1 - 1, 0 - 0.5 * 2, -1 + 0.25 * 4]


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (-1.0, ValueError, "Fixed: the learning rate must be finite and at least 0, got -1"),
        (math.nan, ValueError, "Fixed: the learning rate must be finite and at least 0, got nan"),
        (None, TypeError, "Fixed: the learning rate must be a number, got None"),
        ("0.1", TypeError, "Fixed: the learning rate must be a number, got '0.1'"),
    ],
)
def test_a_schedule_of_ones_own_must_give_a_rate(rate, error, message):
    class Fixed(LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return rate

    with pytest.raises(error, match=message):
        three_steps(learning_rate=Fixed())


def test_a_rate_that_grows_for_ever_ends_in_words():
    with pytest.raises(ValueError, match="ExponentialDecay: with decay_rate=2, the rate is too large by step 2000"):
        ExponentialDecay(0.1, 1, 2.0)(2000)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ExponentialDecay(0.1, 0, 0.5), ValueError, "ExponentialDecay: decay_steps must be above 0, got 0"),
        (lambda: ExponentialDecay(0.1, -1.5, 0.5), ValueError, "decay_steps must be above 0, got -1.5"),
        (lambda: ExponentialDecay(0.1, math.nan, 0.5), ValueError, "decay_steps must be finite, got nan"),
        (lambda: ExponentialDecay(0.1, "all", 0.5), TypeError, "decay_steps must be a number, got 'all'"),
        (lambda: ExponentialDecay(-0.1, 1, 0.5), ValueError, "initial_learning_rate must be finite and at least 0"),
        (lambda: ExponentialDecay(0.1, 1, -0.5), ValueError, "decay_rate must be finite and at least 0, got -0.5"),
        (lambda: CosineDecay(-0.1, 10), ValueError, "initial_learning_rate must be finite and at least 0, got -0.1"),
        (lambda: CosineDecay(0.1, 10, alpha=2), ValueError, "alpha must be finite and between 0 and 1, got 2"),
        (lambda: CosineDecay(0.1, 0.0), ValueError, "CosineDecay: decay_steps must be above 0, got 0"),
        (lambda: CosineDecay(0.1, 10, warmup_steps=3), ValueError, "warmup_steps=3 needs warmup_target"),
        (lambda: CosineDecay(0.1, 10, warmup_steps=-1), ValueError, "warmup_steps must be finite and at least 0, got"),
        (lambda: CosineDecay(0.1, 10, warmup_target=-1), ValueError, "warmup_target must be finite and at least 0"),
        (lambda: PiecewiseConstantDecay([1], [0.1]), ValueError, "one more value than boundaries, got 1 values and 1"),
        (
            lambda: PiecewiseConstantDecay([1], [1, 2, 3]),
            ValueError,
            "one more value than boundaries, got 3 values and 1",
        ),
        (lambda: PiecewiseConstantDecay([-1], [1, 2]), ValueError, "boundaries must be at least 0, got -1"),
        (lambda: PiecewiseConstantDecay([1, 1, 2], [1, 2, 3, 4]), ValueError, r"must grow .*got \[1, 1, 2\]"),
        (lambda: PiecewiseConstantDecay([2, 2], [1, 2, 3]), ValueError, r"boundaries must grow .*got \[2, 2\]"),
        (lambda: PiecewiseConstantDecay([3, 2], [1, 2, 3]), ValueError, r"boundaries must grow .*got \[3, 2\]"),
        (lambda: PiecewiseConstantDecay([1], [0.1, -1]), ValueError, "values must be finite and at least 0, got -1"),
        (lambda: schedules.PolynomialDecay, ImportError, "tinynet has no PolynomialDecay in tinynet.optimizers.sch"),
    ],
)
def test_bad_schedules_are_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
