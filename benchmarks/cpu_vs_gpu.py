"""Time layers and networks of a course on the CPU and on the GPU: from which batch on is the GPU quicker?

    python benchmarks/cpu_vs_gpu.py                        layers and networks, the CPU and the GPU
    python benchmarks/cpu_vs_gpu.py --only lenet5 relu     rows whose name holds one of these words
    python benchmarks/cpu_vs_gpu.py --precision tf32       let the GPU's tensor cores compute convolutions
    python benchmarks/cpu_vs_gpu.py --quick                see that everything works; saves nothing

Forward, backward and update (SGD with momentum) are timed one after the other, as a training step does
them: medians after a warm-up, on the GPU between events in its queue (`device_timing.py`). Beside them, for each
batch size: the whole step as `minicnn.capture` replays it, where it does; the batch's way to the GPU from
ordinary memory, waited for; the first step of all, which compiles and loads what no earlier row has
(machine code kept on disk by earlier runs is used); and the memory that a step takes at its peak.
GFLOP/s count two operations for each multiply-add of the forward pass, three times: backward multiplies as
often again for the input as for the weights.

Batch sizes grow until a step takes longer than --limit seconds. The crossover is where the lines of the two
devices meet, between two batch sizes by interpolation, the way to the GPU included. Where there is no GPU, the
CPU is measured, and the report says so. Results go to --out (benchmarks/results): cpu_vs_gpu.json, .md, .png.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
from device_timing import WHOLE, clock_of, first_call, milliseconds, time_phases
from environment import describe, describe_gpu, describe_threads
from passes import (
    LAYERS,
    WHOLE_NETWORKS,
    Pass,
    Subject,
    captured_time,
    is_out_of_memory,
    release_memory,
)
from precision import PRECISIONS, use_precision
from resident import STATUS, give_back, reset_peak, status
from tables import Table, described
from timing import Pace

from minicnn import cuda
from minicnn.backend import cuda_problem, to_device

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 4, 16, 64, 256, 1024)
DEVICES = ("cpu", "cuda")

PACE = Pace(block_seconds=0.2, least_calls=3)
QUICK = Pace(block_seconds=0, least_calls=1)


def measure_batch(subject: Subject, batch: int, device: str, pace: Pace) -> dict[str, Any]:
    """Return the times of one batch size on one device in milliseconds, its memory in MiB, its GFLOP/s.

    Where the training step is not replayed, the record says why, as its "problem"; "" for a layer.

    Raises:
        MemoryError: where the device has no room for it; libraries have other errors for that, too.
    """
    clock = clock_of(device)
    work = Pass(subject, batch, device)

    record: dict[str, Any] = {"device": device, "batch": batch}
    record["first"] = 1e3 * first_call(clock, work.whole)
    record |= time_phases(clock, work.phases, pace)
    record["memory"] = peak_of(work.whole, work.model, device)
    record["captured"], _, record["problem"] = captured_time(work, pace)
    record["transfer"] = transfer_of(work, device, pace)
    flops = 2 * 3 * subject.multiply_adds * batch
    record["gflops"] = flops / best_step(record) / 1e6 if flops else None
    return record


def transfer_of(work: Pass, device: str, pace: Pace) -> float:
    """Return the milliseconds that a batch takes to the device, as the host sees them; 0 for the CPU."""
    if device == "cpu":
        return 0.0

    def transfer() -> None:
        for array in work.host_batch:
            to_device(array, device)
        cuda.synchronize()

    return milliseconds(clock_of("cpu"), transfer, pace)


def peak_of(step: Any, model: Any, device: str) -> float | None:
    """Return the MiB that a step takes on top of model and batch: as CuPy's pool, or as the system counts them."""
    if device != "cpu":
        for parameter in model.parameters():
            parameter.grad = None
        cuda.synchronize()
        cuda.empty_cache()
        before = cuda.memory_reserved()
        step()
        cuda.synchronize()
        return (cuda.memory_reserved() - before) / 2**20
    if not STATUS.exists():
        return None
    give_back(model)
    held = status("VmRSS")
    try:
        reset_peak()
    except OSError:  # a system that does not let it be reset
        return None
    step()
    return max(status("VmHWM") - held, 0.0)


def best_step(record: dict[str, Any]) -> float:
    """Return the milliseconds of a training step, captured where that is possible and quicker."""
    times = (record[WHOLE], record["captured"])
    return min(ms for ms in times if ms is not None)


