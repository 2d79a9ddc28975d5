"""What an operation costs besides its arithmetic: the time of forward and backward on a few numbers.

    python benchmarks/overhead.py [--rounds 7]

Each operation is applied N times, one after the other, to images of 4 channels of 4x4 pixels, in two ways:
N = 1, and N = 21. A twentieth of the difference is what one more operation costs, forward and backward, with
the gradients of its parameters. What is not arithmetic is Python here, and C++ in PyTorch, whose images are in
NCHW order. minicnn is timed captured (`minicnn.capture`), as `fit` trains, and uncaptured. All take turns, with one
thread. The last row is a whole training step of a network of five layers, with cross-entropy and SGD. Results go to
benchmarks/results/overhead.json and overhead.md.

To tell Python from arithmetic, the calls that an operation makes are replayed twice: as they are, and with loops that
do nothing in place of the compiled ones (loops.py). The difference is what the loops compute.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from environment import describe
from libraries import MINICNN, NCHW, UNCAPTURED, Mode, thread_settings, use_threads
from loops import calls_of
from provenance import measured
from timing import Contestant, Pace, alternate, medians

import minicnn

RESULTS = Path(__file__).parent / "results"

FEW, MANY = 1, 21
"""How often an operation is applied in the two ways."""

MODES = MINICNN, UNCAPTURED, NCHW

LOOPS, EMPTY, PYTHON = "loops", "empty loops", "Python"
"""The calls of an operation; the same with loops that do nothing; and what the loops do not take."""

COLUMNS = MINICNN.name, LOOPS, PYTHON, UNCAPTURED.name, NCHW.name

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


@dataclass(frozen=True)
class Work:
    """What is timed in a mode.

    Attributes:
        once: carries it out.
        leaves: tensors whose gradients are forgotten after each time.
    """

    once: Callable[[], object]
    leaves: Sequence[Any] = ()

    def contestant(self, mode: Mode) -> Contestant:
        """Return the work as this mode does it."""
        step = minicnn.capture(self.once) if mode.captured else self.once

        def call() -> None:
            step()
            for leaf in self.leaves:
                leaf.grad = None

        return Contestant(call)


def chain(build: Callable[[ModuleType], Any], length: int, mode: Mode) -> Work:
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

    return Work(forward_and_backward, leaves)


def tiny_network(nn: ModuleType) -> Any:
    """Return a network of five layers with few numbers."""
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 4)
    )


def tiny_step(mode: Mode) -> Work:
    """Return a training step of the tiny network: zero_grad, forward, cross-entropy, backward, SGD."""
    rng = np.random.default_rng(0)
    model = tiny_network(mode.nn)
    optimizer = mode.library.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = mode.tensor(rng.standard_normal(IMAGES, dtype=np.float32))
    labels = mode.tensor(rng.integers(0, 4, IMAGES[0]))

    def train() -> None:
        optimizer.zero_grad()
        mode.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return Work(train)


def contestants_of(prepare: Callable[[Mode], Work]) -> dict[str, Contestant]:
    """Return some work in each mode; the calls that it makes; and these without what loops compute."""
    contestants = {mode.name: prepare(mode).contestant(mode) for mode in MODES}
    calls = calls_of(prepare(UNCAPTURED).contestant(UNCAPTURED).call)
    contestants[LOOPS] = Contestant(calls.replay)
    contestants[EMPTY] = Contestant(calls.emptied().replay)
    return contestants


def microseconds(milliseconds: dict[str, float]) -> dict[str, float]:
    """Return the times in each mode, and of the captured one how much is loops and how much is Python."""
    times = {mode.name: 1e3 * milliseconds[mode.name] for mode in MODES}
    times[LOOPS] = 1e3 * (milliseconds[LOOPS] - milliseconds[EMPTY])
    times[PYTHON] = times[MINICNN.name] - times[LOOPS]
    return times


def measure(pace: Pace) -> dict[str, dict[str, float]]:
    """Return for each row the microseconds in each mode."""
    rows = {}
    for name, build in LAYERS.items():
        few, many = (
            contestants_of(functools.partial(chain, build, length)) for length in (FEW, MANY)
        )
        both = {f"{who} {FEW}": one for who, one in few.items()}
        both |= {f"{who} {MANY}": one for who, one in many.items()}
        middle = medians(alternate(both, pace))
        rows[name] = microseconds(
            {who: (middle[f"{who} {MANY}"] - middle[f"{who} {FEW}"]) / (MANY - FEW) for who in few}
        )
        print(name, rows[name], flush=True)
    rows["a training step"] = microseconds(medians(alternate(contestants_of(tiny_step), pace)))
    return rows


def table(environment: dict, rows: dict[str, dict[str, float]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# What an operation costs besides its arithmetic\n",
        "Written by `benchmarks/overhead.py`: forward and backward together, on 128 numbers. Microseconds, medians. "
        "Loops: what compiled loops compute. Python: what is left of the captured time, their launches included.\n",
        "| | minicnn, captured | of which loops | of which Python | uncaptured | PyTorch (NCHW) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, times in rows.items():
        cells = [f"{times[column]:.1f}" for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", ", ".join(f"{k} {v}" for k, v in environment.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing saved")
    options = parser.parse_args()
    use_threads(1)
    rows = measure(Pace(2 if options.quick else options.rounds, 0.1))
    environment = describe() | thread_settings(1) | measured()
    text = table(environment, rows)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        content = {"environment": environment, "microseconds": rows}
        (RESULTS / "overhead.json").write_text(json.dumps(content, indent=2) + "\n")
        (RESULTS / "overhead.md").write_text(text)


if __name__ == "__main__":
    main()
