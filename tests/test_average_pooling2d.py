"""AveragePooling2D: the mean of each window, by hand."""

import numpy as np
import pytest
import strategies as draw
from hypothesis import given

from tinynet.layers import AveragePooling2D, AvgPool2D
from tinynet.plots.architecture import describe

IMAGE = np.array([[1.0, 5.0, 2.0, 0.0], [4.0, 2.0, 8.0, 6.0], [9.0, 6.0, 5.0, 1.0]])


def pool(image: np.ndarray, *arguments, **options) -> tuple[np.ndarray, AveragePooling2D, object]:
    """(the pooled image as a matrix, the layer, the cache)"""
    layer = AveragePooling2D(*arguments, **options)
    layer.build((*image.shape, 1), np.random.default_rng(0))
    y, cache = layer.forward(image[None, :, :, None])
    return y[0, :, :, 0], layer, cache


def gradient(layer: AveragePooling2D, cache: object, dy: np.ndarray) -> np.ndarray:
    return layer.backward(dy[None, :, :, None], cache)[0][0, :, :, 0]


def test_the_mean_of_each_window_and_its_entries_share_the_gradient():
    y, layer, cache = pool(IMAGE, 2)
    np.testing.assert_array_equal(y, [[12 / 4, 16 / 4]])  # the third row is a remainder
    dx = gradient(layer, cache, np.array([[4.0, 20.0]]))
    np.testing.assert_array_equal(dx, [[1, 1, 5, 5], [1, 1, 5, 5], [0, 0, 0, 0]])


def test_an_entry_in_several_windows_gets_a_share_of_each():
    y, layer, cache = pool(IMAGE, 2, strides=1)
    np.testing.assert_array_equal(y, [[3, 4.25, 4], [5.25, 5.25, 5]])
    dx = gradient(layer, cache, np.array([[4.0, 40.0, 400.0], [8.0, 80.0, 800.0]]))
    np.testing.assert_array_equal(dx, [[1, 11, 110, 100], [3, 33, 330, 300], [2, 22, 220, 200]])


def test_strides_larger_than_the_window_skip_entries():
    y, layer, cache = pool(IMAGE, (1, 1), strides=(2, 3))
    np.testing.assert_array_equal(y, [[1, 0], [9, 1]])
    np.testing.assert_array_equal(gradient(layer, cache, np.ones((2, 2))), [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]])


def test_the_first_size_is_rows_and_the_second_columns():
    np.testing.assert_array_equal(pool(IMAGE, (2, 1))[0], [[2.5, 3.5, 5, 3]])
    np.testing.assert_array_equal(pool(IMAGE, (1, 4))[0], [[2], [5], [5.25]])


def test_padding_does_not_count():
    y, layer, cache = pool(IMAGE, 2, padding="same")  # the last row has no fellow
    np.testing.assert_array_equal(y, [[3, 4], [7.5, 3]])
    dx = gradient(layer, cache, np.array([[4.0, 8.0], [6.0, 2.0]]))
    np.testing.assert_array_equal(dx, [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 1, 1]])


def test_same_with_an_odd_window_starts_before_the_edge():
    y, layer, cache = pool(IMAGE, 3, strides=2, padding="same")  # rows -1..1 and 1..3, columns 0..2 and 2..4
    np.testing.assert_array_equal(y, [[22 / 6, 16 / 4], [34 / 6, 20 / 4]])
    dx = gradient(layer, cache, np.array([[6.0, 0.0], [0.0, 8.0]]))
    np.testing.assert_array_equal(dx, [[1, 1, 1, 0], [1, 1, 3, 2], [0, 0, 2, 2]])


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_an_even_image_stays_even(padding):
    np.testing.assert_array_equal(pool(np.full((7, 8), 3.0), (3, 4), 2, padding)[0], 3)


def test_every_channel_and_every_image_is_pooled_by_itself():
    x = np.arange(24.0).reshape(2, 2, 2, 3)
    layer = AvgPool2D()
    layer.build((2, 2, 3), np.random.default_rng(0))
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y.reshape(2, 3), [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]])
    dx, _ = layer.backward(np.arange(4.0, 28.0, 4).reshape(2, 1, 1, 3), cache)
    np.testing.assert_array_equal(dx.reshape(2, 4, 3), [[[1, 2, 3]] * 4, [[4, 5, 6]] * 4])


def test_windows_are_two_by_two_by_default_and_strides_as_large_as_the_window():
    assert AveragePooling2D().build((28, 27, 20), np.random.default_rng(0)) == (14, 13, 20)
    assert AveragePooling2D((3, 2)).build((9, 9, 1), np.random.default_rng(0)) == (3, 4, 1)


def test_the_architecture_drawing_calls_it_a_mean():
    assert describe(AveragePooling2D((2, 3), padding="same")) == "mean of 2 × 3, padding same"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pool_size": 0}, ValueError, "AveragePooling2D: pool_size must be at least 1, got 0"),
        ({"strides": -1}, ValueError, "AveragePooling2D: strides must be at least 1, got -1"),
        ({"padding": "FULL"}, ValueError, "AveragePooling2D: padding='FULL' is not known"),
        ({"data_format": "channels_first"}, ValueError, "AveragePooling2D: data_format='channels_first' is not supp"),
        ({"size": 2}, TypeError, "AveragePooling2D has no argument 'size'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        AveragePooling2D(**arguments)


@given(recipe=draw.pooling(AveragePooling2D), seed=draw.seeds)
def test_backward_is_the_transpose_of_forward(recipe, seed):
    """<pool(x), dy> == <x, backward(dy)> for all x and dy is what being the transpose means."""
    layer = recipe.build()
    x, dy = draw.normal(seed, (2, *recipe.input_shape)), draw.normal(seed + 1, (2, *layer.output_shape))
    y, cache = layer.forward(x)
    dx, _ = layer.backward(dy, cache)
    np.testing.assert_allclose((y * dy).sum(), (x * dx).sum(), rtol=1e-10, atol=1e-12)
