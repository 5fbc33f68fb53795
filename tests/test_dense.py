"""Dense: y = x @ W + b, by hand."""

import numpy as np
import pytest

from tinynet.initializers import Constant
from tinynet.layers import Conv2D, Dense, Flatten, Input, ReLU, Tanh, outer_products
from tinynet.layers.outer_products import OuterProducts
from tinynet.layers.weighted import Weighted
from tinynet.models import Sequential

X = np.array([[1.0, 2.0], [3.0, 4.0]])
W = np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])
B = np.array([10.0, 20.0, 30.0])


def dense(**options) -> Dense:
    """Two inputs, three outputs, with the weights above, in float64."""
    layer = Dense(3, **options)
    assert layer.build((2,), np.random.default_rng(0)) == (3,)
    layer.set_weights([W, B] if layer.use_bias else [W])
    return layer.astype(np.float64)


def test_every_output_is_a_weighted_sum_of_all_inputs_plus_a_bias():
    y, _ = dense().forward(X)
    np.testing.assert_array_equal(y, [[1 + 4 + 10, 2 + 20, -1 + 30], [3 + 8 + 10, 4 + 20, -3 + 30]])


def test_without_a_bias():
    layer = dense(use_bias=False)
    y, cache = layer.forward(X)
    np.testing.assert_array_equal(y, [[5, 2, -1], [11, 4, -3]])
    _, grads = layer.backward(np.ones((2, 3)), cache)
    assert layer.params.keys() == grads.keys() == {"W"}


def test_gradients():
    layer = dense()
    _, cache = layer.forward(X)
    dx, grads = layer.backward(np.array([[1.0, 0.0, 0.0], [0.0, 10.0, 100.0]]), cache)
    np.testing.assert_array_equal(dx, [[1, 2], [0 - 100, 10 + 0]])  # each output's gradient, times its weights
    np.testing.assert_array_equal(grads["W"], [[1, 30, 300], [2, 40, 400]])  # each output's gradient, times its inputs
    np.testing.assert_array_equal(grads["b"], [1, 10, 100])  # summed over the batch


@pytest.mark.parametrize(("large", "later"), [(6, True), (7, False)])
def test_the_gradient_of_many_weights_is_added_up_later(monkeypatch, large, later):
    monkeypatch.setattr(outer_products, "LARGE", large)
    layer, dy = dense(), np.array([[1.0, 0.0, 0.0], [0.0, 10.0, 100.0]])
    _, cache = layer.forward(X)
    dx, grads = layer.backward_unsummed(dy, cache)
    assert isinstance(grads["W"], OuterProducts) == later
    dW = grads["W"].sum() if later else grads["W"]
    np.testing.assert_array_equal(dW, [[1, 30, 300], [2, 40, 400]])
    np.testing.assert_array_equal(grads["b"], [1, 10, 100])
    np.testing.assert_array_equal(dx, [[1, 2], [-100, 10]])
    assert layer.backward_unsummed(dy, cache, need_dx=False)[0] is None


@pytest.mark.parametrize("activation", ["relu", ReLU()])
def test_an_activation_acts_on_the_weighted_sums_and_on_their_gradient(activation):
    layer = dense(activation=activation, use_bias=False)
    y, cache = layer.forward(X)
    np.testing.assert_array_equal(y, [[5, 2, 0], [11, 4, 0]])
    dx, grads = layer.backward(np.ones((2, 3)), cache)
    np.testing.assert_array_equal(dx, [[1, 3], [1, 3]])
    np.testing.assert_array_equal(grads["W"], [[4, 4, 0], [6, 6, 0]])


def test_a_softmax_makes_probabilities_of_the_weighted_sums():
    layer = dense(activation="softmax")
    layer.set_weights([np.zeros((2, 3)), np.log([1.0, 2.0, 5.0])])
    np.testing.assert_allclose(layer.forward(X)[0], [[1 / 8, 2 / 8, 5 / 8]] * 2, rtol=1e-15)


