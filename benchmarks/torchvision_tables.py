"""The tables of benchmarks/torchvision_agreement.py, as Markdown; the short one is also in docs/10-architectures.md."""

from collections.abc import Callable, Mapping
from typing import Any

from provenance import commits_of

GOAL = 1e-4
"""What two programs may differ by in float32."""

MODES = ("eval", "train", "smooth")

PAIRS = {
    "fast to PyTorch": ("fast", "PyTorch"),
    "exact to PyTorch": ("exact", "PyTorch"),
    "fast to float64": ("fast", "float64"),
    "exact to float64": ("exact", "float64"),
    "PyTorch to float64": ("PyTorch", "float64"),
}
"""The columns: between which two programs' results the distance is."""

Networks = Mapping[str, Mapping[str, Any]]
"""The results by name: "side", "batch", and for each mode what `torchvision_agreement.distances` returns."""


def page(content: Mapping[str, Any]) -> str:
    """Return {"networks": the results, "environment": hardware and versions} as a page."""
    networks = content["networks"]
    parts = [
        "# Agreement with torchvision, float32\n",
        "Written by `benchmarks/torchvision_agreement.py`; its head says what is compared and how. "
        f"Distances above {GOAL:g} are bold. {commits_of(list(networks.values()))}\n",
        "## In short\n",
        'With precision="exact". Smooth gradients are those without kinks, in training mode; of outputs and gradients '
        "the larger distance of eval and train is shown.\n",
        short_table(networks),
        "## Outputs\n",
        distances_table(networks, lambda found, pair: found["outputs"][pair]),
        "## Gradients: the parameter where the distance is largest\n",
        distances_table(networks, lambda found, pair: found["gradients"][pair]["largest"]),
        "## Gradients: median of all parameters\n",
        distances_table(networks, lambda found, pair: found["gradients"][pair]["median"]),
        "## Where the gradients are furthest apart\n",
        places_table(networks),
        ", ".join(f"{key} {value}" for key, value in content["environment"].items()),
    ]
    return "\n".join(parts) + "\n"


def short_table(networks: Networks) -> str:
    """Return a row for each network: outputs, smooth gradients and gradients, each beside PyTorch's own error."""
    columns = (
        *("outputs: minicnn to PyTorch", "PyTorch to float64"),
        *("smooth gradients: minicnn to PyTorch", "PyTorch to float64"),
        *("gradients: minicnn to float64", "PyTorch to float64"),
    )
    rows = []
    for name, row in networks.items():
        distances = (
            max(outputs(row, "exact to PyTorch")),
            max(outputs(row, "PyTorch to float64")),
            row["smooth"]["gradients"]["exact to PyTorch"]["largest"],
            row["smooth"]["gradients"]["PyTorch to float64"]["largest"],
            max(gradients(row, "exact to float64")),
            max(gradients(row, "PyTorch to float64")),
        )
        rows.append([f"`{name}`", *map(emphasised, distances)])
    return table(["network", *columns], rows)


def outputs(row: Mapping[str, Any], pair: str) -> list[float]:
    """Return the distances of outputs with the networks as they are: in eval and in training mode."""
    return [row[mode]["outputs"][pair] for mode in ("eval", "train")]


def gradients(row: Mapping[str, Any], pair: str) -> list[float]:
    """Return the largest distances of gradients with the networks as they are: in eval and in training mode."""
    return [row[mode]["gradients"][pair]["largest"] for mode in ("eval", "train")]


def distances_table(networks: Networks, figure: Callable[[Mapping[str, Any], str], float]) -> str:
    """Return a table of figure(results of a mode, pair), a row for each network and mode."""
    rows = [
        [described(name, row), mode, *(emphasised(figure(row[mode], pair)) for pair in PAIRS)]
        for name, row in networks.items()
        for mode in MODES
    ]
    return table(["network", "mode", *PAIRS], rows, text_columns=2)


def places_table(networks: Networks) -> str:
    """Return the names of parameters, and how many were left out."""
    pairs = ("exact to PyTorch", "PyTorch to float64")
    rows = [
        [
            *(described(name, row), mode),
            *(f"`{row[mode]['gradients'][pair]['at']}`" for pair in pairs),
            str(row[mode]["left_out"]),
        ]
        for name, row in networks.items()
        for mode in MODES
    ]
    return table(["network", "mode", *pairs, "left out"], rows, text_columns=4)


def described(name: str, row: Mapping[str, Any]) -> str:
    """Write a network with the number and size of its images."""
    return f"`{name}`, {row['batch']} of {row['side']} x {row['side']}"


def emphasised(distance: float) -> str:
    """Write a distance with two digits, bold if it is more than the goal."""
    return f"{distance:.1e}" if distance <= GOAL else f"**{distance:.1e}**"


def table(titles: list[str], rows: list[list[str]], text_columns: int = 1) -> str:
    """Return a table as Markdown, numbers to the right."""
    marks = ["---" if i < text_columns else "---:" for i in range(len(titles))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (titles, marks, *rows))
