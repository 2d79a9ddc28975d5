"""The memory of this process, as the system counts it. Needs Linux' /proc, and glibc."""

import ctypes
import gc
from pathlib import Path
from typing import Any

from minicnn.kernels.memory import release

STATUS = Path("/proc/self/status")
RESET_PEAK = Path("/proc/self/clear_refs")


def status(key: str) -> float:
    """Return an entry of this process's status in MiB: VmRSS is the memory held, VmHWM its peak."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) / 1024  # the system writes kB for KiB
    raise KeyError(key)


def reset_peak() -> None:
    """Let VmHWM start again from what is held now."""
    RESET_PEAK.write_text("5")  # proc(5)


def give_back(model: Any) -> None:
    """Forget the gradients, and give free memory back to the system: minicnn's arena, then the C library's heap."""
    for parameter in model.parameters():
        parameter.grad = None
    gc.collect()
    release()
    ctypes.CDLL(None).malloc_trim(0)
