"""Inception-ResNet v2: Inception blocks that add to their input.

Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", arXiv 1602.07261. The branches of an Inception block become the residual
branch of a ResNet block: their joined result is brought to the input's channels by a 1x1
convolution, and added. With shortcuts, the network learns faster than Inception alone. With more
than 1000 filters such sums became unstable in training, all responses 0 after a while, unless the
branch was made smaller before the sum: hence the factors below (section 3.3).

    stage                 output, of 3x299x299
    stem                  192x35x35               the first layers of Inception v3
    mixed_5b              320x35x35               Inception
    block35               320x35x35               10 residual blocks, factor 0.17
    mixed_6a              1088x17x17              halves
    block17               1088x17x17              20 residual blocks, factor 0.1
    mixed_7a              2080x8x8                halves
    block8                2080x8x8                10 residual blocks, factor 0.2
    conv_7b               1536x8x8                1x1
    avgpool, dropout, fc  1000

These are the sizes of the published network, which Keras has too. The figures of the paper have
another stem, and other numbers of channels after the halvings (1154 and 2048). Images must have 75x75
pixels at least.
"""

from collections.abc import Callable

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import PhotographNetwork, initialize, leave_out_norm_scale
from minicnn.models.googlenet import BasicConv2d, Branches
from minicnn.nn import functional as F

__all__ = [
    "InceptionResidual",
    "block8",
    "block17",
    "block35",
    "inception_resnet_v2",
    "mixed_5b",
    "mixed_6a",
    "mixed_7a",
]


