"""The tables of docs/10-architectures.md: what every network of minicnn.models has, and what it costs.

    python benchmarks/architectures.py

Builds each network, counts its parameters, and runs it once on an example of zeros, of the size that
its paper has, for the multiply-adds. Prints the tables, and writes them to
benchmarks/results/architectures.md and, as numbers, architectures.json. The page shows the same
tables; a test compares them with these files and with the code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import models
from minicnn.nn import Module
from minicnn.nn.init import without_drawing
from minicnn.summary import summary

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Entry:
    """A row of the first table.

    Attributes:
        name: the builder.
        size: the shape of one example.
        paper: arXiv number, or what else tells where it comes from.
        idea: in a line.
        kind: of the example's numbers.
    """

    name: str
    size: tuple[int, ...]
    paper: str
    idea: str
    kind: type = np.float32


GREY, SMALL, COLOUR = (1, 28, 28), (3, 32, 32), (3, 224, 224)
COURSE = "a course"

ENTRIES = [
    Entry("mlp", GREY, COURSE, "dense layers only: no neighbourhoods"),
    Entry("first_cnn", GREY, COURSE, "convolutions find, pooling forgets where"),
    Entry("bigger_cnn", GREY, COURSE, "pairs of convolutions, BatchNorm, dropout"),
    Entry("pointwise_cnn", GREY, COURSE, "1x1 halves what dense layers get"),
    Entry("separable_cnn", GREY, COURSE, "neighbourhoods and channels one after the other"),
    Entry("plain_stack", GREY, "1512.03385", "depth without shortcuts, to compare with"),
    Entry("resnet_small_v1", GREY, "1512.03385", "the same with shortcuts"),
    Entry("resnet_small_v2", GREY, "1603.05027", "bottlenecks, uninterrupted shortcuts"),
    Entry("lenet5", GREY, "LeCun 1998", "the first: convolution and subsampling in turn"),
    Entry("lenet5_bn", GREY, "LeCun 1998", "with BatchNorm"),
    Entry("alexnet", COLOUR, "1404.5997", "wide, with ReLU and dropout"),
    Entry("zfnet", COLOUR, "1311.2901", "finer first filters, found by looking at them"),
    Entry("nin", COLOUR, "1312.4400", "a small network at each pixel"),
    Entry("vgg11", COLOUR, "1409.1556", "blocks of 3x3 convolutions"),
    Entry("vgg11_bn", COLOUR, "1409.1556", "with BatchNorm"),
    Entry("vgg13", COLOUR, "1409.1556", "deeper"),
    Entry("vgg13_bn", COLOUR, "1409.1556", "with BatchNorm"),
    Entry("vgg16", COLOUR, "1409.1556", "deeper still"),
    Entry("vgg16_bn", COLOUR, "1409.1556", "with BatchNorm"),
    Entry("vgg19", COLOUR, "1409.1556", "as deep as plain chains could be trained"),
    Entry("vgg19_bn", COLOUR, "1409.1556", "with BatchNorm"),
    Entry("googlenet", COLOUR, "1409.4842", "windows of several sizes side by side"),
    Entry("inception_v3", (3, 299, 299), "1512.00567", "large windows taken apart"),
    Entry("inception_resnet_v2", (3, 299, 299), "1602.07261", "Inception blocks with shortcuts"),
    Entry("xception", (3, 299, 299), "1610.02357", "a window of its own for each channel"),
    Entry("mini_xception", (3, 180, 180), "1610.02357", "its small relative, for few photographs"),
    Entry("resnet18", COLOUR, "1512.03385", "blocks add to their input"),
    Entry("resnet34", COLOUR, "1512.03385", "deeper"),
    Entry("resnet50", COLOUR, "1512.03385", "bottlenecks: 3x3 on few channels"),
    Entry("resnet101", COLOUR, "1512.03385", "deeper"),
    Entry("resnet152", COLOUR, "1512.03385", "deeper still"),
    Entry("wide_resnet50_2", COLOUR, "1605.07146", "wider in place of deeper"),
    Entry("resnext50_32x4d", COLOUR, "1611.05431", "3x3 in 32 groups"),
    Entry("resnext101_32x8d", COLOUR, "1611.05431", "deeper, wider groups"),
    Entry("resnet50_v2", COLOUR, "1603.05027", "BatchNorm and ReLU before the convolution"),
    Entry("resnet101_v2", COLOUR, "1603.05027", "deeper"),
    Entry("resnet152_v2", COLOUR, "1603.05027", "deeper still"),
    Entry("densenet121", COLOUR, "1608.06993", "every layer sees all before it"),
    Entry("densenet169", COLOUR, "1608.06993", "deeper"),
    Entry("densenet201", COLOUR, "1608.06993", "deeper still"),
    Entry("squeezenet1_0", COLOUR, "1602.07360", "squeeze the channels before 3x3"),
    Entry("squeezenet1_1", COLOUR, "1602.07360", "pooling comes earlier"),
    Entry("mobilenet_v1", COLOUR, "1704.04861", "separable convolutions, in any width"),
    Entry("mobilenet_v2", COLOUR, "1801.04381", "widen, filter, narrow; narrow shortcuts"),
    Entry("efficientnet_lite0", COLOUR, "1905.11946", "v2's blocks, their numbers searched"),
    Entry("nasnet_mobile", COLOUR, "1707.07012", "the inside of its cells was searched"),
    Entry("nasnet_large", (3, 331, 331), "1707.07012", "more and wider cells"),
    Entry("regnet_x_400mf", COLOUR, "2003.13678", "a space of networks narrowed by sampling it"),
    Entry("regnet_x_32", (1, 96, 96), "d2l.ai, 8.8", "two stages of it"),
    Entry("unet", (3, 256, 256), "1505.04597", "a class for each pixel"),
    Entry("text_cnn", (500,), "1408.5882", "filters over phrases", np.int64),
]
"""The networks in the order of the registry."""

KERAS: dict[str, Mapping[str, Any]] = {
    "vgg16": {},
    "vgg19": {},
    "resnet50": {"conv_bias": True},
    "resnet101": {"conv_bias": True},
    "resnet152": {"conv_bias": True},
    "resnet50_v2": {},
    "resnet101_v2": {},
    "resnet152_v2": {},
    "inception_v3": {"aux_logits": False, "norm_scale": False},
    "inception_resnet_v2": {"norm_scale": False},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
    "densenet121": {},
    "densenet169": {},
    "densenet201": {},
    "xception": {},
    "nasnet_mobile": {},
    "nasnet_large": {},
}
"""The networks of Keras' table of applications, and the options with which they are the same."""


