"""What Keras's layers and models have under names that tinynet's lack, and what to use instead."""

from __future__ import annotations

from collections.abc import Mapping

_ARRAYS = "The arrays by name are in params; get_weights() returns copies, in Keras's order."
_OWN_LAYER = "A layer of one's own has make(input_shape, rng), forward(x) and backward(dy, cache): see Layer."
_NO_GRAPH = "Layers in a row are no graph; there are input_shape and output_shape, without the batch axis."
_ONE_FILE = "save writes the layers and the weights into one file, and load_model reads it."

OF_LAYERS: Mapping[str, str] = {
    "kernel": 'The kernel of a layer that has one is params["W"].',
    "bias": 'The bias of a layer that has one is params["b"].',
    "built": "What is built has an output_shape; before, that is None.",
    **dict.fromkeys(("weights", "variables", "trainable_weights", "trainable_variables"), _ARRAYS),
    **dict.fromkeys(("call", "add_weight", "compute_output_shape"), _OWN_LAYER),
    **dict.fromkeys(("input", "output"), _NO_GRAPH),
}

OF_MODELS: Mapping[str, str] = {
    **OF_LAYERS,
    "predict_classes": "Write predict(x).argmax(axis=1).",
    "predict_proba": "What predict returns are probabilities, where the network ends in a softmax.",
    "fit_generator": "Call train_on_batch(x, y) in a loop.",
    "evaluate_generator": "Call test_on_batch(x, y) in a loop.",
    "predict_generator": "Call predict_on_batch(x) in a loop.",
    **dict.fromkeys(("to_json", "to_yaml", "get_config"), _ONE_FILE),
    **dict.fromkeys(("inputs", "outputs"), _NO_GRAPH),
}
