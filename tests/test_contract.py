"""The contract of a layer (see ``tinynet/layers/layer.py``): every rule is a test, and every layer passes it.

A new layer is one more line in ``LAYERS``: a strategy (see ``strategies.py``) that draws ways to make it.
"""

import copy
import inspect
import pickle
import random
import re
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st
from strategies import Recipe, lay_out, normal

from tinynet import layers
from tinynet.gradient_check import check_gradients
from tinynet.layers import Layer, outer_products
from tinynet.layers.outer_products import OuterProducts
from tinynet.layers.pooled_gradient import whole
from tinynet.models import Sequential

LAYERS: dict[str, st.SearchStrategy[Recipe]] = {
    "Dense": draw.dense(),
    "Conv2D": draw.conv2d(),
    "MaxPooling2D": draw.pooling(),
    "AveragePooling2D": draw.pooling(layers.AveragePooling2D),
    "Flatten": draw.plain(layers.Flatten),
    "Dropout": draw.dropout(),
    "Activation": draw.activation(),
    "Linear": draw.plain(layers.Linear),
    "ReLU": draw.plain(layers.ReLU),
    "Tanh": draw.plain(layers.Tanh),
    "Sigmoid": draw.plain(layers.Sigmoid),
    "Softmax": draw.plain(layers.Softmax),
    "Sequential": draw.sequential(),
    "nested Sequential": draw.sequential(nested=True),
}

every_layer = pytest.mark.parametrize("name", LAYERS)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}  # two ways to sum the same numbers in float64


def test_the_table_has_every_layer_of_the_package():
    public = {name for name in layers.__all__ if issubclass(getattr(layers, name), Layer)}
    assert public - {"Layer", "Input", "AvgPool2D", "Convolution2D", "MaxPool2D"} <= LAYERS.keys()


def test_every_layer_is_called_as_the_contract_says():
    def parameters(method: Callable[..., Any]) -> list[tuple[Any, ...]]:
        return [(each.name, each.kind, each.default) for each in inspect.signature(method).parameters.values()]

    for kind in {Sequential, *(getattr(layers, name) for name in layers.__all__)}:
        for method in ("make", "backward"):
            assert parameters(getattr(kind, method)) == parameters(getattr(Layer, method)), kind


