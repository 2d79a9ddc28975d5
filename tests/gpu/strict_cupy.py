"""A stand-in for CuPy that computes with NumPy, and refuses what CuPy refuses.

    with installed(make_cupy()) as cupy:
        x = cupy.asarray(numpy_array)

Code that runs on it unchanged has not mixed up host and device: the stand-in has CuPy's names and no
others, never becomes a NumPy array by itself, takes no NumPy array as an operand or a value to
assign, returns 0-d arrays where NumPy returns scalars, computes into new arrays in row-major order,
whatever that of the operands is, and wraps an index that is out of range round, as CuPy does, instead
of raising. `cupy.traffic` lists what passed between host and device: each
moment in which the host waits for the device costs a GPU more than a small layer does.

Names and signatures were compared with those of CuPy 14.2 (`test_strict_cupy.py` does it again where
CuPy is installed); the rules of indexing stand in its cupy/_core/_routines_indexing.pyx. What runs on
the stand-in can still be wrong on a GPU: it knows nothing of rounding and of speed. Kernels are another
part of it, `equip` in cuda_on_host/host_module.py.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.gpu.strict_cuda import (
    ATTRIBUTES,
    CHANGES,
    FUNCTIONS,
    KEEPS_ORDER,
    METHODS,
    NAMES,
    OPERATORS,
    PRODUCTS,
    SYNCS,
    Flags,
    Pointer,
    cuda_namespace,
    erf,
    poison,
    take,
    take_along_axis,
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
            _traffic().wait("get")
        if out is None:
            return self._host.copy("C" if order == "C" else "F")
        out[...] = self._host
        return out

    def item(self, *index):
        _traffic().wait("item")
        return self._host.item(*index)

    def tolist(self):
        _traffic().wait("tolist")
        return self._host.tolist()

    def __float__(self):
        _traffic().wait("float")
        return float(self._host)

    def __int__(self):
        _traffic().wait("int")
        return int(self._host)

    def __bool__(self):
        _traffic().wait("bool")
        return bool(self._host)

    def __repr__(self):
        _traffic().wait("repr")
        return repr(self._host)

    def __format__(self, spec):
        _traffic().wait("format")
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
        _traffic().upload("set")
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
            return _lifted(function, name, self)
        raise AttributeError(f"cupy.ndarray has no attribute {name!r} (or the stand-in lacks it)")

    data = property(Pointer)
    flags = property(Flags)

    @property
    def T(self):  # noqa: N802 (NumPy's name)
        return self.transpose()


def _lifted(function: Callable, name: str, *first: Any) -> Callable:
    """Let a function of NumPy take and give boxed arrays, and nothing of NumPy's."""

    def call(*args: Any, **options: Any) -> Any:
        if name in SYNCS:
            _traffic().wait(name)
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


def _traffic() -> Traffic:
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
            _traffic().upload("index")
            part = ndarray.cupy.asarray(part if np.size(part) else np.zeros(0, int))
        if isinstance(part, ndarray):
            if part.dtype.kind == "b":
                _traffic().wait("mask")
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
        result = _lifted(compute, name)(self, *others)
        return self if name.startswith("__i") and name != "__invert__" else result

    return call


for _name in OPERATORS:
    setattr(ndarray, _name, _operator(_name))


class _Ufunc:
    """A universal function: called, or `at` places that may repeat."""

    def __init__(self, ufunc: np.ufunc):
        self.__name__ = ufunc.__name__
        self._ufunc = ufunc

    def __call__(self, *args: Any, **options: Any) -> Any:
        if len(args) > self._ufunc.nin:
            *args, options["out"] = args
        return _lifted(self._ufunc, self.__name__)(*args, **options)

    def at(self, array: ndarray, index: Any, *values: Any) -> None:
        if array.dtype not in (np.int32, np.float16, np.float32, np.float64, np.uint32, np.uint64):
            raise TypeError(f"scatter_add does not support {array.dtype}")
        host, shape, opened = array._host, array.shape, _opened(values)
        boxes = [array, *values]
        change(lambda: self._ufunc.at(host, _index(index, shape), *opened), boxes)


