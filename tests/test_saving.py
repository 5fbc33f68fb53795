"""Models in files: what was saved comes back, and whatever else is in a file is refused by name."""

import copy
import inspect
import os
import pathlib
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from fuzz_model_files import fuzz
from model_files import CLASSES, IMAGES, ONE_HOT, OPTIMIZERS, large, read_file, small, write_file

import tinynet
from tinynet import layers
from tinynet.initializers import HeNormal, Initializer
from tinynet.layers import Dense, Dropout, Flatten, Input, Layer
from tinynet.models import Sequential, load_model
from tinynet.optimizers import Optimizer, schedules
from tinynet.regularizers import L2, Regularizer
from tinynet.saving import ModelFileError, file
from tinynet.saving.configuration import KNOWN, construct, describe


def save_and_load(model: Sequential, folder, **options) -> Sequential:
    model.save(folder / "model.safetensors")
    return load_model(folder / "model.safetensors", **options)


def assert_same(model: Sequential, other: Sequential) -> None:
    """Weights, state of the optimizer and of the generator, bit for bit."""
    assert list(model.params) == list(other.params)
    for name, param in model.params.items():
        assert (param.dtype, other.params[name].dtype) == (model.dtype, model.dtype)
        np.testing.assert_array_equal(other.params[name], param)
    assert other.rng.bit_generator.state == model.rng.bit_generator.state
    assert (other.epoch, other.optimizer.iterations) == (model.epoch, model.optimizer.iterations)
    assert other.optimizer.state.keys() == model.optimizer.state.keys()
    for name, array in model.optimizer.state.items():
        np.testing.assert_array_equal(other.optimizer.state[name], array)


# There and back -------------------------------------------------------------------------------------------------------


def test_everything_comes_back_and_trains_on_to_the_same_bits(tmp_path):
    model = large()
    model.fit(IMAGES, ONE_HOT, epochs=2, verbose=0)
    loaded = save_and_load(model, tmp_path)
    assert_same(model, loaded)
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))
    expected = model.fit(IMAGES, ONE_HOT, epochs=5, initial_epoch=model.epoch, verbose=0).history
    assert loaded.fit(IMAGES, ONE_HOT, epochs=5, initial_epoch=loaded.epoch, verbose=0).history == expected
    assert_same(model, loaded)


def texts(model: Sequential) -> list[str]:
    """The summary and every argument of every layer."""
    found: list[str] = []
    model.summary(print_fn=found.append)
    for layer in model.layers:
        found += texts(layer) if isinstance(layer, Sequential) else [str(describe(layer))]
    return found


def test_the_network_comes_back_with_its_names_and_arguments(tmp_path):
    model = large()
    loaded = save_and_load(model, tmp_path)
    assert texts(loaded) == texts(model)
    assert (loaded.name, loaded.input_shape, loaded.output_shape) == ("large", (6, 7, 2), (3,))
    assert (loaded.metrics_names, loaded.loss.name) == (["loss", "right"], "categorical_crossentropy")
    assert str(describe(loaded.optimizer)) == str(describe(model.optimizer))
    conv, dense = loaded.layers[0], loaded.get_layer("Größe 1")
    assert (conv.filters, conv.window, conv.use_bias) == (4, model.layers[0].window, False)
    assert (conv.kernel_initializer.seed, dense.bias_initializer.value, dense.kernel_regularizer.l2) == (3, 0.25, 0.001)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: str(describe(optimizer)["arguments"]))
@pytest.mark.parametrize("epochs", [0, 1])
def test_every_optimizer_and_schedule_goes_on_where_it_was(optimizer, epochs, tmp_path):
    model = small(copy.deepcopy(optimizer))
    loaded = save_and_load(model, tmp_path)
    for twin in (model, loaded):
        twin.fit(IMAGES, CLASSES, epochs=3, verbose=0)
    assert_same(model, loaded)


def test_every_class_of_tinynet_is_known():
    """And its constructor's arguments can be found again: a new layer has to be added to the table."""
    required = {"units": 3, "filters": 3, "kernel_size": 2, "activation": "relu", "rate": 0.5, "boundaries": [3]}
    required |= {"values": [0.2, 0.1], "initial_learning_rate": 0.1, "decay_steps": 9, "decay_rate": 0.5}
    assert {getattr(layers, name).__name__ for name in layers.__all__} - {"Layer", "Input"} < KNOWN.keys()
    for name, kind in KNOWN.items():
        needed = [
            parameter.name
            for parameter in inspect.signature(kind).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        ]
        thing = kind(**{argument: required[argument] for argument in needed})
        data = describe(thing)
        assert data["class"] == name
        assert describe(construct(data, kind)) == data


