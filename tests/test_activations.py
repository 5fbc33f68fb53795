"""ReLU, softmax and the layers that name them, by hand."""

import numpy as np
import pytest

from tinynet.layers import (
    Activation,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    convolution,
    products,
)


def built(layer: Layer, *shape: int) -> Layer:
    layer.build(shape, np.random.default_rng(0))
    return layer


def test_relu_keeps_what_is_positive():
    relu = built(ReLU(), 5)
    y, cache = relu.forward(np.array([[-2.0, -0.0, 0.0, 1e-300, 3.0]]))
    np.testing.assert_array_equal(y, [[0, 0, 0, 1e-300, 3]])
    dx, grads = relu.backward(np.array([[10.0, 20.0, 30.0, 40.0, -50.0]]), cache)
    np.testing.assert_array_equal(dx, [[0, 0, 0, 40, -50]])  # at 0 itself the gradient is 0
    assert grads == {}


def test_relu_of_nan_and_infinity():
    relu = built(ReLU(), 3)
    y, cache = relu.forward(np.array([[np.nan, np.inf, -np.inf]]))
    np.testing.assert_array_equal(y, [[np.nan, np.inf, 0]])
    dx, _ = relu.backward(np.array([[1.0, np.nan, np.nan]]), cache)
    np.testing.assert_array_equal(dx, [[0, np.nan, 0]])


@pytest.mark.parametrize("by_kernel", [True, False])
@pytest.mark.parametrize("n", [1, 3, 20])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda **options: Dense(19, **options), (37,)),
        (lambda **options: Conv2D(6, (3, 5), **options), (9, 11, 1)),
        (lambda **options: Conv2D(18, 3, strides=(1, 2), padding="same", **options), (6, 7, 3)),
    ],
)
def test_relu_inside_a_layer_is_relu_after_it_bit_for_bit(monkeypatch, make, shape, n, by_kernel):
    """Inside, the kernels that compute the weighted sums do it."""
    if not by_kernel:
        monkeypatch.setattr(products, "COLUMN_BYTES", 0)
        monkeypatch.setattr(convolution, "WEIGHT_BYTES", 0)
    rng = np.random.default_rng(0)
    inside, before = make(activation="relu"), make()
    after = built(ReLU(), *before.build(shape, rng))
    assert inside.build(shape, rng) == after.output_shape
    inside.set_weights([rng.standard_normal(param.shape) for param in inside.params.values()])
    before.set_weights(inside.get_weights())
    x = rng.standard_normal((n, *shape)).astype(np.float32)
    if n > 1:
        x[0].reshape(-1)[:3] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        y, cache = inside.forward(x)
        sums, cache_before = before.forward(x)
        expected, cache_after = after.forward(sums)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        dx, grads = inside.backward(dy, cache)
        dsums, _ = after.backward(dy, cache_after)
        expected_dx, expected_grads = before.backward(dsums, cache_before)
    assert np.isnan(y).any() == (n > 1)
    assert 0.2 < (y == 0).mean() < 0.7
    for got, wanted in [(y, expected), (dx, expected_dx), *((grads[key], expected_grads[key]) for key in grads)]:
        np.testing.assert_array_equal(got, wanted)
        finite = np.isfinite(wanted)
        assert got[finite].tobytes() == wanted[finite].tobytes()


def test_tanh():
    """tanh(log 2) = (2 - 1/2) / (2 + 1/2) = 3/5, where the slope is 1 - 9/25."""
    tanh = built(Tanh(), 4)
    y, cache = tanh.forward(np.array([[0.0, np.log(2), -np.log(2), np.nan]]))
    np.testing.assert_allclose(y, [[0, 0.6, -0.6, np.nan]], rtol=1e-15)
    dx, grads = tanh.backward(np.array([[3.0, 25.0, 50.0, 1.0]]), cache)
    np.testing.assert_allclose(dx, [[3, 16, 32, np.nan]], rtol=1e-14)
    assert grads == {}


def test_sigmoid():
    """sigmoid(log 3) = 3/4 and sigmoid(-log 3) = 1/4, where the slope is 3/16 both times."""
    sigmoid = built(Sigmoid(), 4)
    y, cache = sigmoid.forward(np.array([[0.0, np.log(3), -np.log(3), np.nan]]))
    np.testing.assert_allclose(y, [[0.5, 0.75, 0.25, np.nan]], rtol=1e-15)
    dx, grads = sigmoid.backward(np.array([[4.0, 16.0, 32.0, 1.0]]), cache)
    np.testing.assert_allclose(dx, [[1, 3, 6, np.nan]], rtol=1e-14)
    assert grads == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "low"), [(Tanh, -1), (Sigmoid, 0)])
def test_curves_far_out_are_flat_and_never_overflow(kind, low, dtype):
    layer = built(kind(), 4)
    with np.errstate(over="raise", invalid="raise"):
        y, cache = layer.forward(np.array([[1e4, -1e4, np.inf, -np.inf]], dtype))
        dx, _ = layer.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(y, [[1, low, 1, low]])
    np.testing.assert_array_equal(dx, [[0, 0, 0, 0]])


def test_sigmoid_far_below_zero_keeps_its_digits():
    y, _ = built(Sigmoid(), 1).forward(np.array([[-50.0]], np.float32))
    np.testing.assert_allclose(y, np.exp([[-50.0]]), rtol=1e-6)


def test_softmax_is_each_exponential_over_their_sum():
    softmax = built(Softmax(), 3)
    y, _ = softmax.forward(np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    np.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8], [3 / 8, 3 / 8, 2 / 8]], rtol=1e-15)


