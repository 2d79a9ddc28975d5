"""Kernels: the arithmetic of a convolutional network, on arrays. Imports nothing of the framework around it.

The functions here check their arguments and hand them to an implementation: compiled loops on the
CPU (cpu/), or the functions of the array library, NumPy on the CPU and CuPy on a GPU.
"""

from .adaptive_pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad,
    adaptive_max_pool2d,
    adaptive_max_pool2d_grad,
)
from .convolution import (
    choose_algorithm,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
)
from .pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_grad",
    "avg_pool2d",
    "avg_pool2d_grad",
    "choose_algorithm",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "max_pool2d",
    "max_pool2d_grad",
]
