"""The diary of tests that `gpu_pytest.py` writes and `gpu_tests.py` reads: a line of JSON for each event.

A line has a "test" and an "event", and an "error" where something went wrong; or it says how many tests were
"collected".
"""

import json
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "MINICNN_TEST_DIARY"
"""The environment variable that names the file."""

BEGUN = "BEGUN"
FAILED, ERROR, SKIPPED, PASSED = "FAILED", "ERROR", "SKIPPED", "PASSED"


def read_diary(path: Path) -> list[dict]:
    """Return the lines of a diary; the last one may have been cut off."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def unfinished(lines: Sequence[dict]) -> str:
    """Return the test that has begun and not ended; "" where there is none."""
    begun = [line["test"] for line in lines if line.get("event") == BEGUN]
    ended = {line["test"] for line in lines if line.get("event") not in (None, BEGUN)}
    return begun[-1] if begun and begun[-1] not in ended else ""
