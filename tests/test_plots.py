"""The pictures: each shows the figures that it was given, in the right place, and no two words lie on each other."""

import itertools
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from tinynet import layers, models, plots
from tinynet.callbacks import History

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
rng = np.random.default_rng(0)
IMAGES = rng.random((30, 12, 10, 1))
LABELS = np.arange(30) % 10


@pytest.fixture
def model() -> models.Sequential:
    return models.Sequential(
        [
            layers.Conv2D(3, 3, padding="same", activation="relu", input_shape=(12, 10, 1)),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, (3, 2), strides=(1, 2)),
            layers.Flatten(),
            layers.Dense(40, activation="relu"),
            layers.Dense(10),
            layers.Activation("softmax"),
        ],
        seed=1,
    )


def texts(figure: Figure) -> list[Text]:
    """The words of a figure that are seen: neither empty, nor of ticks outside the axes or of axes turned off."""
    FigureCanvasAgg(figure).draw()
    unseen = []
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not axis.axes.axison or not low <= tick.get_loc() <= high:
                unseen += tick.findobj(Text)
        unseen += [axis.label, axis.offsetText] if not axis.axes.axison else []
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if not any(text is other for other in unseen)]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def overlap(word: tuple[Text, Bbox], other_word: tuple[Text, Bbox]) -> bool:
    """Whether two words, each with its box, lie on each other; slanted ones are parallel lines of a certain height."""
    (text, box), (other, other_box) = word, other_word
    if text.get_rotation() == other.get_rotation() == 45:
        (x, y), (other_x, other_y) = (word.get_transform().transform(word.get_position()) for word in (text, other))
        height = text.get_fontsize() / 72 * text.figure.dpi
        return abs((x - other_x) - (y - other_y)) / np.sqrt(2) < height
    return box.overlaps(other_box)


def history(**figures: list[float]) -> History:
    made = History()
    for epoch in range(len(next(iter(figures.values())))):
        made.on_epoch_end(epoch, {name: values[epoch] for name, values in figures.items()})
    return made


def probabilities(predicted: np.ndarray, confidence: np.ndarray | float = 0.9) -> np.ndarray:
    """Rows of ten probabilities with the given one at the predicted class, the rest shared out."""
    p = np.repeat(((1 - confidence) / 9 * np.ones(len(predicted)))[:, None], 10, axis=1)
    p[np.arange(len(predicted)), predicted] = confidence
    return p


# Each picture at its default size, and with long names ----------------------------------------------------------------


def pictures_with_class_names(model: models.Sequential, class_names: list[str] | None) -> dict[str, Figure]:
    taken_for = (LABELS * 3) % 10
    p = probabilities(taken_for, rng.uniform(0.2, 1, 30))
    return {
        "images": plots.plot_images(IMAGES[:10], LABELS[:10], p[:10], class_names=class_names),
        "mistakes": plots.plot_mistakes(IMAGES, LABELS, p, count=6, class_names=class_names),
        "one mistake": plots.plot_mistakes(IMAGES, LABELS, p, count=1, class_names=class_names),
        "confusion": plots.plot_confusion_matrix(LABELS.repeat(99), taken_for.repeat(99), class_names=class_names),
        "feature maps": plots.plot_feature_maps(model, IMAGES[0], class_names=class_names),
    }


def pictures_without_class_names(model: models.Sequential) -> dict[str, Figure]:
    four = {"loss": [2, 1, 0.5], "accuracy": [0.1, 0.2, 0.3], "val_loss": [2, 1, 1], "val_accuracy": [0.2, 0.3, 0.4]}
    return {
        "history": plots.plot_history(history(**four)),
        "no mistakes": plots.plot_mistakes(IMAGES, LABELS, probabilities(LABELS)),
        "grid of filters": plots.plot_filters(model.layers[0]),
        "table of filters": plots.plot_filters(model.layers[2]),
        "model": plots.plot_model(model),
    }


