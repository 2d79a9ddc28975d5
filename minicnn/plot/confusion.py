"""A confusion matrix as a table: which classes a network takes for which."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.plot.figure import FAINT, INK, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: str | os.PathLike | None = None
) -> "Figure":
    """Draw a confusion matrix: counts, and the darker the larger the share of the true class.

    The row of a class without examples is grey, since there is nothing to have shares of.

    Args:
        matrix: (K, K) counts, rows are true classes, columns predicted ones; see
            `minicnn.train.confusion_matrix`.
        class_names: K names.
        path: where to write the picture (.png, .pdf, .svg, ...); None writes no file.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: a matrix that is not (K, K) for K >= 1 names, or holds negative counts.
        ImportError: matplotlib is missing.
    """
    matrix = _checked(matrix, class_names)
    side = min(max(5.0, 2.0 + 0.55 * len(class_names)), 14.0)
    figure = new_figure(side, side)
    draw_confusion_matrix(figure.add_subplot(), matrix, class_names)
    return write(figure, path)


def draw_confusion_matrix(axes: "Axes", matrix: np.ndarray, class_names: Sequence[str]) -> None:
    """Draw the matrix on given axes; arguments and errors as in `plot_confusion_matrix`."""
    matrix = _checked(matrix, class_names)
    of_class = matrix.sum(axis=1, keepdims=True)  # (K, 1)
    empty = of_class[:, 0] == 0  # (K,)
    shares = matrix / np.where(of_class == 0, np.nan, of_class)  # (K, K), rows add up to 1
    numbered = len(class_names) <= 20  # otherwise the numbers would be too small to read
    style(axes, "Confusion matrix")
    axes.set_facecolor(FAINT)  # is seen where a share is NaN
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=45, ha="right", rotation_mode="anchor")
    rows = [
        f"{name} (none)" if none else name for name, none in zip(class_names, empty, strict=True)
    ]
    axes.set_yticks(places, rows)
    cells = "counts, shaded by share of row" if numbered else "shaded by share of row"
    axes.set_xlabel(f"predicted\n({cells})", fontsize=11, color=INK)
    axes.set_ylabel("true", fontsize=11, color=INK)
    axes.spines[:].set_visible(False)
    if not numbered:
        return
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(
            column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour, size=9
        )


def _checked(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    matrix = np.asarray(matrix)
    classes = len(class_names)
    if classes == 0 or matrix.shape != (classes, classes) or (matrix < 0).any():
        raise ValueError(
            f"plot_confusion_matrix: expected counts >= 0 of shape ({classes}, {classes}), one row "
            f"and column for each of the {classes} class names, got shape {matrix.shape}"
        )
    return matrix
