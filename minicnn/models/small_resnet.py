"""Plain stacks and small residual networks for grey images of 28 x 28: what depth costs, and what shortcuts save.

The study of He et al. (arXiv 1512.03385, section 4.2) in a size for a course. A plain stack that grows
deeper learns better at first and then worse, on its training images too; with shortcuts around every
two convolutions it does not. Each network has three stages, of which the second and the third halve
the image:

| network           | parts of a stage                 | channels   | layers with weights | parameters       |
| ----------------- | -------------------------------- | ---------- | ------------------- | ---------------- |
| `plain_stack`     | 1, 2, 6 or 10 convolutions       | 8, 16, 32  | 4, 7, 19, 31        | 6,274 to 116,146 |
| `resnet_small_v1` | 1, 3 or 5 blocks of two          | 8, 16, 32  | 8, 20, 32           | 19,810 to 117,474 |
| `resnet_small_v2` | 3, 4 and 3 bottlenecks           | 16, 32, 64 | 32                  | 22,554           |

Bottlenecks make the last one as deep as the largest of the others, with a fifth of the parameters.
"""

from minicnn import nn
from minicnn.models.blocks import conv_norm, initialize
from minicnn.models.resnet import BasicBlock, residual_stage
from minicnn.models.resnet_v2 import preactivation_stage

__all__ = ["plain_stack", "plain_stage", "resnet_small_v1", "resnet_small_v2"]


def plain_stage(
    in_channels: int, channels: int, convolutions: int, stride: int = 1
) -> list[nn.Module]:
    """A chain of 3x3 convolutions with BatchNorm and ReLU, of which the first one may halve the image."""
    layers = conv_norm(in_channels, channels, stride=stride)
    for _ in range(convolutions - 1):
        layers += conv_norm(channels, channels)
    return layers


def plain_stack(
    num_classes: int = 10, in_channels: int = 1, convolutions: int = 1
) -> nn.Sequential:
    """Three stages of 3x3 convolutions and no shortcuts.

    With 1, 2, 6 and 10 convolutions a stage these are 6,274, 18,482, 67,314 and 116,146 parameters.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        convolutions: in each of the three stages.

    Raises:
        ValueError: for less than one convolution a stage.
    """
    _check("plain_stack", "convolutions", convolutions)
    network = nn.Sequential(
        *plain_stage(in_channels, 8, convolutions),  # (N, 8, 28, 28)
        *plain_stage(8, 16, convolutions, stride=2),  # (N, 16, 14, 14)
        *plain_stage(16, 32, convolutions, stride=2),  # (N, 32, 7, 7)
        *_head(32, num_classes),  # (N, num_classes)
    )
    initialize(network)
    return network


def resnet_small_v1(num_classes: int = 10, in_channels: int = 1, blocks: int = 1) -> nn.Sequential:
    """One convolution, then three stages of residual blocks.

    With 1, 3 and 5 blocks a stage these are 19,810, 68,642 and 117,474 parameters, hardly more than
    those of plain stacks of twice as many convolutions.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        blocks: in each of the three stages.

    Raises:
        ValueError: for less than one block a stage.
    """
    _check("resnet_small_v1", "blocks", blocks)
    network = nn.Sequential(
        *conv_norm(in_channels, 8),  # (N, 8, 28, 28)
        residual_stage(BasicBlock, 8, 8, blocks),  # (N, 8, 28, 28)
        residual_stage(BasicBlock, 8, 16, blocks, stride=2),  # (N, 16, 14, 14)
        residual_stage(BasicBlock, 16, 32, blocks, stride=2),  # (N, 32, 7, 7)
        *_head(32, num_classes),  # (N, num_classes)
    )
    initialize(network)
    return network


def resnet_small_v2(num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """One convolution, then three stages of pre-activation bottlenecks.

    22,554 parameters, 23,690 with running statistics.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
    """
    network = nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, padding=1),  # (N, 16, 28, 28)
        preactivation_stage(16, 4, blocks=3, stride=2),  # (N, 16, 14, 14)
        preactivation_stage(16, 8, blocks=4, stride=2),  # (N, 32, 7, 7)
        preactivation_stage(32, 16, blocks=3),  # (N, 64, 7, 7)
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *_head(64, num_classes),  # (N, num_classes)
    )
    initialize(network)
    return network


def _head(channels: int, num_classes: int) -> list[nn.Module]:
    """The mean of each channel, and a dense layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def _check(where: str, name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{where}: {name}: expected at least 1 in each stage, got {number}")
