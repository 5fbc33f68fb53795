"""The forward and the backward pass of a network, written down as calls of kernels.

They compute what the layers' ``forward`` and ``backward`` do, to the last bit; read there how.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinynet import kernels
from tinynet.kernels.convolution_winograd import winograd_room
from tinynet.layers.convolution import by_channel, by_filter, most_nonzeros
from tinynet.layers.layer import Shape
from tinynet.layers.outer_products import OuterProducts, is_large
from tinynet.layers.products import stays_in_cache
from tinynet.layers.step import Step
from tinynet.program import FinishedProgram, Place, Program

Array = npt.NDArray[Any]
DType = np.dtype[Any]

CONVOLUTIONS = (kernels.convolve, kernels.winograd)
IMAGES_AT_ONCE = kernels.TILE  # in convolutions and poolings: what is between these stays in the cache
INT32 = np.dtype(np.int32)

Found = tuple[Array, Array, dict[str, Array | OuterProducts]]  # losses (n,), logits (n, k), gradients by parameter
Factors = tuple[Place | None, Place]  # of ``OuterProducts``, of all shards; the first one may be x itself: None


class PlacedStep(NamedTuple):
    """A step, and where in a network it is.

    Attributes:
        owner: the name of its layer.
        x_shape, y_shape: of a sample before and after it, as an image (h, w, c): (1, 1, c) for a vector.
    """

    step: Step
    owner: str
    x_shape: Shape
    y_shape: Shape


def prediction(steps: Sequence[PlacedStep], n: int, dtype: DType) -> FinishedProgram:
    """The forward pass for n samples. It is given x (n, ...) and y (n, ...), into which the outputs are written."""
    program = Program(dtype)
    x, y = program.given(n, *steps[0].x_shape), program.given(n, *steps[-1].y_shape)
    apart, kept = _num_apart(steps), {len(steps) - 1: y}
    if 0 < apart < len(steps):
        kept[apart - 1] = program.work.add((n, *steps[apart - 1].y_shape), program.dtype)
    _forward(program, steps, x, kept, {})
    return program.finish()


@dataclass(frozen=True)
class Gradients:
    """The forward and the backward pass for some shards of a batch, of whose mean loss these are the gradients.

    Attributes:
        program: is given x (n, ...) and the classes (n,).
        losses, logits: where the loss of each sample is among the results, and the logits.
        shards: the rows of each.
        grads: where its gradients are, by layer and parameter.
    """

    program: FinishedProgram
    losses: Place
    logits: Place
    shards: Sequence[slice]
    grads: Sequence[Mapping[str, Place | Factors]]

    def run(self, x: Array, classes: Array) -> list[Found] | None:
        """Of each shard the loss of each sample, the logits (n, k), and the gradients by layer and parameter.

        None where more of a convolution's gradient is not zero than the sparse kernels are made for.
        """
        results, n = self.program.run(x, classes), len(x)
        if results is None:
            return None
        losses, logits = self.losses.of(results), self.logits.of(results).reshape(n, -1)
        found = []
        for rows, places_by_name in zip(self.shards, self.grads, strict=True):
            grads: dict[str, Array | OuterProducts] = {}
            for name, places in places_by_name.items():
                if isinstance(places, Place):
                    grads[name] = places.of(results)
                else:
                    factors = (x if place is None else place.of(results) for place in places)
                    grads[name] = OuterProducts(*(factor.reshape(n, -1)[rows] for factor in factors))
            found.append((losses[rows], logits[rows], grads))
        return found


class GradientsWriter:
    """Writes the program of ``Gradients``.

    What is computed for each sample is computed for all shards at once: matrix products with more rows are faster. Sums
    over samples are taken for one shard after another.

    Args:
        steps: up to the logits; ``can_go_back`` must be true of them.
        names: of the gradients that are wanted, in this order.
        sizes, batch: how many samples there are in each shard, and in the batch.
    """

    def __init__(
        self, steps: Sequence[PlacedStep], names: Sequence[str], sizes: Sequence[int], batch: int, dtype: DType
    ):
        self._program, self._steps, self._n, self._batch = Program(dtype), steps, sum(sizes), batch
        ends = itertools.accumulate(sizes)
        self._shards = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self._names, self._grads = names, [dict[str, Place | Factors]() for _ in sizes]
        n = self._n
        self._x, self._classes = self._program.given(n, *steps[0].x_shape), self._program.given(n, dtype=np.intp)
        self._argmaxes = {
            i: self._program.work.add((n, *step.y_shape), INT32)
            for i, step in enumerate(steps)
            if step.step.kernel is kernels.max_pool
        }
        # What a convolution returns is not needed any more once it is pooled.
        convolutions = [i for i, step in enumerate(steps) if step.step.kernel in CONVOLUTIONS]
        unpooled = {j for i in convolutions for j in range(i, min(k for k in self._argmaxes if k > i))}
        self._outputs = {
            i: self._add((n, *step.y_shape), is_returned=i == len(steps) - 1 or self._is_large(i + 1))
            for i, step in enumerate(steps)
            if i not in unpooled
        }

    def write(self) -> Gradients:
        """Both passes."""
        program, outputs = self._program, self._outputs[len(self._steps) - 1]
        _forward(program, self._steps, self._x, self._outputs, self._argmaxes)
        logits = outputs.reshape(self._n, -1)
        losses, dlogits = (self._add(shape, is_returned=True) for shape in ((self._n,), logits.shape))
        program.call(kernels.softmax_cross_entropy, logits, self._classes, losses, dlogits)
        program.call(kernels.divide, dlogits.reshape(-1), self._batch)
        self._go_back(dlogits)
        place = program.results.place
        grads = [{name: places[name] for name in self._names} for places in self._grads]
        return Gradients(program.finish(), place(losses), place(outputs), self._shards, grads)

    def _go_back(self, dy: Array) -> None:
        """Write down the backward pass as far as the first step that has something to learn."""
        first = next(i for i, step in enumerate(self._steps) if step.step.W is not None)
        pool: int | None = None  # where there is one, ``dy`` is that of the winners of its windows: see PooledGradient
        for i in reversed(range(first, len(self._steps))):
            step = self._steps[i].step
            if step.kernel is kernels.max_pool:
                pool = i
                continue
            if step.kernel is kernels.relu or step.least == 0:
                y = self._outputs[i if pool is None else pool]
                masked = self._add(dy.shape, is_returned=self._is_large(i if step.least == 0 else i - 1))
                self._program.call(kernels.relu_backward, dy.reshape(-1), y.reshape(-1), masked.reshape(-1))
                dy = masked
            if step.kernel is kernels.relu:
                continue
            dx = self._add((self._n, *self._steps[i].x_shape), is_returned=self._is_large(i - 1)) if i > first else None
            if pool is None:
                self._go_back_through_dense(i, dy, dx)
            else:
                for number in range(len(self._shards)):
                    self._go_back_through_convolution(i, number, dy, self._argmaxes[pool], dx)
            if dx is not None:
                dy, pool = dx, None

    def _go_back_through_dense(self, i: int, dy: Array, dx: Array | None) -> None:
        """See ``Dense.backward``."""
        program, (step, owner, _, _) = self._program, self._steps[i]
        assert step.W is not None, "a matrix product has weights"
        size, units = step.W.shape
        x = self._outputs.get(i - 1, self._x)
        matrix, gradient = x.reshape(-1, size), dy.reshape(-1, units)
        for number, rows in enumerate(self._shards):
            if self._is_large(i):
                place = program.results.place
                self._grads[number][f"{owner}/W"] = None if x is self._x else place(x), place(dy)
            else:
                dW, zeros = self._gradient_of(number, f"{owner}/W", step.W), np.zeros(units, program.dtype)
                program.call(kernels.matmul, matrix[rows], gradient[rows], zeros, dW, True, False, -math.inf)
            db = self._gradient_of(number, f"{owner}/b", step.b)
            program.call(kernels.sum_channels, gradient[rows].reshape(-1, 1, 1, units), db)
        if dx is not None:
            zeros = np.zeros(size, program.dtype)
            program.call(kernels.matmul, gradient, step.W, zeros, dx.reshape(-1, size), False, True, -math.inf)

    def _go_back_through_convolution(self, i: int, number: int, dy: Array, argmax: Array, dx: Array | None) -> None:
        """With one of the shards: how many of its numbers are zero says how, as in ``layers/convolution.py``."""
        program, (step, owner, x_shape, y_shape), rows = self._program, self._steps[i], self._shards[number]
        assert step.W is not None, "a convolution has weights"
        assert step.window is not None, "a convolution has a window"
        x, strides = self._outputs.get(i - 1, self._x).reshape(-1, *x_shape)[rows], step.window.strides
        dy, argmax = dy.reshape(argmax.shape)[rows], argmax[rows]
        dW = self._gradient_of(number, f"{owner}/W", step.W)
        k_h, k_w, c, filters = step.W.shape
        products = len(x) * math.prod(y_shape) * k_h * k_w * c
        most = most_nonzeros(k_h, k_w * c, products)
        if strides == (1, 1):  # where few of the pixels are not zero
            to_other_way = program.jump_if_dense(x, most_nonzeros(k_h, k_w * filters, products))
            program.call(kernels.sum_patches, *by_channel(x, dy, argmax, y_shape[:2], dW, step.pads))
            past_other_way = program.jump()
            to_other_way()
        program.jump_if_dense(dy, most)  # where few of the gradients are not zero; otherwise the run is given up
        program.call(kernels.sum_patches, *by_filter(x, dy, argmax, dW, strides, step.pads))
        if strides == (1, 1):
            past_other_way()
        program.call(kernels.sum_channels, dy, self._gradient_of(number, f"{owner}/b", step.b))
        if dx is not None:
            program.jump_if_dense(dy, most)
            program.call(kernels.add_filters, dy, argmax, step.W.transpose(3, 0, 1, 2), dx[rows], *strides, step.pads)

    def _is_large(self, i: int) -> bool:
        """Whether the gradient of a step's weights is left as ``OuterProducts``, whose factors are returned."""
        W = self._steps[i].step.W if 0 <= i < len(self._steps) else None
        return W is not None and W.ndim == 2 and is_large(W)

    def _add(self, shape: Shape, *, is_returned: bool) -> Array:
        return (self._program.results if is_returned else self._program.work).add(shape, self._program.dtype)

    def _gradient_of(self, number: int, name: str, param: Array | None) -> Array:
        assert param is not None, "where there is no bias, there are zeros"
        grad = self._add(param.shape, is_returned=True)
        self._grads[number][name] = self._program.results.place(grad)
        return grad


