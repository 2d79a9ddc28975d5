"""Rows that fail, and files from which another process goes on."""

import json
import time

import pytest
from gpu_card import card_answers
from gpu_findings import Allowance, CardLostError, Findings, words_of
from timing import Pace

from tests.gpu.strict_cupy import installed, make_cupy


@pytest.fixture
def allowance():
    return Allowance(time.perf_counter() + 60, Pace(), device="cpu")


def fail():
    raise RuntimeError("no plan in cuDNN")


def test_a_row_that_fails_takes_no_other_along(allowance):
    found = Findings()
    rows = {"a": lambda: found.data.append(1), "b": fail, "c": lambda: found.data.append(3)}
    found.carry_out(rows, allowance)
    assert (found.data, found.failed) == ([1, 3], ["b: RuntimeError: no plan in cuDNN"])
    assert found.not_run == []


def test_after_the_deadline_rows_are_named():
    found = Findings()
    found.carry_out({"a": fail, "b": fail}, Allowance(time.perf_counter() - 1, Pace()))
    assert (found.failed, found.not_run) == ([], ["a", "b"])


def test_before_a_row_begins_the_file_names_it(allowance, tmp_path):
    found = Findings(path=tmp_path / "part.json")
    seen = []

    def look():
        seen.append(json.loads(found.path.read_text()))

    found.carry_out({"a": lambda: found.data.append(1), "b": look}, allowance)
    assert (seen[0]["doing"], seen[0]["begun"], seen[0]["data"]) == ("b", ["a", "b"], [1])


def test_rows_that_have_begun_are_passed_over(allowance, tmp_path):
    Findings(path=tmp_path / "part.json", begun=["a"], data=[1], failed=["a: died"]).save()
    found = Findings.load(tmp_path / "part.json")
    found.carry_out({"a": fail, "b": lambda: found.data.append(2)}, allowance)
    assert (found.data, found.failed, found.not_run) == ([1, 2], ["a: died"], [])


def test_a_card_that_is_lost_ends_the_process(tmp_path):
    library = make_cupy()

    def lose():
        def illegal(self):
            raise RuntimeError("cudaErrorIllegalAddress")

        library.cuda.Device.synchronize = illegal
        illegal(None)

    found = Findings(path=tmp_path / "part.json")
    allowance = Allowance(time.perf_counter() + 60, Pace(), device="cuda")
    with installed(library), pytest.raises(CardLostError, match="after a"):
        found.carry_out({"a": lose, "b": fail}, allowance)
    kept = Findings.load(found.path)
    assert kept.failed == ["a: RuntimeError: cudaErrorIllegalAddress"]
    assert kept.not_run == ["b"]


def test_a_card_answers():
    with installed(make_cupy()):
        assert card_answers()


def test_an_error_in_one_line():
    error = ValueError("two\n  lines")
    error.add_note("and a note")
    assert words_of(error) == "ValueError: two lines and a note"
