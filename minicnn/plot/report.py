"""The training report: curves and confusion matrix on one sheet."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.plot.confusion import draw_confusion_matrix
from minicnn.plot.curves import Measures, draw_curves, measure_names
from minicnn.plot.figure import INK, new_figure, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_report(
    history: Measures,
    matrix: np.ndarray,
    class_names: Sequence[str],
    path: str | os.PathLike | None = None,
    title: str = "",
) -> "Figure":
    """Draw the first two measures of a run, usually loss and accuracy, and its confusion matrix.

    Args:
        history: what `fit` returned.
        matrix: (K, K) counts; see `minicnn.train.confusion_matrix`.
        class_names: K names.
        path: where to write the picture (.png, .pdf, .svg, ...); None writes no file.
        title: a line above everything.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: a history without epochs, or a matrix that does not fit the names.
        ImportError: matplotlib is missing.
    """
    names = measure_names(history)[:2]
    figure = new_figure(13.0, 6.6)
    grid = figure.add_gridspec(len(names), 2, width_ratios=(1, 1.15))
    for row, name in enumerate(names):
        draw_curves(figure.add_subplot(grid[row, 0]), history, name)
    draw_confusion_matrix(figure.add_subplot(grid[:, 1]), matrix, class_names)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=15, color=INK)
    return write(figure, path)
