# %% [markdown]
# # LeNet reads handwritten digits
#
# A network looks at 60,000 handwritten digits, learns to tell them apart, and is then tested on 10,000 digits that it
# has never seen. This is the whole pipeline, activity by activity: prepare the data, build the model, train it, judge
# it. The activities have the numbers of the course that they come from.
#
# Run this file as a script, `python lenet_mnist.py` (`--help` lists its options), or open it as a notebook: VS Code,
# PyCharm and Spyder show its cells as they are, and `jupytext --to notebook lenet_mnist.py` makes a file for Jupyter.

# %% [markdown]
# ## 1 Pre-processing
#
# ### 1.1 Import the packages
#
# Nobody writes everything anew. tinynet brings the network, scikit-learn the encoding of the labels and the report,
# matplotlib the pictures, and NumPy the arrays that they all pass to each other.

# %%
# ruff: noqa: N816 (trainData, testLabels and so on are the course's names)
import argparse
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends import BackendFilter, backend_registry
from sklearn.metrics import classification_report
from sklearn.preprocessing import LabelBinarizer

from tinynet.datasets import mnist
from tinynet.layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D
from tinynet.models import Sequential
from tinynet.optimizers import SGD
from tinynet.optimizers.schedules import CosineDecay
from tinynet.plots import plot_history, plot_images, plot_mistakes
from tinynet.utils import set_random_seed

# %% [markdown]
# Next, the options of this run. A notebook has no command line: write them into `options_in_a_notebook` instead, for
# instance `["--epochs", "1"]`. The seed makes the run repeatable: the same seed gives the same network, bit for bit.

# %%
options_in_a_notebook: list[str] = []