class _Grid:
    """`cupy.ogrid`: the numbers of an array's places, one array an axis."""

    def __getitem__(self, slices: Any) -> Any:
        return _new(lambda: np.ogrid[slices], [])


def asarray(a: Any, dtype: Any = None, order: str | None = None, *, copy=None, blocking=False):
    """Bring numbers of the host to the device; arrays of the device stay where they are."""
    if isinstance(a, ndarray):
        unchanged = dtype is None or np.dtype(dtype) == a.dtype
        current = ndarray.cupy.cuda.Device().id
        if a.device.id != current:
            return ndarray(None, host=a._host.astype(dtype or a.dtype), device=current)
        return a if unchanged and not copy else a.astype(dtype or a.dtype)
    if isinstance(a, (list, tuple)) and any(isinstance(part, ndarray) for part in a):
        return ndarray.cupy.stack([asarray(part, dtype) for part in a])
    rows_inside = isinstance(a, np.ndarray) and a.flags.f_contiguous and not a.flags.c_contiguous
    host = np.array(a, dtype=dtype, order="F" if rows_inside else "C")  # no other order is kept
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    _traffic().upload("asarray")
    box = ndarray(None, host=np.empty_like(host))
    poison(box._host)
    Stream.current().queue(lambda: np.copyto(box._host, host))
    return box


def _empty_like(prototype: ndarray, dtype=None, order="K", subok=None, shape=None) -> ndarray:
    host = np.empty_like(prototype._host, dtype, order, shape=shape)
    poison(host)
    return ndarray(None, host=host)


def make_cupy(devices: int | None = 1) -> types.ModuleType:
    """Make a module like `cupy` for a machine with a number of GPUs; None: without a driver."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.traffic = Traffic()
    for name in FUNCTIONS:
        function = getattr(np, name)
        lifted = _Ufunc(function) if isinstance(function, np.ufunc) else _lifted(function, name)
        setattr(cupy, name, lifted)
    for name in NAMES:
        setattr(cupy, name, getattr(np, name))
    cupy.empty, cupy.empty_like = ndarray, _empty_like
    cupy.take = _lifted(take, "take")
    cupy.take_along_axis = _lifted(take_along_axis, "take_along_axis")
    cupy.ndarray, cupy.asarray, cupy.ogrid = ndarray, asarray, _Grid()
    cupy.array = lambda a, dtype=None, copy=True: asarray(a, dtype, copy=copy)
    cupy.asnumpy = lambda a, stream=None, blocking=True: a.get(stream, blocking=blocking)
    tricks = types.SimpleNamespace(
        as_strided=_lifted(np.lib.stride_tricks.as_strided, "as_strided")
    )
    cupy.lib = types.SimpleNamespace(stride_tricks=tricks)
    cupy.cuda = cuda_namespace(devices, cupy.traffic)
    cupy.is_available = cupy.cuda.is_available
    cupy.get_default_memory_pool = lambda: cupy.cuda.pools[cupy.cuda.Device().id]
    return cupy


def make_cupyx() -> dict[str, types.ModuleType]:
    """Make the modules of `cupyx` that the framework uses, by name."""
    special = types.ModuleType("cupyx.scipy.special")
    special.erf = _lifted(erf, "erf")
    scipy = types.ModuleType("cupyx.scipy")
    scipy.special = special
    cupyx = types.ModuleType("cupyx")
    cupyx.scipy = scipy
    return {"cupyx": cupyx, "cupyx.scipy": scipy, "cupyx.scipy.special": special}


@contextmanager
def installed(cupy: types.ModuleType) -> Iterator[types.ModuleType]:
    """Let `import cupy` find the stand-in inside the block."""
    modules = {"cupy": cupy, "cupy.cuda": cupy.cuda, **make_cupyx()}
    before = {name: sys.modules.get(name) for name in modules}
    ndarray.cupy = cupy
    sys.modules.update(modules)
    try:
        yield cupy
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
