"""The example runs on real digits from start to end, as a script and cell by cell, and is what it says it is."""

import os
import re
import runpy
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinynet
from tinynet import training
from tinynet.datasets import mnist, write_idx

pytestmark = pytest.mark.trains_for_long

EXAMPLE = Path(__file__).parents[1] / "examples" / "lenet_mnist.py"
PICTURES = ["1_training_images.png", "2_predictions.png", "3_mistakes.png", "4_training.png"]

HEADINGS = [
    "LeNet reads handwritten digits",
    "1 Pre-processing",
    "1.1 Import the packages",
    "1.2 Load MNIST",
    "1.3 Display a sample, and the shapes",
    "1.4 Reshape to samples x rows x columns x depth",
    "1.5 Scale the pixels from [0, 255] to [0, 1]",
    "1.6 Turn the labels into vectors",
    "Review questions",
    "2 Building the model",
    "2.1 A class with a static method `build`",
    "2.3 A Sequential with its input shape",
    "2.4 The first CONV => RELU => POOL",
    "2.5 The second CONV => RELU => POOL",
    "2.6 One FC => RELU",
    "2.7 The softmax classifier",
    "2.8 Return the network",
    "2.9 Initialize the optimizer",
    "2.10 Build the model",
    "2.11 Compile it",
    "Review questions",
    "3 Training and evaluating",
    "3.1 Train",
    "3.2 Evaluate",
    "3.3 Display the results",
    "3.4 Plot loss and accuracy",
    "Review questions",
]
QUESTIONS = [
    ["Why is there a train and a test set?", "What is binarizing the labels, and what is it good for?"],
    [
        "What is deep learning, and how does it differ from other machine learning?",
        "What is a convolution?",
        "What are the steps of a deep learning pipeline?",
        "What is the LeNet architecture?",
        "How many layers does this model have?",
        "Which activation does its fully connected layer use?",
    ],
    [
        "Which function trains the model?",
        "What are evaluation metrics, and which are used here?",
        "How do fit and predict differ?",
    ],
]


def write_digits(folder, train, test, part=slice(None)):
    """Write the first digits of MNIST as a data set of its own; ``part`` is the rows and columns to keep."""
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte", x_train[:train, part, part])
    write_idx(folder / "train-labels-idx1-ubyte", y_train[:train])
    write_idx(folder / "t10k-images-idx3-ubyte", x_test[:test, part, part])
    write_idx(folder / "t10k-labels-idx1-ubyte", y_test[:test])
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("data") / "digits", train=400, test=100)


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory):
    """The middle of a few digits, where nothing is to be learned from them."""
    return write_digits(tmp_path_factory.mktemp("data") / "few_digits", train=64, test=40, part=slice(8, 20))


@pytest.fixture
def shown(monkeypatch):
    """Counts the calls of plt.show, which must not happen without a screen."""
    calls = []
    plt.close("all")  # what other tests have left; an old matplotlib warns of it
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: calls.append("show"))
    yield calls
    plt.close("all")


