"""What the parts of gpu_report.py may take, and what they find: kept on disk after each row.

A part is a sequence of rows, each of which may fail in ways of its own: no plan in cuDNN, an error of the
compiler, no memory, a kernel that writes where it may not, one that never ends. So each row is carried out by
itself. Before it begins, its name is written to the file of the part, and whoever has to stop the process later finds
there what was going on, and all that had been found before. A process that is started anew with the
same file passes over the rows that have begun.

After a row that failed the card is asked whether it still answers (`gpu_card.py`).
"""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_card import card_answers
from passes import release_memory
from timing import Pace

from minicnn import deferred

MOST_LETTERS = 400
"""Of an error that goes into the report; the rest stands in the log of the part."""


class CardLostError(RuntimeError):
    """The card answers this process no more."""


@dataclass(frozen=True)
class Allowance:
    """What a part may take.

    Attributes:
        deadline: the moment of `time.perf_counter` after which no row begins.
        pace: how long a row is timed.
        is_tiny: take the smallest sizes, to see that everything works.
        device: "cuda"; "cpu" where parts are tried without a GPU.
    """

    deadline: float
    pace: Pace
    is_tiny: bool = False
    device: str = "cuda"


@dataclass
class Findings:
    """What a part found.

    Attributes:
        data: records of its rows, for JSON.
        failed: what was found to be wrong.
        left_out: what was not run, and why, beside the rows that did not begin.
        planned: the names of all rows.
        begun: the names of those that began.
        doing: what is going on: a row, or a step of it; "" between rows.
        is_done: whether the part came to its end.
        path: the file that it is kept in; None for none.
    """

    data: list[Any] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    doing: str = ""
    is_done: bool = False
    path: Path | None = None

    @property
    def not_run(self) -> list[str]:
        """What was not run."""
        begun = set(self.begun)
        return self.left_out + [name for name in self.planned if name not in begun]

    def carry_out(self, rows: Mapping[str, Callable[[], None]], allowance: Allowance) -> None:
        """Carry out rows one after the other, until the deadline; each puts what it finds into `data` and `failed`.

        Args:
            rows: functions by their names, which are unique in the part.
            allowance: of the part.

        Raises:
            CardLostError: after a row whose error is that of all calls to come.
        """
        self.planned = list(rows)
        for name, row in rows.items():
            if name in self.begun:  # in a process before this one
                continue
            if time.perf_counter() > allowance.deadline:
                break
            self.begun.append(name)
            self.go_on(name)
            self.attempt(name, row, allowance.device)
        self.go_on("")

    def attempt(self, name: str, row: Callable[[], None], device: str) -> None:
        """Carry out a row, or a step of one: what goes wrong is noted, and the next one may go well.

        Raises:
            CardLostError: where it cannot.
        """
        try:
            row()
            release_memory(device)  # and wait: what a kernel did wrong shows late
        except CardLostError:
            raise
        except Exception as error:
            traceback.print_exc()  # into the log
            self.failed.append(f"{name}: {words_of(error)}")
            self.save()
            deferred.forget()
            if device != "cpu" and not card_answers():
                raise CardLostError(f"the card does not answer after {name}") from error

    def go_on(self, doing: str) -> None:
        """Note what begins now: this is also the sign of life that whoever watches the process waits for."""
        self.doing = doing
        self.save()

    def leave_out(self, words: str) -> None:
        """Note what is not run, once."""
        if words not in self.left_out:
            self.left_out.append(words)

    def save(self) -> None:
        """Write everything to the file, all at once."""
        if self.path is None:
            return
        content = {name: value for name, value in asdict(self).items() if name != "path"}
        write(self.path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Findings":
        """Return what the file holds; nothing where there is none."""
        content = json.loads(path.read_text()) if path.exists() else {}
        return cls(**content, path=path)


def write(path: Path, text: str) -> None:
    """Write a file that is whole at any moment: a process may be stopped while it writes."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def words_of(error: BaseException) -> str:
    """Return an error in one line."""
    words = " ".join([str(error), *getattr(error, "__notes__", ())]).split()
    return f"{type(error).__name__}: {' '.join(words)}"[:MOST_LETTERS]
