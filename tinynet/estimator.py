"""A Sequential as a scikit-learn classifier: for pipelines, cross-validation and searches over hyperparameters.

It needs scikit-learn, which ``import tinynet`` does not load.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from tinynet.layers import Dense, Flatten, Layer, Softmax
from tinynet.layers.layer import Array, Shape, parts_of
from tinynet.models import Sequential
from tinynet.network import Network
from tinynet.optimizers import SGD, Optimizer
from tinynet.optimizers.schedules import LearningRateSchedule
from tinynet.validation import check_int, check_shape

Layers = Sequential | Sequence[Layer]
Build = Callable[[Shape, int], Layers]

# Types of which every number is finite and exact in float32; data of another type is converted, and checked for that.
_DTYPES = [np.float32, np.uint8, np.int8, np.uint16, np.int16, np.bool_]


class SequentialClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network of layers in a row, trained with SGD on cross-entropy, with scikit-learn's verbs.

    Args:
        build: a function ``build(input_shape, num_classes)`` that returns a list of layers, or a Sequential that is not
            compiled; or one of these themselves. By default, one hidden layer of 64 ReLU units. A search over its
            options is a search over functions: ``{"build": [functools.partial(lenet, units=n) for n in (32, 64)]}``.
        image_shape: shape of one image, such as (28, 28, 1). X may hold images of that shape then, or rows of as many
            numbers. By default the network gets the rows of X as they are.
        epochs: how often ``fit`` goes through the data.
        batch_size: samples for each step of the optimizer.
        learning_rate, momentum, nesterov, weight_decay: see ``tinynet.optimizers.SGD``.
        random_state: makes initial weights (whatever seed ``build`` has used) and the order of the samples repeat.
        num_threads: see ``Sequential``; 1 is best where several fits run at once, as in ``GridSearchCV(n_jobs=-1)``.
        verbose: see ``Sequential.fit``.

    Attributes:
        model_: the trained ``Sequential``.
        classes_: the labels, sorted; column i of ``predict_proba`` belongs to ``classes_[i]``.
        history_: "loss" and "accuracy" of each epoch, as lists; ``tinynet.plots.plot_history`` draws it.
        n_features_in_: how many numbers a sample has.
        feature_names_in_: the names of X's columns, where it has names.

    Pixels should be scaled to [0, 1], by dividing them by 255 or in a Pipeline. To pickle an estimator, or to send it
    to other processes, ``build`` must be a function that can be imported: no lambda.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> X, y = load_iris(return_X_y=True)
        >>> pipeline = make_pipeline(StandardScaler(), SequentialClassifier(epochs=30, random_state=0))
        >>> pipeline.fit(X, y).score(X, y) > 0.9
        True
    """

    def __init__(
        self,
        build: Build | Layers | None = None,
        image_shape: Sequence[int] | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        num_threads: int | None = None,
        verbose: int | str = 0,
    ):
        self.build = build
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.random_state = random_state
        self.num_threads = num_threads
        self.verbose = verbose

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train a new network on samples X (n, features) or (n, *image_shape) with labels y (n,) of any kind.

        Raises:
            ValueError, TypeError: the data, a hyperparameter or the network does not fit.
            tinynet.training.DivergenceError: the loss or a gradient became NaN or infinite.
            KeyboardInterrupt: Ctrl-C was pressed; training has ended early, and so must a search that it is part of.

        After errors, the estimator is as before.
        """
        with self._as_before_errors():
            X, y = self._check(X, y, first=True)
            epochs = check_int("SequentialClassifier", "epochs", self.epochs)
            self._start(unique_labels(y))
            interrupted = self._train(X, y, epochs)
        if interrupted:
            raise KeyboardInterrupt
        return self

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> Self:
        """Go once through X and y, carrying on with the network as it is, and with the parameters as they are now.

        Args:
            X, y: see ``fit``.
            classes: all labels that will ever come; needed in the first call.

        Raises:
            ValueError, TypeError: what ``fit`` raises; or ``classes`` is missing in the first call, not the same as
                then, or without some of the labels in y.
            tinynet.training.DivergenceError, KeyboardInterrupt: see ``fit``.
        """
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise ValueError(
                "partial_fit needs all classes in its first call, as in partial_fit(X, y, classes=[0, 1])."
            )
        with self._as_before_errors():
            X, y = self._check(X, y, first=first)
            known = unique_labels(classes) if first else self.classes_
            if classes is not None and not np.array_equal(known, unique_labels(classes)):
                raise ValueError(f"partial_fit: classes were {known} in the first call, now they are {classes}.")
            unknown = np.setdiff1d(y, known)
            if len(unknown):
                raise ValueError(f"partial_fit: y has labels that are not in classes: {unknown.tolist()}.")
            if first:
                self._start(known)
            elif self._settings != (self.learning_rate, self.momentum, self.nesterov, self.weight_decay):
                self._compile(self.model_, self.model_.optimizer)
            self.model_.num_threads = self.num_threads
            interrupted = first and self._train(X, y, 1)
        if not first:  # the network goes on, with the optimizer that it has now, whether this succeeds or not
            interrupted = self._train(X, y, 1)
        if interrupted:
            raise KeyboardInterrupt
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The probability of each class for each sample: (n, classes), in the order of ``classes_``."""
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        return self.model_.predict(self._images(rows), batch_size=256)

    def predict(self, X: npt.ArrayLike) -> Array:
        """The most probable label of each sample: (n,)."""
        check_is_fitted(self)
        labels: Array = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    @contextlib.contextmanager
    def _as_before_errors(self) -> Iterator[None]:
        """A block after which the estimator is as before, where it raises."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _check(self, X: Any, y: Any, *, first: bool) -> tuple[Array, Array]:
        """X as rows of numbers and y as a vector of labels."""
        X, y = self._validate(X, y, reset=first)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _validate(self, X: Any, *y: Any, reset: bool) -> Any:
        with np.errstate(over="ignore"):  # what becomes infinite in float32 is refused right after
            return validate_data(self, self._rows(X), *y, reset=reset, dtype=_DTYPES)

    def _rows(self, X: Any) -> Any:
        """Images as rows of numbers; what has no more than two dimensions is left to scikit-learn's checks."""
        if (np.ndim(X) if isinstance(X, (list, tuple)) else getattr(X, "ndim", 2)) <= 2:
            return X
        X = np.asarray(X)
        if self.image_shape is None:
            raise ValueError(
                f"SequentialClassifier: X has shape {X.shape}; for images, give image_shape={X.shape[1:]}."
            )
        expected = check_shape("SequentialClassifier", "image_shape", self.image_shape)
        if X.shape[1:] != expected and (*X.shape[1:], 1) != expected:
            raise ValueError(f"SequentialClassifier: image_shape is {expected}, but X has shape {X.shape}.")
        return X.reshape(len(X), -1)

    def _images(self, X: Array) -> Array:
        """Rows of numbers as what the network takes."""
        assert self.model_.input_shape is not None, "fit builds the model"
        return X.reshape(len(X), *self.model_.input_shape)

    def _start(self, classes: Array) -> None:
        """Make a network for these classes, with new weights, and compile it."""
        if len(classes) < 2:
            raise ValueError("SequentialClassifier needs samples of two classes or more, got one class.")
        input_shape: Shape = (self.n_features_in_,)
        if self.image_shape is not None:
            input_shape = check_shape("SequentialClassifier", "image_shape", self.image_shape)
            if math.prod(input_shape) != self.n_features_in_:
                raise ValueError(
                    f"SequentialClassifier: image_shape={input_shape} makes {math.prod(input_shape)} numbers a sample, "
                    f"but X has {self.n_features_in_}."
                )
        check_int("SequentialClassifier", "batch_size", self.batch_size)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        model = _network(self.build, input_shape, len(classes), seed)
        model.num_threads = self.num_threads
        self._compile(model)
        self.model_, self.classes_ = model, classes
        self.history_: dict[str, list[float]] = {}

    def _compile(self, model: Sequential, before: Optimizer | None = None) -> None:
        """Compile with the parameters of now; the optimizer goes on where the one ``before`` it ended."""
        self._settings = self.learning_rate, self.momentum, self.nesterov, self.weight_decay
        optimizer = SGD(*self._settings)
        if before is not None:
            optimizer.iterations, optimizer.state = before.iterations, before.state
        model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])

    def _train(self, X: Array, y: Array, epochs: int) -> bool:
        """Train; whether Ctrl-C has ended that early."""
        numbers = np.searchsorted(self.classes_, y)
        history = self.model_.fit(
            self._images(X), numbers, batch_size=self.batch_size, epochs=epochs, verbose=self.verbose
        )
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(values)
        return history.interrupted


