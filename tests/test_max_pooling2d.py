"""MaxPooling2D: the largest of each window, by hand."""

import numpy as np
import pytest

from tinynet.layers import MaxPool2D, MaxPooling2D

IMAGE = np.array([[1.0, 5.0, 2.0, 0.0], [4.0, 3.0, 8.0, 7.0], [9.0, 6.0, 5.0, 1.0]])


def pool(image: np.ndarray, *arguments, **options) -> tuple[np.ndarray, MaxPooling2D, object]:
    """(the pooled image as a matrix, the layer, the cache)"""
    layer = MaxPooling2D(*arguments, **options)
    layer.build((*image.shape, 1), np.random.default_rng(0))
    y, cache = layer.forward(image[None, :, :, None])
    return y[0, :, :, 0], layer, cache


def gradient(layer: MaxPooling2D, cache: object, dy: np.ndarray) -> np.ndarray:
    return layer.backward(dy[None, :, :, None], cache)[0][0, :, :, 0]


def test_the_largest_of_each_window_and_its_place_gets_the_gradient():
    y, layer, cache = pool(IMAGE, 2)
    np.testing.assert_array_equal(y, [[5, 8]])  # the third row is a remainder
    dx = gradient(layer, cache, np.array([[10.0, 20.0]]))
    np.testing.assert_array_equal(dx, [[0, 10, 0, 0], [0, 0, 20, 0], [0, 0, 0, 0]])


def test_an_entry_that_wins_several_overlapping_windows_gets_the_sum_of_their_gradients():
    y, layer, cache = pool(IMAGE, 2, strides=1)
    np.testing.assert_array_equal(y, [[5, 8, 8], [9, 8, 8]])
    dx = gradient(layer, cache, np.array([[1.0, 10.0, 100.0], [2.0, 1000.0, 10000.0]]))
    np.testing.assert_array_equal(dx, [[0, 1, 0, 0], [0, 0, 11110, 0], [2, 0, 0, 0]])


def test_strides_larger_than_the_window_skip_entries():
    y, layer, cache = pool(IMAGE, (1, 1), strides=(2, 3))
    np.testing.assert_array_equal(y, [[1, 0], [9, 1]])
    dx = gradient(layer, cache, np.ones((2, 2)))
    np.testing.assert_array_equal(dx, [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]])


def test_the_first_size_is_rows_and_the_second_columns():
    np.testing.assert_array_equal(pool(IMAGE, (3, 1))[0], [[9, 6, 8, 7]])
    np.testing.assert_array_equal(pool(IMAGE, (1, 4))[0], [[5], [8], [9]])
    np.testing.assert_array_equal(pool(IMAGE, 1, strides=(2, 1))[0], IMAGE[::2])


def test_same_lets_the_last_windows_hang_over_the_edge():
    y, layer, cache = pool(IMAGE, 2, padding="same")
    np.testing.assert_array_equal(y, [[5, 8], [9, 5]])
    dx = gradient(layer, cache, np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(dx, [[0, 1, 0, 0], [0, 0, 2, 0], [3, 0, 4, 0]])


def test_same_with_an_odd_window_starts_before_the_edge():
    np.testing.assert_array_equal(pool(IMAGE, 3, strides=1, padding="same")[0][0], [5, 8, 8, 8])


@pytest.mark.parametrize("value", [-5.0, -np.inf])
def test_padding_never_wins(value):
    y, layer, cache = pool(np.full((3, 3), value), 2, padding="same")
    np.testing.assert_array_equal(y, np.full((2, 2), value))
    dx = gradient(layer, cache, np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(dx, [[1, 0, 2], [0, 0, 0], [3, 0, 4]])


def test_of_equal_entries_the_first_wins_row_by_row():
    _, layer, cache = pool(np.array([[0.0, 7.0], [7.0, 7.0]]), 2)
    np.testing.assert_array_equal(gradient(layer, cache, np.array([[1.0]])), [[0, 1], [0, 0]])


def test_nan_wins_so_that_it_shows():
    y, layer, cache = pool(np.array([[9.0, 1.0, np.nan, np.inf], [2.0, np.nan, np.nan, 3.0]]), 2)
    np.testing.assert_array_equal(y, [[np.nan, np.nan]])
    dx = gradient(layer, cache, np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(dx, [[0, 0, 2, 0], [0, 1, 0, 0]])


def test_every_channel_and_every_image_is_pooled_by_itself():
    x = np.zeros((2, 2, 2, 3))
    x[0, 0, 1, 0] = x[0, 1, 0, 1] = x[1, 1, 1, 2] = 5
    layer = MaxPooling2D()
    layer.build((2, 2, 3), np.random.default_rng(0))
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y.reshape(2, 3), [[5, 5, 0], [0, 0, 5]])
    dx, _ = layer.backward(np.arange(1.0, 7.0).reshape(2, 1, 1, 3), cache)
    expected = np.zeros_like(x)
    expected[0, 0, 1, 0], expected[0, 1, 0, 1], expected[0, 0, 0, 2] = 1, 2, 3
    expected[1, 0, 0, 0], expected[1, 0, 0, 1], expected[1, 1, 1, 2] = 4, 5, 6
    np.testing.assert_array_equal(dx, expected)


def test_windows_are_two_by_two_by_default_and_strides_as_large_as_the_window():
    layer = MaxPool2D()
    assert layer.build((28, 27, 20), np.random.default_rng(0)) == (14, 13, 20)
    assert MaxPooling2D((3, 2)).build((9, 9, 1), np.random.default_rng(0)) == (3, 4, 1)
    assert layer.params == {}


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((784,), r"MaxPooling2D takes images of shape \(rows, columns, channels\), got samples of shape \(784,\)"),
        ((2, 9, 1), r"a window of \(3, 3\) does not fit into images of \(2, 9\)"),
    ],
)
def test_inputs_that_are_no_image_or_too_small_are_refused(input_shape, message):
    with pytest.raises(ValueError, match=message):
        MaxPooling2D(3).build(input_shape, np.random.default_rng(0))


def test_the_window_is_told_in_keras_s_words_and_cannot_be_set():
    layer = MaxPooling2D((3, 2), 1, "Same")
    assert (layer.pool_size, layer.strides, layer.padding) == ((3, 2), (1, 1), "same")
    assert (MaxPooling2D((3, 2)).strides, MaxPooling2D(padding="VALID").padding) == ((3, 2), "valid")
    for name, value in (("pool_size", 3), ("strides", 1), ("padding", "valid")):
        with pytest.raises(AttributeError, match=f"'{name}' of 'MaxPooling2D' object has no setter"):
            setattr(layer, name, value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pool_size": 0}, ValueError, "pool_size must be at least 1, got 0"),
        ({"pool_size": (2,)}, ValueError, r"pool_size must be one integer or two .*got \(2,\)"),
        ({"strides": -1}, ValueError, "strides must be at least 1, got -1"),
        ({"strides": (1, 0)}, ValueError, "strides must be at least 1, got 0"),
        ({"padding": "FULL"}, ValueError, "padding='FULL' is not known; choose one of 'valid', 'same'"),
        ({"data_format": "channels_first"}, ValueError, "data_format='channels_first' is not supported"),
        ({"size": 2}, TypeError, "MaxPooling2D has no argument 'size'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        MaxPooling2D(**arguments)
