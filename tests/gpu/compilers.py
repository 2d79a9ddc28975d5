"""NVIDIA's compilers, neither of which needs a GPU: what they make of a CUDA source for Hopper.

nvcc belongs to the CUDA toolkit. NVRTC is the library that CuPy compiles with; `pip install
nvidia-cuda-nvrtc` brings it. Both pass the assembler's report on, from which `Report` takes how many
registers each kernel needs and how much of them it has to keep in slow memory ("spills").
"""

import ctypes
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ARCHITECTURE = "sm_90"
REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)


class Report(NamedTuple):
    """What the assembler says of a kernel."""

    registers: int
    spilled: int
    """Bytes of registers that are kept in slow memory, and of arrays that have no place in registers."""


def nvcc() -> str | None:
    """The path of nvcc, or None."""
    return shutil.which("nvcc")


def compile_with_nvcc(code: str, options: Sequence[str]) -> dict[str, Report]:
    """Compile a source with nvcc.

    Raises:
        RuntimeError: with the compiler's words, where it refuses the source.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.cu")
        source.write_text(code)
        command = ["nvcc", f"-arch={ARCHITECTURE}", "-cubin", "-Xptxas", "-v", *options]
        done = subprocess.run(
            [*command, "-o", str(Path(folder, "kernel.cubin")), str(source)],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return _reports(done.stdout + done.stderr)


def nvrtc() -> ctypes.CDLL | None:
    """The library NVRTC from PyPI, or None."""
    for package in ("nvidia.cu13", "nvidia.cuda_nvrtc"):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in found.submodule_search_locations if found else ():
            for builtins in Path(folder, "lib").glob("libnvrtc-builtins.so*"):
                ctypes.CDLL(str(builtins))  # which the library looks for by its name alone
            for path in Path(folder, "lib").glob("libnvrtc.so*"):
                return ctypes.CDLL(str(path))
    return None


def compile_with_nvrtc(code: str, options: Sequence[str]) -> dict[str, Report]:
    """Compile a source with NVRTC.

    Raises:
        RuntimeError: with the compiler's words, where it refuses the source.
    """
    library, program = nvrtc(), ctypes.c_void_p()
    text, name = code.encode(), b"kernel.cu"
    library.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None)
    try:
        flags = [f"--gpu-architecture={ARCHITECTURE}", "--ptxas-options=-v", *options]
        array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        failed = library.nvrtcCompileProgram(program, len(flags), array)
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        if failed:
            raise RuntimeError(log.value.decode())
        return _reports(log.value.decode())
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _reports(text: str) -> dict[str, Report]:
    return {
        name: Report(int(registers), max(map(int, spilled)))
        for name, *spilled, registers in REPORT.findall(text)
    }