def test_float64_and_models_that_are_not_compiled_or_built(tmp_path):
    model = small().astype(np.float64)
    loaded = save_and_load(model, tmp_path)
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))
    plain = save_and_load(Sequential([Input((4,)), Dense(3)]), tmp_path)
    assert (plain.optimizer, plain.loss, plain.metrics) == (None, None, [])
    unbuilt = save_and_load(Sequential([Dense(3), Dense(2)]), tmp_path)
    assert unbuilt.output_shape is None
    assert unbuilt.predict(np.ones((2, 5))).shape == (2, 2)
    assert save_and_load(Sequential(), tmp_path).layers == []
    uncompiled = save_and_load(small(), tmp_path, compile=False)
    assert (uncompiled.optimizer, uncompiled.loss, uncompiled.metrics) == (None, None, [])


class Descent(Optimizer):
    def update(self, w, g, lr, *remembered):
        w -= lr * g


def test_an_optimizer_of_ones_own(tmp_path):
    model = small()
    model.compile(Descent(0.25), "sparse_categorical_crossentropy")
    with pytest.raises(ModelFileError, match="'Descent' is no known Optimizer"):
        save_and_load(model, tmp_path)
    assert save_and_load(model, tmp_path, custom_objects={"Descent": Descent}).optimizer.learning_rate == 0.25
    assert save_and_load(model, tmp_path, compile=False).optimizer is None  # which does not need to know it


def test_loading_changes_no_seeds(tmp_path):
    small().save(tmp_path / "m")
    weights = []
    for load in (False, True):
        tinynet.utils.set_random_seed(3)
        if load:
            load_model(tmp_path / "m")
        weights.append(Sequential([Dense(3, input_shape=(4,))]).get_weights()[0])
    np.testing.assert_array_equal(*weights)