def run(layer: Layer, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(y, dx, grads)"""
    y, cache = layer.forward(x)
    return y, *layer.backward(dy, cache)


def batch(recipe: Recipe, layer: Layer, seed: int, n: int = 3, dtype: Any = np.float64) -> tuple[Any, Any]:
    """A random (x, dy) for the layer; half of dy is sparse, as behind a pooling layer."""
    zeros = 0.8 if seed % 2 else 0.0
    return normal(seed, (n, *recipe.input_shape), dtype), normal(seed + 1, (n, *layer.output_shape), dtype, zeros=zeros)


def assert_same(results: tuple[Any, Any, Any], expected: tuple[Any, Any, Any], **tolerance: float) -> None:
    """Equal (y, dx, grads): bit for bit, or within a tolerance."""
    for got, wanted in zip(results, expected, strict=True):
        arrays = got if isinstance(got, dict) else {"": got}
        others = wanted if isinstance(wanted, dict) else {"": wanted}
        assert arrays.keys() == others.keys()
        for key in arrays:
            np.testing.assert_allclose(arrays[key], others[key], **{"rtol": 0, "atol": 0, **tolerance})


# 1. Shapes and dtypes -----------------------------------------------------------------------------------------------


@every_layer
@given(data=st.data(), n=draw.batch_sizes, x_dtype=draw.dtypes, param_dtype=draw.dtypes)
def test_outputs_and_gradients_have_the_shapes_and_dtypes_of_what_they_belong_to(name, data, n, x_dtype, param_dtype):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(dtype=param_dtype)
    x, dy = batch(recipe, layer, 1, n, x_dtype)
    y, dx, grads = run(layer, x, dy)
    assert (y.shape, y.dtype) == ((n, *layer.output_shape), x_dtype)
    assert (dx.shape, dx.dtype) == (x.shape, x_dtype)
    assert grads.keys() == layer.params.keys()
    for key, param in layer.params.items():
        assert (grads[key].shape, grads[key].dtype) == (param.shape, param_dtype)


@every_layer
@given(data=st.data(), x_dtype=draw.dtypes, dy_dtype=draw.dtypes)
def test_the_input_gradient_has_the_dtype_of_x_whatever_dy_has(name, data, x_dtype, dy_dtype):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(dtype=np.float32)
    x, dy = batch(recipe, layer, 2, dtype=x_dtype)
    _, dx, grads = run(layer, x, dy.astype(dy_dtype))
    assert dx.dtype == x_dtype
    assert all(grad.dtype == np.float32 for grad in grads.values())


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_float32_and_float64_agree(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed, np.float32)
    x, dy = batch(recipe, layer, seed, dtype=np.float32)
    exact = run(layer.astype(np.float64), x.astype(np.float64), dy.astype(np.float64))
    assert_same(run(layer, x, dy), exact, rtol=1e-4, atol=1e-4)


# 2. Nothing is changed and nothing is kept --------------------------------------------------------------------------


@every_layer
@given(data=st.data(), dtype=draw.dtypes)
def test_neither_method_changes_its_arguments_or_the_layer(name, data, dtype):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(dtype=dtype)
    x, dy = batch(recipe, layer, 3, dtype=dtype)
    x_before, dy_before, layer_before = x.copy(), dy.copy(), pickle.dumps(layer)
    y, cache = layer.forward(x)
    cache_before, y_before = pickle.dumps(cache), y.copy()
    layer.backward(dy, cache)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(y, y_before)
    np.testing.assert_array_equal(dy, dy_before)
    assert pickle.dumps(cache) == cache_before
    assert pickle.dumps(layer) == layer_before


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_two_forwards_before_a_backward_are_safe_and_backward_repeats(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed)
    expected = run(layer, x, dy)
    y, cache = layer.forward(x)
    other_y, other_cache = layer.forward(-2 * x[:1])
    layer.backward(np.ones_like(other_y), other_cache)
    assert_same((y, *layer.backward(dy, cache)), expected)
    assert_same((y, *layer.backward(dy, cache)), expected)


@every_layer
@given(data=st.data())
def test_one_layer_serves_many_threads(name, data):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build()
    batches = [batch(recipe, layer, seed, n=seed + 1) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda pair: run(layer, *pair), batches))
    for result, (x, dy) in zip(results, batches, strict=True):
        assert_same(result, run(layer, x, dy))


@every_layer
@given(data=st.data())
def test_a_layer_keeps_no_batch_alive(name, data):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build()
    x, dy = batch(recipe, layer, 4)
    y, cache = layer.forward(x)
    result = layer.backward(dy, cache)
    arrays = [weakref.ref(array) for array in (x, dy, y, result[0])]
    del x, dy, y, cache, result
    assert [array() for array in arrays] == [None] * 4


# 3. Any layout of memory --------------------------------------------------------------------------------------------


@every_layer
@given(data=st.data(), dtype=draw.dtypes, x_layout=draw.layouts, dy_layout=draw.layouts)
def test_the_layout_of_arrays_in_memory_changes_no_bit(name, data, dtype, x_layout, dy_layout):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(dtype=dtype)
    x, dy = batch(recipe, layer, 5, dtype=dtype)
    assert_same(run(layer, lay_out(x, x_layout), lay_out(dy, dy_layout)), run(layer, x, dy))


# 4. Gradients -------------------------------------------------------------------------------------------------------


@every_layer
@given(data=st.data(), seed=draw.seeds, n=draw.batch_sizes)
def test_backward_agrees_with_finite_differences(name, data, seed, n):
    recipe = data.draw(LAYERS[name])
    check_gradients(recipe.build(seed), batch_size=n, seed=seed, raise_error=True)


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_backward_is_linear_in_dy(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed)
    _, other = batch(recipe, layer, seed + 1)
    _, cache = layer.forward(x)
    dx, grads = layer.backward(2 * dy - 3 * other, cache)
    dx_1, grads_1 = layer.backward(dy, cache)
    dx_2, grads_2 = layer.backward(other, cache)
    summed = {key: 2 * grads_1[key] - 3 * grads_2[key] for key in grads}
    assert_same((0, dx, grads), (0, 2 * dx_1 - 3 * dx_2, summed), **CLOSE)


@every_layer
@given(data=st.data(), seed=draw.seeds, n=draw.batch_sizes)
def test_a_batch_is_its_samples_one_by_one_and_gradients_are_sums(name, data, seed, n):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed, n)
    ys, dxs, all_grads = zip(*(run(layer, x[i : i + 1], dy[i : i + 1]) for i in range(n)), strict=True)
    summed = {key: sum(grads[key] for grads in all_grads) for key in layer.params}
    assert_same(run(layer, x, dy), (np.concatenate(ys), np.concatenate(dxs), summed), **CLOSE)


@every_layer
@pytest.mark.parametrize("large", [0, outer_products.LARGE])
@given(data=st.data(), seed=draw.seeds, n=draw.batch_sizes)
def test_gradients_that_are_added_up_later_are_the_same(name, large, data, seed, n):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed, n)
    dx, grads = run(layer, x, dy)[1:]
    with mock.patch.object(outer_products, "LARGE", large):
        unsummed_dx, unsummed = layer.backward_unsummed(dy, layer.forward(x)[1])
    summed = {key: grad.sum() for key, grad in unsummed.items() if isinstance(grad, OuterProducts)}
    assert bool(summed) == (large == 0 and name in ("Dense", "Sequential", "nested Sequential"))
    assert_same((0, whole(unsummed_dx), unsummed | summed), (0, dx, grads), **CLOSE)
    dx, _ = layer.backward_unsummed(dy, layer.forward(x)[1], need_dx=False)
    assert dx is None or not layer.params


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_the_input_gradient_can_be_left_out(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed)
    _, cache = layer.forward(x)
    dx, grads = layer.backward(dy, cache, need_dx=False)
    full_dx, full_grads = layer.backward(dy, cache)
    assert_same((0, 0, grads), (0, 0, full_grads))
    if layer.params:
        assert dx is None
    elif dx is not None:
        np.testing.assert_array_equal(dx, full_dx)


# 5. Shapes are known early, and mistakes have names -----------------------------------------------------------------


@every_layer
@given(data=st.data())
def test_build_says_the_output_shape_once_and_for_all(name, data):
    recipe = data.draw(LAYERS[name])
    layer = recipe.make()
    output_shape = layer.build(recipe.input_shape, np.random.default_rng(0))
    weights = layer.get_weights()
    assert (layer.input_shape, layer.output_shape) == (recipe.input_shape, output_shape)
    assert layer.build(recipe.input_shape, np.random.default_rng(1)) == output_shape
    for weight, param in zip(weights, layer.params.values(), strict=True):
        np.testing.assert_array_equal(weight, param)
    larger = tuple(size + 1 for size in recipe.input_shape)
    with pytest.raises(ValueError, match=f"{re.escape(str(recipe.input_shape))}.*{re.escape(str(larger))}"):
        layer.build(larger, np.random.default_rng(0))
    assert layer.input_shape == recipe.input_shape


@every_layer
@given(data=st.data(), change=st.sampled_from(["an axis more", "an axis less", "larger", "no batch axis"]))
def test_forward_refuses_another_shape_and_names_both(name, data, change):
    recipe = data.draw(LAYERS[name])
    layer, shape = recipe.build(), (2, *recipe.input_shape)
    wrong = {
        "an axis more": (*shape, 1),
        "an axis less": shape[:-1],
        "larger": (*shape[:-1], shape[-1] + 1),
        "no batch axis": recipe.input_shape,
    }[change]
    needed = ", ".join(map(str, recipe.input_shape))
    with pytest.raises(ValueError, match=rf"\(n, {re.escape(needed)}\), got {re.escape(str(wrong))}"):
        layer.forward(np.zeros(wrong))


@every_layer
@given(data=st.data())
def test_backward_refuses_a_gradient_of_another_shape_than_y(name, data):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build()
    y, cache = layer.forward(np.zeros((2, *recipe.input_shape)))
    for wrong in [(1, *y.shape[1:]), (*y.shape[:-1], y.shape[-1] + 1), y.shape[1:]]:
        with pytest.raises(ValueError, match=f"{re.escape(str(y.shape))}, got {re.escape(str(wrong))}"):
            layer.backward(np.zeros(wrong), cache)


@every_layer
@given(data=st.data())
def test_forward_refuses_what_is_not_an_array_of_floats(name, data):
    recipe = data.draw(LAYERS[name])
    layer, x = recipe.build(), np.zeros((2, *recipe.input_shape))
    for wrong, got in [(x.astype(np.uint8), "uint8"), (x.astype(np.float16), "float16"), (x.tolist(), "list")]:
        with pytest.raises(TypeError, match=f"float32 or float64 array, got {got}"):
            layer.forward(wrong)


@every_layer
@given(data=st.data())
def test_a_layer_that_is_not_built_says_so(name, data):
    recipe = data.draw(LAYERS[name])
    with pytest.raises(ValueError, match="is not built"):
        recipe.make().forward(np.zeros((2, *recipe.input_shape)))


# 6. Randomness ------------------------------------------------------------------------------------------------------


@every_layer
@given(data=st.data())
def test_randomness_comes_from_the_generator_alone(name, data):
    recipe = data.draw(LAYERS[name])
    python_state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    layer, same, other = recipe.make(), recipe.make(), recipe.make()
    layer.build(recipe.input_shape, np.random.default_rng(7))
    same.build(recipe.input_shape, np.random.default_rng(7))
    other.build(recipe.input_shape, np.random.default_rng(8))
    run(layer, *batch(recipe, layer, 6))
    assert random.getstate() == python_state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    for key, param in layer.params.items():
        assert param.dtype == np.float32
        np.testing.assert_array_equal(param, same.params[key])
        assert np.array_equal(param, other.params[key]) == (not param.any())  # zero biases alone are not random


class InTraining:
    """A random layer as it is in training, drawing the same numbers each time, for the gradient check."""

    def __init__(self, layer: Layer, seed: int):
        self.layer, self.seed = layer, seed
        self.params, self.build, self.backward = layer.params, layer.build, layer.backward

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.layer.forward(x, np.random.default_rng(self.seed))

    def astype(self, dtype: Any) -> "InTraining":
        return InTraining(self.layer.astype(dtype), self.seed)

    def __deepcopy__(self, memo: dict[int, Any]) -> "InTraining":
        return InTraining(copy.deepcopy(self.layer), self.seed)


random_layers = pytest.mark.parametrize("name", ["Dropout", "Sequential", "nested Sequential"])


@every_layer
@given(data=st.data())
def test_a_layer_says_whether_it_is_random(name, data):
    recipe = data.draw(LAYERS[name])
    layer, generator = recipe.build(), np.random.default_rng(0)
    assert layer.random == (name in random_layers.args[1])
    x, dy = batch(recipe, layer, 6)
    _, cache = layer.forward_with(x, generator)
    layer.backward(dy, cache)
    assert (generator.bit_generator.state != np.random.default_rng(0).bit_generator.state) == layer.random
    np.testing.assert_array_equal(layer.forward_with(x, None)[0], layer.forward(x)[0])


@random_layers
@given(data=st.data(), dtype=draw.dtypes, x_layout=draw.layouts, seed=draw.seeds)
def test_a_random_layer_repeats_with_its_generator_and_changes_nothing_else(name, data, dtype, x_layout, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed, dtype)
    x, dy = batch(recipe, layer, seed, dtype=dtype)
    python_state, numpy_state, before = random.getstate(), np.random.get_state()[1].copy(), pickle.dumps(layer)
    results = []
    for given_x in (x, lay_out(x, x_layout)):
        y, cache = layer.forward(given_x, np.random.default_rng(seed))
        results.append((y, *layer.backward(dy, cache)))
        assert (y.dtype, results[-1][1].dtype) == (dtype, dtype)
    assert_same(results[0], results[1])
    assert random.getstate() == python_state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert pickle.dumps(layer) == before


@random_layers
@given(data=st.data(), seed=draw.seeds, n=draw.batch_sizes)
def test_backward_agrees_with_finite_differences_in_training_too(name, data, seed, n):
    recipe = data.draw(LAYERS[name])
    layer = InTraining(recipe.build(seed), seed)
    check_gradients(layer, recipe.input_shape, batch_size=n, seed=seed, raise_error=True)


# 7. Layers in a row are again a layer -------------------------------------------------------------------------------


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_a_sequential_of_one_layer_is_that_layer(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(seed)
    x, dy = batch(recipe, layer, seed)
    y, dx, grads = run(layer, x, dy)
    network = Sequential([layer])
    assert network.build(recipe.input_shape) == layer.output_shape
    assert_same(run(network, x, dy), (y, dx, {f"{layer.name}/{key}": grad for key, grad in grads.items()}))


# 8. Copies and weights ----------------------------------------------------------------------------------------------


@every_layer
@given(data=st.data(), seed=draw.seeds)
def test_weights_go_from_one_layer_to_another(name, data, seed):
    recipe = data.draw(LAYERS[name])
    layer, other = recipe.build(seed), recipe.build(seed + 1)
    arrays = list(other.params.values())
    other.set_weights(layer.get_weights())
    x, dy = batch(recipe, layer, seed)
    assert_same(run(other, x, dy), run(layer, x, dy))
    assert all(param is array for param, array in zip(other.params.values(), arrays, strict=True)), "rebound"
    assert layer.count_params() == sum(weight.size for weight in layer.get_weights())


@every_layer
@given(data=st.data(), dtype=draw.dtypes)
def test_astype_is_a_copy_of_its_own(name, data, dtype):
    recipe = data.draw(LAYERS[name])
    layer = recipe.build(dtype=np.float32)
    twin = layer.astype(dtype)
    assert all(param.dtype == dtype for param in twin.params.values())
    before = layer.get_weights()
    for param in twin.params.values():
        param += 1
    for weight, param in zip(before, layer.params.values(), strict=True):
        np.testing.assert_array_equal(weight, param)
