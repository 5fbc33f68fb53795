"""Softmax cross-entropy, by hand: the loss of a sample is -log of the probability given to its true class."""

import math

import numpy as np
import pytest
from strategies import lay_out

from tinynet import losses
from tinynet.losses import (
    CategoricalCrossentropy,
    Loss,
    SparseCategoricalCrossentropy,
    get_loss,
    softmax_cross_entropy,
)

LOG_2 = math.log(2)
# Probabilities 1/8, 2/8, 5/8 and 4/8, 2/8, 2/8
LOGITS = np.log([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]])
PROBABILITIES = np.array([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]]) / 8


def test_the_loss_is_minus_log_of_the_true_classes_probability():
    values, _ = softmax_cross_entropy(LOGITS, np.array([1, 0]))
    np.testing.assert_allclose(values, [2 * LOG_2, LOG_2], rtol=1e-14)


def test_the_gradient_is_what_the_probabilities_are_off_by():
    _, gradient = softmax_cross_entropy(LOGITS, np.array([1, 0]))
    np.testing.assert_allclose(gradient, [[1 / 8, 2 / 8 - 1, 5 / 8], [4 / 8 - 1, 2 / 8, 2 / 8]], rtol=1e-14)


def test_the_arguments_stay_as_they_are():
    logits, classes = LOGITS.copy(), np.array([1, 0])
    softmax_cross_entropy(logits, classes)
    np.testing.assert_array_equal(logits, LOGITS)
    np.testing.assert_array_equal(classes, [1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_follows_the_logits(dtype):
    values, gradient = softmax_cross_entropy(LOGITS.astype(dtype), np.array([1, 0]))
    assert values.dtype == gradient.dtype == dtype


def test_a_sure_and_wrong_network_has_a_large_loss_and_a_gradient_that_can_still_teach_it():
    """Taken apart, softmax would round the true class's probability to 0, and the loss would be infinite."""
    values, gradient = softmax_cross_entropy(np.array([[1000.0, 0.0]]), np.array([1]))
    np.testing.assert_array_equal(values, [1000])
    np.testing.assert_array_equal(gradient, [[1, -1]])


def test_logits_of_any_layout_and_dtype():
    values, gradient = softmax_cross_entropy(LOGITS, np.array([1, 0]))
    for layout in ("F", "every second", "backwards", "read-only"):
        classes = np.array([1, 2, 0, 2])[::2] if layout == "every second" else lay_out(np.array([1, 0]), layout)
        others, other_gradient = softmax_cross_entropy(lay_out(LOGITS, layout), classes)
        np.testing.assert_array_equal(others, values)
        np.testing.assert_array_equal(other_gradient, gradient)
    for dtype, expected in ((int, np.float64), (np.float16, np.float32), (np.uint8, np.float32)):
        others, other_gradient = softmax_cross_entropy(np.ones((2, 2), dtype), np.array([1, 0], np.uint8))
        np.testing.assert_allclose(others, LOG_2, rtol=1e-7)
        np.testing.assert_array_equal(other_gradient, [[0.5, -0.5], [-0.5, 0.5]])
        assert others.dtype == other_gradient.dtype == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float16, np.float32),
        (">f4", np.float32),
        (">f8", np.float64),
        (np.longdouble, np.float64),
        (int, np.float64),
    ],
)
@pytest.mark.parametrize("labels", [">i4", np.uint8, np.int64])
def test_logits_and_classes_of_other_types(dtype, expected, labels):
    logits = np.array([[1, 0, 2], [0, 3, 1]])
    values, gradient = softmax_cross_entropy(logits.astype(dtype), np.array([2, 0], labels))
    wanted = softmax_cross_entropy(logits.astype(expected), np.array([2, 0]))
    np.testing.assert_array_equal(values, wanted[0])
    np.testing.assert_array_equal(gradient, wanted[1])
    assert values.dtype == gradient.dtype == expected


def test_no_samples_have_no_losses():
    values, gradient = softmax_cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    assert (values.shape, gradient.shape) == ((0,), (0, 3))


