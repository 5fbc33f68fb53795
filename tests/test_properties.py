"""Exact properties of the maths, for random shapes: each holds whatever the numbers are, and no formula is repeated."""

import numpy as np
import pytest
import strategies as draw
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import normal

from tinynet import kernels, reference
from tinynet.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Softmax
from tinynet.losses import softmax_cross_entropy
from tinynet.models import Sequential
from tinynet.optimizers import SGD

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


# Convolution --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [reference, kernels], ids=["reference", "kernels"])
@given(window=draw.windows(), n=draw.batch_sizes, c=draw.sizes, seed=draw.seeds)
def test_col2im_is_the_transpose_of_im2col(module, window, n, c, seed):
    """<im2col(x), u> == <x, col2im(u)> for all x and u is what being the transpose means."""
    options, (h, w) = window
    (k_h, k_w), strides = options["size"], options["strides"]
    x = normal(seed, (n, max(h, k_h), max(w, k_w), c))
    out_h, out_w = (x.shape[1] - k_h) // strides[0] + 1, (x.shape[2] - k_w) // strides[1] + 1
    patches = np.empty((n * out_h * out_w, k_h * k_w * c))
    module.im2col(x, k_h, k_w, *strides, patches)
    u = normal(seed + 1, patches.shape)
    spread = np.zeros_like(x)
    module.col2im(u, spread, k_h, k_w, *strides)
    np.testing.assert_allclose((patches * u).sum(), (x * spread).sum(), **CLOSE)


