"""Scripts written for Keras, in the styles people use, run with only their imports changed.

The change is the one the README promises, `sed 's/tensorflow\\.keras/tinynet/; s/from keras/from tinynet/'`, and for
`import keras`, `import tinynet as keras`. What the tests expect of each script is what Keras 3 gives.
"""

import io
import re
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.trains_for_long

# The class of the notebook: layers added one by one, activations as layers, LabelBinarizer, the old name of the rate.
NOTEBOOK = """
from tensorflow.keras import backend as K
from tensorflow.keras.datasets import mnist
from tensorflow.keras.layers import Activation, Conv2D, Dense, Flatten, MaxPooling2D
from tensorflow.keras.models import Sequential
from tensorflow.keras.optimizers import SGD
from sklearn.metrics import classification_report
from sklearn.preprocessing import LabelBinarizer

class LeNet:
    @staticmethod
    def build(width, height, depth, classes):
        model = Sequential()
        inputShape = (height, width, depth)
        if K.image_data_format() == "channels_first":
            inputShape = (depth, height, width)
        model.add(Conv2D(20, (5, 5), padding="same", input_shape=inputShape))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
        model.add(Conv2D(50, (5, 5), padding="same"))
        model.add(Activation("relu"))
        model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
        model.add(Flatten())
        model.add(Dense(500))
        model.add(Activation("relu"))
        model.add(Dense(classes))
        model.add(Activation("softmax"))
        return model

((trainData, trainLabels), (testData, testLabels)) = mnist.load_data()
trainData, trainLabels, testData, testLabels = trainData[:320], trainLabels[:320], testData[:100], testLabels[:100]
trainData = trainData.reshape((trainData.shape[0], 28, 28, 1))
testData = testData.reshape((testData.shape[0], 28, 28, 1))
trainData = trainData.astype("float32") / 255.0
testData = testData.astype("float32") / 255.0
le = LabelBinarizer()
trainLabels = le.fit_transform(trainLabels)
testLabels = le.transform(testLabels)

opt = SGD(lr=0.01)
model = LeNet.build(width=28, height=28, depth=1, classes=10)
model.compile(loss="categorical_crossentropy", optimizer=opt, metrics=["accuracy"])
H = model.fit(trainData, trainLabels, validation_data=(testData, testLabels), batch_size=32, epochs=3, verbose=1)
(loss, accuracy) = model.evaluate(testData, testLabels, batch_size=128, verbose=1)
predictions = model.predict(testData, batch_size=128)
report = classification_report(testLabels.argmax(axis=1), predictions.argmax(axis=1),
                               target_names=[str(x) for x in le.classes_], zero_division=0)
"""