def test_kernels_start_glorot_uniform_and_biases_at_zero():
    layer = Dense(50)
    layer.build((100,), np.random.default_rng(0))
    assert layer.params["W"].shape == (100, 50)
    limit = np.sqrt(6 / 150)
    assert 0.99 * limit < np.abs(layer.params["W"]).max() <= limit
    np.testing.assert_array_equal(layer.params["b"], np.zeros(50, np.float32))
    assert layer.count_params() == 100 * 50 + 50


def test_other_initializers():
    layer = Dense(2, kernel_initializer=Constant(3.0), bias_initializer="ones")
    layer.build((2,), np.random.default_rng(0))
    np.testing.assert_array_equal(layer.params["W"], [[3, 3], [3, 3]])
    np.testing.assert_array_equal(layer.params["b"], [1, 1])


def test_nan_shows_in_its_own_row_and_in_no_other():
    y, _ = dense().forward(np.array([[np.nan, 1.0], [1.0, 1.0]]))
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(y[1], [13, 21, 29])


def test_images_are_refused_with_a_hint_at_flatten():
    with pytest.raises(ValueError, match=r"Dense takes vectors, got samples of shape \(28, 28, 1\); add a Flatten\(\)"):
        Dense(10).build((28, 28, 1), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 0}, ValueError, "units must be at least 1, got 0"),
        ({"units": -3}, ValueError, "units must be at least 1, got -3"),
        ({"units": 2.0}, TypeError, r"units must be an integer, got 2.0 \(float\)"),
        ({"units": True}, TypeError, "units must be an integer, got True"),
        ({"units": 2, "activation": "tansig"}, ValueError, "activation='tansig' is not known; choose one of .*'relu'"),
        ({"units": 2, "activation": 7}, TypeError, "activation must be one of .*'relu'.* got 7"),
        ({"units": 2, "kernel_initializer": "gloro"}, ValueError, "kernel_initializer='gloro' is not known.*'glorot_u"),
        (
            {"units": 2, "bias_initializer": 0.0},
            TypeError,
            "bias_initializer must be a name or an Initializer, got 0.0",
        ),
        ({"units": 2, "unit": 3}, TypeError, "Dense has no argument 'unit'"),
        ({"units": 2, "kernel_constraint": "non_neg"}, ValueError, "Dense: kernel_constraint='non_neg' is .*only None"),
        ({"units": 2, "activity_regularizer": "l2"}, ValueError, "Dense: activity_regularizer='l2' is not .*only None"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Dense(**arguments)


def test_keras_arguments_that_say_what_is_done_anyway_are_taken():
    keras_defaults = ("bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    layer = Dense(2, **dict.fromkeys(keras_defaults))
    assert not vars(layer).keys() & set(keras_defaults)


def test_the_activation_can_be_set_to_a_name_before_and_after_the_layer_is_built():
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    first, last = Dense(6), Dense(3, activation="softmax")
    first.activation = "sigmoid"
    model = Sequential([Input((4,)), first, last], seed=0)
    sums = model.predict(x)
    expected = Sequential([Input((4,)), Dense(6, "tanh"), Dense(3)], seed=0)
    first.activation, last.activation = Tanh(), None
    assert not np.allclose(model.predict(x), sums)
    np.testing.assert_array_equal(model.predict(x), expected.predict(x))
    np.testing.assert_array_equal(model.forward(x)[0], expected.forward(x)[0])


def test_a_layer_of_ones_own_may_make_its_weights_itself():
    class Halves(Dense):
        def make(self, input_shape, rng):
            self.params["W"] = np.full((*input_shape, self.units), 0.5, np.float32)
            self.params["b"] = np.zeros(self.units, np.float32)
            return self.activation.build((self.units,), rng)

    np.testing.assert_array_equal(Sequential([Input((4,)), Halves(3)]).predict(np.ones((2, 4))), np.full((2, 3), 2))


@pytest.mark.parametrize(("name", "shape"), [("b", (1,)), ("b", (4,)), ("W", (3, 4)), ("W", (4, 3, 1))])
@pytest.mark.parametrize("n", [1, 9])
def test_parameters_of_another_shape_are_refused_before_a_kernel_reads_beyond_them(name, shape, n):
    model = Sequential([Input((4,)), Dense(3)])
    x = np.zeros((n, 4), np.float32)
    _, cache = model.layers[0].forward(x)
    model.layers[0].params[name] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"was built for W of shape \(4, 3\) and b of shape \(3,\); now there are"):
        model.predict(x)
    with pytest.raises(ValueError, match="was built for W of shape"):
        model.layers[0].backward(np.zeros((n, 3), np.float32), cache)


def test_relu_is_a_part_of_the_weighted_sums_and_another_activation_a_step_of_its_own():
    counts = {"relu": 1, "linear": 1, "softmax": 2}
    for activation, count in counts.items():
        layer = Dense(3, activation)
        layer.build((4,), np.random.default_rng(0))
        assert len(layer.kernel_steps()) == count


def test_kernels_are_given_the_weights_themselves_or_copies_that_lie_as_they_need():
    layer = Dense(3)
    layer.build((4,), np.random.default_rng(0))
    given = layer.params["W"]
    assert layer.weights_as(np.dtype(np.float32))[0] is given
    bytes_behind_one = np.frombuffer(b"x" + given.tobytes(), np.uint8)[1:]
    for array in (bytes_behind_one.view(np.float32).reshape(4, 3), np.asfortranarray(given)):
        layer.params["W"] = array
        W, _ = layer.weights_as(np.dtype(np.float32))
        assert W.flags.aligned
        assert W.flags.c_contiguous
        np.testing.assert_array_equal(W, given)


def test_a_layer_with_weights_must_say_what_shape_these_have():
    class Shapeless(Weighted):
        pass

    options = {"activation": None, "use_bias": True, "kernel_regularizer": None, "name": None, "input_shape": None}
    with pytest.raises(NotImplementedError, match="Shapeless does not define kernel_shape"):
        Shapeless(**options, kernel_initializer="zeros", bias_initializer="zeros").kernel_shape  # noqa: B018


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("W", np.ones((4, 3), int), "a int64 array"),
        ("W", np.ones((4, 3), np.float16), "a float16 array"),
        ("b", [0.0, 0.0, 0.0], "list"),
        ("b", None, "NoneType"),
    ],
)
def test_what_is_no_array_of_weights_is_refused_and_not_the_samples(name, value, kind):
    """It may have been put there by hand, or taken away."""
    model = Sequential([Input((4,)), Dense(3)], seed=0)
    model.predict(np.ones((2, 4)))
    if value is None:
        del model.layers[0].params[name]
    else:
        model.layers[0].params[name] = value
    for n in (1, 2):
        with pytest.raises(TypeError, match=rf"Dense 'dense': the parameter {name} must be a float32 .* got {kind};"):
            model.predict(np.ones((n, 4)))


@pytest.mark.parametrize("layer", [Flatten(), Dense(3), Conv2D(2, 1)])
def test_a_batch_of_no_samples_goes_through_and_back(layer):
    layer.build((2, 2, 1) if not isinstance(layer, Dense) else (4,), np.random.default_rng(0))
    x = np.empty((0, *layer.input_shape), np.float32)
    y, cache = layer.forward(x)
    assert y.shape == (0, *layer.output_shape)
    dx, grads = layer.backward(y, cache)
    assert dx.shape == x.shape
    assert all((grad == 0).all() for grad in grads.values())


def test_keras_lists_weights_under_a_name_that_is_no_method_here():
    assert not hasattr(Dense(3), "weights")
