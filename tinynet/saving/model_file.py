"""Models in files: what of a model is written, and a model made again from it.

The arrays are "weights/LAYER/W" and "optimizer/SLOT/LAYER/W"; the description is, for a whole model,

    format        1, the version of all this
    holds         "model", or "weights" for those alone
    name, input_shape, layers     what the network is
    compiled      the optimizer, its number of steps, the loss and the metrics; null before compile
    epoch         the number of whole epochs done
    random        the state of the model's generator, which shuffles samples and drops inputs

and for weights the first two lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinynet.initializers import Initializer
from tinynet.layers.layer import Array, Layer, check_parameter
from tinynet.layers.weighted import Weighted
from tinynet.losses import Loss
from tinynet.metrics import Accuracy
from tinynet.network import Network
from tinynet.optimizers import Optimizer
from tinynet.saving.configuration import KNOWN, LARGEST_INTEGER, MAX_DEPTH, Classes, classes_in, construct, describe
from tinynet.saving.file import ModelFileError, Path, read, write
from tinynet.validation import check_int, check_shape, check_writeable, reject_arguments

if TYPE_CHECKING:
    from tinynet.models import Sequential

FORMAT = 1
MAX_LAYERS = 1000
_MODEL_KEYS = {"format", "holds", "name", "input_shape", "layers", "compiled", "epoch", "random"}


def save_model(model: Sequential, path: Path, *, overwrite: bool = True) -> None:
    """Write all of a model into one file: see ``Sequential.save``."""
    weights, state = _weights_of(model), {}
    if len({param.dtype for param in weights.values()}) > 1:
        raise TypeError("save: the weights are of both types, float32 and float64; model.astype makes them alike.")
    classes, compiled = dict(KNOWN), None
    if model.optimizer is not None:
        state = {f"optimizer/{name}": array for name, array in _state_of(model.optimizer, model.params).items()}
        compiled = {
            "optimizer": _describe(model.optimizer, classes),
            "iterations": _count(model.optimizer.iterations, "iterations"),
            "loss": _describe(model.loss, classes),
            "metrics": [_describe(metric, classes) for metric in model.metrics],
        }
    description = {
        "format": FORMAT,
        "holds": "model",
        "name": model.name,
        "layers": _describe_layers(model, classes),
        "input_shape": model.input_shape,
        "compiled": compiled,
        "epoch": _count(model.epoch, "epoch"),
        "random": _describe_random(model.rng),
    }
    _check_made_again(model, description, weights, classes)
    write(path, weights | state, description, overwrite=overwrite)


def save_weights(model: Sequential, path: Path, *, overwrite: bool = True) -> None:
    """Write the weights of a model into a file: see ``Sequential.save_weights``."""
    write(path, _weights_of(model), {"format": FORMAT, "holds": "weights"}, overwrite=overwrite)


def load_model(
    filepath: Path,
    custom_objects: Mapping[str, type[Any]] | None = None,
    compile: bool = True,
    **unsupported: Any,
) -> Sequential:
    """The model that ``model.save`` wrote: its layers and weights, optimizer and state, epoch and random state.

    Loading runs nothing from the file. The file is checked whole, also for what no damage would do, such as sizes that
    would take more memory than the file itself.

    Args:
        filepath: the file.
        custom_objects: your own classes by name, of layers, optimizers and the like. They need to keep each argument of
            their constructor as an attribute of the same name; what it passes on in ``**options``, its base keeps.
        compile: whether to compile the model as it was, or to leave out optimizer, loss and metrics.

    Raises:
        ModelFileError: the file is damaged, or not one that ``model.save`` wrote; it names the file and the fault.
        TypeError: one of ``custom_objects`` is no class.
        OSError: the file cannot be read, or there is none.

    Example:
        >>> import os, tempfile
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     same = load_model(os.path.join(folder, "model.safetensors"))
        >>> bool((same.predict(np.eye(4)) == model.predict(np.eye(4))).all())
        True
    """
    reject_arguments("load_model", unsupported, only={"safe_mode": (True, None)})
    for name, kind in (custom_objects or {}).items():
        if not isinstance(kind, type):
            raise TypeError(f"load_model: custom_objects[{name!r}] must be a class, got {kind!r}.")
    tensors, description = read(filepath)
    try:
        _check_version(description)
        if description.get("holds") == "weights":
            raise ValueError("it holds weights only; build the network, and use model.load_weights.")
        if description.keys() != _MODEL_KEYS or description["holds"] != "model":
            raise ValueError("its description is not that of a model.")
        return _make_model(description, tensors, {**KNOWN, **(custom_objects or {})}, compile)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ModelFileError(filepath, error) from error


def load_weights(model: Sequential, path: Path) -> None:
    """Copy the weights from a file into a model: see ``Sequential.load_weights``."""
    tensors, description = read(path)
    try:
        _check_version(description)
        weights = _named("weights/", tensors)
        _check_arrays(weights, model.params, "the model")
    except ValueError as error:
        raise ModelFileError(path, error) from error
    for name, param in model.params.items():
        check_writeable("load_weights", name, param)
    for name, param in model.params.items():
        param[...] = weights[name]


# A network ------------------------------------------------------------------------------------------------------------


def _describe_layers(network: Network, classes: dict[str, type[Any]]) -> list[dict[str, Any]]:
    kind = type(network)
    if (kind.forward, kind.backward) != (Network.forward, Network.backward) or "forward" in vars(network):
        raise TypeError(
            f"{network} cannot be saved: it has a forward or backward pass of its own; save_weights keeps its weights."
        )
    described = []
    for layer in network.layers:
        if isinstance(layer, Network):
            what = {"class": "Sequential", "arguments": {"layers": _describe_layers(layer, classes)}}
        else:
            what = _describe(layer, classes)
        described.append({"name": layer.name, **what})
    return described


def _describe(thing: Any, classes: dict[str, type[Any]]) -> dict[str, Any]:
    """``describe``, which adds the classes to those that the file will name."""
    described = describe(thing)
    for kind in classes_in(thing, described):
        if classes.setdefault(kind.__name__, kind) is not kind:
            raise TypeError(
                f"{thing} cannot be saved: the model has two classes named {kind.__name__}; give one another name."
            )
    return described


def _add_layers(network: Network, data: Any, classes: Classes, depth: int = 0) -> None:
    """Add the layers of a description to a network that has no input shape, so that they are not built yet."""
    from tinynet.models import Sequential

    if depth > MAX_DEPTH:
        raise ValueError(f"there are more than {MAX_DEPTH} networks in one another.")
    if not isinstance(data, list) or len(data) > MAX_LAYERS:
        raise ValueError(f"the layers are no list of up to {MAX_LAYERS}.")
    for item in data:
        if not isinstance(item, dict) or item.keys() != {"name", "class", "arguments"}:
            raise ValueError("a layer needs a name, a class and arguments.")
        name, what = item["name"], {key: item[key] for key in ("class", "arguments")}
        if name is None:
            raise ValueError(f"a layer of class {what['class']!r:.60} has no name; every layer needs one.")
        layer: Layer
        if what["class"] == "Sequential":
            if not isinstance(what["arguments"], dict) or what["arguments"].keys() != {"layers"}:
                raise ValueError("a network takes layers.")
            layer = Sequential(name=name, seed=0)
            _add_layers(layer, what["arguments"]["layers"], classes, depth + 1)
        else:
            layer = construct(what, Layer, classes)
            layer.name = Layer(name=name).name  # which checks it
        network.add(layer)


class _FromFile(Initializer):
    """Gives a layer the array of a file in place of random numbers: before any memory is taken, shapes must agree."""

    def __init__(self, name: str, arrays: Mapping[str, Array]):
        super().__init__()
        self.name, self.arrays = name, arrays

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        array = self.arrays.get(self.name)
        if array is None or array.shape != shape:
            found = "is missing" if array is None else f"has shape {array.shape}"
            raise ValueError(f"{self.name!r} {found}; its layer needs shape {shape}.")
        return np.array(array)


def _build(model: Sequential, input_shape: tuple[int, ...], weights: Mapping[str, Array]) -> Sequential:
    """The model, built with these weights, or a copy if they are float64."""
    layers = dict(_weighted(model))
    initializers = [(layer, layer.kernel_initializer, layer.bias_initializer) for layer in layers.values()]
    for name, layer in layers.items():
        layer.kernel_initializer = _FromFile(f"{name}/W", weights)
        layer.bias_initializer = _FromFile(f"{name}/b", weights)
    model.build(input_shape)
    for layer, kernel_initializer, bias_initializer in initializers:
        layer.kernel_initializer, layer.bias_initializer = kernel_initializer, bias_initializer
    if any(array.dtype != np.float32 for array in weights.values()):
        model = model.astype(np.float64)
    _check_arrays(weights, model.params, "its network")
    for name, param in model.params.items():
        check_writeable("its network", name, param)  # a layer of one's own may have made it so
    for name, param in model.params.items():
        param[...] = weights[name]  # those of custom layers, too
    return model


def _weighted(network: Network, prefix: str = "") -> list[tuple[str, Weighted]]:
    """The layers that draw weights, by name."""
    found: list[tuple[str, Weighted]] = []
    for layer in network.layers:
        if isinstance(layer, Network):
            found += _weighted(layer, f"{prefix}{layer.name}/")
        elif isinstance(layer, Weighted):
            found.append((f"{prefix}{layer.name}", layer))
    return found


# A model --------------------------------------------------------------------------------------------------------------


def _make_model(
    description: dict[str, Any], tensors: Mapping[str, Array], classes: Classes, compile: bool
) -> Sequential:
    from tinynet.models import Sequential

    model = Sequential(name=description["name"], seed=0)
    _add_layers(model, description["layers"], classes)
    weights, state = _named("weights/", tensors), _named("optimizer/", tensors)
    if len(weights) + len(state) != len(tensors):
        raise ValueError("it has arrays that are neither weights nor the optimizer's.")
    if len({array.dtype for array in weights.values()}) > 1:
        raise ValueError("its weights are of both types, float32 and float64.")
    if description["input_shape"] is not None:
        input_shape = check_shape("the model", "input_shape", description["input_shape"])
        if max(input_shape) > LARGEST_INTEGER:
            raise ValueError(f"its input shape, {input_shape}, is too large.")
        model = _build(model, input_shape, weights)
    elif weights:
        raise ValueError("it has weights, but no input shape.")
    model.epoch = _count(description["epoch"], "epoch")
    model.rng = _make_random(description["random"])
    compiled = description["compiled"]
    if compiled is None:
        if state:
            raise ValueError("it has the state of an optimizer, but no optimizer.")
        return model
    if not isinstance(compiled, dict) or compiled.keys() != {"optimizer", "iterations", "loss", "metrics"}:
        raise ValueError("what compile was given is incomplete.")
    if not isinstance(compiled["metrics"], list) or len(compiled["metrics"]) > MAX_LAYERS:
        raise ValueError("the metrics are no list.")
    if not compile:
        return model
    optimizer = construct(compiled["optimizer"], Optimizer, classes)
    optimizer.iterations = _count(compiled["iterations"], "iterations")
    _ = optimizer.learning_rate  # ValueError where a schedule has none for this step
    for slot in optimizer.slots:
        if remembered := _named(f"{slot}/", state):
            _check_arrays(remembered, model.params, f"the optimizer's {slot}", same_type=False)
    optimizer.state = state
    loss = construct(compiled["loss"], Loss, classes)
    model.compile(optimizer, loss, [construct(metric, Accuracy, classes) for metric in compiled["metrics"]])
    return model


def _check_made_again(
    model: Sequential, description: dict[str, Any], weights: Mapping[str, Array], classes: Classes
) -> None:
    """Raise TypeError unless this is a model for ``load_model``, with the same parameters."""
    try:
        again = _make_model(description, weights, classes, compile=True)
    except Exception as error:
        raise TypeError(
            f"{model} cannot be saved, as load_model could not make it again: {str(error).rstrip('.')}; "
            "give constructors what was set later, or use save_weights."
        ) from error
    shared = _shared(model.params)
    if different := shared ^ _shared(again.params):
        pair = min(different)
        fault = "share an array, but would not" if pair in shared else "have an array each, but would share one"
        raise TypeError(
            f"{model} cannot be saved: its {pair[0]} and {pair[1]} {fault} when loaded, and train differently; "
            "give them arrays as their layers make them, or use save_weights."
        )


def _shared(params: Mapping[str, Array]) -> set[tuple[str, str]]:
    """The parameters, two by two, that share memory."""
    shared: set[tuple[str, str]] = set()
    reach: list[tuple[str, int]] = []  # those that may end behind the start of the next one, and where they end
    for start, end, name in sorted((*byte_bounds(param), name) for name, param in params.items()):
        reach = [(other, its_end) for other, its_end in reach if its_end > start]
        shared |= {
            (min(name, other), max(name, other)) for other, _ in reach if np.shares_memory(params[name], params[other])
        }
        reach.append((name, end))
    return shared


def _weights_of(model: Network) -> dict[str, Array]:
    """The parameters, with their names in a file.

    Raises:
        TypeError: two have the same name, or one is no array of floats.
    """
    names = set()
    for name, layer, key in _parameters(model):
        check_parameter(layer, key, layer.params[key])
        if name in names:
            raise TypeError(
                f"{model} cannot be saved: two layers have a parameter {name}; every layer needs a name of its own."
            )
        names.add(name)
    return {f"weights/{name}": param for name, param in model.params.items()}


def _parameters(network: Network, prefix: str = "") -> Iterator[tuple[str, Layer, str]]:
    """The parameters of a network's layers: their names in the network, their layers, and their names there."""
    for layer in network.layers:
        if isinstance(layer, Network):
            yield from _parameters(layer, f"{prefix}{layer.name}/")
        else:
            yield from ((f"{prefix}{layer.name}/{key}", layer, key) for key in layer.params)


