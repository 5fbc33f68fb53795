"""The products of a convolution, in every way that they can be computed: all give the numbers that define them.

Which way is taken depends on how many zeros there are, and how many images are taken at a time on how large they are.
So the tests force each way. Numbers are small integers, whose sums are exact in any order: results must agree bit for
bit.
"""

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st

from tinynet import kernels, reference
from tinynet.layers import convolution
from tinynet.layers.window import Window

Array = np.ndarray

# What is_cheaper says of x and of dy: whether skipping its zeros beats a matrix product.
WAYS = {"dense": (False, False), "sparse dy": (False, True), "sparse x": (True, False)}
patch_bytes = st.sampled_from([1, 1 << 19])  # one image at a time, or many
NO_PADS = ((0, 0), (0, 0))


@st.composite
def products(draw_: st.DrawFn) -> tuple[Array, Array, Array, Array, Window, convolution.Pads]:
    """(x, W, b, dy, window, pads): up to a window of zeros around an image, into which the window fits without them."""
    options, (h, w) = draw_(draw.windows())
    (k_h, k_w), strides = options["size"], options["strides"]
    if draw_(st.booleans()):
        strides = (1, 1)
    n, c, filters = draw_(draw.batch_sizes), draw_(draw.sizes), draw_(draw.sizes)
    window = Window((k_h, k_w), strides, "valid")
    h, w = max(h, k_h), max(w, k_w)
    rng, dtype = np.random.default_rng(draw_(draw.seeds)), draw_(draw.dtypes)

    def numbers(*shape: int) -> Array:
        return rng.integers(-3, 4, shape).astype(dtype)

    pads = tuple((draw_(st.integers(0, k - 1)), draw_(st.integers(0, k - 1))) for k in (k_h, k_w))
    dy_shape = (n, *window.output_size(h + sum(pads[0]), w + sum(pads[1])), filters)
    return numbers(n, h, w, c), numbers(k_h, k_w, c, filters), numbers(filters), numbers(*dy_shape), window, pads


def windows_of(padded: Array, window: Window) -> Any:
    """(i, j, the slices of rows and columns) for every position of the window."""
    (k_h, k_w), (s_h, s_w) = window.size, window.strides
    for i, j in np.ndindex(*window.output_size(*padded.shape[1:3])):
        yield i, j, (slice(None), slice(i * s_h, i * s_h + k_h), slice(j * s_w, j * s_w + k_w))


def around(x: Array, pads: convolution.Pads) -> Array:
    """``x`` with zeros around each image."""
    return np.pad(x, ((0, 0), *pads, (0, 0)))


def forced(way: str, x: Array, patch_bytes: int) -> Any:
    of_x, of_dy = WAYS[way]

    def is_cheaper(factor: Array, *sizes: int) -> bool:
        return of_x if factor is x else of_dy

    return mock.patch.multiple(convolution, is_cheaper=is_cheaper, PATCH_BYTES=patch_bytes)


@given(
    product=products(),
    patch_bytes=patch_bytes,
    weight_bytes=st.sampled_from([0, 1 << 19]),
    many=st.sampled_from([1, 100]),
    least=st.sampled_from([0.0, -math.inf, 2.0]),
)
def test_convolve(product, patch_bytes, weight_bytes, many, least):
    x, W, b, dy, window, pads = product
    expected, padded = np.empty_like(dy), around(x, pads)
    for i, j, place in windows_of(padded, window):
        expected[:, i, j] = np.tensordot(padded[place], W, 3) + b
    settings = {"PATCH_BYTES": patch_bytes, "WEIGHT_BYTES": weight_bytes, "MANY_CHANNELS": many, "MANY_FILTERS": many}
    with mock.patch.multiple(convolution, **settings):
        y = convolution.convolve(x, W, b, window, pads, least)
    np.testing.assert_array_equal(y, np.where(expected < least, least, expected))
    assert y.dtype == x.dtype


