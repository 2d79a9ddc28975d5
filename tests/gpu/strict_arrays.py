"""The arrays of the stand-in for CuPy, and the functions on them; strict_cupy.py makes the module of them."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.gpu.strict_cuda import (
    ATTRIBUTES,
    CHANGES,
    KEEPS_ORDER,
    METHODS,
    OPERATORS,
    PRODUCTS,
    SYNCS,
    Flags,
    Pointer,
    poison,
    take,
)
from tests.gpu.strict_streams import Stream, Traffic


class ndarray:  # noqa: N801 (CuPy's name)
    """An array on the device: NumPy's, in a box that opens with `get` only."""

    __array_priority__ = 100
    __hash__ = None
    cupy: types.ModuleType
    """The stand-in that is installed."""
    _pool = None

    def __init__(self, shape, dtype=float, order="C", *, host=None, base=None, device=None):
        self._host = np.empty(shape, dtype, order) if host is None else host
        self.base = base
        cuda = ndarray.cupy.cuda
        self.device = cuda.Device(device)
        if base is None:
            pool = cuda.pool_for(self.device.id)
            self._taken = pool.take(self._host.nbytes)
            self._pool = pool  # after it has given what is to be given back
        if host is None:
            poison(self._host)

    def __del__(self):
        if self._pool is not None:
            self._pool.give_back(self._taken)

    # --- what leaves the device -------------------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        if stream is None or blocking:
            traffic().wait("get")
        if out is None:
            return self._host.copy("C" if order == "C" else "F")
        out[...] = self._host
        return out

    def item(self, *index):
        traffic().wait("item")
        return self._host.item(*index)

    def tolist(self):
        traffic().wait("tolist")
        return self._host.tolist()

    def __float__(self):
        traffic().wait("float")
        return float(self._host)

    def __int__(self):
        traffic().wait("int")
        return int(self._host)

    def __bool__(self):
        traffic().wait("bool")
        return bool(self._host)

    def __repr__(self):
        traffic().wait("repr")
        return repr(self._host)

    def __format__(self, spec):
        traffic().wait("format")
        return format(self._host.item() if self.ndim == 0 else self._host, spec)

    def __reduce__(self):
        return ndarray.cupy.asarray, (self.get(),)

    def __array__(self, *args, **options):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if "out" in options:
            (options["out"],) = options["out"]
        function = getattr(ndarray.cupy, ufunc.__name__)
        return getattr(function, method)(*inputs, **options)

    def __array_function__(self, function, types_, args, options):
        raise TypeError(
            f"numpy.{function.__name__} was called with a device array; ask its library"
        )

    # --- what reaches it --------------------------------------------------------------------------

    def set(self, array, stream=None):
        if not isinstance(array, np.ndarray) or array.shape != self.shape:
            raise ValueError(f"set: expected a NumPy array of shape {self.shape}, got {array!r}")
        if array.dtype != self.dtype:
            raise TypeError(f"set: {array.dtype} array cannot be set to {self.dtype} array")
        traffic().upload("set")
        poison(self._host)
        (stream or Stream.current()).queue(lambda: np.copyto(self._host, array))

    def __setitem__(self, index, value):
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if isinstance(value, (list, tuple)):
            raise TypeError("a list cannot be assigned to a device array")
        host, shape, opened = self._host, self.shape, _opened(value)
        if Stream.current().is_capturing():
            _index(index, shape)  # refuses now what would be refused when the graph is launched
        change(lambda: host.__setitem__(_index(index, shape), opened), [self, value])

    def __getitem__(self, index):
        host, shape = self._host, self.shape
        return _new(lambda: host[_index(index, shape)], [self])

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._host)

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            return getattr(self._host, name)
        if name in METHODS:
            function = take if name == "take" else getattr(np.ndarray, name)
            return lifted(function, name, self)
        raise AttributeError(f"cupy.ndarray has no attribute {name!r} (or the stand-in lacks it)")

    data = property(Pointer)
    flags = property(Flags)

    @property
    def T(self):  # noqa: N802 (NumPy's name)
        return self.transpose()


def lifted(function: Callable, name: str, *first: Any) -> Callable:
    """Let a function of NumPy take and give boxed arrays, and nothing of NumPy's."""

    def call(*args: Any, **options: Any) -> Any:
        if name in SYNCS:
            traffic().wait(name)
        if name in PRODUCTS:
            Stream.current().refuse("calling cuBLAS API", NotImplementedError)
        args = (*first, *args)
        boxes = [a for a in (*args, *options.values()) if isinstance(a, ndarray)]
        if "dtype" in options and options["dtype"] is None:
            del options["dtype"]
        opened, opened_options = _opened(args), _opened(options)

        def compute() -> Any:
            with np.errstate(all="ignore"):  # a GPU has no floating-point warnings
                return function(*opened, **opened_options)

        if isinstance(options.get("out"), ndarray) or name in CHANGES:
            change(compute, boxes)
            return options.get("out")
        return _new(compute, boxes, name in KEEPS_ORDER)

    return call