@pytest.mark.parametrize("class_names", [(), None, CLASSES])
def test_no_words_lie_on_each_other_or_outside_the_figure(model: models.Sequential, class_names: list[str] | None):
    pictures = (
        pictures_without_class_names(model) if class_names == () else pictures_with_class_names(model, class_names)
    )
    for name, figure in pictures.items():
        seen = texts(figure)
        assert seen
        page = figure.bbox.padded(1)
        boxes = [text.get_window_extent() for text in seen]
        for text, box in zip(seen, boxes, strict=True):
            inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
            assert inside, f"{name}: {text.get_text()!r} is cut off"
        smaller = [box.padded(-1) for box in boxes]  # a pixel of another word is no overlap
        for first, second in itertools.combinations(zip(seen, smaller, strict=True), 2):
            assert not overlap(first, second), f"{name}: {first[0].get_text()!r} and {second[0].get_text()!r} overlap"


def test_figures_are_no_business_of_pyplot():
    script = """
import sys
import warnings
import tinynet
assert "matplotlib" not in sys.modules and "sklearn" not in sys.modules
figure = tinynet.plots.plot_images([[[0, 1]]], [7])
assert figure._repr_png_()[:4] == b"\\x89PNG"
assert "matplotlib.pyplot" not in sys.modules
"""
    options = ["-W", "error", "-W", "ignore::DeprecationWarning"]  # matplotlib's business
    subprocess.run([sys.executable, *options, "-c", script], check=True, timeout=60)


def test_pictures_go_into_figures_and_axes_that_are_given(model: models.Sequential):
    p = probabilities(LABELS)
    for draw in (
        lambda fig: plots.plot_history({"loss": [1.0]}, fig=fig),
        lambda fig: plots.plot_images(IMAGES[:4], fig=fig),
        lambda fig: plots.plot_mistakes(IMAGES, LABELS[::-1], p, count=4, fig=fig),
        lambda fig: plots.plot_mistakes(IMAGES, LABELS, p, fig=fig),
        lambda fig: plots.plot_feature_maps(model, IMAGES[0], fig=fig),
    ):
        figure = Figure(layout="constrained")
        left, right = figure.subfigures(1, 2)
        assert draw(left) is figure
        assert left.findobj(Text)
        assert not right.axes
    for draw in (
        lambda ax: plots.plot_confusion_matrix(LABELS, LABELS, ax=ax),
        lambda ax: plots.plot_filters(model.layers[0], ax=ax),
        lambda ax: plots.plot_model(model, ax=ax),
    ):
        figure = Figure(layout="constrained")
        left, right = figure.subplots(1, 2)
        assert draw(left) is figure
        assert left.has_data()
        assert not right.has_data()


# Training curves ------------------------------------------------------------------------------------------------------


def test_history_shows_each_figure_by_epoch_from_1():
    figure = plots.plot_history(history(loss=[3.0, 2.0], accuracy=[0.5, 0.6], val_loss=[4.0, 1.0]))
    loss, accuracy = figure.axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert curves == {"training": [[1, 3.0], [2, 2.0]], "validation": [[1, 4.0], [2, 1.0]]}
    assert [line.get_label() for line in accuracy.lines] == ["training"]
    assert loss.get_ylabel() == "loss (nats a sample)"
    assert accuracy.get_ylabel() == "accuracy"


def test_history_counts_on_from_the_initial_epoch():
    later = History()
    later.on_epoch_end(7, {"loss": 1.0})
    assert plots.plot_history(later).axes[0].lines[0].get_xdata().tolist() == [8]


def test_figures_that_are_there_in_some_epochs_only_stand_at_these():
    some = History()
    for epoch, logs in ((4, {}), (5, {"f1": 0.5}), (6, {"val_f1": 0.7}), (7, {"f1": 0.6, "val_f2": 0.9})):
        some.on_epoch_end(epoch, {"loss": 1.0, **logs})
    curves = [[line.get_xydata().tolist() for line in ax.lines] for ax in plots.plot_history(some).axes]
    assert curves == [
        [[[5, 1.0], [6, 1.0], [7, 1.0], [8, 1.0]]],
        [[[6, 0.5], [8, 0.6]], [[7, 0.7]]],
        [[[8, 0.9]]],
    ]
    assert (some.epochs_of("f1"), some.epochs_of("f3")) == ([5, 7], [])
    with pytest.raises(ValueError, match=r"there are 2 figures of 'f1', but 4 of others, .* give it the History"):
        plots.plot_history(some.history)