def count(network: Module) -> tuple[int, int]:
    """Return the number of parameters, and that with running means and variances."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(buffer.numel() for buffer in network.buffers() if buffer.dtype.kind == "f")
    return parameters, parameters + statistics


def multiply_adds(entry: Entry, network: Module) -> int:
    """Return the multiply-adds for one example, in inference."""
    return summary(network, entry.size, entry.kind).multiply_adds


def measure(entry: Entry) -> dict[str, int]:
    """Return the numbers of a row."""
    with without_drawing():
        network = models.create(entry.name)
    parameters, total = count(network)
    return {
        "parameters": parameters,
        "total": total,
        "multiply_adds": multiply_adds(entry, network),
    }


def table(numbers: Mapping[str, Mapping[str, int]]) -> str:
    """Return the first table as Markdown."""
    lines = [
        "| network | paper | input | parameters | with statistics | multiply-adds | idea |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for entry in ENTRIES:
        row = numbers[entry.name]
        cells = (
            *(f"`{entry.name}`", entry.paper, "x".join(map(str, entry.size))),
            *(f"{row['parameters']:,}", f"{row['total']:,}", in_millions(row["multiply_adds"])),
            entry.idea,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def in_millions(number: int) -> str:
    """Write a number with three digits or more: 0.218 M, 4,089 M."""
    millions = number / 1e6
    digits = 3 if millions < 1 else 1 if millions < 100 else 0
    return f"{millions:,.{digits}f} M"


def keras_table(totals: Mapping[str, int]) -> str:
    """Return the second table as Markdown."""
    lines = ["| network | options | total |", "| --- | --- | ---: |"]
    for name, options in KERAS.items():
        text = ", ".join(f"`{option}={value}`" for option, value in options.items())
        lines.append(f"| `{name}` | {text} | {totals[name]:,} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    numbers = {entry.name: measure(entry) for entry in ENTRIES}
    with without_drawing():
        totals = {name: count(models.create(name, **options))[1] for name, options in KERAS.items()}
    text = (
        "# The networks\n\nWritten by `benchmarks/architectures.py`.\n\n"
        f"{table(numbers)}\n## As Keras counts\n\n{keras_table(totals)}"
    )
    print(text)
    RESULTS.mkdir(exist_ok=True)
    content = {"networks": numbers, "keras": totals}
    (RESULTS / "architectures.json").write_text(json.dumps(content, indent=2) + "\n")
    (RESULTS / "architectures.md").write_text(text)


if __name__ == "__main__":
    main()
