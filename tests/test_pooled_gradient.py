"""The gradient that max-pooling hands on without its zeros: the same numbers as with them, and only where it may be."""

from unittest import mock

import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st

from tinynet import kernels
from tinynet.layers import Activation, AveragePooling2D, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, ReLU
from tinynet.layers.layer import Layer
from tinynet.layers.outer_products import OuterProducts
from tinynet.layers.pooled_gradient import PooledGradient, whole
from tinynet.models import Sequential

Array = np.ndarray


def both_ways(network: Sequential, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """The gradients by ``backward``, and as in training."""
    y, cache = network.forward(x)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    _, expected = network.backward(dy, cache)
    _, grads = network.backward_unsummed(dy, cache, need_dx=False)
    summed = {key: grad.sum() for key, grad in grads.items() if isinstance(grad, OuterProducts)}
    return expected, grads | summed


def built(layers: list[Layer], shape: tuple[int, ...], seed: int = 0) -> Sequential:
    network = Sequential(layers, seed=seed)
    network.build(shape)
    return network.astype("float64")


between = st.sampled_from(["nothing", "relu", "tanh", "linear", "ReLU", "dropout"])
windows = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    seed=draw.seeds,
    n=draw.batch_sizes,
    size=st.tuples(st.integers(3, 9), st.integers(3, 9), st.integers(1, 3)),
    conv_strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    activation=draw.activations.filter(lambda name: name != "softmax"),
    between=between,
    pool_size=windows,
    pool_strides=st.none() | windows,
    padding=st.sampled_from(["valid", "same"]),
    zeros=st.sampled_from([0.0, 0.9]),
    nested=st.booleans(),
)
def test_gradients_are_those_of_the_whole_images(
    seed, n, size, conv_strides, activation, between, pool_size, pool_strides, padding, zeros, nested
):
    middle = {"nothing": [], "dropout": [Dropout(0.5)], "ReLU": [ReLU()]}
    layers = [
        Conv2D(4, (2, 3), conv_strides, "same", activation=activation),
        *middle.get(between, [Activation(between)] if between not in middle else []),
        MaxPooling2D(pool_size, pool_strides, "same"),
        Conv2D(5, 2, padding="same", activation="relu"),
        MaxPooling2D(2, padding="same"),
    ]
    tail = [Flatten(), Dense(3)]
    network = built([Sequential(layers), *tail] if nested else layers + tail, size, seed)
    expected, got = both_ways(network, draw.normal(seed, (n, *size), zeros=zeros))
    assert expected.keys() == got.keys()
    for key, grad in expected.items():
        np.testing.assert_allclose(got[key], grad, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Conv2D(8, 3, activation="relu"), MaxPooling2D()],
        lambda: [Conv2D(8, 3), Activation("relu"), MaxPooling2D()],
        lambda: [Conv2D(8, 3), ReLU(), Activation("linear"), MaxPooling2D(2, 3)],
    ],
)
def test_from_pooling_to_convolution_there_are_no_whole_images(layers):
    network = built([*layers(), *layers(), Flatten(), Dense(3)], (16, 16, 8))
    y, cache = network.forward(draw.normal(0, (3, 16, 16, 8)))
    names = ["sum_patches", "add_filters", "max_pool_backward", "relu_backward", "count_nonzero"]
    with mock.patch.multiple(kernels, **{name: mock.Mock(wraps=getattr(kernels, name)) for name in names}):
        network.backward_unsummed(np.ones(y.shape), cache, need_dx=False)
        calls = {name: [call.args for call in getattr(kernels, name).call_args_list] for name in names}
    assert [argmax.size > 0 for *_, argmax, _, _, _, _ in calls["sum_patches"]] == [True, True]
    assert [argmax.size > 0 for _, argmax, *_ in calls["add_filters"]] == [True]
    assert calls["max_pool_backward"] == []
    counted = [id(x) for (x,) in calls["count_nonzero"]]
    assert len(counted) == len(set(counted)), "what is counted for one product need not be counted for another"
    pooled = [argmax.size for *_, argmax, _, _, _, _ in calls["sum_patches"]]
    assert [dy.size for dy, *_ in calls["relu_backward"]] == pooled


def test_an_image_with_an_empty_background_meets_a_gradient_without_whole_images():
    network = built([Conv2D(4, 3, activation="relu"), MaxPooling2D(), Flatten(), Dense(3)], (9, 9, 1))
    with mock.patch.object(kernels, "sum_patches", wraps=kernels.sum_patches) as sum_patches:
        expected, got = both_ways(network, draw.normal(0, (5, 9, 9, 1), zeros=0.95))
    sizes = [(dy.shape, argmax.size > 0) for dy, argmax, *_ in (call.args for call in sum_patches.call_args_list)]
    assert sizes == [((5, 7, 7, 4), False), ((5, 3, 3, 4), True)]
    for key, grad in expected.items():
        np.testing.assert_allclose(got[key], grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "strides", "pooled"),
    [((2, 2), (2, 2), True), ((2, 3), (3, 3), True), ((3, 2), (2, 2), False), ((2, 3), (2, 2), False)],
)
def test_windows_that_overlap_give_whole_images(size, strides, pooled):
    layer = MaxPooling2D(size, strides)
    layer.build((6, 6, 2), np.random.default_rng(0))
    y, cache = layer.forward(draw.normal(0, (2, 6, 6, 2)))
    dy = draw.normal(1, y.shape)
    dx, grads = layer.backward_unsummed(dy, cache)
    assert isinstance(dx, PooledGradient) == pooled
    assert dx.shape == (2, 6, 6, 2)
    assert grads == {}
    np.testing.assert_array_equal(whole(dx), layer.backward(dy, cache)[0])