@pytest.mark.parametrize("value", ["high", None, [0.5], {"a": 1.0}, np.zeros(2)])
def test_figures_that_are_no_numbers_are_refused_by_name(value):
    with pytest.raises(TypeError, match=r"a figure of 'f1' is no number, but .*; leave it out"):
        plots.plot_history(history(loss=[3.0], f1=[value]))


@pytest.mark.parametrize(
    "figures", [{"loss": 0.5}, {"loss": None}, {"loss": "high"}, {"loss": np.array(1.0)}, {1: [0.5]}]
)
def test_a_dictionary_that_is_no_history_is_refused(figures):
    with pytest.raises(TypeError, match=r"plot_history takes a list of figures for each name, got .* for ('loss'|1)"):
        plots.plot_history(figures)


def test_a_history_of_two_calls_of_fit_is_one_curve():
    twice = History()
    for epoch in (0, 1, 0, 1):
        if epoch == 0:
            twice.on_train_begin()
        twice.on_epoch_end(epoch, {"loss": 1.0})
    assert twice.epoch == [0, 1]
    assert plots.plot_history(twice).axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_figures_that_were_put_into_a_history_later_are_those_of_all_epochs():
    some = History()
    for epoch in (4, 5):
        some.on_epoch_end(epoch, {"loss": 1.0})
    some.history["mine"] = [0.5, 0.6]
    assert plots.plot_history(some).axes[1].lines[0].get_xdata().tolist() == [5, 6]


def test_the_two_curves_differ_by_more_than_colour():
    training, validation = plots.plot_history({"loss": [1.0], "val_loss": [1.0]}).axes[0].lines
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()


def test_history_of_nothing_is_refused(model: models.Sequential):
    with pytest.raises(ValueError, match="no epochs"):
        plots.plot_history(History())
    with pytest.raises(TypeError, match="Sequential"):
        plots.plot_history(model)


# Images ---------------------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> list[tuple[str, np.ndarray]]:
    return [(ax.get_title(), np.asarray(ax.images[0].get_array())) for ax in figure.axes if ax.images]


def test_images_stand_under_their_labels_and_wrong_predictions_stand_out():
    figure = plots.plot_images(IMAGES[:3], [1, 2, 3], [1, 5, 3])
    titles = [ax.title for ax in figure.axes if ax.images]
    assert [title.get_text() for title in titles] == ["1", "5 (is 2)", "3"]
    right, wrong, also_right = (to_rgb(title.get_color()) for title in titles)
    assert right == also_right == to_rgb("black")
    assert wrong[0] > 0.5 > wrong[1] > wrong[2], "reddish"
    for (_, pixels), image in zip(panels(figure), IMAGES, strict=False):
        assert np.array_equal(pixels, image[..., 0])


def test_images_take_every_kind_of_label():
    one_hot, p = np.eye(10)[LABELS], probabilities(LABELS[::-1])
    expected = [str(a) if a == b else f"{a} (is {b})" for a, b in zip(LABELS[::-1], LABELS, strict=True)]
    assert [title for title, _ in panels(plots.plot_images(IMAGES, one_hot, p))] == expected
    assert [title for title, _ in panels(plots.plot_images(IMAGES, LABELS[:, None], LABELS[::-1]))] == expected
    assert [title for title, _ in panels(plots.plot_images(IMAGES[:2], predictions=["cat", "dog"]))] == ["cat", "dog"]
    named = plots.plot_images(IMAGES[:2], [9, 0], [9, 1], class_names=CLASSES)
    assert [title for title, _ in panels(named)] == ["Ankle boot", "Trouser (is T-shirt/top)"]


def test_images_share_one_scale():
    figure = plots.plot_images(np.array([[[0.0, 1.0]], [[2.0, 8.0]]]))
    assert {ax.images[0].get_clim() for ax in figure.axes} == {(0.0, 8.0)}


