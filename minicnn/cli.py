"""The command line: train a network, measure it, ask it, describe it.

    minicnn train --dataset fashion-mnist-sample --model first_cnn --out my-network
    minicnn evaluate --weights my-network
    minicnn predict --weights my-network --index 0 1 2
    minicnn summary bigger_cnn

Each command is one function of its parsed arguments. What goes wrong is said in words on standard
error; the exit code is then 1, or 2 for arguments that do not exist.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from minicnn import __version__, manual_seed, models
from minicnn.arguments import (
    device,
    image_size,
    natural_number,
    number_from_zero,
    positive_integer,
    positive_number,
)
from minicnn.autograd import Tensor
from minicnn.data import (
    ImageData,
    Prepared,
    TensorDataset,
    load_fashion_mnist,
    load_fashion_mnist_sample,
    load_mnist,
    prepare,
)
from minicnn.nn import Module
from minicnn.nn import functional as F
from minicnn.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from minicnn.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from minicnn.plot import training_report
from minicnn.summary import summary
from minicnn.train import EarlyStopping, History, confusion_matrix, evaluate, fit, predict
from minicnn.train.batches import as_loader
from minicnn.trained import CONFIG, Config, load_trained, read_image_file, save_trained

DATASETS = ("fashion-mnist-sample", "fashion-mnist", "mnist")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code.

    Args:
        arguments: without the program's name; None takes those that the program was started with.
    """
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        print("minicnn: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        print(f"minicnn: error: {_in_words(error)}", file=sys.stderr)
        return 1
    return 0


def _in_words(error: Exception) -> str:
    """Return an error's message with its notes, such as the layer in which it arose."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{str(error) or type(error).__name__}{notes}"


# --- commands -------------------------------------------------------------------------------------


def train_command(options: argparse.Namespace) -> None:
    """Train a network, measure it once on the test images, and write it to a folder."""
    folder = None if options.out is None else _writable_folder(options.out)
    dataset = options.dataset or DATASETS[0]
    data = _load_data(dataset, options)
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
        history.save(folder / "history.json")
    measures = evaluate(model, parts.test)
    _print_measures(measures, data.name, len(parts.test))
    if folder is not None:
        title = f"{options.model} on {data.name}: test accuracy {measures['accuracy']:.1%}"
        _write_report(folder / "report.png", title, model, history, parts)
        print(f"written to {folder}: {', '.join(sorted(f.name for f in folder.iterdir()))}")


def evaluate_command(options: argparse.Namespace) -> None:
    """Measure a trained network on the test images of a dataset."""
    model, config = load_trained(options.weights)
    data = _load_data(options.dataset or config.dataset, options)
    if list(data.class_names) != config.class_names:
        raise ValueError(
            f"the network was trained on {config.dataset}, whose classes are not those of "
            f"{data.name}; choose another --dataset"
        )
    images = config.to_inputs(data.test_images)
    measures = evaluate(model.to(options.device), (images, data.test_labels))
    _print_measures(measures, data.name, len(images))


def predict_command(options: argparse.Namespace) -> None:
    """Print what a trained network sees in images."""
    model, config = load_trained(options.weights)
    asked = [*_images_in_files(options), *_test_images(options, config)]
    if not asked:
        raise ValueError("nothing to predict: name image files, or test images with --index 0 1 2")
    if options.invert and not options.images:
        raise ValueError(
            "--invert: it inverts image files, and none is named; the test images of --index are as "
            "the network expects them"
        )
    inputs = np.concatenate([config.to_inputs(image[None]) for _, image in asked])
    scores = predict(model.to(options.device), inputs)  # (N, K)
    shares = F.softmax(Tensor(scores), 1).numpy()  # (N, K)
    for (title, _), probabilities in zip(asked, shares, strict=True):
        print(title)
        for k in np.argsort(-probabilities)[: options.top]:
            print(f"  {probabilities[k]:7.2%}  {config.class_names[k]}")


def summary_command(options: argparse.Namespace) -> None:
    """Print the table of a network."""
    model = models.create(options.model, num_classes=options.classes)
    try:
        print(summary(model, options.input_size))
    except ValueError as error:
        error.add_note(f"{options.model}: choose another size with --input-size C,H,W")
        raise


# --- their parts ----------------------------------------------------------------------------------


def _writable_folder(path: str) -> Path:
    """Make a folder, and try it: what cannot be written should fail before the work, not after."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--out: {folder}: no file can be written there: {error.strerror}") from error
    if (folder / CONFIG).exists():
        print(
            f"minicnn: --out: {folder} holds a trained network, which will be replaced",
            file=sys.stderr,
        )
    return folder


