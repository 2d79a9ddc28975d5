"""Which code each row of a results file was measured with, where rows are measured one by one.

Such a file keeps the rows of earlier runs. So each row gets what `measured` returns; the page says at its head
of which commits its rows are (`commits_of`), and marks those that are not of the newest (`mark`).
"""

import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import minicnn

CODE = "kernels", "minicnn"
"""The folders whose commits count."""

UNKNOWN = "unknown"


def measured() -> dict[str, str]:
    """Return the "commit" of minicnn, see `commit`, and the "date" with the time, in UTC."""
    return {"commit": commit(), "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}


def commit(root: Path | None = None) -> str:
    """Return the last commit that changed minicnn, abbreviated.

    Args:
        root: the checkout; None for that of the minicnn that is imported.

    Returns:
        Such as "1a2b3c4"; "1a2b3c4+" where files differ from it, "unknown" outside of a checkout.
    """
    root = root or Path(minicnn.__file__).resolve().parents[1]
    last = _git(root, "log", "-1", "--format=%h", "--", *CODE)
    if not last:
        return UNKNOWN
    return last + ("+" if _git(root, "status", "--porcelain", "--", *CODE) else "")


def commits_of(rows: Sequence[dict]) -> str:
    """Return of which commits rows are, newest first, as a sentence."""
    counts = Counter(map(_commit_of, rows))
    dates = {_commit_of(row): _date_of(row)[:10] for row in sorted(rows, key=_date_of)}
    told = [
        f"{counts[commit]} of {commit}" + (f" ({date})" if date else "")
        for commit, date in reversed(dates.items())
    ]
    marked = "; rows of others than the first are marked" if len(told) > 1 else ""
    return f"Rows by commit of minicnn: {', '.join(told)}{marked}."


def mark(row: dict, rows: Sequence[dict]) -> str:
    """Return what stands behind a row of another commit than the newest of `rows`: " [1a2b3c4]", or nothing."""
    newest = _commit_of(max(rows, key=_date_of))
    return "" if _commit_of(row) == newest else f" [{_commit_of(row)}]"


def _commit_of(row: dict) -> str:
    return row.get("measured", {}).get("commit", UNKNOWN)


def _date_of(row: dict) -> str:
    return row.get("measured", {}).get("date", "")


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, without the end of the line; nothing where there is no git, or no repository."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
