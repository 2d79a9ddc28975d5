"""minicnn and PyTorch behind one face, so that each thing that is timed is written once."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

import minicnn


@dataclass(frozen=True)
class Mode:
    """A library and how it is used.

    Attributes:
        name: the heading of its column.
        library: `minicnn` or `torch`.
        channels_last: PyTorch's other layout in memory; minicnn's own is always channels-last.
        exact: minicnn's convolutions with precision="exact", that is, without Winograd's transforms.
        captured: what a network computes is recorded once and then replayed (`minicnn.capture`), as `fit` does it.
        dtype: of all numbers.
    """

    name: str
    library: ModuleType
    channels_last: bool = False
    exact: bool = False
    captured: bool = False
    dtype: str = "float32"

    @property
    def ours(self) -> bool:
        """Whether this is minicnn."""
        return self.library is minicnn

    @property
    def nn(self) -> ModuleType:
        """The library's layers."""
        return self.library.nn

    def tensor(self, array: np.ndarray, requires_grad: bool = False) -> Any:
        """Return a tensor of a copy of `array`; images lie in memory as this mode wants them."""
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        if self.ours:
            return minicnn.Tensor(array.copy(), requires_grad)
        tensor = torch.from_numpy(array.copy())
        if self.channels_last and array.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.requires_grad_(requires_grad)

    def features(self, array: np.ndarray, requires_grad: bool = False) -> Any:
        """Return a tensor as a layer inside a network gets it: minicnn's are channels-last in memory."""
        if self.ours and array.ndim > 2:
            channels_last = np.ascontiguousarray(np.moveaxis(array, 1, -1))  # (N, H, W, C)
            array = np.moveaxis(channels_last, -1, 1)  # (N, C, H, W), or (N, C, L)
            return minicnn.Tensor(array, requires_grad)
        return self.tensor(array, requires_grad)

    def module(self, build: Callable[[ModuleType], Any]) -> Any:
        """Return what `build` makes of this library's layers, in this mode's dtype and layout."""
        module = build(self.nn)
        if self.dtype == "float64":
            module.double()
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.exact:
            for part in module.modules():
                if isinstance(part, self.nn.Conv2d):
                    part.precision = self.precision
        return module

    def array(self, tensor: Any) -> np.ndarray:
        """Return the numbers of a tensor."""
        return tensor.array if self.ours else tensor.detach().numpy()

    def without_recording(self) -> contextlib.AbstractContextManager:
        """Return the context for inference, PyTorch's quickest."""
        return minicnn.no_grad() if self.ours else torch.inference_mode()

    @property
    def precision(self) -> str:
        """What minicnn's convolutions may round."""
        return "exact" if self.exact else "fast"


MINICNN = Mode("minicnn", minicnn, captured=True)
EXACT = Mode("minicnn exact", minicnn, exact=True, captured=True)
UNCAPTURED = Mode("minicnn uncaptured", minicnn)
NCHW = Mode("PyTorch NCHW", torch)
CHANNELS_LAST = Mode("PyTorch channels-last", torch, channels_last=True)
REFERENCE = Mode("PyTorch float64", torch, dtype="float64")

TIMED_MODES = (MINICNN, EXACT, NCHW, CHANNELS_LAST)
"""In the order of the columns; single operations are not captured."""

NETWORK_MODES = (MINICNN, EXACT, UNCAPTURED, NCHW, CHANNELS_LAST)
"""The same for whole networks, in training and inference."""


def use_threads(count: int) -> None:
    """Let both libraries compute with `count` threads.

    The threads of NumPy's BLAS are not set here: they are as the environment says
    (OPENBLAS_NUM_THREADS, which the Makefile sets to 1), and are recorded with the results.
    """
    import numba

    torch.set_num_threads(count)
    numba.set_num_threads(count)


def thread_settings(count: int) -> dict[str, str | int]:
    """What was set, for the head of a results file."""
    return {
        "torch": torch.__version__,
        "threads": count,
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
    }
