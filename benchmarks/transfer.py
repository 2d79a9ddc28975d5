"""Transfer learning: what digits teach a network about clothes.

    python benchmarks/transfer.py                        seeds 0, 1 and 2
    python benchmarks/transfer.py --seeds 3 4            further ones
    python benchmarks/transfer.py --validate             compare learning rates; the test set is not touched

A VGG-like network is trained on MNIST, 60,000 digits. Then 3,000 images of Fashion-MNIST, 300 of
each class, are all that there is to learn from, in three ways:

    from scratch   a network with random weights
    fine-tuned     the network that knows digits, with a new head; all layers learn
    frozen         the same, but only the new head learns, from features that are computed once

All three take the same number of steps with AdamW and a one-cycle schedule, on the same images, and
are measured on the full test set of 10,000 during and after training. The peak of the schedule was chosen for
each way by --validate, with another seed and on 6,000 other images of the training set. No image is
changed in training (no augmentation). Results go to benchmarks/results/transfer.json, .md and .png.

The data sets are found as benchmarks/accuracy.py says.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from environment import describe
from numba import get_num_threads
from provenance import commits_of, measured

import minicnn
from minicnn import data, models, nn, optim
from minicnn.models.vgg import vgg_block
from minicnn.plot.figure import FAINT, INK, TRAINING, VALIDATION, new_figure, style, write
from minicnn.train import evaluate, extract_features, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
HELD_OUT = 6000
"""Images to compare learning rates on."""

VALIDATION_SEED = 100
COLOURS = {"from scratch": INK, "fine-tuned": VALIDATION, "frozen": TRAINING}


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on besides its seed.

    Attributes:
        channels: of the blocks of two convolutions, each of which halves the image.
        images: how many of Fashion-MNIST there are to learn from, the same number of each class.
        pretraining_epochs: passes over MNIST.
        pretraining_max_lr: the peak of the one-cycle schedule there.
        epochs: passes over the few images of Fashion-MNIST.
        measured_epochs: after which of them the accuracy is measured; the last one is among them.
        max_lr: the peak of the schedule there, by the name of the way.
        batch_size: images a step, everywhere.
        weight_decay: of AdamW, everywhere.
    """

    channels: tuple[int, ...] = (16, 32, 64)
    images: int = 3000
    pretraining_epochs: int = 2
    pretraining_max_lr: float = 5e-3
    epochs: int = 15
    measured_epochs: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 15)
    max_lr: dict[str, float] = field(
        default_factory=lambda: {"from scratch": 1e-2, "fine-tuned": 3e-3, "frozen": 1e-2}
    )
    batch_size: int = 64
    weight_decay: float = 1e-2


def vgg_like(channels: Sequence[int] = Settings.channels, num_classes: int = 10) -> nn.Sequential:
    """Blocks of two 3x3 convolutions with BatchNorm, and one dense layer: (N, 1, 28, 28) -> (N, num_classes)."""
    layers, C, size = [], 1, 28
    for K in channels:
        layers += vgg_block(C, K, convolutions=2, batch_norm=True)  # (N, K, size / 2, size / 2)
        C, size = K, size // 2
    return nn.Sequential(
        {
            "features": nn.Sequential(*layers),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(C * size * size, num_classes),
        }
    )


# --- data -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """Few images to learn from, and many to measure on."""

    train: data.TensorDataset
    measured: data.TensorDataset


def few_images(images: data.ImageData, count: int, seed: int, held_out: int = 0) -> Sets:
    """Draw `count` training images, the same number of each class, and standardise by these alone.

    Args:
        images: the whole data set.
        count: how many to learn from.
        seed: decides which.
        held_out: measure on this many other training images; 0 measures on the test set.
    """
    total = len(images.train_labels)
    shares = (count / total, held_out / total, 1 - (count + held_out) / total)
    kept, aside, _ = data.train_val_test_split(total, shares, images.train_labels, seed)
    train = data.to_float(images.train_images[kept])  # (count, 1, H, W)
    measured, labels = images.test_images, images.test_labels
    if held_out:
        measured, labels = images.train_images[aside], images.train_labels[aside]
    standardize = data.Standardize().fit(train)
    return Sets(
        data.TensorDataset(standardize(train), images.train_labels[kept]),
        data.TensorDataset(standardize(data.to_float(measured)), labels),
    )


# --- training -------------------------------------------------------------------------------------


