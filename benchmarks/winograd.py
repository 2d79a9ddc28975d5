"""What Winograd's algorithm gains and what it rounds: the two tables of docs/08-winograd.md.

    python benchmarks/winograd.py

Speed: 3x3 convolutions by the transforms, directly, and by PyTorch in the better of its memory orders, which
take turns; in GFLOP/s, counting the multiplications and additions of the definition. Rounding: the largest error
of float32 results, relative to the largest result, against the direct algorithm in float64. Results go to
benchmarks/results/winograd.json and winograd.md (some two minutes).
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
from convolutions import PARTS, Convolution
from environment import describe
from libraries import CHANNELS_LAST, MINICNN, NCHW, thread_settings, use_threads
from operations import minicnn_convolution, torch_convolution, weight_in
from peaks import measure_peaks
from timing import Contestant, Pace, alternate, medians

from minicnn.kernels.cpu import conv, winograd

RESULTS = Path(__file__).parent / "results"

TIMED = [
    Convolution(1, 24, 64, 64),
    Convolution(16, 24, 64, 64),
    Convolution(16, 12, 128, 128),
    Convolution(16, 6, 256, 256),
    Convolution(16, 3, 512, 512),
    Convolution(64, 28, 32, 32),
    Convolution(64, 14, 64, 64),
    Convolution(4, 112, 64, 128),
    Convolution(4, 56, 128, 256),
    Convolution(4, 56, 256, 256),
    Convolution(4, 28, 256, 512),
    Convolution(4, 28, 512, 512),
    Convolution(4, 14, 512, 512),
]
"""Layers of ResNet-18, of small networks, and of VGG-11."""

COMPARED = [Convolution(2, 24, 64, 64), Convolution(2, 28, 256, 256), Convolution(2, 14, 512, 512)]
"""Layers whose rounding is measured."""

TORCH = (NCHW, CHANNELS_LAST)
"""PyTorch's memory orders."""

SPEEDS = ("Winograd", "direct", "PyTorch")
ERRORS = {
    "direct": (conv, {}),
    "squares of 2 x 2": (winograd, {"tile": 2}),
    "squares of 4 x 4": (winograd, {"tile": 4}),
}
"""Ways to compute: a module of kernels.cpu, and how its functions are called."""


def speeds_of(case: Convolution, pace: Pace) -> dict[str, list[float]]:
    """Return the GFLOP/s of each contestant: forward, gradient of x, gradient of w."""
    calls = {}
    for name, mode in (("Winograd", MINICNN), ("direct", MINICNN), *((m.name, m) for m in TORCH)):
        arrays = case.arrays()
        x, g = mode.features(arrays["x"]), mode.features(arrays["g"])
        w = weight_in(mode, case, arrays["w"])
        if mode.ours:
            calls[name] = minicnn_convolution(case, x, w, g, algorithm=name.lower())
        else:
            calls[name] = torch_convolution(case, x, w, g)
    found = {name: [] for name in SPEEDS}
    for part in PARTS:
        turns = alternate({name: Contestant(parts[part]) for name, parts in calls.items()}, pace)
        times = medians(turns)
        times["PyTorch"] = min(times[mode.name] for mode in TORCH)
        for name in SPEEDS:
            found[name].append(case.flops / times[name] / 1e6)
    return found


def errors_of(case: Convolution) -> dict[str, list[float]]:
    """Return the errors of each way to compute: forward, gradient of x, gradient of w."""
    errors = {name: [] for name in ERRORS}
    for part in PARTS:
        exact = result_of(case, part, conv, np.float64)
        for name, (module, how) in ERRORS.items():
            error = abs(result_of(case, part, module, np.float32, **how) - exact).max()
            errors[name].append(float(error / abs(exact).max()))
    return errors


def result_of(
    case: Convolution, part: str, module: ModuleType, dtype: type, **how: int
) -> np.ndarray:
    """Return one of the three results of a convolution with padding 1, computed by a module of kernels.cpu."""
    x, w, g = (case.arrays()[name].astype(dtype) for name in "xwg")
    if part == "forward":
        return module.conv2d(x, w, 1, 1, **how)
    if part == "input gradient":
        return module.conv2d_grad_input(g, w, x.shape, 1, 1, **how)
    return module.conv2d_grad_weight(g, x, w.shape, 1, 1, **how)


def table(title: str, headings: Iterable[str], rows: list[dict], form: str) -> str:
    """Return one table as Markdown; a cell holds forward / gradient of x / gradient of w."""
    headings = list(headings)
    lines = [f"## {title}\n", f"| N, size, C, K | {' | '.join(headings)} |"]
    lines.append("| --- " * (len(headings) + 1) + "|")
    for row in rows:
        cells = [
            " / ".join(form.format(value) for value in row["found"][name]) for name in headings
        ]
        lines.append(f"| {row['case']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def name_of(case: Convolution) -> str:
    """Such as "16, 24, 64, 64"."""
    return f"{case.N}, {case.H}, {case.C}, {case.K}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="short turns, nothing saved")
    options = parser.parse_args()
    use_threads(options.threads)
    pace = Pace(1, 0.02, 1) if options.quick else Pace(5, 0.1)
    peaks = measure_peaks(options.threads)
    errors = [{"case": name_of(case), "found": errors_of(case)} for case in COMPARED]
    speeds = []
    for case in TIMED:
        speeds.append({"case": name_of(case), "found": speeds_of(case, pace)})
        print(speeds[-1], flush=True)
    environment = describe() | thread_settings(options.threads)
    parts = [
        "# Winograd's algorithm: what it gains, and what it rounds\n",
        f"Written by `benchmarks/winograd.py`. {', '.join(f'{k} {v}' for k, v in environment.items())}\n",
        "Cells: forward / gradient of x / gradient of w, float32.\n",
        table(f"GFLOP/s (peak: {peaks.flops / 1e9:.0f})", SPEEDS, speeds, "{:.0f}"),
        table("Largest error, relative to the largest result", ERRORS, errors, "{:.1e}"),
    ]
    text = "\n".join(parts)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "environment": environment,
            "peak": peaks.flops,
            "speed": speeds,
            "error": errors,
        }
        (RESULTS / "winograd.json").write_text(json.dumps(content, indent=2) + "\n")
        (RESULTS / "winograd.md").write_text(text)


if __name__ == "__main__":
    main()
