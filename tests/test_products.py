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
from hypothesis.extra.numpy import arrays
from strategies import lay_out

from tinynet import kernels
from tinynet.layers import outer_products, products
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
        mock.patch.object(products, "COLUMN_BYTES", 4 * 4 - (not by_kernel)),
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
        (8, 16384, np.float32, True),
        (8, 16385, np.float32, False),
        (100, 1, np.float32, True),
        (8, 8192, np.float64, True),
        (8, 8193, np.float64, False),
        (7, 1, np.float32, False),  # the kernel takes eight rows at a time
    ],
)
def test_the_kernel_multiplies_where_its_columns_stay_in_the_cache(rows, size, dtype, stays):
    left, right = np.empty((rows, size), dtype), np.empty((size, 2), dtype)
    with mock.patch.multiple(kernels, VECTOR_BYTES=32, TILE=8):
        assert products.stays_in_cache(left, right) == stays
    with mock.patch.multiple(kernels, VECTOR_BYTES=0, TILE=8):
        assert not products.stays_in_cache(left, right), "without vectors BLAS is faster"


@pytest.mark.parametrize("long_vectors", [False, True])
@pytest.mark.parametrize(("parts", "samples"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_outer_products_keep_all_samples_in_order(monkeypatch, parts, samples, long_vectors):
    monkeypatch.setattr(outer_products, "LONG_VECTORS", long_vectors)
    pairs = [(integers(i, samples, 3), integers(i, samples, 4)) for i in range(parts)]
    total = OuterProducts(*pairs[0])
    for pair in pairs[1:]:
        total += OuterProducts(*pair)
    lefts, rights = zip(*pairs, strict=True)
    expected = np.concatenate(lefts).T @ np.concatenate(rights)
    with mock.patch.object(outer_products, "transposed_times", wraps=products.transposed_times) as by_kernel:
        np.testing.assert_array_equal(total.sum(), expected)
    assert by_kernel.called == (long_vectors or parts == samples == 1)
    out = np.empty((2, 4))
    assert total.sum(slice(1, 3), out) is out
    for rows in (out, total.sum(slice(1, 3))):
        np.testing.assert_array_equal(rows, expected[1:3])
    assert (total.shape, total.dtype) == ((3, 4), expected.dtype)


@pytest.mark.parametrize(("size", "expected"), [(1, [1] * 7), (5, [1] * 7), (12, [3, 3, 1]), (20, [4, 3]), (99, [7])])
def test_parts_of_a_sum_hold_all_its_rows(monkeypatch, size, expected):
    monkeypatch.setattr(outer_products, "PART_SIZE", size)
    parts = OuterProducts(np.ones((2, 7)), np.ones((2, 5))).parts()
    rows = list(range(7))
    assert [len(rows[part]) for part in parts] == expected
    assert [row for part in parts for row in rows[part]] == rows


of_any_size = st.floats(width=32) | st.integers(-149, 127).map(lambda exponent: math.ldexp(1, exponent))


@given(arrays(np.float32, (3, 4), elements=of_any_size), arrays(np.float32, (3, 2), elements=of_any_size))
@np.errstate(all="ignore")
def test_what_is_surely_finite_is_so(left, right):
    """Also where squares are zero or infinite, and on the way to a sum: that is what the absolute values are for."""
    total = OuterProducts(left[:1], right[:1])
    total += OuterProducts(left[1:], right[1:])
    if total.is_surely_finite():
        assert np.isfinite(np.abs(left).T @ np.abs(right)).all()


@pytest.mark.parametrize(("left", "right", "expected"), [(1e19, 0.1, True), (1e19, 1e19, False), (np.nan, 0.1, False)])
def test_ordinary_factors_have_a_finite_sum(left, right, expected):
    products = OuterProducts(np.full((1, 2), left, np.float32), np.full((1, 3), right, np.float32))
    assert products.is_surely_finite() == expected
