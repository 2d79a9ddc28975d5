"""Time the ways to compute a convolution over shapes, and measure what they round: which is the quickest where?

    python benchmarks/conv_algorithms.py               the CPU, and the GPU where there is one
    python benchmarks/conv_algorithms.py --device cpu
    python benchmarks/conv_algorithms.py --quick       see that everything works; saves nothing

The naive loops (tiny shapes only), im2col, direct and Winograd's algorithm on the CPU; im2col and direct on a
GPU, the latter in float32 and on tensor cores (TF32); and cuDNN, called by minicnn where the package
nvidia-cudnn-frontend is installed, and by PyTorch, which tries its algorithms first, where that is. Times
are medians after a warm-up, on a GPU between events in its queue. Errors are the largest one of float32
results, relative to the largest result, against im2col in float64. Arrays lie channels-last in memory, as
inside a network. Results go to --out (benchmarks/results): conv_algorithms.json, .md and .png.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
from convolutions import PARTS, Convolution
from device_timing import clock_of, milliseconds
from environment import describe, describe_gpu, describe_threads
from precision import find_torch
from tables import Table, described
from timing import Pace

from minicnn import cuda, kernels, nn
from minicnn.backend import Array, cuda_problem, to_device, to_host
from minicnn.kernels.dispatch import can_compile

RESULTS = Path(__file__).parent / "results"

CHANNELS = [Convolution(8, 14, C, C) for C in (4, 8, 16, 32, 64, 128, 256, 512)]
SIZES = [Convolution(4, H, 64, 64) for H in (4, 7, 14, 28, 56)]
OTHERS = [
    Convolution(8, 28, 64, 128, size=1),
    Convolution(8, 28, 64, 64, size=5),
    Convolution(8, 28, 64, 128, stride=2),
    Convolution(8, 112, 3, 32, size=7, stride=2),
    Convolution(8, 28, 128, 128, groups=128),
]
CASES = list(dict.fromkeys([*CHANNELS, *SIZES, *OTHERS]))
QUICK_CASES = [Convolution(1, 6, 4, 4), Convolution(1, 6, 4, 4, size=1)]

NAIVE_OUTPUTS = 15_000
"""The loops of the definition visit so many output pixels at most: each takes microseconds."""

PACE = Pace(block_seconds=0.05)
QUICK = Pace(block_seconds=0, least_calls=1)


@dataclass(frozen=True)
class Way:
    """A way to compute a convolution.

    Attributes:
        name: how tables call it.
        device: "cpu" or "cuda".
        algorithm: as `minicnn.kernels.conv2d` calls it, or "pytorch", which calls cuDNN.
        precision: "exact" or "tf32".
    """

    name: str
    device: str
    algorithm: str
    precision: str = "exact"

    def suits(self, case: Convolution) -> bool:
        """Whether it computes such a convolution, in bearable time."""
        if self.algorithm == "naive":
            return case.N * case.K * case.output_size**2 <= NAIVE_OUTPUTS
        if self.algorithm == "winograd":
            return (case.size, case.stride, case.groups) == (3, 1, 1)
        return True


def ways_on(device: str) -> list[Way]:
    """Return the ways that this machine can go on a device."""
    if device == "cpu":
        names = ["naive", "im2col", *(["direct", "winograd"] if can_compile() else [])]
        return [Way(f"CPU {name}", "cpu", name) for name in names]
    ways = [
        Way("GPU im2col", "cuda", "im2col"),
        Way("GPU direct", "cuda", "direct"),
        Way("GPU direct TF32", "cuda", "direct", "tf32"),
    ]
    return ways + cudnn_ways()


def cudnn_ways() -> list[Way]:
    """Return cuDNN in both precisions, for each library that is there to call it; PyTorch first."""
    callers = {"cuDNN by PyTorch": "pytorch"} if torch_has_cudnn() else {}
    if find_spec("cudnn") is not None:
        callers["cuDNN"] = "cudnn"
    return [
        Way(f"{name}{suffix}", "cuda", algorithm, precision)
        for name, algorithm in callers.items()
        for suffix, precision in (("", "exact"), (" TF32", "tf32"))
    ]


def torch_has_cudnn() -> bool:
    """Whether PyTorch is installed with a cuDNN that works."""
    torch, _ = find_torch()
    return torch is not None and torch.cuda.is_available() and torch.backends.cudnn.is_available()


def calls_of(way: Way, case: Convolution) -> dict[str, Callable[[], Any]]:
    """Return the three kernels of a convolution as functions without arguments, by the names of PARTS."""
    if way.algorithm == "pytorch":
        return pytorch_calls(way, case)
    numbers = case.arrays()
    x, g = (features_on(way.device, numbers[name]) for name in "xg")
    shape = case.size, case.stride, case.padding, 1, case.groups, False
    layer = nn.Conv2d(case.C, case.K, *shape)
    layer.load_state_dict({"weight": numbers["w"]})
    w = layer.to(way.device).weight.array
    settings = case.stride, case.padding, 1, case.groups, way.algorithm, way.precision
    return {
        "forward": lambda: kernels.conv2d(x, w, *settings),
        "input gradient": lambda: kernels.conv2d_grad_input(g, w, x.shape, *settings),
        "weight gradient": lambda: kernels.conv2d_grad_weight(g, x, w.shape, *settings),
    }


def features_on(device: str, array: np.ndarray) -> Array:
    """Return images (N, C, H, W) on a device, channels-last in memory."""
    in_memory = np.ascontiguousarray(array.transpose(0, 2, 3, 1))  # (N, H, W, C)
    return to_device(in_memory.transpose(0, 3, 1, 2), device)


def pytorch_calls(way: Way, case: Convolution) -> dict[str, Callable[[], Any]]:
    """Return what PyTorch calls cuDNN for, in channels-last order and with its quickest algorithms."""
    import torch

    tensors = {
        name: torch.from_numpy(array).cuda().contiguous(memory_format=torch.channels_last)
        for name, array in case.arrays().items()
    }
    x, w, g = (tensors[name] for name in "xwg")
    step, around = [case.stride] * 2, [case.padding] * 2
    geometry = step, around, [1, 1], False, [0, 0], case.groups

    def forward() -> Any:
        with pytorch_settings(way.precision):
            return torch.conv2d(x, w, None, step, around, 1, case.groups)

    def gradient(index: int) -> Any:
        wanted = [index == i for i in range(3)]
        with pytorch_settings(way.precision):
            return torch.ops.aten.convolution_backward(g, x, w, None, *geometry, wanted)[index]

    return {
        "forward": forward,
        "input gradient": lambda: gradient(0),
        "weight gradient": lambda: gradient(1),
    }


@contextmanager
def pytorch_settings(precision: str) -> Iterator[None]:
    """Let cuDNN try its algorithms, and round to TF32 or not, inside a `with` block."""
    from torch.backends import cudnn

    before = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32 = True, precision == "tf32"
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before


def exact_results(case: Convolution) -> dict[str, np.ndarray]:
    """Return the three results in float64."""
    x, w, g = (case.arrays()[name].astype(np.float64) for name in "xwg")
    settings = case.stride, case.padding, 1, case.groups, "im2col"
    return {
        "forward": kernels.conv2d(x, w, *settings),
        "input gradient": kernels.conv2d_grad_input(g, w, x.shape, *settings),
        "weight gradient": kernels.conv2d_grad_weight(g, x, w.shape, *settings),
    }


def host_array(result: Any) -> np.ndarray:
    """Return a result of either library as a NumPy array."""
    return result.cpu().numpy() if hasattr(result, "cpu") else to_host_array(result)


def to_host_array(array: Array) -> np.ndarray:
    """Return an array of NumPy's or CuPy's as NumPy's."""
    return array if isinstance(array, np.ndarray) else to_host(array)


