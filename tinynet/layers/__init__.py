"""The layers, one idea per file; ``layer.py`` states the contract that all of them keep."""

from __future__ import annotations

from typing import Any

from tinynet.layers.activation import Activation, Linear, ReLU, Sigmoid, Softmax, Tanh
from tinynet.layers.average_pooling2d import AveragePooling2D
from tinynet.layers.conv2d import Conv2D
from tinynet.layers.dense import Dense
from tinynet.layers.dropout import Dropout
from tinynet.layers.flatten import Flatten
from tinynet.layers.input import Input
from tinynet.layers.layer import Layer
from tinynet.layers.max_pooling2d import MaxPooling2D
from tinynet.validation import refuse_keras_name

AvgPool2D, MaxPool2D, Convolution2D = AveragePooling2D, MaxPooling2D, Conv2D

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "Layer",
    "Linear",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints={"InputLayer": "Write Input(shape=...)."})