@pytest.mark.parametrize(
    ("logits", "classes", "message"),
    [
        (np.zeros(3), np.array(1), r"logits of shape \(n, k\), real numbers, got shape \(3,\)"),
        (np.zeros((2, 3, 1)), np.array([0, 1]), r"logits of shape \(n, k\), real numbers, got shape \(2, 3, 1\)"),
        (np.zeros((2, 0)), np.array([0, 1]), r"logits of shape \(n, k\), .* got shape \(2, 0\) and dtype float64\.$"),
        (LOGITS * 1j, np.array([1, 0]), r"real numbers, got shape \(2, 3\) and dtype complex128\.$"),
        (LOGITS, np.array([1]), r"one integer for each of the 2 rows of logits, got classes of shape \(1,\)"),
        (LOGITS, np.array([1, 0, 2]), r"one integer for each of the 2 rows of logits, got classes of shape \(3,\)"),
        (LOGITS, np.array([[1], [0]]), r"classes of shape \(2, 1\) and dtype int64\.$"),
        (LOGITS, np.array([1.0, 0.0]), r"classes of shape \(2,\) and dtype float64\.$"),
        (LOGITS, np.array([True, False]), r"classes of shape \(2,\) and dtype bool\.$"),
        (LOGITS, np.array([0, 3]), r"classes in 0\.\.2, one for each column of logits, got values from 0 to 3\.$"),
        (LOGITS, np.array([-1, 2]), r"classes in 0\.\.2, one for each column of logits, got values from -1 to 2\.$"),
    ],
)
def test_classes_that_do_not_fit_the_logits_are_refused(logits, classes, message):
    with pytest.raises(ValueError, match=f"^softmax_cross_entropy takes .*{message}"):
        softmax_cross_entropy(logits, classes)
    with pytest.raises(ValueError, match=f"^softmax_cross_entropy takes .*{message}"):
        SparseCategoricalCrossentropy().value_and_gradient(logits, classes)


def test_lists_do_as_well_as_arrays():
    values, gradient = softmax_cross_entropy([[0.0, 0.0]], [1])
    np.testing.assert_allclose(values, [np.log(2)])
    np.testing.assert_allclose(gradient, [[0.5, -0.5]])


def test_nan_logits_give_a_nan_loss():
    values, gradient = softmax_cross_entropy(np.array([[np.nan, 0.0], [0.0, 0.0]]), np.array([1, 1]))
    assert np.isnan(values[0])
    assert np.isnan(gradient[0]).all()
    np.testing.assert_allclose(values[1], LOG_2)


def test_both_ways_to_write_labels_mean_the_same():
    one_hot, integers = np.array([[0, 1, 0], [1, 0, 0]]), np.array([1, 0])
    expected = 1.5 * LOG_2  # the mean of 2 log 2 and log 2
    assert CategoricalCrossentropy()(one_hot, PROBABILITIES) == pytest.approx(expected)
    assert SparseCategoricalCrossentropy()(integers, PROBABILITIES) == pytest.approx(expected)
    assert CategoricalCrossentropy(from_logits=True)(one_hot, LOGITS) == pytest.approx(expected)
    assert SparseCategoricalCrossentropy(from_logits=True)(integers, LOGITS) == pytest.approx(expected)
    np.testing.assert_allclose(losses.categorical_crossentropy(one_hot, PROBABILITIES), [2 * LOG_2, LOG_2])
    np.testing.assert_allclose(losses.sparse_categorical_crossentropy(integers, LOGITS, True), [2 * LOG_2, LOG_2])


def test_probabilities_are_scaled_to_sum_to_one_and_kept_off_zero_as_keras_does():
    loss = SparseCategoricalCrossentropy()
    assert loss([0], np.array([[2.0, 6.0]])) == pytest.approx(2 * LOG_2)
    assert loss([0], np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-7))
    assert loss([1], np.array([[0.0, 1.0]])) == pytest.approx(1e-7)


class Doubled(SparseCategoricalCrossentropy):
    def value_and_gradient(self, logits, classes):
        losses, dlogits = super().value_and_gradient(logits, classes)
        return 2 * losses, 2 * dlogits


@pytest.mark.parametrize("from_logits", [False, True])
def test_a_loss_of_ones_own_is_what_a_call_gives_as_well(from_logits):
    integers, outputs = np.array([0, 1]), LOGITS if from_logits else PROBABILITIES
    usual = SparseCategoricalCrossentropy(from_logits)(integers, outputs)
    assert Doubled(from_logits)(integers, outputs) == pytest.approx(2 * usual)
    put_in = SparseCategoricalCrossentropy(from_logits)
    put_in.value_and_gradient = Doubled(from_logits).value_and_gradient
    assert put_in(integers, outputs) == pytest.approx(2 * usual)


