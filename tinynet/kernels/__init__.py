"""The functions of ``reference.py`` again, in Numba: same names, same arguments, same results, faster.

Kernels check nothing (the layers do), run on one thread and, unless they are short, release the GIL: the training loop
runs them in parallel on different images. All arrays are of one dtype, float32 or float64, and C-contiguous unless it
says otherwise. Indices are unsigned (``uint``): Numba tests a signed index for being negative at every access.
"""

from tinynet.kernels.activations import divide, relu, relu_backward, softmax, softmax_cross_entropy
from tinynet.kernels.convolution import convolve
from tinynet.kernels.convolution_winograd import FIRST_TERMS, TAPS, winograd
from tinynet.kernels.optimizers import adam, decay, sgd
from tinynet.kernels.patches import col2im, im2col, im2col_transposed
from tinynet.kernels.pooling import average_pool, average_pool_backward, max_pool, max_pool_backward
from tinynet.kernels.products import matmul, vecmat
from tinynet.kernels.settings import TILE, VECTOR_BYTES
from tinynet.kernels.sparse import add_filters, count_nonzero, jump_if_dense, sum_channels, sum_patches

__all__ = [
    "FIRST_TERMS",
    "TAPS",
    "TILE",
    "VECTOR_BYTES",
    "adam",
    "add_filters",
    "average_pool",
    "average_pool_backward",
    "col2im",
    "convolve",
    "count_nonzero",
    "decay",
    "divide",
    "im2col",
    "im2col_transposed",
    "jump_if_dense",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "relu",
    "relu_backward",
    "sgd",
    "softmax",
    "softmax_cross_entropy",
    "sum_channels",
    "sum_patches",
    "vecmat",
    "winograd",
]