def train(
    model: nn.Module, sets: Sets, epochs: int, max_lr: float, settings: Settings
) -> list[float]:
    """Train what is not frozen, and return the accuracy after each of the epochs to be measured, and the last."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim.AdamW(trainable, weight_decay=settings.weight_decay)
    steps = epochs * -(-len(sets.train) // settings.batch_size)
    curve: list[float] = []

    def measure(epoch: int, record: dict[str, float]) -> None:
        if epoch in settings.measured_epochs or epoch == epochs:
            curve.append(evaluate(model, sets.measured)["accuracy"])

    fit(
        model,
        sets.train,
        epochs=epochs,
        batch_size=settings.batch_size,
        optimizer=optimizer,
        scheduler=optim.lr_scheduler.OneCycleLR(optimizer, max_lr=max_lr, total_steps=steps),
        callback=measure,
        progress=False,
    )
    return curve


def pretrain(digits: data.ImageData, settings: Settings) -> tuple[nn.Sequential, float]:
    """Train a network on all digits; return it and its accuracy on MNIST's test set."""
    prepared = data.prepare(digits)
    model = vgg_like(settings.channels)
    sets = Sets(prepared.train, prepared.test)
    epochs, max_lr = settings.pretraining_epochs, settings.pretraining_max_lr
    return model, train(model, sets, epochs, max_lr, settings)[-1]


def with_new_head(pretrained: nn.Module, settings: Settings) -> nn.Sequential:
    """Return a copy of a network, with fresh weights in its last layer."""
    model = vgg_like(settings.channels)
    model.load_state_dict(pretrained.state_dict())
    models.replace_head(model, 10)
    return model


def train_from_scratch(
    pretrained: nn.Module, sets: Sets, max_lr: float, settings: Settings
) -> list[float]:
    """Train a network with random weights."""
    return train(vgg_like(settings.channels), sets, settings.epochs, max_lr, settings)


def fine_tune(pretrained: nn.Module, sets: Sets, max_lr: float, settings: Settings) -> list[float]:
    """Train all layers of the network that knows digits."""
    return train(with_new_head(pretrained, settings), sets, settings.epochs, max_lr, settings)


def train_head(pretrained: nn.Module, sets: Sets, max_lr: float, settings: Settings) -> list[float]:
    """Train a new head alone, on the features of the network that knows digits."""
    model = with_new_head(pretrained, settings)
    features = Sets(
        data.TensorDataset(*extract_features(model, sets.train, "flatten")),
        data.TensorDataset(*extract_features(model, sets.measured, "flatten")),
    )
    return train(model.classifier, features, settings.epochs, max_lr, settings)


WAYS: dict[str, Callable[[nn.Module, Sets, float, Settings], list[float]]] = {
    "from scratch": train_from_scratch,
    "fine-tuned": fine_tune,
    "frozen": train_head,
}


def run(seed: int, digits: data.ImageData, clothes: data.ImageData, settings: Settings) -> dict:
    """Train all three ways, and return the record of this seed."""
    minicnn.manual_seed(seed)
    pretrained, accuracy = pretrain(digits, settings)
    record = {"seed": seed, "threads": get_num_threads(), "accuracy on MNIST": accuracy}
    record["measured"] = measured()
    record["curves"] = {}
    sets = few_images(clothes, settings.images, seed)
    for way, max_lr in settings.max_lr.items():
        minicnn.manual_seed(seed)
        record["curves"][way] = WAYS[way](pretrained, sets, max_lr, settings)
        print(f"seed {seed}, {way}: {record['curves'][way][-1]:.2%}", flush=True)
    return record


def compare_rates(
    rates: Sequence[float], digits: data.ImageData, clothes: data.ImageData, settings: Settings
) -> dict[str, dict[str, float]]:
    """Return the accuracy of each way with each peak of the schedule, on images held out of the training set."""
    minicnn.manual_seed(VALIDATION_SEED)
    settings = replace(settings, measured_epochs=(settings.epochs,))
    pretrained, _ = pretrain(digits, settings)
    sets = few_images(clothes, settings.images, VALIDATION_SEED, HELD_OUT)
    found: dict[str, dict[str, float]] = {}
    for way, train_it in WAYS.items():
        for rate in rates:
            minicnn.manual_seed(VALIDATION_SEED)
            accuracy = train_it(pretrained, sets, rate, settings)[-1]
            found.setdefault(way, {})[f"{rate:g}"] = accuracy
            print(f"{way}, rates up to {rate:g}: {accuracy:.2%}", flush=True)
    return found


# --- results --------------------------------------------------------------------------------------


