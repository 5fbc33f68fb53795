"""Conv2D: small windows of weights over an image, by hand."""

import numpy as np
import pytest

from tinynet import kernels
from tinynet.layers import Conv2D

IMAGE = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
KERNEL = np.array([[1.0, 2.0], [3.0, 4.0]])


def conv2d(kernel: np.ndarray, image_shape: tuple[int, int, int], bias: float = 0.0, **options) -> Conv2D:
    """A built float64 convolution with one filter for each entry of the kernel's last axis (one, for a matrix)."""
    kernel = kernel.reshape(*kernel.shape, 1, 1) if kernel.ndim == 2 else kernel
    layer = Conv2D(kernel.shape[-1], kernel.shape[:2], **options)
    layer.build(image_shape, np.random.default_rng(0))
    layer.set_weights([kernel, np.full(kernel.shape[-1], bias)])
    return layer.astype(np.float64)


def convolve(layer: Conv2D, image: np.ndarray) -> np.ndarray:
    """The output of a layer with one filter for one image with one channel, as a matrix."""
    return layer.forward(image[None, :, :, None])[0][0, :, :, 0]


def test_each_output_is_the_weighted_sum_under_the_window():
    y = convolve(conv2d(KERNEL, (3, 3, 1), bias=100.0), IMAGE)
    np.testing.assert_array_equal(
        y,
        [
            [100 + 1 * 1 + 2 * 2 + 4 * 3 + 5 * 4, 100 + 2 * 1 + 3 * 2 + 5 * 3 + 6 * 4],
            [100 + 4 * 1 + 5 * 2 + 7 * 3 + 8 * 4, 100 + 5 * 1 + 6 * 2 + 8 * 3 + 9 * 4],
        ],
    )


def test_gradients():
    layer = conv2d(KERNEL, (3, 3, 1))
    _, cache = layer.forward(IMAGE[None, :, :, None])
    dx, grads = layer.backward(np.array([[1.0, 0.0], [0.0, 10.0]])[None, :, :, None], cache)
    # the windows at (0, 0) and at (1, 1), weighted with 1 and 10
    np.testing.assert_array_equal(grads["W"][:, :, 0, 0], [[1 + 50, 2 + 60], [4 + 80, 5 + 90]])
    np.testing.assert_array_equal(grads["b"], [11])
    # the kernel laid over these two places, weighted alike; they overlap in the middle
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 2, 0], [3, 4 + 10, 20], [0, 30, 40]])


def test_gradients_are_summed_over_the_batch():
    layer = conv2d(KERNEL, (3, 3, 1))
    _, cache = layer.forward(np.stack([IMAGE, 100 * IMAGE])[..., None])
    dy = np.zeros((2, 2, 2, 1))
    dy[:, 0, 0] = [[1.0], [2.0]]
    _, grads = layer.backward(dy, cache)
    np.testing.assert_array_equal(grads["W"][:, :, 0, 0], 201 * IMAGE[:2, :2])
    np.testing.assert_array_equal(grads["b"], [3])


def test_strides_are_steps_in_rows_and_in_columns():
    picker = np.ones((1, 1))
    image = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(convolve(conv2d(picker, (4, 5, 1), strides=(2, 1)), image), image[::2])
    np.testing.assert_array_equal(convolve(conv2d(picker, (4, 5, 1), strides=(1, 3)), image), image[:, ::3])
    np.testing.assert_array_equal(convolve(conv2d(picker, (4, 5, 1), strides=3), image), image[::3, ::3])


def test_valid_leaves_out_a_remainder():
    layer = conv2d(np.ones((2, 2)), (4, 5, 1), strides=2)
    assert layer.output_shape == (2, 2, 1)
    y = convolve(layer, np.arange(20.0).reshape(4, 5))  # the last column is never looked at
    np.testing.assert_array_equal(y, [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8], [10 + 11 + 15 + 16, 12 + 13 + 17 + 18]])


def test_same_keeps_the_size_and_pads_with_zeros_on_both_sides():
    y = convolve(conv2d(np.ones((3, 3)), (3, 3, 1), padding="same"), IMAGE)
    np.testing.assert_array_equal(
        y,
        [
            [1 + 2 + 4 + 5, 1 + 2 + 3 + 4 + 5 + 6, 2 + 3 + 5 + 6],
            [1 + 2 + 4 + 5 + 7 + 8, 45, 2 + 3 + 5 + 6 + 8 + 9],
            [4 + 5 + 7 + 8, 4 + 5 + 6 + 7 + 8 + 9, 5 + 6 + 8 + 9],
        ],
    )


def test_same_with_an_even_kernel_pads_below_and_to_the_right():
    y = convolve(conv2d(KERNEL, (3, 3, 1), padding="same"), IMAGE)
    np.testing.assert_array_equal(
        y, [[37, 47, 3 * 1 + 6 * 3], [67, 77, 6 * 1 + 9 * 3], [7 * 1 + 8 * 2, 8 * 1 + 9 * 2, 9]]
    )


