"""Layers of one's own: three methods, checked and trained like any other."""

import os

import numpy as np
import pytest

import tinynet as keras
from tinynet.gradient_check import check_gradients
from tinynet.initializers import Initializer
from tinynet.layers import Dense, Flatten, Input, Layer
from tinynet.models import Sequential
from tinynet.optimizers.schedules import LearningRateSchedule


class Scale(Layer):
    """y = scale * x, one factor for each entry of a sample."""

    def make(self, input_shape, rng):
        self.params["scale"] = rng.uniform(0.5, 1.5, input_shape).astype(np.float32)
        return input_shape

    def forward(self, x):
        x = self.check_input(x)
        return self.params["scale"].astype(x.dtype) * x, x

    def backward(self, dy, cache, *, need_dx=True):
        x = cache
        dscale = (dy * x).sum(axis=0)
        return dy * self.params["scale"].astype(x.dtype), self.grads_of(scale=dscale)


def test_a_layer_of_ones_own_is_checked_in_a_line():
    check_gradients(Scale(), (2, 3), raise_error=True)


def test_a_layer_of_ones_own_trains():
    x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])
    model = Sequential([Input((4,)), Scale(), Dense(3, activation="softmax")], seed=0)
    check_gradients(model, raise_error=True)
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", ["accuracy"])
    before = model.layers[0].params["scale"].copy()
    model.fit(x, y, epochs=50, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] == 1
    assert (model.layers[0].params["scale"] != before).all()
    assert list(model.params) == ["scale/scale", "dense/W", "dense/b"]


def test_what_is_left_out_is_named():
    class Unfinished(Layer):
        pass

    layer, x = Unfinished(), np.zeros((1, 2))
    with pytest.raises(NotImplementedError, match=r"Unfinished does not define make\(input_shape, rng\)"):
        layer.build((2,), np.random.default_rng(0))
    with pytest.raises(NotImplementedError, match=r"Unfinished does not define forward\(x\)"):
        layer.forward(x)
    with pytest.raises(NotImplementedError, match=r"Unfinished does not define backward\(dy, cache\)"):
        layer.backward(x, None)
    with pytest.raises(NotImplementedError, match=r"Initializer does not define draw\(shape, rng\)"):
        Initializer()((2,), np.random.default_rng(0))
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule does not define __call__\(step\)"):
        LearningRateSchedule()(0)


def test_the_old_way_to_say_how_long_a_vector_is():
    assert Dense(3, input_dim=4).input_shape == (4,)
    with pytest.raises(ValueError, match="input_dim must be at least 1, got 0"):
        Dense(3, input_dim=0)


def test_keras_arguments_that_say_what_is_done_anyway_are_taken():
    assert Dense(3, trainable=True, dtype="float32").params == Dense(3, dtype=None).params == {}


def test_the_package_itself_stands_in_for_keras():
    assert keras.Sequential is Sequential
    assert keras.Input is Input
    assert keras.backend.image_data_format() == "channels_last"
    with pytest.raises(ImportError, match="tinynet has no Functional; it has Input, Sequential, "):
        _ = keras.Functional