def dense_layers(input_shape: Shape, num_classes: int) -> list[Layer]:
    """What ``SequentialClassifier`` builds by default: one hidden layer, which serves any shape.

    Example:
        >>> [type(layer).__name__ for layer in dense_layers((4,), 3)][-2:]
        ['Dense', 'Dense']
    """
    return [Flatten(), Dense(64, activation="relu"), Dense(num_classes, activation="softmax")]


def _network(build: Build | Layers | None, input_shape: Shape, num_classes: int, seed: int) -> Sequential:
    """A network that puts out probabilities of ``num_classes`` classes, its weights drawn by ``seed``."""
    made: Any = dense_layers if build is None else build
    made = copy.deepcopy(made(input_shape, num_classes) if callable(made) else made)
    if isinstance(made, (list, tuple)):
        made = Sequential(made)
    if not isinstance(made, Sequential):
        raise TypeError(
            "SequentialClassifier: build must be a list of layers, a Sequential, or a function "
            f"build(input_shape, num_classes) that returns one of these; got {type(made).__name__}."
        )
    if made.optimizer is not None:
        raise ValueError(
            "SequentialClassifier: build made a model that is compiled; leave compile to the estimator, which has "
            "learning_rate, momentum, nesterov and weight_decay of its own."
        )
    made.rng = np.random.default_rng(seed)
    if made.output_shape is None:
        made.build(input_shape)
    else:
        _draw_weights_again(made, made.rng)
    if made.input_shape != input_shape or made.output_shape != (num_classes,):
        raise ValueError(
            f"SequentialClassifier: the data needs a network from {input_shape} to ({num_classes},), its number of "
            f"classes; build made one from {made.input_shape} to {made.output_shape}."
        )
    if made.before_softmax() is None:
        made.add(Softmax())
    return made


def _draw_weights_again(network: Network, rng: np.random.Generator) -> None:
    for layer in network.layers:
        if isinstance(layer, Network):
            _draw_weights_again(layer, rng)
        elif layer.params and layer.input_shape is not None:
            for part in parts_of(layer):  # a layer may be made of others
                if not isinstance(part, Network):
                    part.output_shape = None
            layer.build(layer.input_shape, rng)