def test_same_with_strides_pads_for_the_last_step_only():
    """Four entries, a window of three, steps of two: one zero is missing, and it comes after, as in TensorFlow."""
    y = convolve(conv2d(np.ones((3, 3)), (4, 4, 1), padding="same", strides=2), np.arange(16.0).reshape(4, 4))
    np.testing.assert_array_equal(
        y,
        [[0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11], [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15]],
    )


def test_same_with_a_stride_larger_than_the_kernel_pads_nothing():
    layer = conv2d(np.ones((1, 2)), (1, 7, 1), padding="same", strides=(1, 3))
    y = convolve(layer, np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]))
    np.testing.assert_array_equal(y, [[1 + 2, 4 + 5, 7 + 0]])  # steps at 0, 3, 6: the last one needs a zero


def test_the_gradient_of_padding_is_dropped():
    layer = conv2d(np.ones((3, 3)), (2, 2, 1), padding="same")
    _, cache = layer.forward(np.zeros((1, 2, 2, 1)))
    dx, _ = layer.backward(np.array([[1.0, 10.0], [100.0, 1000.0]])[None, :, :, None], cache)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1111, 1111], [1111, 1111]])


def test_a_filter_sums_over_all_channels_and_each_makes_one():
    kernel = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]).reshape(1, 1, 3, 2)  # 3 channels, 2 filters
    layer = conv2d(kernel, (1, 2, 3))
    x = np.array([[[[1.0, 1.0, 1.0], [1.0, 0.0, 2.0]]]])
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, [[[[6, 60], [7, 70]]]])
    dx, grads = layer.backward(np.array([[[[1.0, 0.0], [0.0, 1.0]]]]), cache)
    np.testing.assert_array_equal(dx, [[[[1, 2, 3], [10, 20, 30]]]])
    np.testing.assert_array_equal(grads["W"], [[[[1, 1], [1, 0], [1, 2]]]])


def test_the_kernel_is_not_flipped():
    shift_left = np.array([[0.0, 1.0]])
    np.testing.assert_array_equal(convolve(conv2d(shift_left, (3, 3, 1)), IMAGE), IMAGE[:, 1:])


def test_an_activation_acts_on_the_sums_and_on_their_gradient():
    layer = conv2d(np.ones((1, 1)), (1, 3, 1), activation="relu")
    y, cache = layer.forward(np.array([-1.0, 2.0, -3.0]).reshape(1, 1, 3, 1))
    np.testing.assert_array_equal(y.reshape(-1), [0, 2, 0])
    dx, grads = layer.backward(np.ones((1, 1, 3, 1)), cache)
    np.testing.assert_array_equal(dx.reshape(-1), [0, 1, 0])
    np.testing.assert_array_equal(grads["W"].reshape(-1), [2])


def test_nan_spreads_to_the_windows_that_see_it_and_no_further():
    image = np.zeros((4, 4))
    image[0, 0] = np.nan
    y = convolve(conv2d(np.ones((2, 2)), (4, 4, 1)), image)
    assert np.isnan(y[0, 0])
    assert np.isnan(y).sum() == 1


def test_nan_in_the_gradient_is_seen_even_where_most_of_it_is_zero():
    layer = conv2d(np.ones((2, 2, 2, 3)), (5, 5, 2))
    _, cache = layer.forward(np.ones((1, 5, 5, 2)))
    dy = np.zeros((1, 4, 4, 3))
    dy[0, 1, 2, 1] = np.nan
    dx, grads = layer.backward(dy, cache)
    assert np.isnan(grads["W"][..., 1]).all()
    assert np.isnan(dx[0, 1:3, 2:4]).all()
    assert np.isnan(dx).sum() == 8


