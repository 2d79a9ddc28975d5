"""Which steps and networks `fit`, `evaluate` and `predict` record, to replay them (see `minicnn.capture`).

Nobody has asked for a recording here, so none may be noticed: only networks are recorded that have no code of the
user's in them, where there are enough batches to gain by it, and the memory is given back when the call ends.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn import captured
from minicnn.autograd import Tensor
from minicnn.backend import xp_of
from minicnn.kernels.dispatch import suits_cuda
from minicnn.nn import Module
from minicnn.nn.parameter import UninitializedParameter

WORTHWHILE = 100
"""Batches from which on the recording of a network's inference saves time.

It takes as long as 13 small batches or 7 large ones, and then saves 40 % of a small one (16 images of 28 x 28), or 8 %
of a large one (256). Networks of the course are even after 35 small ones, or 100 large ones."""

Inference = Callable[[Tensor], Any]
"""What computes the outputs for a batch of inputs."""


def may_be_captured(model: Module, loss: Callable | None = None) -> bool:
    """Whether nothing in a step is the user's own code, which may do what a capture cannot repeat.

    On a GPU, minicnn's own kernels have to run as well: matrix products of NVIDIA's cannot be captured.
    """
    arrays = [parameter.array for parameter in model.parameters()]
    if any(xp_of(array) is not np and not suits_cuda(array) for array in arrays):
        return False
    if any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
        return False
    parts = [type(part).__module__ for part in model.modules()]
    if loss is not None:
        parts.append(getattr(loss, "__module__", None) or type(loss).__module__)
    return all(module.partition(".")[0] == "minicnn" for module in parts)


def is_worthwhile(model: Module, batches: int) -> bool:
    """Whether it pays to record the inference of so many batches.

    On a GPU it is left alone: with graphs, its dense layers would be computed by another kernel, so that bits
    would depend on the number of batches.
    """
    return batches >= WORTHWHILE and all(
        xp_of(parameter.array) is np for parameter in model.parameters()
    )


@contextmanager
def inference_of(model: Module, batches: int, capture: bool | None) -> Iterator[Inference]:
    """Yield what computes the outputs of `model`, in the mode that it is in, for batches inside the block.

    Args:
        model: the network; what is changed in it inside the block may go unnoticed.
        batches: how many there will be, as far as that is known.
        capture: whether to record it; None does so where it pays.
    """
    if capture is None:
        capture = is_worthwhile(model, batches) and may_be_captured(model)
    twin = _copy_of(model) if capture else None
    if twin is None:
        yield model
    else:
        with recorded(captured.capture(twin)) as step:
            yield step


@contextmanager
def recorded(step: captured.CapturedStep) -> Iterator[captured.CapturedStep]:
    """Give the memory of a recording back at the end of the block, and not when Python looks for cycles."""
    try:
        yield step
    finally:
        step.release()


def _copy_of(model: Module) -> Module | None:
    """Return a copy of `model` with weights of its own; None where that cannot be.

    To look at a function while it is recorded changes weights for a moment, and another thread may compute with those
    of the model: programs that answer requests do.
    """
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        return None  # the first batch gives the model its shapes, and not a copy
    try:
        return copy.deepcopy(model)
    except Exception:  # an attribute of the user's that has no copies
        return None


def length_of(loader: Any) -> int:
    """Return the number of batches in an epoch; 0 where it is unknown."""
    return len(loader) if hasattr(loader, "__len__") else 0