class Changed(SparseCategoricalCrossentropy):
    """Returns what a function makes of the losses and the gradient."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def value_and_gradient(self, logits, classes):
        return self.change(*super().value_and_gradient(logits, classes))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda losses, dlogits: losses, TypeError, "two arrays, the losses and the gradient, got an array"),
        (lambda losses, dlogits: (losses,), TypeError, "two arrays, the losses and the gradient, got tuple"),
        (lambda losses, dlogits: (losses, dlogits, 0), TypeError, "two arrays, .*, got tuple"),
        (lambda losses, dlogits: (losses.mean(), dlogits), ValueError, r"the loss of each sample as .*, got float64"),
        (lambda losses, dlogits: (losses[:1], dlogits), ValueError, r"shape \(2,\), got an array of shape \(1,\)"),
        (lambda losses, dlogits: ([*losses], dlogits), ValueError, r"the loss of each sample as floats .* got list"),
        (lambda losses, dlogits: (losses > 0, dlogits), ValueError, "the loss of each sample as floats .* dtype bool"),
        (lambda losses, dlogits: (losses, dlogits.astype(int)), ValueError, "the gradient as floats .* dtype int64"),
        (lambda losses, dlogits: (losses, dlogits[:, :2]), ValueError, r"shape \(2, 3\), got .* shape \(2, 2\)"),
        (lambda losses, dlogits: (losses, dlogits[..., None]), ValueError, r"\(2, 3\), got .* shape \(2, 3, 1\)"),
    ],
)
def test_what_is_no_loss_of_each_sample_with_its_gradient_is_refused(change, error, message):
    with pytest.raises(error, match=f"^Changed.value_and_gradient must return .*{message}"):
        Changed(change)([0, 1], np.full((2, 3), 1 / 3))
    Changed(lambda *both: list(both))([0, 1], np.full((2, 3), 1 / 3))


@pytest.mark.parametrize(
    "labels", [[2, 0], np.array([2, 0], np.uint8), np.array([2.0, 0.0], np.float32), np.array([[2], [0]])]
)
def test_integer_labels_of_any_type_and_as_a_column(labels):
    np.testing.assert_array_equal(SparseCategoricalCrossentropy().check_labels(labels, 3), [2, 0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_one_hot_labels_of_any_type(dtype):
    labels = np.array([[0, 0, 1], [1, 0, 0]], dtype)
    np.testing.assert_array_equal(CategoricalCrossentropy().check_labels(labels, 3), [2, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1, 2],
            r"one-hot labels of shape \(n, 3\), got shape \(3,\); use loss=\"sparse_categorical_crossentropy\"",
        ),
        (
            [[0, 1], [1, 0]],
            r"labels of shape \(n, 3\), one column for each output of the network, got shape \(2, 2\)\.$",
        ),
        ([[0, 1, 0, 0]], r"labels of shape \(n, 3\).*got shape \(1, 4\)\.$"),
        ([[0], [1]], r"got shape \(2, 1\) \(scikit-learn's LabelBinarizer .*to_categorical"),
        ([[], []], r"labels of shape \(n, 3\).*got shape \(2, 0\)\.$"),
        ([[[0, 1, 0]]], r"labels of shape \(n, 3\).*got shape \(1, 1, 3\)\.$"),
        ([[[0], [1], [0]]], r"labels of shape \(n, 3\).*got shape \(1, 3, 1\)\.$"),
        (1, r"labels of shape \(n, 3\), one column for each output of the network, got shape \(\)\.$"),
        ([["0", "1", "0"]], "labels of zeros and ones, got dtype <U1"),
        ([[0, 1, 0], [0, 2, 0]], r"a single 1 in each row; row 1 is \[0 2 0\]"),
        ([[0, 1, 0], [1, 1, 0]], r"a single 1 in each row; row 1 is \[1 1 0\]"),
        ([[0.3, 0.3, 0.4]], r"row 0 is \[0.3 0.3 0.4\]"),
        ([[1, 0.5, 0]], r"row 0 is \[1.  0.5 0. \]"),
        ([[1, -1, 0]], r"row 0 is \[ 1 -1  0\]"),
        ([[0, 1, np.nan]], r"row 0 is \[ 0.  1. nan\]"),
        ([[0, 1, 0], [0, 0, 0]], r"row 1 is \[0 0 0\]. A row of zeros is what scikit-learn's LabelBinarizer"),
    ],
)
def test_labels_that_are_not_one_hot_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        CategoricalCrossentropy().check_labels(labels, 3)


def test_a_long_row_is_not_shown_whole():
    for num_classes, whole in ((20, True), (21, False)):
        with pytest.raises(ValueError, match="row 0 is") as error:
            CategoricalCrossentropy().check_labels(np.zeros((1, num_classes)), num_classes)
        assert ("..." not in str(error.value)) == whole


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"the network has 3 outputs, so labels must be in 0..2, got values from 0 to 3"),
        ([-1, 2], r"labels must be in 0..2, got values from -1 to 2"),
        ([1, 0.5, 1.5], r"takes integer labels, got 0\.5"),
        ([0, np.nan], "takes integer labels, got nan"),
        ([0, np.inf], r"labels must be in 0..2, got values from 0.0 to inf"),
        (["zero", "one"], "takes integer labels, got dtype <U4"),
        (np.array([0, 1], "m8[s]"), "takes integer labels, got dtype timedelta64"),
        ([[0, 1, 0]], r"labels of shape \(n,\), got shape \(1, 3\); use loss=\"categorical_crossentropy\""),
        ([[], []], r"labels of shape \(n,\), got shape \(2, 0\)"),
        ([[[1]]], r"labels of shape \(n,\), got shape \(1, 1, 1\)"),
        (3, r"labels of shape \(n,\), got shape \(\)"),
    ],
)
def test_labels_that_are_not_class_numbers_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        SparseCategoricalCrossentropy().check_labels(labels, 3)


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        ([0], np.zeros((2, 3)), "1 labels for 2 predictions"),
        ([0, 1], np.zeros((1, 3)), "2 labels for 1 predictions"),
        ([0], np.zeros((1, 3, 1)), r"y_pred must be an array of floats \(n, classes\), got shape \(1, 3, 1\)"),
        ([0], np.zeros(3), r"y_pred must be an array of floats \(n, classes\), got shape \(3,\)"),
        ([0], np.zeros((1, 3), int), "y_pred must be an array of floats .* dtype int64"),
        ([0], np.zeros((1, 3), complex), "y_pred must be an array of floats .* dtype complex128"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(labels, outputs, message):
    with pytest.raises(ValueError, match=message):
        SparseCategoricalCrossentropy()(labels, outputs)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        SparseCategoricalCrossentropy,
        SparseCategoricalCrossentropy(),
        losses.sparse_categorical_crossentropy,
    ],
)
def test_a_loss_can_be_named_in_five_ways(loss):
    found = get_loss(loss)
    assert type(found) is SparseCategoricalCrossentropy
    assert not found.from_logits


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("mse", ValueError, "loss='mse' is not known; choose one of 'categorical_crossentropy', 'sparse_"),
        (3, TypeError, "loss must be one of categorical_crossentropy.*got 3"),
        (max, TypeError, "loss must be one of categorical_crossentropy"),
        (Loss, TypeError, "loss must be one of categorical_crossentropy.*got <class 'tinynet.losses.Loss'>"),
        (Loss(), TypeError, "loss must be one of categorical_crossentropy"),
    ],
)
def test_unknown_losses_are_refused(loss, error, message):
    with pytest.raises(error, match=message):
        get_loss(loss)


def test_options_that_keras_alone_has_are_refused():
    with pytest.raises(ValueError, match=r"CategoricalCrossentropy: label_smoothing=0.1 is not supported.*only 0"):
        CategoricalCrossentropy(label_smoothing=0.1)
    with pytest.raises(TypeError, match="SparseCategoricalCrossentropy has no argument 'weight'"):
        SparseCategoricalCrossentropy(weight=1)
    with pytest.raises(ValueError, match="axis=1 is not supported by tinynet, only -1"):
        CategoricalCrossentropy(axis=1)
    CategoricalCrossentropy(label_smoothing=0.0, reduction="sum_over_batch_size", axis=-1)