def test_the_notebook() -> None:
    script = run(NOTEBOOK)
    history = script["H"].history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [len(figures) for figures in history.values()] == [3] * 4
    assert all(type(figure) is float for figures in history.values() for figure in figures)
    assert history["loss"][-1] < history["loss"][0]
    # Whatever the batches: the mean over all samples, of the weights after the last epoch.
    assert script["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert script["accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert script["predictions"].shape == (100, 10)
    np.testing.assert_allclose(script["predictions"].sum(axis=1), 1, rtol=1e-5)
    right = script["predictions"].argmax(axis=1) == script["testLabels"].argmax(axis=1)
    assert script["accuracy"] == pytest.approx(right.mean())
    shapes = [(5, 5, 1, 20), (20,), (5, 5, 20, 50), (50,), (2450, 500), (500,), (500, 10), (10,)]
    assert [w.shape for w in script["model"].get_weights()] == shapes
    assert script["model"].count_params() == 1_256_080
    assert len(script["model"].layers) == 11


# In the manner of keras.io: one list, Input, to_categorical, validation_split, a summary.
SEQUENTIAL_LIST = """
import numpy as np
import keras
from keras import layers

num_classes = 10
input_shape = (28, 28, 1)

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, y_train, x_test, y_test = x_train[:400], y_train[:400], x_test[:50], y_test[:50]
x_train = x_train.astype("float32") / 255
x_test = x_test.astype("float32") / 255
x_train = np.expand_dims(x_train, -1)
x_test = np.expand_dims(x_test, -1)
y_train = keras.utils.to_categorical(y_train, num_classes)
y_test = keras.utils.to_categorical(y_test, num_classes)

model = keras.Sequential(
    [
        keras.Input(shape=input_shape),
        layers.Conv2D(8, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(16, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dense(num_classes, activation="softmax"),
    ]
)
model.summary()

batch_size = 32
epochs = 3
model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.SGD(learning_rate=0.05), metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=batch_size, epochs=epochs, validation_split=0.1)
score = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", score[0])
print("Test accuracy:", score[1])
"""


def test_a_sequential_list() -> None:
    output = io.StringIO()
    with redirect_stdout(output):
        script = run(SEQUENTIAL_LIST)
    history = script["history"]
    assert history.epoch == [0, 1, 2]
    assert history.params["steps"] == 12  # batches of the 360 samples that validation_split leaves
    assert history.history["loss"][-1] < history.history["loss"][0]
    # validation_split takes the last rows, before any shuffling.
    held_out = script["model"].evaluate(script["x_train"][360:], script["y_train"][360:], verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(held_out[0], rel=1e-5)
    assert history.history["val_accuracy"][-1] == pytest.approx(held_out[1])
    assert isinstance(script["score"], list)
    assert [type(figure) for figure in script["score"]] == [float, float]
    for line in ("conv2d (Conv2D)", "max_pooling2d (MaxPooling2D)", "flatten (Flatten)", "dense (Dense)", "Test loss:"):
        assert line in output.getvalue()


# In the manner of TensorFlow's tutorials: modules, integer labels, logits, a loss as an object, doubles in [0, 1].
INTEGER_LABELS = """
import numpy as np
from tensorflow.keras import datasets, layers, losses, models, optimizers

(train_images, train_labels), (test_images, test_labels) = datasets.mnist.load_data()
train_images, train_labels = train_images[:256], train_labels[:256]
test_images, test_labels = test_images[:64], test_labels[:64]
train_images, test_images = train_images[..., np.newaxis] / 255.0, test_images[..., np.newaxis] / 255.0

model = models.Sequential()
model.add(layers.Conv2D(6, 5, padding='same', activation='relu', input_shape=(28, 28, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(16, 5, activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Flatten())
model.add(layers.Dense(120, activation='relu'))
model.add(layers.Dense(84, activation='relu'))
model.add(layers.Dense(10))
model.compile(optimizer=optimizers.SGD(learning_rate=0.01, momentum=0.9, nesterov=True),
              loss=losses.SparseCategoricalCrossentropy(from_logits=True),
              metrics=['accuracy'])
history = model.fit(train_images, train_labels, epochs=4, batch_size=16, verbose=2,
                    validation_data=(test_images, test_labels))
test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)
probability_model = models.Sequential([model, layers.Softmax()])
probabilities = probability_model.predict(test_images)
"""


def test_integer_labels_and_logits() -> None:
    script = run(INTEGER_LABELS)
    history = script["history"].history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    logits, probabilities = script["model"].predict(script["test_images"]), script["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))
    labels = script["test_labels"]
    assert script["test_acc"] == pytest.approx(np.mean(logits.argmax(axis=1) == labels))
    assert script["test_loss"] == pytest.approx(-np.log(probabilities[np.arange(64), labels]).mean(), rel=1e-5)


# Everything by name, a schedule, a fixed seed, and no metrics.
SEEDED = """
from tensorflow.keras.datasets.mnist import load_data
from tensorflow.keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, ReLU, Softmax
from tensorflow.keras.losses import CategoricalCrossentropy
from tensorflow.keras.models import Sequential
from tensorflow.keras.optimizers import SGD
from tensorflow.keras.optimizers.schedules import ExponentialDecay
from tensorflow.keras.utils import set_random_seed, to_categorical

set_random_seed(42)
(x_train, y_train), _ = load_data()
x_train = x_train[:200].reshape(-1, 28, 28, 1).astype("float32") / 255
y_train = to_categorical(y_train[:200])

model = Sequential(name="small")
model.add(Input(shape=(28, 28, 1)))
model.add(Conv2D(filters=4, kernel_size=5, strides=(2, 2), use_bias=False,
                 kernel_initializer="he_normal", name="edges"))
model.add(ReLU())
model.add(MaxPooling2D(pool_size=3, strides=2, padding="same"))
model.add(Flatten())
model.add(Dense(units=10, bias_initializer="zeros"))
model.add(Softmax())
rate = ExponentialDecay(initial_learning_rate=0.1, decay_steps=10, decay_rate=0.9)
model.compile(optimizer=SGD(learning_rate=rate, momentum=0.5), loss=CategoricalCrossentropy())
history = model.fit(x=x_train, y=y_train, batch_size=20, epochs=5, verbose=0, shuffle=True)
loss = model.evaluate(x_train, y_train, verbose=0)
"""


def test_a_seeded_script_without_metrics() -> None:
    first, second = run(SEEDED), run(SEEDED)
    assert set(first["history"].history) == {"loss"}
    assert type(first["loss"]) is float
    assert first["loss"] < first["history"].history["loss"][0]
    assert first["history"].history == second["history"].history
    for a, b in zip(first["model"].get_weights(), second["model"].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [w.shape for w in first["model"].get_weights()] == [(5, 5, 1, 4), (144, 10), (10,)]
    assert (first["model"].name, first["model"].layers[0].name) == ("small", "edges")


# No input shape: the network builds itself on the first data. A loop of one's own, and weights passed on.
OWN_LOOP = """
import numpy as np
from tensorflow.keras.datasets import mnist
from tensorflow.keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from tensorflow.keras.models import Sequential

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[:256, :, :, None] / 255., x_test[:40, :, :, None] / 255.

def lenet():
    model = Sequential([
        Conv2D(6, (5, 5), activation="relu", padding="same"),
        MaxPooling2D(),
        Conv2D(16, (5, 5), activation="relu"),
        MaxPooling2D(),
        Flatten(),
        Dense(10, activation="softmax"),
    ])
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
    return model

model = lenet()
losses = []
for epoch in range(4):
    for start in range(0, 256, 32):
        loss, accuracy = model.train_on_batch(x_train[start:start + 32], y_train[start:start + 32])
        losses.append(loss)
figures = model.test_on_batch(x_test, y_test[:40], return_dict=True)

twin = lenet()
twin.build((None, 28, 28, 1))
twin.set_weights(model.get_weights())
predictions = np.argmax(twin.predict(x_test, batch_size=16, verbose=0), axis=-1)
one = twin.predict(x_test[:1])
"""


def test_a_loop_of_ones_own_and_weights_passed_on() -> None:
    script = run(OWN_LOOP)
    assert np.mean(script["losses"][-8:]) < np.mean(script["losses"][:8])
    assert set(script["figures"]) == {"loss", "accuracy"}
    assert script["figures"]["accuracy"] == pytest.approx(np.mean(script["predictions"] == script["y_test"][:40]))
    assert script["one"].shape == (1, 10)


def run(script: str) -> dict[str, Any]:
    """The names a Keras script leaves behind, after its imports are changed and it is run."""
    source = re.sub(r"^(.*?)tensorflow\.keras", r"\1tinynet", script, flags=re.MULTILINE)
    source = re.sub(r"^(.*?)from keras", r"\1from tinynet", source, flags=re.MULTILINE)
    source = source.replace("import keras\n", "import tinynet as keras\n")
    assert "tensorflow" not in source
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<script>", "exec"), names)
    return names