def test_softmax_gradient():
    """With y = (1/4, 3/4): dx_i = y_i * (dy_i - (dy . y)), and dy . y = 1/4 * 8 = 2 for dy = (8, 0)."""
    softmax = built(Softmax(), 2)
    _, cache = softmax.forward(np.log([[1.0, 3.0]]))
    dx, _ = softmax.backward(np.array([[8.0, 0.0]]), cache)
    np.testing.assert_allclose(dx, [[1 / 4 * (8 - 2), 3 / 4 * (0 - 2)]], rtol=1e-14)


def test_softmax_acts_on_the_last_axis():
    softmax = built(Softmax(), 2, 2)
    y, _ = softmax.forward(np.log([[[1.0, 3.0], [1.0, 1.0]]]))
    np.testing.assert_allclose(y, [[[0.25, 0.75], [0.5, 0.5]]], rtol=1e-15)


def test_linear_does_nothing():
    linear = built(Linear(), 2)
    y, cache = linear.forward(np.array([[-1.0, 2.0]]))
    np.testing.assert_array_equal(y, [[-1, 2]])
    np.testing.assert_array_equal(linear.backward(np.array([[3.0, -4.0]]), cache)[0], [[3, -4]])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("relu", ReLU),
        ("tanh", Tanh),
        ("sigmoid", Sigmoid),
        ("softmax", Softmax),
        ("linear", Linear),
        (None, Linear),
    ],
)
def test_activation_makes_the_layer_of_that_name(name, kind):
    activation, layer = built(Activation(name), 3), built(kind(), 3)
    x, dy = np.array([[-1.0, 0.5, 2.0]]), np.array([[1.0, 2.0, 3.0]])
    (y, cache), (expected_y, expected_cache) = activation.forward(x), layer.forward(x)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(activation.backward(dy, cache)[0], layer.backward(dy, expected_cache)[0])
    assert type(activation.function) is kind


def test_one_activation_layer_given_to_two_layers_is_not_shared():
    relu = ReLU()
    first, second = Dense(3, activation=relu), Dense(5, activation=relu)
    built(first, 2)
    built(second, 3)
    assert second.forward(np.zeros((1, 3)))[0].shape == (1, 5)


def test_flatten_lays_a_sample_out_row_by_row_and_back():
    flatten = Flatten()
    assert flatten.build((2, 3, 2), np.random.default_rng(0)) == (12,)
    x = np.arange(24.0).reshape(2, 2, 3, 2)
    y, cache = flatten.forward(x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 12))
    np.testing.assert_array_equal(flatten.backward(y, cache)[0], x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Activation("rely"), ValueError, "activation='rely' is not known; choose one of 'relu'"),
        (lambda: Activation("RELU"), ValueError, "activation='RELU' is not known"),
        (lambda: Activation(max), TypeError, "activation must be one of 'relu'.* got <built-in function max>"),
        (lambda: Activation(ReLU), TypeError, "activation must be one of 'relu'"),
        (lambda: Activation(Dense(3)), TypeError, "activation must be one of 'relu'"),
        (lambda: Activation(Input((3,))), TypeError, r"activation must be one of .* got <.*Input"),
        (lambda: Softmax(axis=0), ValueError, "axis=0 is not supported by tinynet, only -1"),
        (lambda: Softmax(axis=1), ValueError, "axis=1 is not supported by tinynet, only -1"),
        (lambda: ReLU(negative_slope=0.1), ValueError, "negative_slope=0.1 is not supported by tinynet, only"),
        (lambda: ReLU(max_value=6), ValueError, "max_value=6 is not supported by tinynet, only None"),
        (lambda: ReLU(slope=1), TypeError, "ReLU has no argument 'slope'"),
        (lambda: Flatten(order="F"), TypeError, "Flatten has no argument 'order'"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("option", ["negative_slope", "threshold"])
def test_keras_arguments_of_relu_are_taken_where_they_say_what_is_done_anyway(option):
    for value in (None, 0, 0.0):
        assert type(ReLU(**{option: value, "max_value": None})) is ReLU
    for value in (1, -1, 1.0, -1.0):
        with pytest.raises(ValueError, match=f"{option}={value} is not supported by tinynet, only None or 0 or 0.0"):
            ReLU(**{option: value})


def test_an_activation_derived_from_relu_is_not_taken_for_it():
    class Leaky(ReLU):
        def __init__(self, slope=0.1):
            super().__init__()
            self.slope = slope

        def forward(self, x):
            x = self.check_input(x)
            return np.where(x > 0, x, x * self.slope), x

    leaky = Leaky(0.5)
    for units in (2, 3):  # one activation may be given to several layers
        dense = Dense(units, activation=leaky, kernel_initializer="ones")
        dense.build((2,), np.random.default_rng(0))
        np.testing.assert_array_equal(dense.forward(np.array([[1.0, -3.0]]))[0], [[-1] * units])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_of_large_numbers_is_0_or_1_whatever_numpy_is_told_of_underflow(dtype):
    x = np.array([[-1000.0, -100.0, 0.0, 100.0, 1000.0]], dtype)
    layer = Sigmoid()
    layer.build((5,), np.random.default_rng(0))
    with np.errstate(all="raise"):
        y, cache = layer.forward(x)
        layer.backward(np.ones_like(y), cache)
    np.testing.assert_allclose(y, [[0, 0, 0.5, 1, 1]], atol=1e-30)
