"""From images to matrices of patches, and back."""

from __future__ import annotations

from tinynet.kernels.arrays import flat
from tinynet.kernels.settings import Array, jit, uint


@jit
def im2col(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Twin: ``reference.im2col``. A patch is k_h runs of k_w * c numbers that lie side by side in the image."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = flat(x), flat(patches)
    run, row, step = uint(k_w * c), uint(w * c), uint(s_w * c)
    rest = uint(patches.shape[1]) - uint(k_h) * run
    t = uint(0)
    for image in range(n):
        for i in range(out_h):
            corner = uint((image * h + i * s_h) * w * c)
            for _ in range(out_w):
                s = corner
                for _ in range(k_h):
                    for r in range(run):
                        target[t + r] = source[s + r]
                    t += run
                    s += row
                t += rest
                corner += step


@jit
def im2col_transposed(x: Array, k_h: int, k_w: int, s_h: int, s_w: int, patches: Array) -> None:
    """Twin: ``reference.im2col_transposed``. With stride 1 and one channel, a row of outputs is a run."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = flat(x), flat(patches)
    step, width = uint(s_w * c), uint(out_w)
    t = uint(0)
    for k_i in range(k_h):
        for k_j in range(k_w):
            for channel in range(c):
                for image in range(n):
                    for i in range(out_h):
                        s = uint(((image * h + i * s_h + k_i) * w + k_j) * c + channel)
                        if step == 1:
                            for j in range(width):
                                target[t + j] = source[s + j]
                        else:
                            for j in range(width):
                                target[t + j] = source[s + j * step]
                        t += width


@jit
def col2im(patches: Array, x: Array, k_h: int, k_w: int, s_h: int, s_w: int) -> None:
    """Twin: ``reference.col2im``."""
    n, h, w, c = x.shape
    out_h, out_w = (h - k_h) // s_h + 1, (w - k_w) // s_w + 1
    source, target = flat(patches), flat(x)
    run, row, step = uint(k_w * c), uint(w * c), uint(s_w * c)
    s = uint(0)
    for image in range(n):
        for i in range(out_h):
            corner = uint((image * h + i * s_h) * w * c)
            for _ in range(out_w):
                t = corner
                for _ in range(k_h):
                    for r in range(run):
                        target[t + r] += source[s + r]
                    s += run
                    t += row
                corner += step
