"""The results of vs_pytorch.py as JSON, as tables and as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

from libraries import CHANNELS_LAST, EXACT, MINICNN, NCHW, UNCAPTURED
from provenance import commits_of, mark
from tables import digits, joined

RESULTS = Path(__file__).parent / "results"
GROUPS = ("training step", "inference", "epoch", "operation")
PICTURES = {"vs_pytorch.png": GROUPS[:3], "vs_pytorch_operations.png": GROUPS[3:]}


def save(environment: dict, record: dict) -> None:
    """Put a record into the results files.

    Records of another environment are dropped: times of different machines or versions do not
    belong into one table.
    """
    path = RESULTS / "vs_pytorch.json"
    known = json.loads(path.read_text()) if path.exists() else {"environment": None, "rows": []}
    rows = known["rows"] if known["environment"] == environment else []
    rows = merged(rows, record)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"environment": environment, "rows": rows}, indent=2) + "\n")
    path.with_suffix(".md").write_text(tables(environment, rows))
    for name, groups in PICTURES.items():
        draw(shown(rows, groups), RESULTS / name)


def add_to(environment: dict, name: str, more: dict) -> None:
    """Add to the record of a row that has been measured; nothing if there is none of this environment."""
    path = RESULTS / "vs_pytorch.json"
    known = json.loads(path.read_text()) if path.exists() else {"environment": None}
    if known["environment"] == environment:
        for row in known["rows"]:
            if row["name"] == name:
                save(environment, row | more)


def merged(rows: list[dict], record: dict) -> list[dict]:
    """Return the rows with `record` in the place of the one of its name, or at the end of its group."""
    names = [row["name"] for row in rows]
    if record["name"] in names:
        return [record if row["name"] == record["name"] else row for row in rows]
    return sorted([*rows, record], key=lambda row: GROUPS.index(row["group"]))


def line_of(record: dict) -> str:
    """Return a record as one line for the terminal."""
    times = "  ".join(f"{name} {ms:.3f}" for name, ms in record["milliseconds"].items())
    errors = ", ".join(f"{error:.1e}" for error in record["errors"].values())
    memory = "  ".join(
        f"{name} {values['added']:.0f} MiB" for name, values in record.get("memory", {}).items()
    )
    line = (
        f"{record['name']}: ratio {record['ratio']['value']:.2f}  [ms: {times}]  [errors: {errors}]"
    )
    return f"{line}  [memory: {memory}]" if memory else line


# --- tables ---------------------------------------------------------------------------------------

HEADINGS = ("minicnn ms", "exact ms", "PyTorch ms", "ratio", "rounds", "exact ratio", "least, aim")
UNCAPTURED_HEADINGS = ("uncaptured ms", "uncaptured ratio")


def tables(environment: dict, rows: list[dict]) -> str:
    """Return all results as Markdown, a table a group."""
    parts = [
        "# minicnn against PyTorch, on a CPU",
        commits_of(rows),
        f"Written by `benchmarks/vs_pytorch.py`. {', '.join(f'{k} {v}' for k, v in environment.items())}",
        "Medians in milliseconds, float32. PyTorch's is the better of its two layouts (marked c where that is "
        "channels-last; for optimizers, its fused variant). Ratio: PyTorch's / minicnn's, above 1 where minicnn is "
        "quicker; beside it the range over the rounds. Exact: without Winograd's transforms; where these suit nothing, "
        "both columns time the same code, and differ by chance. Least, aim: the ratios that a row has to reach, and "
        "should. Training steps of minicnn are captured, as `fit` does it, and so is inference, by "
        "`minicnn.capture(model)`; uncaptured: each call decides anew what to compute. "
        "Memory: the peak that later training steps add to a process, the peak of minicnn's first steps, of which one "
        "is recorded, and PyTorch's, in MiB.",
        *(f"![Ratios]({name})" for name, groups in PICTURES.items() if shown(rows, groups)),
    ]
    for group in GROUPS:
        members = shown(rows, [group])
        if members:
            parts += [f"## {group}", table(members, rows)]
    return "\n\n".join(parts) + "\n"


def shown(rows: list[dict], groups: Sequence[str]) -> list[dict]:
    """Return the rows of these groups."""
    return [row for row in rows if row["group"] in groups]


def table(rows: list[dict], all_rows: list[dict]) -> str:
    """Return the rows of one group as a table; those of another commit than the newest of all rows are marked."""
    with_memory = any(row.get("memory") for row in rows)
    with_uncaptured = any("uncaptured_ratio" in row for row in rows)
    headings = ["", *HEADINGS]
    headings += UNCAPTURED_HEADINGS if with_uncaptured else ()
    headings += ["memory minicnn, first steps, PyTorch"] if with_memory else []
    lines = [joined(headings), joined(["---"] * len(headings))]
    for row in rows:
        cells = [row["title"] + mark(row, all_rows), *cells_of(row)]
        cells += uncaptured_cells(row) if with_uncaptured else []
        cells += [memory_cell(row, all_rows)] if with_memory else []
        lines.append(joined(cells))
    return "\n".join(lines)


def cells_of(row: dict) -> list[str]:
    """Return the cells below HEADINGS."""
    times = row["milliseconds"]
    layout = min((NCHW.name, CHANNELS_LAST.name), key=lambda name: times[name])
    ratio, exact = row["ratio"], row["exact_ratio"]["value"]
    missed = row["least"] is not None and ratio["value"] < row["least"]
    return [
        digits(times[MINICNN.name]),
        digits(times[EXACT.name]),
        digits(times[layout]) + (" c" if layout == CHANNELS_LAST.name else ""),
        f"**{ratio['value']:.2f}**" if not missed else f"{ratio['value']:.2f} (below least)",
        f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        f"{exact:.2f}" + (" (below 1)" if row["least"] is not None and exact < 1 else ""),
        ", ".join(f"{goal:g}" for goal in (row["least"], row["aim"]) if goal is not None) or "-",
    ]


def uncaptured_cells(row: dict) -> list[str]:
    """Return the cells below UNCAPTURED_HEADINGS."""
    if "uncaptured_ratio" not in row:
        return ["-", "-"]
    return [
        digits(row["milliseconds"][UNCAPTURED.name]),
        f"{row['uncaptured_ratio']['value']:.2f}",
    ]


def memory_cell(row: dict, all_rows: list[dict]) -> str:
    """Return the peaks of minicnn, in later steps and in the first ones, and of the better of PyTorch's layouts.

    They are marked as a row is, since they may have been measured at another time than the row.
    """
    memory = row.get("memory")
    if not memory:
        return "-"
    ours = memory[MINICNN.name]
    theirs = min(memory[name]["added"] for name in (NCHW.name, CHANNELS_LAST.name))
    peaks = ", ".join(map(digits, (ours["added"], ours["first"], theirs)))
    return peaks + mark({"measured": row.get("memory_measured", {})}, all_rows)


# --- picture --------------------------------------------------------------------------------------

OURS, BELOW, EXACTLY = "#2a7f8e", "#c8553d", "#9ccbd3"


def draw(rows: list[dict], path: Path) -> None:
    """Draw the ratios of all rows as bars; nothing without rows, or where Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not rows:
        return
    groups = [members for members in (shown(rows, [group]) for group in GROUPS) if members]
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(rows) + 0.5 * len(groups)), layout="constrained")
    panels = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, height_ratios=[len(m) + 1 for m in groups]
    )[:, 0]
    for panel, members in zip(panels, groups, strict=True):
        draw_group(panel, members)
    panels[-1].set_xlabel("PyTorch's time / minicnn's time, logarithmic")
    figure.suptitle("Diamonds: minicnn without Winograd. Black lines: least and aim.", fontsize=8)
    figure.savefig(path, dpi=120)


def draw_group(panel: object, rows: list[dict]) -> None:
    """Draw the bars of one group, the first row on top."""
    places = list(range(len(rows)))
    values = [row["ratio"]["value"] for row in rows]
    colours = [
        OURS if v >= (row["least"] or 1) else BELOW for v, row in zip(values, rows, strict=True)
    ]
    # Bars begin at 1: to the right of it minicnn is quicker, to the left PyTorch.
    panel.barh(places, [value - 1 for value in values], left=1, color=colours, height=0.62)
    for place, row in zip(places, rows, strict=True):
        exact = row["exact_ratio"]["value"]
        panel.plot(exact, place, "D", color=EXACTLY, markeredgecolor="black", markersize=4)
        for goal, width in ((row["least"], 1.6), (row["aim"], 0.8)):
            if goal is not None:
                panel.plot(
                    [goal, goal], [place - 0.42, place + 0.42], color="black", linewidth=width
                )
        panel.annotate(
            f"{row['ratio']['value']:.2f}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    panel.set_xscale("log")
    panel.axvline(1, color="grey", linewidth=0.8)
    ticks = [0.5, 1, 2, 4, 8]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_yticks(places, [row["title"] for row in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_title(rows[0]["group"], fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
