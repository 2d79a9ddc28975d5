"""What convolutions on a GPU may round, in all libraries alike; and whether PyTorch is there to be told."""

import importlib
import os
from types import ModuleType

import checkout  # noqa: F401

import minicnn
from minicnn.nn.functional.precision import precision_in_force

PRECISIONS = {"float32": "fast", "tf32": "tf32"}
"""What the switch of the benchmarks is called, and what it is in minicnn.precision."""


def use_precision(name: str) -> None:
    """Let minicnn's convolutions on the GPU round factors to TF32, or none.

    Dense layers multiply in float32: a recorded step computes them with a kernel of minicnn's own, which has no tensor
    cores, and CuPy's product must not differ from it. CuPy looks at its variable before its first product only.
    """
    os.environ["CUPY_TF32"] = "0"
    minicnn.precision(PRECISIONS[name])


def round_alike(torch: ModuleType) -> None:
    """Let PyTorch's convolutions round what minicnn's do, and its dense layers nothing, as is its default."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = precision_in_force() == "tf32"


def find_torch() -> tuple[ModuleType | None, str]:
    """Return PyTorch, or None and what keeps it from being used: an installation may be broken in many ways."""
    try:
        return importlib.import_module("torch"), ""
    except ImportError as error:
        return None, f"PyTorch cannot be imported ({error})"
    except Exception as error:  # a library that is missing or too old: OSError, RuntimeError
        return None, f"PyTorch cannot be imported ({type(error).__name__}: {error})"