class Scale(Layer):
    """A layer of the user's own."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def make(self, input_shape, rng):
        self.params["s"] = np.full(input_shape, self.factor, np.float32)
        return input_shape

    def forward(self, x):
        return self.check_input(x) * self.params["s"], x

    def backward(self, dy, cache, *, need_dx=True):
        return dy * self.params["s"], {"s": (dy * cache).sum(axis=0)}


class Forgets(Scale):
    def __init__(self, gain, **options):
        super().__init__(gain, **options)


def test_layers_of_ones_own(tmp_path):
    model = Sequential([Input((4,)), Scale(2.5, name="scale"), Dense(3)])
    model.layers[0].params["s"][:] = [1, 2, 3, 4]
    with pytest.raises(ModelFileError, match="'Scale' is no known Layer"):
        save_and_load(model, tmp_path)
    loaded = save_and_load(model, tmp_path, custom_objects={"Scale": Scale})
    assert loaded.layers[0].factor == 2.5
    np.testing.assert_array_equal(loaded.predict(np.eye(4)), model.predict(np.eye(4)))
    with pytest.raises(TypeError, match=r"Forgets 'forgets' cannot be saved: it does not keep its argument 'gain'"):
        Sequential([Input((4,)), Forgets(2.0)]).save(tmp_path / "other")
    with pytest.raises(TypeError, match=r"Scale: factor: .* cannot be saved"):
        Sequential([Input((4,)), Scale(np.full(4, 2.0))]).save(tmp_path / "other")


class Grid(Scale):
    def __init__(self, sizes, **options):
        super().__init__(1.0, **options)
        self.sizes = sizes


@pytest.mark.parametrize("sizes", [[(1, 2), (3, 4)], [L2(0.5)], 2**40, [[[]]], -(2**63) + 1])
def test_what_a_layer_of_ones_own_may_be_given(tmp_path, sizes):
    model = Sequential([Input((4,)), Grid(sizes)])
    loaded = save_and_load(model, tmp_path, custom_objects={"Grid": Grid})
    assert describe(loaded.layers[0]) == describe(model.layers[0])


NUMBERS = [np.int8(3), np.uint64(2**63 - 1), np.bool_(True), np.float16(0.5), np.float32(0.1), np.float64(0.1)]


@pytest.mark.parametrize("number", [*NUMBERS, np.longdouble(0.5)], ids=lambda number: number.dtype.name)
def test_numbers_of_numpy_come_back_as_the_python_numbers_that_they_are(number, tmp_path):
    loaded = save_and_load(Sequential([Input((4,)), Grid([number, [number]])]), tmp_path, custom_objects={"Grid": Grid})
    assert loaded.layers[0].sizes == [number, [number]]
    assert type(loaded.layers[0].sizes[0]) in (bool, int, float)


def test_counts_and_attributes_that_are_numbers_of_numpy_come_back(tmp_path):
    model = small()
    model.optimizer.iterations, model.epoch = np.int64(3), np.int64(2)
    model.optimizer.weight_decay = np.float32(0.01)
    loaded = save_and_load(model, tmp_path)
    assert (loaded.optimizer.iterations, loaded.epoch) == (3, 2)
    assert loaded.optimizer.weight_decay == float(np.float32(0.01))


@pytest.mark.parametrize(
    ("count", "message"),
    [(1.5, "must be an integer, got 1.5"), (-1, "must be at least 0, got -1"), (2**60, "too large a number: 1,152")],
)
def test_counts_that_are_none_are_not_saved(count, message, tmp_path):
    model = small()
    for owner, name in ((model, "epoch"), (model.optimizer, "iterations")):
        before = getattr(owner, name)
        setattr(owner, name, count)
        with pytest.raises((TypeError, ValueError), match=f"{name} .*{message}"):
            model.save(tmp_path / "model")
        setattr(owner, name, before)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({"a": 1}, "cannot be saved: a file takes numbers, text, True, False, None, objects of tinynet and lists of"),
        (np.timedelta64(3, "s"), "cannot be saved: a file takes numbers"),
        (np.float32(np.nan), "nan is no number for a file"),
        (2**63, "is too large a number"),
        ([1] * 10_001, "is too long a list: it has 10,001 entries"),
        ([np.nan], "nan is no number for a file"),
        (np.inf, "inf is no number for a file"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, sizes, fault):
    with pytest.raises((TypeError, ValueError), match=f"Grid: sizes: .*{fault}"):
        Sequential([Input((4,)), Grid(sizes)]).save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_large_seeds_and_numbers_of_steps_come_back(tmp_path):
    model = Sequential(
        [Input((4,)), Dropout(0.5, seed=2**31), Dense(3, "softmax", kernel_initializer=HeNormal(4 * 10**9))]
    )
    schedule = schedules.PiecewiseConstantDecay([3 * 10**9], [0.1, 0.01])
    model.compile(tinynet.optimizers.SGD(schedule), "sparse_categorical_crossentropy")
    loaded = save_and_load(model, tmp_path)
    assert [describe(layer) for layer in loaded.layers] == [describe(layer) for layer in model.layers]
    assert describe(loaded.optimizer) == describe(model.optimizer)


def test_lists_in_one_another_are_no_way_to_exhaust_the_reader(tmp_path):
    deep = []
    for _ in range(500):
        deep = [deep]
    model = Sequential([Input((4,)), Grid(deep)])
    with pytest.raises(TypeError, match=r"Grid: sizes: .* cannot be saved"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="more than 20 lists in one another"):
        construct({"class": "Grid", "arguments": {"sizes": deep[0]}}, Layer, {"Grid": Grid})


@pytest.mark.parametrize("levels", range(17, 24))
@pytest.mark.parametrize("inside", [0.5, L2(0.5)])
def test_what_lies_deeper_than_a_file_may_go_is_not_saved(tmp_path, inside, levels):
    for _ in range(levels):
        inside = [inside]
    model = Sequential([Input((4,)), Grid(inside)])
    try:
        model.save(tmp_path / "model")
    except TypeError:
        assert levels > 18
    else:
        load_model(tmp_path / "model", custom_objects={"Grid": Grid})
        assert levels < 21


class PassesOn(Dense):
    def __init__(self, units, name=None, **options):
        super().__init__(units, name=name, **options)


class SignDescent(Optimizer):
    def update(self, w, g, lr, *remembered):
        w -= lr * np.sign(g)


class Momentum(tinynet.optimizers.SGD):
    def __init__(self, lr=0.1, **options):
        super().__init__(lr, **options)


def test_what_a_constructor_passes_on_comes_back(tmp_path):
    own = {kind.__name__: kind for kind in (PassesOn, SignDescent, Momentum)}
    layers = [
        Input((4,)),
        PassesOn(4, activation="tanh", kernel_regularizer=L2(0.5), use_bias=False),
        Dense(3, "softmax"),
    ]
    for optimizer in (
        Momentum(0.1, momentum=0.9, weight_decay=0.1),
        Momentum(schedules.ExponentialDecay(0.5, 2, 0.5)),
        SignDescent(schedules.ExponentialDecay(0.5, 2, 0.5)),
    ):
        model = Sequential(copy.deepcopy(layers))
        model.compile(optimizer, "sparse_categorical_crossentropy")
        model.fit(np.eye(4), [0, 1, 2, 0], epochs=2, verbose=0)
        loaded = save_and_load(model, tmp_path, custom_objects=own)
        assert describe(loaded.layers[0]) == describe(model.layers[0])
        assert describe(loaded.optimizer) == describe(model.optimizer)
        for each in (model, loaded):
            each.fit(np.eye(4), [0, 1, 2, 0], epochs=2, verbose=0)
        assert_same(model, loaded)


class Several(Scale):
    def __init__(self, *factors):
        super().__init__(1.0)
        self.factors = factors


class Residual(Sequential):
    def forward(self, x, rng=None):
        y, caches = super().forward(x, rng)
        return x + y, caches


def own_relu():
    class ReLU(tinynet.layers.ReLU):
        def forward(self, x):
            return np.maximum(x, x / 10), x

    return ReLU()


def with_regularizers(layer):
    layer.regularizers = {"b": L2(9.0)}
    return layer


def with_another(units):
    layer = Dense(3)
    layer.use_bias = units
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Several(1.0, 2.0), r"Several\(factors=...\), which would make it again, fails: .*unexpected keyword"),
        (lambda: Residual([Dense(4)]), "it has a forward or backward pass of its own; save_weights keeps its weights"),
        (own_relu, "tinynet has a ReLU, too; give your class another name"),
        (lambda: with_regularizers(Dense(4)), r"Dense\(...\) with its arguments gives another regularizers"),
        (lambda: with_another(2), r"Dense 'dense' cannot be saved: Dense\(.*\), which would make it again, fails"),
    ],
)
def test_what_would_be_loaded_as_something_else_is_not_saved(tmp_path, make, message):
    model = Sequential([Input((4,)), make()])
    with pytest.raises(TypeError, match=f"cannot be saved: .*{message}" if "cannot" not in message else message):
        model.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def built(layer: Layer) -> Layer:
    layer.build((5,), np.random.default_rng(0))
    return layer


def set_scale(model, params):
    model.layers.insert(0, Scale(2.0, name="scale"))
    model.layers[0].build((6,), np.random.default_rng(0))
    model.layers[0].params = params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.layers[0], "name", "a/b"), "name must be a non-empty .* without '/', got 'a/b'"),
        (lambda model: setattr(model.layers[0], "use_bias", False), r"has \['dense/b'\] beyond those"),
        (lambda model: setattr(model.layers[0], "units", 9), r"'dense/W' has shape \(6, 5\); .* needs shape \(6, 9\)"),
        (lambda model: setattr(model.layers[1], "name", "dense"), "two layers have a parameter dense/W; every layer"),
        (lambda model: model.layers.insert(1, Dropout(0.5, name="dense")), "a layer named 'dense' already"),
        (lambda model: model.layers.insert(1, built(Dense(5))), "a layer of class 'Dense' has no name; every layer"),
        (lambda model: model.layers.append(Dense(3, name="new")), "'new/W' is missing; its layer needs shape"),
        (lambda model: model.pop(), "expects probabilities, but the network ends in Dense 'dense' without a softmax"),
        (lambda model: setattr(model, "name", 3), "name must be a non-empty string without '/', got 3"),
        (lambda model: set_scale(model, {"t": np.ones(6, np.float32)}), r"lacks \['scale/s'\], and has \['scale/t'\]"),
        (lambda model: set_scale(model, {"s": np.ones(9, np.float32)}), r"scale/s of shape \(6,\) .* \(9,\)"),
        (lambda model: set_scale(model, {"s": np.ones(6, np.float16)}), "parameter s must be a float32 or .* float16"),
        (lambda model: set_scale(model, {"s": [1.0] * 6}), "parameter s must be a float32 or .* got list"),
    ],
)
def test_what_load_model_would_refuse_is_not_saved(change, message, tmp_path):
    model = Sequential([Input((6,)), Dense(5, "relu"), Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    change(model)
    with pytest.raises(TypeError, match=message):
        model.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


def test_weights_of_two_layers_of_the_same_name_are_not_saved(tmp_path):
    """Those of one of them were left out."""
    inner = Sequential([Dense(5), Dense(3)], name="inner")
    model = Sequential([Input((6,)), Sequential([inner])])
    model.save_weights(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    inner.layers[1].name = "dense"
    with pytest.raises(TypeError, match=r"two layers have a parameter sequential/inner/dense/W; .* name of its own"):
        model.save_weights(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


def test_two_classes_of_the_same_name_are_not_saved(tmp_path):
    """Only one of them can be in custom_objects."""

    class Other(Scale):
        pass

    Other.__name__ = "Scale"
    model = Sequential([Input((4,)), Scale(2.5), Other(2.5)])
    with pytest.raises(TypeError, match="the model has two classes named Scale; give one another name"):
        model.save(tmp_path / "model")


def test_saving_changes_no_model(tmp_path):
    model = Sequential([Dense(5, tinynet.layers.ReLU()), Grid([L2(0.5), Draws()]), Dense(3)])
    for _ in range(2):
        before = copy.deepcopy(model)
        model.save(tmp_path / "model")
        assert texts(model) == texts(before)
        assert model.layers[0].activation.output_shape == before.layers[0].activation.output_shape
        assert model.rng.bit_generator.state == before.rng.bit_generator.state
        model.build((4,))


class Tied(Scale):
    def make(self, input_shape, rng):
        shape = super().make(input_shape, rng)
        self.params["t"] = self.params["s"]
        return shape


@pytest.mark.parametrize("share", [lambda array: array, lambda array: array.T], ids=["the same", "a view"])
def test_parameters_that_would_come_back_unshared_are_not_saved(share, tmp_path):
    model = Sequential([Input((4,)), Dense(4), Dense(3), Dense(4), Dense(4)])
    model.layers[3].params["W"] = share(model.layers[0].params["W"])
    message = "its dense/W and dense_3/W share an array, but would not when loaded, and train differently"
    with pytest.raises(TypeError, match=message):
        model.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []
    model.save_weights(tmp_path / "weights")
    model.load_weights(tmp_path / "weights")
    both = np.zeros((4, 8), np.float32)  # side by side in one array
    model.layers[0].params["W"], model.layers[3].params["W"] = both[:, ::2], both[:, 1::2]
    model.save(tmp_path / "model")


def test_parameters_that_a_layer_of_ones_own_shares_come_back_shared(tmp_path):
    model = Sequential([Input((4,)), Tied(2.5)])
    loaded = save_and_load(model, tmp_path, custom_objects={"Tied": Tied})
    assert loaded.params["tied/s"] is loaded.params["tied/t"]
    model.layers[0].params["t"] = np.ones(4, np.float32)
    with pytest.raises(TypeError, match="its tied/s and tied/t have an array each, but would share one when loaded"):
        model.save(tmp_path / "other")


def test_optimizers_and_losses_that_would_be_another_one_are_not_saved(tmp_path):
    model = small()
    model.optimizer = tinynet.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    model.optimizer.momentum = 0.0
    with pytest.raises(TypeError, match=r"cannot be saved: SGD.*fails: SGD: nesterov=True needs a momentum above 0"):
        model.save(tmp_path / "model")


def test_weights_of_both_types_are_not_saved(tmp_path):
    model = Sequential([Input((4,)), Dense(3), Dense(2)])
    model.layers[1].params["W"] = model.layers[1].params["W"].astype(np.float64)
    with pytest.raises(TypeError, match="save: the weights are of both types, float32 and float64"):
        model.save(tmp_path / "model")


class Slope(Scale):
    def make(self, input_shape, rng):
        self.params["s"] = np.array(self.factor, np.float32)
        return input_shape

    def backward(self, dy, cache, *, need_dx=True):
        return dy * self.params["s"], {"s": (dy * cache).sum(keepdims=False)}


def test_a_parameter_that_is_a_single_number_comes_back(tmp_path):
    model = Sequential([Input((4,)), Slope(2.5)])
    loaded = save_and_load(model, tmp_path, custom_objects={"Slope": Slope})
    assert loaded.params["slope/s"].shape == ()
    assert loaded.params["slope/s"] == 2.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not written: it is a device or a pipe, in whose place a file would come"):
        small().save(tmp_path / "pipe")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_objects_of_ones_own_are_classes(tmp_path):
    with pytest.raises(TypeError, match=r"load_model: custom_objects\['Grid'\] must be a class, got 3"):
        load_model(tmp_path / "model", custom_objects={"Grid": 3})


class Draws(Initializer):
    def draw(self, shape, rng):
        return rng.standard_normal(shape)


class L1(Regularizer):
    def __init__(self, l1=0.5):
        self.l1 = l1

    def __call__(self, W):
        return self.l1 * float(np.abs(W).sum())

    def gradient(self, W):
        return self.l1 * np.sign(W)


def test_an_initializer_within_itself_is_refused_by_name(tmp_path):
    class Inner(Draws):
        def __init__(self, inner=None):
            super().__init__()
            self.inner = inner

    endless = Inner()
    endless.inner = endless
    model = Sequential([Input((4,)), Dense(3, kernel_initializer=endless)])
    with pytest.raises(TypeError, match=r"Dense: kernel_initializer: .* cannot be saved"):
        model.save(tmp_path / "model")


class Halves(schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5**step


def test_initializers_regularizers_and_schedules_of_ones_own(tmp_path):
    model = Sequential([Input((4,)), Dense(3, "softmax", kernel_initializer=Draws(), kernel_regularizer=L1(0.25))])
    model.compile(tinynet.optimizers.SGD(Halves()), "sparse_categorical_crossentropy")
    own = {"Draws": Draws, "L1": L1, "Halves": Halves}
    loaded = save_and_load(model, tmp_path, custom_objects=own)
    assert_same(model, loaded)
    layer = loaded.layers[0]
    assert (type(layer.kernel_initializer), layer.kernel_regularizer.l1) == (Draws, 0.25)
    loaded.optimizer.iterations = 2
    assert loaded.optimizer.learning_rate == 0.25
    for name in own:
        others = {other: kind for other, kind in own.items() if other != name}
        with pytest.raises(ModelFileError, match=f"'{name}' is no known class of tinynet; classes of your own go"):
            save_and_load(model, tmp_path, custom_objects=others)


def test_a_file_in_no_folder_and_a_folder_in_place_of_a_file_are_refused_by_name(tmp_path):
    model = small()
    with pytest.raises(FileNotFoundError, match=r"model is not written: there is no folder .*nowhere; make it first"):
        model.save(tmp_path / "nowhere" / "model")
    for path in (tmp_path, "."):
        with pytest.raises(IsADirectoryError, match=r"is not written: it is a folder; give a file's name"):
            model.save(path)
    assert os.listdir(tmp_path) == []


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["save", "save_weights"])
def test_weights_go_into_another_model(verb, tmp_path):
    model, other = small(), small()
    model.fit(IMAGES, CLASSES, verbose=0)
    arrays = dict(other.params)
    getattr(model, verb)(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for name, array in model.params.items():
        assert other.params[name] is arrays[name]
        np.testing.assert_array_equal(other.params[name], array)


def test_weights_that_do_not_fit_leave_the_model_as_it_is(tmp_path):
    model, path = small(), tmp_path / "weights"
    before = model.get_weights()
    others = [
        (Sequential([Input((6, 7, 2)), Flatten(), Dense(3, name="other")]), r"the file lacks \['dense/W', 'dense/b'\]"),
        (Sequential([Input((6, 7, 2)), Flatten(), Dense(4)]), r"dense/W of shape \(84, 3\) .* \(84, 4\)"),
        (small().astype(np.float64), "type float32; in the file these are .* float64"),
    ]
    for other, message in others:
        other.save_weights(path)
        with pytest.raises(ModelFileError, match=f"weights: the model has .*{message}"):
            model.load_weights(path)
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)
    with pytest.raises(ModelFileError, match="it holds weights only; build the network, and use model"):
        load_model(path)
    with pytest.raises(ValueError, match="the model has no weights yet"):
        Sequential([Dense(3)]).load_weights(path)


def test_read_only_parameters_are_refused_before_any_changes(tmp_path):
    model = Sequential([Input((6,)), Dense(5), Dense(3)], seed=0)
    Sequential([Input((6,)), Dense(5), Dense(3)], seed=1).save_weights(tmp_path / "weights")
    before = model.get_weights()
    model.layers[1].params["W"].setflags(write=False)
    for copy_into, message in [
        (lambda: model.load_weights(tmp_path / "weights"), "load_weights: dense_1/W"),
        (lambda: model.set_weights([weight + 1 for weight in before]), "Sequential: weight 'dense_1/W'"),
        (lambda: model.layers[1].set_weights(before[2:]), "Dense 'dense_1': weight 'W'"),
    ]:
        with pytest.raises(
            ValueError, match=f"{message} is read-only, so no numbers can go into it; put a copy in its place"
        ):
            copy_into()
        for weight, same in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, same)
    model.layers[1].params["W"] = model.layers[1].params["W"].copy()
    model.load_weights(tmp_path / "weights")


class Frozen(Scale):
    def make(self, input_shape, rng):
        shape = super().make(input_shape, rng)
        self.params["s"].setflags(write=False)
        return shape


def test_a_model_whose_layer_makes_read_only_parameters_is_not_loaded(tmp_path):
    Sequential([Input((4,)), Scale(2.5)]).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="its network: scale/s is read-only, so no numbers can go into it"):
        load_model(tmp_path / "model", custom_objects={"Scale": Frozen})


# Writing --------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    model, path = small(), tmp_path / "model"
    model.save(path)
    before = path.read_bytes()
    model.fit(IMAGES, CLASSES, verbose=0)
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(file.os, step, lambda *arguments: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                model.save(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
        assert path.read_bytes() == before
    model.save(path)
    assert path.read_bytes() != before


def test_a_file_can_be_protected(tmp_path):
    model = small()
    model.save(tmp_path / "model", overwrite=False)
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(FileExistsError, match="model exists; save with overwrite=True"):
        model.save(tmp_path / "model", overwrite=False)
    with pytest.raises(FileExistsError):
        model.save_weights(tmp_path / "model", overwrite=False)
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_a_file_has_the_usual_permissions_and_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "plain").write_text("")
    small().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load_model(tmp_path / "target").epoch == 1
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "target")]
    assert modes[0] == modes[1]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    model = small()
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    model.layers[1].params["b"][1] = np.nan
    for verb in ("save", "save_weights"):
        with pytest.raises(ValueError, match="model is not written: weights/dense/b has NaN or infinite numbers"):
            getattr(model, verb)(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize(("owner", "step"), [(file, "_check_sum"), (np, "isfinite")])
def test_weights_that_change_while_they_are_saved_are_written_as_they_were(owner, step, tmp_path, monkeypatch):
    """Another thread may train: the check sum was that of other bytes, and numbers that no file may hold got in."""
    model = small()
    before = model.get_weights()
    checked = getattr(owner, step)

    def check_then_change(*arguments):
        found = checked(*arguments)
        for param in model.params.values():
            param[...] = np.nan
        return found

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, check_then_change)
        model.save_weights(tmp_path / "model")
    assert not np.isfinite(model.get_weights()[0]).any()
    model.load_weights(tmp_path / "model")
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_a_description_that_could_not_be_read_again_is_not_written(tmp_path):
    model = Sequential([Input((4,)), Scale(2.5, name="s" * file.MAX_HEADER_BYTES)])
    with pytest.raises(ValueError, match="model is not written: its header would exceed 1,048,576 bytes"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_saving_to_where_there_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        small().save(tmp_path / "no" / "model")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "model")
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


def test_another_process_reads_the_file(tmp_path):
    model = small()
    model.save(tmp_path / "model")
    code = (
        f"from tinynet.models import load_model; print(load_model({str(tmp_path / 'model')!r}).get_weights()[0].sum())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert float(result.stdout) == pytest.approx(float(model.get_weights()[0].sum()), rel=1e-6)


def test_there_is_no_pickle_in_it():
    sources = list(pathlib.Path(file.__file__).parent.glob("*.py"))
    assert len(sources) == 4
    for source in sources:
        assert not re.search(r"pickle|\beval\(|\bexec\(|importlib", source.read_text(encoding="utf-8"))


# Reading what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"x", "it is cut off, or not in the safetensors format"),
        (b"PK\x03\x04" + bytes(100), "it is a zip archive, as Keras's .keras files are"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file, as Keras's .h5 files are"),
        (b"\x93NUMPY" + bytes(100), "it is a NumPy file"),
        ((2**63).to_bytes(8, "little") + b"{}", "it is cut off"),
        ((2**21).to_bytes(8, "little") + b" " * 2**21, "its header has 2,097,152 bytes, more than 1,048,576"),
        (bytes(64), "it is damaged, or not in the safetensors format"),
        (safetensors.numpy.save({"a": np.zeros(3, np.float32)}), "it is a safetensors file, but not one of a tinynet"),
        (safetensors.numpy.save({"a": np.zeros(3, np.int8)}), "'a' has numbers of type I8, not F32 or F64"),
        (
            safetensors.numpy.save({"a": np.zeros(3, np.float32)}, {"tinynet": "{}", "sha256": "0"}),
            "it is damaged: its check sum differs",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_of_another_kind(data, message, tmp_path):
    path = tmp_path / "some file"
    path.write_bytes(data)
    model = small()
    for load in (load_model, model.load_weights):
        with pytest.raises(ModelFileError) as error:
            load(path)
        assert str(error.value).startswith(f"{path}: {message}")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "model"
    small().save(path)
    return read_file(path)


def change(**changes):
    """A lie: description entries replaced, by path, "__" for a step down."""

    def lie(tensors, description):
        for steps, value in changes.items():
            *path, last = [int(step) if step.isdecimal() else step for step in steps.split("__")]
            place = description
            for step in path:
                place = place[step]
            place[last] = value

    return lie


def tensors_change(name, value):
    def lie(tensors, description):
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return lie


HUGE = 2**31 - 1
LIES = {
    "version": (change(format=2), "it has format 2; this tinynet reads format 1"),
    "version that is true": (change(format=True), "it has format True"),
    "kind": (change(holds="optimizer"), "its description is not that of a model"),
    "unknown key": (change(code="import os"), "its description is not that of a model"),
    "class": (change(layers__1__class="os.system"), "'os.system' is no known Layer"),
    "base class": (change(layers__1__class="Layer"), "'Layer' is no known Layer"),
    "a class that is no layer": (change(layers__1__class="SGD"), "'SGD' is no known Layer"),
    "class that is a list": (change(layers__1__class=["Dense"]), r"\['Dense'\] is no known Layer"),
    "unknown argument": (change(layers__1__arguments__code="x"), "are not arguments of Dense"),
    "argument of another type": (change(layers__1__arguments__units="3"), "Dense: units must be an integer"),
    "negative units": (change(layers__1__arguments__units=-3), "Dense: units must be at least 1"),
    "no units": (change(layers__1__arguments={}), "missing 1 required positional argument: 'units'"),
    "huge units": (change(layers__1__arguments__units=HUGE), r"'dense/W' has shape \(84, 3\); its layer needs shape"),
    "units beyond measure": (change(layers__1__arguments__units=10**30), "is too large a number"),
    "a huge image": (change(input_shape=[HUGE, HUGE, 7]), r"its layer needs shape \(32\d+, 3\)"),
    "an image beyond measure": (change(input_shape=[10**40]), "is too large"),
    "an image of text": (change(input_shape="image"), "input_shape must be a tuple"),
    "a nested input shape": (change(input_shape=[[1]]), "input_shape must be an integer"),
    "activation": (change(layers__1__arguments__activation="gelu"), "activation='gelu' is not known"),
    "layers": (change(layers={}), "the layers are no list"),
    "a layer": (change(layers__1=7), "a layer needs a name, a class and arguments"),
    "a network": (
        change(layers__1={"name": "inner", "class": "Sequential", "arguments": {"units": 3}}),
        "a network takes layers",
    ),
    "weights without an input shape": (change(input_shape=None), "it has weights, but no input shape"),
    "too many layers": (change(layers=[{}] * 1001), "no list of up to 1000"),
    "a name twice": (change(layers__0__name="dense"), "There is a layer named 'dense' already"),
    "no name": (change(layers__0__name=None), "has no name"),
    "a name with a slash": (change(layers__0__name="a/b"), "name must be a non-empty string without '/'"),
    "network name": (change(name=3), "name must be a non-empty string"),
    "no softmax": (change(layers__1__arguments__activation=None), "without a softmax"),
    "epoch": (change(epoch=-1), "epoch must be at least 0"),
    "epoch of text": (change(epoch="3"), "epoch must be an integer"),
    "epoch beyond measure": (change(epoch=2**60), "epoch is too large a number"),
    "iterations": (change(compiled__iterations=1.5), "iterations must be an integer"),
    "compiled": (change(compiled=[]), "what compile was given is incomplete"),
    "not compiled": (change(compiled=None), "it has the state of an optimizer, but no optimizer"),
    "optimizer": (change(compiled__optimizer__class="Adam"), "are not arguments of Adam"),
    "rate": (change(compiled__optimizer__arguments__learning_rate=-1), "learning_rate must be finite and at least 0"),
    "no rate": (change(compiled__optimizer__arguments__learning_rate=None), "learning_rate must be a number"),
    "loss": (change(compiled__loss=None), "None is not the description of an object"),
    "metrics": (change(compiled__metrics=3), "the metrics are no list"),
    "random": (change(random={}), "the state of its random generator is incomplete"),
    "random number": (change(random__state__state=2**128), "a number that is out of range"),
    "random text": (change(random__uinteger="1"), "a number that is out of range"),
    "other generator": (change(random__bit_generator="MT19937"), "generator is incomplete"),
    "a missing weight": (tensors_change("weights/dense/b", None), "'dense/b' is missing"),
    "a weight too many": (
        tensors_change("weights/dense/c", np.zeros(3, np.float32)),
        r"has \['dense/c'\] beyond those",
    ),
    "an array of nobody": (tensors_change("other", np.zeros(3, np.float32)), "neither weights nor the optimizer's"),
    "another shape": (tensors_change("weights/dense/b", np.zeros(4, np.float32)), r"'dense/b' has shape \(4,\)"),
    "another type": (tensors_change("weights/dense/b", np.zeros(3)), "its weights are of both types"),
    "integers": (tensors_change("weights/dense/b", np.zeros(3, np.int32)), "numbers of type I32, not F32"),
    "NaN": (tensors_change("weights/dense/b", np.full(3, np.nan, np.float32)), "'weights/dense/b' has NaN or inf"),
    "infinity": (
        tensors_change("optimizer/velocity/dense/b", np.full(3, np.inf, np.float32)),
        "'optimizer/velocity/dense/b' has NaN or infinite numbers",
    ),
    "a missing velocity": (tensors_change("optimizer/velocity/dense/b", None), "the optimizer's velocity has other"),
    "another velocity": (
        tensors_change("optimizer/velocity/dense/b", np.zeros(4, np.float32)),
        "the optimizer's velocity has dense/b of shape",
    ),
    "another slot": (tensors_change("optimizer/m/dense/b", np.zeros(3, np.float32)), "'m/dense/b' is no part of its"),
}


@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie(lie, good, tmp_path):
    tensors, description = copy.deepcopy(good)
    change_it, message = LIES[lie]
    change_it(tensors, description)
    write_file(tmp_path / "liar", tensors, description)
    with pytest.raises(ModelFileError, match=f"liar: .*{message}"):
        load_model(tmp_path / "liar")


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"format": NaN}', "[" * 100_000, '{"format": ' + "1" * 9999 + "}", '{"a": {}}'], ids=len
)
def test_descriptions_that_are_none(text, good, tmp_path):
    write_file(tmp_path / "liar", good[0], text)
    with pytest.raises(ModelFileError, match="liar: "):
        load_model(tmp_path / "liar")
    with pytest.raises(ModelFileError, match="liar: "):
        small().load_weights(tmp_path / "liar")


def test_objects_without_end(good, tmp_path):
    tensors, description = copy.deepcopy(good)
    nest = description["layers"][1]
    for _ in range(50):
        nest = {"name": "s", "class": "Sequential", "arguments": {"layers": [nest]}}
    write_file(tmp_path / "liar", tensors, {**description, "layers": [nest]})
    with pytest.raises(ModelFileError, match="more than 20 networks in one another"):
        load_model(tmp_path / "liar")
    rate: object = 0.1
    for _ in range(50):
        rate = {"class": "ExponentialDecay", "arguments": {"initial_learning_rate": rate}}
    description["compiled"]["optimizer"]["arguments"]["learning_rate"] = rate
    write_file(tmp_path / "liar", tensors, description)
    with pytest.raises(ModelFileError, match="more than 20 objects in one another"):
        load_model(tmp_path / "liar")


@pytest.mark.parametrize(("iterations", "what"), [(10**6, "too large"), (308, "must be finite")])
def test_a_rate_that_overflows(iterations, what, good, tmp_path):
    tensors, description = copy.deepcopy(good)
    rate = {"initial_learning_rate": 100.0, "decay_steps": 1, "decay_rate": 10.0}
    description["compiled"]["optimizer"]["arguments"]["learning_rate"] = {
        "class": "ExponentialDecay",
        "arguments": rate,
    }
    description["compiled"]["iterations"] = iterations
    write_file(tmp_path / "liar", tensors, description)
    with pytest.raises(ModelFileError, match=f"liar: .*{what}"):
        load_model(tmp_path / "liar")


def test_damaged_files_of_every_kind(tmp_path):
    counts = fuzz(400, seed=0, folder=tmp_path)
    assert sum(counts.values()) == 400


def test_other_generators_are_refused_when_saving(tmp_path):
    model = small()
    model.rng = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(TypeError, match="The model's generator is MT19937; only NumPy's default, PCG64, is saved"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
