"""Each kernel against its plain twin and against the best that NumPy can do, on one thread.

Run it with ``python benchmarks/kernels.py``.

The shapes are those of 32 images in the notebook's LeNet: the second convolution's (20 channels in, 50 filters of
5x5), the first one's for ``im2col_transposed``, and for pooling and ReLU what comes out of the first. A convolution's
``dy`` is what 2x2 max-pooling and ReLU leave of it. "The best of NumPy" is the faster of the twin, which is written
to be read, and of a version that avoids what can be avoided of copies and of loops over the positions of the window.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import DisagreementError, Timing, alternate
from numpy.lib.stride_tricks import sliding_window_view
from options import parse
from report import duration, new_figure, save, table
from threadpoolctl import threadpool_limits

from tinynet import kernels, reference
from tinynet.kernels.convolution_winograd import winograd_room

Array = npt.NDArray[Any]
IMAGES, SIZE, K, CHANNELS, FILTERS = 32, 14, 5, 20, 50  # of the second convolution
INPUTS, UNITS = 2450, 500  # of the first dense layer
WINDOW, NO_PADS = (2, 2, 2, 2), ((0, 0), (0, 0))  # of pooling: its size and its strides
NO_ARGMAX = np.empty((0, 0, 0, 0), np.int32)
SAME = ((2, 2), (2, 2))  # zeros around an image
KEPT = "winograd", 4  # of its arguments, the one in which only the kernel writes, for its next call
LEAST = 0.0  # of what products with a ReLU come to


def main() -> None:
    options = parse(__doc__, rounds=25, networks=())
    results: dict[str, list[Timing]] = {}
    with threadpool_limits(limits=1, user_api="blas"):
        for name, (arguments, other_numpy) in cases().items():
            functions = [getattr(kernels, name), getattr(reference, name), other_numpy]
            check_same_results(name, functions, arguments)
            blocks = [block(function, arguments, 0.002 if options.quick else 0.02) for function in functions]
            seconds = alternate(blocks, options.rounds)
            kernel, twin, other = map(Timing, ("kernel", "twin", "other NumPy"), seconds)
            best = min(twin, other, key=lambda timing: timing.spread.median)
            results[name] = [kernel, twin, Timing("best of NumPy", best.seconds)]
    print(f"{IMAGES} images, 1 thread\n\n{kernel_table(results)}")
    if missing := sorted(kernel_names() - results.keys()):
        print(f"not measured: {', '.join(missing)}")
    figure, axes = new_figure(1, width=8, height=5)
    draw(axes[0], results)
    save("kernels", options, {name: list(map(dataclasses.asdict, own)) for name, own in results.items()}, figure)


def cases(images: int = IMAGES) -> dict[str, tuple[list[Any], Callable[..., Any]]]:
    """For each kernel its arguments and another way to do it in NumPy than its twin's."""
    rng = np.random.default_rng(0)
    dy, dy_argmax = pooled_gradient(rng, images)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    def zeros(*shape: int) -> Array:
        return np.zeros(shape, np.float32)

    x, first_x = normal(images, SIZE, SIZE, CHANNELS), normal(images, 2 * SIZE + K - 1, 2 * SIZE + K - 1, 1)
    padded = np.pad(x, ((0, 0), *SAME, (0, 0)))
    patches = zeros(images * SIZE**2, K * K * CHANNELS)
    first_patches = zeros(K * K, images * (2 * SIZE) ** 2)
    filters, weights, logits = normal(FILTERS, K, K, CHANNELS), (INPUTS, UNITS), normal(images, 10)
    window = normal(K, K, CHANNELS, FILTERS)

    image = np.maximum(normal(images, 2 * SIZE, 2 * SIZE, CHANNELS), 0)
    pooled, dx = zeros(images, SIZE, SIZE, CHANNELS), zeros(*image.shape)
    argmax = np.zeros(pooled.shape, np.int32)
    reference.max_pool(image, *WINDOW, NO_PADS, pooled, argmax)

    return {
        "im2col": ([padded, K, K, 1, 1, patches], im2col),
        "im2col_transposed": ([first_x, K, K, 1, 1, first_patches], im2col_transposed),
        "col2im": ([normal(*patches.shape), zeros(*padded.shape), K, K, 1, 1], col2im),
        "convolve": (
            [
                x,
                window,
                normal(FILTERS),
                zeros(images, SIZE, SIZE, FILTERS),
                1,
                1,
                SAME,
                LEAST,
            ],
            convolve,
        ),
        "winograd": (
            [
                x,
                window,
                normal(FILTERS),
                zeros(images, SIZE, SIZE, FILTERS),
                zeros(winograd_room(window)),
                SAME,
                LEAST,
            ],
            winograd,
        ),
        "matmul": (
            [normal(images, INPUTS), normal(*weights), normal(UNITS), zeros(images, UNITS), False, False, LEAST],
            matmul,
        ),
        "vecmat": ([normal(1, INPUTS), normal(*weights), normal(UNITS), zeros(1, UNITS), LEAST], vecmat),
        "sum_patches": ([x, NO_ARGMAX, (SIZE, SIZE), dy, dy_argmax, zeros(*filters.shape), 1, 1, SAME], sum_patches),
        "add_filters": ([dy, dy_argmax, filters, zeros(*x.shape), 1, 1, SAME], add_filters),
        "count_nonzero": ([dy], reference.count_nonzero),
        "max_pool": ([image, *WINDOW, NO_PADS, pooled.copy(), argmax.copy()], max_pool),
        "max_pool_backward": ([normal(*pooled.shape), argmax, dx], max_pool_backward),
        "sum_channels": ([normal(*pooled.shape), zeros(CHANNELS)], sum_channels),
        "average_pool": ([image, *WINDOW, NO_PADS, pooled.copy()], average_pool),
        "average_pool_backward": ([normal(*pooled.shape), *WINDOW, NO_PADS, dx], average_pool_backward),
        "relu": ([normal(*image.shape), dx], reference.relu),
        "relu_backward": ([normal(*image.shape), image, dx], relu_backward),
        "softmax": ([logits, zeros(*logits.shape)], reference.softmax),
        "softmax_cross_entropy": (
            [logits, rng.integers(0, 10, images), zeros(images), zeros(*logits.shape)],
            reference.softmax_cross_entropy,
        ),
        "decay": ([normal(*weights), 1e-6], reference.decay),
        "sgd": ([normal(*weights), normal(*weights), normal(*weights), 1e-6, 0.9, True], reference.sgd),
        "adam": (
            [normal(*weights), normal(*weights), zeros(*weights), zeros(*weights), 1e-6, 0.9, 0.999, 1e-7],
            reference.adam,
        ),
        "divide": ([logits.copy(), 128], reference.divide),
        "jump_if_dense": ([dy, dy.size, 0, np.zeros(1, np.int64)], reference.jump_if_dense),
    }


