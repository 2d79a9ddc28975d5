"""What an operation costs besides its arithmetic: the time of forward and backward on a few numbers.

    python benchmarks/overhead.py [--rounds 7]

Each operation is applied N times, one after the other, to images of 4 channels of 4x4 pixels, in two ways:
N = 1, and N = 21. A twentieth of the difference is what one more operation costs, forward and backward, with
the gradients of its parameters. Arithmetic takes well below a microsecond of it; the rest is Python here, and
C++ in PyTorch, whose images are in NCHW order. minicnn is timed captured (`minicnn.capture`), as `fit` trains,
and uncaptured. All take turns, with one thread. The last row is a whole training step of a network of five
layers, with cross-entropy and SGD. Results go to benchmarks/results/overhead.json and overhead.md.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from environment import describe
from libraries import MINICNN, NCHW, UNCAPTURED, Mode, thread_settings, use_threads
from timing import Contestant, Pace, alternate, medians

import minicnn

RESULTS = Path(__file__).parent / "results"

FEW, MANY = 1, 21
"""How often an operation is applied in the two ways."""

MODES = MINICNN, UNCAPTURED, NCHW

IMAGES = (2, 4, 4, 4)
"""Images of so few numbers that their arithmetic takes no time."""

LAYERS: dict[str, Callable[[ModuleType], Any]] = {
    "x + x": lambda nn: lambda x: x + x,
    "x * 0.5": lambda nn: lambda x: x * 0.5,
    "relu": lambda nn: nn.functional.relu,
    "tanh": lambda nn: nn.functional.tanh,
    "max_pool2d 3x3": lambda nn: nn.MaxPool2d(3, 1, 1),
    "linear 4 to 4": lambda nn: nn.Linear(4, 4),
    "conv2d 3x3": lambda nn: nn.Conv2d(4, 4, 3, padding=1),
    "conv2d 3x3, depthwise": lambda nn: nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "batch_norm": lambda nn: nn.BatchNorm2d(4),
}
"""Operations that keep the shape of the images, as functions of a library's layers."""


def chain(mode: Mode, build: Callable[[ModuleType], Any], length: int) -> Contestant:
    """Return `length` times the operation, each with parameters of its own, and the way back."""
    layers = [build(mode.nn) for _ in range(length)]
    numbers = np.random.default_rng(0).standard_normal(IMAGES, dtype=np.float32)
    start, gradient = mode.features(numbers, requires_grad=True), mode.features(numbers)
    leaves = [start, *(p for layer in layers for p in getattr(layer, "parameters", list)())]

    def forward_and_backward() -> None:
        x = start
        for layer in layers:
            x = layer(x)
        x.backward(gradient)

    step = minicnn.capture(forward_and_backward) if mode.captured else forward_and_backward

    def call() -> None:
        step()
        for leaf in leaves:
            leaf.grad = None

    return Contestant(call)


def tiny_network(nn: ModuleType) -> Any:
    """Return a network of five layers with few numbers."""
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 4)
    )


def tiny_step(mode: Mode) -> Contestant:
    """Return a training step of the tiny network: zero_grad, forward, cross-entropy, backward, SGD."""
    rng = np.random.default_rng(0)
    model = tiny_network(mode.nn)
    optimizer = mode.library.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = mode.tensor(rng.standard_normal(IMAGES, dtype=np.float32))
    labels = mode.tensor(rng.integers(0, 4, IMAGES[0]))

    def train(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        mode.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step = minicnn.capture(train) if mode.captured else train
    return Contestant(lambda: step(images, labels))


def measure(pace: Pace) -> dict[str, dict[str, float]]:
    """Return for each row the microseconds in each mode."""
    rows = {}
    for name, build in LAYERS.items():
        contestants = {
            f"{mode.name} {length}": chain(mode, build, length)
            for mode in MODES
            for length in (FEW, MANY)
        }
        middle = medians(alternate(contestants, pace))
        rows[name] = {
            mode.name: 1e3
            * (middle[f"{mode.name} {MANY}"] - middle[f"{mode.name} {FEW}"])
            / (MANY - FEW)
            for mode in MODES
        }
        print(name, rows[name], flush=True)
    steps = alternate({mode.name: tiny_step(mode) for mode in MODES}, pace)
    rows["a training step"] = {name: 1e3 * ms for name, ms in medians(steps).items()}
    return rows


def table(environment: dict, rows: dict[str, dict[str, float]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# What an operation costs besides its arithmetic\n",
        "Written by `benchmarks/overhead.py`: forward and backward together, on 128 numbers. Microseconds, medians.\n",
        "| | minicnn, captured | uncaptured | PyTorch (NCHW) |",
        "| --- | --- | --- | --- |",
    ]
    for name, times in rows.items():
        cells = [f"{times[mode.name]:.1f}" for mode in MODES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", ", ".join(f"{k} {v}" for k, v in environment.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing saved")
    options = parser.parse_args()
    use_threads(1)
    rows = measure(Pace(2 if options.quick else options.rounds, 0.1))
    environment = describe() | thread_settings(1)
    text = table(environment, rows)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        content = {"environment": environment, "microseconds": rows}
        (RESULTS / "overhead.json").write_text(json.dumps(content, indent=2) + "\n")
        (RESULTS / "overhead.md").write_text(text)


if __name__ == "__main__":
    main()
