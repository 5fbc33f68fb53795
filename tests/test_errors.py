"""What a user does wrong, and what they are told: the right type of error, with what came, what is needed and the fix.

The error comes from a line of tinynet, never from inside NumPy or Numba. Mistakes in the arguments of single layers,
losses and optimizers are in the tests named after these.
"""

import copy
import importlib
import inspect
import pickle
import sys
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import tinynet
from tinynet.layers import Activation, Conv2D, Dense, Flatten, Input, Layer, MaxPooling2D, Softmax
from tinynet.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from tinynet.metrics import Accuracy
from tinynet.models import Sequential
from tinynet.optimizers import SGD

PACKAGE = Path(tinynet.__file__).parent
X = np.zeros((6, 8, 8, 1), np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
ONE_HOT = np.eye(3)[Y]


def built() -> Sequential:
    """A network for X with three classes, not compiled."""
    return Sequential([Input((8, 8, 1)), Conv2D(2, 3), Flatten(), Dense(3, activation="softmax")])


def compiled() -> Sequential:
    model = built()
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def unbuilt() -> Sequential:
    model = Sequential([Conv2D(2, 3), Flatten(), Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def fit(**arguments):
    return compiled().fit(**{"x": X, "y": Y, "verbose": 0, **arguments})


def with_layers(change, model=None) -> Sequential:
    """Its list of layers has been edited."""
    model = compiled() if model is None else model
    change(model.layers)
    return model


def compile_(model: Sequential, **arguments):
    return model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", **arguments})


def with_backward(model: Sequential) -> Sequential:
    """Its last layer has a backward pass put into it, which calls the usual one."""
    last = model.layers[-1]
    usual = last.backward
    last.backward = lambda dy, cache, **options: usual(dy, cache, **options)
    return model


def changed(model: Sequential, **attributes) -> Sequential:
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def with_another_parameter(model: Sequential) -> Sequential:
    model.layers[-1].params["scale"] = np.ones(3, np.float32)
    return model


class Ungraded(Dense):
    def backward(self, dy, cache, *, need_dx=True):
        dx, grads = super().backward(dy, cache, need_dx=need_dx)
        return dx, grads | {"W": None}


def batches_of_data():
    yield X, Y


class Batches:
    """Gives batches as a tf.data.Dataset does, or PyTorch's DataLoader."""

    def __iter__(self):
        return batches_of_data()


def predict_with(input_shape: tuple[int, ...], x) -> None:
    """Ask a network that takes samples of this shape for its outputs."""
    Sequential([Input(input_shape), Flatten(), Dense(3)]).predict(x)


def compile_then(verb, model: Sequential, **arguments):
    compile_(model, **arguments)
    return verb(model)


def ragged() -> None:
    dense = Dense(3)
    dense.build((2,), np.random.default_rng(0))
    dense.set_weights([[[1, 2], [3]], [0, 0, 0]])


def add_itself(nested: bool) -> None:
    inner = Sequential([Dense(3)])
    outer = Sequential([inner]) if nested else inner
    inner.add(outer)


def fit_with_the_optimizer_of_another() -> None:
    one, two = compiled(), compiled()
    two.optimizer = one.optimizer
    one.train_on_batch(X, Y)
    state = two.rng.bit_generator.state
    try:
        two.fit(X, Y, verbose=0)
    finally:
        assert two.rng.bit_generator.state == state, "nothing has been changed"


def head() -> list[Layer]:
    return [Flatten(), Dense(3, activation="softmax")]


def without_a_layer() -> Sequential:
    model = Sequential([Input((8, 8, 1)), Flatten(), Dense(40), Dense(20, name="next"), Dense(3, activation="softmax")])
    del model.layers[1]
    return model


NO_LONGER_FITS = r"Dense 'next' takes a batch of shape \(n, 40\), got \(6, 64\)"


class Unfinished(Layer):
    def __init__(self):
        pass


class Tempered(Softmax):
    def forward(self, x):
        return super().forward(x / 5)


class Smoothed(Dense):
    def forward(self, x):
        y, cache = super().forward(x)
        return 0.9 * y + 0.1 / y.shape[1], cache


class Shapeless(Layer):
    """Says that its outputs are of another kind of shape than there is."""

    def __init__(self, output_shape=None):
        super().__init__()
        self.said = output_shape

    def make(self, input_shape, rng):
        return self.said


class Narrow(Layer):
    """Says that it gives what it is given, and gives something else."""

    def __init__(self, factor=None):
        super().__init__()
        self.factor = factor

    def make(self, input_shape, rng):
        return input_shape

    def forward(self, x):
        return x[:, :1] if self.factor is None else x * np.complex64(self.factor), None


class Returning(Layer):
    """The identity, but for the methods given."""

    def __init__(self, **methods):
        super().__init__()
        for name, method in methods.items():
            setattr(self, name, method)

    def make(self, input_shape, rng):
        return input_shape

    def forward(self, x):
        return x, None

    def backward(self, dy, cache, *, need_dx=True):
        return dy, {}


class Headless(Sequential):
    def forward(self, x, rng=None):
        return super().forward(x, rng)[0]


class Losing(SparseCategoricalCrossentropy):
    """Returns what a function makes of the losses and the gradient."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def value_and_gradient(self, logits, classes):
        return self.change(*super().value_and_gradient(logits, classes))


def train(*layers, loss="sparse_categorical_crossentropy"):
    """Take a step with a network that has these layers in the middle."""
    model = Sequential([Input((4,)), Dense(4), *layers, Dense(3, activation="softmax")])
    return compile_then(lambda model: model.train_on_batch(np.ones((2, 4)), [0, 1]), model, loss=loss)


class Mean(Accuracy):
    def __init__(self, function):
        super().__init__("mean")
        self.function = function

    def per_sample(self, classes, logits):
        return self.function(logits)


def in_two_places(part: Layer) -> Sequential:
    return Sequential([Input((4,)), Sequential([part]), Sequential([part])])


def with_filters(W) -> Sequential:
    """The second convolution has been given others."""
    model = Sequential([Input((8, 8, 1)), Conv2D(2, 3), Conv2D(2, 3, name="next"), Flatten(), Dense(3)])
    if W is None:
        del model.layers[1].params["W"]
    else:
        model.layers[1].params["W"] = W
    return model


class Scaled(Layer):
    """Forgets the gradient of its parameter."""

    def make(self, input_shape, rng):
        self.params["s"] = np.ones(1, np.float32)
        return input_shape

    def forward(self, x):
        return x * self.params["s"], None

    def backward(self, dy, cache, *, need_dx=True):
        return dy * self.params["s"], {}


MISTAKES = {
    # Building a network
    "a class for a layer": (lambda: Sequential([Dense]), TypeError, r"got the class Dense; write Dense\(\.\.\.\)"),
    "a name for a layer": (lambda: Sequential(["dense"]), TypeError, "takes a layer of tinynet.layers, got 'dense'"),
    "one layer for a list": (lambda: Sequential(Dense(3)), TypeError, r"takes a list of layers.*Sequential\(\[\.\.\."),
    "images into Dense": (
        lambda: Sequential([Input((8, 8, 1)), Dense(3)]),
        ValueError,
        r"Dense 'dense' takes vectors, got samples of shape \(8, 8, 1\); add a Flatten\(\) layer before it",
    ),
    "vectors into Conv2D": (
        lambda: Sequential([Input((64,)), Conv2D(2, 3)]),
        ValueError,
        r"Conv2D 'conv2d' takes images of shape \(rows, columns, channels\), got samples of shape \(64,\)",
    ),
    "too much pooling": (
        lambda: Sequential([Input((8, 8, 1)), MaxPooling2D(4), MaxPooling2D(4)]),
        ValueError,
        r"MaxPooling2D 'max_pooling2d_1': a window of \(4, 4\) does not fit into images of \(2, 2\)",
    ),
    "Input in the middle": (lambda: built().add(Input((3,))), ValueError, "Input says the shape .* comes first"),
    "Input behind a layer": (lambda: Sequential([Dense(3), Input((3,))]), ValueError, "Input says .* comes first"),
    "Input twice": (lambda: Sequential([Input((3,)), Input((3,))]), ValueError, "Input says .* comes first, and once"),
    "Input with the batch axis": (lambda: Input((None, 28, 28, 1)), ValueError, "without the batch axis"),
    "Input of a number": (lambda: Input(784), TypeError, r"shape must be a tuple.*for vectors write \(784,\)"),
    "Input with Keras's batch_shape": (
        lambda: Input(batch_shape=(None, 4)),
        ValueError,
        r"Input: batch_shape=\(None, 4\) is not supported by tinynet, only None\. Write shape, without the batch axis: "
        r"Input\(\(28, 28, 1\)\)\.$",
    ),
    "Input without a shape": (
        lambda: Input(name="pixels"),
        TypeError,
        r"Input: shape must be a tuple such as \(28, 28, 1\), got None; for vectors",
    ),
    "Input of nothing": (lambda: Input(()), ValueError, "must give every size"),
    "Input of strings": (lambda: Input(("28", "28")), TypeError, "must be an integer, got '28'"),
    "a size of zero": (lambda: Input((28, 0)), ValueError, "must be at least 1, got 0"),
    "two layers for a list": (
        lambda: Sequential(Input((4,)), Dense(3)),
        TypeError,
        r"takes a list of layers, got one layer, Input; write Sequential\(\[\.\.\.",
    ),
    "no layer among the layers": (
        lambda: with_layers(lambda layers: layers.insert(1, None)).predict(X),
        TypeError,
        r"The layers of a network must be layers of tinynet\.layers, but one is None",
    ),
    "no layer behind the layers": (
        lambda: with_layers(lambda layers: layers.append("dense")).fit(X, Y),
        TypeError,
        r"The layers of a network must be layers of tinynet\.layers, but one is 'dense'",
    ),
    "no layer in an inner network": (
        lambda: Sequential([Input((4,)), with_layers(lambda layers: layers.insert(0, 3), Sequential([Dense(3)]))]),
        TypeError,
        r"The layers of a network must be layers of tinynet\.layers, but one is 3",
    ),
    "an activation that nobody knows, later": (
        lambda: setattr(built().layers[0], "activation", "tansig"),
        ValueError,
        "Conv2D: activation='tansig' is not known; choose one of 'relu'",
    ),
    "a name twice": (
        lambda: Sequential([Dense(3, name="a"), Dense(3, name="a")]),
        ValueError,
        "a layer named 'a' already",
    ),
    "an empty name": (lambda: Dense(3, name=""), ValueError, "non-empty string without '/', got ''"),
    "a number for a name": (lambda: Dense(3, name=1), ValueError, "non-empty string without '/', got 1"),
    "a name with a slash": (lambda: Dense(3, name="a/b"), ValueError, "non-empty string without '/', got 'a/b'"),
    "two input shapes": (
        lambda: Sequential([Input((4,)), Dense(3, input_shape=(5,))]),
        ValueError,
        r"Dense 'dense' takes samples of shape \(5,\), got \(4,\)",
    ),
    "half precision": (lambda: built().astype(np.float16), ValueError, "compute in float32 or float64, got float16"),
    "dtype of a layer": (lambda: Dense(3, dtype="float16"), ValueError, "dtype='float16' is not supported"),
    "a layer that keeps its weights": (
        lambda: Dense(3, trainable=False),
        ValueError,
        "trainable=False is not supported by tinynet, only True",
    ),
    "a layer that is to keep its weights": (
        lambda: setattr(built().layers[0], "trainable", False),
        ValueError,
        "Conv2D 'conv2d': trainable=False is not supported by tinynet, whose fit .*optimizer.step with the other param",
    ),
    "a model that is to keep its weights": (
        lambda: setattr(built(), "trainable", False),
        ValueError,
        "is not supported",
    ),
    "a shape in two ways": (
        lambda: Dense(3, input_dim=4, input_shape=(5,)),
        TypeError,
        "Dense was given input_shape and input_dim",
    ),
    "a rate in two ways": (lambda: SGD(0.1, lr=0.5), TypeError, "SGD was given learning_rate and lr, its old name"),
    "a small rate in two ways": (lambda: SGD(1e-9, lr=0.5), TypeError, "SGD was given learning_rate and lr"),
    "a layer without what all layers have": (
        lambda: built().add(Unfinished()),
        TypeError,
        r"add: Unfinished.__init__ must call super\(\).__init__\(...\)",
    ),
    "no gradient for a parameter": (
        lambda: compile_then(
            lambda model: model.train_on_batch(X, Y), Sequential([Input((8, 8, 1)), Scaled(), *head()])
        ),
        ValueError,
        r"Scaled 'scaled': backward gave gradients of \[\], but its params are \['s'\]",
    ),
    "pop of an empty network": (lambda: Sequential().pop(), TypeError, "pop: the network has no layers"),
    "layers that no longer fit each other": (lambda: without_a_layer().predict(X), ValueError, NO_LONGER_FITS),
    "training with layers that no longer fit": (
        lambda: compile_then(lambda model: model.fit(X, Y, verbose=0), without_a_layer()),
        ValueError,
        NO_LONGER_FITS,
    ),
    "evaluating with layers that no longer fit": (
        lambda: compile_then(lambda model: model.evaluate(X, Y, verbose=0), without_a_layer()),
        ValueError,
        NO_LONGER_FITS,
    ),
    "a list for filters": (
        lambda: with_filters([1.0]).predict(X),
        TypeError,
        "Conv2D 'next': the parameter W must be a float32 or float64 array, as build made it, got list",
    ),
    "no filters": (
        lambda: with_filters(None).predict(X),
        TypeError,
        "Conv2D 'next': the parameter W must be a float32 or float64 array, as build made it, got NoneType",
    ),
    "filters of two axes": (
        lambda: with_filters(np.ones((3, 3), np.float32)).predict(X),
        ValueError,
        r"Conv2D 'next' was built for W of shape \(3, 3, 2, 2\) and b of shape \(2,\); now there are arrays of",
    ),
    "a metric of the loss's name": (
        lambda: compile_(built(), metrics=[Accuracy("loss")]),
        ValueError,
        r"metrics \['loss'\] have a name twice, or one that is the loss's",
    ),
    "masked images": (
        lambda: fit(x=np.ma.masked_less(X, 1)),
        TypeError,
        r"fit: x is a masked array; fill or remove what is masked, as with x.filled\(0\)",
    ),
    "masked labels": (lambda: fit(y=np.ma.masked_equal(Y, 1)), TypeError, "fit: y is a masked array"),
    "no threads": (lambda: Sequential(num_threads=0), ValueError, "num_threads must be at least 1, got 0"),
    "a seed of text": (lambda: Sequential(seed="one"), TypeError, "Sequential: seed must be an integer, got 'one'"),
    "weights of an unbuilt layer": (lambda: Dense(3).set_weights([X]), ValueError, "has no weights yet"),
    "too few weights": (lambda: built().set_weights([]), ValueError, "set_weights takes 4 arrays, got 0"),
    "too many weights": (
        lambda: built().set_weights([*built().get_weights(), X]),
        ValueError,
        "set_weights takes 4 arrays, got 5",
    ),
    "transposed weights": (
        lambda: built().set_weights([weight.T for weight in built().get_weights()]),
        ValueError,
        r"weight 'conv2d/W' is an array of numbers of shape \(3, 3, 1, 2\), got shape \(2, 1, 3, 3\)",
    ),
    "nothing for weights": (lambda: built().set_weights(None), TypeError, "set_weights takes a list of arrays"),
    "ragged weights": (ragged, TypeError, "set_weights takes a list of arrays"),
    "an unknown layer name": (lambda: built().get_layer("conv"), ValueError, "no layer 'conv'; there are .*'conv2d'"),
    "a layer index too large": (lambda: built().get_layer(index=9), ValueError, "no layer 9"),
    "a layer index of text": (
        lambda: built().get_layer(index="a"),
        TypeError,
        "get_layer: index must be an integer, got",
    ),
    "half a layer index": (
        lambda: built().get_layer(index=1.0),
        TypeError,
        "get_layer: index must be an integer, got 1.0",
    ),
    "a network in itself": (lambda: add_itself(nested=False), ValueError, "a network cannot be one of its own layers"),
    "a network in its layer": (
        lambda: add_itself(nested=True),
        ValueError,
        "a network cannot be one of its own layers",
    ),
    "a bias of text": (
        lambda: Dense(2, use_bias="False"),
        TypeError,
        "Dense: use_bias must be True or False, got 'False'",
    ),
    "a look ahead of text": (
        lambda: SGD(0.1, momentum=0.9, nesterov="no"),
        TypeError,
        "SGD: nesterov must be True or False, got 'no'",
    ),
    "logits of text": (
        lambda: CategoricalCrossentropy("auto"),
        TypeError,
        "CategoricalCrossentropy: from_logits must be True or False, got 'auto'",
    ),
    "a width for the summary": (
        lambda: built().summary(100),
        ValueError,
        r"summary: line_length=100 is not supported by tinynet, only None\. The table is as wide as its text",
    ),
    "columns for the summary": (
        lambda: built().summary(positions=[0.5, 1.0]),
        ValueError,
        r"summary: positions=\[0\.5, 1\.0\] is not supported by tinynet, only None",
    ),
    "a function for the width of the summary": (
        lambda: built().summary(print),
        ValueError,
        r"summary: line_length=<built-in function print> is not supported by tinynet, only None.*print_fn=",
    ),
    "text for the summary's print": (
        lambda: built().summary(print_fn="a.txt"),
        TypeError,
        r"summary: print_fn must be a function that takes text, such as print, got 'a\.txt'",
    ),
    "a layer of no name": (lambda: built().get_layer(), ValueError, "either a name or an index"),
    # compile
    "compile without a loss": (lambda: built().compile("sgd"), TypeError, r"needs both, as in compile\(optimizer="),
    "an unknown loss": (lambda: compile_(built(), loss="mse"), ValueError, "loss='mse' is not known; choose one of"),
    "binary cross-entropy": (
        lambda: compile_(built(), loss="binary_crossentropy"),
        ValueError,
        r"loss='binary_crossentropy' is not known; .*\. Two classes are a Dense\(2, activation=\"softmax\"\)",
    ),
    "squared errors": (
        lambda: compile_(built(), loss="mse"),
        ValueError,
        r"tinynet learns to tell classes apart, not to predict numbers",
    ),
    "binary cross-entropy as a class": (
        lambda: tinynet.losses.BinaryCrossentropy,
        ImportError,
        r"tinynet has no BinaryCrossentropy in tinynet\.losses; it has .*\. Two classes are",
    ),
    "binary cross-entropy as a function": (
        lambda: tinynet.losses.binary_crossentropy,
        AttributeError,
        r"tinynet has no binary_crossentropy in tinynet\.losses; it has .*\. Two classes are",
    ),
    "loss and optimizer swapped, the loss as a class": (
        lambda: built().compile("SparseCategoricalCrossentropy", "sgd"),
        ValueError,
        r"the first argument is the optimizer; write compile\(optimizer=",
    ),
    "loss and optimizer swapped": (
        lambda: built().compile("sparse_categorical_crossentropy", "sgd"),
        ValueError,
        r"the first argument is the optimizer; write compile\(optimizer=",
    ),
    "one grey image": (
        lambda: compiled().predict(X[0, ..., 0]),
        ValueError,
        r"batch and channel axes are missing: x\[None, \.\.\., None\]",
    ),
    "an unknown optimizer": (lambda: compile_(built(), optimizer="nadam"), ValueError, "'nadam' is not known"),
    "metrics as text": (lambda: compile_(built(), metrics="accuracy"), TypeError, r"a list such as \[\"accuracy\"\]"),
    "loss weights": (lambda: compile_(built(), loss_weights=[1]), ValueError, r"loss_weights=\[1\] is not supported"),
    "no softmax": (
        lambda: compile_(Sequential([Input((4,)), Dense(3)])),
        ValueError,
        r"ends in Dense 'dense' without a softmax; add Activation\(\"softmax\"\), or use .* from_logits=True",
    ),
    "a softmax of one's own": (
        lambda: compile_(Sequential([Input((4,)), Dense(3), Tempered()])),
        ValueError,
        r"ends in Tempered 'tempered' with a pass of its own; leave the softmax out of it, and add Activation",
    ),
    "a dense layer whose softmax goes on": (
        lambda: compile_(Sequential([Input((4,)), Smoothed(3, activation="softmax")])),
        ValueError,
        r"ends in Smoothed 'smoothed' with a pass of its own",
    ),
    "a loss by name after compile": (
        lambda: changed(compiled(), loss="categorical_crossentropy").train_on_batch(X, Y),
        TypeError,
        r"model\.loss and model\.optimizer were set to 'categorical_crossentropy' and <.*>, .*; call compile",
    ),
    "an optimizer by name after compile": (
        lambda: changed(compiled(), optimizer="adam").fit(X, Y, verbose=0),
        TypeError,
        r"were set to <.*> and 'adam', which are not",
    ),
    "metrics set to names": (
        lambda: changed(compiled(), metrics=["accuracy"]).fit(X, Y),
        TypeError,
        r"model\.metrics was set to \['accuracy'\], which are not all objects of tinynet\.metrics; call compile",
    ),
    "a gradient that is none": (
        lambda: compile_then(
            lambda model: model.train_on_batch(np.ones((4, 4)), [0, 1, 2, 0]),
            Sequential([Input((4,)), Ungraded(3), Dense(3, activation="softmax")]),
        ),
        ValueError,
        r"Ungraded 'ungraded': W has shape \(4, 3\), so its gradient must be an array of this shape; .* gave None",
    ),
    "a parameter more": (
        lambda: with_another_parameter(compiled()).train_on_batch(X, Y),
        ValueError,
        r"Dense 'dense' has parameters \['W', 'b', 'scale'\], but its backward pass knows no gradient of \['scale'\]",
    ),
    "a DataFrame of objects": (
        lambda: compiled().predict(pd.DataFrame({"a": [1.0, 2.0]}, dtype=object)),
        TypeError,
        r"got dtype object\. x\.to_numpy\('float32'\) converts",
    ),
    "a backward pass put into the last layer": (
        lambda: compile_(with_backward(built())),
        ValueError,
        r"ends in Dense 'dense' with a pass of its own; leave the softmax out of it",
    ),
    "a layer in two places": (lambda: in_two_places(Dense(4)), ValueError, "Dense 'dense' is in this network already"),
    "a layer in two networks": (
        lambda: in_two_places(Sequential([Dense(4)])),
        ValueError,
        r"add: Sequential 'sequential' is in this network already; a layer can have only one place in it",
    ),
    "a make without a shape": (
        lambda: Sequential([Input((4,)), Shapeless(), Dense(3)]),
        TypeError,
        r"Shapeless 'shapeless': make must return the shape of one output sample, such as \(3,\), got None",
    ),
    "a make of outputs of nothing": (
        lambda: Sequential([Input((4,)), Shapeless((3, 0))]),
        TypeError,
        r"make must return the shape of one output sample, such as \(3,\), got \(3, 0\)",
    ),
    "a make of outputs of less than nothing": (
        lambda: Sequential([Input((4,)), Shapeless((-1,))]),
        TypeError,
        r"make must return the shape of one output sample, such as \(3,\), got \(-1,\)",
    ),
    "a forward that gives another shape": (
        lambda: Sequential([Input((4,)), Narrow()]).predict(np.ones((2, 4))),
        ValueError,
        r"Narrow 'narrow': make says that outputs have shape \(2, 4\), but forward gives \(2, 1\); the two must agree",
    ),
    "a forward that gives complex numbers": (
        lambda: Sequential([Input((4,)), Narrow(1j)]).predict(np.ones((2, 4))),
        ValueError,
        r"Narrow 'narrow': forward gives complex64 for x of float32; compute in the dtype of x",
    ),
    "a forward without a cache": (
        lambda: Sequential([Input((4,)), Returning(forward=lambda x: x), Dense(3)]).predict(np.ones((2, 4))),
        TypeError,
        r"'returning': forward must return the output and the cache, as in return y, cache; got an array of",
    ),
    "a forward that gives a list": (
        lambda: Sequential([Input((4,)), Returning(forward=lambda x: ([1, 2], None))]).predict(np.ones((2, 4))),
        TypeError,
        r"Returning 'returning': forward must return the output as an array, got list",
    ),
    "a forward of a network that gives no cache": (
        lambda: Headless([Input((4,)), Dense(4)]).predict(np.ones((2, 4))),
        TypeError,
        r"Headless: forward must return the output and the cache",
    ),
    "a backward without gradients": (
        lambda: train(Returning(backward=lambda dy, cache, need_dx=True: dy)),
        TypeError,
        r"'returning': backward must return dx and the gradients of the .*; got an array of shape \(2, 4\)",
    ),
    "a backward with a list of gradients": (
        lambda: train(Returning(backward=lambda dy, cache, need_dx=True: (dy, []))),
        TypeError,
        r'as in return dx, {"W": dW}; got an array of shape \(2, 4\) and dtype float32 and list',
    ),
    "a backward without dx": (
        lambda: train(Returning(backward=lambda dy, cache, need_dx=True: (None, {}))),
        ValueError,
        r"'returning': x has shape \(2, 4\), so its gradient must be an array of this shape; backward gave None",
    ),
    "a backward whose dx has another shape": (
        lambda: train(Returning(backward=lambda dy, cache, need_dx=True: (dy.sum(axis=0), {}))),
        ValueError,
        r"'returning': x has shape \(2, 4\), so its .* backward gave an array of shape \(4,\) and dtype float32",
    ),
    "a make whose sizes are no integers": (
        lambda: Sequential([Input((4,)), Returning(make=lambda shape, rng: (shape[0] / 2,))]),
        TypeError,
        r"make must return the shape of one output sample, such as \(3,\), got \(2.0,\)",
    ),
    "a loss that gives a mean": (
        lambda: train(loss=Losing(lambda losses, dlogits: (losses.mean(), dlogits))),
        ValueError,
        r"Losing.value_and_gradient must return the loss of each sample as floats of shape \(2,\), got float32",
    ),
    "a loss that gives a column": (
        lambda: compile_then(
            lambda model: model.evaluate(X, Y, verbose=0), built(), loss=Losing(lambda *two: (two[0][:, None], two[1]))
        ),
        ValueError,
        r"loss of each sample as floats of shape \(6,\), got an array of shape \(6, 1\) and dtype float32",
    ),
    "a loss whose gradient has another shape": (
        lambda: train(loss=Losing(lambda losses, dlogits: (losses, dlogits.mean(axis=0)))),
        ValueError,
        r"must return the gradient as floats of shape \(2, 3\), got an array of shape \(3,\) and dtype float32",
    ),
    "a loss without a gradient": (
        lambda: Losing(lambda losses, dlogits: losses)([0, 1], np.eye(2)),
        TypeError,
        r"Losing.value_and_gradient must return two arrays, the losses and the gradient, got an array",
    ),
    "a metric that gives words": (
        lambda: compile_then(
            lambda model: model.evaluate(X, Y, verbose=0), built(), metrics=[Mean(lambda logits: ["right"] * 6)]
        ),
        ValueError,
        r"mean: per_sample must return a number for each of the 6 samples, got an array of shape \(6,\) and dtype <U5",
    ),
    "a metric that gives a mean": (
        lambda: compile_then(lambda model: model.evaluate(X, Y, verbose=0), built(), metrics=[Mean(np.mean)]),
        ValueError,
        r"mean: per_sample must return a number for each of the 6 samples, got an array of shape \(\)",
    ),
    "softmax twice": (
        lambda: compile_(built(), loss=CategoricalCrossentropy(from_logits=True)),
        ValueError,
        "expects logits, but the network ends in a softmax; leave out one of the two",
    ),
    "images for outputs": (
        lambda: compile_(Sequential([Input((8, 8, 1)), Conv2D(2, 3), Activation("softmax")])),
        ValueError,
        r"outputs have shape \(6, 6, 2\). End it with Flatten\(\) and Dense\(classes\)",
    ),
    "a single output": (
        lambda: compile_(Sequential([Input((4,)), Dense(1, activation="softmax")])),
        ValueError,
        r"one output for each class, two or more.*shape \(1,\)",
    ),
    # Data
    "fit before compile": (lambda: built().fit(X, Y), ValueError, r"not compiled: call compile\(optimizer="),
    "evaluate before compile": (lambda: built().evaluate(X, Y), ValueError, "not compiled"),
    "an empty network": (lambda: Sequential().predict(X), ValueError, "has no layers; add some"),
    "no channel axis": (
        lambda: fit(x=X[..., 0]),
        ValueError,
        r"takes x of shape \(n, 8, 8, 1\), got \(6, 8, 8\). The channel axis is missing: x\[..., None\] adds it",
    ),
    "no batch axis": (
        lambda: compiled().predict(X[0]),
        ValueError,
        r"got \(8, 8, 1\). The batch axis is missing: x\[None\] is a batch of one",
    ),
    "flat images": (
        lambda: fit(x=X.reshape(6, 64)),
        ValueError,
        r"got \(6, 64\). x.reshape\(\(-1, 8, 8, 1\)\) has that shape",
    ),
    "channels first": (
        lambda: fit(x=np.zeros((6, 1, 8, 8))),
        ValueError,
        r"\(n, 8, 8, 1\), got \(6, 1, 8, 8\)\. The channels come first: numpy\.moveaxis\(x, 1, -1\) puts them last\.$",
    ),
    "colours first": (
        lambda: predict_with((32, 32, 3), np.zeros((6, 3, 32, 32))),
        ValueError,
        r"got \(6, 3, 32, 32\)\. The channels come first: numpy\.moveaxis\(x, 1, -1\) puts them last\.$",
    ),
    "rows and columns swapped": (
        lambda: predict_with((20, 28, 1), np.zeros((6, 28, 20, 1))),
        ValueError,
        r"The axes are in another order: x\.transpose\(0, 2, 1, 3\) has that shape\.$",
    ),
    "channels in the middle": (
        lambda: predict_with((8, 8, 3), np.zeros((6, 8, 3, 8))),
        ValueError,
        r"The axes are in another order: x\.transpose\(0, 1, 3, 2\) has that shape\.$",
    ),
    "all axes in another order": (
        lambda: predict_with((20, 28, 3), np.zeros((6, 3, 28, 20))),
        ValueError,
        r"The axes are in another order: x\.transpose\(0, 3, 2, 1\) has that shape\.$",
    ),
    "rows and columns swapped, no channel axis": (
        lambda: predict_with((20, 28, 1), np.zeros((6, 28, 20))),
        ValueError,
        r"got \(6, 28, 20\)\.$",
    ),
    "flat colours, channels first": (
        lambda: predict_with((32, 32, 3), np.zeros((6, 3, 1024))),
        ValueError,
        r"got \(6, 3, 1024\)\.$",
    ),
    "flat colours, channels last": (
        lambda: predict_with((32, 32, 3), np.zeros((6, 1024, 3))),
        ValueError,
        r"x\.reshape\(\(-1, 32, 32, 3\)\) has that shape\.$",
    ),
    "images for vectors": (
        lambda: predict_with((64,), X),
        ValueError,
        r"got \(6, 8, 8, 1\)\. x\.reshape\(\(-1, 64\)\) has that shape\.$",
    ),
    "one flat image": (
        lambda: predict_with((8, 8, 1), np.zeros(64)),
        ValueError,
        r"got \(64,\)\. x\.reshape\(\(-1, 8, 8, 1\)\) has that shape\.$",
    ),
    "a row of numbers": (
        lambda: predict_with((1,), np.linspace(0, 1, 60)),
        ValueError,
        r"takes x of shape \(n, 1\), got \(60,\)\. One number a sample: x\[:, None\] makes a column of them\.$",
    ),
    "a row of numbers for vectors": (
        lambda: predict_with((4,), np.zeros(60)),
        ValueError,
        r"takes x of shape \(n, 4\), got \(60,\)\.$",
    ),
    "one vector": (
        lambda: predict_with((60,), np.zeros(60)),
        ValueError,
        r"takes x of shape \(n, 60\), got \(60,\)\. The batch axis is missing: x\[None\] is a batch of one\.$",
    ),
    "one number": (
        lambda: predict_with((1,), 3.0),
        ValueError,
        r"got \(\)\. x\.reshape\(\(-1, 1\)\) has that shape\.$",
    ),
    "images of another size": (lambda: fit(x=np.zeros((6, 9, 8, 1))), ValueError, r"got \(6, 9, 8, 1\)\.$"),
    "flat images, unbuilt": (
        lambda: unbuilt().fit(X.reshape(6, 64), Y),
        ValueError,
        r"Conv2D 'conv2d' takes images of shape \(rows, columns, channels\), got samples of shape \(64,\)",
    ),
    "one vector, unbuilt": (
        lambda: unbuilt().predict(np.zeros(3)),
        ValueError,
        r"a batch of samples, got shape \(3,\); one sample is x\[None\]",
    ),
    "no samples": (lambda: fit(x=X[:0], y=Y[:0]), ValueError, r"fit: x is empty, its shape is \(0, 8, 8, 1\)"),
    "text for data": (lambda: fit(x=X.astype(str)), TypeError, "fit: x must be an array of numbers, got dtype <U"),
    "complex data": (lambda: fit(x=X + 1j), TypeError, "array of numbers, got dtype complex"),
    "nothing for data": (lambda: fit(x=None), TypeError, "array of numbers, got dtype object"),
    "ragged data": (lambda: fit(x=[[1, 2], [3]]), (TypeError, ValueError), "fit: x must be"),
    "ragged labels": (lambda: fit(y=[[1, 2], [3]]), (TypeError, ValueError), "fit: y must be"),
    "a label missing": (lambda: fit(y=Y[:-1]), ValueError, "fit: x has 6 samples, but y has 5 labels"),
    "no labels": (
        lambda: fit(y=None),
        TypeError,
        r"^fit: y, the labels, is missing: write fit\(x, y\)\. Batches .* train_on_batch\(x, y\) in a loop",
    ),
    "no labels in evaluate": (
        lambda: compiled().evaluate(X),
        TypeError,
        r"^evaluate: y, the labels, is missing: write evaluate\(x, y\)\. .* test_on_batch\(x, y\) in a loop",
    ),
    "no labels on a batch": (
        lambda: compiled().train_on_batch(X),
        TypeError,
        r"^train_on_batch: y, the labels, is missing",
    ),
    "no labels on a batch to test": (
        lambda: compiled().test_on_batch(X),
        TypeError,
        r"^test_on_batch: y, the labels, is missing",
    ),
    "no labels, in the open": (
        lambda: compiled().loss_and_gradients(X),
        TypeError,
        r"^loss_and_gradients: y, the labels, is missing",
    ),
    "no labels in validation": (
        lambda: fit(validation_data=(X, None)),
        TypeError,
        r"^fit, validation_data: y, the labels, is missing: write validation_data=\(x, y\)",
    ),
    "a generator": (
        lambda: compiled().fit(batches_of_data(), steps_per_epoch=10),
        TypeError,
        r"^fit: x must be an array, got a generator; .* call train_on_batch\(x, y\) in a loop",
    ),
    "a generator, and None for labels": (
        lambda: compiled().fit(batches_of_data(), None),
        TypeError,
        r"^fit: x must be an array, got a generator",
    ),
    "a stream of batches": (
        lambda: compiled().fit(Batches(), epochs=2),
        TypeError,
        r"^fit: x must be an array, got a Batches; .* call train_on_batch\(x, y\) in a loop",
    ),
    "a generator in evaluate": (
        lambda: compiled().evaluate(batches_of_data(), steps=10),
        TypeError,
        r"^evaluate: x must be an array, got a generator; .* call test_on_batch\(x, y\) in a loop",
    ),
    "a generator in predict": (
        lambda: compiled().predict(batches_of_data(), steps=10),
        TypeError,
        r"^predict: x must be an array, got a generator; .* call predict_on_batch\(x\) in a loop",
    ),
    "a generator for a batch": (
        lambda: compiled().train_on_batch(batches_of_data()),
        TypeError,
        r"^train_on_batch: x must be an array, got a generator",
    ),
    "a generator for validation": (
        lambda: fit(validation_data=batches_of_data()),
        ValueError,
        r"validation_data must be a pair \(x, y\)",
    ),
    "sparse labels": (
        lambda: fit(y=scipy.sparse.csr_matrix(np.eye(6))),
        TypeError,
        r"fit: y must be an array of labels, got a csr_matrix\. y\.toarray\(\) makes one of it",
    ),
    "a generator of labels": (
        lambda: fit(y=(i for i in Y)),
        TypeError,
        "fit: y must be an array of labels, got a generator.",
    ),
    "one label": (lambda: fit(y=3), ValueError, "fit: x has 6 samples, but y has"),
    "labels from 1": (lambda: fit(y=Y + 1), ValueError, "^fit: .*3 outputs, so labels must be in 0..2, got"),
    "one-hot for sparse": (lambda: fit(y=ONE_HOT), ValueError, 'use loss="categorical_crossentropy" for one-hot'),
    "names for labels": (lambda: fit(y=["a"] * 6), ValueError, "takes integer labels, got dtype <U1"),
    "labels of another length in evaluate": (lambda: compiled().evaluate(X, Y[:1]), ValueError, "evaluate: x has 6"),
    "labels of another length on a batch": (
        lambda: compiled().train_on_batch(X, Y[:1]),
        ValueError,
        "train_on_batch: x has 6",
    ),
    "labels of another length, in the open": (
        lambda: compiled().loss_and_gradients(X, Y[:1]),
        ValueError,
        "loss_and_gradients: x has 6",
    ),
    # Arguments of the verbs
    "fewer than no epochs": (lambda: fit(epochs=-1), ValueError, "fit: epochs must be at least 0, got -1"),
    "half an epoch": (lambda: fit(epochs=0.5), TypeError, "fit: epochs must be an integer, got 0.5"),
    "a negative first epoch": (lambda: fit(initial_epoch=-1), ValueError, "initial_epoch must be at least 0, got -1"),
    "no batch": (lambda: fit(batch_size=0), ValueError, "fit: batch_size must be at least 1, got 0"),
    "half a batch": (lambda: fit(batch_size=0.5), TypeError, "fit: batch_size must be an integer, got 0.5"),
    "no batch in predict": (lambda: compiled().predict(X, batch_size=0), ValueError, "predict: batch_size must be at"),
    "batch by batch": (lambda: fit(shuffle="batch"), TypeError, "fit: shuffle must be True or False, got 'batch'"),
    "more than all for validation": (lambda: fit(validation_split=1.5), ValueError, "between 0 and 1, got 1.5"),
    "an array for validation": (
        lambda: fit(validation_split=np.array([0.1, 0.2])),
        TypeError,
        "fit: validation_split must be a number, got",
    ),
    "no text for validation": (
        lambda: fit(validation_split=""),
        TypeError,
        "validation_split must be a number, got ''",
    ),
    "all for validation": (lambda: fit(validation_split=1.0), ValueError, "leaves one of the two parts empty"),
    "validation by text": (lambda: fit(validation_split="all"), TypeError, "validation_split must be a number, got"),
    "validation without labels": (lambda: fit(validation_data=X), ValueError, r"must be a pair \(x, y\)"),
    "validation of another shape": (
        lambda: fit(validation_data=(X[:, :3], Y)),
        ValueError,
        r"fit, validation_data: the network takes x of shape \(n, 8, 8, 1\), got \(6, 3, 8, 1\)",
    ),
    "integers for one-hot labels in validation": (
        lambda: compile_then(
            lambda model: model.fit(X, ONE_HOT, validation_data=(X, Y), verbose=0),
            built(),
            loss="categorical_crossentropy",
        ),
        ValueError,
        r"^fit, validation_data: categorical_crossentropy takes one-hot labels of shape \(n, 3\), got shape \(6,\)",
    ),
    "labels from 1 in validation": (
        lambda: fit(validation_data=(X, Y + 1)),
        ValueError,
        r"^fit, validation_data: .*labels must be in 0\.\.2, got values from 1 to 3",
    ),
    "too few labels in validation": (
        lambda: fit(validation_data=(X, Y[:-1])),
        ValueError,
        "^fit, validation_data: x has 6 samples, but y has 5 labels",
    ),
    "a number for callbacks": (lambda: fit(callbacks=3), TypeError, "callbacks must be .*got 3"),
    "a function for a callback": (lambda: fit(callbacks=[print]), TypeError, "callbacks must be instances of tinynet"),
    "a callback class": (
        lambda: fit(callbacks=[tinynet.callbacks.Callback]),
        TypeError,
        "callbacks must be instances of tinynet.callbacks.Callback, got <class",
    ),
    "verbose by an array": (
        lambda: fit(verbose=np.array([1, 2])),
        ValueError,
        'verbose must be 0, 1, 2 or "auto", got',
    ),
    "another model's optimizer": (fit_with_the_optimizer_of_another, ValueError, "has trained another model"),
    "very verbose": (lambda: fit(verbose=3), ValueError, 'fit: verbose must be 0, 1, 2 or "auto", got 3'),
    "class weights": (lambda: fit(class_weight={0: 2.0}), ValueError, r"class_weight=\{0: 2.0\} is not supported"),
    "steps": (lambda: fit(steps_per_epoch=2), ValueError, "steps_per_epoch=2 is not supported.*Give fit fewer samples"),
    "the old epochs": (lambda: fit(nb_epoch=2), TypeError, "fit has no argument 'nb_epoch' in tinynet. Write epochs"),
    "weights of samples": (
        lambda: compiled().evaluate(X, Y, sample_weight=np.ones(6)),
        ValueError,
        r"evaluate: sample_weight=an array of shape \(6,\) and dtype float64 is not supported by tinynet, only None",
    ),
    "workers": (lambda: compiled().predict(X, workers=4), TypeError, "predict has no argument 'workers'"),
    # Layers and optimizers in the open
    "integers into a layer": (
        lambda: built().forward(X.astype(int)),
        TypeError,
        r"takes a float32 or float64 array, got int64 array; x.astype\('float32'\) converts it",
    ),
    "a list into a layer": (lambda: built().forward(X.tolist()), TypeError, "float32 or float64 array, got list"),
    "one image into a layer": (
        lambda: built().forward(X[0]),
        ValueError,
        r"takes a batch of shape \(n, 8, 8, 1\), got \(8, 8, 1\)",
    ),
    "images of another size into a layer": (
        lambda: built().forward(np.zeros((6, 9, 8, 1))),
        ValueError,
        r"takes a batch of shape \(n, 8, 8, 1\), got \(6, 9, 8, 1\)",
    ),
    "a number into a layer": (
        lambda: built().forward(np.array(0.5)),
        ValueError,
        r"takes a batch of shape \(n, 8, 8, 1\), got \(\)",
    ),
    "a layer that is not built": (
        lambda: Dense(3).forward(np.zeros((2, 4))),
        ValueError,
        r"Dense is not built: call build\(input_shape, rng\) first, or add it to a Sequential",
    ),
    "a layer that has its shape but is not built": (
        lambda: Dense(3, input_shape=(4,)).forward(np.zeros((2, 4))),
        ValueError,
        r"Dense is not built: call build\(input_shape, rng\) first, or add it to a Sequential",
    ),
    "gradients of another model": (
        lambda: SGD().step(built().params, {}),
        ValueError,
        r"gradients for \[\], but parameters \['conv2d/W'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_what_came_and_what_to_do(mistake):
    do, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message) as caught:
        do()
    raised_in = Path(traceback.extract_tb(caught.value.__traceback__)[-1].filename)
    assert raised_in.is_relative_to(PACKAGE), f"raised in {raised_in}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("layers", "LSTM"),
        ("losses", "MeanSquaredError"),
        ("optimizers", "Nadam"),
        ("optimizers.schedules", "PolynomialDecay"),
        ("initializers", "Orthogonal"),
        ("metrics", "AUC"),
        ("callbacks", "RemoteMonitor"),
        ("models", "Model"),
        ("utils", "plot_model"),
        ("backend", "floatx"),
        ("datasets", "cifar10"),
    ],
)
def test_names_that_keras_alone_has_say_so_when_imported(module, name):
    with pytest.raises(ImportError, match=rf"{name}"):
        exec(f"from tinynet.{module} import {name}")
    found = importlib.import_module(f"tinynet.{module}")
    assert not hasattr(found, f"_{name}"), "tools that probe for private names get the AttributeError they expect"


def test_the_package_itself_says_what_to_use_for_names_of_keras():
    with pytest.raises(ImportError, match=r"^tinynet has no Model; it has Input, .* Layers in a row are a Sequential"):
        tinynet.Model  # noqa: B018
    with pytest.raises(AttributeError, match=r'^tinynet has no activations; it has .*names such as "relu"'):
        tinynet.activations  # noqa: B018
    with pytest.raises(ImportError, match=r"tinynet has no activations|cannot import name 'activations'"):
        exec("from tinynet import activations")
    with pytest.raises(AttributeError, match=r"it has .*\bestimator, .*\bplots, "):
        tinynet.ops  # noqa: B018
    assert not hasattr(tinynet, "__wrapped__")


def test_the_pictures_and_the_estimator_are_still_loaded_when_asked_for():
    assert tinynet.plots is importlib.import_module("tinynet.plots")
    assert tinynet.estimator is importlib.import_module("tinynet.estimator")
    exec("from tinynet import data_checks, plots")


OF_KERAS = {
    (Sequential, "predict_classes"): r"predict\(x\)\.argmax\(axis=1\)",
    (Sequential, "predict_proba"): "predict",
    (Sequential, "fit_generator"): "train_on_batch",
    (Sequential, "evaluate_generator"): "test_on_batch",
    (Sequential, "predict_generator"): "predict_on_batch",
    (Sequential, "to_json"): "save .* load_model",
    (Sequential, "to_yaml"): "save .* load_model",
    (Sequential, "get_config"): "save .* load_model",
    (Sequential, "outputs"): "input_shape and output_shape",
    (Sequential, "weights"): "params; get_weights",
    (Flatten, "kernel"): r'params\["W"\]',
    (Flatten, "bias"): r'params\["b"\]',
    (Flatten, "trainable_variables"): "params; get_weights",
    (Flatten, "built"): "output_shape; before, that is None",
    (Flatten, "add_weight"): r"make\(input_shape, rng\)",
    (Flatten, "output"): "input_shape and output_shape",
}


@pytest.mark.parametrize(("kind", "name"), OF_KERAS)
def test_names_that_models_and_layers_of_keras_have_say_what_to_use_instead(kind, name):
    expected = rf"^{kind.__name__} has no {name} in tinynet\. .*{OF_KERAS[kind, name]}"
    with pytest.raises(AttributeError, match=expected) as caught:
        getattr(kind(), name)
    assert caught.value.name == name
    assert not hasattr(kind(), name)


def test_other_attributes_are_missing_as_anywhere():
    with pytest.raises(AttributeError, match=r"^'Sequential' object has no attribute 'fitt'$"):
        Sequential().fitt  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'Dense' object has no attribute 'predict_classes'$"):
        Dense(3).predict_classes  # noqa: B018

    class Wrong(Sequential):
        @property
        def size(self):
            return self.layers.size

        @property
        def weights(self):  # which Keras has
            return self.layers.weights

    for name in ("size", "weights"):
        with pytest.raises(AttributeError, match=rf"^'list' object has no attribute '{name}'$"):
            getattr(Wrong(), name)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_is_still_copied(copied):
    model = compiled()
    np.testing.assert_array_equal(copied(model).predict(X), model.predict(X))


def test_every_argument_can_be_given_by_name():
    modules = [module for name, module in sys.modules.items() if name.startswith("tinynet.")]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and not getattr(value, "_is_protocol", False)  # it says what others must have
    ]
    found = 0
    for owner in [*modules, *classes]:
        for function in vars(owner).values():
            if inspect.isfunction(function) and function.__module__.startswith("tinynet"):
                found += 1
                kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
                assert inspect.Parameter.POSITIONAL_ONLY not in kinds, function
    assert found > 300
