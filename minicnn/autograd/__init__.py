"""Tensors and the tape that differentiates them.

`core` holds the Tensor and `apply`, `tape` the record and the walk backwards, `modes` the switches
of both. `arithmetic`, `inplace`, `reductions`, `shaping`, `copying` and `reading` hold the Tensor's methods by
subject, `creation` and `functions` the free functions.
"""

from minicnn.autograd.convert import default_dtype
from minicnn.autograd.core import Tensor, apply
from minicnn.autograd.modes import (
    detect_anomaly,
    enable_grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "Tensor",
    "apply",
    "default_dtype",
    "detect_anomaly",
    "enable_grad",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]
