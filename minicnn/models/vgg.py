"""VGG: blocks of small convolutions.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv
1409.1556. Two 3 x 3 convolutions see as much of the image as one of 5 x 5, three as much as one of
7 x 7, with fewer weights and with a ReLU after each. So the network is a chain of blocks: a few
3 x 3 convolutions that keep the size, then a pooling that halves it, while the channels double.

For images of 224 x 224 pixels (N is the batch):

    stage     output             3 x 3 convolutions in VGG-11   13   16   19
    block 1   (N, 64, 112, 112)                             1    2    2    2
    block 2   (N, 128, 56, 56)                              1    2    2    2
    block 3   (N, 256, 28, 28)                              2    2    3    4
    block 4   (N, 512, 14, 14)                              2    2    3    4
    block 5   (N, 512, 7, 7)                                2    2    3    4
    dense     (N, 4096), (N, 4096), (N, num_classes)        3    3    3    3
"""

from typing import Any

from minicnn import nn
from minicnn.models.blocks import PhotographNetwork, initialize
from minicnn.models.options import takes_options_of

__all__ = [
    "vgg",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vgg_block",
]

CHANNELS = (64, 128, 256, 512, 512)
"""What each of the five blocks returns."""

CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""How many convolutions each block has, by the number of layers with weights."""


def vgg_block(
    in_channels: int,
    out_channels: int,
    convolutions: int,
    batch_norm: bool = False,
    pool: bool = True,
) -> list[nn.Module]:
    """The layers of one block: `convolutions` times 3 x 3 convolution and ReLU, then a pooling.

    The first convolution changes the number of channels. Use it as `nn.Sequential(*vgg_block(...))`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        convolutions: how many, at least 1.
        batch_norm: whether a BatchNorm stands before each ReLU.
        pool: whether the block ends by halving height and width.
    """
    if convolutions < 1:
        raise ValueError(f"vgg_block: convolutions must be at least 1, got {convolutions}")
    layers: list[nn.Module] = []
    for channels in (in_channels, *[out_channels] * (convolutions - 1)):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU())
    return [*layers, nn.MaxPool2d(2)] if pool else layers


def vgg(
    depth: int,
    num_classes: int = 1000,
    in_channels: int = 3,
    batch_norm: bool = False,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """The VGG network with `depth` layers that have weights.

    Args:
        depth: 11, 13, 16 or 19.
        num_classes: size of the output.
        in_channels: channels of the images.
        batch_norm: whether a BatchNorm stands before each ReLU of the convolutions.
        dropout: the probability of `nn.Dropout` after the two hidden dense layers.
        small_images: for 28 x 28 or 32 x 32 images: the last block does not pool, the 1 x 1 or
            2 x 2 pixels that are left are averaged, and the hidden dense layers have 512 units.

    Raises:
        ValueError: for another depth.
    """
    if depth not in CONVOLUTIONS:
        raise ValueError(
            f"vgg: depth must be one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}"
        )
    side, hidden = (1, 512) if small_images else (7, 4096)
    network = PhotographNetwork(
        {
            "features": nn.Sequential(*_blocks(depth, in_channels, batch_norm, not small_images)),
            "avgpool": nn.AdaptiveAvgPool2d(side),  # (N, 512, 7, 7)
            "flatten": nn.Flatten(),  # (N, 25088)
            "classifier": nn.Sequential(
                nn.Linear(512 * side * side, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),  # (N, 4096)
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),  # (N, 4096)
                nn.Linear(hidden, num_classes),  # (N, num_classes)
            ),
        },
        small_images=small_images,
    )
    initialize(network)
    return network


def _blocks(depth: int, in_channels: int, batch_norm: bool, pool_last: bool) -> list[nn.Module]:
    """The layers of all five blocks, in one chain."""
    layers: list[nn.Module] = []
    for number, (channels, convolutions) in enumerate(
        zip(CHANNELS, CONVOLUTIONS[depth], strict=True), start=1
    ):
        pool = pool_last or number < len(CHANNELS)
        layers += vgg_block(in_channels, channels, convolutions, batch_norm, pool)
        in_channels = channels
    return layers


@takes_options_of(vgg)
def vgg11(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-11, 132,863,336 parameters; the options are those of `vgg`."""
    return vgg(11, num_classes, **options)


@takes_options_of(vgg, given=("batch_norm",))
def vgg11_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-11 with BatchNorm, 132,868,840 parameters; the options are those of `vgg`."""
    return vgg(11, num_classes, batch_norm=True, **options)


@takes_options_of(vgg)
def vgg13(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-13, 133,047,848 parameters; the options are those of `vgg`."""
    return vgg(13, num_classes, **options)


@takes_options_of(vgg, given=("batch_norm",))
def vgg13_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-13 with BatchNorm, 133,053,736 parameters; the options are those of `vgg`."""
    return vgg(13, num_classes, batch_norm=True, **options)


@takes_options_of(vgg)
def vgg16(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-16, 138,357,544 parameters; the options are those of `vgg`."""
    return vgg(16, num_classes, **options)


@takes_options_of(vgg, given=("batch_norm",))
def vgg16_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-16 with BatchNorm, 138,365,992 parameters; the options are those of `vgg`."""
    return vgg(16, num_classes, batch_norm=True, **options)


@takes_options_of(vgg)
def vgg19(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-19, 143,667,240 parameters; the options are those of `vgg`."""
    return vgg(19, num_classes, **options)


@takes_options_of(vgg, given=("batch_norm",))
def vgg19_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """VGG-19 with BatchNorm, 143,678,248 parameters; the options are those of `vgg`."""
    return vgg(19, num_classes, batch_norm=True, **options)