class InceptionResidual(nn.Module):
    """relu(x + scale * up(branches(x))), (N, channels, H, W) -> (N, channels, H, W).

    Args:
        channels: of the input and the output.
        branches: (N, channels, H, W) -> (N, joined_channels, H, W).
        joined_channels: what the branches return together.
        scale: the factor before the sum.
        activation: whether a ReLU follows the sum.
    """

    def __init__(
        self,
        channels: int,
        branches: Branches,
        joined_channels: int,
        scale: float,
        activation: bool = True,
    ):
        super().__init__()
        self.branches = branches
        self.up = nn.Conv2d(joined_channels, channels, 1)
        self.scale = scale
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`."""
        y = x + self.scale * self.up(self.branches(x))
        return F.relu(y) if self.activation else y

    def extra_repr(self) -> str:
        return f"scale={self.scale}, activation={self.activation}"


# --- residual blocks; the number is the side of the image in pixels --------------------------------


def block35(scale: float = 0.17) -> InceptionResidual:
    """Windows of 1x1, 3x3, and 3x3 twice: (N, 320, H, W) -> (N, 320, H, W)."""
    branches = Branches(
        {"one": BasicConv2d(320, 32, 1)},
        {"three_1": BasicConv2d(320, 32, 1), "three_2": BasicConv2d(32, 32, 3, padding=1)},
        {
            "twice_1": BasicConv2d(320, 32, 1),
            "twice_2": BasicConv2d(32, 48, 3, padding=1),
            "twice_3": BasicConv2d(48, 64, 3, padding=1),
        },
    )
    return InceptionResidual(320, branches, 128, scale)


def block17(scale: float = 0.1) -> InceptionResidual:
    """Windows of 1x1, and of 7x7 taken apart: (N, 1088, H, W) -> (N, 1088, H, W)."""
    branches = Branches(
        {"one": BasicConv2d(1088, 192, 1)},
        {
            "seven_1": BasicConv2d(1088, 128, 1),
            "seven_2": BasicConv2d(128, 160, (1, 7), padding=(0, 3)),
            "seven_3": BasicConv2d(160, 192, (7, 1), padding=(3, 0)),
        },
    )
    return InceptionResidual(1088, branches, 384, scale)


def block8(scale: float = 0.2, activation: bool = True) -> InceptionResidual:
    """Windows of 1x1, and of 3x3 taken apart: (N, 2080, H, W) -> (N, 2080, H, W)."""
    branches = Branches(
        {"one": BasicConv2d(2080, 192, 1)},
        {
            "three_1": BasicConv2d(2080, 192, 1),
            "three_2": BasicConv2d(192, 224, (1, 3), padding=(0, 1)),
            "three_3": BasicConv2d(224, 256, (3, 1), padding=(1, 0)),
        },
    )
    return InceptionResidual(2080, branches, 448, scale, activation)


# --- the blocks between them -----------------------------------------------------------------------


def mixed_5b() -> Branches:
    """Windows of 1x1, 5x5, 3x3 twice, and a mean: (N, 192, H, W) -> (N, 320, H, W)."""
    return Branches(
        {"one": BasicConv2d(192, 96, 1)},
        {"five_1": BasicConv2d(192, 48, 1), "five_2": BasicConv2d(48, 64, 5, padding=2)},
        {
            "twice_1": BasicConv2d(192, 64, 1),
            "twice_2": BasicConv2d(64, 96, 3, padding=1),
            "twice_3": BasicConv2d(96, 96, 3, padding=1),
        },
        {
            "pool": nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
            "pooled": BasicConv2d(192, 64, 1),
        },
    )


def mixed_6a() -> Branches:
    """Halve the image: (N, 320, H, W) -> (N, 1088, (H - 1) // 2, (W - 1) // 2)."""
    return Branches(
        {"three": BasicConv2d(320, 384, 3, stride=2)},
        {
            "twice_1": BasicConv2d(320, 256, 1),
            "twice_2": BasicConv2d(256, 256, 3, padding=1),
            "twice_3": BasicConv2d(256, 384, 3, stride=2),
        },
        {"pool": nn.MaxPool2d(3, stride=2)},
    )


def mixed_7a() -> Branches:
    """Halve the image: (N, 1088, H, W) -> (N, 2080, (H - 1) // 2, (W - 1) // 2)."""
    return Branches(
        {"narrow_1": BasicConv2d(1088, 256, 1), "narrow_2": BasicConv2d(256, 384, 3, stride=2)},
        {"wide_1": BasicConv2d(1088, 256, 1), "wide_2": BasicConv2d(256, 288, 3, stride=2)},
        {
            "twice_1": BasicConv2d(1088, 256, 1),
            "twice_2": BasicConv2d(256, 288, 3, padding=1),
            "twice_3": BasicConv2d(288, 320, 3, stride=2),
        },
        {"pool": nn.MaxPool2d(3, stride=2)},
    )


# --- the network -----------------------------------------------------------------------------------


def inception_resnet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    blocks: tuple[int, int, int] = (10, 20, 10),
    dropout: float = 0.2,
    norm_scale: bool = True,
    small_images: bool = False,
) -> nn.Sequential:
    """Inception-ResNet v2: 55,843,464 parameters.

    Keras' form, without BatchNorm's scale, has 55,873,736 numbers with running statistics.

    Args:
        num_classes: length of the output.
        in_channels: channels of the image.
        blocks: number of residual blocks in each of the three stages; fewer make a smaller network.
        dropout: probability before the last layer.
        norm_scale: whether BatchNorm has a scale, see `blocks.leave_out_norm_scale`.
        small_images: the stem keeps the size, for images of 32x32 or 28x28 pixels.

    Raises:
        ValueError: unless there are three stages of at least one block.
    """
    if len(blocks) != 3 or min(blocks) < 1:
        raise ValueError(
            f"inception_resnet_v2: blocks: expected three numbers of blocks, each at least 1, got {blocks}"
        )
    network = PhotographNetwork(
        {
            "stem": _stem(in_channels, small_images),  # (N, 192, 35, 35)
            "mixed_5b": mixed_5b(),  # (N, 320, 35, 35)
            "block35": _repeat(block35, blocks[0]),
            "mixed_6a": mixed_6a(),  # (N, 1088, 17, 17)
            "block17": _repeat(block17, blocks[1]),
            "mixed_7a": mixed_7a(),  # (N, 2080, 8, 8)
            # the last block is not scaled down, and ends without ReLU: no sum follows
            "block8": _repeat(block8, blocks[2] - 1).append(block8(scale=1.0, activation=False)),
            "conv_7b": BasicConv2d(2080, 1536, 1),  # (N, 1536, 8, 8)
            "avgpool": nn.GlobalAvgPool2d(),
            "flatten": nn.Flatten(),  # (N, 1536)
            "dropout": nn.Dropout(dropout),
            "fc": nn.Linear(1536, num_classes),
        },
        small_images=small_images,
    )
    initialize(network)
    if not norm_scale:
        leave_out_norm_scale(network)
    return network


def _stem(in_channels: int, small_images: bool) -> nn.Sequential:
    """Five convolutions that make an eighth of the side, or keep it."""
    stride, padding = (1, 1) if small_images else (2, 0)
    pools = [nn.Identity() if small_images else nn.MaxPool2d(3, stride=2) for _ in range(2)]
    return nn.Sequential(
        BasicConv2d(in_channels, 32, 3, stride, padding),  # (N, 32, 149, 149)
        BasicConv2d(32, 32, 3, padding=padding),  # (N, 32, 147, 147)
        BasicConv2d(32, 64, 3, padding=1),  # (N, 64, 147, 147)
        pools[0],  # (N, 64, 73, 73)
        BasicConv2d(64, 80, 1),  # (N, 80, 73, 73)
        BasicConv2d(80, 192, 3, padding=padding),  # (N, 192, 71, 71)
        pools[1],  # (N, 192, 35, 35)
    )


def _repeat(block: Callable[[], nn.Module], times: int) -> nn.Sequential:
    return nn.Sequential(*[block() for _ in range(times)])
