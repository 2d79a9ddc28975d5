"""ResNet, its wide form, and ResNeXt.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146 (the 3x3 convolutions wider).
Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv 1611.05431
(ResNeXt: the 3x3 convolutions wider, and divided into groups).

A stack of plain layers gets worse beyond some depth, because it is hard to learn even the identity
through many of them. Each block here adds its result to its input, so that it has to learn only what
is to be changed, and gradients have a way around it.

The stages for images of 224 x 224 (N is the batch; `small_images=True` starts with a 3x3 convolution
of stride 1 and no pooling, so that 32 x 32 stay 32 x 32 in layer1):

| stage          | ResNet-18, 34     | ResNet-50 and deeper | blocks in 18; 34; 50; 101; 152 |
| -------------- | ----------------- | -------------------- | ------------------------------ |
| conv1, 7x7 / 2 | (N, 64, 112, 112) | (N, 64, 112, 112)    |                                |
| maxpool, 3 / 2 | (N, 64, 56, 56)   | (N, 64, 56, 56)      |                                |
| layer1         | (N, 64, 56, 56)   | (N, 256, 56, 56)     | 2; 3; 3; 3; 3                  |
| layer2         | (N, 128, 28, 28)  | (N, 512, 28, 28)     | 2; 4; 4; 4; 8                  |
| layer3         | (N, 256, 14, 14)  | (N, 1024, 14, 14)    | 2; 6; 6; 23; 36                |
| layer4         | (N, 512, 7, 7)    | (N, 2048, 7, 7)      | 2; 3; 3; 3; 3                  |
| avgpool        | (N, 512, 1, 1)    | (N, 2048, 1, 1)      |                                |
| fc             | (N, 1000)         | (N, 1000)            |                                |
"""

from collections.abc import Iterator, Sequence
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize
from minicnn.models.options import takes_options_of
from minicnn.nn import init
from minicnn.nn.fusion import add_residual, chain

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "residual_stage",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
]


class _ResidualBlock(nn.Module):
    """What both blocks share: the shortcut, and the sum at the end of it."""

    expansion: int
    """Channels of the output for each one of `channels`."""

    last_norm: nn.BatchNorm2d
    """The BatchNorm before the sum."""

    relu: nn.ReLU
    """The activation, after the sum too."""

    def _create_shortcut(
        self, in_channels: int, out_channels: int, stride: int, conv_bias: bool, drop: float
    ) -> None:
        """Make the 1x1 convolution that gives x the size of the result, where it has another one."""
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            projection = conv_norm(
                in_channels, out_channels, 1, stride, activation=None, bias=conv_bias
            )
            self.downsample = nn.Sequential(*projection)
        self.stochastic_depth = nn.StochasticDepth(drop) if drop else None

    def _join(self, y: Tensor, x: Tensor) -> Tensor:
        """relu(last_norm(y) + shortcut(x)): in one pass, unless branches are dropped before the sum."""
        shortcut = x if self.downsample is None else self.downsample(x)
        if self.stochastic_depth is None or not self.training:
            return add_residual(y, self.last_norm, shortcut, self.relu)
        return self.relu(self.stochastic_depth(self.last_norm(y)) + shortcut)


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions and a shortcut, (N, in_channels, H, W) -> (N, channels, H / stride, W / stride).

    Args:
        in_channels: channels of the input.
        channels: channels of both convolutions.
        stride: of the first convolution.
        conv_bias: whether convolutions have a bias in front of their BatchNorm, as in Keras.
        stochastic_depth: probability with which an example skips the block in training.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        conv_bias: bool = False,
        stochastic_depth: float = 0.0,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=conv_bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=conv_bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self._create_shortcut(in_channels, channels, stride, conv_bias, stochastic_depth)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The BatchNorm before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        y = chain(x, self.conv1, self.bn1, self.relu)  # (N, channels, H / stride, W / stride)
        return self._join(self.conv2(y), x)


class Bottleneck(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 works on few channels.

    (N, in_channels, H, W) -> (N, 4 channels, H / stride, W / stride). The stride is that of the 3x3
    convolution, as in torchvision; the paper has it in the first 1x1, which then skips pixels.

    Args:
        in_channels: channels of the input.
        channels: a quarter of the output's channels.
        stride: of the 3x3 convolution.
        groups: of the 3x3 convolution; 32 or so make a ResNeXt.
        width_per_group: channels of each group where `channels` is 64, and in proportion elsewhere.
        conv_bias: whether convolutions have a bias in front of their BatchNorm, as in Keras.
        stochastic_depth: probability with which an example skips the block in training.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        conv_bias: bool = False,
        stochastic_depth: float = 0.0,
    ):
        super().__init__()
        width = channels * width_per_group // 64 * groups
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=conv_bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=conv_bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=conv_bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self._create_shortcut(in_channels, out_channels, stride, conv_bias, stochastic_depth)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The BatchNorm before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        y = chain(x, self.conv1, self.bn1, self.relu)  # (N, width, H, W)
        y = chain(y, self.conv2, self.bn2, self.relu)  # (N, width, H / stride, W / stride)
        return self._join(self.conv3(y), x)


