"""The safetensors format, in which most weights are published by now.

A file is the length of its header (8 bytes), the header, a JSON text that gives each tensor's dtype,
shape and place, and the numbers. There is nothing in it that could be run.

The format's own library reads and writes it. It refuses what is truncated, overlaps, leaves holes, or
claims more than the file has. Three things are left to be done here:

- NumPy has no bfloat16. The library's face for NumPy fails on it; here it is widened to float32.
- Arrays are written as they lie in memory. One that is not contiguous, such as a transposed weight or
  one with channels last, would silently be saved with its numbers in the wrong places.
- Errors do not name the file.
"""

from collections.abc import Mapping
from types import ModuleType

import numpy as np

RESERVED = "__metadata__"

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
    "BF16": "<u2",
}
"""How the numbers of a dtype lie in the file; those of BOOL and BF16 are then converted."""


def library() -> ModuleType:
    """Return the library.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"safetensors files are read and written by the package safetensors, which cannot be "
            f"imported ({error}); install it: pip install safetensors"
        ) from error
    return safetensors


def from_bytes(contents: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the contents of a file.

    Raises:
        ValueError, safetensors.SafetensorError: for contents that are damaged, or a dtype that
            NumPy cannot hold (8-bit floats).
        ImportError: without the library.
    """
    tensors = library().deserialize(contents)
    return {name: _to_array(name, **fields) for name, fields in tensors}


def _to_array(name: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    """Return one tensor of the library as an array."""
    if dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} is of the dtype {dtype}, which NumPy does not have")
    numbers = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":
        bits = np.atleast_1d(numbers).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if dtype == "BOOL":
        return numbers.astype(bool)
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the contents of a file with these arrays; the same arrays always give the same bytes.

    Raises:
        ValueError: for the one name that the format keeps for itself, and for dtypes that it lacks.
        ImportError: without the library.
    """
    for name, array in arrays.items():
        if name == RESERVED:
            raise ValueError(f"the name {name!r} is reserved in safetensors files")
        if array.dtype.newbyteorder("<") not in DTYPES.values() and array.dtype != bool:
            raise ValueError(f"{name}: safetensors files cannot hold {array.dtype}")
    contiguous = {name: np.array(array, order="C") for name, array in arrays.items()}
    return library().numpy.save(contiguous)
