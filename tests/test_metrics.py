"""Accuracy: the share of samples whose largest output is at the true class."""

import numpy as np
import pytest

from tinynet.metrics import Accuracy, CategoricalAccuracy, SparseCategoricalAccuracy, get_metrics, values_of

OUTPUTS = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.0, 0.4, 0.6]])


@pytest.mark.parametrize("kind", [Accuracy, CategoricalAccuracy, SparseCategoricalAccuracy])
def test_a_sample_is_right_where_its_largest_output_is_at_its_class(kind):
    np.testing.assert_array_equal(kind().per_sample(np.array([1, 0, 1]), OUTPUTS), [True, True, False])


def test_of_equal_outputs_the_first_counts():
    tie = np.array([[0.5, 0.5]])
    assert Accuracy().per_sample(np.array([0]), tie).item()
    assert not Accuracy().per_sample(np.array([1]), tie).item()


@pytest.mark.parametrize(
    "values", [0.5, [1.0], [1.0, 0.0, 1.0, 0.0], [[1.0, 0.0, 1.0]], ["right", "wrong", "right"], [None] * 3, [1j] * 3]
)
def test_what_is_no_number_for_each_sample_is_refused(values):
    metric = Accuracy("mine")
    metric.per_sample = lambda classes, logits: values
    with pytest.raises(ValueError, match=r"^mine: per_sample must return a number for each of the 3 .* got an arr"):
        values_of(metric, np.array([1, 0, 1]), OUTPUTS)
    metric.per_sample = lambda classes, logits: [True, False, True]
    np.testing.assert_array_equal(values_of(metric, np.array([1, 0, 1]), OUTPUTS), [True, False, True])


def test_a_metric_can_be_named_or_given():
    metrics = get_metrics(["acc", Accuracy(name="hits"), SparseCategoricalAccuracy(), "categorical_accuracy"])
    assert [metric.name for metric in metrics] == [
        "acc",
        "hits",
        "sparse_categorical_accuracy",
        "categorical_accuracy",
    ]
    assert get_metrics(None) == get_metrics([]) == []


def test_a_metric_can_be_given_or_named_as_a_class():
    (metric,) = get_metrics([SparseCategoricalAccuracy])
    assert type(metric) is SparseCategoricalAccuracy
    for kind in (Accuracy, CategoricalAccuracy, SparseCategoricalAccuracy):
        (metric,) = get_metrics([kind.__name__])
        assert (type(metric), metric.name) == (Accuracy, kind.__name__)


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ("accuracy", TypeError, r"metrics must be a list such as \[\"accuracy\"\], got 'accuracy'"),
        (Accuracy(), TypeError, "metrics must be a list"),
        ({"accuracy"}, TypeError, "metrics must be a list"),
        (["acuracy"], ValueError, "metrics='acuracy' is not known; choose one of 'accuracy'"),
        ([3], TypeError, "a metric must be one of accuracy, .*got 3"),
        (["accuracy", "accuracy"], ValueError, "have a name twice"),
    ],
)
def test_unknown_metrics_are_refused(metrics, error, message):
    with pytest.raises(error, match=message):
        get_metrics(metrics)
