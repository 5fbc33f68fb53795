"""SequentialClassifier among scikit-learn's tools: all of its own checks, and what these do not ask."""

import copy
import functools
import pickle
import signal
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from tinynet.datasets import mnist
from tinynet.estimator import SequentialClassifier
from tinynet.layers import Conv2D, Dense, Flatten, Input, Layer, MaxPooling2D, ReLU, Softmax
from tinynet.losses import SparseCategoricalCrossentropy
from tinynet.models import Sequential
from tinynet.optimizers import SGD
from tinynet.training import DivergenceError

Shape = tuple[int, ...]
Data = tuple[np.ndarray, np.ndarray]
SHAPE = (14, 14, 1)
NOT_AN_ARRAY = "check_classifier_data_not_an_array"


def small_cnn(input_shape: Shape, num_classes: int) -> list[Layer]:
    return [
        Conv2D(3, 3, activation="relu"),
        MaxPooling2D(2),
        Flatten(),
        Dense(num_classes),
        Softmax(),
    ]


def two_layers(input_shape: Shape, num_classes: int, units: int) -> list[Layer]:
    return [Dense(units, activation="relu"), Dense(num_classes, activation="softmax")]


class Block(Layer):
    """A layer made of another one."""

    def __init__(self, units):
        super().__init__()
        self.inner = Dense(units)

    def make(self, input_shape, rng):
        output_shape = self.inner.build(input_shape, rng)
        self.params = self.inner.params
        return output_shape

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, dy, cache, *, need_dx=True):
        return self.inner.backward(dy, cache, need_dx=need_dx)


def test_weights_are_those_of_the_random_state_in_layers_made_of_others_too():
    x, y = np.eye(4), np.array([0, 1, 2, 0])
    weights = []
    for seed in (1, 2):
        build = Sequential([Input((4,)), Block(5), Dense(3, activation="softmax")], seed=seed)
        model = SequentialClassifier(build, epochs=1, verbose=0, random_state=0).fit(x, y).model_
        weights.append(model.get_weights())
        assert model.layers[0].params is model.layers[0].inner.params
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def built_model_without_softmax(input_shape: Shape, num_classes: int) -> Sequential:
    return Sequential([Input(input_shape), Dense(50), ReLU(), Dense(num_classes)])


@pytest.fixture(scope="module")
def digits() -> Data:
    """300 images of 14 rows and columns, pixels in [0, 1], with their labels."""
    (x, y), _ = mnist.load_data()
    return (x[:300].reshape(300, 14, 2, 14, 2).mean(axis=(2, 4)) / 255)[..., None].astype(np.float32), y[:300]


@pytest.fixture(scope="module")
def blobs() -> Data:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    return rng.normal(size=(120, 4)) + 3 * np.eye(4)[labels], labels


