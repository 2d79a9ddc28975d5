"""What a measurement was made with: the processor, the threads, the versions."""

import os
import platform
from importlib import metadata
from pathlib import Path

import minicnn


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
        "numpy": metadata.version("numpy"),
        "numba": metadata.version("numba"),
    }


def _processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
