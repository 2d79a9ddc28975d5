"""What a measurement was made with: the processor, the GPU, the threads, the versions."""

import os
import platform
from importlib import metadata
from pathlib import Path

import minicnn
from minicnn import cuda
from minicnn.backend import cuda_problem
from minicnn.kernels.dispatch import can_compile


def describe() -> dict[str, str | int]:
    """Return hardware and versions, for the head of a results file."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "minicnn": minicnn.__version__,
        "numpy": version_of("numpy"),
        "numba": version_of("numba"),
    }


def describe_threads() -> dict[str, str | int]:
    """Return with how many threads the CPU computes: compiled loops, and NumPy's matrix product."""
    found: dict[str, str | int] = {}
    if can_compile():
        import numba

        found["threads"] = numba.get_num_threads()
    blas = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    return found | {"OPENBLAS_NUM_THREADS": blas}


def describe_gpu() -> dict[str, str | int]:
    """Return the GPU in use with its driver and libraries; or that there is none."""
    problem = cuda_problem()
    if problem is not None:
        return {"gpu": "none"}
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "gpu": cuda.get_device_name(),
        "gpu memory MiB": properties["totalGlobalMem"] // 2**20,
        "multiprocessors": properties["multiProcessorCount"],
        "driver": runtime.driverGetVersion(),
        "cuda": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "torch": version_of("torch"),
    }


def version_of(package: str) -> str:
    """Return the version of an installed package, or that it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
