"""Prediction in one call: bit for bit what ``forward`` computes, also after anything about the model has changed."""

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import numba
import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st
from strategies import lay_out, normal

from tinynet import kernels, passes, sharding
from tinynet.callbacks import LambdaCallback
from tinynet.kernels import calls
from tinynet.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPooling2D,
    ReLU,
    Softmax,
)
from tinynet.layers.step import Step, steps_of
from tinynet.layers.window import Window
from tinynet.models import Sequential
from tinynet.network import Network
from tinynet.plan import Plan

Array = np.ndarray


pytestmark = pytest.mark.usefixtures("as_with_vectors")


@pytest.fixture
def runs():
    """Notes for each call of a plan how many samples it was for."""
    with mock.patch.object(Plan, "run", autospec=True, side_effect=Plan.run) as run:
        yield lambda: [len(call.args[1]) for call in run.call_args_list]


def randomise(model: Sequential, seed: int = 0) -> Sequential:
    """Biases are zero at first, which says little."""
    rng = np.random.default_rng(seed)
    for param in model.params.values():
        param[...] = rng.normal(0, 0.5, param.shape)
    return model


def small_lenet(**options: Any) -> Sequential:
    """Every kind of layer that has a kernel, and networks in the network."""
    features = [Conv2D(4, 3, padding="same", activation="relu"), MaxPooling2D(), Conv2D(3, 2), AveragePooling2D(2)]
    head = [Flatten(), Dropout(0.5), Dense(6, activation="softmax"), ReLU(), Dense(5, use_bias=False)]
    layers = [Input((12, 9, 1)), Sequential(features), *head, Activation("linear"), Softmax()]
    return randomise(Sequential(layers, seed=0, **options))


def images(n: int, shape: tuple[int, ...] = (12, 9, 1)) -> Array:
    return normal(1, (n, *shape), np.float32, zeros=0.5)


def by_forward(model: Sequential, x: Array, batch_size: int = 32) -> Array:
    """What ``forward`` says of the same pieces."""
    pieces = [
        np.asarray(x)[batch][rows].astype(model.dtype)
        for batch in sharding.batches(len(x), batch_size)
        for rows in sharding.shards(model, slice(0, batch.stop - batch.start))
    ]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate([model.forward(piece)[0] for piece in pieces])


def assert_same_bits(model: Sequential, x: Array, batch_size: int = 32) -> Array:
    outputs = model.predict(x, batch_size=batch_size)
    expected = by_forward(model, x, batch_size)
    assert outputs.dtype == expected.dtype
    np.testing.assert_array_equal(outputs.view(np.uint8), expected.view(np.uint8))
    return outputs


# The same results --------------------------------------------------------------------------------------------------


@st.composite
def layers_in_a_row(pick: st.DrawFn) -> tuple[tuple[int, ...], list[Layer]]:
    """Any layers that fit, for images or vectors."""
    shape = pick(st.tuples(st.integers(4, 9), st.integers(4, 9), st.integers(1, 3)))
    windows = {"strides": st.integers(1, 3), "padding": st.sampled_from(["same", "valid"])}
    kinds: dict[str, st.SearchStrategy[Layer]] = {
        "convolution": st.builds(
            Conv2D,
            st.integers(1, 18),
            st.tuples(st.integers(1, 3), st.integers(1, 3)),
            activation=draw.activations,
            use_bias=st.booleans(),
            **windows,
        ),
        "maxima": st.builds(MaxPooling2D, st.integers(1, 3), **windows),
        "means": st.builds(AveragePooling2D, st.integers(1, 3), **windows),
        "activation": st.builds(Activation, draw.activations),
        "dropout": st.builds(Dropout, st.just(0.5)),
        "dense": st.builds(Dense, st.integers(1, 60), activation=draw.activations, use_bias=st.booleans()),
    }
    spatial = st.sampled_from(["convolution", "maxima", "means", "activation", "dropout"])
    names = pick(st.lists(spatial, max_size=4))
    names += ["flatten", *pick(st.lists(st.sampled_from(["dense", "activation", "dropout"]), max_size=3))]
    model, chosen = Sequential([Input(shape)]), []
    for name in names:
        layer = Flatten() if name == "flatten" else pick(kinds[name])
        try:
            model.add(layer)
        except ValueError:  # a window that does not fit any more
            continue
        chosen.append(layer)
    return shape, chosen


