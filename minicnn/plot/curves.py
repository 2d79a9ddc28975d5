"""A history as curves: how the measures change from epoch to epoch."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from minicnn.plot.figure import FAINT, INK, TRAINING, VALIDATION, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Measures = Mapping[str, Sequence[float]]
"""A History, or a dict of lists such as one."""

LINE = 16
"""Points from one label to the next, so that neither touches the other."""


def plot_history(history: Measures, path: str | os.PathLike | None = None) -> "Figure":
    """Draw each measure of `history` with its validation counterpart, side by side.

    Args:
        history: what `fit` returned.
        path: where to write the picture (.png, .pdf, .svg, ...); None writes no file.

    Returns:
        The matplotlib figure.

    Raises:
        TypeError: what is no history.
        ValueError: a history without epochs or without measures.
        ImportError: matplotlib is missing.
    """
    names = measure_names(history)
    figure = new_figure(5.2 * len(names), 4.0)
    for position, name in enumerate(names, start=1):
        draw_curves(figure.add_subplot(1, len(names), position), history, name)
    return write(figure, path)


def measure_names(history: Measures) -> list[str]:
    """Return the measures to draw: all but the rate, the time and the validation counterparts.

    Raises:
        TypeError: what is no history.
        ValueError: there is nothing to draw.
    """
    if not isinstance(history, Mapping):
        raise TypeError(
            "plot: history: expected the History that fit() returned, or a dict of lists, got "
            f"{type(history).__name__}"
        )
    hidden = ("lr", "seconds")
    names = [name for name in history if name not in hidden and not name.startswith("val_")]
    if not names or not any(len(history[name]) for name in names):
        raise ValueError("plot: the history holds no epoch; train at least one")
    return names


def draw_curves(axes: "Axes", history: Measures, name: str) -> None:
    """Draw measure `name` and "val_" + `name`, labelled at their ends."""
    style(axes, name.replace("_", " ").capitalize())
    curves = {"training": (history[name], TRAINING)}
    if f"val_{name}" in history:
        curves["validation"] = (history[f"val_{name}"], VALIDATION)
    for values, colour in curves.values():
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, linewidth=2, marker="o", markersize=4)
    axes.set_xlabel("epoch", fontsize=11, color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    last = len(history[name])
    beside = max(0.5, 0.05 * last)
    axes.set_xlim(1 - beside, last + beside)
    axes.margins(y=0.12)  # room for a label below the lowest point
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    _label_ends(axes, curves)


def _label_ends(axes: "Axes", curves: dict[str, tuple[Sequence[float], str]]) -> None:
    """Write each curve's name and last value beside its end; two that are too near move apart."""
    last = {label: values[-1] for label, (values, _) in curves.items()}
    finite = sorted((v, label) for label, v in last.items() if math.isfinite(v))
    shifts = [0.0] * len(finite)
    if len(finite) == 2:
        apart = _missing_distance(axes, finite[1][0] - finite[0][0])
        shifts = [-apart / 2, apart / 2]
    for (value, label), shift in zip(finite, shifts, strict=True):
        values, colour = curves[label]
        axes.annotate(
            f"{label} {value:.3f}",
            xy=(len(values), value),
            xytext=(8, shift),
            textcoords="offset points",
            color=colour,
            fontsize=11,
            va="center",
            annotation_clip=False,
        )


def _missing_distance(axes: "Axes", difference: float) -> float:
    """Return how many points two values lie too near to each other for their labels; 0 for enough room."""
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height * 72 / axes.figure.dpi  # of the axes, in points
    return max(0.0, LINE - difference / (high - low) * height)
