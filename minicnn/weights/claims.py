"""What a `.pth` file claims to hold: tensors that are views of storages, before any number is read.

In PyTorch a tensor is a window on a storage, a flat row of numbers: an offset, a shape, and for each
axis a stride, the number of places from one element to the next. A transposed weight has other
strides on the same storage; tensors that share memory share their storage. A `.pth` file keeps the
storages as plain numbers, and in a pickle the windows. Running that pickle (`minicnn.weights.pickles`)
with the names below gives claims, tuples of a few numbers. Only what holds good is then looked at as
an array.
"""

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from minicnn.weights.pickles import Callee, run

BFLOAT16 = "bfloat16"
"""The upper half of a float32's bits. NumPy has no such dtype; it is widened to float32."""

DTYPES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": BFLOAT16,
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
"""The dtype in a storage by the name of its class: torch.FloatStorage holds float32."""

LATER_DTYPES = ("uint16", "uint32", "uint64")
"""Have no class of storages: the storage is of bytes, and the tensor says what they mean."""

UNTYPED = "untyped"

STORED = (*DTYPES.values(), UNTYPED)
"""All that a storage can hold: a text of the pickle could name other dtypes of NumPy, such as "object"."""

MOST_AXES = 64
"""As many as arrays of NumPy and tensors of PyTorch can have."""


class Storage(NamedTuple):
    """A row of numbers in the file.

    Attributes:
        dtype: name of their dtype, or UNTYPED.
        key: under which name the file keeps them.
        count: how many there are; bytes, if untyped.
    """

    dtype: str
    key: str
    count: int

    @property
    def nbytes(self) -> int:
        """What it takes in the file."""
        return self.count * itemsize(self.dtype)


class TensorClaim(NamedTuple):
    """A window on a storage; offset and strides are counted in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def itemsize(dtype: str) -> int:
    """Return the bytes of one element of a dtype, by its name."""
    return {UNTYPED: 1, BFLOAT16: 2}.get(dtype) or np.dtype(dtype).itemsize


# --- the names that a file may use ----------------------------------------------------------------


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> TensorClaim:
    """Stands for torch._utils._rebuild_tensor_v2."""
    _refuse_metadata(metadata)
    return _claim(storage, getattr(storage, "dtype", None), offset, shape, strides)


def _rebuild_with_dtype(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> TensorClaim:
    """Stands for torch._utils._rebuild_tensor_v3."""
    _refuse_metadata(metadata)
    return _claim(storage, dtype, offset, shape, strides)


def _refuse_metadata(metadata: Any) -> None:
    """Raise ValueError for a tensor whose numbers in the file have another sign than its own ("neg")."""
    if metadata is not None and metadata != {}:
        raise ValueError(
            "a tensor is a negated view of its storage; save it again with its resolve_neg()"
        )


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    """Stands for torch._utils._rebuild_parameter."""
    return data


def _ordered_dict(pairs: Any = ()) -> dict:
    """Stands for collections.OrderedDict, which every dict is by now; Python 2 gives a list of pairs."""
    if pairs == ():
        return {}
    if not isinstance(pairs, list) or not all(map(_is_entry, pairs)):
        raise ValueError("an OrderedDict is not made of a list of names and values")
    entries = dict(pairs)
    pairs.clear()  # used up: a program that names it again and again would copy it as often
    return entries


def _is_entry(pair: Any) -> bool:
    """Whether this is a key and a value; a tuple as a key may take forever to hash."""
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int)


def _size(sizes: Any = ()) -> tuple:
    """Stands for torch.Size."""
    if not isinstance(sizes, list | tuple) or len(sizes) > MOST_AXES:
        raise ValueError(f"a torch.Size is not made of up to {MOST_AXES} numbers")
    return tuple(sizes)


KNOWN = {
    "collections.OrderedDict": Callee(_ordered_dict),
    "torch._utils._rebuild_tensor_v2": Callee(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v3": Callee(_rebuild_with_dtype),
    "torch._utils._rebuild_parameter": Callee(_rebuild_parameter),
    "torch.Size": Callee(_size),
    "torch.storage.UntypedStorage": UNTYPED,
    **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
    **{f"torch.{dtype}": dtype for dtype in (*DTYPES.values(), *LATER_DTYPES)},
}


def read_claims(program: BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Run the pickle of a `.pth` file.

    Returns:
        What it makes: dicts, lists, numbers, texts, and a `TensorClaim` for each tensor; and all
        storages by their keys.
    """
    storages: dict[str, Storage] = {}
    return run(program, KNOWN, partial(_find_storage, storages)), storages


