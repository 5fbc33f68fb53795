"""The products of Dense, both by the kernel and by BLAS: the same numbers.

Numbers are small integers, whose sums are exact in any order: results must agree bit for bit.
"""

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
    return mock.patch.object(products, "_stays_in_cache", return_value=by_kernel)


def integers(seed: int, *shape: int, dtype: Any = np.float32, layout: str = "C") -> np.ndarray:
    return lay_out(np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype), layout)


@ways
@given(n=few_or_many, size=few_or_many, columns=few_or_many, seed=draw.seeds, dtype=draw.dtypes, layout=draw.layouts)
def test_three_products(by_kernel, n, size, columns, seed, dtype, layout):
    x, W, b, dy = (
        integers(seed + i, *shape, dtype=dtype, layout=layout)
        for i, shape in enumerate([(n, size), (size, columns), (columns,), (n, columns)])
    )
    dW = np.full((size, columns), 7, dtype)
    with forced(by_kernel), mock.patch.object(kernels, "matmul", wraps=kernels.matmul) as matmul:
        y, dx = products.times(x, W, b), products.times_transposed(dy, W)
        products.transposed_times(x, dy, dW)
    np.testing.assert_array_equal(y, x @ W + b)
    np.testing.assert_array_equal(dx, dy @ W.T)
    np.testing.assert_array_equal(dW, x.T @ dy)
    assert y.dtype == dx.dtype == dtype
    assert matmul.call_count == 3 * by_kernel


@pytest.mark.parametrize(
    ("rows", "size", "dtype", "stays"),
    [
        (6, 4096, np.float32, True),  # 64 columns of 4096 numbers are 1 MB
        (6, 4097, np.float32, False),
        (100, 1, np.float32, True),
        (6, 2048, np.float64, True),
        (6, 2049, np.float64, False),
        (5, 1, np.float32, False),  # the kernel takes six rows at a time
    ],
)
def test_the_kernel_multiplies_where_its_columns_stay_in_the_cache(rows, size, dtype, stays):
    left, right = np.empty((rows, size), dtype), np.empty((size, 2), dtype)
    with mock.patch.object(kernels, "VECTOR_BYTES", 32):
        assert products._stays_in_cache(left, right) == stays
    with mock.patch.object(kernels, "VECTOR_BYTES", 0):
        assert not products._stays_in_cache(left, right), "without vectors BLAS is faster"


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
