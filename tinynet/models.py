"""Sequential: a network with Keras's verbs: compile, fit, evaluate, predict."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from tinynet import data_checks, evaluation, training
from tinynet.callbacks.callback import Callback, CallbackList, History, check_callbacks
from tinynet.cores import default_num_threads
from tinynet.interrupt import Interrupted, InterruptWatch
from tinynet.keras_names import OF_MODELS
from tinynet.layers.layer import Array, Layer
from tinynet.losses import LOSSES, Loss, get_loss
from tinynet.metrics import Accuracy, get_metrics
from tinynet.network import Network
from tinynet.optimizers import Optimizer, get_optimizer
from tinynet.plan import Plan
from tinynet.progress import EpochBar, EpochLine, check_verbose, report, shows_bar
from tinynet.saving import load_model, model_file
from tinynet.saving.file import Path
from tinynet.summary import summary_table
from tinynet.utils import new_generator
from tinynet.validation import check_flag, check_int, check_number, refuse_keras_name, reject_arguments


class Sequential(Network):
    """A network of layers in a row that can be compiled, trained, evaluated and used, as in Keras.

    Args:
        layers: the layers, as if added one by one.
        name: what the model is called in summaries.
        seed: makes initial weights and the order of training samples repeat; see also ``utils.set_random_seed``.
        num_threads: threads to work on; by default TINYNET_NUM_THREADS, or every core this process may use. What one
            finishes sooner is left to one. The results do not depend on it. It is an attribute too, and can be set at
            any time.

    Attributes:
        layers, params, input_shape, output_shape: see ``Network`` and ``Layer``.
        loss, optimizer, metrics: what ``compile`` was given.
        history: the ``History`` of the last ``fit``.
        epoch: the number of whole epochs done, as ``fit`` counts them: where to go on with ``initial_epoch``.
        stop_training: set to True by a callback, ends training after the batch.
        stop_evaluating, stop_predicting: the same for ``evaluate`` and ``predict``, which return what there is then.
        identity: by which the optimizer knows this model; if both are copied together, it still does.
        plan: the kernels that the network comes to, as it was for the last batch: see ``plan.py``.

    Example:
        >>> from tinynet.layers import Dense, Input
        >>> model = Sequential([Input((4,)), Dense(8, activation="relu"), Dense(3, activation="softmax")], seed=0)
        >>> model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> x, y = np.eye(4)[[0, 1, 2]], np.array([0, 1, 2])
        >>> history = model.fit(x, y, epochs=200, verbose=0)
        >>> model.predict(x).argmax(axis=1)
        array([0, 1, 2])
    """

    keras_names = OF_MODELS
    plan: Plan | None = None

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        name: str | None = None,
        *,
        seed: int | None = None,
        num_threads: int | None = None,
        **unsupported: Any,
    ):
        if isinstance(layers, Layer):
            raise TypeError(f"Sequential takes a list of layers, got one layer, {layers}; write Sequential([...]).")
        reject_arguments("Sequential", unsupported, only={"trainable": (True,)})
        super().__init__(new_generator("Sequential", seed), name=name)
        self.num_threads = num_threads
        self.identity = object()
        self.loss: Loss | None = None
        self.optimizer: Optimizer | None = None
        self.metrics: list[Accuracy] = []
        self.history: History | None = None
        self.epoch = 0
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        for layer in layers or []:
            self.add(layer)

    @property
    def num_threads(self) -> int:
        """How many threads work at once."""
        return default_num_threads() if self._num_threads is None else self._num_threads

    @num_threads.setter
    def num_threads(self, num_threads: int | None) -> None:
        self._num_threads = None if num_threads is None else check_int("Sequential", "num_threads", num_threads)

    @property
    def metrics_names(self) -> list[str]:
        """The names of what ``evaluate`` returns: "loss", then the metrics."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def pop(self) -> Layer:
        """Take away the last layer, and return it; the optimizer forgets what it remembers of it.

        Raises:
            TypeError: there is none.
        """
        layer = super().pop()
        if self.optimizer is not None:  # another layer may get its name
            state = self.optimizer.state
            kept = {key for key in state if not key.partition("/")[2].startswith(f"{layer.name}/")}
            self.optimizer.state = {key: state[key] for key in kept}
        return layer

    # compile -------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | Optimizer | type[Optimizer] | None = None,
        loss: str | Loss | type[Loss] | Callable[..., Any] | None = None,
        metrics: Sequence[str | Accuracy | type[Accuracy]] | None = None,
        **unsupported: Any,
    ) -> None:
        """Say how to learn: the optimizer, the loss to make small, and the metrics to watch.

        Args:
            optimizer: an optimizer from ``tinynet.optimizers``, or its name.
            loss: a loss from ``tinynet.losses``, or its name. A network that ends in a softmax is trained from its
                logits; one that does not needs a loss with ``from_logits=True``.
            metrics: a list of names ("accuracy") or of metrics from ``tinynet.metrics``.

        Raises:
            ValueError, TypeError: one is missing, not known, or does not fit the network's last layer.
        """
        reject_arguments(
            "compile",
            unsupported,
            only={
                "loss_weights": (None,),
                "weighted_metrics": (None, []),
                "run_eagerly": (False, None),
                "steps_per_execution": (1, None),
                "jit_compile": ("auto", None, False, True),  # the layers are compiled by Numba in any case
                "auto_scale_loss": (True,),
            },
        )
        if isinstance(optimizer, Loss) or (isinstance(optimizer, str) and optimizer in LOSSES):
            raise ValueError("compile: the first argument is the optimizer; write compile(optimizer=..., loss=...).")
        if optimizer is None or loss is None:
            raise TypeError('compile needs both, as in compile(optimizer="sgd", loss="categorical_crossentropy").')
        new_optimizer, new_loss, new_metrics = get_optimizer(optimizer), get_loss(loss), get_metrics(metrics)
        new_optimizer.refuse_other_model(self.identity)
        if self.output_shape is not None:
            self.up_to_logits(new_loss)
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics

    def loss_and_optimizer(self) -> tuple[Loss, Optimizer]:
        """The loss and the optimizer; ValueError before ``compile``, TypeError where something else is in their place,
        or among the metrics.
        """
        if self.loss is None or self.optimizer is None:
            raise ValueError("The model is not compiled: call compile(optimizer=..., loss=...) first.")
        if not (isinstance(self.loss, Loss) and isinstance(self.optimizer, Optimizer)):
            raise TypeError(
                f"model.loss and model.optimizer were set to {self.loss!r} and {self.optimizer!r}, which are not "
                "objects of tinynet.losses and tinynet.optimizers; call compile, which takes names as well."
            )
        if not all(isinstance(metric, Accuracy) for metric in self.metrics):
            raise TypeError(
                f"model.metrics was set to {self.metrics!r}, which are not all objects of tinynet.metrics; "
                "call compile, which takes names as well."
            )
        return self.loss, self.optimizer

    def up_to_logits(self, loss: Loss) -> Layer:
        """The network without its final softmax; ValueError where it does not fit the loss."""
        if self.output_shape is None or len(self.output_shape) != 1 or self.output_shape[0] < 2:
            raise ValueError(
                "Cross-entropy needs one output for each class, two or more, as a vector; this network's outputs have "
                f"shape {self.output_shape}. End it with Flatten() and Dense(classes)."
            )
        before_softmax = self.before_softmax()
        if loss.from_logits and before_softmax is not None:
            raise ValueError(
                f"{loss.name} with from_logits=True expects logits, but the network ends in a softmax; "
                "leave out one of the two."
            )
        if not loss.from_logits and before_softmax is None:
            last, fault = self.layers[-1], "without a softmax;"
            if last.before_softmax() is not None:
                fault = "with a pass of its own; leave the softmax out of it, and"
            raise ValueError(
                f"{loss.name} expects probabilities, but the network ends in {last} {fault} "
                'add Activation("softmax"), or use the loss with from_logits=True.'
            )
        return before_softmax or self

    # fit -----------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float | None = 0.0,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        **unsupported: Any,
    ) -> History:
        """Train on samples ``x`` (n, *input_shape) with labels ``y`` and return the figures of each epoch.

        Ctrl-C ends training before the next batch: ``fit`` says on stderr where it stopped, and returns the figures of
        the epochs that were whole. A second Ctrl-C raises KeyboardInterrupt at once.

        Args:
            x: numbers of any type; they are converted to float32 batch by batch, but not scaled.
            y: one-hot (n, classes) or integers (n,), as the loss says. It may not be left out: the default is for an
                error that says so, here and in the other verbs.
            batch_size: samples for each step of the optimizer; 32 by default.
            epochs: the number of the last epoch; how often to go through the data, if ``initial_epoch`` is 0. Where it
                is not above ``initial_epoch``, nothing is learnt, and the History is empty.
            verbose: 0 silent; 1 or "auto" a progress bar (in a terminal or a notebook) and a line an epoch; 2 a line
                an epoch.
            callbacks: see ``tinynet.callbacks``. A History among them is the one that is returned.
            validation_split: share of the samples, the last ones, to watch and not to learn from.
            validation_data: (x, y) to watch; it wins over ``validation_split``.
            shuffle: take the samples in a new random order in each epoch.
            initial_epoch: the number of epochs already done.

        Raises:
            ValueError, TypeError: the data or an argument does not fit, and nothing has been changed; or a callback
                does not, which only shows when training begins.
            tinynet.training.DivergenceError: the loss or a gradient became NaN or infinite, with the epoch, the batch
                and the learning rate; the weights are those from before that step. (It is a FloatingPointError.)
        """
        data_checks.refuse_streams("fit", x)
        reject_arguments("fit", unsupported, only=_FIT_ONLY, hints=_FIT_HINTS)
        batch_size = 32 if batch_size is None else check_int("fit", "batch_size", batch_size)
        initial_epoch = check_int("fit", "initial_epoch", initial_epoch, minimum=0)
        epochs = check_int("fit", "epochs", epochs, minimum=0)
        check_verbose("fit", verbose)
        shuffle = check_flag("fit", "shuffle", shuffle)
        if validation_split is not None:
            validation_split = check_number("fit", "validation_split", validation_split, low=0, high=1)
        given = check_callbacks("fit", callbacks)
        with self.unbuilt_by_errors():
            (images, classes), validation = self._data_for_fit(x, y, validation_split, validation_data)
            _, optimizer = self.loss_and_optimizer()
            optimizer.refuse_other_model(self.identity)
        history = next((callback for callback in given if isinstance(callback, History)), None) or History()
        self.history = history
        self.stop_training = False
        size = len(images), batch_size
        bar = EpochBar(*size)
        before = [bar] if shows_bar(verbose) else []
        after = [EpochLine(*size)] if verbose != 0 else []
        params = {"verbose": verbose, "epochs": epochs, "steps": -(-len(images) // batch_size)}
        with InterruptWatch() as watch, contextlib.closing(bar):
            own = [] if history in given else [history]
            told = CallbackList([watch, *before, *given, *own, *after], self, params)
            validate = None
            if validation is not None:
                validate = functools.partial(evaluation.evaluate, self, *validation, batch_size, told)
            try:
                training.train(
                    self,
                    images,
                    classes,
                    batch_size=batch_size,
                    epochs=range(initial_epoch, epochs),
                    shuffle=shuffle,
                    validate=validate,
                    callbacks=told,
                )
            except Interrupted:
                told.on_train_end({})
            history.interrupted = watch.pressed
            if watch.pressed:
                bar.close()
                print(watch.report(), file=sys.stderr, flush=True)
        return history

    def _data_for_fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None,
        validation_split: float | None,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    ) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
        """The samples and the classes to learn from, and those to watch, if any."""
        images, classes = self._check("fit", x, y)
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ValueError("fit: validation_data must be a pair (x, y).")
            return (images, classes), self._check("fit, validation_data", *validation_data)
        if not validation_split:
            return (images, classes), None
        *first, last_images, last_classes = data_checks.split_off_validation(images, classes, validation_split)
        return (first[0], first[1]), (last_images, last_classes)

    # evaluate, predict ---------------------------------------------------------------------------------------------

    def evaluate(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
        **unsupported: Any,
    ) -> float | list[float] | dict[str, float]:
        """The mean loss and metrics on ``x`` with labels ``y``: [loss, accuracy], or the loss alone without metrics.

        With ``return_dict=True``, {"loss": ..., "accuracy": ...}. With ``verbose`` other than 0, a line is printed.
        For ``callbacks`` see ``tinynet.callbacks``.

        Raises:
            ValueError, TypeError: the data or an argument does not fit.
        """
        data_checks.refuse_streams("evaluate", x)
        reject_arguments("evaluate", unsupported, only=_EVALUATE_ONLY)
        batch_size = 32 if batch_size is None else check_int("evaluate", "batch_size", batch_size)
        check_verbose("evaluate", verbose)
        told = CallbackList(check_callbacks("evaluate", callbacks), self, {})
        images, classes = self._check("evaluate", x, y)
        with report(f"{len(images):,} images", shown=verbose != 0) as logs:
            logs |= evaluation.evaluate(self, images, classes, batch_size, told)
        return dict(logs) if return_dict else _as_list(logs)

    def predict(
        self,
        x: npt.ArrayLike,
        batch_size: int | None = None,
        verbose: int | str = 0,
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
        **unsupported: Any,
    ) -> Array:
        """The network's outputs for ``x`` (n, *input_shape): probabilities (n, classes) if it ends in a softmax.

        Batches bound the memory; the outputs depend on their size by no more than rounding. ``verbose`` other than 0
        prints a line at the end; it is 0 by default, unlike Keras's. For ``callbacks`` see ``tinynet.callbacks``.

        Raises:
            ValueError, TypeError: the data or an argument does not fit.
        """
        data_checks.refuse_streams("predict", x)
        reject_arguments("predict", unsupported, only={"steps": (None,)})
        batch_size = 32 if batch_size is None else check_int("predict", "batch_size", batch_size)
        check_verbose("predict", verbose)
        told = CallbackList(check_callbacks("predict", callbacks), self, {})
        images = self._check_x("predict", x)
        if verbose == 0:
            return evaluation.predict(self, images, batch_size, told)
        with report(f"{len(images):,} images", shown=True):
            return evaluation.predict(self, images, batch_size, told)

    # One batch -----------------------------------------------------------------------------------------------------

    def loss_and_gradients(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> tuple[float, dict[str, Array]]:
        """The mean loss of a batch, with that of regularizers, and its gradients by parameter name.

        A training step, in the open, is

            loss, grads = model.loss_and_gradients(x, y)
            model.optimizer.step(model.params, grads)

        Raises:
            ValueError, TypeError: the data does not fit, or the model is not compiled.
        """
        images, classes = self._check("loss_and_gradients", x, y)
        result = training.run_batch(self, images.astype(self.dtype, copy=False), classes)
        training.add_up(self, result.grads, result.num_samples)
        return result.loss / result.num_samples, result.grads

    def train_on_batch(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, *, return_dict: bool = False, **unsupported: Any
    ) -> float | list[float] | dict[str, float]:
        """One step of the optimizer; returns this batch's figures, as ``evaluate`` does, from before the step.

        Raises:
            ValueError, TypeError: the data does not fit, or the model is not compiled.
            tinynet.training.DivergenceError: the loss or a gradient is NaN or infinite; there has been no step then.
        """
        reject_arguments("train_on_batch", unsupported, only={"sample_weight": (None,), "class_weight": (None,)})
        images, classes = self._check("train_on_batch", x, y)
        logs = training.train_step(self, images, classes).means(self.metrics_names)
        return logs if return_dict else _as_list(logs)

    def test_on_batch(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, *, return_dict: bool = False, **unsupported: Any
    ) -> float | list[float] | dict[str, float]:
        """This batch's figures, as ``evaluate`` returns them.

        Raises:
            ValueError, TypeError: the data does not fit, or the model is not compiled.
        """
        reject_arguments("test_on_batch", unsupported, only={"sample_weight": (None,)})
        images, classes = self._check("test_on_batch", x, y)
        logs = evaluation.evaluate(self, images, classes, len(images), CallbackList([], self, {}))
        return logs if return_dict else _as_list(logs)

    def predict_on_batch(self, x: npt.ArrayLike) -> Array:
        """The network's outputs for ``x`` (n, *input_shape), taken as one batch; no callback is told of it.

        Raises:
            ValueError, TypeError: the data does not fit.

        Example:
            >>> from tinynet.layers import Dense, Input
            >>> model = Sequential([Input((4,)), Dense(3, activation="softmax")], seed=0)
            >>> model.predict_on_batch(np.eye(4)).shape
            (4, 3)
        """
        images = self._check_x("predict_on_batch", x)
        return evaluation.predict(self, images, len(images), CallbackList([], self, {}))

    # Files ---------------------------------------------------------------------------------------------------------

    def save(self, filepath: Path, overwrite: bool = True, **unsupported: Any) -> None:
        """Write the whole model into one file: layers, weights, optimizer and its state, epoch and random state.

        The file is in the safetensors format whatever its name, so names ending in ".keras" or ".h5" work, but Keras
        cannot read it. It is written whole or not at all. ``tinynet.models.load_model`` reads it.

        Layers and the like are made again from what their constructors take, so what was changed later cannot be saved,
        nor can a pass that a network has of its own. ``save_weights`` keeps the weights of any model.

        Args:
            filepath: the file's name; ".safetensors" is the usual ending.
            overwrite: whether to replace a file of that name.

        Raises:
            FileExistsError: there is one, and ``overwrite`` is False.
            ValueError: a weight is NaN or infinite, the optimizer is that of other parameters, or an argument of some
                layer is more than ``load_model`` takes.
            TypeError: a class of your own does not keep its constructor's arguments as attributes, or one is no data;
                or what would be loaded is another model.
            OSError: the file cannot be written.
        """
        reject_arguments("save", unsupported, only={"zipped": (None,), "save_format": (None,)})
        model_file.save_model(self, filepath, overwrite=overwrite)

    def save_weights(self, filepath: Path, overwrite: bool = True, **unsupported: Any) -> None:
        """Write the weights alone into a file; see ``save``."""
        reject_arguments("save_weights", unsupported, only={"save_format": (None,)})
        model_file.save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: Path, **unsupported: Any) -> None:
        """Copy the weights from a file of ``save`` or ``save_weights``; all are checked before any changes.

        Raises:
            tinynet.saving.ModelFileError: the file is damaged, or its weights have other names, shapes or types.
            ValueError: the model has no weights yet.
            OSError: the file cannot be read, or there is none.

        Example:
            >>> import os, tempfile
            >>> from tinynet.layers import Dense, Input
            >>> model, other = (Sequential([Input((4,)), Dense(3)], seed=seed) for seed in (1, 2))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save_weights(os.path.join(folder, "weights.safetensors"))
            ...     other.load_weights(os.path.join(folder, "weights.safetensors"))
            >>> bool((other.get_weights()[0] == model.get_weights()[0]).all())
            True
        """
        reject_arguments("load_weights", unsupported, only={"skip_mismatch": (False,)})
        if self.output_shape is None:
            raise ValueError("load_weights: the model has no weights yet; give it an input shape, or data, first.")
        model_file.load_weights(self, filepath)

    # What it is made of --------------------------------------------------------------------------------------------

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of a name, or at an index.

        Raises:
            ValueError: there is none, or not exactly one of the two was given.
            TypeError: ``index`` is no integer.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer takes either a name or an index.")
        index = None if index is None else check_int("get_layer", "index", index, minimum=-sys.maxsize)
        names = [layer.name for layer in self.layers]
        if index is not None and -len(names) <= index < len(names):
            return self.layers[index]
        if name in names:
            return self.layers[names.index(name)]
        raise ValueError(f"get_layer: no layer {name if index is None else index!r}; there are {names}.")

    def summary(
        self,
        line_length: None = None,
        positions: None = None,
        print_fn: Callable[[str], Any] | None = None,
        **unsupported: Any,
    ) -> None:
        """Print the layers, their output shapes and their numbers of parameters, as a table.

        Args:
            line_length, positions: Keras's, in its order; the table is as wide as its text.
            print_fn: what prints the table, given as one text; ``print`` by default.

        Raises:
            ValueError, TypeError: an argument does not fit.
        """
        reject_arguments(
            "summary",
            {"line_length": line_length, "positions": positions, **unsupported},
            only=_SUMMARY_ONLY,
            hints={"line_length": "The table is as wide as its text; a function to print with is print_fn=..."},
        )
        if print_fn is not None and not callable(print_fn):
            raise TypeError(f"summary: print_fn must be a function that takes text, such as print, got {print_fn!r}.")
        (print if print_fn is None else print_fn)(summary_table(self))

    # Checks --------------------------------------------------------------------------------------------------------

    def _check_x(self, verb: str, x: npt.ArrayLike) -> Array:
        """``x`` as an array; the first data that a model without an input shape sees builds it."""
        if self.output_shape is None:
            self.build(data_checks.check_data(verb, x, None).shape[1:])
        return data_checks.check_data(verb, x, self.input_shape)

    def _check(self, verb: str, x: npt.ArrayLike, y: npt.ArrayLike | None) -> tuple[Array, Array]:
        """(x, classes): the samples as an array, and the labels as integers."""
        data_checks.refuse_streams(verb, x)
        data_checks.refuse_missing_labels(verb, y)
        assert y is not None, "or it would have been refused"
        with self.unbuilt_by_errors():
            images = self._check_x(verb, x)
            data_checks.check_same_length(verb, images, y)
            loss, _ = self.loss_and_optimizer()
            self.up_to_logits(loss)
            assert self.output_shape is not None, "checking x has built the model"
            try:
                return images, loss.check_labels(y, self.output_shape[0])
            except ValueError as error:
                error.args = (f"{verb}: {error}",)  # there may be others: those of validation_data
                raise


_FIT_ONLY: Mapping[str, Sequence[Any]] = {
    "class_weight": (None,),
    "sample_weight": (None,),
    "steps_per_epoch": (None,),
    "validation_steps": (None,),
    "validation_batch_size": (None,),
    "validation_freq": (1,),
}
_FIT_HINTS = {"steps_per_epoch": "Give fit fewer samples, or stop with a callback.", "nb_epoch": "Write epochs."}
_SUMMARY_ONLY: Mapping[str, Sequence[Any]] = {
    "line_length": (None,),
    "positions": (None,),
    "expand_nested": (False,),
    "show_trainable": (False,),
    "layer_range": (None,),
}
_EVALUATE_ONLY: Mapping[str, Sequence[Any]] = {"sample_weight": (None,), "steps": (None,)}


def _as_list(logs: Mapping[str, float]) -> float | list[float]:
    values = list(logs.values())
    return values if len(values) > 1 else values[0]


__all__ = ["Sequential", "load_model"]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints={"Model": "Layers in a row are a Sequential."})