@pytest.mark.parametrize("n", [1, 9])
def test_a_convolution_by_winograds_algorithm(n, runs):
    layers = [Conv2D(24, 3, activation="relu"), MaxPooling2D(), Conv2D(25, (3, 5), padding="same"), Flatten(), Dense(3)]
    model = randomise(Sequential([Input((7, 9, 16)), *layers]))
    assert_same_bits(model, images(n, (7, 9, 16)))
    assert runs() == [n]
    assert [step.step.kernel for step in model.plan.steps].count(kernels.winograd) == 2


def test_weights_changed_in_place_are_seen_by_winograds_algorithm(runs):
    model = Sequential([Input((7, 9, 16)), Conv2D(24, 3), MaxPooling2D(), Flatten(), Dense(3)])
    x = images(1, (7, 9, 16))
    before = model.predict(x, verbose=0)
    model.layers[0].params["W"][1, 1, 5, 23] += 1
    assert_same_bits(model, x)
    assert (model.predict(x, verbose=0) != before).any()
    assert runs() == [1, 1, 1]


@given(
    drawn=layers_in_a_row(),
    n=st.integers(1, 9) | st.sampled_from([33, 70]),
    batch_size=st.sampled_from([1, 4, 32, 70]),
    split=st.integers(0, 3),
    dtype=draw.dtypes,
    layout=draw.layouts,
    special=st.booleans(),
    seed=draw.seeds,
)
def test_any_network_predicts_what_its_forward_pass_says(drawn, n, batch_size, split, dtype, layout, special, seed):
    shape, layers = drawn
    for layer in layers:  # to build them once more
        layer.name = layer.input_shape = layer.output_shape = None
        layer.params = {}
    nested = [Sequential(layers[:split])] if split else []
    model = randomise(Sequential([Input(shape), *nested, *layers[split:]], num_threads=2), seed).astype(dtype)
    x = normal(seed, (n, *shape), np.float32, zeros=0.5)
    if special:
        x.reshape(-1)[:: x.size // 5][:5] = [np.nan, np.inf, -np.inf, -0.0, 1e30]
    assert_same_bits(model, lay_out(x, layout), batch_size)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 32, 33, 40, 64, 65, 100, 129])
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_call_for_shards_that_go_together(runs, n, num_threads, dtype):
    model = small_lenet(num_threads=num_threads).astype(dtype)
    assert_same_bits(model, images(n), batch_size=n)
    groups = sharding.in_groups(sharding.shards(model, slice(0, n)), num_threads)
    assert sorted(runs()) == sorted(sum(rows.stop - rows.start for rows in group) for group in groups)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, np.float64, np.float16])
def test_samples_of_any_type(runs, kind):
    assert_same_bits(small_lenet(), (10 * np.abs(images(5))).astype(kind))
    assert runs() == [5]


def test_samples_are_left_as_they_are():
    model, x = small_lenet(), images(40)
    before = x.copy()
    model.predict(x)
    np.testing.assert_array_equal(x, before)


def test_the_outputs_are_new_each_time():
    model = small_lenet()
    first = model.predict(images(2))
    before = first.copy()
    second = model.predict(-images(2))
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_threads_change_no_bit(num_threads):
    expected = small_lenet(num_threads=1).predict(images(150), batch_size=150)
    outputs = small_lenet(num_threads=num_threads).predict(images(150), batch_size=150)
    np.testing.assert_array_equal(outputs, expected)