def save(
    settings: Settings,
    folder: Path = RESULTS,
    *,
    record: dict | None = None,
    validation: dict | None = None,
) -> None:
    """Put the record of a run, or a comparison of rates, into the results files.

    Runs with other settings or in another environment are dropped.
    """
    path = folder / "transfer.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    head = json.loads(json.dumps({"environment": describe(), "settings": asdict(settings)}))
    same = all(content.get(key) == value for key, value in head.items())
    runs = {run["seed"]: run for run in content.get("runs", []) if same}
    if record is not None:
        runs[record["seed"]] = record
    compared = content.get("validation", {})
    for way, accuracies in (validation or {}).items():
        compared[way] = compared.get(way, {}) | accuracies
    content = {**head, "validation": compared, "runs": [runs[seed] for seed in sorted(runs)]}
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    if runs:
        path.with_suffix(".md").write_text(report(content))
        draw(content["runs"], settings.measured_epochs, path.with_suffix(".png"))


def report(content: dict) -> str:
    """Return the results as Markdown."""
    settings, runs = content["settings"], content["runs"]
    rates = settings["max_lr"]
    seeds = [str(record["seed"]) for record in runs]
    titles = ["way", *(f"epoch {epoch}" for epoch in settings["measured_epochs"])]
    titles += [f"seeds {', '.join(seeds)}", "learning rate up to"]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for way in rates:
        curves = percent(runs, way)  # (seeds, epochs)
        cells = [way, *map(mean_and_spread, curves.T)]
        cells += [", ".join(f"{value:.2f}" for value in curves[:, -1]), f"{rates[way]:g}"]
        lines.append(f"| {' | '.join(cells)} |")
    digits = ", ".join(f"{record['accuracy on MNIST']:.2%}" for record in runs)
    parts = [
        "# Transfer learning: from digits to clothes",
        "Written by `benchmarks/transfer.py`, which says what the three ways are. Accuracy, in percent, on the 10,000 "
        f"test images of Fashion-MNIST after learning from {settings['images']:,}: mean and standard deviation over "
        f"{len(runs)} seeds.",
        "\n".join(lines),
        "![Learning curves](transfer.png)",
        f"On MNIST's test set, the networks reached {digits}.",
        commits_of(runs),
        f"Settings: {json.dumps(settings)}",
        f"Accuracy by learning rate, on held-out training images: {json.dumps(content['validation'])}",
        ", ".join(f"{key} {value}" for key, value in content["environment"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def mean_and_spread(values: np.ndarray) -> str:
    """Return "89.1 ± 0.2"; one value has no spread."""
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def draw(runs: Sequence[dict], epochs: Sequence[int], path: Path) -> None:
    """Draw the learning curves of the ways: the mean, and the range over the seeds."""
    figure = new_figure(8.0, 4.6)
    axes = figure.add_subplot()
    style(axes, "Accuracy on the test set of Fashion-MNIST")
    for way, colour in COLOURS.items():
        curves = percent(runs, way)  # (seeds, epochs)
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)
        axes.plot(epochs, curves.mean(0), color=colour, linewidth=2, marker="o", markersize=3)
    axes.set_xlabel("epoch", fontsize=11, color=INK)
    axes.set_ylabel("%", fontsize=11, color=INK)
    axes.set_xlim(0.5, 1.3 * epochs[-1])
    axes.set_xticks(epochs)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    label_ends(axes, runs, epochs[-1])
    write(figure, path)


def percent(runs: Sequence[dict], way: str) -> np.ndarray:
    """Return the learning curves of a way, (seeds, epochs)."""
    return 100 * np.array([record["curves"][way] for record in runs])


def label_ends(axes: "Axes", runs: Sequence[dict], last: int) -> None:
    """Write each way's name and last mean beside the end of its curve, from the lowest up and never too close."""
    low, high = axes.get_ylim()
    height = low
    for end, way in sorted((percent(runs, way)[:, -1].mean(), way) for way in COLOURS):
        height = max(end, height + 0.05 * (high - low))
        place = (1.02 * last, height)
        text = f"{way} {end:.1f} %"
        axes.annotate(text, place, color=COLOURS[way], fontsize=11, va="center")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--validate", action="store_true", help="compare learning rates instead")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-3, 1e-2])
    parser.add_argument("--download", action="store_true")
    options = parser.parse_args()
    settings = Settings()
    try:
        digits = data.load_mnist(download=options.download)
        clothes = data.load_fashion_mnist(download=options.download)
    except FileNotFoundError as error:
        parser.error(str(error))
    if options.validate:
        save(settings, validation=compare_rates(options.rates, digits, clothes, settings))
        return
    for seed in options.seeds:
        save(settings, record=run(seed, digits, clothes, settings))


if __name__ == "__main__":
    main()