def test_colour_images_of_any_range_are_shown_within_it():
    colours = rng.normal(size=(2, 4, 4, 3))
    shown = np.stack([pixels for _, pixels in panels(plots.plot_images(colours))])
    assert shown.min() == 0
    assert shown.max() == 1
    assert np.allclose(shown * np.ptp(colours) + colours.min(), colours)


def test_bad_columns_are_refused_by_the_name_of_the_plot():
    with pytest.raises(ValueError, match=r"^plot_images: columns must be at least 1, got 0"):
        plots.plot_images(np.zeros((4, 8, 8)), columns=0)
    with pytest.raises(ValueError, match=r"^plot_mistakes: columns must be at least 1, got 0"):
        plots.plot_mistakes(np.zeros((1, 8, 8)), [0], [[0.2, 0.8]], columns=0)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (12, 4), (20, 5), (25, 5), (7, 4), (30, 6)])
def test_grids_are_full_where_they_can_be(count: int, columns: int):
    figure = plots.plot_images(IMAGES[:count])
    assert figure.axes[0].get_gridspec().ncols == columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES[0, ..., 0],), r"One image is images\[None\]"),
        ((IMAGES, [1, 2]), "30 images, but labels has 2"),
        ((IMAGES, LABELS, LABELS[:4]), "30 images, but predictions has 4"),
        ((IMAGES[:0],), "empty"),
        ((np.zeros((401, 2, 2)),), "401 images are too many"),
        ((IMAGES * np.nan,), "3,600 values that are NaN"),
        ((np.zeros((2, 3, 3, 2)),), r"1 or 3 channels at the end, got \(2, 3, 3, 2\)"),
        ((IMAGES, np.zeros((30, 2, 2))), r"labels must have shape \(n,\) or \(n, classes\), got \(30, 2, 2\)"),
    ],
)
def test_images_that_make_no_grid_are_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        plots.plot_images(*arguments)


def test_images_of_words_are_refused(model: models.Sequential):
    with pytest.raises(TypeError, match="plot_images: images must be an array of numbers, got dtype <U3"):
        plots.plot_images([["cat", "dog"]])
    with pytest.raises(TypeError, match="plot_feature_maps: image must be an array of numbers, got dtype <U3"):
        plots.plot_feature_maps(model, ["cat", "dog"])


def test_labels_without_a_name_are_refused():
    for label in (10, -1, "cat"):
        with pytest.raises(ValueError, match=r"class_names has 10 names, so labels must be in 0\.\.9, got"):
            plots.plot_images(IMAGES[:1], [label], class_names=CLASSES)


def test_mistakes_come_in_order_of_confidence():
    predicted, confidence = LABELS.copy(), np.full(30, 0.99)
    predicted[[4, 8, 15]] = [0, 1, 2]
    confidence[[4, 8, 15]] = [0.7, 0.99999, 0.8]
    figure = plots.plot_mistakes(IMAGES, LABELS, probabilities(predicted, confidence), count=2)
    assert [title for title, _ in panels(figure)] == ["1 (99.99%)\nis 8", "2 (80.00%)\nis 5"]
    for (_, pixels), i in zip(panels(figure), (8, 15), strict=True):
        assert np.array_equal(pixels, IMAGES[i, ..., 0])
    assert "Mistakes: 3 of 30 images; 2 shown, the most confident first" in figure.get_suptitle()


def test_no_mistakes_are_good_news():
    assert words(plots.plot_mistakes(IMAGES, LABELS, probabilities(LABELS))) == ["No mistakes among 30 images"]


