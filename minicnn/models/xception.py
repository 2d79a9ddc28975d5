"""Xception: Inception taken to its end, where every channel has a window of its own.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv 1610.02357. An Inception
block divides its channels among a few branches; a depthwise convolution has as many branches as
channels, and a 1x1 convolution mixes what they saw. The network is a chain of such pairs, grouped into
residual blocks. Unlike MobileNet's, a pair has neither BatchNorm nor ReLU between its two halves:
without them the paper's networks learned better.

    stage      output, of 3x299x299    blocks
    stem       64x147x147              conv 3x3 of stride 2, conv 3x3
    entry      128x74x74, 256x37x37, 728x19x19
                                       3 blocks of 2 pairs, halved by max-pooling
    middle     728x19x19               8 blocks of 3 pairs
    exit       1024x10x10              1 block of 2 pairs, halved
               2048x10x10              2 pairs, 1536 and 2048 channels
    classifier 1000                    mean over the image, dropout, dense

`mini_xception` is the small relative from Chollet's "Deep Learning with Python" (2nd edition, 2021,
chapter 9), for a few thousand photographs of 180x180 pixels: normalisation and ReLU before each pair.

    stage      output, of 3x180x180    blocks
    stem       32x176x176              conv 5x5
    blocks     32x88x88, 64x44x44, 128x22x22, 256x11x11, 512x6x6
                                       1 of 2 pairs each, halved by max-pooling
    classifier 1                       mean over the image, dropout, dense
"""

from collections.abc import Sequence
from itertools import pairwise

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize

__all__ = ["PreactivatedBlock", "XceptionBlock", "mini_xception", "separable_pair", "xception"]

EPS = 1e-3
"""What these networks add to a variance."""


def separable_pair(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> list[nn.Module]:
    """A depthwise convolution and a 1x1 convolution, with nothing between them.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the depthwise filters, an odd number.
        stride: of the depthwise filters.

    Returns:
        the layers, for a Sequential: (N, in_channels, H, W) -> (N, out_channels, OH, OW), where OH is
        H / stride, rounded up
    """
    padding = kernel_size // 2
    return [
        nn.Conv2d(
            *(in_channels, in_channels, kernel_size, stride, padding),
            groups=in_channels,
            bias=False,
        ),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
    ]


def _normalized_pair(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [*separable_pair(in_channels, out_channels), nn.BatchNorm2d(out_channels, eps=EPS)]


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1)


class XceptionBlock(nn.Module):
    """Separable pairs with BatchNorm, ReLU before each, and a shortcut around all of them.

    (N, channels[0], H, W) -> (N, channels[-1], OH, OW)

    Args:
        channels: of the input and after each pair.
        halve: whether max-pooling follows, which halves H and W (rounded up), and a 1x1 convolution
            of stride 2 does the same on the shortcut. Without, nothing is on the shortcut.
        relu_first: whether the block starts with ReLU; not where the layer before it ended in one.

    Raises:
        ValueError: for an input that cannot be added to the output.
    """

    def __init__(self, channels: Sequence[int], halve: bool = False, relu_first: bool = True):
        super().__init__()
        if not halve and channels[0] != channels[-1]:
            raise ValueError(
                "XceptionBlock: channels: a block that does not halve adds its input to its output, and so needs "
                f"the same number first and last, got {tuple(channels)}"
            )
        layers, shortcut = [], []
        for pair in pairwise(channels):
            layers += [nn.ReLU(), *_normalized_pair(*pair)]
        if not relu_first:
            layers = layers[1:]
        if halve:
            layers.append(_halve())
            shortcut = conv_norm(channels[0], channels[-1], 1, 2, activation=None, eps=EPS)
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        return self.body(x) + self.shortcut(x)


def xception(
    num_classes: int = 1000,
    in_channels: int = 3,
    middle_blocks: int = 8,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """Xception: 22,855,952 parameters, and 22,910,480 numbers with running statistics.

    Args:
        num_classes: length of the output.
        in_channels: channels of the image.
        middle_blocks: how many blocks keep the size; fewer make a smaller network.
        dropout: probability before the dense layer.
        small_images: the stem keeps the size, for images of 32x32 or 28x28 pixels.

    Raises:
        ValueError: for a negative number of blocks.
    """
    if middle_blocks < 0:
        raise ValueError(
            f"xception: middle_blocks: expected a number of at least 0, got {middle_blocks}"
        )
    stride, padding = (1, 1) if small_images else (2, 0)
    network = nn.Sequential(
        {
            "stem": nn.Sequential(
                *conv_norm(in_channels, 32, 3, stride, padding, eps=EPS),  # (N, 32, 149, 149)
                *conv_norm(32, 64, 3, padding=padding, eps=EPS),  # (N, 64, 147, 147)
            ),
            "entry": nn.Sequential(
                XceptionBlock((64, 128, 128), halve=True, relu_first=False),  # (N, 128, 74, 74)
                XceptionBlock((128, 256, 256), halve=True),  # (N, 256, 37, 37)
                XceptionBlock((256, 728, 728), halve=True),  # (N, 728, 19, 19)
            ),
            "middle": nn.Sequential(*[XceptionBlock((728,) * 4) for _ in range(middle_blocks)]),
            "exit": nn.Sequential(
                XceptionBlock((728, 728, 1024), halve=True),  # (N, 1024, 10, 10)
                *_normalized_pair(1024, 1536),
                nn.ReLU(),
                *_normalized_pair(1536, 2048),
                nn.ReLU(),
            ),
            "pool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),  # (N, 2048)
            "dropout": nn.Dropout(dropout),
            "classifier": nn.Linear(2048, num_classes),
        }
    )
    initialize(network)
    return network


class PreactivatedBlock(nn.Module):
    """Two separable pairs, BatchNorm and ReLU before each, then halved; a 1x1 convolution on the shortcut.

    (N, in_channels, H, W) -> (N, out_channels, OH, OW), where OH is H / 2, rounded up

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(in_channels, eps=EPS),
            nn.ReLU(),
            *separable_pair(in_channels, out_channels),
            nn.BatchNorm2d(out_channels, eps=EPS),
            nn.ReLU(),
            *separable_pair(out_channels, out_channels),
            _halve(),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        return self.body(x) + self.shortcut(x)


def mini_xception(
    num_classes: int = 1,
    in_channels: int = 3,
    channels: Sequence[int] = (32, 64, 128, 256, 512),
    dropout: float = 0.5,
) -> nn.Sequential:
    """The small Xception: 718,849 parameters, and 721,857 numbers with running statistics.

    Args:
        num_classes: length of the output; 1 is the score of "cat or dog", for BCEWithLogitsLoss.
        in_channels: channels of the image, whose pixels are in [0, 1].
        channels: of each block.
        dropout: probability before the dense layer.
    """
    network = nn.Sequential(
        {
            "stem": nn.Conv2d(in_channels, 32, 5, bias=False),  # (N, 32, 176, 176)
            "blocks": nn.Sequential(
                *[PreactivatedBlock(*pair) for pair in pairwise((32, *channels))]
            ),  # (N, 512, 6, 6)
            "pool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),  # (N, 512)
            "dropout": nn.Dropout(dropout),
            "classifier": nn.Linear((32, *channels)[-1], num_classes),
        }
    )
    initialize(network)
    return network
