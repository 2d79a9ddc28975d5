"""Tests that hang, die or lose their card are named, and take no other test along."""

import json
import time

import gpu_tests
import pytest
from gpu_findings import Allowance, Findings
from gpu_tests import Group, distinct_failures, run_group, run_groups, tables_of_tests
from timing import Pace
from watched import Ending


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run files of tests, each its own group; return what was found."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(*sources, seconds=50.0):
        groups = []
        for number, source in enumerate(sources):
            path = tmp_path / f"test_{number}.py"
            path.write_text(source)
            groups.append(Group(f"group {number}", [str(path)]))
        found = Findings(path=tmp_path / "parts" / "tests.json")
        allowance = Allowance(time.perf_counter() + seconds, Pace())
        run_groups(groups, tmp_path / "parts", allowance, found)
        return found

    return run


OUTCOMES = """
import pytest

def test_good(): pass
def test_bad(): assert 0
def test_bad_too(): assert 0
def test_skipped(): pytest.skip("for a reason")

@pytest.fixture
def broken(): yield; raise ValueError("no luck")
def test_after(broken): pass
"""


def test_outcomes_are_counted(run):
    found = run(OUTCOMES)
    (record,) = found.data
    counts = [record[key] for key in ("collected", "PASSED", "FAILED", "ERROR", "SKIPPED")]
    assert counts == [5, 1, 2, 1, 1]
    assert [words.partition("::")[2] for words in found.failed] == [
        *("test_bad", "test_bad_too", "test_after")
    ]
    assert found.not_run == []


def test_equal_errors_are_told_once():
    data = [
        {"tests": "x", "collected": 3, "PASSED": 0, "FAILED": 3, "ERROR": 0, "SKIPPED": 0}
        | {"wrong": {"a": "no luck", "b": "a | b", "c": "no luck"}}
    ]
    assert distinct_failures(data) == [["no luck", "2", "a"], ["a / b", "1", "b"]]
    assert "| no luck | 2 | a |" in tables_of_tests(data)[1].markdown()


def test_a_group_that_skips_everything_is_wrong():
    found = Findings()
    lines = [{"collected": "1"}, {"test": "a", "event": "BEGUN"}, {"test": "a", "event": "SKIPPED"}]
    gpu_tests.add_record(Group("x", []), lines, [], found)
    assert found.failed == ["all 1 tests of x were skipped"]


HANGING = """
import time
def test_first(): pass
def test_hanging(): time.sleep(60)
def test_last(): pass
"""


def test_a_hanging_test_is_wrong_and_the_next_one_runs(run, monkeypatch):
    monkeypatch.setattr(gpu_tests, "PATIENCE", 2)
    found = run(HANGING)
    (words,) = found.failed
    assert words.endswith("::test_hanging")
    (record,) = found.data
    assert (record["PASSED"], record["ERROR"]) == (2, 1)
    assert "without a sign of life" in next(iter(record["wrong"].values()))


def run_stopped(tmp_path, monkeypatch, still):
    """Run a group that is stopped at the end of its time, in a test that has run for so many seconds."""

    def stopped(command, log, diary, *_):
        lines = [
            {"collected": "3"},
            {"test": "a", "event": "BEGUN"},
            {"test": "a", "event": "PASSED"},
        ]
        lines += [{"test": "b", "event": "BEGUN"}]
        diary.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"te')
        return Ending(None, "was stopped after 9 s, when its time was over", still)

    monkeypatch.setattr(gpu_tests, "run_watched", stopped)
    found = Findings()
    run_group(Group("x", []), tmp_path / "diary", tmp_path / "log", 0.0, found)
    return found


def test_a_test_that_hangs_when_the_time_is_over_is_wrong(tmp_path, monkeypatch):
    found = run_stopped(tmp_path, monkeypatch, gpu_tests.SUSPICIOUS + 1)
    assert (found.failed, found.not_run) == (["test b"], ["1 of the 3 tests of x"])
    assert "when its time was over" in found.data[0]["wrong"]["b"]


def test_a_group_without_time_left_says_where_it_was_stopped(tmp_path, monkeypatch):
    found = run_stopped(tmp_path, monkeypatch, 0.5)
    assert found.failed == []
    words, count = found.not_run
    assert words == "pytest x was stopped after 9 s, when its time was over, see log, in b"
    assert count == "2 of the 3 tests of x"


def test_a_test_that_kills_its_process_is_wrong_and_the_next_one_runs(run):
    found = run("import os\ndef test_dying(): os.abort()\ndef test_next(): pass\n")
    assert [words.rpartition("::")[2] for words in found.failed] == ["test_dying"]
    assert found.data[0]["PASSED"] == 1
    assert "ended by SIGABRT" in next(iter(found.data[0]["wrong"].values()))


LOSING = """
import cupy

def test_first(): pass
def test_illegal():
    cupy.lost = True
    raise RuntimeError("cudaErrorIllegalAddress")
def test_next(): assert not cupy.lost
def test_last(): assert not cupy.lost
"""
CARD = """
import sys, types
lost = False
class Device:
    def synchronize(self):
        if sys.modules["cupy"].lost: raise RuntimeError("cudaErrorIllegalAddress")
cuda = types.SimpleNamespace(Device=Device)
"""


def test_after_a_sticky_error_another_process_goes_on(run, tmp_path):
    (tmp_path / "cupy.py").write_text(CARD)
    found = run(LOSING)
    assert [words.rpartition("::")[2] for words in found.failed] == ["test_illegal"]
    assert found.data[0]["PASSED"] == 3


def test_groups_share_the_time(tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(gpu_tests, "run_group", lambda *arguments: ends.append(arguments[3]))
    groups = [Group("a", [], 3), Group("b", [], 1)]
    start = time.perf_counter()
    run_groups(groups, tmp_path, Allowance(start + 100, Pace()), Findings())
    assert ends == [pytest.approx(start + 75, abs=1), pytest.approx(start + 100, abs=1)]


def test_files_that_cannot_be_collected_are_told(run, tmp_path):
    found = run("import nothing_of_this_name\n")
    assert "test_0.py" in found.failed[0]
    assert "nothing_of_this_name" in next(iter(found.data[0]["wrong"].values()))


def test_files_that_are_missing_are_told(tmp_path):
    found = Findings()
    allowance = Allowance(time.perf_counter() + 30, Pace())
    run_groups([Group("group", [str(tmp_path / "missing.py")])], tmp_path, allowance, found)
    assert "pytest group ended with status 4" in found.failed[0]


def test_without_pytest_that_is_told(tmp_path, monkeypatch):
    found = Findings()
    monkeypatch.setattr(gpu_tests.importlib.util, "find_spec", lambda name: None)
    run_groups([], tmp_path, Allowance(0, Pace()), found)
    assert found.failed == ["tests: pytest is not installed"]