def test_labels_of_another_type_are_the_same_classes():
    floats = plots.plot_images(IMAGES[:2], np.array([5.0, 3.0]), np.array([5, 4]))
    assert [title for title, _ in panels(floats)] == ["5", "4 (is 3)"]
    flags = plots.plot_images(IMAGES[:2], np.array([True, False]), np.array([1, 1]))
    assert [title for title, _ in panels(flags)] == ["1", "1 (is 0)"]
    texts = plots.plot_images(IMAGES[:2], ["5", "3"], [5, 4])
    assert [title for title, _ in panels(texts)] == ["5", "4 (is 3)"]
    twins = plots.plot_images(IMAGES[:2], [0, 1], [1, 1], class_names=["cat", "cat"])
    assert [title for title, _ in panels(twins)] == ["cat (is cat)", "cat"]
    assert words(plots.plot_mistakes(IMAGES, LABELS * 1.0, probabilities(LABELS))) == ["No mistakes among 30 images"]
    with pytest.raises(TypeError, match="plot_mistakes: labels must be whole numbers, as the columns of probabilities"):
        plots.plot_mistakes(IMAGES, LABELS.astype(str), probabilities(LABELS))
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.9, got .*1\.7"):
        plots.plot_images(IMAGES[:1], [1.7], class_names=CLASSES)


def test_predictions_that_are_not_finite_are_refused():
    p = probabilities(LABELS)
    p[3] = np.nan
    for plot in (
        lambda: plots.plot_images(IMAGES, LABELS, p),
        lambda: plots.plot_mistakes(IMAGES, LABELS, p),
        lambda: plots.plot_confusion_matrix(LABELS, p),
    ):
        with pytest.raises(ValueError, match=r"(predictions|probabilities) has 10 values that are NaN or infinite"):
            plot()


def test_a_figure_of_ones_own_keeps_its_title():
    figure = Figure()
    figure.suptitle("Mine")
    plots.plot_images(IMAGES[:4], fig=figure)
    assert figure.get_suptitle() == "Mine"


def test_class_names_may_be_numbers():
    assert plots.plot_confusion_matrix([0, 1, 1], [0, 1, 0], class_names=np.array([4, 7])) is not None


def test_mistakes_need_probabilities():
    with pytest.raises(ValueError, match=r"floats of shape \(30, classes\), as predict returns them"):
        plots.plot_mistakes(IMAGES, LABELS, LABELS)


# Confusion matrix -----------------------------------------------------------------------------------------------------


def test_confusion_matrix_counts_true_classes_in_rows():
    figure = plots.plot_confusion_matrix([3, 3, 3, 5, 7], [3, 5, 5, 5, 3])
    (ax,) = figure.axes
    counts = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
    assert counts == {(0, 0): "1", (0, 1): "2", (1, 1): "1", (2, 0): "1"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["3", "5", "7"]
    assert ax.get_title() == "Mistakes: 3 of 5 (40.00% right)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    colours = np.asarray(ax.images[0].get_array())[..., :3]
    assert colours[0, 2].tolist() == [1, 1, 1]
    assert colours[1, 1, 2] > colours[1, 1, 0], "right answers are blue"
    assert colours[0, 1, 0] > colours[0, 1, 2], "mistakes are orange"
    assert colours[0, 1].sum() < colours[2, 0].sum(), "two mistakes are darker than one"


def test_counts_stand_out_from_their_cells():
    true = np.repeat(np.arange(10), 20)
    (ax,) = plots.plot_confusion_matrix(true, np.where(rng.random(200) < 0.5, true, rng.integers(0, 10, 200))).axes
    cells = np.asarray(ax.images[0].get_array())[..., :3] @ [0.2126, 0.7152, 0.0722]
    for text in ax.texts:
        column, row = text.get_position()
        assert abs(np.dot(to_rgb(text.get_color()), [0.2126, 0.7152, 0.0722]) - cells[row, column]) > 0.4


def test_confusion_matrix_shows_every_named_class():
    figure = plots.plot_confusion_matrix(np.eye(10)[[2]], probabilities(np.array([9])), class_names=CLASSES)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == CLASSES
    assert figure.axes[0].texts[0].get_position() == (9, 2)


@pytest.mark.parametrize("labels", [["2", "0", "2"], np.array(["2", "0", "2"], object), [2.0, 0.0, 2.0]])
@pytest.mark.parametrize("predictions", [["2", "2", "2"], [2, 2, 2], np.eye(3)[[2, 2, 2]]])
@pytest.mark.parametrize("names", [None, ["cat", "cow", "dog"]])
def test_confusion_matrix_takes_numbers_as_text(labels, predictions, names):
    (ax,) = plots.plot_confusion_matrix(labels, predictions, class_names=names).axes
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert ticks == (names or ["0", "2"])
    zero, two = (ticks.index("cat"), ticks.index("dog")) if names else (0, 1)
    counts = {text.get_position()[::-1]: text.get_text() for text in ax.texts}
    assert counts == {(zero, two): "1", (two, two): "2"}
    assert ax.get_title() == "Mistakes: 1 of 3 (66.67% right)"


@pytest.mark.parametrize("plot", [plots.plot_confusion_matrix, lambda *two: plots.plot_images(IMAGES[:2], *two)])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([None, 1], TypeError, "labels must be all numbers or all text, got dtype object"),
        (np.array(["cat", np.nan], object), TypeError, "labels must be all numbers or all text, got dtype object"),
        ([b"cat", b"dog"], TypeError, "labels must be all numbers or all text, got dtype .S3"),
        ([[1, 2], [3]], ValueError, r"labels must have shape \(n,\) or \(n, classes\), not unlike rows"),
    ],
)
def test_labels_that_are_neither_numbers_nor_text_are_refused(plot, labels, error, message):
    with pytest.raises(error, match=message):
        plot(labels, [1, 2])