def test_several_threads_may_use_one_model():
    model, x = small_lenet(num_threads=2), images(150)
    expected, outputs = model.predict(x), [np.empty(0)] * 4
    rounds = 1 if numba.config.DISABLE_JIT else 20  # each of them takes two seconds in plain Python

    def work(number: int) -> None:
        for _ in range(rounds):
            outputs[number] = model.predict(x)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for output in outputs:
        np.testing.assert_array_equal(output, expected)


def test_programs_for_other_numbers_of_samples_are_kept():
    model = Sequential([Input((4,)), Dense(3)])
    with mock.patch.object(passes, "prediction", side_effect=passes.prediction) as prediction:
        for n in (3, 5, 3, 5):
            model.predict(images(n, (4,)))
    assert prediction.call_count == 2


def test_layers_of_four_axes_or_two_and_networks_without_parameters(runs):
    for shape in [(2, 3, 2, 4), (3, 4), (4,)]:
        model = Sequential([Input(shape), ReLU(), Softmax()])
        assert_same_bits(model, images(3, shape))
    assert runs() == [3, 3, 3]


# When there is no plan ---------------------------------------------------------------------------------------------


class Halved(Dense):
    def forward(self, x: Array) -> tuple[Array, Any]:
        y, cache = super().forward(x)
        return y / 2, cache


class Doubled(Dense):
    """Changes what ``forward`` calls, and not ``forward``."""

    def weights_as(self, dtype: Any) -> tuple[Array, Array]:
        W, b = super().weights_as(dtype)
        return 2 * W, b


class Sign(ReLU):
    def forward(self, x: Array) -> tuple[Array, Any]:
        return np.sign(x), x


class Shifted(Sequential):
    def forward(self, x: Array, rng: Any = None) -> tuple[Array, Any]:
        y, cache = super().forward(x, rng)
        return y + 1, cache


class Own(Layer):
    def make(self, input_shape: Any, rng: Any) -> Any:
        return input_shape

    def forward(self, x: Array) -> tuple[Array, Any]:
        return x * x, None


