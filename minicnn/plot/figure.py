"""The sheet that pictures are drawn on, and how it becomes a file.

Figures are made directly, not through `matplotlib.pyplot`: so no window is needed, no global
setting of the user's is changed, and no figure is kept alive after its last use.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING = "#0072B2"
"""Blue of the palette of Okabe and Ito, whose colours colour-blind people can tell apart."""

VALIDATION = "#D55E00"
"""Vermilion of the same palette."""

INK = "#333333"
FAINT = "#DDDDDD"
DPI = 150


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"minicnn.plot draws with matplotlib, which cannot be imported ({error}); install it: "
            "pip install minicnn[plot]"
        ) from error
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # inches around each drawing
    FigureCanvasAgg(figure)
    return figure


def style(axes: "Axes", title: str) -> None:
    """Give axes a title and remove what does not carry information."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK)
    axes.tick_params(labelsize=10, colors=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def write(figure: "Figure", path: str | os.PathLike | None) -> "Figure":
    """Write `figure` to `path`, whole or not at all, and return it; None writes nothing.

    Raises:
        ValueError: if the name's ending stands for no known format (png, pdf, svg, ...).
        OSError: if the file cannot be written.
    """
    if path is None:
        return figure
    kind = Path(path).suffix.lstrip(".").lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"{path}: expected a name ending in one of {', '.join(sorted(known))}")
    with replace_file(path) as file:
        figure.savefig(file, format=kind)
    return figure
