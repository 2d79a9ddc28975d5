"""What is shown while training: nothing, lines, or lines and a bar."""

import sys

import pytest

from minicnn.train.progress import Progress

RECORD = {"loss": 0.5, "accuracy": 0.25, "lr": 1e-5, "seconds": 2.0}


def pretend_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def go_through(progress):
    seen = []
    for batch in progress.watch([1, 2, 3], epoch=3):
        progress.note(0.5)
        seen.append(batch)
    progress.close()
    progress.finish(3, RECORD)
    return seen


def test_a_line_an_epoch(capsys):
    assert go_through(Progress(12, show=True)) == [1, 2, 3]
    expected = "epoch  3/12  loss 0.5000  accuracy 0.2500  lr 1e-05  2.0 s\n"
    assert capsys.readouterr() == ("", expected)


def test_silence(capsys):
    assert go_through(Progress(12, show=False)) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    pretend_terminal(monkeypatch)
    assert go_through(Progress(12, show=True)) == [1, 2, 3]
    shown = capsys.readouterr().err
    assert "epoch  3/12:" in shown
    assert shown.endswith("2.0 s\n")


def test_without_tqdm_the_lines_remain(capsys, monkeypatch):
    pretend_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert go_through(Progress(12, show=True)) == [1, 2, 3]
    assert capsys.readouterr().err.startswith("epoch  3/12  loss")
