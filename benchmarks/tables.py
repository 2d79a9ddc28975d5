"""Tables of results as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table with a title.

    Attributes:
        title: its heading.
        headings: of the columns.
        rows: cells, as text, or as milliseconds or other positive numbers; None where nothing was measured.
        note: what its numbers mean, in a sentence or two.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown, under a heading."""
        lines = [joined(self.headings), joined(["---"] * len(self.headings))]
        lines += [joined([cell(value) for value in row]) for row in self.rows]
        parts = [f"## {self.title}", *([self.note] if self.note else []), "\n".join(lines)]
        return "\n\n".join(parts) + "\n"


def joined(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def cell(value: str | float | None) -> str:
    """Return what stands in a table for a text, a number, or nothing."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else digits(value)


def digits(number: float) -> str:
    """Return a time with three significant digits, and without an exponent."""
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.3g}"


def described(environment: dict[str, str | int]) -> str:
    """Return what a measurement was made with, as a line."""
    return ", ".join(f"{name} {value}" for name, value in environment.items())
