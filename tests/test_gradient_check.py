"""The gradient check is right about right layers, catches wrong ones, and is not fooled by kinks."""

from typing import Any

import numpy as np
import pytest

from tinynet.gradient_check import GradientError, check_gradients
from tinynet.layers import Conv2D, Dense, Layer, MaxPooling2D, ReLU
from tinynet.models import Sequential


class Bilinear:
    """y = scale * x @ W, without Layer as a base: any object with the four names can be checked."""

    def __init__(self, units: int = 3):
        self.units = units
        self.params: dict[str, np.ndarray] = {}

    def build(self, input_shape, rng):
        self.params = {
            "W": rng.standard_normal((input_shape[0], self.units)).astype(np.float32),
            "scale": np.array([1.5]),
        }
        return (self.units,)

    def forward(self, x):
        return self.params["scale"] * (x @ self.params["W"]), x

    def backward(self, dy, cache):
        x, W, scale = cache, self.params["W"], self.params["scale"]
        return scale * dy @ W.T, {"W": scale * x.T @ dy, "scale": np.array([(dy * (x @ W)).sum()])}


class Wrong(Bilinear):
    """The same with a mistake in its backward pass."""

    def __init__(self, spoil, units: int = 3):
        super().__init__(units)
        self.spoil = spoil

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return self.spoil(dx, grads)


def test_parameters_may_be_there_from_build_on_only():
    layer = Bilinear()
    del layer.params
    assert check_gradients(layer, (4,)).ok


def test_any_object_with_the_four_names_can_be_checked():
    layer = Bilinear()
    report = check_gradients(layer, (4,))
    assert report.ok
    assert [(array.name, array.shape, array.checked, array.skipped) for array in report.arrays] == [
        ("x", (3, 4), 12, 0),
        ("W", (4, 3), 12, 0),
        ("scale", (1,), 1, 0),
    ]
    assert report.worst.error < 1e-9
    assert layer.params == {}, "the layer itself is not built"


def change(grads: dict[str, np.ndarray], key: str, index: Any, factor: float) -> dict[str, np.ndarray]:
    grads[key][index] *= factor
    return grads


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda dx, grads: (-dx, grads), {"x"}),
        (lambda dx, grads: (dx / 3, grads), {"x"}),
        (lambda dx, grads: (dx, {**grads, "W": grads["W"].T}), {"W"}),
        (lambda dx, grads: (dx, {**grads, "W": grads["W"] / 3}), {"W"}),
        (lambda dx, grads: (dx, {**grads, "W": 0 * grads["W"]}), {"W"}),
        (lambda dx, grads: (dx, {**grads, "scale": grads["scale"] + 1e-4}), {"scale"}),
        (lambda dx, grads: (dx, change(grads, "W", (2, 1), 1.001)), {"W"}),
        (lambda dx, grads: (dx, change(grads, "W", (2, 1), np.nan)), {"W"}),
        (lambda dx, grads: (2 * dx, {**grads, "scale": -grads["scale"]}), {"x", "scale"}),
    ],
    ids=["sign", "mean of x", "transposed", "mean of W", "zero", "a little", "one entry", "NaN", "two"],
)
def test_mistakes_are_found_where_they_are(spoil, wrong):
    report = check_gradients(Wrong(spoil), (3,))
    assert not report.ok
    assert {array.name for array in report.arrays if array.error > report.tolerance} == wrong
    with pytest.raises(GradientError) as caught:
        check_gradients(Wrong(spoil), (3,), raise_error=True)
    assert str(caught.value) == str(report)
    assert caught.value.report.worst.name in wrong


def test_the_report_says_what_and_where():
    report = check_gradients(Wrong(lambda dx, grads: (dx, change(grads, "W", (2, 1), 2))), (3,))
    assert (report.worst.name, report.worst.where) == ("W", "[2, 1]")
    assert report.worst.from_backward == pytest.approx(2 * report.worst.from_differences)
    first, _, W, _ = str(report).splitlines()
    assert first == f"Gradients of Wrong are WRONG: relative error {report.worst.error:.1e} at worst"
    assert W.startswith(f"  W (3, 3): 9 derivatives checked; worst error {report.worst.error:.1e} at [2, 1]: backward ")
    assert check_gradients(Dense(3, name="head"), (2,)).layer == "Dense 'head'"