# scikit-learn's own checks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [None, pytest.param(built_model_without_softmax, marks=pytest.mark.trains_for_long)])
def test_scikit_learn_accepts_it_as_one_of_its_own(build: Any):
    results = check_estimator(SequentialClassifier(build), on_skip=None, on_fail=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    others = {result["check_name"] for result in results if result["status"] != "passed"}
    # The first is for estimators that work on arrays of other libraries; the second has a part that needs pandas.
    expected = {"check_array_api_input"} if find_spec("pandas") else {"check_array_api_input", NOT_AN_ARRAY}
    assert others <= expected
    assert len(results) > 50


# What it is for -------------------------------------------------------------------------------------------------------


@pytest.mark.trains_for_long
def test_it_learns_what_the_sequential_learns(digits: Data):
    images, labels = digits
    estimator = SequentialClassifier(small_cnn, SHAPE, epochs=3, batch_size=50, learning_rate=0.05, random_state=7)
    estimator.fit(images, labels)
    seed = int(np.random.RandomState(7).randint(np.iinfo(np.int32).max))
    model = Sequential([Input(SHAPE), *small_cnn(SHAPE, 10)], seed=seed)
    model.compile(SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(images, labels, epochs=3, batch_size=50, verbose=0)
    assert estimator.history_ == history.history
    p = model.predict(images, batch_size=256)  # as the estimator does: other batches may round differently
    assert np.array_equal(estimator.predict_proba(images), p)
    assert estimator.predict(images).tolist() == p.argmax(axis=1).tolist()
    assert estimator.score(images, labels) > 0.5


def test_labels_may_be_words(blobs: Data):
    X, numbers = blobs
    words = np.array(["pear", "apple", "fig"])[numbers]
    estimator = SequentialClassifier(random_state=0).fit(X, words)
    assert estimator.classes_.tolist() == ["apple", "fig", "pear"]
    assert estimator.score(X, words) > 0.9
    p = estimator.predict_proba(X)
    assert p.shape == (120, 3)
    assert np.array_equal(estimator.classes_[p.argmax(axis=1)], estimator.predict(X))


def test_images_may_come_as_images_or_as_rows(digits: Data):
    images, labels = digits[0][:60], digits[1][:60]
    estimator = SequentialClassifier(small_cnn, SHAPE, epochs=1, random_state=0)
    expected = estimator.fit(images, labels).predict_proba(images)
    assert estimator.n_features_in_ == 14 * 14
    for same in (images.reshape(60, -1), images[..., 0], list(images)):
        assert np.array_equal(estimator.predict_proba(same), expected)
        assert np.array_equal(clone(estimator).fit(same, labels).predict_proba(images), expected)


def test_pixels_keep_their_type_until_their_batch_comes(blobs: Data):
    X = (np.clip(blobs[0], -1, 4) * 10 + 10).astype(np.uint8)
    assert np.array_equal(
        SequentialClassifier(random_state=0).fit(X, blobs[1]).predict_proba(X),
        SequentialClassifier(random_state=0).fit(X.astype(float), blobs[1]).predict_proba(X.astype(float)),
    )


@pytest.mark.parametrize("build", [None, "list", "model", "built model", "softmax missing"])
def test_the_random_state_alone_decides_on_the_weights(blobs: Data, build: str | None):
    X, labels = blobs
    made: Any = {
        None: None,
        "list": [Dense(8), ReLU(), Dense(3), Softmax()],
        "model": Sequential([Dense(8), ReLU(), Dense(3), Softmax()]),
        "built model": Sequential([Input((4,)), Sequential([Dense(8)]), ReLU(), Dense(3), Softmax()]),
        "softmax missing": built_model_without_softmax,
    }[build]
    estimator = SequentialClassifier(made, epochs=1, random_state=1)
    first = estimator.fit(X, labels).predict_proba(X)
    assert np.allclose(first.sum(axis=1), 1)
    assert np.array_equal(estimator.fit(X, labels).predict_proba(X), first), "fit starts anew"
    assert np.array_equal(clone(estimator).fit(X, labels).predict_proba(X), first)
    assert not np.array_equal(clone(estimator).set_params(random_state=2).fit(X, labels).predict_proba(X), first)
    if isinstance(made, list):
        assert not made[0].params, "what was given stays as it was"


def test_a_list_of_trained_layers_is_trained_from_the_start(blobs: Data):
    X, labels = blobs
    layers = [Dense(8), ReLU(), Dense(3), Softmax()]
    fresh = SequentialClassifier(layers, random_state=1).fit(X, labels).predict_proba(X)
    Sequential([Input((4,)), *layers], seed=0)
    before = layers[0].params["W"].copy()
    assert np.array_equal(SequentialClassifier(layers, random_state=1).fit(X, labels).predict_proba(X), fresh)
    assert np.array_equal(layers[0].params["W"], before)


def test_hyperparameters_reach_the_optimizer_and_the_training(blobs: Data):
    estimator = SequentialClassifier(
        epochs=4, batch_size=50, learning_rate=0.02, momentum=0.5, nesterov=True, weight_decay=0.01, num_threads=1
    ).fit(*blobs)
    sgd = estimator.model_.optimizer
    assert (sgd.learning_rate, sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.02, 0.5, True, 0.01)
    assert sgd.iterations == 4 * 3
    assert estimator.model_.num_threads == 1
    assert [len(values) for values in estimator.history_.values()] == [4, 4]
    assert list(estimator.history_) == ["loss", "accuracy"]


def test_a_pickled_estimator_predicts_the_same_and_learns_on(blobs: Data):
    estimator = SequentialClassifier(functools.partial(two_layers, units=5), random_state=0).fit(*blobs)
    twin = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(twin.predict_proba(blobs[0]), estimator.predict_proba(blobs[0]))
    for each in (estimator, twin):
        each.partial_fit(*blobs)
    assert np.array_equal(twin.predict_proba(blobs[0]), estimator.predict_proba(blobs[0]))


# partial_fit ----------------------------------------------------------------------------------------------------------


def test_partial_fits_in_a_row_are_the_epochs_of_a_fit(blobs: Data):
    X, labels = blobs
    whole = SequentialClassifier(epochs=3, random_state=0).fit(X, labels)
    parts = SequentialClassifier(random_state=0)
    for _ in range(3):
        parts.partial_fit(X, labels, classes=[2, 0, 1])
    assert parts.history_ == whole.history_
    assert np.array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_learns_classes_that_come_later(blobs: Data):
    X, labels = blobs
    parts = SequentialClassifier(random_state=0)
    for _ in range(20):
        parts.partial_fit(X[labels == 2], labels[labels == 2], classes=[0, 1, 2])
    assert set(parts.predict(X[labels == 2])) == {2}
    assert parts.predict_proba(X).shape == (120, 3)
    for _ in range(20):
        parts.partial_fit(X, labels)
    assert parts.score(X, labels) > 0.9


def test_partial_fit_refuses_classes_that_it_was_not_told_of(blobs: Data):
    X, labels = blobs
    estimator = SequentialClassifier()
    with pytest.raises(ValueError, match="all classes in its first call"):
        estimator.partial_fit(X, labels)
    with pytest.raises(ValueError, match=r"labels that are not in classes: \[2\]"):
        estimator.partial_fit(X, labels, classes=[0, 1])
    estimator.partial_fit(X, labels, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"\[0 1 2\] in the first call"):
        estimator.partial_fit(X, labels, classes=[0, 1])


def test_parameters_that_are_set_between_partial_fits_take_effect(blobs: Data):
    X, labels = blobs
    estimator = SequentialClassifier(random_state=0).partial_fit(X, labels, classes=[0, 1, 2])
    optimizer, before = estimator.model_.optimizer, estimator.model_.get_weights()
    estimator.set_params(learning_rate=0.0, momentum=0.0, num_threads=1).partial_fit(X, labels)
    for was, weight in zip(before, estimator.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, was)
    assert estimator.model_.num_threads == 1
    assert estimator.model_.optimizer.iterations == 2 * optimizer.iterations

    estimator.set_params(learning_rate=0.01, momentum=0.9)
    same = SequentialClassifier(random_state=0).partial_fit(X, labels, classes=[0, 1, 2])
    for each in (estimator, same):
        each.model_.rng = np.random.default_rng(0)  # one order of the samples
        each.partial_fit(X, labels)
    np.testing.assert_array_equal(same.predict_proba(X), estimator.predict_proba(X))  # the velocity, too, was kept


@pytest.mark.parametrize("options", [{"batch_size": -1}, {"epochs": 0}])
def test_a_fit_that_is_refused_changes_nothing(blobs: Data, options: dict[str, int]):
    estimator = SequentialClassifier(epochs=1, random_state=0)
    with pytest.raises(ValueError, match="must be at least 1"):
        clone(estimator).set_params(**options).fit(*blobs).predict(blobs[0])
    model = estimator.fit(*blobs).model_
    with pytest.raises(ValueError, match="must be at least 1"):
        estimator.set_params(**options).fit(*blobs)
    assert estimator.model_ is model


# Among scikit-learn's tools -------------------------------------------------------------------------------------------


def test_a_fit_that_is_refused_leaves_the_estimator_as_it_was(blobs: Data):
    """For other data, a bad parameter, or a network that does not fit."""
    X, y = blobs
    estimator = SequentialClassifier(epochs=1, random_state=0, verbose=0).fit(X, y)
    before, expected = dict(vars(estimator)), estimator.predict_proba(X)
    with pytest.raises(ValueError, match="two classes or more"):
        estimator.fit(X[:, :-1], np.zeros(len(X)))
    assert vars(estimator) == before
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)
    with pytest.raises(ValueError, match="learning_rate"):
        estimator.set_params(learning_rate=-1).fit(X[:, :-1], y)
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)


