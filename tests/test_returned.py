"""What a layer's passes may return: an array with a cache, and dx with a gradient for each parameter, nothing else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinynet.layers.returned import dx_and_gradients, output_and_cache

X = np.ones((2, 3), np.float32)
Y = np.ones((2, 4), np.float32)
W = np.ones((3, 4), np.float32)


class Some:
    """A layer in the middle of tests: it is asked for its name, its output shape and its parameters."""

    output_shape = (4,)
    params = {"W": W}  # noqa: RUF012 - nothing changes it

    def __str__(self) -> str:
        return "Some"


@pytest.mark.parametrize("pair", [tuple, list])
def test_two_things_are_taken_as_they_are(pair: Any):
    cache = object()
    y, same = output_and_cache(Some(), X, pair([Y, cache]))
    assert y is Y
    assert same is cache
    dx, grads = dx_and_gradients(Some(), X.shape, pair([X, {"W": W}]))
    assert dx is X
    assert grads["W"] is W
    assert dx_and_gradients(Some(), None, pair([None, {"W": W}])) == (None, {"W": W})


def test_a_layer_that_does_not_tell_its_output_shape_may_give_any():
    assert output_and_cache(SimpleNamespace(), X, (Y[:, :1], None))[0].shape == (2, 1)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (
            Y,
            TypeError,
            r"output and the cache, as in return y, cache; got an array of shape \(2, 4\) and dtype float32",
        ),
        ((Y,), TypeError, "output and the cache, .* got tuple"),
        ((Y, 1, 2), TypeError, "output and the cache, .* got tuple"),
        (None, TypeError, "output and the cache, .* got None"),
        (([1.0], None), TypeError, "the output as an array, got list"),
        ((np.float32(1), None), TypeError, "the output as an array, got float32"),
        ((Y.astype(np.float64), None), ValueError, "forward gives float64 for x of float32; compute in the dtype of x"),
        ((Y.astype(np.float16), None), ValueError, "forward gives float16 for x of float32"),
        ((Y[:1], None), ValueError, r"make says that outputs have shape \(2, 4\), but forward gives \(1, 4\)"),
        ((np.ones((2, 5), np.float32), None), ValueError, r"shape \(2, 4\), but forward gives \(2, 5\)"),
        ((Y[..., None], None), ValueError, r"shape \(2, 4\), but forward gives \(2, 4, 1\); the two must agree"),
    ],
)
def test_what_is_no_output_with_a_cache_is_refused(returned: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=f"^Some: .*{message}"):
        output_and_cache(Some(), X, returned)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (X, TypeError, r"as in return dx, {\"W\": dW}; got an array of shape \(2, 3\) and dtype float32"),
        ((X,), TypeError, "dx and the gradients of the parameters by name, .* got tuple"),
        ((X, {"W": W}, 1), TypeError, "dx and the gradients .* got tuple"),
        ((X, [W]), TypeError, r"dx and the gradients .* got an array of shape \(2, 3\) and dtype float32 and list"),
        ((X, None), TypeError, "dx and the gradients .* and None"),
        ((X, {}), ValueError, r"backward gave gradients of \[\], but its params are \['W'\]"),
        ((X, {"W": W, "b": W}), ValueError, r"gave gradients of \['W', 'b'\], but its params are \['W'\]"),
        ((X, {"b": W}), ValueError, r"gave gradients of \['b'\], but its params are \['W'\]"),
        (
            (X, {"W": W.T}),
            ValueError,
            r"W has shape \(3, 4\), .* backward gave an array of shape \(4, 3\) and dtype float32",
        ),
        ((X, {"W": 0.5}), ValueError, r"W has shape \(3, 4\), so its gradient must be an array .* gave float"),
        (
            (X.T, {"W": W}),
            ValueError,
            r"x has shape \(2, 3\), .* backward gave an array of shape \(3, 2\) and dtype float32",
        ),
        (
            (X[:1], {"W": W}),
            ValueError,
            r"x has shape \(2, 3\), .* backward gave an array of shape \(1, 3\) and dtype float32",
        ),
        ((None, {"W": W}), ValueError, r"x has shape \(2, 3\), .* backward gave None"),
        ((X.tolist(), {"W": W}), ValueError, r"x has shape \(2, 3\), .* backward gave list"),
    ],
)
def test_what_is_no_dx_with_gradients_is_refused(returned: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=f"^Some: .*{message}"):
        dx_and_gradients(Some(), X.shape, returned)