@dataclass
class Sweep:
    """Growing batches of one layer or network.

    Attributes:
        records: of each batch on each device.
        not_run: what there was no time for.
        problems: what went wrong.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, subject: Subject, batch: int, device: str, pace: Pace) -> bool:
        """Measure one batch size; return whether that worked. One that there is no room for is no problem."""
        try:
            record = measure_batch(subject, batch, device, pace)
        except Exception as error:  # what has been measured must not be lost
            if not is_out_of_memory(error):
                words = f"{type(error).__name__}: {error}"
                self.problems.append(f"{subject.title}, batch {batch} on {device}: {words}")
            return False
        self.records.append(record)
        if record["problem"] and device != "cpu":
            self.problems.append(
                f"{subject.title}, batch {batch} on {device}: not replayed: {record['problem']}"
            )
        return True


def sweep(
    subject: Subject,
    devices: Iterable[str],
    batches: Iterable[int],
    pace: Pace,
    limit: float,
    deadline: float = math.inf,
) -> Sweep:
    """Measure growing batches on each device, until a step takes longer than `limit` seconds or memory runs out.

    No measurement begins after the moment `deadline` of `time.perf_counter`.
    """
    found = Sweep()
    for device in devices:
        for batch in batches:
            if time.perf_counter() > deadline:
                found.not_run.append(f"{subject.title} on {device} from batch {batch} on")
                break
            if not found.add(subject, batch, device, pace):
                break
            with suppress(Exception):  # a card that answers no more has its problem noted
                release_memory(device)
            if best_step(found.records[-1]) > 1e3 * limit:
                break
    return found


def crossover(records: Iterable[dict[str, Any]]) -> float | None:
    """Return the batch size from which on the GPU is quicker, its transfer included; None if it never is.

    Between the two batch sizes around it, the logarithm of the ratio is taken as linear in that of the batch.
    Where the GPU is quicker from the first batch on, that is the answer.
    """
    times: dict[str, dict[int, float]] = {device: {} for device in DEVICES}
    for record in records:
        times[record["device"]][record["batch"]] = best_step(record) + record["transfer"]
    common = sorted(times["cpu"].keys() & times["cuda"].keys())
    gains = [math.log(times["cpu"][batch] / times["cuda"][batch]) for batch in common]
    slower = [i for i, gain in enumerate(gains) if gain < 0]
    if not gains or gains[-1] < 0:
        return None
    if not slower:
        return float(common[0])
    last = slower[-1]
    share = gains[last] / (gains[last] - gains[last + 1])
    return float(common[last] * (common[last + 1] / common[last]) ** share)


def measure(
    names: Sequence[str],
    devices: Sequence[str],
    batches: Sequence[int],
    pace: Pace,
    limit: float,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure layers and networks by name; return their results, and what went wrong."""
    results, problems = [], []
    for name in names:
        found = sweep((LAYERS | WHOLE_NETWORKS)[name], devices, batches, pace, limit)
        results += [result_of(name, found.records)] if found.records else []
        problems += found.problems
    return results, problems


