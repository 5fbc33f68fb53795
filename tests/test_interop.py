"""Weights for PyTorch and back: against PyTorch's definitions written out in NumPy, and small cases by hand.

``tests/references/check_torch_interop.py`` compares the same models with PyTorch itself.
"""

import numpy as np
import pytest
from torch_networks import MODELS

from tinynet.interop import from_torch_state_dict, to_torch_state_dict
from tinynet.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    Softmax,
)
from tinynet.models import Sequential


def test_the_layouts_by_hand():
    model = Sequential([Input((2, 1, 2)), Conv2D(3, (2, 1)), Flatten(), Dense(2)])
    model.set_weights([np.arange(12).reshape(2, 1, 2, 3), np.arange(3), np.arange(6).reshape(3, 2), np.arange(2)])
    state = to_torch_state_dict(model)
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert state["0.weight"].tolist() == [
        [[[0], [6]], [[3], [9]]],
        [[[1], [7]], [[4], [10]]],
        [[[2], [8]], [[5], [11]]],
    ]
    assert state["2.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert (state["0.bias"].tolist(), state["2.bias"].tolist()) == ([0, 1, 2], [0, 1])


def test_rows_behind_a_flatten_change_places():
    """An image of 1 x 2 pixels with 3 channels: tinynet counts pixel by pixel, PyTorch channel by channel."""
    model = Sequential(
        [Input((1, 2, 3)), Flatten(), Flatten(), Dropout(0.5), Activation("relu"), Dense(1, use_bias=False)]
    )
    model.set_weights([np.array([[10], [11], [12], [20], [21], [22]])])
    state = to_torch_state_dict(model)
    assert {name: array.tolist() for name, array in state.items()} == {"4.weight": [[10, 20, 11, 21, 12, 22]]}


def test_only_the_first_dense_layer_behind_a_flatten_of_images_is_reordered():
    W = np.arange(36.0).reshape(6, 6)
    for first, image in [(Input((1, 2, 3)), True), (Input((6,)), False), (Input((2, 3)), False)]:
        model = Sequential([first, Flatten(), Dense(6, use_bias=False), Dense(6, use_bias=False)])
        model.set_weights([W, W])
        state = to_torch_state_dict(model)
        assert (state["1.weight"] == W.T).all() != image
        assert (state["2.weight"] == W.T).all()


def test_activations_are_modules_of_their_own():
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(2, 3, activation="relu"),
            MaxPooling2D(),
            Sequential([Conv2D(2, 2), AveragePooling2D(), Sequential([Flatten(), Dense(3, activation="tanh")])]),
            Dense(2, activation="linear"),
            Dense(2),
            Softmax(),
        ]
    )
    names = ["0.weight", "3.0.weight", "3.2.1.weight", "4.weight", "5.weight"]
    assert [name for name in to_torch_state_dict(model) if "weight" in name] == names


