"""The command line: train a network, measure it, ask it, describe it.

    minicnn train --dataset fashion-mnist-sample --model first_cnn --out my-network
    minicnn evaluate --weights my-network
    minicnn predict --weights my-network --index 0 1 2
    minicnn predict --model efficientnet_lite0 --weights lite0.pth --image photograph.jpg
    minicnn summary bigger_cnn

What the commands do stands in `minicnn/commands/`, here is what they are told. What goes wrong is said
in words on standard error; the exit code is then 1, or 2 for arguments that do not exist.
"""

import argparse
import sys
from collections.abc import Sequence

from minicnn import __version__, models
from minicnn.arguments import (
    device,
    image_size,
    natural_number,
    number_from_zero,
    positive_integer,
    positive_number,
)
from minicnn.commands.datasets import DATASETS, NETWORKS
from minicnn.commands.description import summary_command
from minicnn.commands.prediction import predict_command
from minicnn.commands.training import OPTIMIZERS, SCHEDULERS, evaluate_command, train_command
from minicnn.models.preprocessing import PUBLISHED


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
        "--weights",
        required=True,
        metavar="PATH",
        help="what train --out wrote: the folder; for predict --model a file",
    )

    parser = argparse.ArgumentParser(
        prog="minicnn", description="Train convolutional networks, and use them."
    )
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser("train", parents=[shared, images], help="train a network")
    train.set_defaults(command=train_command)
    shown = "default: %(default)s"
    train.add_argument("--model", choices=NETWORKS, default="first_cnn", help=shown)
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
    ask.add_argument("files", nargs="*", metavar="FILE", help="a .png, .npy or IDX file")
    ask.add_argument(
        "--image", nargs="+", default=[], metavar="FILE", help="likewise; with --model a photograph"
    )
    ask.add_argument(
        "--model",
        choices=PUBLISHED,
        metavar="NAME",
        help="a network for photographs, whose published weights the file of --weights holds "
        f"(.safetensors, .npz, .pth): {', '.join(PUBLISHED)}",
    )
    ask.add_argument("--index", type=int, nargs="+", help="numbers of test images of the dataset")
    ask.add_argument("--top", type=positive_integer, default=3, help="how many classes to show")
    ask.add_argument("--invert", action="store_true", help="FILEs are dark on a light ground")

    describe = commands.add_parser("summary", parents=[shared], help="show a network's layers")
    describe.set_defaults(command=summary_command)
    names = models.list_models()
    describe.add_argument(
        "model", choices=names, metavar="MODEL", help=f"its name: {', '.join(names)}"
    )
    describe.add_argument(
        "--input-size",
        type=image_size,
        metavar="C,H,W",
        help="default: what the network is made for, such as 1,28,28 or 3,224,224",
    )
    describe.add_argument(
        "--classes", type=positive_integer, metavar="K", help="default: the network's own number"
    )
    return parser
