"""ResNet v2: residual networks with pre-activation.

He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", arXiv 1603.05027.

In ResNet v1, a ReLU after each sum changes also what came by the shortcut. Here BatchNorm and ReLU
stand before each convolution and nothing follows the sum, so the shortcuts are one straight way from
the last layer to the first: a signal, and a gradient, can pass unchanged through a thousand layers.

This is the form of Keras' applications. The last block of a stage halves the image (there is none in
layer4), its shortcut then takes every second pixel, and the first block has a projection on its
shortcut, as it changes the number of channels. Only convolutions that no BatchNorm follows have a
bias: the first one, the last one of each block, and projections.

The stages for images of 224 x 224 (N is the batch):

| stage          | output              | blocks in 50; 101; 152 |
| -------------- | ------------------- | ---------------------- |
| conv1, 7x7 / 2 | (N, 64, 112, 112)   |                        |
| maxpool, 3 / 2 | (N, 64, 56, 56)     |                        |
| layer1         | (N, 256, 28, 28)    | 3; 3; 3                |
| layer2         | (N, 512, 14, 14)    | 4; 4; 8                |
| layer3         | (N, 1024, 7, 7)     | 6; 23; 36              |
| layer4         | (N, 2048, 7, 7)     | 3; 3; 3                |
| bn, relu       | (N, 2048, 7, 7)     |                        |
| avgpool        | (N, 2048, 1, 1)     |                        |
| fc             | (N, 1000)           |                        |
"""

from collections.abc import Sequence
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize
from minicnn.models.options import takes_options_of

__all__ = [
    "PreActivationBottleneck",
    "ResNetV2",
    "preactivation_stage",
    "resnet50_v2",
    "resnet101_v2",
    "resnet152_v2",
]


class PreActivationBottleneck(nn.Module):
    """BatchNorm and ReLU before each of three convolutions, 1x1, 3x3 and 1x1, and a straight shortcut.

    (N, in_channels, H, W) -> (N, 4 channels, H / stride, W / stride). A projection on the shortcut,
    where the number of channels changes, shares the first BatchNorm and ReLU.

    Args:
        in_channels: channels of the input.
        channels: of the 3x3 convolution, a quarter of the output's.
        stride: of the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        out_channels = channels * self.expansion
        self.preactivation = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.body = nn.Sequential(
            *conv_norm(in_channels, channels, 1),  # (N, channels, H, W)
            *conv_norm(channels, channels, 3, stride),  # (N, channels, H / stride, W / stride)
            nn.Conv2d(channels, out_channels, 1),
        )
        self.projects = in_channels != out_channels
        if self.projects:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)
        elif stride > 1:
            self.shortcut = nn.MaxPool2d(1, stride)  # windows of one pixel: every second one
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = self.preactivation(x)
        return self.body(active) + self.shortcut(active if self.projects else x)


def preactivation_stage(
    in_channels: int, channels: int, blocks: int, stride: int = 1
) -> nn.Sequential:
    """A chain of blocks of one size, of which the last one may halve the image.

    Args:
        in_channels: channels of the input.
        channels: a quarter of the channels of the output.
        blocks: how many.
        stride: of the last block.
    """
    chain = nn.Sequential()
    for i in range(blocks):
        is_last = i == blocks - 1
        chain.append(PreActivationBottleneck(in_channels, channels, stride if is_last else 1))
        in_channels = channels * PreActivationBottleneck.expansion
    return chain


class ResNetV2(nn.Sequential):
    """A pre-activation residual network of four stages, (N, in_channels, H, W) -> (N, num_classes).

    Args:
        layers: number of blocks in each of the four stages.
        num_classes: number of outputs.
        in_channels: channels of the images, 1 for grey ones.
        small_images: for images of about 32 x 32, keep their size up to the end of the first stage.

    Raises:
        ValueError: unless there are four stages of at least one block.
    """

    def __init__(
        self,
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        small_images: bool = False,
    ):
        if len(layers) != 4 or min(layers) < 1:
            raise ValueError(
                f"ResNetV2: layers: expected four numbers of blocks, each at least 1, got {layers}"
            )
        size, stride = (3, 1) if small_images else (7, 2)
        maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)
        super().__init__(
            {
                "conv1": nn.Conv2d(in_channels, 64, size, stride, padding=size // 2),
                "maxpool": maxpool,  # (N, 64, H / 4, W / 4)
                "layer1": preactivation_stage(64, 64, layers[0], stride=2),
                "layer2": preactivation_stage(256, 128, layers[1], stride=2),
                "layer3": preactivation_stage(512, 256, layers[2], stride=2),
                "layer4": preactivation_stage(1024, 512, layers[3]),  # (N, 2048, H / 32, W / 32)
                "bn": nn.BatchNorm2d(2048),
                "relu": nn.ReLU(),
                "avgpool": nn.AdaptiveAvgPool2d(1),  # (N, 2048, 1, 1)
                "flatten": nn.Flatten(),
                "fc": nn.Linear(2048, num_classes),  # (N, num_classes)
            }
        )
        initialize(self)


# --- the networks; their options are those of ResNetV2 ------------------------------------------------


@takes_options_of(ResNetV2)
def resnet50_v2(num_classes: int = 1000, **options: Any) -> ResNetV2:
    """ResNet-50 v2, 25,568,360 parameters; 25,613,800 with running statistics, as Keras counts."""
    return ResNetV2((3, 4, 6, 3), num_classes, **options)


@takes_options_of(ResNetV2)
def resnet101_v2(num_classes: int = 1000, **options: Any) -> ResNetV2:
    """ResNet-101 v2, 44,577,896 parameters; 44,675,560 with running statistics, as Keras counts."""
    return ResNetV2((3, 4, 23, 3), num_classes, **options)


@takes_options_of(ResNetV2)
def resnet152_v2(num_classes: int = 1000, **options: Any) -> ResNetV2:
    """ResNet-152 v2, 60,236,904 parameters; 60,380,648 with running statistics, as Keras counts."""
    return ResNetV2((3, 8, 36, 3), num_classes, **options)
