"""`minicnn train` and `minicnn evaluate`: a network is trained, written down, and measured."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryFile

from minicnn import manual_seed, models
from minicnn.commands.datasets import DATASETS, load_dataset
from minicnn.data import Prepared, TensorDataset, prepare
from minicnn.nn import Module
from minicnn.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from minicnn.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from minicnn.plot import training_report
from minicnn.train import EarlyStopping, History, confusion_matrix, evaluate, fit, predict
from minicnn.train.batches import as_loader
from minicnn.trained import CONFIG, WEIGHTS, Config, load_trained, save_trained

HISTORY = "history.json"
REPORT = "report.png"

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULERS = ("one-cycle", "cosine", "constant")
RECORDED = (
    "epochs",
    "batch_size",
    "lr",
    "optimizer",
    "weight_decay",
    "scheduler",
    "clip_norm",
    "patience",
    "validation",
    "seed",
    "limit",
)
"""The arguments of `train` that are written down beside the weights."""


def train_command(options: argparse.Namespace) -> None:
    """Train a network, measure it once on the test images, and write it to a folder."""
    with nullcontext() if options.out is None else _writable_folder(options.out) as folder:
        _train(options, folder)


def _train(options: argparse.Namespace, folder: Path | None) -> None:
    """Train a network, and write all there is to know about it into `folder`."""
    dataset = options.dataset or DATASETS[0]
    data = load_dataset(dataset, options)
    parts = prepare(data, options.validation, options.seed)
    manual_seed(options.seed)
    model = models.create(options.model, num_classes=len(data.class_names)).to(options.device)
    optimizer = _optimizer(options, model)
    history = fit(
        model,
        parts.train,
        parts.validation,
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=optimizer,
        scheduler=_scheduler(options, optimizer, parts.train),
        early_stopping=_early_stopping(options),
        clip_norm=options.clip_norm,
        progress=not options.quiet,
    )
    if folder is not None:
        config = Config(
            model=options.model,
            dataset=dataset,
            class_names=list(data.class_names),
            image_size=list(data.train_images.shape[1:]),
            mean=parts.standardize.mean.tolist(),
            std=parts.standardize.std.tolist(),
            settings={name: getattr(options, name) for name in RECORDED},
        )
        save_trained(folder, model, config)
        history.save(folder / HISTORY)
    measures = evaluate(model, parts.test)
    _print_measures(measures, data.name, len(parts.test))
    if folder is not None:
        title = f"{options.model} on {data.name}: test accuracy {measures['accuracy']:.1%}"
        _write_report(folder / REPORT, title, model, history, parts)
        print(f"written to {folder}: {', '.join(sorted(f.name for f in folder.iterdir()))}")


def evaluate_command(options: argparse.Namespace) -> None:
    """Measure a trained network on the test images of a dataset."""
    model, config = load_trained(options.weights)
    data = load_dataset(options.dataset or config.dataset, options)
    if list(data.class_names) != config.class_names:
        raise ValueError(
            f"the network was trained on {config.dataset}, whose classes are not those of "
            f"{data.name}; choose another --dataset"
        )
    images = config.to_inputs(data.test_images)
    measures = evaluate(model.to(options.device), (images, data.test_labels))
    _print_measures(measures, data.name, len(images))


# --- their parts ----------------------------------------------------------------------------------


@contextmanager
def _writable_folder(path: str) -> Iterator[Path]:
    """Make a folder, and try it: what cannot be written should fail before the work, not after.

    Where the work fails or is interrupted before anything was written, the folders that were made for it go again.
    """
    if not path:
        raise ValueError("--out: expected the name of a folder, got ''; . is the present one")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out: expected a folder, but {folder} is a file")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_writable(folder)
        yield folder
    except BaseException:  # Ctrl-C too
        with suppress(OSError):  # one that is not empty stays, and so do those above it
            for place in made:
                place.rmdir()
        raise


def _check_writable(folder: Path) -> None:
    """Refuse a folder that the result cannot be written to; warn where it would replace another one."""
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--out: {folder}: no file can be written there: {error.strerror}") from error
    for name in (WEIGHTS, CONFIG, HISTORY, REPORT):
        if (folder / name).exists() and not (folder / name).is_file():
            raise FileExistsError(
                f"--out: {folder / name} exists and is no file, so the result could not be written "
                "there; remove it, or choose another folder"
            )
    if (folder / CONFIG).exists():
        print(
            f"minicnn: --out: {folder} holds a trained network, which will be replaced",
            file=sys.stderr,
        )


def _optimizer(options: argparse.Namespace, model: Module) -> Optimizer:
    """Create the optimizer that was asked for."""
    decay = options.weight_decay
    if options.optimizer == "sgd":
        return SGD(model.parameters(), options.lr, momentum=0.9, weight_decay=decay)
    kind = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}[options.optimizer]
    return kind(model.parameters(), options.lr, weight_decay=decay)


def _scheduler(
    options: argparse.Namespace, optimizer: Optimizer, train: TensorDataset
) -> object | None:
    """Create the schedule that was asked for; None leaves the rate as it is."""
    if options.scheduler == "one-cycle":
        batches = len(as_loader("train", train, options.batch_size, training=True))
        has_momentum = options.optimizer != "rmsprop"
        return OneCycleLR(
            optimizer, options.lr, options.epochs * batches, cycle_momentum=has_momentum
        )
    if options.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, options.epochs)
    return None


def _early_stopping(options: argparse.Namespace) -> EarlyStopping | None:
    if options.patience is None:
        return None
    monitor = "val_loss" if options.validation else "loss"
    return EarlyStopping(monitor, options.patience)


def _print_measures(measures: dict[str, float], name: str, images: int) -> None:
    print(f"{name}, {images:,} test images")
    print(f"  loss            {measures['loss']:.4f}")
    for measure in [key for key in measures if key != "loss"]:
        print(f"  {measure.replace('_', ' '):<14}  {measures[measure]:.2%}")


def _write_report(path: Path, title: str, model: Module, history: History, parts: Prepared) -> None:
    """Draw the report of a run; without matplotlib say so, and go on."""
    images, labels = parts.test.tensors
    predicted = predict(model, images).argmax(1)
    matrix = confusion_matrix(predicted, labels, len(parts.class_names))
    try:
        training_report(history, matrix, parts.class_names, path, title)
    except ImportError as error:
        print(f"minicnn: no {path.name}: {error}", file=sys.stderr)