@pytest.mark.parametrize(
    ("vector_bytes", "weight_bytes", "without_patches"),
    [(0, 288, False), (32, 288, True), (64, 289, True), (32, 287, False)],
)
def test_few_weights_need_no_patch_matrix_where_there_are_vectors(vector_bytes, weight_bytes, without_patches):
    x, W = np.ones((2, 5, 5, 2), np.float32), np.ones((3, 3, 2, 4), np.float32)  # 288 bytes
    with (
        mock.patch.object(kernels, "VECTOR_BYTES", vector_bytes),
        mock.patch.object(convolution, "WEIGHT_BYTES", weight_bytes),
        mock.patch.object(kernels, "convolve", wraps=reference.convolve) as convolve,
    ):
        b, window = np.full(4, -20, np.float32), Window((3, 3), (1, 1), "valid")
        y = convolution.convolve(x, W, b, window, ((1, 1), (1, 0)), -5.0)
    assert convolve.called == without_patches
    expected = np.full((2, 5, 4, 4), 18 - 20)  # 3 * 3 * 2 ones, but fewer at the edges
    expected[:, [0, -1]] = expected[:, :, 0] = -5
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("size", "strides", "c", "filters", "out", "shared"),
    [
        ((3, 3), (1, 1), 16, 24, (4, 5), True),
        ((5, 3), (1, 1), 16, 24, (4, 5), True),
        ((3, 3), (1, 1), 15, 24, (4, 5), False),
        ((3, 3), (1, 1), 16, 23, (4, 5), False),
        ((3, 3), (1, 2), 16, 24, (4, 5), False),
        ((3, 4), (1, 1), 16, 24, (4, 5), False),
        ((2, 3), (1, 1), 16, 24, (4, 5), False),
        ((5, 5), (1, 1), 16, 24, (5, 5), True),  # 9 tiles of 49 products are 0.71 of 25 positions with 25
        ((5, 5), (1, 1), 16, 24, (3, 5), False),
        ((5, 3), (1, 1), 16, 24, (2, 1), False),
        ((3, 3), (1, 1), 16, 24, (2, 2), True),
    ],
)
def test_many_channels_and_filters_are_worth_winograds_algorithm(size, strides, c, filters, out, shared):
    rng = np.random.default_rng(0)
    h, w = ((out[i] - 1) * strides[i] + size[i] for i in range(2))
    x, W, b = (
        rng.integers(-3, 4, shape).astype(np.float32) for shape in [(2, h, w, c), (*size, c, filters), (filters,)]
    )
    window = Window(size, strides, "valid")
    with (
        mock.patch.object(kernels, "VECTOR_BYTES", 32),
        mock.patch.object(kernels, "winograd", wraps=reference.winograd) as winograd,
        mock.patch.object(kernels, "convolve", wraps=reference.convolve) as convolve,
    ):
        y = convolution.convolve(x, W, b, window, NO_PADS, -5.0)
    assert (winograd.called, convolve.called) == (shared, not shared)
    expected = np.empty_like(y)
    reference.convolve(x, W, b, expected, *strides, NO_PADS, -5.0)
    np.testing.assert_array_equal(y, expected)


def test_an_image_gives_the_same_bits_alone_and_among_others(monkeypatch):
    monkeypatch.setattr(kernels, "VECTOR_BYTES", 32)
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(shape, np.float32) for shape in [(4, 6, 5, 16), (5, 5, 16, 24), (24,)])
    window, pads = Window((5, 5), (1, 1), "valid"), ((2, 2), (2, 2))
    together = convolution.convolve(x, W, b, window, pads, 0.0)
    alone = np.concatenate([convolution.convolve(x[i : i + 1], W, b, window, pads, 0.0) for i in range(4)])
    np.testing.assert_array_equal(alone.view(np.int32), together.view(np.int32))


@pytest.mark.parametrize("way", WAYS)
@given(product=products(), patch_bytes=patch_bytes)
def test_weight_gradient(way, product, patch_bytes):
    x, W, _, dy, window, pads = product
    expected, padded = np.zeros_like(W), around(x, pads)
    for i, j, place in windows_of(padded, window):
        expected += np.tensordot(padded[place], dy[:, i, j], (0, 0))
    with forced(way, x, patch_bytes):
        dW = convolution.weight_gradient(x, dy, W.shape, window, pads)
    np.testing.assert_array_equal(dW, expected)
    assert dW.dtype == x.dtype


@pytest.mark.parametrize("way", ["dense", "sparse dy"])
@given(product=products(), patch_bytes=patch_bytes)
def test_input_gradient(way, product, patch_bytes):
    x, W, _, dy, window, pads = product
    expected = np.zeros_like(around(x, pads))
    for i, j, place in windows_of(expected, window):
        expected[place] += np.tensordot(dy[:, i, j], W, (1, 3))
    with forced(way, x, patch_bytes):
        dx = convolution.input_gradient(dy, W, x.shape, window, pads)
    (top, _), (left, _) = pads
    np.testing.assert_array_equal(dx, expected[:, top : top + x.shape[1], left : left + x.shape[2]])
    assert dx.dtype == dy.dtype


@given(product=products())
def test_bias_gradient(product):
    dy = product[3]
    np.testing.assert_array_equal(convolution.bias_gradient(dy), dy.sum(axis=(0, 1, 2)))


