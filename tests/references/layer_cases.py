"""Configurations of convolution and pooling whose outputs and gradients PyTorch and tinynet must agree on.

`make_layer_gradients.py` computes them with PyTorch and Keras and stores the results; `tests/test_references.py`
compares tinynet with them. Inputs, weights and upstream gradients are drawn here from a seed and need not be stored.
"""

from dataclasses import dataclass

import numpy as np

Pair = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerCase:
    """One layer and its input.

    input_shape: (n, h, w, c).
    window: rows and columns of the kernel or the pool.
    filters: of a convolution; 0 makes it max-pooling.
    sparse: most of the upstream gradient is zero, as pooling and ReLU make it, and as kernels may take advantage of.
    """

    input_shape: Shape
    window: Pair
    strides: Pair = (1, 1)
    padding: str = "valid"
    filters: int = 0
    use_bias: bool = True
    sparse: bool = False

    @property
    def name(self) -> str:
        layer = f"Conv2D({self.filters})" if self.filters else "MaxPooling2D"
        (n, h, w, c), (k_h, k_w), (s_h, s_w) = self.input_shape, self.window, self.strides
        extras = ("" if self.use_bias else " no bias") + (" sparse" if self.sparse else "")
        return f"{layer} {n}x{h}x{w}x{c} window {k_h}x{k_w} strides {s_h}x{s_w} {self.padding}{extras}"

    @property
    def kernel_shape(self) -> Shape:
        return (*self.window, self.input_shape[-1], self.filters)


CONV2D_BY_HAND = [
    LayerCase((1, 1, 1, 1), (1, 1), filters=1),
    LayerCase((1, 1, 1, 1), (3, 2), padding="same", filters=2),
    LayerCase((1, 1, 7, 1), (1, 3), (1, 2), filters=1),
    LayerCase((2, 6, 1, 1), (4, 1), (3, 1), "same", filters=2),
    LayerCase((1, 4, 4, 1), (4, 4), filters=3),  # the kernel covers the whole image
    LayerCase((1, 2, 3, 2), (5, 4), padding="same", filters=2),  # the kernel is larger than the image
    LayerCase((2, 5, 6, 2), (1, 1), (2, 3), filters=3),  # stride > kernel: some inputs are never seen
    LayerCase((2, 5, 6, 2), (1, 1), (2, 3), "same", filters=3),
    LayerCase((1, 8, 7, 1), (2, 2), (3, 3), filters=2),
    LayerCase((1, 8, 7, 1), (2, 2), (3, 3), "same", filters=2),  # negative padding, if it were not cut off at 0
    LayerCase((1, 10, 9, 2), (2, 3), (5, 4), "same", filters=1),
    LayerCase((2, 5, 5, 1), (2, 2), padding="same", filters=2),  # even kernels pad on one side only
    LayerCase((1, 6, 7, 2), (4, 4), padding="same", filters=2),
    LayerCase((1, 7, 5, 1), (4, 2), (1, 2), "same", filters=3),
    LayerCase((1, 7, 8, 2), (3, 3), (2, 2), "same", filters=2),  # rows are padded evenly, columns are not
    LayerCase((1, 8, 7, 2), (3, 3), (2, 2), "same", filters=2),
    LayerCase((1, 9, 8, 1), (3, 5), (3, 2), "same", filters=2),
    LayerCase((1, 9, 8, 1), (3, 5), (3, 2), filters=2),  # the last rows and columns fill no window
    LayerCase((2, 5, 7, 3), (3, 2), (2, 3), filters=2, use_bias=False),
    LayerCase((2, 5, 7, 3), (2, 3), (3, 2), "same", filters=2, use_bias=False),
    LayerCase((1, 8, 8, 1), (5, 5), padding="same", filters=3, sparse=True),
    LayerCase((1, 6, 6, 4), (5, 5), padding="same", filters=2, sparse=True),
    LayerCase((2, 7, 6, 3), (3, 2), (2, 1), "same", filters=5, sparse=True),
    LayerCase((1, 7, 9, 2), (2, 3), (3, 4), filters=3, sparse=True),
]
POOLING_BY_HAND = [
    LayerCase((1, 1, 1, 1), (1, 1)),
    LayerCase((1, 1, 1, 1), (2, 3), (2, 2), "same"),
    LayerCase((2, 6, 8, 3), (2, 2), (2, 2)),
    LayerCase((2, 7, 5, 2), (2, 2), (2, 2)),  # the last row and column fill no window
    LayerCase((2, 7, 5, 2), (2, 2), (2, 2), "same"),
    LayerCase((1, 6, 6, 2), (3, 3), (1, 1)),  # overlapping: one input can win several windows
    LayerCase((1, 6, 6, 2), (3, 3), (1, 1), "same"),
    LayerCase((1, 7, 7, 2), (3, 3), (2, 2)),
    LayerCase((1, 8, 8, 2), (3, 3), (2, 2), "same"),
    LayerCase((1, 7, 8, 1), (3, 2), (1, 3), "same"),
    LayerCase((2, 8, 5, 1), (2, 4), (3, 1)),
    LayerCase((1, 9, 8, 2), (2, 1), (4, 3)),  # stride > pool
    LayerCase((1, 9, 8, 2), (2, 1), (4, 3), "same"),
    LayerCase((1, 3, 4, 2), (5, 6), (2, 2), "same"),  # the pool is larger than the image
    LayerCase((1, 5, 4, 2), (5, 4), (1, 1)),
    LayerCase((3, 1, 9, 1), (1, 3), (1, 2)),
    LayerCase((1, 8, 6, 2), (2, 2), (2, 2), sparse=True),
]


def random_cases(count: int, seed: int, conv2d: bool) -> list[LayerCase]:
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return low + int((high + 1 - low) * rng.random())

    cases: list[LayerCase] = []
    while len(cases) < count:
        case = LayerCase(
            input_shape=(draw(1, 2), draw(1, 8), draw(1, 8), draw(1, 3)),
            window=(draw(1, 5), draw(1, 5)),
            strides=(draw(1, 4), draw(1, 4)),
            padding=("valid", "same")[draw(0, 1)],
            filters=draw(1, 3) if conv2d else 0,
            use_bias=draw(0, 3) > 0 or not conv2d,
            sparse=draw(0, 3) == 0,
        )
        fits = all(k <= size for k, size in zip(case.window, case.input_shape[1:3], strict=True))
        if fits or case.padding == "same":
            cases.append(case)
    return cases


CASES = CONV2D_BY_HAND + random_cases(36, 1, conv2d=True) + POOLING_BY_HAND + random_cases(23, 2, conv2d=False)


def draw_arrays(index: int, output_shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The input x, the kernel W and bias b of a convolution, and the upstream gradient dy, for `CASES[index]`."""
    case, rng = CASES[index], np.random.default_rng([3, index])
    x, W, b, dy = (
        2 * rng.random(shape) - 1 for shape in (case.input_shape, case.kernel_shape, (case.filters,), output_shape)
    )
    if case.sparse:
        dy *= rng.random(output_shape) < 0.2
    return x, W, b, dy
