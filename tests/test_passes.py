"""Gradients in one call: bit for bit what the layers' own passes compute, and only where these are known."""

import copy
from typing import Any
from unittest import mock

import numba
import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st
from strategies import lay_out, normal

from tinynet import kernels, passes, sharding, training
from tinynet.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    ReLU,
    Softmax,
)
from tinynet.layers.step import Step
from tinynet.losses import SparseCategoricalCrossentropy
from tinynet.models import Sequential
from tinynet.plan import Plan

Array = np.ndarray
pytestmark = pytest.mark.usefixtures("as_with_vectors")


def compiled(layers: list[Layer], loss: Any = "sparse_categorical_crossentropy", **options: Any) -> Sequential:
    """A network with random weights and biases."""
    model = Sequential(layers, seed=0, **options)
    rng = np.random.default_rng(0)
    for param in model.params.values():
        param[...] = rng.normal(0, 0.5, param.shape)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def of_batch(model: Sequential, x: Array, classes: Array) -> tuple[training.BatchResult, list[bool]]:
    """What a batch comes to, and of each shard that had a program whether that was enough."""
    complete = []

    def gradients(plan: Plan, *args: Any, original: Any = Plan.gradients) -> Any:
        result = original(plan, *args)
        complete.append(result is not None)
        return result

    with mock.patch.object(Plan, "gradients", gradients), np.errstate(all="ignore"):
        return summed_batch(model, x, classes), complete


def by_layers(model: Sequential, x: Array, classes: Array) -> training.BatchResult:
    with mock.patch.object(Plan, "goes_back", return_value=False), np.errstate(all="ignore"):
        return summed_batch(model, x, classes)


def summed_batch(model: Sequential, x: Array, classes: Array) -> training.BatchResult:
    result = training.run_batch(model, x, classes)
    training.add_up(model, result.grads, len(x))
    return result


def assert_same(got: training.BatchResult, expected: training.BatchResult) -> None:
    assert list(got.grads) == list(expected.grads)
    assert got.metrics == expected.metrics
    np.testing.assert_array_equal(got.loss, expected.loss)
    for name, grad in expected.grads.items():
        assert (got.grads[name].shape, got.grads[name].dtype) == (grad.shape, grad.dtype)
        np.testing.assert_array_equal(got.grads[name], grad, err_msg=name)


def classes_for(n: int, num_classes: int = 3) -> Array:
    return np.random.default_rng(n).integers(0, num_classes, n)


@st.composite
def networks(pick: st.DrawFn) -> tuple[tuple[int, ...], list[Layer], bool]:
    """Layers for images, or vectors; and whether they end in a softmax."""
    relus = st.lists(st.sampled_from(["relu", "linear", "ReLU"]), max_size=2)

    def activations() -> list[Layer]:
        return [ReLU() if name == "ReLU" else Activation(name) for name in pick(relus)]

    shape: tuple[int, ...] = (pick(st.integers(1, 20)),)
    layers: list[Layer] = []
    options = {"activation": st.sampled_from([None, "relu"]), "use_bias": st.booleans()}
    if pick(st.booleans()):
        shape = pick(st.tuples(st.integers(4, 8), st.integers(4, 8), st.integers(1, 3) | st.just(16)))
        for _ in range(pick(st.integers(1, 2))):
            window = st.tuples(st.integers(1, 3), st.integers(1, 3))
            filters, size = pick(st.integers(1, 9) | st.just(24)), pick(window | st.just(3))
            chosen = {name: pick(option) for name, option in options.items()}
            strides = pick(st.just(1) | st.integers(1, 2))
            layers += [Conv2D(filters, size, strides, "same", **chosen), *activations()]
            pool = pick(st.just((2, 2)) | window)
            more = pick(st.tuples(st.integers(0, 1), st.integers(0, 1)))
            layers += [MaxPooling2D(pool, [k + m for k, m in zip(pool, more, strict=True)], "same"), *activations()]
        layers.append(Flatten())
    for _ in range(pick(st.integers(0, 2))):
        layers += [Dense(pick(st.integers(1, 30)), **{name: pick(o) for name, o in options.items()}), *activations()]
    softmax = pick(st.sampled_from(["layer", "activation", "none"]))
    layers.append(Dense(3, activation="softmax" if softmax == "activation" else None, use_bias=pick(st.booleans())))
    return shape, [*layers, *([Softmax()] if softmax == "layer" else [])], softmax != "none"


