"""MobileNets: convolutions taken apart, so that a network fits a telephone.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv 1704.04861. A 3x3 convolution looks at a neighbourhood and mixes channels at once, for
9 C K products a pixel. A depthwise-separable one does the first and then the second, for
9 C + C K: about a ninth. Two multipliers trade accuracy for time. The width alpha thins every layer,
and products fall nearly with alpha^2. The resolution rho shrinks the image; it is no argument here,
because the network takes images of any size: feed 192x192 in place of 224x224, and products fall
with rho^2, while the parameters stay.

    MobileNet v1        output, of 3x224x224    blocks
    stem                32x112x112              conv 3x3, stride 2
    stage 1             64x112x112              1 separable conv
    stage 2             128x56x56               2, the first of stride 2 (here and below)
    stage 3             256x28x28               2
    stage 4             512x14x14               6
    stage 5             1024x7x7                2
    classifier          1000                    mean over the image, dense

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381. A block
widens its few channels sixfold, filters each of them by itself, and narrows them again; the shortcut
joins the narrow ends, where there is little to store. The narrow end has no ReLU, which would throw
away half of what little it holds.

    MobileNet v2        output, of 3x224x224    blocks
    stem                32x112x112              conv 3x3, stride 2
    features 1          16x112x112              1 inverted residual, without the widening
    features 2-3        24x56x56                2, widened by 6 (here and below)
    features 4-6        32x28x28                3
    features 7-10       64x14x14                4
    features 11-13      96x14x14                3
    features 14-16      160x7x7                 3
    features 17         320x7x7                 1
    features 18         1280x7x7                conv 1x1
    classifier          1000                    mean over the image, dropout, dense
"""

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize, to_multiple

__all__ = ["InvertedResidual", "mobilenet_v1", "mobilenet_v2", "separable_conv"]

V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Output channels and stride of each block of v1 (its table 1)."""

V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Widening, output channels, number of blocks, and stride of the first: v2's table 2."""


def separable_conv(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> list[nn.Module]:
    """A depthwise convolution and a 1x1 convolution, each followed by BatchNorm and ReLU.

    Returns:
        the layers, for a Sequential: (N, in_channels, H, W) -> (N, out_channels, OH, OW), where OH is
        H / stride, rounded up
    """
    return [
        *conv_norm(in_channels, in_channels, kernel_size, stride, groups=in_channels),
        *conv_norm(in_channels, out_channels, 1),
    ]


def mobilenet_v1(
    num_classes: int = 1000,
    width: float = 1.0,
    in_channels: int = 3,
    small_images: bool = False,
    separable: bool = True,
) -> nn.Sequential:
    """MobileNet v1: 4,231,976 parameters, and 4,253,864 numbers with running statistics.

    Args:
        num_classes: length of the output.
        width: the paper's alpha, by which all channels are multiplied: 1, 0.75, 0.5 or 0.25 there.
        in_channels: channels of the image.
        small_images: the stem does not halve the image, for those of 32x32 or 28x28 pixels.
        separable: False has an ordinary 3x3 convolution in place of each separable one, the network
            that the paper compares with: 29.3 million parameters, 8.6 times the products.

    Raises:
        ValueError: for a width that is not positive.
    """
    _check_width("mobilenet_v1", "width", width)
    channels = _thinned(32, width)
    layers = conv_norm(in_channels, channels, stride=1 if small_images else 2)
    block = separable_conv if separable else conv_norm
    for out_channels, stride in V1_BLOCKS:
        layers += block(channels, _thinned(out_channels, width), stride=stride)
        channels = _thinned(out_channels, width)
    network = nn.Sequential(
        {
            "features": nn.Sequential(*layers),  # (N, 1024, 7, 7)
            "pool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),  # (N, 1024)
            "classifier": nn.Linear(channels, num_classes),
        }
    )
    initialize(network)
    return network


class InvertedResidual(nn.Module):
    """Widen with 1x1, filter each channel with 3x3, narrow with 1x1; the input is added if shapes allow.

    (N, in_channels, H, W) -> (N, out_channels, OH, OW), where OH is H / stride, rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 or 2, of the depthwise convolution.
        expand_ratio: by what factor the channels are widened; 1 leaves that convolution out.

    Attributes:
        has_shortcut: whether the input is added to the output.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int):
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual: stride: expected 1 or 2, got {stride!r}")
        wide = in_channels * expand_ratio
        filtering = conv_norm(wide, wide, 3, stride, groups=wide, activation=nn.ReLU6)
        parts = [nn.Sequential(*filtering), *conv_norm(wide, out_channels, 1, activation=None)]
        if expand_ratio != 1:
            parts.insert(0, nn.Sequential(*conv_norm(in_channels, wide, 1, activation=nn.ReLU6)))
        self.conv = nn.Sequential(*parts)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        y = self.conv(x)
        return x + y if self.has_shortcut else y


def mobilenet_v2(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    dropout: float = 0.2,
    in_channels: int = 3,
    small_images: bool = False,
) -> nn.Sequential:
    """MobileNet v2: 3,504,872 parameters, and 3,538,984 numbers with running statistics.

    Args:
        num_classes: length of the output.
        width_mult: by what all channels are multiplied, then rounded to multiples of 8; the last
            1280 are never thinned.
        dropout: probability before the dense layer.
        in_channels: channels of the image.
        small_images: the first two halvings are left out, for images of 32x32 or 28x28 pixels.

    Raises:
        ValueError: for a width that is not positive.
    """
    _check_width("mobilenet_v2", "width_mult", width_mult)
    channels = to_multiple(32 * width_mult)
    stem = conv_norm(in_channels, channels, 3, 1 if small_images else 2, activation=nn.ReLU6)
    features = [nn.Sequential(*stem)]
    for expand_ratio, stage_channels, blocks, stride in V2_STAGES:
        out_channels = to_multiple(stage_channels * width_mult)
        if small_images and stage_channels == 24:
            stride = 1
        for i in range(blocks):
            step = stride if i == 0 else 1
            features.append(InvertedResidual(channels, out_channels, step, expand_ratio))
            channels = out_channels
    last = to_multiple(1280 * max(1.0, width_mult))
    features.append(nn.Sequential(*conv_norm(channels, last, 1, activation=nn.ReLU6)))
    network = nn.Sequential(
        {
            "features": nn.Sequential(*features),  # (N, 1280, 7, 7)
            "pool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),  # (N, 1280)
            "classifier": nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes)),
        }
    )
    initialize(network)
    return network


def _check_width(where: str, argument: str, width: float) -> None:
    if not width > 0:
        raise ValueError(f"{where}: {argument}: expected a number above 0, got {width!r}")


def _thinned(channels: int, width: float) -> int:
    """Multiply, round down, and keep one channel at least."""
    return max(1, int(channels * width))