def torch_forward(model: Sequential, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The definitions of PyTorch's documentation in plain loops: images (n, c, h, w), no padding."""
    number = 0
    for layer in model.layers:
        if isinstance(layer, Conv2D):
            W, b = state[f"{number}.weight"], state[f"{number}.bias"]
            n, (out, _, k_h, k_w), (s_h, s_w) = len(x), W.shape, layer.window.strides
            y = np.empty((n, out, (x.shape[2] - k_h) // s_h + 1, (x.shape[3] - k_w) // s_w + 1))
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    patch = x[:, None, :, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w]
                    y[:, :, i, j] = (patch * W).sum(axis=(2, 3, 4)) + b
            x = y
        elif isinstance(layer, MaxPooling2D):
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
        else:
            x = x @ state[f"{number}.weight"].T + state[f"{number}.bias"]
        number += 1
        if getattr(layer, "activation", None) is not None and type(layer.activation).__name__ == "ReLU":
            x, number = np.maximum(x, 0), number + 1
    return x


def test_predictions_agree_with_pytorchs_definitions():
    model = Sequential(
        [
            Input((9, 11, 2)),
            Conv2D(3, (2, 3), strides=(1, 2), activation="relu", bias_initializer="random_normal"),
            Conv2D(4, (1, 2), activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(5, activation="relu", bias_initializer="random_normal"),
            Dense(3),
        ],
        seed=0,
    )
    x = np.random.default_rng(1).standard_normal((7, 9, 11, 2)).astype(np.float32)
    expected = torch_forward(model, to_torch_state_dict(model), x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_changes_no_bit(name):
    model, other = MODELS[name](seed=1), MODELS[name](seed=2)
    arrays = dict(other.params)
    state = to_torch_state_dict(model)
    from_torch_state_dict(other, state)
    for key, param in model.params.items():
        np.testing.assert_array_equal(other.params[key], param)
        assert other.params[key] is arrays[key]
    for array in state.values():
        array[:] = 0
    assert all(param.any() for key, param in model.params.items() if key.endswith("W")), "the state is a copy"


def test_a_state_that_does_not_fit_changes_nothing():
    model = MODELS["LeNet-5"](seed=1)
    before, good = model.get_weights(), to_torch_state_dict(model)
    wrongs = [
        (
            {"0.weight": good["0.weight"]},
            ValueError,
            r"has \['0.weight', '0.bias', .*got \['0.weight'\]; see the table",
        ),
        ({**good, "1.weight": good["0.weight"]}, ValueError, "'1.weight'"),
        ({**good, "7.bias": np.zeros(7)}, ValueError, r"7.bias must have shape \(120,\), got \(7,\)"),
        (
            {**good, "7.bias": np.full(120, np.nan)},
            ValueError,
            "7.bias has numbers that are NaN or infinite in float32",
        ),
        ({**good, "7.bias": np.ma.masked_equal(np.arange(120.0), 3)}, TypeError, "some of 7.bias is masked"),
        ({**good, "7.bias": np.zeros(120, int)}, TypeError, "7.bias must be an array of floats, got dtype int"),
    ]
    for state, kind, message in wrongs:
        with pytest.raises(kind, match=message):
            from_torch_state_dict(model, state)
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)


class Elsewhere:
    """A tensor that NumPy cannot read: on another device, or in bfloat16."""

    def detach(self):
        return self

    def __array__(self, *arguments, **options):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_what_is_no_state_or_no_network_is_refused():
    model = Sequential([Input((2,)), Dense(1)])
    with pytest.raises(TypeError, match=r"from_torch_state_dict takes what net.state_dict\(\) returns, got Elsewhere"):
        from_torch_state_dict(model, Elsewhere())
    with pytest.raises(TypeError, match=r"0.weight cannot become an array; try .cpu\(\).float\(\). .* BFloat16"):
        from_torch_state_dict(model, {"0.weight": Elsewhere(), "0.bias": np.zeros(1)})
    for network in (None, model.layers[0]):
        with pytest.raises(TypeError, match=r"Weights go to PyTorch and back for a Sequential, got (None|Dense)"):
            to_torch_state_dict(network)


def test_models_that_cannot_be_translated():
    with pytest.raises(ValueError, match="The model has no weights yet"):
        to_torch_state_dict(Sequential([Dense(3)]))

    class Scale(Layer):
        def make(self, input_shape, rng):
            self.params["s"] = np.ones(input_shape, np.float32)
            return input_shape

    with pytest.raises(ValueError, match="Scale 'scale' has weights, and no equivalent in PyTorch that tinynet knows"):
        to_torch_state_dict(Sequential([Input((4,)), Scale(), Dense(3)]))

    class EverySecond(Layer):
        def make(self, input_shape, rng):
            return (input_shape[0] // 2,)

    model = Sequential([Input((2, 2, 3)), Flatten(), EverySecond(), Dense(2)])
    with pytest.raises(ValueError, match=r"EverySecond .* stands between a Flatten and a Dense layer"):
        to_torch_state_dict(model)
    vectors = Sequential([Input((6,)), EverySecond(), Dense(2)])
    assert to_torch_state_dict(vectors)["1.weight"].shape == (2, 3)


def test_numbers_that_float32_does_not_hold_are_refused():
    model = Sequential([Input((2,)), Dense(1)])
    with pytest.raises(ValueError, match=r"0.weight has numbers that are NaN or infinite in float32"):
        from_torch_state_dict(model, {"0.weight": np.array([[1e300, 1.0]]), "0.bias": np.zeros(1)})
    with pytest.raises(ValueError, match=r"weight .dense/W. has numbers that are too large for float32"):
        model.set_weights([np.array([[1e300], [1.0]]), np.zeros(1)])
    model.set_weights([np.array([[np.inf], [1.0]]), np.zeros(1)])  # as it says


def test_read_only_parameters_are_refused_before_any_changes():
    model = Sequential([Input((6,)), Dense(5), Dense(3)], seed=0)
    before = model.get_weights()
    model.layers[1].params["b"].setflags(write=False)
    state = {name: array + 1 for name, array in to_torch_state_dict(model).items()}
    with pytest.raises(
        ValueError,
        match="from_torch_state_dict: Dense 'dense_1': b is read-only, so no numbers can go into it; put a copy in its",
    ):
        from_torch_state_dict(model, state)
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)
