"""The report of gpu_report.py as Markdown and JSON, from what its parts have found so far."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conv_algorithms
import cpu_vs_gpu
from gpu_devices import results_of
from gpu_findings import Findings, words_of, write
from gpu_goals import table_of
from gpu_parts import algorithm_records
from tables import Table, described

MOST_NAMES = 20
"""Of rows that were not run; report.json has all."""


@dataclass
class Record:
    """What is known of a part.

    Attributes:
        name: of the part.
        part: its tables and goals.
        found: what it found.
        seconds: how long it has run.
    """

    name: str
    part: Any
    found: Findings
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether it came to its end, and found nothing wrong."""
        return self.found.is_done and not self.found.failed


def state_of(record: Record) -> str:
    """Return in words how a part went."""
    found = record.found
    words = [f"{len(found.failed)} found wrong"] if found.failed else []
    words += [f"{len(found.not_run)} not run"] if found.not_run else []
    if not found.is_done:
        words.append(f"in {found.doing}" if found.doing else "not finished")
    return ", ".join(words) or "done"


def text_of(out: Path, environment: Mapping, records: Sequence[Record]) -> str:
    """Return the report as Markdown, with the pictures in the folder `out`."""
    summary = [[r.name, state_of(r), f"{r.seconds:.0f} s"] for r in records]
    kinds = [kind for record in records for kind in record.part.kinds]
    goals = [goal for record in records for goal in record.part.goals(record.found.data)]
    parts = [
        "# What a GPU showed",
        f"Written by `benchmarks/gpu_report.py`, whose head says what each part does. {described(environment)}",
        "Medians after a warm-up, between events in the GPU's queue.",
        Table("Parts", ["", "", "took"], summary).markdown().strip(),
    ]
    if kinds:
        parts.append(table_of(goals, kinds).markdown().strip())
    for record in records:
        parts += part_text(record)
        if (out / f"{record.name}.png").exists():
            parts.append(f"![{record.name}]({record.name}.png)")
    return "\n\n".join(parts) + "\n"


def part_text(record: Record) -> list[str]:
    """Return the paragraphs of a part."""
    found = record.found
    parts = [table.markdown().strip() for table in record.part.tables(found.data)]
    if found.failed:
        parts.append("Found wrong:\n\n" + "\n".join(f"- {words}" for words in found.failed))
    if found.not_run and (found.is_done or not found.doing):
        names, more = found.not_run[:MOST_NAMES], len(found.not_run) - MOST_NAMES
        rest = f", and {more} more" if more > 0 else ""
        parts.append(f"{record.name}, not run: {'; '.join(names)}{rest}.")
    return parts


def draw_pictures(out: Path, record: Record) -> None:
    """Draw the picture of a part, if it has one; what goes wrong here takes nothing along."""
    path = out / f"{record.name}.png"
    path.unlink(missing_ok=True)  # of an earlier report
    try:
        if record.name == "algorithms":
            conv_algorithms.draw(algorithm_records(record.found.data), path)
        elif record.name == "devices":
            cpu_vs_gpu.draw(results_of(record.found.data), path)
    except Exception as error:
        record.found.leave_out(f"{path.name} could not be drawn: {words_of(error)}")
        record.found.save()


def save(out: Path, environment: Mapping, records: Sequence[Record]) -> None:
    """Write report.json, and then report.md."""
    plain = [
        {
            "name": record.name,
            "seconds": round(record.seconds, 1),
            "is_done": record.found.is_done,
            "data": record.found.data,
            "failed": record.found.failed,
            "not_run": record.found.not_run,
        }
        for record in records
    ]
    content = {"environment": dict(environment), "parts": plain}
    write(out / "report.json", json.dumps(content, indent=2) + "\n")
    try:
        text = text_of(out, environment, records)
    except Exception as error:  # all numbers are in report.json
        text = f"# What a GPU showed\n\nThe tables could not be made ({words_of(error)}): see report.json.\n"
    write(out / "report.md", text)
