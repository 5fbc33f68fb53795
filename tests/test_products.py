"""The products of Dense, both by the kernel and by BLAS: the same numbers.

Numbers are small integers, whose sums are exact in any order: results must agree bit for bit.
"""

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import strategies as draw
from hypothesis import given
from hypothesis import strategies as st
from strategies import lay_out

from tinynet import kernels
from tinynet.layers import products
from tinynet.layers.outer_products import OuterProducts

few_or_many = st.integers(1, 8) | st.sampled_from([17, 65])
ways = pytest.mark.parametrize("by_kernel", [False, True])


def forced(by_kernel: bool) -> Any:
    both = dict.fromkeys(["columns_stay_in_cache", "stays_in_cache"], mock.Mock(return_value=by_kernel))
    return mock.patch.multiple(products, **both)


def integers(seed: int, *shape: int, dtype: Any = np.float32, layout: str = "C") -> np.ndarray:
    return lay_out(np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype), layout)


@ways
@given(
    n=few_or_many,
    size=few_or_many,
    columns=few_or_many,
    least=st.sampled_from([0.0, -math.inf, 2.0]),
    seed=draw.seeds,
    dtype=draw.dtypes,
    layout=draw.layouts,
)
def test_three_products(by_kernel, n, size, columns, least, seed, dtype, layout):
    x, W, b, dy = (
        integers(seed + i, *shape, dtype=dtype, layout=layout)
        for i, shape in enumerate([(n, size), (size, columns), (columns,), (n, columns)])
    )
    dW = np.full((size, columns), 7, dtype)
    with (
        forced(by_kernel),
        mock.patch.object(kernels, "matmul", wraps=kernels.matmul) as matmul,
        mock.patch.object(kernels, "vecmat", wraps=kernels.vecmat) as vecmat,
    ):
        y, dx = products.times(x, W, b, least), products.times_transposed(dy, W)
        products.transposed_times(x, dy, dW)
    expected = x @ W + b
    np.testing.assert_array_equal(y, np.where(expected < least, least, expected))
    np.testing.assert_array_equal(dx, dy @ W.T)
    np.testing.assert_array_equal(dW, x.T @ dy)
    assert y.dtype == dx.dtype == dtype
    assert vecmat.call_count == (n == 1)
    assert matmul.call_count == (3 - (n == 1)) * by_kernel


@ways
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_a_single_row_has_a_kernel_of_its_own_and_for_others_the_cache_decides(by_kernel, n):
    x, W, b = integers(0, n, 4), integers(1, 4, 3), integers(2, 3)
    with (
        mock.patch.multiple(kernels, VECTOR_BYTES=32),
        mock.patch.object(products, "CACHE_BYTES", 4 * kernels.COLUMNS * 4 - (not by_kernel)),
        mock.patch.object(kernels, "vecmat", wraps=kernels.vecmat) as vecmat,
        mock.patch.object(kernels, "matmul", wraps=kernels.matmul) as matmul,
    ):
        y = products.times(x, W, b, 0.0)
    np.testing.assert_array_equal(y, np.maximum(x @ W + b, 0))
    assert (vecmat.called, matmul.called) == (n == 1, n > 1 and by_kernel)


def test_no_rows_are_left_to_blas_because_the_kernels_read_one_at_least():
    x, W, b = integers(0, 0, 4), integers(1, 4, 3), integers(2, 3)
    with (
        mock.patch.object(kernels, "vecmat", wraps=kernels.vecmat) as vecmat,
        mock.patch.object(kernels, "matmul", wraps=kernels.matmul) as matmul,
    ):
        assert products.times(x, W, b, 0.0).shape == (0, 3)
    assert not vecmat.called
    assert not matmul.called


def test_which_factors_must_stay_in_the_cache():
    """Those whose rows are multiplied, and then those whose columns are taken some at a time."""
    x, W, dy = integers(0, 9, 5), integers(1, 5, 3), integers(3, 9, 3)
    with mock.patch.object(products, "stays_in_cache", return_value=False) as asked:
        products.times_transposed(dy, W)
        products.transposed_times(x, dy, np.empty((5, 3), np.float32))
    for call, factors in zip(asked.call_args_list, [(W, dy.T), (x.T, dy)], strict=True):
        for given_, expected in zip(call.args, factors, strict=True):
            np.testing.assert_array_equal(given_, expected)


@pytest.mark.parametrize(
    ("rows", "size", "dtype", "stays"),
    [
        (8, 5461, np.float32, True),  # 48 columns of 5461 numbers are almost 1 MB
        (8, 5462, np.float32, False),
        (100, 1, np.float32, True),
        (8, 2730, np.float64, True),
        (8, 2731, np.float64, False),
        (7, 1, np.float32, False),  # the kernel takes eight rows at a time
    ],
)
def test_the_kernel_multiplies_where_its_columns_stay_in_the_cache(rows, size, dtype, stays):
    left, right = np.empty((rows, size), dtype), np.empty((size, 2), dtype)
    with mock.patch.multiple(kernels, VECTOR_BYTES=32, TILE=8, COLUMNS=48):
        assert products.stays_in_cache(left, right) == stays
    with mock.patch.multiple(kernels, VECTOR_BYTES=0, TILE=8, COLUMNS=48):
        assert not products.stays_in_cache(left, right), "without vectors BLAS is faster"


@pytest.mark.parametrize("parts", [1, 3])
def test_outer_products_keep_all_samples_in_order(parts):
    pairs = [(integers(i, 2, 3), integers(i, 2, 4)) for i in range(parts)]
    total = OuterProducts(*pairs[0])
    for pair in pairs[1:]:
        total += OuterProducts(*pair)
    lefts, rights = zip(*pairs, strict=True)
    np.testing.assert_array_equal(total.left(), np.concatenate(lefts))
    np.testing.assert_array_equal(total.left(slice(1, 3)), np.concatenate(lefts)[:, 1:3])
    np.testing.assert_array_equal(total.right(), np.concatenate(rights))
    assert total.shape == (3, 4)