def run_in(folder, *options):
    """Run the example in this process, in a folder, and return its variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(EXAMPLE), *map(str, options)])
        return runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.fixture
def run(tmp_path, shown):
    return partial(run_in, tmp_path)


@pytest.fixture(scope="module")
def one_epoch(digits, tmp_path_factory):
    """The variables of a short run."""
    plt.switch_backend("agg")
    made = run_in(tmp_path_factory.mktemp("run"), "--data", digits, "--epochs", "1")
    plt.close("all")
    return made


def as_cells(source):
    """(kind, text) of each cell: "markdown", without its comment signs, or "code"."""
    cells = []
    for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        first, _, text = cell.partition("\n")
        if first == " [markdown]":
            assert all(line.startswith("#") for line in text.split("\n") if line), f"code in a markdown cell: {text}"
            cells.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
        else:
            assert not first, f"an unknown kind of cell: {first}"
            cells.append(("code", text))
    return cells


def sections_of(source):
    """(heading, text) of each section of the markdown cells, in order."""
    text = "\n".join(text for kind, text in as_cells(source) if kind == "markdown")
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert not parts[0].strip(), "there is text above the first heading"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_the_script_runs_without_a_screen_to_the_end(digits, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    environment |= {
        "PYTHONPATH": str(Path(tinynet.__file__).parents[1]),
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning,error::DeprecationWarning:__main__",
    }
    command = [sys.executable, str(EXAMPLE), "--data", str(digits), "--epochs", "2", "--output", "pictures"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for shape in ["(400, 28, 28) uint8", "(400,) uint8", "(100, 28, 28) uint8", "(100,) uint8", "(400, 28, 28, 1)"]:
        assert shape in done.stdout
    assert "shows a 5" in done.stdout
    assert "[0 0 0 0 0 1 0 0 0 0]" in done.stdout
    epoch_lines = re.findall(
        r"^Epoch (\d)/2 .* images/s .*loss .*accuracy .*val_loss .*val_accuracy", done.stdout, re.M
    )
    assert epoch_lines == ["1", "2"]
    assert "\r" not in done.stdout
    assert re.search(r"^Test loss \d\.\d{4}, test accuracy \d+\.00%$", done.stdout, re.M)
    assert re.search(r"precision +recall +f1-score +support", done.stdout)
    assert done.stdout.rstrip().endswith(f"The pictures are in {(tmp_path / 'pictures').resolve()}")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == PICTURES
    for name in PICTURES:
        height, width, _ = plt.imread(tmp_path / "pictures" / name).shape
        assert height >= 200
        assert width >= 600


def test_learning_works_and_repeats_with_any_number_of_threads(digits, run):
    options = ["--data", digits, "--epochs", "4", "--batch-size", "40", "--seed", "3"]
    one, two = run(*options, "--threads", "1"), run(*options, "--threads", "2")
    assert (one["model"].num_threads, two["model"].num_threads) == (1, 2)
    assert one["history"].history == two["history"].history
    np.testing.assert_array_equal(one["predictions"], two["predictions"])
    assert one["accuracy"] == one["history"].history["val_accuracy"][-1] == (one["answers"] == one["truth"]).mean()
    assert one["accuracy"] > 0.6


def test_another_seed_makes_another_network(digits, run, one_epoch):
    other = run("--data", digits, "--epochs", "1", "--seed", "4")
    assert one_epoch["options"].seed == 0
    assert other["history"].history != one_epoch["history"].history


def test_the_notebook_recipe_is_plain_sgd(few_digits, run):
    made = run("--data", few_digits, "--recipe", "notebook")
    optimizer = made["model"].optimizer
    assert optimizer is made["optimizer"]
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0, False, None)
    assert optimizer.learning_rate == 0.01
    assert made["batch_size"] == 128
    assert len(made["history"].epoch) == 20


def test_the_fast_recipe_warms_up_and_cools_down(few_digits, run):
    made = run("--data", few_digits, "--batch-size", "8")
    optimizer = made["model"].optimizer
    assert 0.8 <= optimizer.momentum < 1
    assert optimizer.nesterov
    assert optimizer.weight_decay > 0
    epochs, steps_per_epoch = len(made["history"].epoch), 8
    assert epochs <= 6
    assert optimizer.iterations == epochs * steps_per_epoch
    rates = [made["rate"](step) for step in range(epochs * steps_per_epoch + 1)]
    assert rates[0] == 0
    assert np.argmax(rates) == steps_per_epoch // 2
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[-2] > 0


def test_a_training_that_was_interrupted_at_once_shows_nothing(few_digits, run, monkeypatch):
    train_step = training.train_step

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return train_step(*args)

    monkeypatch.setattr(training, "train_step", interrupted)
    with pytest.raises(SystemExit, match="interrupted before the first epoch was done, so there is nothing to show"):
        run("--data", few_digits)


def test_build_makes_the_lenet_of_the_course(one_epoch):
    model = one_epoch["model"]
    kinds = ["Conv2D", "Activation", "MaxPooling2D"] * 2 + ["Flatten"] + ["Dense", "Activation"] * 2
    assert [type(layer).__name__ for layer in model.layers] == kinds
    assert [layer.output_shape for layer in model.layers] == [
        *[(28, 28, 20), (28, 28, 20), (14, 14, 20)],
        *[(14, 14, 50), (14, 14, 50), (7, 7, 50)],
        *[(2450,), (500,), (500,), (10,), (10,)],
    ]
    assert [layer.params["W"].shape for layer in model.layers if layer.params] == [
        (5, 5, 1, 20),
        (5, 5, 20, 50),
        (2450, 500),
        (500, 10),
    ]
    assert [type(layer.function).__name__ for layer in model.layers if hasattr(layer, "function")] == [
        *["ReLU"] * 3,
        "Softmax",
    ]
    assert isinstance(vars(one_epoch["LeNet"])["build"], staticmethod)

    other = one_epoch["LeNet"].build(width=20, height=12, depth=3, classes=7)
    assert (other.input_shape, other.output_shape) == ((12, 20, 3), (7,))


def test_other_images_and_other_labels(tmp_path, run, shown, capsys):
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", rng.integers(256, size=(30, 9, 12), dtype=np.uint8))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", np.tile(np.array([3, 5, 8], np.uint8), 10))
    made = run("--data", tmp_path, "--epochs", "1", "--output", tmp_path / "new" / "folder")
    assert made["model"].input_shape == (9, 12, 1)
    assert made["model"].output_shape == (3,)
    assert re.findall(r"^ +(\d) +\d\.\d{4}", capsys.readouterr().out, re.M) == ["3", "5", "8"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == PICTURES
    assert shown == []


def test_pictures_are_shown_where_there_is_a_screen(few_digits, run, shown, monkeypatch):
    monkeypatch.setattr(plt, "get_backend", lambda: "TkAgg")
    run("--data", few_digits, "--epochs", "1")
    assert shown == ["show"]
    assert len(plt.get_fignums()) == len(PICTURES)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--epochs", "0"], "argument --epochs: '0' is not an integer above 0"),
        (["--epochs", "many"], "argument --epochs: 'many' is not an integer above 0"),
        (["--batch-size", "-5"], "argument --batch-size: '-5' is not an integer above 0"),
        (["--threads", "0"], "argument --threads: '0' is not an integer above 0"),
        (["--recipe", "slow"], "argument --recipe: invalid choice: 'slow'"),
        (["--seed", "-1"], "seed"),
        (["--data", "nowhere"], "no such folder: nowhere"),
        (["--data", "."], "no MNIST-format files here"),
        (["--output", str(EXAMPLE)], "File exists"),
        (["--rounds", "3"], "unrecognized arguments: --rounds 3"),
    ],
)
def test_wrong_options_end_the_run_with_one_line(options, complaint, run, capsys):
    with pytest.raises(SystemExit) as end:
        run("--epochs", "1", *options)
    assert end.value.code == 2
    *usage, message = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: lenet_mnist.py")
    assert complaint in message


@pytest.mark.skipif(not Path("/proc/1").is_dir(), reason="there is no such folder, which takes no files")
def test_a_folder_that_takes_no_pictures_ends_the_run_at_once(run, capsys):
    with pytest.raises(SystemExit):
        run("--output", "/proc/1")
    assert "1_training_images.png" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["two classes", "a class of the test set alone", "small images"])
def test_data_that_the_lesson_cannot_use_ends_the_run(fault, few_digits, tmp_path, run, capsys):
    (x_train, y_train), (x_test, y_test) = mnist.load_data(few_digits)
    if fault == "small images":
        x_train, x_test = x_train[:, :3, :3], x_test[:, :3, :3]
    elif fault == "two classes":
        y_train, y_test = y_train % 2, y_test % 2
    else:
        y_test = y_test + 1
    for split, images, labels in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", np.ascontiguousarray(images))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", labels)
    with pytest.raises(SystemExit) as end:
        run("--data", tmp_path)
    assert end.value.code == 2
    assert "LeNet needs images of 4x4 or more, and 3 classes or more" in capsys.readouterr().err


def test_a_damaged_data_file_ends_the_run_with_its_name(few_digits, tmp_path, run, capsys):
    for file in few_digits.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SystemExit) as end:
        run("--data", tmp_path)
    assert end.value.code == 2
    assert "train-images-idx3-ubyte: truncated" in capsys.readouterr().err


def test_its_cells_run_one_by_one_in_a_notebook(few_digits, tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel-1234.json"])
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    source = EXAMPLE.read_text(encoding="utf-8")
    empty = "options_in_a_notebook: list[str] = []"
    assert source.count(empty) == 1
    source = source.replace(empty, f"options_in_a_notebook = ['--epochs', '1', '--data', {str(few_digits)!r}]")

    notebook = {"__name__": "__main__"}  # a notebook has no __file__
    for kind, text in as_cells(source):
        if kind == "code":
            exec(compile(text, "<cell>", "exec"), notebook)
    assert notebook["epochs"] == 1
    assert notebook["predictions"].shape == (40, 10)
    assert sorted(path.name for path in (tmp_path / "lenet_mnist_output").iterdir()) == PICTURES


def test_the_activities_come_in_order_each_under_its_heading_with_its_reasons():
    sections = sections_of(EXAMPLE.read_text(encoding="utf-8"))
    assert [heading for heading, _ in sections] == HEADINGS
    for heading, text in sections:
        if re.match(r"\d\.\d", heading):
            assert len(re.findall(r"[.?](?:\s|$)", text)) >= 2, f"{heading}: too little said on why"


def test_the_code_of_each_activity_follows_its_heading():
    belongs_to, heading = {}, ""
    for kind, text in as_cells(EXAMPLE.read_text(encoding="utf-8")):
        if kind == "markdown":
            heading = (re.findall(r"^### (\S+)", text, re.M) or [heading])[-1]
        else:
            belongs_to[heading] = belongs_to.get(heading, "") + text
    assert "import" in belongs_to["1.1"]
    assert "mnist.load_data(" in belongs_to["1.2"]
    assert ".shape" in belongs_to["1.3"]
    assert ".reshape(" in belongs_to["1.4"]
    assert "/ 255" in belongs_to["1.5"]
    assert "LabelBinarizer()" in belongs_to["1.6"]
    in_class = re.findall(r"# (2\.\d)", belongs_to["2.8"])
    assert in_class == ["2.1", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8"]
    assert "SGD(" in belongs_to["2.9"]
    assert "LeNet.build(" in belongs_to["2.10"]
    assert "model.compile(" in belongs_to["2.11"]
    assert "model.fit(" in belongs_to["3.1"]
    assert "predictions = model.predict(testData, batch_size=128)" in belongs_to["3.2"]
    assert "classification_report(" in belongs_to["3.3"]
    assert "plot_history(" in belongs_to["3.4"]


def test_each_activity_ends_with_its_review_questions_and_their_answers():
    reviews = [
        text for heading, text in sections_of(EXAMPLE.read_text(encoding="utf-8")) if heading == "Review questions"
    ]
    for review, questions in zip(reviews, QUESTIONS, strict=True):
        parts = re.split(r"^\*\*(.*)\*\*$", review, flags=re.MULTILINE)
        assert parts[1::2] == questions
        assert all(answer.strip() for answer in parts[2::2])