def test_training_that_is_refused_leaves_the_estimator_as_it_was(blobs: Data):
    X, y = blobs
    estimator = SequentialClassifier(epochs=1, random_state=0).fit(X, y)
    before, expected, history = dict(vars(estimator)), estimator.predict_proba(X), copy.deepcopy(estimator.history_)
    for options, error in [({"verbose": "loud"}, ValueError), ({"learning_rate": 1e30}, DivergenceError)]:
        estimator.set_params(**options)
        with pytest.raises(error):
            estimator.fit(X, y)
        estimator.set_params(verbose=0, learning_rate=before["learning_rate"])
        assert vars(estimator) == before
        assert estimator.history_ == history
        np.testing.assert_array_equal(estimator.predict_proba(X), expected)
    unfitted = SequentialClassifier(verbose="loud")
    for fit in (unfitted.fit, functools.partial(unfitted.partial_fit, classes=np.unique(y))):
        with pytest.raises(ValueError, match="verbose"):
            fit(X, y)
        with pytest.raises(NotFittedError):
            unfitted.predict(X)


def test_a_parameter_that_partial_fit_refuses_it_refuses_again(blobs: Data):
    X, y = blobs
    estimator = SequentialClassifier(random_state=0, verbose=0).partial_fit(X, y, classes=np.unique(y))
    estimator.set_params(momentum=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="momentum"):
            estimator.partial_fit(X, y)