@given(
    drawn=networks(),
    n=st.integers(1, 9) | st.sampled_from([33, 70]),
    num_threads=st.sampled_from([1, 2]),
    zeros=st.sampled_from([0.0, 0.8]),
    dtype=draw.dtypes,
    layout=draw.layouts,
    special=st.booleans(),
    large=st.sampled_from([0, 1 << 17]),
    seed=draw.seeds,
)
def test_gradients_are_those_of_the_layers(drawn, n, num_threads, zeros, dtype, layout, special, large, seed):
    shape, layers, ends_in_softmax = drawn
    loss = SparseCategoricalCrossentropy(from_logits=not ends_in_softmax)
    model = compiled([Input(shape), *copy.deepcopy(layers)], loss, num_threads=num_threads).astype(dtype)
    x = normal(seed, (n, *shape), dtype, zeros=zeros)
    if special:
        x.reshape(-1)[:: x.size // 5 or 1][:5] = [np.nan, np.inf, -np.inf, -0.0, 1e30][: x.size]
    with mock.patch("tinynet.layers.outer_products.LARGE", large):
        expected = by_layers(model, x, classes_for(n))
        assert_same(of_batch(model, lay_out(x, layout), classes_for(n))[0], expected)


def lenet(**options: Any) -> Sequential:
    """The notebook's, with fewer units."""
    first = [Input((28, 28, 1)), Conv2D(20, 5, padding="same"), Activation("relu"), MaxPooling2D(2, 2)]
    second = [Conv2D(50, 5, padding="same"), Activation("relu"), MaxPooling2D(2, 2), Flatten()]
    return compiled([*first, *second, Dense(60), Activation("relu"), Dense(10), Activation("softmax")], **options)


def lenet5(**options: Any) -> Sequential:
    first = [Input((28, 28, 1)), Conv2D(6, 5, padding="same", activation="relu"), MaxPooling2D(2)]
    second = [Conv2D(16, 5, activation="relu"), MaxPooling2D(2), Flatten()]
    head = [Dense(120, activation="relu"), Dense(84, activation="relu"), Dense(10, activation="softmax")]
    return compiled([*first, *second, *head], **options)


def small(*layers: Layer, **options: Any) -> Sequential:
    return compiled([Input((8, 8, 1)), *layers, Flatten(), Dense(3, activation="softmax")], **options)


def pooled(*after: Layer, **options: Any) -> Sequential:
    return small(Conv2D(16, 3, padding="same", activation="relu"), MaxPooling2D(), *after, **options)


def digits(n: int, size: int = 8) -> Array:
    """As sparse as digits are, or more."""
    return np.maximum(normal(n, (n, size, size, 1), np.float32, zeros=0.8), 0)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes minutes in plain Python")
@pytest.mark.parametrize("make", [lenet, lenet5])
def test_every_shard_of_the_usual_networks_is_one_call(make):
    model, x, classes = make(num_threads=2), digits(40, 28), classes_for(40, 10)
    result, complete = of_batch(model, x, classes)
    assert complete == [True] * len(sharding.shards(model, slice(0, 40)))
    assert_same(result, by_layers(model, x, classes))


def test_a_convolution_with_strides_goes_in_one_call_too():
    first = Conv2D(16, 3, padding="same", activation="relu")
    strided = Conv2D(8, 3, strides=2, padding="same", activation="relu")
    model, x = small(first, MaxPooling2D(), strided, MaxPooling2D(), num_threads=2), digits(40)
    result, complete = of_batch(model, x, classes_for(40, 3))
    assert complete == [True, True]
    assert_same(result, by_layers(model, x, classes_for(40, 3)))


@pytest.mark.parametrize(("batch_size", "large"), [(33, 1 << 17), (80, 0), (100, 0)])
def test_training_is_the_same_for_any_number_of_threads_and_by_layers(monkeypatch, batch_size, large):
    """Batches of two shards and then a single image, of four and then two, and of four."""
    monkeypatch.setattr("tinynet.layers.outer_products.LARGE", large)
    monkeypatch.setattr(sharding, "SMALL_NETWORK", 0)

    def trained(**options: Any) -> Sequential:
        model = pooled(**options)
        model.fit(digits(100), classes_for(100), epochs=1, batch_size=batch_size, verbose=0)
        return model

    with mock.patch.object(Plan, "goes_back", return_value=False):
        expected = trained(num_threads=1)
    for num_threads in (1, 2, 3):
        for weight, other in zip(expected.get_weights(), trained(num_threads=num_threads).get_weights(), strict=True):
            np.testing.assert_array_equal(weight, other)


def test_dense_gradients_are_left_to_the_layers():
    """Without pooling to speak of, and with images that have no zeros, the sparse kernels would take longer."""
    model = compiled([Input((6, 6, 1)), Conv2D(2, 3), MaxPooling2D(1), Flatten(), Dense(3, activation="softmax")])
    x = normal(0, (5, 6, 6, 1), np.float32)
    result, complete = of_batch(model, x, classes_for(5))
    assert complete == [False]
    assert_same(result, by_layers(model, x, classes_for(5)))


def twice_pooled(**options: Any) -> Sequential:
    layers: list[Layer] = []
    for filters in (16, 8):
        layers += [Conv2D(filters, 3, padding="same", activation="relu"), MaxPooling2D()]
    return small(*layers, Flatten(), Dense(12, activation="relu"), **options)


@pytest.mark.parametrize("make", [pooled, twice_pooled])
def test_two_shards_of_one_thread_go_together(make):
    n = sharding.SHARD_SIZE
    model, x = make(num_threads=1), digits(2 * n)
    x[n:] *= normal(0, (n, 8, 8, 1), np.float32, zeros=0.5)  # the second one has more zeros
    result, complete = of_batch(model, x, classes_for(2 * n))
    assert complete == [True]
    assert_same(result, by_layers(model, x, classes_for(2 * n)))


@pytest.mark.parametrize("dense", [slice(0, 32), slice(32, 64), slice(0, 64)])
def test_two_shards_of_which_one_is_dense_or_both_are(dense):
    model, x = pooled(num_threads=1), digits(64)
    x[dense] = 1
    result, complete = of_batch(model, x, classes_for(64))
    assert complete == [False]
    assert_same(result, by_layers(model, x, classes_for(64)))


def test_one_image_with_zeros_and_one_without():
    """Which of the two sparse ways is taken depends on the data, and the program has both."""
    layers = [Input((12, 12, 8)), Conv2D(12, 5, padding="same", activation="relu"), MaxPooling2D(), Flatten()]
    model = compiled([*layers, Dense(3, activation="softmax")])
    for zeros in (0.95, 0.0):
        x = normal(0, (5, 12, 12, 8), np.float32, zeros=zeros)
        by_pixels = [call for call in _calls_of_sum_patches(model, x) if call[0].shape[-1] == 12]
        assert len(by_pixels) == (zeros > 0)
        result, complete = of_batch(model, x, classes_for(5))
        assert complete == [True]
        assert_same(result, by_layers(model, x, classes_for(5)))


def _calls_of_sum_patches(model: Sequential, x: Array) -> list[Any]:
    with mock.patch.object(kernels, "sum_patches", side_effect=kernels.sum_patches) as sum_patches:
        by_layers(model, x, classes_for(len(x)))
    return [call.args for call in sum_patches.call_args_list]


def test_a_relu_of_its_own_after_weights_that_are_large(monkeypatch):
    """What these weights' gradient is made of must be among the results, or there would be nothing to return."""
    monkeypatch.setattr("tinynet.layers.outer_products.LARGE", 0)
    model, x = small(Flatten(), Dense(12), ReLU()), digits(5)
    result, complete = of_batch(model, x, classes_for(5))
    assert complete == [True]
    assert_same(result, by_layers(model, x, classes_for(5)))


class Bent(Dense):
    """Has a backward pass of its own."""

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Any:
        dx, grads = super().backward(dy, cache, need_dx=need_dx)
        return dx, {key: 2 * grad for key, grad in grads.items()}


class BentReLU(ReLU):
    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Any:
        return dy, {}


class Straight(BentReLU):
    """Says what its forward pass comes to, and has a backward pass of its own all the same."""

    def kernel_steps(self) -> list[Step]:
        return [Step(kernels.relu)]


class BentNetwork(Sequential):
    def backward_unsummed(self, dy: Array, cache: Any, *, need_dx: bool = True) -> Any:
        dx, grads = super().backward_unsummed(dy, cache, need_dx=need_dx)
        return dx, {key: 0 * grad for key, grad in grads.items()}


class BentLoss(SparseCategoricalCrossentropy):
    def value_and_gradient(self, logits: Array, classes: Array) -> tuple[Array, Array]:
        losses, dlogits = super().value_and_gradient(logits, classes)
        return losses, 2 * dlogits


def with_backward_of_its_own(model: Sequential, owner: Any, name: str) -> Sequential:
    """The model, of which one object has been given another method."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **options: original(*args, **options))
    return model


@pytest.mark.parametrize(
    "make",
    {
        "a derived layer": lambda: small(Flatten(), Bent(9)),
        "a derived activation": lambda: small(Flatten(), Dense(9, activation=BentReLU())),
        "a derived layer that says its steps": lambda: small(Flatten(), Dense(9), Straight()),
        "a derived activation as a layer": lambda: small(Flatten(), Dense(9), BentReLU()),
        "a layer's own method": lambda: (
            (m := small(Flatten(), Dense(9))) and with_backward_of_its_own(m, m.layers[1], "backward")
        ),
        "an activation's own method": lambda: (
            (m := small(Flatten(), Dense(9, activation="relu")))
            and with_backward_of_its_own(m, m.layers[1].activation, "backward_unsummed")
        ),
        "the loss's own method": lambda: (
            (m := small(Flatten())) and with_backward_of_its_own(m, m.loss, "value_and_gradient")
        ),
        "dropout": lambda: small(Flatten(), Dense(9), Dropout(0.5)),
        "a network in the network": lambda: small(Flatten(), Sequential([Dense(9)])),
        "tanh": lambda: small(Flatten(), Dense(9, activation="tanh")),
        "softmax in the middle": lambda: small(Flatten(), Dense(9, activation="softmax")),
        "a softmax whose outputs are the logits": lambda: compiled(
            [Input((8, 8, 1)), Flatten(), Dense(3, activation="softmax"), Flatten()],
            SparseCategoricalCrossentropy(from_logits=True),
        ),
        "a convolution that is not pooled": lambda: small(Conv2D(4, 3)),
        "a convolution after another": lambda: small(Conv2D(4, 3), Conv2D(4, 3), MaxPooling2D()),
        "means": lambda: small(Conv2D(4, 3), AveragePooling2D()),
        "pooling twice": lambda: small(Conv2D(4, 3), MaxPooling2D(), MaxPooling2D()),
        "pooling first": lambda: small(MaxPooling2D(), Conv2D(4, 3), MaxPooling2D()),
        "windows that overlap": lambda: small(Conv2D(4, 3), MaxPooling2D(3, 2)),
        "too few rows for a kernel": lambda: small(Flatten(), Dense(kernels.TILE - 1), Dense(9)),
        "a ReLU at the end": lambda: compiled(
            [Input((8, 8, 1)), Flatten(), Dense(3, activation="relu")], SparseCategoricalCrossentropy(from_logits=True)
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_it_does_not_know_is_left_to_the_layers(make):
    model, x, classes = make[1](), normal(0, (4, 8, 8, 1), np.float32), classes_for(4)
    state = copy.deepcopy(model.rng)
    result, complete = of_batch(model, x, classes)
    assert complete == []
    model.rng = state
    assert_same(result, by_layers(model, x, classes))


def doubled(backward: Any) -> Any:
    """The backward pass, but each gradient twice."""

    def twice(*args: Any, **options: Any) -> Any:
        dx, grads = backward(*args, **options)
        return dx, {key: 2 * grad for key, grad in grads.items()}

    return twice


@pytest.mark.parametrize("large", [0, 1 << 17])  # a large gradient is not added up by ``backward``
@pytest.mark.parametrize("owner", ["layer", "class"])
@pytest.mark.parametrize("kind", [Conv2D, Dense], ids=lambda kind: kind.__name__)
def test_another_backward_pass_of_a_layer_or_its_class_is_called(kind, owner, large, monkeypatch):
    monkeypatch.setattr("tinynet.layers.outer_products.LARGE", large)
    model, x, classes = pooled(Flatten(), Dense(9)), digits(5), classes_for(5)
    usual, complete = of_batch(model, x, classes)
    assert complete == [True]
    layer = next(layer for layer in model.layers if type(layer) is kind)
    place = layer if owner == "layer" else kind
    monkeypatch.setattr(place, "backward", doubled(place.backward), raising=False)
    changed = [other.name for other in model.layers if other is layer or (owner == "class" and type(other) is kind)]
    result, complete = of_batch(model, x, classes)
    assert complete == []
    for name, grad in usual.grads.items():
        factor = 2 if name.split("/")[0] in changed else 1
        np.testing.assert_allclose(result.grads[name], factor * grad, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["network", "loss"])
def test_derived_networks_and_losses_go_back_their_own_way(kind):
    layers, x, classes = [Input((12,)), Dense(3, activation="softmax")], normal(0, (4, 12), np.float32), classes_for(4)
    usual = compiled(layers)
    other = (
        BentNetwork([Input((12,)), Dense(3, activation="softmax")], seed=0)
        if kind == "network"
        else compiled([Input((12,)), Dense(3, activation="softmax")])
    )
    other.compile("sgd", "sparse_categorical_crossentropy" if kind == "network" else BentLoss())
    other.set_weights(usual.get_weights())
    (result, _), factor = of_batch(other, x, classes), {"network": 0, "loss": 2}[kind]
    expected = by_layers(usual, x, classes)
    for grad, usual_grad in zip(result.grads.values(), expected.grads.values(), strict=True):
        np.testing.assert_allclose(grad, factor * usual_grad, rtol=1e-6)


def test_parameters_that_are_put_in_the_place_of_others():
    model, x, classes = pooled(), digits(5), classes_for(5)
    before, _ = of_batch(model, x, classes)
    model.params = {key: 2 * param for key, param in model.params.items()}
    after, complete = of_batch(model, x, classes)
    assert complete == [True]
    assert after.loss != before.loss
    assert_same(after, by_layers(model, x, classes))


def test_layers_that_are_given_another_name():
    model, x, classes = pooled(), digits(5), classes_for(5)
    of_batch(model, x, classes)
    model.layers[0].name = "first"
    result, complete = of_batch(model, x, classes)
    assert complete == [True]
    assert list(result.grads)[:2] == ["first/W", "first/b"]
    assert_same(result, by_layers(model, x, classes))


def test_layers_and_regularizers_that_are_added():
    model = compiled(
        [Input((12,)), Dense(12, kernel_regularizer="l2")], SparseCategoricalCrossentropy(from_logits=True)
    )
    x, classes = normal(0, (4, 12), np.float32), classes_for(4)
    of_batch(model, x, classes)
    model.add(Activation("relu"))
    model.add(Dense(9))
    result, complete = of_batch(model, x, classes)
    assert complete == [True]
    assert_same(result, by_layers(model, x, classes))


@pytest.mark.parametrize(("layer", "reason"), [(Dense(1), "two or more"), (Softmax(), "expects logits")])
def test_layers_that_are_added_and_do_not_fit_the_loss_are_refused(layer, reason):
    """A callback may add them: nothing but the next batch looks at the network again."""
    model = compiled([Input((12,)), Dense(12)], SparseCategoricalCrossentropy(from_logits=True))
    x, classes = normal(0, (4, 12), np.float32), classes_for(4)
    assert of_batch(model, x, classes)[1] == [True]
    model.add(copy.deepcopy(layer))
    with pytest.raises(ValueError, match=reason):
        of_batch(model, x, classes)


def test_gradients_and_predictions_of_one_model_by_turns():
    model, twin, x, classes = pooled(), pooled(), digits(5), classes_for(5)
    for _ in range(3):
        model.train_on_batch(x, classes)
        with mock.patch.object(Plan, "goes_back", return_value=False):
            twin.train_on_batch(x, classes)
        np.testing.assert_array_equal(model.predict(x), twin.predict(x))


def test_programs_are_made_for_a_few_sizes_at_a_time():
    model = pooled()
    for n in range(2, 14):
        result, complete = of_batch(model, digits(n), classes_for(n))
        assert complete == [True]
        assert_same(result, by_layers(model, digits(n), classes_for(n)))
    assert 0 < len(model.plan._programs) <= 8


def test_paces_are_kept_for_some_sizes_at_a_time():
    model = pooled()
    model.predict(digits(1), batch_size=1)
    paces = [model.plan.pace_of("train", n) for n in range(1000)]
    assert model.plan.pace_of("train", 999) is paces[-1]
    assert 0 < len(model.plan.paces) <= 64


def test_after_a_dense_gradient_some_shards_of_that_size_go_layer_by_layer_at_once(monkeypatch):
    monkeypatch.setattr("tinynet.plan.TRIED_AGAIN", 3)
    model, x, classes = pooled(), np.ones((40, 8, 8, 1), np.float32), classes_for(40, 3)
    assert of_batch(model, x[:20], classes[:20])[1] == [False]  # all ones: nothing is zero
    tried = []
    run = passes.Gradients.run
    monkeypatch.setattr(passes.Gradients, "run", lambda self, *given: tried.append(len(given[0])) or run(self, *given))
    expected = by_layers(model, x[:20], classes[:20])
    for _ in range(3):
        assert_same(summed_batch(model, x[:20], classes[:20]), expected)
    assert tried == []
    summed_batch(model, x[:10], classes[:10])
    assert tried == [10]  # another size
    summed_batch(model, x[:20], classes[:20])
    assert tried == [10, 20]
