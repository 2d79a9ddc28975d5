"""Place every kernel against what the machine can do: a roofline picture.

    python benchmarks/roofline.py                  all kernels
    python benchmarks/roofline.py --only conv      those whose name holds one of these words

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", 2009. A kernel that
does F additions and multiplications takes at least F / peak seconds, and at least as long as it takes to
move its arrays. The latter is measured for each kernel: loops that read and write arrays of the same sizes
and compute nothing (`bandwidth.py`) are timed by turns with it, and the quickest counts. So a kernel is
compared with what memory, or the cache that holds its arrays, has to give at that moment, for its
mixture of reads and writes.

F is what the definition asks for; for Winograd's convolutions, the products of transformed numbers.
Results go to benchmarks/results/roofline.json, .md and .png.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from bandwidth import BarePasses
from environment import describe
from libraries import thread_settings, use_threads
from peaks import Peaks, measure_peaks, shortest
from roofline_kernels import KERNELS
from tables import Table, described
from timing import Contestant, Pace, alternate
from traffic import Kernel

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


STREAMING = "norm", "pooling", "activation, loss", "optimizer"
"""Families of kernels that memory limits."""

KERNEL = "kernel"


def measure(kernel: Kernel, peaks: Peaks, threads: int, pace: Pace) -> dict:
    """Time a kernel by turns with bare passes over arrays of the same sizes; return where it stands.

    Raises:
        AttributeError, ImportError, ValueError: if this version of minicnn has no such kernel.
    """
    passes = BarePasses(kernel.traffic, threads)
    ways = passes.calls()
    first_look = {name: shortest(call, pace.block_seconds / 5) for name, call in ways.items()}
    quickest = sorted(ways, key=first_look.get)[:2]
    contestants = {KERNEL: Contestant(kernel.make())}
    contestants |= {name: Contestant(ways[name]) for name in quickest}
    samples = alternate(contestants, pace)
    seconds = float(np.median(np.concatenate(samples[KERNEL])))
    moving, way = min(
        (float(np.median(turn)) / passes.repeats, name)
        for name in quickest
        for turn in samples[name]
    )
    return placed(kernel, peaks, seconds, moving) | {"bare_passes": way}


def placed(kernel: Kernel, peaks: Peaks, seconds: float, moving: float) -> dict:
    """Return where a kernel stands that takes `seconds`, while moving its arrays takes `moving`."""
    computing = kernel.flops / peaks.flops
    level = peaks.level_of(kernel.traffic.footprint).name
    return {
        "name": kernel.name,
        "family": kernel.family,
        "milliseconds": 1e3 * seconds,
        "flops": kernel.flops,
        "bytes": kernel.traffic.moved,
        "footprint": kernel.traffic.footprint,
        "passes": kernel.traffic.passes,
        "level": level,
        "intensity": kernel.intensity,
        "gflops": kernel.flops / seconds / 1e9,
        "gigabytes": kernel.traffic.moved / seconds / 1e9,
        "gigabytes_at_most": kernel.traffic.moved / moving / 1e9,
        "limited_by": "arithmetic" if computing > moving else level,
        "of_limit": max(computing, moving) / seconds,
    }


def report(environment: dict, peaks: Peaks, rows: list[dict], missing: list[str]) -> str:
    """Return the results as Markdown, in each table those furthest below their limit first."""
    streaming = [row for row in rows if row["family"] in STREAMING]
    others = [row for row in rows if row["family"] not in STREAMING]
    parts = [
        "# Kernels against the machine's limits\n",
        f"Written by `benchmarks/roofline.py`. {described(environment)}\n",
        peaks_table(peaks).markdown(),
        families_table(rows).markdown(),
        Table(
            "Streaming passes",
            ("kernel", "passes", "MB", "ms", "GB/s", "GB/s at most", "level", "of the limit"),
            [streaming_cells(row) for row in by_distance(streaming)],
            "The limit is what the quickest loop takes that reads and writes arrays of the same sizes and computes "
            'nothing, timed by turns with the kernel. "x; x -> y": x is read, then read again while y is written; '
            "an array on both sides is changed in place. MB: of all arrays together; they are found, when they are "
            "used again, at the level that holds so many.",
        ).markdown(),
        Table(
            "Products and convolutions",
            ("kernel", "ms", "FLOP / byte", "GFLOP/s", "limited by", "of the limit"),
            [product_cells(row) for row in by_distance(others)],
            "The limit is the longer one of two times: that of the arithmetic at the machine's peak, and that of "
            "moving each array once. For Winograd's convolutions the arithmetic is that of the products of "
            "transformed numbers; the transforms come on top.",
        ).markdown(),
    ]
    if missing:
        parts.append(f"Not in this version: {', '.join(missing)}.\n")
    return "\n".join(parts)


def families_table(rows: list[dict]) -> Table:
    """Return how near to their limits the kernels of each family come."""
    cells = []
    for family in COLOURS:
        ratios = [row["of_limit"] for row in rows if row["family"] == family]
        if ratios:
            figures = min(ratios), float(np.median(ratios)), max(ratios)
            cells.append((family, str(len(ratios)), *(f"{figure:.0%}" for figure in figures)))
    return Table("By family", ("family", "kernels", "lowest", "median", "highest"), cells)


def by_distance(rows: list[dict]) -> list[dict]:
    """Sort rows: those furthest below their limit first."""
    return sorted(rows, key=lambda row: row["of_limit"])


def peaks_table(peaks: Peaks) -> Table:
    """Return what the machine can do."""
    rows = [(way, f"{flops / 1e9:.0f} GFLOP/s") for way, flops in peaks.arithmetic.items()]
    for level in peaks.levels:
        rows.append((f"{level.name}: read only", f"{level.read / 1e9:.0f} GB/s"))
        rows.append((f"{level.name}: copied, read and written", f"{level.copied / 1e9:.0f} GB/s"))
    note = (
        "The highest of the arithmetic figures is the limit. The second is what the building block of the "
        "convolutions reaches if nothing disturbs it; see docs/09-what-makes-it-fast.md."
    )
    return Table("The machine", ("what", "at most"), rows, note)


def streaming_cells(row: dict) -> tuple[str, ...]:
    """Return a row of the table of streaming passes."""
    return (
        row["name"],
        f"`{row['passes']}`",
        f"{row['footprint'] / 1e6:.0f}",
        f"{row['milliseconds']:.3g}",
        f"{row['gigabytes']:.1f}",
        f"{row['gigabytes_at_most']:.1f}",
        row["level"],
        f"{row['of_limit']:.0%}",
    )


def product_cells(row: dict) -> tuple[str, ...]:
    """Return a row of the table of products."""
    return (
        row["name"],
        f"{row['milliseconds']:.3g}",
        f"{row['intensity']:.3g}",
        f"{row['gflops']:.3g}",
        row["limited_by"],
        f"{row['of_limit']:.0%}",
    )


def draw(peaks: Peaks, rows: list[dict], path: Path) -> None:
    """Draw the roofs and the kernels on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    low = min(row["intensity"] for row in rows) / 1.6
    high = max(
        max(row["intensity"] for row in rows) * 1.6, peaks.flops / peaks.levels[-1].copied * 4
    )
    intensity = np.geomspace(low, high, 200)
    for level, dashes in zip(peaks.levels, ("dotted", "dashed", "solid"), strict=True):
        roof = np.minimum(intensity * level.copied, peaks.flops) / 1e9
        label = f"{level.name}, {level.copied / 1e9:.0f} GB/s, copying"
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
    axes.set_xlabel("FLOP / byte that must move")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", linewidth=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)


