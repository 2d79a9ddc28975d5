"""`cupy.RawModule` without a GPU: compiles the same CUDA source with g++ and runs its threads as fibres.

cuda_on_host.h tells how threads run. This file compiles, once for each source and set of options, and
launches: it takes the arguments that CuPy's kernels take, and refuses what a card would misread
without a word: an argument of another size or kind than the kernel declares, a block that is no
whole number of warps, a grid of no blocks.

AddressSanitizer sees what is read or written outside of arrays:

    MINICNN_CUDA_ON_HOST_SANITIZE=1 LD_PRELOAD=$(g++ -print-file-name=libasan.so) \\
        ASAN_OPTIONS=detect_leaks=0 python -m pytest tests/kernels/gpu
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.gpu.strict_arrays import change

HEADER = Path(__file__).with_name("cuda_on_host.h")
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(')
FLAGS = [
    *("-std=c++17", "-O1", "-shared", "-fPIC", "-w"),
    *("-fno-strict-aliasing", "-ffp-contract=off"),
    "-U_FORTIFY_SOURCE",  # which takes jumps between fibres for mistakes
]
SANITIZE = "MINICNN_CUDA_ON_HOST_SANITIZE"
"""Environment variable: compile with AddressSanitizer, whose library the process has to preload."""

WARP, MOST_THREADS, MOST_BLOCKS = 32, 1024, (2**31 - 1, 65535, 65535)
SHARED_BYTES, MOST_SHARED_BYTES = 48 * 2**10, 227 * 2**10
"""Shared memory that a block gets, and what it may get if the kernel asks for it first (Hopper)."""


def has_compiler() -> bool:
    """Whether there is a g++."""
    return shutil.which("g++") is not None


def equip(cupy: ModuleType) -> None:
    """Let a stand-in for CuPy run kernels."""
    cupy.RawModule = HostModule


class HostModule:
    """The kernels of one source, see `cupy.RawModule`.

    Args:
        code: CUDA C++, kernels declared as `extern "C" __global__ void name(...)`.
        options: compiler options, of which -D and -I are heeded.
        backend: ignored.
    """

    seed = 0
    """Decides in which order threads run, in all launches that follow."""

    def __init__(self, *, code: str, options: Sequence[str] = (), backend: str = "nvrtc"):
        self._code = code
        self._options = [option for option in options if option[:2] in ("-D", "-I")]
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> "HostFunction":
        """Return a kernel; the module is compiled when it is first asked for one.

        Raises:
            RuntimeError: with the compiler's words, where it refuses the source.
            AttributeError: where there is no such kernel.
        """
        if self._library is None:
            self._library = ctypes.CDLL(str(_compile(self._code, self._options)))
        return HostFunction(name, self._library)


class HostFunction:
    """One kernel, see `cupy.RawKernel`."""

    def __init__(self, name: str, library: ctypes.CDLL):
        self.name = name
        self.max_dynamic_shared_size_bytes = SHARED_BYTES
        self._launch = library[f"launch_{name}"]
        self._launch.restype = ctypes.c_char_p
        describe = library[f"describe_{name}"]
        describe.restype = ctypes.c_char_p
        self.signature = describe().decode().split()

    def __call__(
        self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0, stream: Any = None
    ) -> None:
        """Run all threads.

        Args:
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            args: device arrays, NumPy's numbers, Python's numbers (as int64, float64, bool), and NumPy
                arrays of one element of a structured dtype, which a kernel takes as a struct.
            shared_mem: bytes of dynamic shared memory.
            stream: ignored.

        Raises:
            TypeError: for arguments that are not what the kernel declares.
            ValueError: for a grid or a block that no card would run.
            RuntimeError: where threads wait for each other in vain.
        """
        grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
        self._check_geometry(grid, block, shared_mem)
        holders = [_holder(argument) for argument in args]
        found = [f"{kind}{holder.nbytes}" for kind, holder in holders]
        for i, declared in enumerate(self.signature[: len(found)]):
            if (declared, found[i]) == ("p8", "i8") and not holders[i][1]:
                found[i] = "p8"  # 0 as an address: no array
        if found != self.signature:
            raise TypeError(
                f"{self.name}: the kernel declares {' '.join(self.signature)}, got {' '.join(found)} "
                "(p a pointer, i an integer, f a float, s a struct; and its bytes)"
            )
        addresses = (ctypes.c_void_p * len(holders))(*(h.ctypes.data for _, h in holders))
        launch = (ctypes.c_uint * 8)(*grid, *block, shared_mem, HostModule.seed)
        kept = holders, [getattr(argument, "_host", None) for argument in args]

        def run(_kept: tuple = kept) -> None:
            problem = self._launch(launch, addresses)
            if problem is not None:
                raise RuntimeError(f"{self.name}: {problem.decode()}")

        change(run, args)

    def _check_geometry(self, grid: tuple, block: tuple, shared_mem: int) -> None:
        threads = int(np.prod(block))
        if not 0 < threads <= MOST_THREADS or threads % WARP or min(block) < 1:
            raise ValueError(
                f"{self.name}: expected a block of whole warps, at most {MOST_THREADS} threads, got {block}"
            )
        if min(grid) < 1 or any(n > most for n, most in zip(grid, MOST_BLOCKS, strict=True)):
            raise ValueError(f"{self.name}: expected 1 to {MOST_BLOCKS} blocks, got {grid}")
        if shared_mem > min(self.max_dynamic_shared_size_bytes, MOST_SHARED_BYTES):
            raise ValueError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, but "
                f"max_dynamic_shared_size_bytes is {self.max_dynamic_shared_size_bytes}"
            )


def _holder(argument: Any) -> tuple[str, np.ndarray]:
    """Return the kind of an argument, and host memory that holds it as a kernel gets it."""
    if isinstance(argument, np.ndarray):
        if argument.dtype.names is None or argument.size != 1:
            raise TypeError(
                f"expected a device array or one struct, got a NumPy array {argument!r}"
            )
        return "s", argument
    if isinstance(argument, np.generic | bool | int | float):
        number = np.asarray(argument)
        if number.dtype.kind not in "biuf":
            raise TypeError(f"expected a number, got {argument!r}")
        return "f" if number.dtype.kind == "f" else "i", number
    return "p", np.asarray(argument.data.ptr, np.uint64)


def _compile(code: str, options: Sequence[str]) -> Path:
    """Return the shared library of a source, compiled now or by an earlier call for the same text."""
    names = KERNEL.findall(code)
    source = "\n".join(
        [
            f'#include "{HEADER}"',
            '#line 1 "kernel.cu"',
            code,
            *(f"EXPORT({name})" for name in names),
        ]
    )
    flags = [*FLAGS, *options]
    if os.environ.get(SANITIZE):
        flags += ["-fsanitize=address", "-g"]
    key = "\0".join([source, HEADER.read_text(), *flags])
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"minicnn-cuda-on-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{name}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as new:
            text, made = Path(new, "kernel.cpp"), Path(new, "kernel.so")
            text.write_text(source)
            done = subprocess.run(
                ["g++", *flags, "-o", str(made), str(text)], capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"g++ refuses the source:\n{done.stderr}")
            made.replace(library)  # at once, so that nobody sees half a library
    return library
