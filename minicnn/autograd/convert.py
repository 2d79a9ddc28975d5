"""What a tensor can be made from: arrays as they are, Python numbers in the default dtypes.

Of an array of a subclass (np.matrix, np.memmap) a tensor takes the memory, and not the class.
"""

from typing import Any

import numpy as np

from minicnn.autograd.arithmetic import Arithmetic, unwrapped
from minicnn.backend import Array, is_array

default_dtype = np.dtype(np.float32)
"""The dtype of tensors made from Python floats."""


def as_array(data: Any, dtype: Any) -> Array:
    """Return `data` as an array: arrays as they are, Python numbers in the default dtypes."""
    array = unwrapped(data)
    if not is_array(array):
        array = _from_python(array)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"Tensor: expected numbers, got an array of dtype {array.dtype}, shape {array.shape}"
        )
    return array if dtype is None or array.dtype == dtype else array.astype(dtype)


def array_of(value: Any) -> Array:
    """Return the array of a tensor, an array as it is, and a list as the array that NumPy makes."""
    array = unwrapped(value)
    return array if is_array(array) else np.asarray(array)


def _from_python(data: Any) -> np.ndarray:
    """Return numbers, nested lists of numbers and tensors as an array; floats become float32."""
    if isinstance(data, (list, tuple)) and any(isinstance(item, Arithmetic) for item in data):
        data = [item.tolist() if isinstance(item, Arithmetic) else item for item in data]
    try:
        array = np.array(data)
    except ValueError as error:
        raise ValueError(f"Tensor: nested lists must be of equal lengths ({error})") from None
    keeps_dtype = isinstance(data, np.generic) or array.dtype.kind != "f"
    return array if keeps_dtype else array.astype(default_dtype)