def measure(
    ways: Iterable[Way], cases: Iterable[Convolution], pace: Pace, deadline: float | None = None
) -> tuple[list[dict], list[str]]:
    """Time and compare.

    Args:
        ways: contestants.
        cases: convolutions.
        pace: how long each of the three kernels is timed.
        deadline: no case begins after this moment of `time.perf_counter`.

    Returns:
        a record of each case, and the names of the cases for which there was no time
    """
    ways, records, not_run = list(ways), [], []
    for case in cases:
        if deadline is not None and time.perf_counter() > deadline:
            not_run.append(case.title)
            continue
        exact = exact_results(case)
        found = {way.name: measured(way, case, exact, pace) for way in ways if way.suits(case)}
        records.append({"case": asdict(case), "title": case.title, "found": found})
    return records, not_run


def measured(way: Way, case: Convolution, exact: dict[str, np.ndarray], pace: Pace) -> dict:
    """Return milliseconds, GFLOP/s and errors of one way, three numbers each."""
    clock, calls = clock_of(way.device), calls_of(way, case)
    if way.algorithm == "naive":
        pace = QUICK
    times = [milliseconds(clock, calls[part], pace) for part in PARTS]
    errors = []
    for part in PARTS:
        difference = abs(host_array(calls[part]()) - exact[part])
        errors.append(float(difference.max() / abs(exact[part]).max()))
    return {
        "milliseconds": times,
        "gflops": [case.flops / ms / 1e6 for ms in times],
        "errors": errors,
    }


# --- report ---------------------------------------------------------------------------------------