def _find_storage(storages: dict[str, Storage], identification: Any) -> Storage:
    """Return the claim of a storage, by PyTorch's tuple ("storage", class, key, device, count)."""
    match identification:
        case ("storage", str(dtype), str(key), _, int(count)):
            storage = Storage(dtype, key, count)
        case ("storage", str(dtype), str(key), _, int(count), None):  # legacy form
            storage = Storage(dtype, key, count)
        case _:
            storage = None
    if storage is None or storage.dtype not in STORED or storage.count < 0:
        raise ValueError("a storage is not described as PyTorch does it since version 0.4")
    if storages.setdefault(key, storage) != storage:
        raise ValueError(f"the storage {key} is described in two ways")
    return storage


# --- from claims to arrays ------------------------------------------------------------------------


def _claim(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any) -> TensorClaim:
    """Return a window, after checking that it lies inside of its storage."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor is not built on a storage")
    if not isinstance(dtype, str) or dtype not in (*DTYPES.values(), *LATER_DTYPES):
        raise ValueError("a tensor states no dtype that is known here")
    if not (_are_sizes(shape) and _are_sizes(strides) and _are_sizes((offset,))):
        raise ValueError("a tensor's offset, shape and strides are not whole numbers from 0")
    if len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {shape} has {len(strides)} strides")
    if 0 not in shape:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if (last + 1) * itemsize(dtype) > storage.nbytes:
            raise ValueError(
                f"a tensor of shape {shape} reaches to element {last} of the storage {storage.key}, "
                f"which has {storage.nbytes // itemsize(dtype)}"
            )
    return TensorClaim(storage, dtype, offset, shape, strides)


def _are_sizes(sizes: Any) -> bool:
    if not isinstance(sizes, tuple) or len(sizes) > MOST_AXES:
        return False
    return all(type(n) is int and n >= 0 for n in sizes)


def to_arrays(
    claims: Mapping[str, TensorClaim], read: Callable[[Storage], bytes], byteorder: str = "little"
) -> dict[str, np.ndarray]:
    """Read the storages of tensors, each once, and return the tensors as views of them.

    Args:
        claims: names to tensors.
        read: returns the bytes of a storage.
        byteorder: "little" or "big".
    """
    rows: dict[tuple[str, str], np.ndarray] = {}
    arrays = {}
    for name, claim in claims.items():
        place = (claim.storage.key, claim.dtype)
        if place not in rows:
            rows[place] = _to_row(read(claim.storage), claim.dtype, byteorder)
        arrays[name] = _window(rows[place], claim)
    return arrays


def _to_row(numbers: bytes, dtype: str, byteorder: str) -> np.ndarray:
    """Return bytes as a row of numbers in memory of its own, which can be written."""
    order = "<" if byteorder == "little" else ">"
    count = len(numbers) // itemsize(dtype)
    if dtype == BFLOAT16:
        bits = np.frombuffer(numbers, f"{order}u2", count).astype(np.uint32)
        return (bits << 16).view(np.float32)
    if dtype == "bool":
        return np.frombuffer(numbers, np.uint8, count) != 0  # other bytes than 0 and 1 are no bool
    native = np.dtype(dtype)
    return np.frombuffer(numbers, native.newbyteorder(order), count).astype(native)


def _window(row: np.ndarray, claim: TensorClaim) -> np.ndarray:
    """Return the view that a claim describes; NumPy checks once more that it lies inside."""
    if 0 in claim.shape:
        return np.empty(claim.shape, row.dtype)
    strides = [step * row.itemsize for step in claim.strides]
    return np.ndarray(claim.shape, row.dtype, row, claim.offset * row.itemsize, strides)
