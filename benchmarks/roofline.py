"""Place every kernel against what the machine can do: a roofline picture.

    python benchmarks/roofline.py                  all kernels
    python benchmarks/roofline.py --only conv      those whose name holds one of these words

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", 2009. A kernel that
does F additions and multiplications and must move B bytes takes at least F / peak and at least B /
bandwidth seconds. F is what the definition asks for (a convolution by Winograd's transforms counts as
the direct one, and may be above the roof); B counts each array that goes in or out as often as the
note at the kernel in `roofline_kernels.py` says. The bandwidth is that of the level of memory that
holds B bytes. Results go to benchmarks/results/roofline.json, .md and .png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from environment import describe
from libraries import thread_settings, use_threads
from peaks import Peaks, measure_peaks
from roofline_kernels import KERNELS, Kernel
from timing import Contestant, Pace, block

RESULTS = Path(__file__).parent / "results"
COLOURS = {
    "convolution": "#2a7f8e",
    "Winograd": "#7a4fa3",
    "depthwise": "#c8553d",
    "dense": "#333333",
    "norm": "#d99a2b",
    "pooling": "#4f9d4f",
    "activation, loss": "#8a8a8a",
    "optimizer": "#b0457b",
}


def measure(kernel: Kernel, peaks: Peaks, pace: Pace) -> dict:
    """Time a kernel, and return where it stands.

    Raises:
        AttributeError, ImportError, ValueError: if this version of minicnn has no such kernel.
    """
    seconds = float(np.median(block(Contestant(kernel.make()), pace)))
    return {
        "name": kernel.name,
        "family": kernel.family,
        "milliseconds": 1e3 * seconds,
        "flops": kernel.flops,
        "bytes": kernel.moved,
        "moves": kernel.moves,
        "level": peaks.level_of(kernel.moved).name,
        "intensity": kernel.flops / kernel.moved,
        "gflops": kernel.flops / seconds / 1e9,
        "gigabytes": kernel.moved / seconds / 1e9,
        "of_roof": peaks.roof(kernel.flops, kernel.moved) / seconds,
    }


def table(environment: dict, peaks: Peaks, rows: list[dict], missing: list[str]) -> str:
    """Return the results as Markdown, those furthest below the roof first."""
    levels = ", ".join(f"{level.name} {level.bandwidth / 1e9:.0f} GB/s" for level in peaks.levels)
    lines = [
        "# Kernels against the machine's limits\n",
        f"Written by `benchmarks/roofline.py`. {', '.join(f'{k} {v}' for k, v in environment.items())}\n",
        f"Peaks: {peaks.flops / 1e9:.0f} GFLOP/s ({peaks.found_by}); {levels}. Of the roof: the least time that "
        "arithmetic and bytes allow / the time that was taken.\n",
        "| kernel | ms | FLOP / byte | GFLOP/s | GB/s | level | of the roof | bytes counted |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: row["of_roof"]):
        cells = (
            row["name"],
            f"{row['milliseconds']:.3g}",
            f"{row['intensity']:.3g}",
            f"{row['gflops']:.3g}",
            f"{row['gigabytes']:.3g}",
            row["level"],
            f"{row['of_roof']:.0%}",
            row["moves"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    if missing:
        lines.append(f"\nNot in this version: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def draw(peaks: Peaks, rows: list[dict], path: Path) -> None:
    """Draw the roofs and the kernels on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    low = min(row["intensity"] for row in rows) / 1.6
    high = max(
        max(row["intensity"] for row in rows) * 1.6, peaks.flops / peaks.levels[-1].bandwidth * 4
    )
    intensity = np.geomspace(low, high, 200)
    for level, dashes in zip(peaks.levels, ("dotted", "dashed", "solid"), strict=True):
        roof = np.minimum(intensity * level.bandwidth, peaks.flops) / 1e9
        label = f"{level.name}, {level.bandwidth / 1e9:.0f} GB/s"
        axes.plot(intensity, roof, color="black", linewidth=1, linestyle=dashes, label=label)
    axes.annotate(
        f"{peaks.flops / 1e9:.0f} GFLOP/s",
        (high, peaks.flops / 1e9),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    for family, colour in COLOURS.items():
        members = [row for row in rows if row["family"] == family]
        if members:
            axes.scatter(
                [row["intensity"] for row in members],
                [row["gflops"] for row in members],
                color=colour,
                label=family,
                s=22,
                zorder=3,
            )
    label_worst(axes, rows)
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_xlabel("useful FLOP / byte that must move")
    axes.set_ylabel("useful GFLOP/s")
    axes.grid(which="major", linewidth=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)


def label_worst(axes: object, rows: list[dict], count: int = 8) -> None:
    """Name the kernels that are furthest below their roof."""
    for row in sorted(rows, key=lambda row: row["of_roof"])[:count]:
        axes.annotate(
            f"{row['name']} ({row['of_roof']:.0%})",
            (row["intensity"], row["gflops"]),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=7,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="kernels whose name holds a word")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each kernel, about")
    parser.add_argument("--quick", action="store_true", help="a look only: not saved")
    options = parser.parse_args()
    use_threads(options.threads)
    pace = Pace(block_seconds=0.05 if options.quick else options.seconds)
    peaks = measure_peaks(options.threads)
    print(f"{peaks.flops / 1e9:.0f} GFLOP/s ({peaks.found_by})")
    for level in peaks.levels:
        print(f"{level.name}: {level.bandwidth / 1e9:.1f} GB/s")
    rows, missing = [], []
    for kernel in KERNELS:
        if options.only and not any(word in kernel.name for word in options.only):
            continue
        try:
            rows.append(measure(kernel, peaks, pace))
        except (AttributeError, ImportError, ValueError) as error:
            missing.append(kernel.name)
            print(f"{kernel.name}: not in this version ({error})")
            continue
        print(
            f"{kernel.name}: {rows[-1]['gflops']:.3g} GFLOP/s, {rows[-1]['of_roof']:.0%} of its roof",
            flush=True,
        )
    if rows and not options.quick:
        write(describe() | thread_settings(options.threads), peaks, rows, missing)


def write(environment: dict, peaks: Peaks, rows: list[dict], missing: list[str]) -> None:
    """Write the three results files."""
    RESULTS.mkdir(exist_ok=True)
    levels = {level.name: level.bandwidth for level in peaks.levels}
    found = {"flops": peaks.flops, "found_by": peaks.found_by, "bandwidth": levels}
    content = {"environment": environment, "peaks": found, "kernels": rows, "missing": missing}
    (RESULTS / "roofline.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / "roofline.md").write_text(table(environment, peaks, rows, missing))
    draw(peaks, rows, RESULTS / "roofline.png")


if __name__ == "__main__":
    main()