def test_the_number_of_cores_where_the_system_does_not_say_which_may_be_used(monkeypatch):
    monkeypatch.delenv("TINYNET_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert Sequential().num_threads == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert Sequential().num_threads == 1


def test_numbers_that_float32_does_not_hold_are_no_weights_but_infinity_is():
    layer = Dense(1, input_shape=(2,))
    layer.build((2,), np.random.default_rng(0))
    with pytest.raises(ValueError, match="Dense: weight 'W' has numbers that are too large for float32"):
        layer.set_weights([[[1e300], [1.0]], [0.0]])
    layer.set_weights([[[np.inf], [1.0]], [0.0]])
    assert layer.params["W"][0, 0] == np.inf


def test_the_training_loop_s_way_back_gives_dx_as_well_unless_told_otherwise():
    layer = Scale()
    layer.build((3,), np.random.default_rng(0))
    given = []
    layer.backward = lambda dy, cache, *, need_dx=True: given.append(need_dx)
    layer.backward_unsummed(np.ones((1, 3)), None)
    layer.backward_unsummed(np.ones((1, 3)), None, need_dx=False)
    assert given == [True, False]


def test_a_pass_is_replaced_in_a_layer_or_in_its_class(monkeypatch):
    layer = Scale()
    assert not layer.backward_is_replaced()
    monkeypatch.setattr(layer, "backward", layer.backward)
    assert layer.backward_is_replaced()
    monkeypatch.setattr(Scale, "backward", lambda self, dy, cache, *, need_dx=True: (dy, {}))
    assert Scale().backward_is_replaced()


def test_only_parameters_of_float64_are_made_float32():
    class Drawn(Layer):
        def make(self, input_shape, rng):
            self.params |= {kind.__name__: np.ones(2, kind) for kind in (np.float64, np.float16, np.complex128)}
            return input_shape

    layer = Drawn()
    layer.build((2,), np.random.default_rng(0))
    assert [param.dtype for param in layer.params.values()] == [np.float32, np.float16, np.complex128]


def test_params_set_on_a_network_become_those_of_its_layers():
    model = Sequential([Input((2,)), Dense(3, name="only")], seed=0)
    doubled = {key: 2 * param for key, param in model.params.items()}
    model.params = doubled
    assert model.layers[0].params["W"] is doubled["only/W"]
    np.testing.assert_array_equal(model.forward(np.ones((1, 2)))[0], [doubled["only/W"].sum(axis=0)])


class Block(Layer):
    """A layer made of another one, whose parameters are its own."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units, self.inner = units, Dense(units, activation="tanh")

    def make(self, input_shape, rng):
        output_shape = self.inner.build(input_shape, rng)
        self.params = {**self.inner.params, "scale": rng.uniform(0.5, 1.5, output_shape)}
        return output_shape

    def forward(self, x):
        y, cache = self.inner.forward(x)
        return y * self.params["scale"].astype(x.dtype), (y, cache)

    def backward(self, dy, cache, *, need_dx=True):
        y, inner_cache = cache
        dx, grads = self.inner.backward(dy * self.params["scale"].astype(y.dtype), inner_cache, need_dx=need_dx)
        return dx, self.grads_of(**grads, scale=(dy * y).sum(axis=0))


def test_a_layer_made_of_another_one_is_checked_and_copied_with_it():
    check_gradients(Block(5), (4,), raise_error=True)
    model = Sequential([Input((4,)), Block(5), Dense(3, activation="softmax")], seed=0)
    check_gradients(model, raise_error=True)
    twin = model.astype("float64")
    assert {param.dtype for param in twin.params.values()} == {np.dtype(np.float64)}
    assert twin.layers[0].params["W"] is twin.layers[0].inner.params["W"]


def test_parameters_are_built_in_float32():
    block = Block(5)
    block.build((4,), np.random.default_rng(0))
    assert {param.dtype for param in block.params.values()} == {np.dtype(np.float32)}


def test_a_layer_that_fails_to_build_is_left_without_a_name():
    class Fails(Initializer):
        def draw(self, shape, rng):
            raise TypeError("no")

    layer = Dense(2, kernel_initializer=Fails())
    with pytest.raises(TypeError, match="no"):
        Sequential([Input((2,)), layer])
    assert layer.name is None


def test_layers_may_have_any_names_in_any_order():
    model = Sequential([Input((2,)), *(Dense(2, name=name) for name in ("m", "z", "a"))])
    assert [layer.name for layer in model.layers] == ["m", "z", "a"]


def test_the_output_shape_of_a_network_is_that_of_its_last_layer():
    inner = Sequential([Input((4,)), Dense(3)])
    model = Sequential([inner])
    assert inner.output_shape == model.output_shape == (3,)
    inner.add(Dense(5))
    assert inner.output_shape == model.output_shape == (5,)
    last = inner.pop()
    assert (type(last), last.output_shape) == (Dense, (5,))
    assert inner.output_shape == model.output_shape == (3,)
    assert model.predict(np.ones((2, 4))).shape == (2, 3)
    inner.pop()
    assert inner.output_shape is model.output_shape is None


def test_what_is_put_into_the_list_of_layers_is_built_with_the_next_data():
    model = Sequential([Input((4,)), Dense(3)])
    model.layers.append(Dense(2, name="last"))
    model.add(Dense(7))
    assert model.output_shape is None
    assert model.predict(np.ones((5, 4))).shape == (5, 7)
    assert [layer.input_shape for layer in model.layers] == [(4,), (3,), (2,)]


def test_arguments_of_keras_that_say_what_is_done_anyway():
    layer = Flatten(data_format="channels_last")
    layer.trainable = True
    assert layer.trainable
    with pytest.raises(ValueError, match="data_format='channels_first' is not supported by tinynet"):
        Flatten(data_format="channels_first")


def two_of_one_name(model: Sequential) -> None:
    model.layers[1].name = model.layers[0].name


def one_in_two_places(model: Sequential) -> None:
    model.layers.insert(1, model.layers[0])


def two_without_a_name(model: Sequential) -> None:
    for _ in range(2):
        layer = Dense(3)
        layer.build((3,), np.random.default_rng(0))
        model.layers.insert(1, layer)


def one_that_a_nested_network_has(model: Sequential) -> None:
    model.layers.insert(1, Sequential([model.layers[0]], name="inner"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (two_of_one_name, "Two layers are named 'dense'; every layer needs a name of its own"),
        (one_in_two_places, "Dense 'dense' is in the network twice"),
        (two_without_a_name, "Two layers have no name"),
        (one_that_a_nested_network_has, "Dense 'dense' is in the network twice"),
    ],
)
@pytest.mark.parametrize("is_used", [False, True])
def test_layers_that_clash_are_refused_before_one_of_them_is_left_untrained(edit, message, is_used):
    """The list of layers may be edited, past what ``add`` checks."""
    model = Sequential([Input((3,)), Dense(3), Dense(3, activation="softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((4, 3), np.float32), [0, 1, 2, 0]
    if is_used:
        model.train_on_batch(x, y)
    edit(model)
    before = [param.copy() for layer in model.layers for param in layer.params.values()]
    for call in (
        lambda: model.fit(x, y, verbose=0),
        lambda: model.train_on_batch(x, y),
        lambda: model.loss_and_gradients(x, y),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.predict(x),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    after = [param for layer in model.layers for param in layer.params.values()]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