def _load_data(name: str, options: argparse.Namespace) -> ImageData:
    """Load a dataset, or the first images of it."""
    if name == "fashion-mnist-sample":
        if options.data_dir is not None:
            raise ValueError(
                f"--data-dir: {name} comes with minicnn and is read from nowhere else; for files of "
                "your own choose --dataset mnist or --dataset fashion-mnist"
            )
        data = load_fashion_mnist_sample()
    elif name in DATASETS:
        load = load_mnist if name == "mnist" else load_fashion_mnist
        data = load(options.data_dir, download=options.download)
    else:
        raise ValueError(f"the dataset {name!r} is unknown; choose one with --dataset")
    if options.limit is None:
        return data
    first = slice(options.limit)
    return replace(
        data,
        train_images=data.train_images[first],
        train_labels=data.train_labels[first],
        test_images=data.test_images[first],
        test_labels=data.test_labels[first],
    )


def _images_in_files(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Read the image files that were named: titles and images (H, W)."""
    for path in options.images:
        images = read_image_file(path)  # (N, H, W)
        for number, image in enumerate(255 - images if options.invert else images):
            yield (path if len(images) == 1 else f"{path}, image {number}"), image


def _test_images(options: argparse.Namespace, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Find the test images whose numbers were given: titles and images (H, W)."""
    if not options.index:
        return
    data = _load_data(options.dataset or config.dataset, options)
    for index in options.index:
        if not 0 <= index < len(data.test_images):
            last = len(data.test_images) - 1
            raise ValueError(f"--index: {data.name} has test images 0 to {last}, got {index}")
        label = data.class_names[data.test_labels[index]]
        yield f"{data.name}, test image {index}: {label}", data.test_images[index]


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


# --- arguments ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    """Describe all commands and their arguments."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show where an error comes from")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument(
        "--dataset",
        choices=DATASETS,
        help="default: what the network was trained on; for train, the sample",
    )
    images.add_argument("--data-dir", metavar="DIR", help="where to look for its files first")
    images.add_argument("--download", action="store_true", help="fetch the files if need be")
    images.add_argument(
        "--limit",
        type=positive_integer,
        metavar="N",
        help="use only the first N images (of the training set and of the test set)",
    )
    images.add_argument(
        "--device", type=device, default="cpu", help='"cpu" (default), "cuda" or "cuda:1"'
    )
    trained = argparse.ArgumentParser(add_help=False)
    trained.add_argument(
        "--weights", required=True, metavar="PATH", help="what train --out wrote: the folder"
    )

    parser = argparse.ArgumentParser(
        prog="minicnn", description="Train convolutional networks, and use them."
    )
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser("train", parents=[shared, images], help="train a network")
    train.set_defaults(command=train_command)
    shown = "default: %(default)s"
    train.add_argument("--model", choices=models.list_models(), default="first_cnn", help=shown)
    train.add_argument("--epochs", type=positive_integer, default=12, help=shown)
    train.add_argument("--batch-size", type=positive_integer, default=64, help=shown)
    train.add_argument(
        "--lr", type=positive_number, default=0.01, help=f"largest learning rate, {shown}"
    )
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help=shown)
    train.add_argument("--weight-decay", type=number_from_zero, default=0.0, help=shown)
    train.add_argument("--scheduler", choices=SCHEDULERS, default=SCHEDULERS[0], help=shown)
    train.add_argument(
        "--clip-norm", type=positive_number, help="largest norm of all gradients together"
    )
    train.add_argument(
        "--patience", type=positive_integer, help="stop after so many epochs in vain"
    )
    train.add_argument(
        "--validation",
        type=float,
        default=0.1,
        help=f"share of the training images to set aside, {shown}",
    )
    train.add_argument("--seed", type=natural_number, default=0, help="same seed, same network")
    train.add_argument("--out", metavar="DIR", help="write weights, history and report there")
    train.add_argument("--quiet", action="store_true", help="no progress bar")

    measure = commands.add_parser(
        "evaluate", parents=[shared, images, trained], help="measure a trained network"
    )
    measure.set_defaults(command=evaluate_command)

    ask = commands.add_parser(
        "predict", parents=[shared, images, trained], help="ask a trained network"
    )
    ask.set_defaults(command=predict_command)
    ask.add_argument("images", nargs="*", metavar="FILE", help="a .png, .npy or IDX file")
    ask.add_argument("--index", type=int, nargs="+", help="numbers of test images of the dataset")
    ask.add_argument("--top", type=positive_integer, default=3, help="how many classes to show")
    ask.add_argument("--invert", action="store_true", help="FILEs are dark on a light ground")

    describe = commands.add_parser("summary", parents=[shared], help="show a network's layers")
    describe.set_defaults(command=summary_command)
    describe.add_argument("model", choices=models.list_models())
    describe.add_argument("--input-size", type=image_size, default=(1, 28, 28), metavar="C,H,W")
    describe.add_argument("--classes", type=positive_integer, default=10, metavar="K")
    return parser
