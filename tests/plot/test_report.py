"""The report: curves and matrix on one sheet."""

import numpy as np
import pytest

from minicnn.plot import training_report

pytest.importorskip("matplotlib")


def test_the_report_shows_loss_accuracy_and_matrix(tmp_path):
    history = {"loss": [1.0, 0.5], "accuracy": [0.5, 0.75], "third": [0.0, 0.0]}
    path = tmp_path / "report.png"
    figure = training_report(history, np.eye(2, dtype=int), ["cat", "dog"], path, title="a run")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss",
        "Accuracy",
        "Confusion matrix",
    ]
    assert figure.get_suptitle() == "a run"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_is_drawn_outside_the_sheet():
    names = ["T-shirt/top", "Ankle boot"]
    history = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.6]}
    figure = training_report(history, np.eye(2, dtype=int), names, title="a run")
    figure.canvas.draw()
    sheet, drawn = figure.bbox, figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert sheet.x0 <= drawn.x0
    assert sheet.y0 <= drawn.y0
    assert drawn.x1 <= sheet.x1
    assert drawn.y1 <= sheet.y1


def test_a_history_without_epochs_is_refused():
    with pytest.raises(ValueError, match="the history holds no epoch"):
        training_report({}, np.eye(2), ["cat", "dog"])