def test_confusion_matrices_of_nothing_or_too_much_are_refused():
    with pytest.raises(ValueError, match=r"predictions must be classes, whole numbers or text, got 0\.7"):
        plots.plot_confusion_matrix([1, 0], [1.0, 0.7])
    with pytest.raises(ValueError, match=r"class_names has 2 names, so labels must be in 0\.\.1, got .*'cat'"):
        plots.plot_confusion_matrix(["cat"], [0], class_names=["cat", "dog"])
    with pytest.raises(ValueError, match="a prediction for each label, got 3 for 2"):
        plots.plot_confusion_matrix([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="got 0 for 0"):
        plots.plot_confusion_matrix([], [])
    with pytest.raises(ValueError, match="101 classes are too many"):
        plots.plot_confusion_matrix(np.arange(101), np.arange(101))


def test_many_classes_are_shown_without_their_counts():
    few, many = (plots.plot_confusion_matrix(np.arange(n), np.arange(n)).axes[0] for n in (20, 100))
    assert len(few.texts) == 20
    assert len(many.texts) == 0
    assert len(many.get_xticklabels()) == 100


# Inside the network ---------------------------------------------------------------------------------------------------


def test_filters_of_one_channel_stand_in_a_grid():
    conv = layers.Conv2D(7, (2, 3))
    conv.build((6, 6, 1), np.random.default_rng(0))
    conv.params["W"][0, 0, 0, 0] = 5
    ax = plots.plot_filters(conv).axes[0]
    picture = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert picture.shape == (2 * 3 + 1, 4 * 4 + 1)
    for i in range(7):
        row, column = 3 * (i // 4) + 1, 4 * (i % 4) + 1
        assert np.array_equal(picture[row : row + 2, column : column + 3], conv.params["W"][:, :, 0, i])
    assert np.isfinite(picture).sum() == 7 * 6, "the frames and the eighth place are empty"
    assert ax.images[0].get_clim() == (-5, 5), "zero is white"


def test_filters_of_several_channels_stand_in_a_table(model: models.Sequential):
    conv = model.layers[2]
    ax = plots.plot_filters(conv).axes[0]
    picture = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert np.array_equal(picture[1 + 2 * 4 : 4 + 2 * 4, 1 + 3 * 3 : 3 + 3 * 3], conv.params["W"][:, :, 2, 3])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("filter", "input channel")
    for tick, text in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True):
        assert tick == 3 * int(text.get_text()) + 1.5


def test_what_has_no_filters_is_refused(model: models.Sequential):
    with pytest.raises(TypeError, match=r"Conv2D, such as model.layers\[0\], got MaxPooling2D"):
        plots.plot_filters(model.layers[1])
    with pytest.raises(ValueError, match="no weights yet"):
        plots.plot_filters(layers.Conv2D(2, 3))
    wide = layers.Conv2D(128, 1)
    wide.build((1, 1, 64), np.random.default_rng(0))
    with pytest.raises(ValueError, match="8,192 squares"):
        plots.plot_filters(wide)
    model.layers[0].params["W"][0] = np.nan
    with pytest.raises(ValueError, match="9 values that are NaN or infinite"):
        plots.plot_filters(model.layers[0])


@pytest.mark.parametrize("image", [IMAGES[0], IMAGES[:1], IMAGES[0, ..., 0]])
def test_feature_maps_are_the_layers_outputs(model: models.Sequential, image: np.ndarray):
    figure = plots.plot_feature_maps(model, image, max_maps=2)
    rows = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in rows] == [
        "input: 12 × 10 × 1",
        "conv2d: 12 × 10 × 3",
        "max_pooling2d: 6 × 5 × 3",
        "conv2d_1: 4 × 2 × 4",
        "flatten: 32",
        "dense: 40",
        "dense_1: 10",
        "activation: 10",
    ]
    y = IMAGES[:1].astype(np.float32)
    for ax, layer in zip(rows, [None, *model.layers], strict=True):
        y = y if layer is None else layer.forward(y)[0]
        if ax is rows[-1]:
            heights = [bar.get_height() for bar in ax.patches if isinstance(bar, Rectangle)]
            assert heights == y[0].tolist()
        elif y.ndim == 4:
            for i, shown in enumerate(ax.images):
                assert np.array_equal(shown.get_array(), y[0, :, :, i])
                assert shown.get_clim() == (y.min(), y.max())
        else:
            assert np.array_equal(np.ravel(ax.images[0].get_array()), y[0])