def test_one_wrong_entry_of_a_large_array_is_found():
    report = check_gradients(Wrong(lambda dx, grads: (dx, change(grads, "W", (17, 5), 1.5)), units=40), (30,))
    W = report.arrays[1]
    assert not report.ok
    assert (W.name, W.checked) == ("W", 30)
    assert W.error > 1e-4
    assert W.where.startswith("direction ")
    assert check_gradients(Bilinear(40), (30,)).ok


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_large_and_small_numbers_raise_no_false_alarm(scale):
    x = scale * np.random.default_rng(0).standard_normal((3, 4))
    check_gradients(Bilinear(), x=x, raise_error=True)
    check_gradients(Dense(4, activation="softmax"), x=x, raise_error=True)
    wrong = Wrong(lambda dx, grads: (1.001 * dx, grads))
    assert not check_gradients(wrong, x=x).ok


def test_a_gradient_that_is_zero_is_no_reason_for_alarm():
    report = check_gradients(Dense(1, activation="softmax"), (4,))  # one class has probability 1, always
    assert report.ok
    assert report.worst.error < 1e-6


def test_a_kink_nearby_is_stepped_around():
    report = check_gradients(ReLU(), x=np.array([[1e-6, -1e-6, 2.0]]), raise_error=True)
    assert report.arrays[0].skipped == 0


def test_a_kink_on_the_spot_is_skipped_and_counted():
    report = check_gradients(ReLU(), x=np.array([[0.0, 1.0, -1.0, 0.0]]), raise_error=True)
    assert (report.arrays[0].checked, report.arrays[0].skipped) == (2, 2)
    assert "2 derivatives checked, 2 skipped (no derivative at a kink or tie)" in str(report)
    tie = check_gradients(MaxPooling2D(2), x=np.array([5.0, 5.0, 1.0, 2.0]).reshape(1, 2, 2, 1), raise_error=True)
    assert (tie.arrays[0].checked, tie.arrays[0].skipped) == (2, 2)


def test_a_kink_is_no_cover_for_mistakes_elsewhere():
    class Leaky(ReLU):
        def backward(self, dy, cache, *, need_dx=True):
            return np.where(cache > 0, dy, 0.1 * dy), {}

    assert not check_gradients(Leaky(), x=np.array([[0.0, -1.0]])).ok


def test_where_nothing_can_be_checked_nothing_is_claimed():
    report = check_gradients(ReLU(), x=np.zeros((2, 3)))
    assert (report.verdict, report.ok) == ("unknown", False)
    assert "Gradients of ReLU are unknown" in str(report)
    with pytest.raises(GradientError):
        check_gradients(ReLU(), x=np.zeros((2, 3)), raise_error=True)


def test_a_network_is_checked_as_it_is_and_stays_so():
    network = Sequential([Conv2D(3, 3, activation="relu", input_shape=(6, 5, 2)), MaxPooling2D(2)], seed=0)
    before = network.get_weights()
    report = check_gradients(network, batch_size=2, raise_error=True)
    assert [array.name for array in report.arrays] == ["x", "conv2d/W", "conv2d/b"]
    assert report.arrays[0].shape == (2, 6, 5, 2)
    for weight, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_seed_repeats():
    assert str(check_gradients(Bilinear(), (4,), seed=1)) == str(check_gradients(Bilinear(), (4,), seed=1))
    assert str(check_gradients(Bilinear(), (4,), seed=1)) != str(check_gradients(Bilinear(), (4,), seed=2))


class Blurred(Layer):
    """y = x, and in training x * noise; its backward pass there is right for the given factor of 1."""

    random = True

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def make(self, input_shape, rng):
        return input_shape

    def forward(self, x, rng=None):
        noise = np.ones_like(x) if rng is None else rng.random(x.shape)
        return x * noise, (noise, rng is not None)

    def backward(self, dy, cache, *, need_dx=True):
        noise, in_training = cache
        return dy * noise * (self.factor if in_training else 1), {}