@given(n=st.integers(1, 50), bytes_per_image=st.integers(1, 1 << 20))
def test_chunks_are_all_images_in_order_and_no_more_than_fit(n, bytes_per_image):
    slices = list(convolution.chunks(n, bytes_per_image))
    assert [i for images in slices for i in range(images.start, images.stop)] == list(range(n))
    for images in slices:
        size = images.stop - images.start
        assert size == 1 or size * bytes_per_image <= convolution.PATCH_BYTES


def test_chunks_are_as_large_as_the_patches_of_an_image():
    window = Window((2, 3), (1, 1), "valid")
    x, dy = np.zeros((7, 5, 6, 4), np.float32), np.zeros((7, 4, 4, 8), np.float32)
    positions, patch = 4 * 4, 2 * 3 * 4
    with mock.patch.object(convolution, "chunks", wraps=convolution.chunks) as chunks:
        assert len([*convolution.patch_matrices(x, window)]) == 1
        with mock.patch.object(convolution, "is_cheaper", return_value=False):
            convolution.input_gradient(dy, np.zeros((2, 3, 4, 8), np.float32), x.shape, window, NO_PADS)
    with_bias, without = 4 * positions * (patch + 1), 4 * positions * patch
    assert chunks.call_args_list == [mock.call(7, with_bias), mock.call(7, without)]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_with_one_channel_the_patch_matrix_is_made_by_rows_of_the_image(channels):
    x = np.arange(24.0).repeat(channels).reshape(1, 4, 6, channels)
    with (
        mock.patch.object(kernels, "im2col", wraps=kernels.im2col) as im2col,
        mock.patch.object(kernels, "im2col_transposed", wraps=kernels.im2col_transposed) as im2col_transposed,
    ):
        [(images, matrix)] = convolution.patch_matrices(x, Window((2, 2), (1, 1), "valid"))
    assert (im2col.call_count, im2col_transposed.call_count) == ((0, 1) if channels == 1 else (1, 0))
    assert (images, matrix.shape) == (slice(0, 1), (15, 4 * channels + 1))
    np.testing.assert_array_equal(matrix[:, -1], 1)


def test_the_cost_of_skipping_zeros():
    """One entry that is not zero, two runs of three numbers, each begun at the cost of 8, at a third of the speed."""
    factor = np.array([0.0, 1.0, 0.0])
    cost = 1 * 2 * (3 + 8) * 3
    assert convolution.is_cheaper(factor, 2, 3, cost + 1)
    assert not convolution.is_cheaper(factor, 2, 3, cost)


def test_zeros_are_skipped_where_there_are_many_and_only_there():
    """LeNet's second convolution: of its gradient about one number in seven is not zero."""
    rng = np.random.default_rng(0)
    for share, cheaper in [(0.0, True), (0.1, True), (0.5, False), (1.0, False)]:
        dy = (rng.random((4, 14, 14, 50)) < share).astype(np.float32)
        assert convolution.is_cheaper(dy, 5, 5 * 20, dy.size * 5 * 5 * 20) == cheaper


@pytest.mark.parametrize(
    ("share_of_x", "share_of_dy", "sparse_calls"),
    [(1.0, 1.0, 0), (1.0, 0.05, 2), (0.05, 1.0, 1), (0.05, 0.05, 2)],
)
def test_each_product_goes_the_cheaper_way(share_of_x, share_of_dy, sparse_calls):
    """dx has one factor that may be sparse, dy; dW has two."""
    rng = np.random.default_rng(0)
    x = (rng.random((2, 12, 12, 20)) < share_of_x).astype(np.float32)
    dy = (rng.random((2, 8, 8, 30)) < share_of_dy).astype(np.float32)
    W, window = np.ones((5, 5, 20, 30), np.float32), Window((5, 5), (1, 1), "valid")
    with (
        mock.patch.object(kernels, "sum_patches", wraps=kernels.sum_patches) as sum_patches,
        mock.patch.object(kernels, "add_filters", wraps=kernels.add_filters) as add_filters,
    ):
        convolution.weight_gradient(x, dy, W.shape, window, NO_PADS)
        convolution.input_gradient(dy, W, x.shape, window, NO_PADS)
    assert sum_patches.call_count + add_filters.call_count == sparse_calls


@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((1, 2), (0, 3)), ((0, 1), (0, 0)), ((0, 0), (2, 0))])
def test_pad_puts_zeros_around_and_crop_takes_them_off(pads):
    x = np.random.default_rng(0).random((2, 3, 4, 2))
    padded = convolution.pad(x, pads)
    np.testing.assert_array_equal(padded, around(x, pads))
    assert padded.shape[1:3] == convolution.padded_size(x.shape, pads)
    np.testing.assert_array_equal(convolution.crop(padded, pads), x)