class PressesCtrlC(Dense):
    """Presses Ctrl-C in the ninth of its backward passes."""

    passes = 0

    def backward(self, dy, cache, *, need_dx=True):
        type(self).passes += 1
        if type(self).passes == 9:
            signal.raise_signal(signal.SIGINT)
        return super().backward(dy, cache, need_dx=need_dx)


@pytest.mark.parametrize(
    ("passes", "verb"),
    [
        (8, lambda estimator, X, y: estimator.fit(X, y)),
        (8, lambda estimator, X, y: estimator.partial_fit(X, y, classes=np.unique(y))),
        (0, lambda estimator, X, y: cross_val_score(estimator, X, y, cv=9)),
    ],
)
def test_ctrl_c_ends_a_search_as_well(blobs: Data, monkeypatch, capsys, passes: int, verb: Any):
    """It would go on with a network that was cut short, as if it were whole."""
    monkeypatch.setattr(PressesCtrlC, "passes", passes)
    X, y = blobs
    layers = [PressesCtrlC(5, activation="relu"), Dense(len(np.unique(y)), activation="softmax")]
    estimator = SequentialClassifier(layers, epochs=1, batch_size=len(X), random_state=0, verbose=0, num_threads=1)
    with pytest.raises(KeyboardInterrupt):
        verb(estimator, X, y)
    assert "Interrupted" in capsys.readouterr().err


def test_a_search_finds_the_learning_rate_that_learns(blobs: Data):
    pipeline = make_pipeline(StandardScaler(), SequentialClassifier(epochs=5, random_state=0, num_threads=1))
    name = "sequentialclassifier"
    grid = {
        f"{name}__learning_rate": [1e-6, 0.05],
        f"{name}__build": [functools.partial(two_layers, units=units) for units in (2, 16)],
    }
    search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(2)).fit(*blobs)
    assert search.best_params_[f"{name}__learning_rate"] == 0.05
    assert search.best_score_ > 0.9
    assert search.best_estimator_[-1].model_.layers[0].units == search.best_params_[f"{name}__build"].keywords["units"]


@pytest.mark.trains_for_long
def test_cross_validation_works_on_images_and_in_other_processes(digits: Data):
    images, labels = digits
    estimator = SequentialClassifier(small_cnn, SHAPE, epochs=2, random_state=0, num_threads=1)
    here = cross_val_score(estimator, images, labels, cv=2)
    there = cross_val_score(estimator, images, labels, cv=2, n_jobs=2)
    assert np.array_equal(here, there)


# What it refuses ------------------------------------------------------------------------------------------------------


def test_sparse_data_is_refused(blobs: Data):
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        SequentialClassifier().fit(sparse.csr_array(blobs[0]), blobs[1])


@pytest.mark.parametrize(
    ("X", "image_shape", "message"),
    [
        (np.zeros((6, 4, 4)), None, r"X has shape \(6, 4, 4\); for images, give image_shape=\(4, 4\)"),
        (np.zeros((6, 4, 4)), (4, 5, 1), r"image_shape is \(4, 5, 1\), but X has shape \(6, 4, 4\)"),
        (np.zeros((6, 4)), (4, 5, 1), r"image_shape=\(4, 5, 1\) makes 20 numbers a sample, but X has 4"),
        (np.full((6, 4), 1e300), None, "value too large for dtype"),
    ],
)
def test_data_that_does_not_fit_is_refused(X: np.ndarray, image_shape: Shape | None, message: str):
    with pytest.raises(ValueError, match=message):
        SequentialClassifier(image_shape=image_shape).fit(X, [0, 1] * 3)


def compiled_model(input_shape: Shape, num_classes: int) -> Sequential:
    model = built_model_without_softmax(input_shape, num_classes)
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        ([Dense(7), Softmax()], ValueError, r"network from \(4,\) to \(3,\).* build made one from \(4,\) to \(7,\)"),
        ([Input((5,)), Dense(3)], ValueError, r"build made one from \(5,\) to \(3,\)"),
        (compiled_model, ValueError, "leave compile to the estimator"),
        (lambda shape, classes: None, TypeError, "build must be a list of layers, a Sequential, .* got NoneType"),
        ("lenet", TypeError, "got str"),
        ([Dense], TypeError, "got the class Dense"),
    ],
)
def test_networks_that_do_not_fit_are_refused(blobs: Data, build: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        SequentialClassifier(build).fit(*blobs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -1}, "learning_rate must be finite and at least 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(blobs: Data, options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SequentialClassifier(**options).fit(*blobs)