def test_feature_maps_show_as_many_channels_as_asked(model: models.Sequential):
    wide = models.Sequential([layers.Conv2D(20, 3, input_shape=(5, 5, 1)), layers.Flatten(), layers.Dense(31)], seed=0)
    figure = plots.plot_feature_maps(wide, np.ones((5, 5)), max_maps=7)
    maps = next(ax for ax in figure.axes if ax.get_title(loc="left") == "conv2d: 3 × 3 × 20, the first 7 channels")
    assert len(maps.images) == 7
    last = next(ax for ax in figure.axes if ax.get_title(loc="left") == "dense: 31")
    assert last.images, "a long last vector is a strip"


def test_outputs_that_are_no_probabilities_are_not_called_so(model: models.Sequential):
    logits = models.Sequential(model.layers[:-1])
    shown = [plots.plot_feature_maps(network, IMAGES[0]).axes for network in (model, logits)]
    labels = [next(ax for ax in axes if ax.get_xlabel() == "class").get_ylabel() for axes in shown]
    assert labels == ["probability", "output"]


def test_images_that_the_model_does_not_take_are_refused(model: models.Sequential):
    with pytest.raises(ValueError, match=re.escape("takes one image of shape (12, 10, 1), got (10, 12)")):
        plots.plot_feature_maps(model, np.zeros((10, 12)))
    with pytest.raises(ValueError, match="not built"):
        plots.plot_feature_maps(models.Sequential([layers.Dense(2)]), np.zeros(3))
    with pytest.raises(ValueError, match="input has 120 values that are NaN"):
        plots.plot_feature_maps(model, np.full((12, 10), np.nan))
    with pytest.raises(TypeError, match="takes a Sequential, got Conv2D"):
        plots.plot_feature_maps(model.layers[0], IMAGES[0])
    deep = models.Sequential([layers.Input((1,)), *(layers.ReLU() for _ in range(41))])
    with pytest.raises(ValueError, match=r"41 layers are too many for one picture \(at most 40\)"):
        plots.plot_feature_maps(deep, [1.0])


# Architecture ---------------------------------------------------------------------------------------------------------