def can_go_back(steps: Sequence[PlacedStep]) -> bool:
    """Whether ``Gradients`` can be made for these steps.

    That is so where all convolutions are max-pooled, without overlap, and all other weights are matrices for which the
    layers call kernels. ReLU may be anywhere.
    """
    if not steps or steps[-1].step.kernel is not kernels.matmul or steps[-1].step.least == 0:
        return False
    is_pooled = False
    for placed in reversed(steps):
        step = placed.step
        if step.kernel is kernels.max_pool:
            if is_pooled or step.window is None or step.window.overlaps:
                return False
            is_pooled = True
        elif step.kernel is kernels.matmul:
            if is_pooled or step.W is None or not stays_in_cache(step.W, step.W.T):
                return False
        elif step.kernel in CONVOLUTIONS:
            if not is_pooled:
                return False
            is_pooled = False
        elif step.kernel is not kernels.relu:
            return False
    return not is_pooled


def _num_apart(steps: Sequence[PlacedStep]) -> int:
    """How many steps there are before the first matrix product."""
    return next((i for i, step in enumerate(steps) if step.step.kernel is kernels.matmul), len(steps))


def _forward(
    program: Program, steps: Sequence[PlacedStep], x: Array, kept: Mapping[int, Array], argmaxes: Mapping[int, Array]
) -> None:
    """Write down all steps, for x (n, ...): those before the first matrix product for a few images at a time.

    What step i returns is written to kept[i], or else to one of two arrays in turn, until the step after next.
    """
    n, apart = len(x), _num_apart(steps)
    pieces = [(range(apart), slice(first, min(first + IMAGES_AT_ONCE, n))) for first in range(0, n, IMAGES_AT_ONCE)]
    pieces.append((range(apart, len(steps)), slice(0, n)))
    sizes = [(min(n, IMAGES_AT_ONCE) if i < apart else n) * math.prod(step.y_shape) for i, step in enumerate(steps)]
    most = max((size for i, size in enumerate(sizes) if i not in kept), default=0)
    spare = [program.work.add((most,), program.dtype) for _ in range(2)]
    pooled = [sizes[i] for i, step in enumerate(steps) if step.step.kernel is kernels.max_pool and i not in argmaxes]
    spare_argmax = program.work.add((max(pooled, default=0),), INT32)
    rooms = {
        i: program.work.add((winograd_room(placed.step.W),), program.dtype)
        for i, placed in enumerate(steps)
        if placed.step.kernel is kernels.winograd and placed.step.W is not None
    }
    for numbers, rows in pieces:
        source, count = kept[numbers.start - 1][rows] if numbers.start else x[rows], rows.stop - rows.start
        for i in numbers:
            shape = count, *steps[i].y_shape
            target = kept[i][rows] if i in kept else spare[i % 2][: math.prod(shape)].reshape(shape)
            argmax = argmaxes[i][rows] if i in argmaxes else spare_argmax[: target.size]
            images = source.reshape(count, *steps[i].x_shape)
            _call_kernel(program, steps[i], images, target, argmax, rooms.get(i))
            source = target


def _call_kernel(program: Program, placed: PlacedStep, x: Array, y: Array, argmax: Array, room: Array | None) -> None:
    """Write down a step, from x (n, *x_shape) to y (n, *y_shape); Winograd's algorithm needs a room (see there)."""
    kernel, W, b, least, window, pads = placed.step
    size, strides = ((), ()) if window is None else (window.size, window.strides)
    arguments: tuple[Any, ...]
    if kernel is kernels.convolve:
        arguments = x, W, b, y, *strides, pads, least
    elif kernel is kernels.winograd:
        arguments = x, W, b, y, room, pads, least
    elif kernel is kernels.max_pool:
        arguments = x, *size, *strides, pads, y, argmax.reshape(y.shape)
    elif kernel is kernels.average_pool:
        arguments = x, *size, *strides, pads, y
    elif kernel is kernels.matmul:
        arguments = x.reshape(len(x), -1), W, b, y.reshape(len(y), -1)
        if len(x) == 1:
            kernel, arguments = kernels.vecmat, (*arguments, least)
        else:
            arguments = *arguments, False, False, least
    elif kernel is kernels.relu:
        arguments = x.reshape(-1), y.reshape(-1)
    else:
        arguments = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
    program.call(kernel, *arguments)
