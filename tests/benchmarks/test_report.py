import json

import pytest

pytest.importorskip("torch")
import report

NAMES = ("minicnn", "minicnn exact", "PyTorch NCHW", "PyTorch channels-last")


def record(name="step mlp", group="training step", ratio=2.0, **more) -> dict:
    return {
        "name": name,
        "group": group,
        "title": name,
        "least": 1.5,
        "aim": 3.0,
        "milliseconds": dict(zip(NAMES, (1.0, 1.5, 3.0, 2.0), strict=True)),
        "errors": dict.fromkeys(NAMES, 1e-6),
        "ratio": {"value": ratio, "low": 1.9, "high": 2.1},
        "exact_ratio": {"value": 1.4, "low": 1.3, "high": 1.5},
        **more,
    }


def test_a_row_measured_again_replaces_the_old_one():
    rows = report.merged([record("a"), record("b")], record("a", ratio=5.0))
    assert [(row["name"], row["ratio"]["value"]) for row in rows] == [("a", 5.0), ("b", 2.0)]


def test_a_new_row_joins_its_group():
    rows = report.merged([record("a"), record("c", "operation")], record("b"))
    assert [row["name"] for row in rows] == ["a", "b", "c"]


def test_a_row_below_its_least_ratio_is_marked():
    assert "1.20 (below least)" in report.table([record(ratio=1.2)], [record()])
    assert "below" not in report.table([record(ratio=1.5)], [record()])


def test_the_better_layout_is_shown():
    assert report.cells_of(record())[:3] == ["1", "1.5", "2 c"]


def test_memory_is_that_of_the_better_layout_and_of_both_kinds_of_steps():
    memory = {
        name: {"added": value, "first": value + 1}
        for name, value in zip(NAMES, (5.0, 5.5, 9.0, 7.0), strict=True)
    }
    row = record(memory=memory)
    assert report.memory_cell(row, [row]) == "5, 6, 7"
    assert report.memory_cell(record(), [row]) == "-"


def at(commit: str, day: int) -> dict:
    return {"commit": commit, "date": f"2026-01-{day:02} 12:00"}


def test_rows_and_memory_of_another_commit_than_the_newest_are_marked():
    memory = {name: {"added": 5.0, "first": 6.0} for name in NAMES}
    rows = [
        record("new", measured=at("2222222", 2)),
        record("old", measured=at("1111111", 1), memory=memory, memory_measured=at("2222222", 2)),
        record("older", memory=memory, measured=at("2222222", 2)),
    ]
    text = report.tables({"cores": 2}, rows)
    assert "| new |" in text
    assert "| old [1111111] |" in text
    assert "| 5, 6, 5 |" in text
    assert "| 5, 6, 5 [unknown] |" in text
    assert "2 of 2222222 (2026-01-02), 1 of 1111111 (2026-01-01)" in text


@pytest.mark.parametrize(("ms", "text"), [(0.01234, "0.0123"), (12.34, "12.3"), (1234.5, "1234")])
def test_times_have_three_digits(ms, text):
    assert report.digits(ms) == text


def test_records_of_another_environment_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "draw", lambda rows, path: None)
    for environment, name in (({"cores": 2}, "a"), ({"cores": 2}, "b"), ({"cores": 4}, "c")):
        report.save(environment, record(name))
        rows = json.loads((tmp_path / "vs_pytorch.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["c"]


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    report.draw([record(), record("b", "operation", 0.4)], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
