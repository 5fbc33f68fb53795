"""ONNX Runtime, inference only, on a graph written from the weights with all its optimizations on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sides.base import Array, BaseSide, Setup, channels_first


class Side(BaseSide):
    title = f"ONNX Runtime {onnxruntime.__version__}"

    def __init__(self, setup: Setup, weights: list[Array], variant: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        options.inter_op_num_threads = 1  # the network is a chain: no two nodes could run at once
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(setup, weights).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def put(self, x: Array, y: Array) -> tuple[Any, Any]:
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)), y

    def train_step(self, x: Any, y: Any) -> Any:
        raise NotImplementedError("ONNX Runtime is measured for inference only.")

    def predict(self, x: Array) -> Array:
        return self.session.run(None, {"x": x})[0]


def onnx_model(setup: Setup, weights: list[Array]) -> Any:
    """The network with a softmax at its end as an ONNX model: x (n, c, h, w) to probabilities (n, classes)."""
    arrays = iter(channels_first(weights, setup))
    nodes: list[Any] = []
    initializers: list[Any] = []
    last = "x"

    def add(operation: str, *inputs: str, **attributes: Any) -> None:
        nonlocal last
        output = f"{operation}_{len(nodes)}"
        nodes.append(helper.make_node(operation, [last, *inputs], [output], **attributes))
        last = output

    def next_weights() -> list[str]:
        names = [f"W_{len(nodes)}", f"b_{len(nodes)}"]
        initializers.extend(numpy_helper.from_array(next(arrays), name) for name in names)
        return names

    for kind, layer_options, *_ in setup.network.steps():
        match kind:
            case "Conv2D":
                pad = layer_options["kernel_size"] // 2 if layer_options["padding"] == "same" else 0
                add("Conv", *next_weights(), pads=[pad] * 4)
            case "MaxPooling2D":
                size = [layer_options["pool_size"]] * 2
                add("MaxPool", kernel_shape=size, strides=size)
            case "Flatten":
                add("Flatten")
            case "Dense":
                add("Gemm", *next_weights(), transB=1)
            case _:
                raise ValueError(f"onnx_runtime.py does not know the layer {kind!r}; add it here.")
        if layer_options.get("activation") == "relu":
            add("Relu")
    add("Softmax", axis=1)

    h, w, c = setup.network.input_shape
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", c, h, w])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", "classes"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
