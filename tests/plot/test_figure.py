"""Figures: written whole, without a window and without touching the user's settings."""

import os
import sys

import pytest

from minicnn.plot.figure import new_figure, write


@pytest.fixture
def figure():
    pytest.importorskip("matplotlib")
    return new_figure(2, 1)


def test_a_figure_is_written_in_the_format_that_its_name_asks_for(figure, tmp_path):
    write(figure, tmp_path / "a.png")
    write(figure, tmp_path / "a.SVG")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "a.SVG").read_bytes()


def test_without_a_path_nothing_is_written(figure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write(figure, None) is figure
    assert os.listdir() == []


def test_an_unknown_format_is_refused(figure, tmp_path):
    with pytest.raises(ValueError, match=r"a\.doc: expected a name ending in one of .*pdf.*png"):
        write(figure, tmp_path / "a.doc")
    assert os.listdir(tmp_path) == []


def test_an_error_while_writing_leaves_the_old_file(figure, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(file, format):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        write(figure, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_drawing_does_not_touch_pyplot(figure):
    import matplotlib

    assert figure.canvas.manager is None  # no window
    backend = matplotlib.rcParams._get_backend_or_none()
    new_figure(1, 1)
    assert matplotlib.rcParams._get_backend_or_none() == backend


def test_a_missing_matplotlib_is_reported_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install minicnn\[plot\]"):
        new_figure(1, 1)