def pooled_gradient(rng: np.random.Generator, images: int) -> tuple[Array, Array]:
    """dy and argmax (n, h/2, w/2, filters) of the second convolution, as from 2x2 max-pooling and ReLU."""
    y = np.maximum(rng.standard_normal((images, SIZE, SIZE, FILTERS), np.float32) - 0.5, 0)
    pooled, argmax = y[:, ::2, ::2].copy(), np.zeros((images, SIZE // 2, SIZE // 2, FILTERS), np.int32)
    reference.max_pool(y, *WINDOW, NO_PADS, pooled, argmax)
    return np.where(pooled > 0, rng.standard_normal(pooled.shape, np.float32), np.float32(0)), argmax


def kernel_names() -> set[str]:
    """The kernels that have a twin."""
    return {name for name, _ in inspect.getmembers(reference, inspect.isfunction) if hasattr(kernels, name)}


def check_same_results(name: str, functions: list[Callable[..., Any]], arguments: list[Any]) -> None:
    """Refuse functions that return, or write into their arguments, other numbers than the first one."""
    outcomes = []
    for function in functions:
        own = copy.deepcopy(arguments)
        outcomes.append([function(*own), *own])
    for outcome in outcomes[1:]:
        for place, (mine, theirs) in enumerate(zip(outcomes[0], outcome, strict=True)):
            if mine is None or (name, place - 1) == KEPT:
                continue
            if not np.allclose(mine, theirs, rtol=1e-3, atol=1e-4):
                raise DisagreementError(f"{name}: the kernel, its twin and NumPy's best compute different numbers.")


def block(function: Callable[..., Any], arguments: list[Any], block_seconds: float) -> Callable[[], float]:
    """A function that calls this one for about so long and returns the seconds of a call."""

    def seconds_per_call(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            function(*arguments)
        return (time.perf_counter() - start) / calls

    calls = max(1, round(block_seconds / min(seconds_per_call(1) for _ in range(3))))
    return lambda: seconds_per_call(calls)


# Other ways in NumPy -------------------------------------------------------------------------------------------------


def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    windows = sliding_window_view(x, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w]
    n, out_h, out_w, c = windows.shape[:4]
    patches.reshape(n, out_h, out_w, k_h, k_w, c)[...] = windows.transpose(0, 1, 2, 4, 5, 3)


def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    windows = sliding_window_view(x, (k_h, k_w), axis=(1, 2))[:, ::s_h, ::s_w]
    n, out_h, out_w, c = windows.shape[:4]
    patches.reshape(k_h, k_w, c, n, out_h, out_w)[...] = windows.transpose(4, 5, 3, 0, 1, 2)


def col2im(patches: Array, x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> None:
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    windows = patches.reshape(n, out_h, out_w, k_h, k_w, c)
    for i, j in itertools.product(range(k_h), range(k_w)):
        x[:, i : i + out_h * s_h : s_h, j : j + out_w * s_w : s_w] += windows[:, :, :, i, j]


def convolve(x: Array, W: Array, b: Array, y: Array, s_h: int, s_w: int, pads: Any, least: float) -> None:
    k_h, k_w, c, filters = W.shape
    patches = np.empty((y.size // filters, k_h * k_w * c), x.dtype)
    im2col(np.pad(x, ((0, 0), *pads, (0, 0))), k_h, k_w, s_h, s_w, patches)
    np.matmul(patches, W.reshape(-1, filters), out=y.reshape(-1, filters))
    y += b
    np.maximum(y, least, out=y)


def winograd(x: Array, W: Array, b: Array, y: Array, kept: Array, pads: Any, least: float) -> None:
    """With all its products, which NumPy multiplies faster than it adds up what they have in common."""
    convolve(x, W, b, y, 1, 1, pads, least)


def matmul(x: Array, W: Array, b: Array, y: Array, x_transposed: bool, W_transposed: bool, least: float) -> None:
    """For x @ W + b."""
    vecmat(x, W, b, y, least)


def vecmat(x: Array, W: Array, b: Array, y: Array, least: float) -> None:
    np.matmul(x, W, out=y)
    y += b
    np.maximum(y, least, out=y)


def sum_patches(
    x: Array, x_argmax: Array, size: Any, dy: Array, argmax: Array, sums: Array, s_h: int, s_w: int, pads: Any
) -> None:
    """For windows that move by 1 over whole images, which stay as large as they are."""
    filters, k_h, k_w, c = sums.shape
    patches = np.empty((math.prod(x.shape[:3]), k_h * k_w * c), x.dtype)
    im2col(np.pad(x, ((0, 0), *pads, (0, 0))), k_h, k_w, s_h, s_w, patches)
    whole = np.empty((*x.shape[:3], filters), dy.dtype)
    max_pool_backward(dy, argmax, whole)
    sums[...] = (whole.reshape(-1, filters).T @ patches).reshape(sums.shape)


def add_filters(dy: Array, argmax: Array, filters: Array, x: Array, s_h: int, s_w: int, pads: Any) -> None:
    """Likewise."""
    number, k_h, k_w, _ = filters.shape
    (top, bottom), (left, right) = pads
    n, h, w, c = x.shape
    whole = np.empty((n, h, w, number), dy.dtype)
    max_pool_backward(dy, argmax, whole)
    padded = np.zeros((n, top + h + bottom, left + w + right, c), x.dtype)
    col2im(whole.reshape(-1, number) @ filters.reshape(number, -1), padded, k_h, k_w, s_h, s_w)
    x[...] = padded[:, top : top + h, left : left + w]


def max_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array, argmax: Array) -> None:
    """For windows that fit into the image, with no NaN in it."""
    (_, h, w, _), (_, out_h, out_w, _) = x.shape, y.shape
    positions = np.arange(h * w, dtype=np.int32).reshape(1, h, w, 1)
    for i, j in itertools.product(range(k_h), range(k_w)):
        entries = np.s_[:, i : i + out_h * s_h : s_h, j : j + out_w * s_w : s_w]
        if i == j == 0:
            y[...], argmax[...] = x[entries], positions[entries]
        else:
            larger = x[entries] > y
            np.copyto(argmax, positions[entries], where=larger)
            np.maximum(y, x[entries], out=y)


def max_pool_backward(dy: Array, argmax: Array, dx: Array) -> None:
    """For windows that do not overlap."""
    n, h, w, c = dx.shape
    dx[...] = 0
    np.put_along_axis(dx.reshape(n, h * w, c), argmax.reshape(n, -1, c), dy.reshape(n, -1, c), axis=1)


def sum_channels(x: Array, sums: Array) -> None:
    """Image rows are added up first, as a product with ones, which is the fastest sum."""
    n, h, w, c = x.shape
    rows = np.ones(n * h, x.dtype) @ x.reshape(n * h, w * c)
    sums[:] = rows.reshape(w, c).sum(axis=0)


def average_pool(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, y: Array) -> None:
    """For windows that fit into the image."""
    _, out_h, out_w, _ = y.shape
    y[...] = 0
    for i, j in itertools.product(range(k_h), range(k_w)):
        y += x[:, i : i + out_h * s_h : s_h, j : j + out_w * s_w : s_w]
    y /= k_h * k_w


def average_pool_backward(dy: Array, k_h: int, k_w: int, s_h: int, s_w: int, pads: Any, dx: Array) -> None:
    """For windows that cover the image and do not overlap."""
    n, out_h, out_w, c = dy.shape
    np.divide(dy[:, :, None, :, None], k_h * k_w, out=dx.reshape(n, out_h, k_h, out_w, k_w, c))


def relu_backward(dy: Array, y: Array, dx: Array) -> None:
    np.multiply(dy, y > 0, out=dx)


# What is shown -------------------------------------------------------------------------------------------------------


def kernel_table(results: dict[str, list[Timing]]) -> str:
    """Medians, and how many times as long as the kernel the others take, round by round."""
    rows = []
    for name, (kernel, twin, best) in results.items():
        row = [name, duration(kernel.spread.median)]
        for other in (twin, best):
            ratio = other.over(kernel)
            row += [duration(other.spread.median), f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"]
        rows.append(row)
    return table(["kernel", "median", "twin", "times the kernel's", "best of NumPy", "times the kernel's"], rows)


def draw(axis: Any, results: dict[str, list[Timing]]) -> None:
    """Two bars a kernel: how many times as long as it its twin and the best of NumPy take."""
    names = list(results)[::-1]
    for offset, which in ((0.2, 1), (-0.2, 2)):
        ratios = [results[name][which].over(results[name][0]).median for name in names]
        places = [place + offset for place in range(len(names))]
        axis.barh(places, ratios, height=0.4, label=results[names[0]][which].title)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.set(xscale="log", xlabel="times as long as the kernel")
    axis.legend()


if __name__ == "__main__":
    main()