@given(recipe=draw.conv2d(), seed=draw.seeds)
def test_convolution_is_the_sum_that_defines_it(recipe, seed):
    """y[i, j] = sum over the window of x[i*s + di, j*s + dj] @ W[di, dj], zero outside the image, by plain loops."""
    recipe.arguments["activation"] = None
    conv = recipe.build(seed)
    h, w, _ = recipe.input_shape
    out_h, out_w, filters = conv.output_shape
    (k_h, k_w), (s_h, s_w) = recipe.arguments["kernel_size"], recipe.arguments["strides"]
    top = left = 0
    if recipe.arguments["padding"] == "same":
        assert (out_h, out_w) == (-(-h // s_h), -(-w // s_w))
        top = max((out_h - 1) * s_h + k_h - h, 0) // 2
        left = max((out_w - 1) * s_w + k_w - w, 0) // 2
    x = normal(seed, (2, *recipe.input_shape))
    expected = np.zeros((2, out_h, out_w, filters)) + conv.params.get("b", 0)
    for i, j, di, dj in np.ndindex(out_h, out_w, k_h, k_w):
        row, column = i * s_h - top + di, j * s_w - left + dj
        if 0 <= row < h and 0 <= column < w:
            expected[:, i, j] += x[:, row, column] @ conv.params["W"][di, dj]
    np.testing.assert_allclose(conv.forward(x)[0], expected, **CLOSE)


@given(
    image=st.tuples(st.integers(4, 8), st.integers(4, 8), draw.sizes),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shift=st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
    seed=draw.seeds,
)
def test_shifting_the_image_shifts_a_valid_convolution(image, kernel, shift, seed):
    conv = draw.Recipe(Conv2D, {"filters": 2, "kernel_size": kernel}, image).build(seed)
    x = normal(seed, (1, *image))
    y, shifted = conv.forward(x)[0], conv.forward(np.roll(x, shift, axis=(1, 2)))[0]
    inside = np.ones(y.shape[1:3], bool)  # windows that the roll has not torn apart
    for axis, (size, step) in enumerate(zip(y.shape[1:3], shift, strict=True)):
        torn = np.arange(size) < step if step > 0 else np.arange(size) >= size + step
        inside &= ~np.expand_dims(torn, 1 - axis)
    assume(inside.any())
    np.testing.assert_allclose(shifted[:, inside], np.roll(y, shift, axis=(1, 2))[:, inside], **CLOSE)


@given(image=draw.image_shapes, units=draw.sizes, seed=draw.seeds)
def test_a_window_as_large_as_the_image_makes_convolution_a_dense_layer(image, units, seed):
    conv = draw.Recipe(Conv2D, {"filters": units, "kernel_size": image[:2]}, image).build(seed)
    x = normal(seed, (3, *image))
    dense = draw.Recipe(Dense, {"units": units}, (int(np.prod(image)),)).build()
    dense.set_weights([conv.params["W"].reshape(-1, units), conv.params["b"]])
    np.testing.assert_allclose(conv.forward(x)[0].reshape(3, units), dense.forward(x.reshape(3, -1))[0], **CLOSE)


@given(recipe=draw.conv2d(), seed=draw.seeds)
def test_sparse_and_dense_gradients_go_the_same_way(recipe, seed):
    """Convolution has a kernel of its own for gradients that are mostly zeros; a sum of sparse ones is dense."""
    recipe.arguments["activation"] = None
    conv = recipe.build(seed)
    x = normal(seed, (2, *recipe.input_shape))
    y, cache = conv.forward(x)
    dy = normal(seed + 1, y.shape)
    part = np.random.default_rng(seed).integers(0, 6, y.shape)
    dx, grads = conv.backward(dy, cache)
    parts = [conv.backward(np.where(part == i, dy, 0), cache) for i in range(6)]
    np.testing.assert_allclose(sum(part_dx for part_dx, _ in parts), dx, **CLOSE)
    np.testing.assert_allclose(sum(part_grads["W"] for _, part_grads in parts), grads["W"], **CLOSE)


# Pooling ------------------------------------------------------------------------------------------------------------


@given(recipe=draw.pooling(), seed=draw.seeds, n=draw.batch_sizes)
def test_pooling_takes_the_largest_of_each_window_and_padding_never_wins(recipe, seed, n):
    pool = recipe.build()
    h, w, _ = recipe.input_shape
    out_h, out_w, _ = pool.output_shape
    (k_h, k_w), (s_h, s_w) = recipe.arguments["pool_size"], recipe.arguments["strides"]
    top = left = 0
    if recipe.arguments["padding"] == "same":
        top = max((out_h - 1) * s_h + k_h - h, 0) // 2
        left = max((out_w - 1) * s_w + k_w - w, 0) // 2
    x = normal(seed, (n, *recipe.input_shape)) - 10  # all below zero: a zero from the padding would win
    y, _ = pool.forward(x)
    for i, j in np.ndindex(out_h, out_w):
        rows = slice(max(i * s_h - top, 0), i * s_h - top + k_h)
        columns = slice(max(j * s_w - left, 0), j * s_w - left + k_w)
        np.testing.assert_array_equal(y[:, i, j], x[:, rows, columns].max(axis=(1, 2)))


@given(recipe=draw.pooling(), seed=draw.seeds, levels=st.integers(1, 3))
def test_pooling_passes_the_whole_gradient_on_even_where_entries_tie(recipe, seed, levels):
    pool = recipe.build()
    x = np.random.default_rng(seed).integers(0, levels, (2, *recipe.input_shape)).astype(np.float64)
    y, cache = pool.forward(x)
    dy = normal(seed, y.shape)
    dx, _ = pool.backward(dy, cache)
    np.testing.assert_allclose(dx.sum(axis=(1, 2)), dy.sum(axis=(1, 2)), **CLOSE)


@given(recipe=draw.pooling(), seed=draw.seeds)
def test_pooling_has_no_opinion_on_the_order_of_channels(recipe, seed):
    pool = recipe.build()
    x = normal(seed, (2, *recipe.input_shape))
    y, _ = pool.forward(x)
    np.testing.assert_array_equal(pool.forward(x[..., ::-1])[0], y[..., ::-1])


@given(recipe=draw.pooling(), seed=draw.seeds)
def test_pooling_follows_any_growing_function(recipe, seed):
    pool = recipe.build()
    x = normal(seed, (2, *recipe.input_shape))
    np.testing.assert_array_equal(pool.forward(np.exp(x))[0], np.exp(pool.forward(x)[0]))


# Rows and columns are treated alike ---------------------------------------------------------------------------------


@given(recipe=st.one_of(draw.conv2d(), draw.pooling()), seed=draw.seeds)
def test_turning_the_image_and_the_window_turns_the_output(recipe, seed):
    """Swapping rows and columns everywhere swaps them in y, dx and dW: neither is used in the other's place."""
    turned_arguments = {
        key: value[::-1] if key in ("kernel_size", "pool_size", "strides") else value
        for key, value in recipe.arguments.items()
    }
    h, w, c = recipe.input_shape
    layer = recipe.build(seed)
    turned = draw.Recipe(recipe.kind, turned_arguments, (w, h, c)).build(seed)
    if layer.params:
        turned.set_weights([weight.swapaxes(0, 1) if weight.ndim == 4 else weight for weight in layer.get_weights()])
    x = normal(seed, (2, h, w, c))
    y, cache = layer.forward(x)
    turned_y, turned_cache = turned.forward(x.swapaxes(1, 2))
    np.testing.assert_allclose(turned_y.swapaxes(1, 2), y, **CLOSE)
    dy = normal(seed + 1, y.shape)
    dx, grads = layer.backward(dy, cache)
    turned_dx, turned_grads = turned.backward(dy.swapaxes(1, 2), turned_cache)
    np.testing.assert_allclose(turned_dx.swapaxes(1, 2), dx, **CLOSE)
    if "W" in grads:
        np.testing.assert_allclose(turned_grads["W"].swapaxes(0, 1), grads["W"], **CLOSE)


# Softmax and cross-entropy ------------------------------------------------------------------------------------------


@given(shape=draw.shapes, seed=draw.seeds, scale=st.sampled_from([1.0, 100.0, 1e4]))
def test_softmax_rows_sum_to_one_and_its_gradient_rows_to_zero(shape, seed, scale):
    softmax = draw.Recipe(Softmax, {}, shape).build()
    x = scale * normal(seed, (3, *shape))
    y, cache = softmax.forward(x)
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-12)
    dx, _ = softmax.backward(normal(seed + 1, y.shape), cache)
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-12)