def test_a_random_layer_is_checked_as_in_training():
    assert check_gradients(Blurred(1.0), (4,)).ok
    assert not check_gradients(Blurred(7.0), (4,)).ok
    assert not check_gradients(Sequential([Dense(2), Blurred(7.0)]), (4,)).ok


class Noisy(Layer):
    def make(self, input_shape, rng):
        return input_shape

    def forward(self, x):
        return x + np.random.default_rng().random(x.shape), None

    def backward(self, dy, cache, *, need_dx=True):
        return dy, {}


class Cacheless(Noisy):
    def forward(self, x):
        return x


class InPlace(Layer):
    """Changes one of the arrays that are not its own to change; its numbers are right."""

    def __init__(self, changed):
        super().__init__()
        self.changed = changed

    def make(self, input_shape, rng):
        self.params["scale"] = np.ones(input_shape)
        return input_shape

    def forward(self, x):
        x_before = x.copy()
        if self.changed == "x":
            x *= 2
            return x, x_before
        return 2 * x * self.params["scale"], x_before

    def backward(self, dy, cache, *, need_dx=True):
        found = 2 * dy * self.params["scale"], {"scale": (2 * dy * cache).sum(axis=0)}
        if self.changed == "dy":
            dy *= 2
        if self.changed == "scale":
            self.params["scale"] -= 0.1
        return found


class Float32(Dense):
    def forward(self, x):
        y, cache = super().forward(x)
        return y.astype(np.float32), cache


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (lambda: check_gradients(Dense(3)), ValueError, "give the input_shape of Dense, such as check_gradients"),
        (lambda: check_gradients(Dense(3), 4), TypeError, "input_shape must be a tuple"),
        (lambda: check_gradients(Dense(3), (4,), batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: check_gradients(Dense(3), (4,), tolerance="no"), TypeError, "tolerance must be a number, got 'no'"),
        (
            lambda: check_gradients(Dense(3), (4,), x=[[1.0, 2.0]]),
            ValueError,
            r"x has shape \(1, 2\), but input_shape=\(4,\); leave one out",
        ),
        (lambda: check_gradients(Dense(3), x=np.empty((0, 2))), ValueError, r"x is empty, its shape is \(0, 2\)"),
        (lambda: check_gradients(Noisy(), (4,)), ValueError, "forward gives another output for the same input"),
        (lambda: check_gradients(InPlace("x"), (4,)), ValueError, r"forward changes x in place, .* make a new array"),
        (lambda: check_gradients(Float32(3), (4,)), ValueError, "forward gives float32 for x of float64"),
        (lambda: check_gradients(InPlace("dy"), (4,)), ValueError, "backward changes dy in place"),
        (lambda: check_gradients(InPlace("scale"), (4,)), ValueError, r"backward changes params\['scale'\] in place"),
        (
            lambda: check_gradients(Wrong(lambda dx, grads: (dx, {"W": grads["W"]})), (3,)),
            ValueError,
            r"backward gave gradients of \['W'\], but its params are \['W', 'scale'\]",
        ),
        (
            lambda: check_gradients(Wrong(lambda dx, grads: (dx, {**grads, "scale": np.zeros(())})), (3,)),
            ValueError,
            r"scale has shape \(1,\), so its gradient must be .* backward gave an array of shape \(\)",
        ),
        (
            lambda: check_gradients(Wrong(lambda dx, grads: (None, grads)), (3,)),
            ValueError,
            r"x has shape \(3, 3\), so its gradient must be an array of this shape; backward gave None",
        ),
        (
            lambda: check_gradients(Wrong(lambda dx, grads: dx), (3,)),
            TypeError,
            r"Wrong.*: backward must return dx and the gradients .* got an array of shape \(3, 3\) and dtype float64",
        ),
        (lambda: check_gradients(Dense, (4,)), TypeError, "check_gradients takes a layer, .* got the class Dense"),
        (lambda: check_gradients("dense", (4,)), TypeError, "check_gradients takes a layer, .* got str"),
        (lambda: check_gradients(Cacheless(), (2,)), TypeError, "Cacheless: forward must return the output and the"),
    ],
)
def test_what_cannot_be_compared_is_refused(check, error, message):
    with pytest.raises(error, match=message):
        check()
