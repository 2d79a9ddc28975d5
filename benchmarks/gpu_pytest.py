"""A plugin of pytest that keeps a diary: which test begins, and how it ended, line by line.

    MINICNN_TEST_DIARY=FILE python -m pytest -p gpu_pytest ...

A kernel that never ends takes the process with it, which then can report nothing; the diary names the test. Tests
that stand in the diary already are left out, so that the same command goes on where another process was
stopped. After a test that failed the card is asked whether it still answers: if not, all other tests of this process
would fail with the same error, and it ends.
"""

import json
import os
from pathlib import Path

import pytest
from gpu_card import LOST, card_answers
from gpu_diary import BEGUN, ERROR, FAILED, PASSED, SKIPPED, VARIABLE, read_diary

_lost = False


def note(**line: str) -> None:
    """Add a line to the diary."""
    with Path(os.environ[VARIABLE]).open("a") as diary:
        diary.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that have begun."""
    begun = {line["test"] for line in read_diary(Path(os.environ[VARIABLE])) if "test" in line}
    left_out = [item for item in items if item.nodeid in begun]
    items[:] = [item for item in items if item.nodeid not in begun]
    config.hook.pytest_deselected(items=left_out)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file whose tests cannot be collected."""
    if report.failed:
        note(test=report.nodeid, event=ERROR, error=error_of(report))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note how many tests there are."""
    note(collected=str(len(session.items)))


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note a test that begins."""
    note(test=nodeid, event=BEGUN)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test ended, and ask the card after one that failed."""
    global _lost
    if report.failed:
        event = FAILED if report.when == "call" else ERROR
        note(test=report.nodeid, event=event, error=error_of(report))
        _lost = _lost or not card_answers()
    elif report.skipped:
        note(test=report.nodeid, event=SKIPPED)
    elif report.when == "call":
        note(test=report.nodeid, event=PASSED)


def pytest_runtest_logfinish() -> None:
    """End the process where nothing more can be computed in it."""
    if _lost:
        pytest.exit("the card answers no more", returncode=LOST)


def error_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the error of a test in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        words = crash.message
    else:  # of a file: the last line of its traceback
        lines = report.longreprtext.splitlines()
        words = next((line[1:] for line in reversed(lines) if line.startswith("E ")), lines[-1])
    return " ".join(words.split())[:300]