def result_of(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is known of a layer or network after its records."""
    subject = (LAYERS | WHOLE_NETWORKS)[name]
    return {
        "name": name,
        "title": subject.title,
        "kind": "layer" if name in LAYERS else "network",
        "multiply_adds": subject.multiply_adds,
        "crossover": crossover(records),
        "records": records,
    }


# --- report ---------------------------------------------------------------------------------------

COLUMNS = {
    "forward": "forward",
    "backward": "backward",
    "update": "update",
    WHOLE: "step",
    "captured": "step, captured",
    "transfer": "transfer",
    "first": "first step",
    "memory": "memory, MiB",
    "gflops": "GFLOP/s",
}
"""The keys of a record, and the headings of their columns."""


def tables(results: list[dict[str, Any]], batch: int) -> list[Table]:
    """Return the tables of layers and networks at one batch size, or the largest below; and of batch sizes."""
    found = []
    for kind in ("layer", "network"):
        members = [result for result in results if result["kind"] == kind]
        if members:
            headings = ["", "mult-adds an example", "device", "batch", *COLUMNS.values()]
            rows = [row for result in members for row in detail_rows(result, batch)]
            found.append(Table(f"Each {kind} in parts", headings, rows, "Milliseconds."))
    batches = sorted({record["batch"] for result in results for record in result["records"]})
    if results:
        headings = ["", "device", *(f"batch {batch}" for batch in batches), "GPU quicker from"]
        rows = [row for result in results for row in batch_rows(result, batches)]
        note = "Milliseconds of a training step, captured where that is quicker; transfer not included."
        found.append(Table("Batch sizes", headings, rows, note))
    return found


def detail_rows(result: dict[str, Any], batch: int) -> list[list[Any]]:
    """Return a row for each device: at `batch`, or at the largest batch below that was measured."""
    rows = []
    for device in DEVICES:
        records = [r for r in result["records"] if r["device"] == device and r["batch"] <= batch]
        if records:
            cells = [records[-1][key] for key in COLUMNS]
            count = f"{result['multiply_adds']:,}"
            rows.append([result["title"], count, device, str(records[-1]["batch"]), *cells])
    return rows


def batch_rows(result: dict[str, Any], batches: Sequence[int]) -> list[list[Any]]:
    """Return a row of step times for each device."""
    rows = []
    for device in DEVICES:
        times = {r["batch"]: best_step(r) for r in result["records"] if r["device"] == device}
        if times:
            cells = [times.get(batch) for batch in batches]
            last = "" if device == "cpu" else crossover_text(result)
            rows.append([result["title"], device, *cells, last])
    return rows


def crossover_text(result: dict[str, Any]) -> str:
    """Return the crossover as a table says it."""
    batch = result["crossover"]
    if batch is None:
        return "not within these"
    smallest = min(record["batch"] for record in result["records"])
    return f"the first, {smallest}" if batch == smallest else f"about {batch:.0f}"


def draw(results: list[dict[str, Any]], path: Path) -> bool:
    """Draw examples a second over batch sizes; return whether Matplotlib is there and there is something to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not results:
        return False
    columns = 4
    lines = -(-len(results) // columns)
    figure = Figure(figsize=(12, 2.6 * lines + 0.4), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, result in zip(panels, results, strict=False):
        draw_result(panel, result)
    for panel in panels[len(results) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize=8)
    figure.supxlabel("batch size; dashed: from here on the GPU is quicker", fontsize=9)
    figure.supylabel("examples a second, in training", fontsize=9)
    figure.savefig(path, dpi=110)
    return True


def draw_result(panel: Any, result: dict[str, Any]) -> None:
    """Draw the lines of one layer or network, and where they cross."""
    for device, colour in zip(DEVICES, ("#c8553d", "#2a7f8e"), strict=True):
        records = [record for record in result["records"] if record["device"] == device]
        rates = [1e3 * r["batch"] / (best_step(r) + r["transfer"]) for r in records]
        panel.plot([r["batch"] for r in records], rates, "o-", ms=3, color=colour, label=device)
    if result["crossover"] is not None:
        panel.axvline(result["crossover"], color="grey", linestyle="--", linewidth=1)
    panel.set(xscale="log", yscale="log")
    panel.set_title(result["title"], fontsize=8)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.3)


def save(out: Path, environment: dict, results: list[dict[str, Any]], problems: list[str]) -> str:
    """Write JSON, tables and picture; return the tables."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"environment": environment, "results": results, "problems": problems}
    (out / "cpu_vs_gpu.json").write_text(json.dumps(content, indent=2) + "\n")
    parts = [
        "# The CPU and the GPU",
        f"Written by `benchmarks/cpu_vs_gpu.py`, which says what the columns mean. {described(environment)}",
    ]
    if draw(results, out / "cpu_vs_gpu.png"):
        parts.append("![Examples a second over batch sizes](cpu_vs_gpu.png)")
    parts += [table.markdown().strip() for table in tables(results, 64)]
    if problems:
        parts.append("What went wrong:\n\n" + "\n".join(f"- {words}" for words in problems))
    text = "\n\n".join(parts) + "\n"
    (out / "cpu_vs_gpu.md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose name holds a word")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--limit", type=float, default=0.5, help="seconds of the longest step")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="two batch sizes, nothing saved")
    options = parser.parse_args()
    use_precision(options.precision)
    names = [*LAYERS, *WHOLE_NETWORKS]
    if options.only:
        names = [name for name in names if any(word in name for word in options.only)]
    problem = cuda_problem()
    devices = DEVICES if problem is None else ("cpu",)
    batches, pace = ((1, 4), QUICK) if options.quick else (BATCHES, PACE)
    results, problems = measure(names, devices, batches, pace, options.limit)
    environment = describe() | describe_threads() | describe_gpu()
    environment |= {"precision on the GPU": options.precision}
    if options.quick:
        print("\n".join([table.markdown() for table in tables(results, 4)] + problems))
    else:
        print(save(options.out, environment, results, problems))
    if problem is not None:
        print(f"There was no GPU, the CPU was measured alone: {problem}.")


if __name__ == "__main__":
    main()
