"""Which restriction of AnyNet leaves out bad networks? The distribution of errors of random members.

    python benchmarks/design_space.py [--count 10] [--epochs 2]

The experiment of arXiv 2003.13678 in small: from each space, `count` members of 2 to 4 million
multiply-adds are drawn, trained for a few epochs on 4,000 of the Fashion-MNIST images that come
with minicnn, and measured on the 1,000 others of them. Results go to
benchmarks/results/design_space.json and design_space.md.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from environment import describe

import minicnn
from minicnn import data, nn, optim
from minicnn.models.design_space import (
    ANYNET_A,
    ANYNET_C,
    ANYNET_E,
    RegNetSpace,
    Trial,
    fraction_below,
    search,
)
from minicnn.train import evaluate, fit

RESULTS = Path(__file__).parent / "results"

SMALLER = {"stages": 3, "max_depth": 4, "max_width": 128, "group_widths": (4, 8, 16)}
SPACES = {
    "AnyNet A: free": replace(ANYNET_A, **SMALLER),
    "AnyNet C: one bottleneck, one group width": replace(ANYNET_C, **SMALLER),
    "AnyNet E: widths and depths rise": replace(ANYNET_E, **SMALLER),
    "RegNet: widths on a line": RegNetSpace(3, max_depth=12, max_width=64, group_widths=(4, 8, 16)),
}
LIMITS = (2e6, 4e6)
FORM = {"image": (1, 28, 28), "num_classes": 10, "stem_width": 16, "small_images": True}


def trainer(epochs: int, batch_size: int = 64) -> Callable[[nn.Module], float]:
    """Return a function that trains a network and returns its share of errors."""
    images = data.prepare(data.load_fashion_mnist_sample(), validation=0.2)
    steps = epochs * -(-len(images.train) // batch_size)

    def error_of(network: nn.Module) -> float:
        optimizer = optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        settings = {"epochs": epochs, "batch_size": batch_size, "progress": False}
        fit(network, images.train, optimizer=optimizer, scheduler=scheduler, **settings)
        return 1 - evaluate(network, images.validation)["accuracy"]

    return error_of


def table(trials: Mapping[str, list[Trial]]) -> str:
    """Return the distributions as Markdown: the best, the mean, and the share below some errors."""
    errors = {name: [trial.error for trial in members] for name, members in trials.items()}
    limits = np.quantile(np.concatenate(list(errors.values())), [0.25, 0.5, 0.75])
    titles = ["space", "members", "best", "mean", *(f"below {limit:.3f}" for limit in limits)]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    for name, own in errors.items():
        numbers = [f"{min(own):.3f}", f"{np.mean(own):.3f}"]
        shares = [f"{fraction_below(own, limit):.0%}" for limit in limits]
        lines.append(f"| {' | '.join([name, str(len(own)), *numbers, *shares])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="members of each space")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    minicnn.manual_seed(0)
    error_of = trainer(options.epochs)
    trials = {}
    for name, space in SPACES.items():
        trials[name] = search(space, error_of, options.count, LIMITS, seed=0, **FORM)
        print(name, *(f"{trial.error:.3f}" for trial in trials[name]), flush=True)
    environment = describe() | vars(options)
    text = (
        "# Random members of design spaces\n\n"
        "Written by `benchmarks/design_space.py`. Errors are shares of 1,000 validation images.\n\n"
        f"{table(trials)}\n{', '.join(f'{k} {v}' for k, v in environment.items())}\n"
    )
    print(text)
    RESULTS.mkdir(exist_ok=True)
    records = {name: list(map(record, members)) for name, members in trials.items()}
    content = {"environment": environment, "trials": records}
    (RESULTS / "design_space.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / "design_space.md").write_text(text)


def record(trial: Trial) -> dict:
    """Return a trial as it is written to the file."""
    return trial._asdict() | {"stages": [asdict(stage) for stage in trial.stages]}


if __name__ == "__main__":
    main()