def label_worst(axes: object, rows: list[dict], count: int = 8) -> None:
    """Name the kernels that are furthest below their limit."""
    for row in by_distance(rows)[:count]:
        axes.annotate(
            f"{row['name']} ({row['of_limit']:.0%})",
            (row["intensity"], row["gflops"]),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=7,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="kernels whose name holds a word")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each turn, about")
    parser.add_argument("--quick", action="store_true", help="a look only: not saved")
    options = parser.parse_args()
    use_threads(options.threads)
    pace = Pace(rounds=5, block_seconds=0.02 if options.quick else options.seconds)
    peaks = measure_peaks(options.threads)
    print(peaks_table(peaks).markdown())
    rows, missing = [], []
    for kernel in KERNELS:
        if options.only and not any(word in kernel.name for word in options.only):
            continue
        try:
            rows.append(measure(kernel, peaks, options.threads, pace))
        except (AttributeError, ImportError, ValueError) as error:
            missing.append(kernel.name)
            print(f"{kernel.name}: not in this version ({error})")
            continue
        print(
            f"{kernel.name}: {rows[-1]['milliseconds']:.3g} ms, {rows[-1]['of_limit']:.0%} of its limit",
            flush=True,
        )
    if rows and not options.quick:
        write(describe() | thread_settings(options.threads), peaks, rows, missing)


def write(environment: dict, peaks: Peaks, rows: list[dict], missing: list[str]) -> None:
    """Write the three results files."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "environment": environment,
        "peaks": asdict(peaks),
        "kernels": rows,
        "missing": missing,
    }
    (RESULTS / "roofline.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / "roofline.md").write_text(report(environment, peaks, rows, missing))
    draw(peaks, rows, RESULTS / "roofline.png")


if __name__ == "__main__":
    main()