def positive(text: str) -> int:
    """The value of an option, as an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer above 0")
    return int(text)


parser = argparse.ArgumentParser(description="Train LeNet to read handwritten digits, and test it.")
parser.add_argument("--recipe", choices=["fast", "notebook"], default="fast", help="how to train (default: fast)")
parser.add_argument("--epochs", type=positive, metavar="N", help="rounds through the data (fast: 5, notebook: 20)")
parser.add_argument("--batch-size", type=positive, metavar="N", help="images a step (fast: 64, notebook: 128)")
parser.add_argument("--seed", type=int, metavar="N", default=0, help="start of all randomness (default: 0)")
parser.add_argument("--threads", type=positive, metavar="N", help="threads to work on (default: one a core)")
parser.add_argument("--data", metavar="FOLDER", help="four files in MNIST's format (default: MNIST, as packaged)")
parser.add_argument("--output", metavar="FOLDER", default="lenet_mnist_output", help="pictures go here (%(default)s)")
in_notebook = "ipykernel" in sys.modules
options = parser.parse_args(options_in_a_notebook if in_notebook else None)

start = time.perf_counter()
output = Path(options.output)
try:
    set_random_seed(options.seed)
    output.mkdir(parents=True, exist_ok=True)
    (output / "1_training_images.png").touch()  # can it be written?
except (ValueError, OSError) as error:
    parser.error(str(error))

# %% [markdown]
# ### 1.2 Load MNIST
#
# MNIST is the "hello, world" of the field: small enough to train on in a minute, real enough to fail on. It comes in
# two parts, because a network that is tested on what it was trained on only shows how well it remembers. tinynet
# carries the data, so nothing is downloaded.

# %%
try:
    (trainData, trainLabels), (testData, testLabels) = mnist.load_data(options.data)
    if len(set(trainLabels)) < 3 or not set(testLabels) <= set(trainLabels) or min(trainData.shape[1:]) < 4:
        raise ValueError("LeNet needs images of 4x4 or more, and 3 classes or more, with no other one in the test set")
except (ValueError, OSError) as error:
    parser.error(str(error))

# %% [markdown]
# ### 1.3 Display a sample, and the shapes
#
# Look at the data before you trust it: are the digits upright, is the ink light or dark, does each label fit its
# image? The shapes say how much there is of everything. Most mistakes in deep learning are shapes that do not fit.

# %%
figure = plt.figure(figsize=(6.6, 2.1), dpi=120, layout="constrained")
plot_images(trainData[:18], trainLabels[:18], columns=9, fig=figure)
figure.suptitle("Training images, each under its label")
figure.savefig(output / "1_training_images.png")

print(f"The first training image shows a {trainLabels[0]}.")
print("trainData  ", trainData.shape, trainData.dtype)
print("trainLabels", trainLabels.shape, trainLabels.dtype)
print("testData   ", testData.shape, testData.dtype)
print("testLabels ", testLabels.shape, testLabels.dtype)

# %% [markdown]
# ### 1.4 Reshape to samples x rows x columns x depth
#
# A convolution works on images with a depth: 3 for red, green and blue, or whatever number of channels the layer
# before made. These images are grey, so their depth is 1. No number changes; the arrays only get a fourth axis.

# %%
_, height, width = trainData.shape
depth = 1
trainData = trainData.reshape(-1, height, width, depth)
testData = testData.reshape(-1, height, width, depth)
print("trainData  ", trainData.shape)
print("testData   ", testData.shape)

# %% [markdown]
# ### 1.5 Scale the pixels from [0, 255] to [0, 1]
#
# The initial weights are drawn for inputs of about that size. With pixels up to 255 the first outputs, and the
# gradients with them, would be hundreds of times too large, and training would stumble at once.

# %%
trainData = trainData.astype("float32") / 255.0
testData = testData.astype("float32") / 255.0
print(f"pixels from {trainData.min()} to {trainData.max()}")

# %% [markdown]
# ### 1.6 Turn the labels into vectors
#
# The network has one output for each digit, and each output is a probability. So the label of a 3 becomes what a
# perfect network would answer: 1 for the 3, and 0 for all others. These are called one-hot vectors.

# %%
binarizer = LabelBinarizer()
trainLabels = binarizer.fit_transform(trainLabels)
testLabels = binarizer.transform(testLabels)
classes = len(binarizer.classes_)
print(f"The label of the first training image is now {trainLabels[0]}.")

# %% [markdown]
# ### Review questions
#
# **Why is there a train and a test set?**
# To learn from the one and to judge by the other. A network can learn its training images by heart; only images that
# it has not seen tell whether it has learned what digits look like.
#
# **What is binarizing the labels, and what is it good for?**
# It replaces each label by a vector with a 1 at the place of its class and 0 everywhere else. The network's output has
# the same form, so the two can be compared class by class. Plain numbers would also claim an order that is not there:
# as a number a 9 is close to an 8 and far from a 4, as a class it is neither.

# %% [markdown]
# ## 2 Building the model
#
# Python takes a class in one piece, so activities 2.1 to 2.8 share the cell that follows 2.8. The numbers in its
# comments lead from each activity to its lines.
#
# ### 2.1 A class with a static method `build`
#
# The class gives the architecture a name and one place to live. `build` is told the size of the images and the number
# of classes, so the same lines serve other data. It is static because it keeps nothing: every call makes a new network.

# %% [markdown]
# ### 2.3 A Sequential with its input shape
#
# LeNet is layers in a row, each taking what the one before made, and that is what `Sequential` means. With the shape
# of one input known, every layer that is added can work out its own shapes, and refuse at once if it does not fit.

# %% [markdown]
# ### 2.4 The first CONV => RELU => POOL
#
# Twenty filters of 5x5 weights slide over the image, and each looks for one small pattern, such as an edge. "same" pads
# the image with zeros so that its size stays. ReLU keeps only what was found, and pooling keeps the strongest finding
# of each 2x2 square: where exactly a stroke lies matters little, and a quarter of the numbers is a quarter of the work.

# %% [markdown]
# ### 2.5 The second CONV => RELU => POOL
#
# Fifty filters now look for patterns among the twenty maps of the first layer: corners, crossings, ends of strokes.
# The maps have been halved by then, so a window of the same 5x5 covers more of the image: deeper layers see larger
# things.

# %% [markdown]
# ### 2.6 One FC => RELU
#
# The maps are laid out as one vector, and 500 units look at all of it at once. This is where findings from all over
# the image come together: a loop above and a straight stroke below make a 9.

# %% [markdown]
# ### 2.7 The softmax classifier
#
# One output for each class. Softmax turns the outputs into probabilities: all positive, and one in sum. So the network
# says not only what it sees, but also how sure it is.

# %% [markdown]
# ### 2.8 Return the network
#
# `build` hands over the layers with random weights. It has learned nothing yet and answers by chance; the caller
# decides how it is to learn. ("he_uniform" draws weights of a size that suits layers followed by ReLU, which stops half
# of what passes through; the last layer keeps the default.)


# %%
class LeNet:
    """A LeNet: two convolutions with pooling, one fully connected layer, and a softmax classifier."""

    # 2.1 A static method
    @staticmethod
    def build(width: int, height: int, depth: int, classes: int) -> Sequential:
        """Return a new network for images of height x width x depth."""
        # 2.3 A Sequential with its input shape
        model = Sequential(name="lenet")
        model.add(Input(shape=(height, width, depth)))

        # 2.4 The first CONV => RELU => POOL
        model.add(Conv2D(20, (5, 5), padding="same", kernel_initializer="he_uniform"))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))

        # 2.5 The second CONV => RELU => POOL
        model.add(Conv2D(50, (5, 5), padding="same", kernel_initializer="he_uniform"))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))

        # 2.6 One FC => RELU
        model.add(Flatten())
        model.add(Dense(500, kernel_initializer="he_uniform"))
        model.add(Activation("relu"))

        # 2.7 The softmax classifier
        model.add(Dense(classes))
        model.add(Activation("softmax"))

        # 2.8 Return the network
        return model


# %% [markdown]
# ### 2.9 Initialize the optimizer
#
# The optimizer turns gradients into steps: a little downhill, for one small batch of images after the other. The
# `notebook` recipe is plain stochastic gradient descent with a rate of 0.01, which is sure but slow. The `fast` recipe
# takes larger steps that gather momentum. Its rate rises during the first half epoch, while the random weights settle,
# and then falls to zero along a cosine. Weight decay pulls all weights towards zero, against learning by heart.

# %%
default_epochs, default_batch_size = {"fast": (5, 64), "notebook": (20, 128)}[options.recipe]
epochs = options.epochs or default_epochs
batch_size = options.batch_size or default_batch_size
steps_per_epoch = int(np.ceil(len(trainData) / batch_size))

if options.recipe == "notebook":
    optimizer = SGD(learning_rate=0.01)
else:
    warmup_steps = steps_per_epoch // 2
    rate = CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=0.1,
        warmup_steps=warmup_steps,
        decay_steps=epochs * steps_per_epoch - warmup_steps,
    )
    optimizer = SGD(learning_rate=rate, momentum=0.9, nesterov=True, weight_decay=0.005)

# %% [markdown]
# ### 2.10 Build the model
#
# The size of the images and the number of classes come from the data, not from our memory of it. The summary is worth
# a look: almost all of the parameters sit in the one fully connected layer, not in the convolutions.

# %%
model = LeNet.build(width=width, height=height, depth=depth, classes=classes)
model.num_threads = options.threads
model.summary()

# %% [markdown]
# ### 2.11 Compile it
#
# Compiling says what learning means here. The loss is what training makes small: categorical cross-entropy, which is
# high where the network gives the true class a low probability. Accuracy is what people want to know; it moves in
# jumps and has no useful gradient, so it is watched and not trained on.

# %%
model.compile(loss="categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])

# %% [markdown]
# ### Review questions
#
# **What is deep learning, and how does it differ from other machine learning?**
# Deep learning trains networks of many layers, in which each layer makes its own features out of those of the layer
# before. Other machine learning mostly works on features that people thought of first. Here nobody told the network
# what a stroke or a loop is.
#
# **What is a convolution?**
# A small filter slides over the image. At each place its weights are multiplied with the pixels under it and summed
# up. The result is a map of how well the filter's pattern fits where. The same few weights serve at every place.
#
# **What are the steps of a deep learning pipeline?**
# Collect and look at the data, split it into train and test sets, prepare it, define the model, compile it with a loss
# and an optimizer, train it, and evaluate it on the test set. Then use it, or go back and change something.
#
# **What is the LeNet architecture?**
# CONV => RELU => POOL => CONV => RELU => POOL => FC => RELU => FC => SOFTMAX. LeCun and others published the first
# ones in 1989 and 1998, to read postal codes and cheques; those were smaller and used other activations.
#
# **How many layers does this model have?**
# Four with weights: two convolutions and two fully connected layers. Counting the activations, the poolings and the
# flattening too, there are eleven: `len(model.layers)`.
#
# **Which activation does its fully connected layer use?**
# ReLU, as the convolutions do. Only the last layer, which classifies, uses softmax.

# %% [markdown]
# ## 3 Training and evaluating
#
# ### 3.1 Train
#
# `fit` takes the images in random order, a batch at a time: it predicts, measures the loss, computes its gradient for
# each weight by backpropagation, and lets the optimizer take a step. One round through all images is an epoch. The
# test images are only watched meanwhile: nothing is learned from them. (Choose nothing by them either: for that, hold
# out training images. The recipe here was settled with their figures in sight, as the README says.)

# %%
print(f"Training on {len(trainData):,} images: {options.recipe} recipe, {epochs} epochs, seed {options.seed}")
history = model.fit(
    trainData,
    trainLabels,
    validation_data=(testData, testLabels),
    batch_size=batch_size,
    epochs=epochs,
    verbose=1,
)
if not history.epoch:
    raise SystemExit("Training was interrupted before the first epoch was done, so there is nothing to show.")

# %% [markdown]
# ### 3.2 Evaluate
#
# Now the network answers for all test images. Each row of `predictions` holds the probabilities of the classes for
# one image, and the largest is the answer. The share of right answers is the figure that counts.

# %%
predictions = model.predict(testData, batch_size=128)
loss, accuracy = model.evaluate(testData, testLabels, batch_size=128, verbose=0)
print(f"Test loss {loss:.4f}, test accuracy {accuracy:.2%}")

# %% [markdown]
# ### 3.3 Display the results
#
# One figure hides much, so look closer. The report shows each digit by itself: precision is the share of right ones
# among the images that were taken for this digit, recall the share of this digit's images that were found. The pictures
# show some answers, and the mistakes of which the network was most certain. Would you have known?

# %%
answers = predictions.argmax(axis=1)
truth = testLabels.argmax(axis=1)
names = [str(name) for name in binarizer.classes_]
print(classification_report(truth, answers, labels=range(classes), target_names=names, digits=4, zero_division=0))

wrong = np.flatnonzero(answers != truth)
right = np.flatnonzero(answers == truth)
some = np.sort(np.concatenate([wrong[:6], right[:18]]))
figure = plt.figure(figsize=(7.2, 3.7), dpi=120, layout="constrained")
plot_images(testData[some], truth[some], answers[some], class_names=names, columns=8, fig=figure)
figure.suptitle("Test images, each under what the network took it for")
figure.savefig(output / "2_predictions.png")

figure = plt.figure(figsize=(7.2, 4.9), dpi=120, layout="constrained")
plot_mistakes(testData, truth, predictions, count=18, class_names=names, columns=6, fig=figure)
figure.savefig(output / "3_mistakes.png")

# %% [markdown]
# ### 3.4 Plot loss and accuracy
#
# The curves tell how training went. Both losses falling: it learns. Training loss falling while validation loss rises:
# it learns by heart. Neither falling: the rate is too low, or far too high.

# %%
figure = plt.figure(figsize=(8.8, 3.4), dpi=120, layout="constrained")
plot_history(history, fig=figure)
figure.savefig(output / "4_training.png")

# %% [markdown]
# ### Review questions
#
# **Which function trains the model?**
# `model.fit`.
#
# **What are evaluation metrics, and which are used here?**
# Figures that say how good a model is in terms that people care about. `fit` and `evaluate` report the loss and the
# accuracy, and the report adds precision, recall and their harmonic mean, the F1 score, for each class.
#
# **How do fit and predict differ?**
# `fit` takes images with labels and changes the weights. `predict` takes images alone, changes nothing, and returns
# the network's answers.

# %%
print(f"Done in {time.perf_counter() - start:.0f} s, without the imports. The pictures are in {output.resolve()}")
if plt.get_backend().lower() not in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
    plt.show()
