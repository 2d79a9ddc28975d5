"""A confusion matrix as a picture."""

import numpy as np
import pytest

from minicnn.plot import plot_confusion_matrix

pytest.importorskip("matplotlib")

MATRIX = np.array([[8, 2], [0, 0]])


def test_cells_show_counts_and_shares_of_the_true_class():
    (axes,) = plot_confusion_matrix(MATRIX, ["cat", "dog"]).axes
    np.testing.assert_allclose(axes.images[0].get_array()[0], [0.8, 0.2])
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "8": (0, 0),
        "2": (1, 0),
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    assert axes.get_xlabel() == "predicted\n(counts, shaded by share of row)"
    assert axes.get_ylabel() == "true"


def test_a_class_without_examples_is_marked():
    (axes,) = plot_confusion_matrix(MATRIX, ["cat", "dog"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog (none)"]
    assert axes.images[0].get_array().mask[1].all()  # the ground shows through


def test_what_the_cells_are_is_not_cut_off():
    figure = plot_confusion_matrix(MATRIX, ["T-shirt/top", "Ankle boot, high"])
    figure.canvas.draw()
    assert figure.axes[0].xaxis.label.get_window_extent().x1 <= figure.bbox.x1


def test_many_classes_are_drawn_without_numbers(tmp_path):
    figure = plot_confusion_matrix(np.eye(100, dtype=int), ["class"] * 100, tmp_path / "m.png")
    assert not figure.axes[0].texts


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.zeros((3, 3)), -np.eye(2), np.zeros(2)])
def test_a_matrix_that_does_not_fit_the_names_is_refused(matrix):
    with pytest.raises(ValueError, match=r"expected counts >= 0 of shape \(2, 2\)"):
        plot_confusion_matrix(matrix, ["cat", "dog"])


def test_no_class_is_refused():
    with pytest.raises(ValueError, match=r"shape \(0, 0\)"):
        plot_confusion_matrix(np.zeros((0, 0)), [])
