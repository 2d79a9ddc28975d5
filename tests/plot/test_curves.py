"""Curves over the epochs."""

import math

import pytest

from minicnn.plot import plot_history

pytest.importorskip("matplotlib")

HISTORY = {
    "loss": [1.0, 0.5],
    "accuracy": [0.5, 0.75],
    "val_loss": [1.1, 0.8],
    "val_accuracy": [0.4, 0.6],
    "lr": [0.1, 0.1],
    "seconds": [1.0, 1.0],
}


def texts(axes):
    return {text.get_text() for text in axes.texts}


def test_each_measure_is_drawn_beside_its_validation_counterpart():
    loss, accuracy = plot_history(HISTORY).axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[1.0, 0.5], [1.1, 0.8]]
    assert [list(line.get_xdata()) for line in accuracy.lines] == [[1, 2], [1, 2]]
    assert texts(loss) == {"training 0.500", "validation 0.800"}


def test_a_run_without_validation_has_one_curve():
    (axes,) = plot_history({"loss": [1.0]}).axes
    assert len(axes.lines) == 1
    assert texts(axes) == {"training 1.000"}


def test_values_that_are_not_finite_leave_a_gap_and_no_label(tmp_path):
    figure = plot_history(
        {"loss": [1.0, math.nan], "val_loss": [math.inf, 1.0]}, tmp_path / "h.png"
    )
    assert texts(figure.axes[0]) == {"validation 1.000"}


def test_labels_of_equal_values_do_not_overlap():
    figure = plot_history({"loss": [0.5], "val_loss": [0.5]})
    figure.canvas.draw()
    first, second = (text.get_window_extent() for text in figure.axes[0].texts)
    assert not first.overlaps(second)


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"lr": [0.1]}])
def test_a_history_without_epochs_is_refused(history):
    with pytest.raises(ValueError, match="the history holds no epoch"):
        plot_history(history)


def test_what_is_no_history_is_refused():
    with pytest.raises(
        TypeError, match=r"expected the History that fit\(\) returned.*got NoneType"
    ):
        plot_history(None)


@pytest.mark.parametrize("epochs", [1, 2, 12, 100])
def test_epochs_are_whole_numbers(epochs):
    (axes,) = plot_history({"loss": [0.5] * epochs}).axes
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == int(tick) for tick in shown)


def test_labels_stand_beside_their_ends_where_there_is_room():
    (axes,) = plot_history({"loss": [1.0, 0.2], "val_loss": [1.0, 0.8]}).axes
    assert [text.get_position() for text in axes.texts] == [(8, 0), (8, 0)]


@pytest.mark.parametrize("last", [0.2, 0.21, 0.9])
def test_labels_stay_above_the_axis(last):
    figure = plot_history({"loss": [1.0, 0.2], "val_loss": [1.0, last]})
    figure.canvas.draw()
    (axes,) = figure.axes
    bottom = axes.get_window_extent().y0
    assert all(text.get_window_extent().y0 > bottom for text in axes.texts)