def _state_of(optimizer: Optimizer, params: Mapping[str, Array]) -> dict[str, Array]:
    """What the optimizer remembers of these parameters, zeros for new ones; nothing of those that are gone."""
    state = {}
    for slot in optimizer.slots:
        remembered: Mapping[str, Array] = getattr(optimizer, slot)
        for name, param in params.items() if remembered else ():
            array = remembered.get(name)
            if array is not None and array.shape != param.shape:
                raise ValueError(
                    f"{type(optimizer).__name__} cannot be saved: {name} has shape {param.shape}, but had "
                    f"{array.shape} in earlier steps; give a model a new optimizer when its layers have changed."
                )
            state[f"{slot}/{name}"] = np.zeros_like(param) if array is None else array
    return state


def _describe_random(rng: np.random.Generator) -> dict[str, Any]:
    state: dict[str, Any] = rng.bit_generator.state  # type: ignore[assignment]
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"The model's generator is {state['bit_generator']}; only NumPy's default, PCG64, is saved.")
    return state


def _make_random(state: Any) -> np.random.Generator:
    if (
        not isinstance(state, dict)
        or state.keys() != {"bit_generator", "state", "has_uint32", "uinteger"}
        or state["bit_generator"] != "PCG64"
        or not isinstance(state["state"], dict)
        or state["state"].keys() != {"state", "inc"}
    ):
        raise ValueError("the state of its random generator is incomplete.")
    for value, bits in [
        (state["state"]["state"], 128),
        (state["state"]["inc"], 128),
        (state["has_uint32"], 1),
        (state["uinteger"], 32),
    ]:
        if type(value) is not int or not 0 <= value < 2**bits:
            raise ValueError("the state of its random generator has a number that is out of range.")
    rng = np.random.Generator(np.random.PCG64(0))
    rng.bit_generator.state = state
    return rng