def tables(records: list[dict]) -> list[Table]:
    """Return the tables of times, of rates and of errors; a cell holds forward / gradient of x / gradient of w."""
    names = names_in(records)
    if not names:
        return []
    cells = "Cells: forward / gradient of x / gradient of w."
    forms = {"milliseconds": "{:.3g}", "gflops": "{:.3g}", "errors": "{:.0e}"}

    def rows(key: str) -> list[list[str | None]]:
        return [
            [r["title"], *(joined_cell(r, name, key, forms[key]) for name in names)]
            for r in records
        ]

    times = [[*row, quickest(r)] for row, r in zip(rows("milliseconds"), records, strict=True)]
    return [
        Table("Convolutions: milliseconds", ["", *names, "quickest in sum"], times, cells),
        Table(
            "Convolutions: GFLOP/s, of the definition's operations",
            ["", *names],
            rows("gflops"),
            cells,
        ),
        Table(
            "Convolutions: largest error, relative to the largest result",
            ["", *names],
            rows("errors"),
            cells,
        ),
    ]


def joined_cell(record: dict, name: str, key: str, form: str) -> str | None:
    """Return the three numbers of one way as text; None where it was not measured."""
    found = record["found"].get(name)
    return None if found is None else " / ".join(form.format(value) for value in found[key])


def quickest(record: dict) -> str:
    """Return the name of the way whose three kernels take the least time together."""
    return min(record["found"], key=lambda name: sum(record["found"][name]["milliseconds"]))


def draw(records: list[dict], path: Path) -> bool:
    """Draw GFLOP/s over channels and over sizes; return whether Matplotlib is there and there is something to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    sweeps = [
        ("channels, at 14 x 14, batch 8", "C", [asdict(case) for case in CHANNELS]),
        ("pixels a side, 64 channels, batch 4", "H", [asdict(case) for case in SIZES]),
    ]
    sweeps = [sweep for sweep in sweeps if any(r["case"] in sweep[2] for r in records)]
    if not sweeps:
        return False
    figure = Figure(figsize=(11, 3.25 * len(sweeps)), layout="constrained")
    panels = figure.subplots(len(sweeps), len(PARTS), sharey=True, squeeze=False)
    for row, (title, axis, cases) in zip(panels, sweeps, strict=True):
        members = [record for record in records if record["case"] in cases]
        for i, panel in enumerate(row):
            draw_sweep(panel, members, axis, i, names_in(records))
            panel.set(xlabel=title, title=f"3x3, {PARTS[i]}")
        row[0].set_ylabel("GFLOP/s")
    panels[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    return True


def draw_sweep(panel: Any, records: list[dict], axis: str, part: int, names: list[str]) -> None:
    """Draw the rates of one of PARTS: a line for each way, over the channels "C" or the size "H"."""
    for name in names:
        members = [record for record in records if name in record["found"]]
        rates = [record["found"][name]["gflops"][part] for record in members]
        panel.plot([record["case"][axis] for record in members], rates, "o-", ms=3, label=name)
    panel.set(xscale="log", yscale="log")
    ticks = sorted({record["case"][axis] for record in records})
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def names_in(records: list[dict]) -> list[str]:
    """Return the names of the ways that were measured, in order."""
    return list(dict.fromkeys(name for record in records for name in record["found"]))


def save(out: Path, environment: dict, records: list[dict], not_run: list[str]) -> str:
    """Write JSON, tables and picture; return the tables."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"environment": environment, "records": records, "not run": not_run}
    (out / "conv_algorithms.json").write_text(json.dumps(content, indent=2) + "\n")
    parts = [
        "# Ways to compute a convolution",
        f"Written by `benchmarks/conv_algorithms.py`. {described(environment)}",
        "Medians, float32 arrays. TF32: products on tensor cores, both factors rounded to 11 bits.",
    ]
    if draw(records, out / "conv_algorithms.png"):
        parts.append("![GFLOP/s over channels and sizes](conv_algorithms.png)")
    parts += [table.markdown() for table in tables(records)]
    if not_run:
        parts.append(f"No time was left for: {', '.join(not_run)}.")
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    (out / "conv_algorithms.md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda", "both"], default="both")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, nothing saved")
    options = parser.parse_args()
    devices = ["cpu", "cuda"] if options.device == "both" else [options.device]
    if "cuda" in devices and not cuda.is_available():
        print(f"The CPU only, without a GPU: {cuda_problem()}.")
        devices = [device for device in devices if device == "cpu"]
    ways = [way for device in devices for way in ways_on(device)]
    records, not_run = measure(ways, *((QUICK_CASES, QUICK) if options.quick else (CASES, PACE)))
    environment = describe() | describe_threads() | describe_gpu() | {"devices": ", ".join(devices)}
    if options.quick:
        print("\n".join(table.markdown() for table in tables(records)))
    else:
        print(save(options.out, environment, records, not_run))


if __name__ == "__main__":
    main()