def test_the_drawing_names_every_layer_with_shape_and_parameters(model: models.Sequential):
    (ax,) = plots.plot_model(model).axes
    rows: dict[int, list[str]] = {}  # 0.8 inches each
    for text in ax.texts:
        rows.setdefault(round(text.get_position()[1] / 0.8), []).append(text.get_text())
    table = [tuple(word for word in row if word) for _, row in sorted(rows.items())]
    assert table == [
        ("layer", "output", "parameters"),
        ("input", "12 × 10 × 1", "–"),
        ("conv2d", "3 filters of 3 × 3, padding same, ReLU", "12 × 10 × 3", "30"),
        ("max_pooling2d", "max of 2 × 2", "6 × 5 × 3", "–"),
        ("conv2d_1", "4 filters of 3 × 2, padding valid, strides 1 × 2", "4 × 2 × 4", "76"),
        ("flatten", "32", "–"),
        ("dense", "40 units, ReLU", "40", "1,320"),
        ("dense_1", "10 units", "10", "410"),
        ("activation", "Softmax", "10", "–"),
        ("total", "1,836"),
    ]


def test_names_with_dollars_are_no_formulas():
    model = models.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(2, 3, name="a$b_{c$"), layers.Flatten(), layers.Dense(3, name="$d^{$")]
    )
    figures = [
        plots.plot_model(model),
        plots.plot_filters(model.layers[0]),
        plots.plot_feature_maps(model, np.zeros((8, 8, 1))),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()  # which reads formulas
        assert "a$b_{c$" in "".join(text.get_text() for text in figure.findobj(Text))


def test_the_drawing_says_what_a_layer_does():
    kinds = [
        layers.Input((8, 8, 2)),
        layers.AveragePooling2D(2, strides=3, padding="same"),
        layers.Dropout(0.25),
        layers.Activation("tanh"),
        models.Sequential([layers.Flatten(), layers.ReLU()]),
    ]
    said = [text.get_text() for text in plots.plot_model(models.Sequential(kinds)).axes[0].texts]
    for words in ("mean of 2 × 2, strides 3 × 3, padding same", "drops 25% in training", "Tanh", "2 layers"):
        assert words in said


def test_the_drawing_has_a_sheet_for_each_channel_and_longer_bars_for_more_units():
    network = models.Sequential(
        [layers.Input((8, 4, 2)), layers.Conv2D(300, 1), layers.Flatten(), layers.Dense(5)], seed=0
    )
    (ax,) = plots.plot_model(network).axes
    boxes = {(box.get_y(), box.get_x(), box.get_width(), box.get_height()) for box in ax.patches if box.get_fill()}
    sheets = [box for box in boxes if box[3] > 0.13]
    assert len(sheets) == 2 + 7
    for *_, width, height in sheets:
        assert height == pytest.approx(2 * width)
    (_, _, flatten, _), (_, _, dense, _) = sorted(boxes - set(sheets))
    assert flatten > dense


def test_tables_of_numbers_have_a_row_and_no_box():
    (ax,) = plots.plot_model(models.Sequential([layers.Input((4, 3)), layers.Tanh(name="squash")])).axes
    said = [text.get_text() for text in ax.texts]
    assert "squash" in said
    assert said.count("4 × 3") == 2
    assert not ax.patches


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="not built"):
        plots.plot_model(models.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="takes a Sequential, got list"):
        plots.plot_model([layers.Dense(2)])
    deep = models.Sequential([layers.Input((1,)), *(layers.ReLU() for _ in range(61))])
    with pytest.raises(ValueError, match="61 layers are too many"):
        plots.plot_model(deep)


def test_class_names_and_figures_with_dollars_are_no_formulas(model: models.Sequential):
    """As formulas, "$^$" could not be drawn, and prices would lose their signs."""
    names = ["$5", "$10", "$^$", *"abcdefg"]
    p = probabilities(LABELS[::-1])
    for figure in (
        plots.plot_images(IMAGES[:10], range(10), class_names=names),
        plots.plot_mistakes(IMAGES, LABELS, p, class_names=names),
        plots.plot_confusion_matrix(LABELS, LABELS[::-1], class_names=names),
        plots.plot_feature_maps(model, IMAGES[0], class_names=names),
        plots.plot_history({"$^$": [1.0]}),
    ):
        FigureCanvasAgg(figure).draw()
        assert "$^$" in "".join(text.get_text() for text in figure.findobj(Text))


def test_a_confusion_matrix_of_one_class_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_confusion_matrix([0], [0])