# Checks ---------------------------------------------------------------------------------------------------------------


def _check_version(description: Mapping[str, Any]) -> None:
    version = description.get("format")
    if type(version) is not int or version != FORMAT:
        raise ValueError(f"it has format {version!r:.20}; this tinynet reads format {FORMAT}.")


def _count(value: Any, what: str) -> int:
    count = check_int("the model", what, value, minimum=0)
    if count > 2**53:
        raise ValueError(f"the model: {what} is too large a number: {count:,}; a file takes up to {2**53:,}.")
    return count


def _named(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check_arrays(
    found: Mapping[str, Array], params: Mapping[str, Array], owner: str, *, same_type: bool = True
) -> None:
    """Raise ValueError unless there is an array of the same shape and dtype for each parameter, and no other."""
    if found.keys() != params.keys():
        missing, extra = sorted(params.keys() - found.keys()), sorted(found.keys() - params.keys())
        raise ValueError(f"{owner} has other arrays: the file lacks {missing[:5]}, and has {extra[:5]} beyond those.")
    for name, param in params.items():
        if found[name].shape != param.shape or (same_type and found[name].dtype != param.dtype):
            raise ValueError(
                f"{owner} has {name} of shape {param.shape} and type {param.dtype}; in the file these are "
                f"{found[name].shape} and {found[name].dtype}."
            )