def test_pooled_images_pooled_again():
    """The outer layer's gradient arrives at the inner one as a pooled one."""
    layers = [Conv2D(3, 2), MaxPooling2D(2), MaxPooling2D(2), AveragePooling2D(1), MaxPooling2D(1), Flatten(), Dense(2)]
    expected, got = both_ways(built(layers, (11, 11, 2)), draw.normal(0, (2, 11, 11, 2)))
    for key, grad in expected.items():
        np.testing.assert_allclose(got[key], grad, rtol=1e-12, atol=1e-12)


def test_a_network_before_pooling_takes_the_pooled_gradient():
    network = built([Conv2D(3, 2), Conv2D(4, 2, activation="relu")], (11, 9, 1))
    pooling = MaxPooling2D()
    pooling.build(network.output_shape, np.random.default_rng(0))
    y, cache = network.forward(draw.normal(0, (6, 11, 9, 1)))
    pooled, pool_cache = pooling.forward(y)
    dy, _ = pooling.backward_unsummed(draw.normal(1, pooled.shape), pool_cache)
    assert isinstance(dy, PooledGradient)
    dx, grads = network.backward_unsummed(dy, cache)
    expected_dx, expected = network.backward(whole(dy), cache)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-12)
    for key, grad in expected.items():
        np.testing.assert_allclose(grads[key], grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dy", [1.0, [1.0, 2.0]])
def test_a_gradient_of_another_shape_is_refused(dy):
    network = built([Conv2D(2, 2), Flatten(), Dense(3)], (3, 3, 1))
    _, cache = network.forward(draw.normal(0, (2, 3, 3, 1)))
    with pytest.raises(ValueError, match=r"dy must have the shape of y, \(2, 3\), got"):
        network.backward(dy, cache)


class DoubledConv2D(Conv2D):
    def backward(self, dy, cache, *, need_dx=True):
        dx, grads = super().backward(dy, cache, need_dx=need_dx)
        return dx, {key: 2 * grad for key, grad in grads.items()}


class LeakyReLU(ReLU):
    def backward(self, dy, cache, *, need_dx=True):
        return np.where(cache > 0, dy, 0.5 * dy), {}


class ShiftedReLU(ReLU):
    """Its cache is not its output."""

    def forward(self, x):
        y, cache = super().forward(x)
        return y + 1, cache


class Leaky:
    """Not a layer, but comes before one in the order of base classes."""

    def backward(self, dy, cache, *, need_dx=True):
        return np.where(cache > 0, dy, 0.5 * dy), {}


class MixedReLU(Leaky, ReLU):
    pass


class DerivedFromMixedReLU(MixedReLU):
    pass


class HalvedMaxPooling2D(MaxPooling2D):
    def backward(self, dy, cache, *, need_dx=True):
        return 0.5 * super().backward(dy, cache)[0], {}


class DoubledDense(Dense):
    def backward(self, dy, cache, *, need_dx=True):
        dx, grads = super().backward(dy, cache, need_dx=need_dx)
        return dx, {key: 2 * grad for key, grad in grads.items()}


@pytest.mark.parametrize(
    "layer",
    [DoubledConv2D(4, 2), LeakyReLU(), ShiftedReLU(), MixedReLU(), DerivedFromMixedReLU(), HalvedMaxPooling2D()],
)
def test_a_layer_with_a_backward_pass_of_its_own_trains_with_it(layer):
    layers = [Conv2D(3, 2), layer, MaxPooling2D(), Flatten(), Dense(2)]
    expected, got = both_ways(built(layers, (10, 10, 2)), draw.normal(0, (2, 10, 10, 2)))
    for key, grad in expected.items():
        np.testing.assert_allclose(got[key], grad, rtol=1e-12, atol=1e-12)


def test_a_dense_layer_with_a_backward_pass_of_its_own_trains_with_it(monkeypatch):
    monkeypatch.setattr("tinynet.layers.outer_products.LARGE", 0)
    expected, got = both_ways(built([DoubledDense(4), Dense(2)], (3,)), draw.normal(0, (2, 3)))
    for key, grad in expected.items():
        np.testing.assert_allclose(got[key], grad, rtol=1e-12, atol=1e-12)
