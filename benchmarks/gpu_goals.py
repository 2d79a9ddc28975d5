"""Goals of the GPU report: rows of numbers against what they should reach."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tables import Table

MET, MISSED = "met", "missed"


@dataclass(frozen=True)
class Goal:
    """A row that has a goal.

    Attributes:
        kind: what rows of its kind should reach, in words.
        row: what was measured.
        reached: the number, as text.
        is_met: whether it is enough.
    """

    kind: str
    row: str
    reached: str
    is_met: bool

    @property
    def word(self) -> str:
        """What stands in tables."""
        return MET if self.is_met else MISSED


def at_least(kind: str, row: str, value: float, least: float) -> Goal:
    """Return a goal that a ratio should reach."""
    return Goal(kind, row, f"{value:.2f}", value >= least)


def table_of(goals: Iterable[Goal], kinds: Sequence[str]) -> Table:
    """Return how many rows of each kind met their goal, and which did not.

    Args:
        goals: of all rows that were measured.
        kinds: all kinds, measured or not.
    """
    goals, rows = list(goals), []
    for kind in kinds:
        members = [goal for goal in goals if goal.kind == kind]
        missed = [f"{goal.row} ({goal.reached})" for goal in members if not goal.is_met]
        count = f"{len(members) - len(missed)} of {len(members)}" if members else "not measured"
        rows.append([kind, count, ", ".join(missed)])
    note = "A goal that is missed is nothing wrong: the exit status does not depend on it."
    return Table("Goals", ["", "met by", "missed by"], rows, note)