def test_kernels_start_glorot_uniform_and_biases_at_zero():
    layer = Conv2D(40, 5)
    layer.build((9, 9, 20), np.random.default_rng(0))
    assert layer.params["W"].shape == (5, 5, 20, 40)
    limit = np.sqrt(6 / (25 * 20 + 25 * 40))
    assert 0.99 * limit < np.abs(layer.params["W"]).max() <= limit
    np.testing.assert_array_equal(layer.params["b"], np.zeros(40, np.float32))
    assert layer.count_params() == 25 * 20 * 40 + 40


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((784,), r"Conv2D takes images of shape \(rows, columns, channels\), got samples of shape \(784,\)"),
        ((28, 28, 1, 1), r"got samples of shape \(28, 28, 1, 1\)"),
        ((28, 28), r"got samples of shape \(28, 28\); add a channel axis with x\[..., None\]"),
        ((4, 28, 1), r"a window of \(5, 3\) does not fit into images of \(4, 28\); .*padding=\"same\""),
        ((28, 2, 1), r"a window of \(5, 3\) does not fit into images of \(28, 2\)"),
    ],
)
def test_inputs_that_are_no_image_or_too_small_are_refused(input_shape, message):
    with pytest.raises(ValueError, match=message):
        Conv2D(2, (5, 3)).build(input_shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filters": 0}, ValueError, "filters must be at least 1, got 0"),
        ({"filters": "20"}, TypeError, "filters must be an integer, got '20'"),
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": (3, 0)}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, ValueError, r"kernel_size must be one integer or two .*got \(3, 3, 3\)"),
        ({"kernel_size": "5x5"}, TypeError, "kernel_size must be an integer, got '5x5'"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"strides": 1.5}, TypeError, "strides must be an integer, got 1.5"),
        ({"padding": "full"}, ValueError, "padding='full' is not known; choose one of 'valid', 'same'"),
        ({"padding": 2}, ValueError, "padding=2 is not known"),
        ({"data_format": "channels_first"}, ValueError, "data_format='channels_first' is not supported"),
        ({"dilation_rate": 2}, ValueError, "dilation_rate=2 is not supported by tinynet, only 1"),
        ({"dilation_rate": [2, 1]}, ValueError, r"dilation_rate=\[2, 1\] is not supported by tinynet, only 1"),
        ({"groups": 2}, ValueError, "groups=2 is not supported"),
        ({"kernel": 3}, TypeError, "Conv2D has no argument 'kernel'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Conv2D(**{"filters": 2, "kernel_size": 3, **arguments})


def test_keras_arguments_that_say_what_is_done_anyway_are_taken():
    layer = Conv2D(2, 3, data_format="channels_last", dilation_rate=(1, 1), groups=1)
    assert (layer.filters, layer.window) == (2, Conv2D(2, 3).window)
    Conv2D(2, 3, dilation_rate=[1, 1])


def test_the_window_is_told_in_keras_s_words_and_cannot_be_set():
    layer = Conv2D(2, (3, 5), 2, "SAME")
    assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 5), (2, 2), "same")
    for name, value in (("kernel_size", 3), ("strides", 1), ("padding", "valid")):
        with pytest.raises(AttributeError, match=f"'{name}' of 'Conv2D' object has no setter"):
            setattr(layer, name, value)


def built(filters: int, image_shape: tuple[int, int, int], **options) -> Conv2D:
    layer = Conv2D(filters, 3, **options)
    layer.build(image_shape, np.random.default_rng(0))
    return layer


@pytest.mark.usefixtures("as_with_vectors")
def test_winograd_is_the_kernel_where_it_needs_far_fewer_products():
    kernels_by_size = {6: kernels.winograd, 5: kernels.convolve}  # its tiles of 2x2 outputs stick out of 3x3
    for size, kernel in kernels_by_size.items():
        (step,) = built(24, (size, size, 16)).kernel_steps()
        assert step.kernel is kernel
    (step,) = built(23, (6, 6, 16)).kernel_steps()
    assert step.kernel is kernels.convolve


@pytest.mark.usefixtures("as_with_vectors")
def test_kernels_are_not_given_filters_of_another_shape():
    layer = built(5, (6, 6, 2))
    for shape in ((3, 3, 2, 4), (3, 3, 2, 6), (2, 3, 2, 5)):
        layer.params["W"] = np.zeros(shape, np.float32)
        assert layer.kernel_steps() is None
    layer.params["W"] = np.zeros((3, 3, 2, 5), np.float32)
    assert layer.kernel_steps() is not None


@pytest.mark.usefixtures("as_with_vectors")
def test_without_a_bias_kernels_add_a_zero_for_each_filter():
    (step,) = built(5, (6, 7, 2), use_bias=False).kernel_steps()
    np.testing.assert_array_equal(step.b, np.zeros(5))


def test_no_images_have_no_outputs_and_no_gradients():
    conv = Conv2D(3, 2)
    conv.build((4, 4, 1), np.random.default_rng(0))
    y, cache = conv.forward(np.zeros((0, 4, 4, 1), np.float32))
    dx, grads = conv.backward(y, cache)
    assert (y.shape, dx.shape) == ((0, 3, 3, 3), (0, 4, 4, 1))
    assert not grads["W"].any()
    assert not grads["b"].any()


def in_columns(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array)


def every_other(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def unaligned(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"-" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)


@pytest.mark.parametrize("place", [in_columns, every_other, unaligned])
@pytest.mark.parametrize("filters", [2, 32])
def test_parameters_that_lie_elsewhere_in_memory_give_the_same(place, filters):
    """PyTorch's layout, for one, put into Keras's order without a copy."""
    rng = np.random.default_rng(0)
    layer = Conv2D(filters, 3, activation="relu")
    layer.build((6, 6, 16), rng)
    x = rng.normal(size=(2, 6, 6, 16)).astype(np.float32)
    y, cache = layer.forward(x)
    dx, grads = layer.backward(np.ones_like(y), cache)
    for name, array in layer.params.items():
        layer.params[name] = place(array)
    again, cache = layer.forward(x)
    np.testing.assert_array_equal(again, y)
    dx_again, grads_again = layer.backward(np.ones_like(y), cache)
    for found, expected in ((dx_again, dx), (grads_again["W"], grads["W"]), (grads_again["b"], grads["b"])):
        np.testing.assert_array_equal(found, expected)
