"""The part of gpu_report.py that runs cpu_vs_gpu.py's measurements, one batch size after the other."""

import functools
from typing import Any

from cpu_vs_gpu import BATCHES, best_step, measure_batch, result_of, tables
from gpu_findings import Allowance, Findings
from passes import LAYERS, WHOLE_NETWORKS, is_out_of_memory
from tables import Table

LIMIT_SECONDS = 0.2
"""A longer step is the last one of its device."""

SHOWN_BATCH = 64


def devices(allowance: Allowance, found: Findings) -> None:
    """Time layers and networks on the GPU and on the CPU; networks first, and the GPU first."""
    names, batches = [*WHOLE_NETWORKS, *LAYERS], BATCHES
    if allowance.is_tiny:
        names, batches = ["relu"], (1, 2)
    places = dict.fromkeys((allowance.device, "cpu"))
    rows = {
        f"{name} on {device}, batch {batch}": functools.partial(
            time_batch, name, device, batch, allowance, found
        )
        for name in names
        for device in places
        for batch in batches
    }
    found.carry_out(rows, allowance)


def time_batch(name: str, device: str, batch: int, allowance: Allowance, found: Findings) -> None:
    """Add one batch size, unless a smaller one took too long, or failed."""
    if any((r["name"], r["device"]) == (name, device) and r["is_last"] for r in found.data):
        return
    result: dict[str, Any] = {"name": name, "device": device, "batch": batch}
    result |= {"record": None, "is_last": True}
    found.data.append(result)
    found.save()
    try:
        record = measure_batch((LAYERS | WHOLE_NETWORKS)[name], batch, device, allowance.pace)
    except Exception as error:
        if is_out_of_memory(error):
            return
        raise
    result |= {"record": record, "is_last": best_step(record) > 1e3 * LIMIT_SECONDS}
    if record["problem"]:
        found.failed.append(f"{name} on {device}, batch {batch}: not replayed: {record['problem']}")


def results_of(data: list[dict]) -> list[dict]:
    """Return the results as cpu_vs_gpu.py has them."""
    records: dict[str, list] = {}
    for row in data:
        if row["record"] is not None:
            records.setdefault(row["name"], []).append(row["record"])
    return [result_of(name, found) for name, found in records.items()]


def device_tables(data: list[dict]) -> list[Table]:
    """Return the tables of cpu_vs_gpu.py."""
    return tables(results_of(data), SHOWN_BATCH)
