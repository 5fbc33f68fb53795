"""The libraries that are measured, one file each. Importing this package imports none of them."""

# name on the command line: module with a class ``Side``
SIDES = {
    "tinynet": "sides.tinynet_side",
    "pytorch": "sides.pytorch",
    "pytorch-compiled": "sides.pytorch_compiled",
    "keras-tensorflow": "sides.keras_tensorflow",
    "keras-jax": "sides.keras_jax",
    "onnxruntime": "sides.onnx_runtime",
    "sgemm": "sides.sgemm",
}
