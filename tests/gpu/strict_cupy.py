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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.gpu.strict_arrays import Grid, Ufunc, lifted, ndarray, traffic
from tests.gpu.strict_cuda import (
    FUNCTIONS,
    NAMES,
    cuda_namespace,
    erf,
    poison,
    take,
    take_along_axis,
)
from tests.gpu.strict_streams import Stream, Traffic


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
    traffic().upload("asarray")
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
        ready = Ufunc(function) if isinstance(function, np.ufunc) else lifted(function, name)
        setattr(cupy, name, ready)
    for name in NAMES:
        setattr(cupy, name, getattr(np, name))
    cupy.empty, cupy.empty_like = ndarray, _empty_like
    cupy.take = lifted(take, "take")
    cupy.take_along_axis = lifted(take_along_axis, "take_along_axis")
    cupy.ndarray, cupy.asarray, cupy.ogrid = ndarray, asarray, Grid()
    cupy.array = lambda a, dtype=None, copy=True: asarray(a, dtype, copy=copy)
    cupy.asnumpy = lambda a, stream=None, blocking=True: a.get(stream, blocking=blocking)
    tricks = types.SimpleNamespace(as_strided=lifted(np.lib.stride_tricks.as_strided, "as_strided"))
    cupy.lib = types.SimpleNamespace(stride_tricks=tricks)
    cupy.cuda = cuda_namespace(devices, cupy.traffic)
    cupy.is_available = cupy.cuda.is_available
    cupy.get_default_memory_pool = lambda: cupy.cuda.pools[cupy.cuda.Device().id]
    return cupy


def make_cupyx() -> dict[str, types.ModuleType]:
    """Make the modules of `cupyx` that the framework uses, by name."""
    special = types.ModuleType("cupyx.scipy.special")
    special.erf = lifted(erf, "erf")
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