def residual_stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    blocks: int,
    stride: int = 1,
    drops: Iterator[float] | None = None,
    **options: Any,
) -> nn.Sequential:
    """A chain of blocks of one size, of which the first one halves the image, or changes its channels.

    Args:
        block: the class of the blocks.
        in_channels: channels of the input.
        channels: see the block.
        blocks: how many.
        stride: of the first block.
        drops: gives the stochastic depth of one block after the other; None for none.
        options: of the blocks, such as `groups`.
    """
    stage = nn.Sequential()
    for _ in range(blocks):
        drop = 0.0 if drops is None else next(drops)
        stage.append(block(in_channels, channels, stride, stochastic_depth=drop, **options))
        in_channels, stride = channels * block.expansion, 1
    return stage


class ResNet(nn.Sequential):
    """A residual network of four stages, (N, in_channels, H, W) -> (N, num_classes).

    Args:
        block: the class of the blocks.
        layers: number of blocks in each of the four stages.
        num_classes: number of outputs.
        in_channels: channels of the images, 1 for grey ones.
        small_images: for images of about 32 x 32, keep their size up to the second stage.
        zero_init_residual: start the scale of each block's last BatchNorm at 0, so that each block is
            the identity at first (Goyal et al., arXiv 1706.02677, section 5.1).
        stochastic_depth: probability with which an example skips the last block in training; it
            rises linearly from almost 0 in the first one (Huang et al., arXiv 1603.09382, equation 4).
        conv_bias: whether convolutions have a bias, as in Keras, in front of their BatchNorm.
        options: further ones of the blocks: `groups`, `width_per_group`.

    Raises:
        ValueError: unless there are four stages of at least one block, and a probability.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        small_images: bool = False,
        zero_init_residual: bool = False,
        stochastic_depth: float = 0.0,
        conv_bias: bool = False,
        **options: Any,
    ):
        _check(layers, stochastic_depth)
        C = block.expansion
        depth = sum(layers)
        drops = iter([stochastic_depth * (i + 1) / depth for i in range(depth)])
        options |= {"drops": drops, "conv_bias": conv_bias}
        size, stride = (3, 1) if small_images else (7, 2)
        conv1 = nn.Conv2d(in_channels, 64, size, stride, padding=size // 2, bias=conv_bias)
        maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)
        super().__init__(
            {
                "conv1": conv1,
                "bn1": nn.BatchNorm2d(64),
                "relu": nn.ReLU(),
                "maxpool": maxpool,  # (N, 64, H / 4, W / 4)
                "layer1": residual_stage(block, 64, 64, layers[0], **options),
                "layer2": residual_stage(block, 64 * C, 128, layers[1], stride=2, **options),
                "layer3": residual_stage(block, 128 * C, 256, layers[2], stride=2, **options),
                "layer4": residual_stage(block, 256 * C, 512, layers[3], stride=2, **options),
                "avgpool": nn.AdaptiveAvgPool2d(1),  # (N, 512 C, 1, 1)
                "flatten": nn.Flatten(),
                "fc": nn.Linear(512 * C, num_classes),  # (N, num_classes)
            }
        )
        initialize(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, _ResidualBlock):
                    init.zeros_(module.last_norm.weight)


def _check(layers: Sequence[int], stochastic_depth: float) -> None:
    if len(layers) != 4 or min(layers) < 1:
        raise ValueError(
            f"ResNet: layers: expected four numbers of blocks, each at least 1, got {layers}"
        )
    if not 0 <= stochastic_depth <= 1:
        raise ValueError(
            f"ResNet: stochastic_depth: expected a probability in [0, 1], got {stochastic_depth}"
        )


# --- the networks; their options are those of ResNet --------------------------------------------------


@takes_options_of(ResNet)
def resnet18(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-18, 11,689,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **options)


@takes_options_of(ResNet)
def resnet34(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-34, 21,797,672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **options)


@takes_options_of(ResNet)
def resnet50(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-50, 25,557,032 parameters; with `conv_bias=True` and running statistics 25,636,712, as in Keras."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **options)


@takes_options_of(ResNet)
def resnet101(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-101, 44,549,160 parameters; with `conv_bias=True` and running statistics 44,707,176, as in Keras."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, **options)


@takes_options_of(ResNet)
def resnet152(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-152, 60,192,808 parameters; with `conv_bias=True` and running statistics 60,419,944, as in Keras."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, **options)


@takes_options_of(ResNet)
def wide_resnet50_2(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNet-50 with twice as many channels in the 3x3 convolutions, 68,883,240 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, width_per_group=128, **options)


@takes_options_of(ResNet)
def resnext50_32x4d(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNeXt-50, whose 3x3 convolutions have 32 groups of 4 channels and more, 25,028,904 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, groups=32, width_per_group=4, **options)


@takes_options_of(ResNet)
def resnext101_32x8d(num_classes: int = 1000, **options: Any) -> ResNet:
    """ResNeXt-101, whose 3x3 convolutions have 32 groups of 8 channels and more, 88,791,336 parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, groups=32, width_per_group=8, **options)