@given(n=draw.batch_sizes, k=st.integers(1, 6), seed=draw.seeds, constant=st.integers(-1000, 1000))
def test_adding_a_constant_to_the_logits_changes_nothing(n, k, seed, constant):
    logits = np.random.default_rng(seed).integers(-64, 64, (n, k)) / 8  # exact in binary, with the constant too
    classes = np.random.default_rng(seed).integers(0, k, n)
    softmax = draw.Recipe(Softmax, {}, (k,)).build()
    np.testing.assert_array_equal(softmax.forward(logits + constant)[0], softmax.forward(logits)[0])
    for moved, still in zip(
        softmax_cross_entropy(logits + constant, classes), softmax_cross_entropy(logits, classes), strict=True
    ):
        np.testing.assert_array_equal(moved, still)


@given(n=draw.batch_sizes, k=st.integers(2, 6), seed=draw.seeds)
def test_the_loss_of_logits_and_its_gradient_are_those_of_the_two_steps_apart(n, k, seed):
    logits = normal(seed, (n, k))
    classes = np.random.default_rng(seed).integers(0, k, n)
    rows = np.arange(n)
    softmax = draw.Recipe(Softmax, {}, (k,)).build()
    p, cache = softmax.forward(logits)
    losses, dlogits = softmax_cross_entropy(logits, classes)
    np.testing.assert_allclose(losses, -np.log(p[rows, classes]), **CLOSE)
    dp = np.zeros_like(p)
    dp[rows, classes] = -1 / p[rows, classes]
    np.testing.assert_allclose(dlogits, softmax.backward(dp, cache)[0], **CLOSE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("extreme", [1e4, 1e30])
def test_extreme_logits_give_finite_and_right_values(dtype, extreme):
    logits = np.array([[extreme, -extreme, 0], [extreme, -extreme, 0], [-extreme, -extreme, -extreme]], dtype)
    classes = np.array([0, 1, 2])
    losses, dlogits = softmax_cross_entropy(logits, classes)
    np.testing.assert_array_equal(losses, np.array([0, 2 * dtype(extreme), np.log(dtype(3))], dtype))
    expected = np.array([[0, 0, 0], [1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], dtype)
    np.testing.assert_allclose(dlogits, expected, rtol=1e-6)
    p, _ = draw.Recipe(Softmax, {}, (3,)).build().forward(logits)
    np.testing.assert_allclose(p, [[1, 0, 0], [1, 0, 0], [1 / 3] * 3], rtol=1e-6)


# Whole networks -----------------------------------------------------------------------------------------------------


def small_network() -> Sequential:
    model = Sequential(
        [
            Input((6, 5, 2)),
            Conv2D(3, 3, padding="same", activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(4, activation="softmax"),
        ],
        seed=0,
    )
    model.compile(optimizer=SGD(0.1), loss="sparse_categorical_crossentropy")
    return model.astype(np.float64)


@given(n=st.integers(1, 80), seed=draw.seeds)
def test_a_permuted_batch_gives_the_same_loss_and_gradients(n, seed):
    model = small_network()
    rng = np.random.default_rng(seed)
    x, y, order = rng.standard_normal((n, 6, 5, 2)), rng.integers(0, 4, n), rng.permutation(n)
    loss, grads = model.loss_and_gradients(x, y)
    permuted_loss, permuted_grads = model.loss_and_gradients(x[order], y[order])
    np.testing.assert_allclose(permuted_loss, loss, **CLOSE)
    for key in grads:
        np.testing.assert_allclose(permuted_grads[key], grads[key], **CLOSE)


@given(n=st.integers(1, 80), copies=st.integers(2, 3), seed=draw.seeds)
def test_a_batch_repeated_gives_the_same_mean_loss_and_gradients(n, copies, seed):
    """The loss is a mean: a sum would grow with the copies, and a mean of shards' means would weight them wrongly."""
    model = small_network()
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 6, 5, 2)), rng.integers(0, 4, n)
    loss, grads = model.loss_and_gradients(x, y)
    again, grads_again = model.loss_and_gradients(np.concatenate([x] * copies), np.concatenate([y] * copies))
    np.testing.assert_allclose(again, loss, **CLOSE)
    for key in grads:
        np.testing.assert_allclose(grads_again[key], grads[key], **CLOSE)