class Plain(Sequential):
    """Computes what a Sequential does."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential([Input((4,)), Dense(3), Halved(5)]),
        lambda: Sequential([Input((4,)), Dense(3), Doubled(5)]),
        lambda: Sequential([Input((4,)), Dense(3, activation=Sign())]),
        lambda: Sequential([Input((4,)), Dense(3), Activation(Sign())]),
        lambda: Sequential([Input((4,)), Dense(3), Own()]),
        lambda: Sequential([Input((4,)), Dense(3), Activation("tanh")]),
        lambda: Sequential([Input((4,)), Dense(3, activation="sigmoid")]),
        lambda: Shifted([Input((4,)), Dense(3)]),
        lambda: Sequential([Input((4,)), Shifted([Dense(3)])]),
        lambda: Sequential([Input((4,)), Dropout(0.5)]),
    ],
)
def test_what_needs_more_than_kernels_goes_by_forward(runs, make):
    model = randomise(make())
    assert_same_bits(model, images(3, (4,)))
    assert runs() == []


def test_a_class_derived_from_sequential_is_one(runs):
    assert_same_bits(randomise(Plain([Input((4,)), Plain([Dense(3)])])), images(3, (4,)))
    assert runs() == [3]


def test_a_layer_of_ones_own_may_say_its_steps(runs):
    class Positive(Layer):
        def make(self, input_shape: Any, rng: Any) -> Any:
            return input_shape

        def forward(self, x: Array) -> tuple[Array, Any]:
            return np.maximum(x, 0), None

        def kernel_steps(self) -> list[Step]:
            return [Step(kernels.relu)]

    assert_same_bits(randomise(Sequential([Input((4,)), Dense(3), Positive()])), images(3, (4,)))
    assert runs() == [3]


def test_without_vectors_prediction_goes_by_forward(runs, monkeypatch):
    monkeypatch.setattr(kernels, "VECTOR_BYTES", 0)
    for n in (1, 3):
        assert_same_bits(small_lenet(), images(n))
    assert runs() == []


def test_many_samples_times_many_weights_are_left_to_blas(runs):
    model = randomise(Sequential([Input((17000,)), Dense(3)]))
    assert_same_bits(model, images(2, (17000,)))
    assert runs() == []
    assert_same_bits(model, images(1, (17000,)))
    assert runs() == [1]


def test_large_filters_are_left_to_blas(runs):
    model = randomise(Sequential([Input((5, 5, 60)), Conv2D(100, 5)]))
    assert_same_bits(model, images(2, (5, 5, 60)))
    assert runs() == []


def test_layers_know_whether_they_have_steps():
    dense = Dense(3)
    dense.build((4,), np.random.default_rng(0))
    (step,) = steps_of(dense)
    assert step.W is dense.params["W"]
    assert step.b is dense.params["b"]
    assert steps_of(Own()) is Own().kernel_steps() is None


# What has changed since the last time ------------------------------------------------------------------------------


def rebind(model: Sequential) -> None:
    dense = model.layers[-1]
    dense.params["W"] = dense.params["W"] + 1


def rebind_bias(model: Sequential) -> None:
    conv = model.layers[0].layers[0]
    conv.params["b"] = conv.params["b"] + 1


def other_dictionary(model: Sequential) -> None:
    model.layers[-1].params = {key: param + 1 for key, param in model.layers[-1].params.items()}


def other_dictionary_with_an_old_array(model: Sequential) -> None:
    """And then another array in that one."""
    dense = model.layers[-1]
    dense.params = dict(dense.params)
    model.predict(images(1))
    rebind(model)


def all_params(model: Sequential) -> None:
    model.params = {key: param + 1 for key, param in model.params.items()}


def in_place(model: Sequential) -> None:
    model.layers[-1].params["W"][...] += 1


def set_weights(model: Sequential) -> None:
    model.set_weights([weight + 1 for weight in model.get_weights()])


def another_dtype(model: Sequential) -> None:
    dense = model.layers[-1]
    dense.params["W"] = dense.params["W"].astype(np.float64) + 1


def other_strides(model: Sequential) -> None:
    dense = model.layers[-1]
    dense.params["W"] = np.asfortranarray(dense.params["W"] + 1)


def unaligned(model: Sequential) -> None:
    dense = model.layers[-1]
    W = np.frombuffer(b"x" + (dense.params["W"] + 1).tobytes(), np.uint8)[1:].view(np.float32)
    dense.params["W"] = W.reshape(dense.params["W"].shape)


def add(model: Sequential) -> None:
    model.add(ReLU())


def add_inside(model: Sequential) -> None:
    model.layers[0].add(ReLU())


def take_away(model: Sequential) -> None:
    model.pop()


def take_away_from_the_list(model: Sequential) -> None:
    model.layers.pop()


def widen_inside(model: Sequential) -> None:
    """By far, so that its outputs would not fit where the old ones did."""
    del model.layers[1:]
    model.layers[0].add(Conv2D(500, 2))


def replace_layer(model: Sequential) -> None:
    other = Dense(5, name="other")
    other.build((15,), np.random.default_rng(5))
    model.layers[-1] = other


def other_layers(model: Sequential) -> None:
    replaced = [*model.layers]
    replaced[-1] = Dense(5, name="other")
    replaced[-1].build((15,), np.random.default_rng(5))
    model.layers = replaced


def other_layers_inside(model: Sequential) -> None:
    model.layers[0].layers = model.layers[0].layers[:1]
    model.layers[0].layers[0].activation = ReLU()


def activation(model: Sequential) -> None:
    model.layers[-1].activation = "relu"


def function(model: Sequential) -> None:
    model.layers[1].function = Softmax()
    model.layers[1].function.build((3, 5, 1), np.random.default_rng(0))


def no_bias(model: Sequential) -> None:
    model.layers[-1].use_bias = False


def own_forward(model: Sequential) -> None:
    forward = model.layers[-1].forward
    model.layers[-1].forward = lambda x: (forward(x)[0] + 1, None)


def own_forward_of_the_activation(model: Sequential) -> None:
    model.layers[-1].activation.forward = lambda x: (x + 1, None)


def own_forward_of_the_model(model: Sequential) -> None:
    forward = model.forward
    model.forward = lambda x: (forward(x)[0] + 1, None)


def own_forward_inside(model: Sequential) -> None:
    forward = model.layers[0].forward
    model.layers[0].forward = lambda x: (forward(x)[0] + 1, None)


def training_step(model: Sequential) -> None:
    model.add(Softmax())
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.predict(images(1))
    model.train_on_batch(images(4), [0, 1, 2, 3])


CHANGES: list[Callable[[Sequential], None]] = [
    rebind,
    rebind_bias,
    other_dictionary,
    other_dictionary_with_an_old_array,
    all_params,
    in_place,
    set_weights,
    another_dtype,
    other_strides,
    unaligned,
    add,
    add_inside,
    take_away,
    take_away_from_the_list,
    widen_inside,
    replace_layer,
    other_layers,
    other_layers_inside,
    activation,
    function,
    no_bias,
    own_forward,
    own_forward_of_the_activation,
    own_forward_of_the_model,
    own_forward_inside,
    training_step,
]


def network() -> Sequential:
    inner = Sequential([Conv2D(1, 3), Activation("linear")])
    return randomise(Sequential([Input((5, 7, 1)), inner, Activation("linear"), Flatten(), Dense(5)]))


images_of_network = images(3, (5, 7, 1))


@pytest.mark.parametrize("kind", [Conv2D, Flatten, Dense, Linear, Sequential, Network], ids=lambda kind: kind.__name__)
def test_another_forward_of_a_class_is_called(kind, monkeypatch):
    model, x = network(), images_of_network
    before = assert_same_bits(model, x)
    forward = kind.forward
    with monkeypatch.context() as patch:
        patch.setattr(kind, "forward", lambda *args: (forward(*args)[0] + 1, None))
        for changed in (model, network()):
            assert not np.array_equal(assert_same_bits(changed, x), before)
    np.testing.assert_array_equal(assert_same_bits(model, x), before)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_model_predicts_anew(change, monkeypatch):
    monkeypatch.setattr("test_plan.images", lambda n, shape=(5, 7, 1): images_of_network[[0] * n])
    model, x = network(), images_of_network
    before = assert_same_bits(model, x)
    change(model)
    after = assert_same_bits(model, x)
    assert after.shape == (len(x), *model.output_shape)
    assert not np.array_equal(before, after), "the change is one that shows"
    assert_same_bits(model, x)


def test_a_window_that_no_longer_fits_is_not_for_kernels(runs):
    model = randomise(Sequential([Input((6, 6, 1)), Conv2D(2, 3, activation="relu")]))
    model.predict(images(1, (6, 6, 1)))
    model.layers[0].window = Window((3, 3), (2, 2), "valid")
    assert model.layers[0].forward(images(1, (6, 6, 1)))[0].shape == (1, 2, 2, 2)
    with pytest.raises(
        ValueError, match=r"Conv2D 'conv2d': make says .* shape \(1, 4, 4, 2\), but forward gives \(1, 2, 2, 2\)"
    ):
        model.predict(images(1, (6, 6, 1)))
    assert runs() == [1]


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("W", np.ones((5, 3), np.float32)),
        ("W", np.ones((4, 2), np.float32)),
        ("W", np.ones(12, np.float32)),
        ("W", np.ones((4, 3), ">f4")),
        ("b", np.ones(2, np.float32)),
        ("b", np.ones((1, 3), np.float32)),
        ("b", [1.0, 2.0, 3.0]),
        ("b", np.frombuffer(b"x" + bytes(12), np.uint8)[1:].view(np.float32)),
    ],
)
def test_weights_of_another_kind_are_not_for_kernels(name, param):
    model = randomise(Sequential([Input((6,)), Dense(4), Dense(3)]))
    assert Plan(model).takes(1)
    model.layers[1].params[name] = param
    assert not Plan(model).takes(1)


def test_an_unchanged_model_keeps_its_plan():
    model = small_lenet()
    model.predict(images(1))
    plan = model.plan
    model.layers[-3].params["W"] += 1
    model.predict(images(2))
    assert model.plan is plan
    assert plan.is_current(model)


def test_a_plan_without_steps_is_of_its_time_too():
    """The dtype of the outputs is that of the first parameter, which may come after what needs more than kernels."""
    model = randomise(Sequential([Input((4,)), Activation("tanh"), Dense(3)]))
    assert model.predict(images(2, (4,))).dtype == np.float32
    model.params = {key: param.astype(np.float64) for key, param in model.params.items()}
    assert_same_bits(model, images(2, (4,)))
    assert model.predict(images(2, (4,))).dtype == np.float64


@pytest.mark.parametrize("n", [1, 3])
def test_kernels_see_only_arrays_they_are_compiled_for(n):
    """Another kind would have them compiled anew, which takes seconds."""
    model, x = small_lenet(), images(n)
    expected = model.predict(x)
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    before = getattr(calls.run_calls, "signatures", None)
    for same in (unaligned, *(lay_out(x, layout) for layout in ["F", "every second", "backwards", "read-only"])):
        np.testing.assert_array_equal(model.predict(same), expected)
    assert getattr(calls.run_calls, "signatures", None) == before


def test_callbacks_may_change_the_model_between_batches():
    model, x = network(), images_of_network
    change = LambdaCallback(on_predict_batch_begin=lambda batch, logs: rebind(model))
    outputs = model.predict(x, batch_size=1, callbacks=[change])
    twin = network()
    for i in range(3):
        rebind(twin)
        np.testing.assert_array_equal(outputs[i], by_forward(twin, x[i : i + 1])[0])


def test_callbacks_may_change_the_dtype_between_batches():
    """Outputs stay in that of the beginning."""
    model, expected = network(), network().predict(images_of_network, batch_size=1)

    def change(batch: int, logs: Any) -> None:
        if batch == 1:
            model.params = {key: param.astype(np.float64) for key, param in model.params.items()}

    outputs = model.predict(images_of_network, batch_size=1, callbacks=[LambdaCallback(on_predict_batch_begin=change)])
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, expected)


def test_what_is_replaced_while_a_plan_has_its_address_lives_on():
    model = network()
    model.predict(images_of_network)
    W = model.layers[-1].params["W"]
    alive = weakref.ref(W)
    plan, expected = model.plan, np.empty((3, 5), np.float32)
    plan.run(images_of_network, expected)
    del W
    model.layers[-1].params["W"] = None
    outputs = np.empty((3, 5), np.float32)
    plan.run(images_of_network, outputs)
    np.testing.assert_array_equal(outputs, expected)
    assert alive() is not None


# Copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make_copy",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), lambda model: model.astype(np.float32)],
    ids=["deepcopy", "pickle", "astype"],
)
def test_a_copy_makes_a_plan_of_its_own(make_copy):
    model = small_lenet()
    size = len(pickle.dumps(model))
    expected = model.predict(images(2))
    assert len(pickle.dumps(model)) < size + 50
    twin = make_copy(model)
    assert twin.plan is None
    for param in model.params.values():
        param[...] = 0
    np.testing.assert_array_equal(twin.predict(images(2)), expected)
    assert_same_bits(model, images(2))


def test_a_shallow_copy_with_other_layers_makes_a_plan_of_its_own():
    model = network()
    model.predict(images_of_network)
    twin = copy.copy(model)
    twin.layers = [*model.layers, ReLU(name="last")]
    twin.layers[-1].build((5,), np.random.default_rng(0))
    assert_same_bits(twin, images_of_network)
    assert_same_bits(model, images_of_network)


def test_a_plan_keeps_no_model_alive():
    model = small_lenet()
    model.predict(images(1))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()