def traffic() -> Traffic:
    return ndarray.cupy.traffic


def _opened(value: Any) -> Any:
    """Take arrays out of their boxes, in lists and dicts too; refuse NumPy's."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_opened(part) for part in value)
    if isinstance(value, dict):
        return {key: _opened(part) for key, part in value.items()}
    return value


def change(compute: Callable, boxes: list) -> None:
    """Let `compute` change arrays on the device; now, or when the graph is launched that is captured."""
    Stream.current().do(compute, *_lent(boxes))


def _new(compute: Callable, sources: list[ndarray], keeps_order: bool = False) -> Any:
    """Put what `compute` makes of `sources` into boxes; numbers in new ones come when a captured graph is launched."""
    boxed = _boxed(compute(), sources, keeps_order)
    if Stream.current().is_capturing():
        seen = [id(source) for source in sources]
        new = [box for box in _flat(boxed) if box.base is None and id(box) not in seen]
        hosts = [box._host for box in new]

        def fill() -> None:
            for host, numbers in zip(hosts, _flat(compute()), strict=True):
                host[...] = numbers

        if new:
            Stream.current().do(fill, *_lent(sources))
        for host in hosts:
            poison(host)
    return boxed


def _flat(result: Any) -> list:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _lent(boxes: list) -> list[ndarray]:
    """The owners of memory that comes from no pool of a graph's own."""
    owners = [box if box.base is None else box.base for box in boxes if isinstance(box, ndarray)]
    return [owner for owner in owners if owner._pool in ndarray.cupy.cuda.pools]


def _boxed(result: Any, sources: list[ndarray], keeps_order: bool = False) -> Any:
    """Put what NumPy computed from `sources` into boxes: views of theirs, or new memory on their device."""
    if isinstance(result, (list, tuple)):
        return type(result)([_boxed(part, sources, keeps_order) for part in result])
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if not isinstance(result, np.ndarray):
        return result
    device = sources[0].device.id if sources else None
    if any(source.device.id != device for source in sources):
        raise ValueError("Array device must be same as the current device")
    for source in sources:
        if result is source._host:
            return source
        if result.base is not None and np.may_share_memory(result, source._host):
            base = source if source.base is None else source.base
            return ndarray(None, host=result, base=base, device=device)
    if not keeps_order:
        result = np.asarray(result, order="C")
    return ndarray(None, host=result, device=device)


def _index(index: Any, shape: tuple[int, ...]) -> Any:
    """Open the arrays of an index. Integers out of range are wrapped round; masks are counted by the host."""
    parts = index if isinstance(index, tuple) else (index,)
    axes = sum(_axes_taken(part) for part in parts)
    opened, axis = [], 0
    for part in parts:
        if isinstance(part, (np.ndarray, list)):
            traffic().upload("index")
            part = ndarray.cupy.asarray(part if np.size(part) else np.zeros(0, int))
        if isinstance(part, ndarray):
            if part.dtype.kind == "b":
                traffic().wait("mask")
                part = part._host
            else:
                part = part._host % max(shape[axis], 1)
        opened.append(part)
        axis += len(shape) - axes if part is Ellipsis else _axes_taken(part)
    return tuple(opened) if isinstance(index, tuple) else opened[0]


def _axes_taken(part: Any) -> int:
    """How many axes of an array a part of an index stands for."""
    if part is None or part is Ellipsis:
        return 0
    dtype = getattr(part, "dtype", None)
    return part.ndim if dtype is not None and dtype.kind == "b" else 1


def _operator(name: str) -> Callable:
    """An operator between arrays on the device and numbers."""
    compute = getattr(np.ndarray, name)

    def call(self: ndarray, *others: Any) -> Any:
        if others and not isinstance(
            others[0], (ndarray, np.ndarray, np.generic, bool, int, float)
        ):
            return NotImplemented
        result = lifted(compute, name)(self, *others)
        return self if name.startswith("__i") and name != "__invert__" else result

    return call


for _name in OPERATORS:
    setattr(ndarray, _name, _operator(_name))


class Ufunc:
    """A universal function: called, or `at` places that may repeat."""

    def __init__(self, ufunc: np.ufunc):
        self.__name__ = ufunc.__name__
        self._ufunc = ufunc

    def __call__(self, *args: Any, **options: Any) -> Any:
        if len(args) > self._ufunc.nin:
            *args, options["out"] = args
        return lifted(self._ufunc, self.__name__)(*args, **options)

    def at(self, array: ndarray, index: Any, *values: Any) -> None:
        if array.dtype not in (np.int32, np.float16, np.float32, np.float64, np.uint32, np.uint64):
            raise TypeError(f"scatter_add does not support {array.dtype}")
        host, shape, opened = array._host, array.shape, _opened(values)
        boxes = [array, *values]
        change(lambda: self._ufunc.at(host, _index(index, shape), *opened), boxes)


class Grid:
    """`cupy.ogrid`: the numbers of an array's places, one array an axis."""

    def __getitem__(self, slices: Any) -> Any:
        return _new(lambda: np.ogrid[slices], [])
