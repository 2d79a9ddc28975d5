"""Inception v3.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv 1512.00567. Large
windows are taken apart: a 5x5 window sees what two 3x3 in a row see, for 25 products against 18; an
nxn window becomes 1xn and nx1, for n^2 against 2n. Where the image shrinks, pooling and strided
convolutions work side by side, so that no layer has to carry everything through a bottleneck.

    stage                     output, of 3x299x299
    Conv2d_1a to 2b           32x149x149, 32x147x147, 64x147x147
    maxpool1                  64x73x73
    Conv2d_3b, 4a             80x73x73, 192x71x71
    maxpool2                  192x35x35
    Mixed_5b to 5d            256, 288, 288x35x35     InceptionA: 5x5, and 3x3 twice
    Mixed_6a                  768x17x17               InceptionB: halves
    Mixed_6b to 6e            768x17x17               InceptionC: 7x7 as 1x7 and 7x1
    AuxLogits                 1000                    the auxiliary head, for training
    Mixed_7a                  1280x8x8                InceptionD: halves
    Mixed_7b, 7c              2048x8x8                InceptionE: 3x3 as 1x3 beside 3x1
    avgpool, fc               1000

Images must have 75x75 pixels at least, and in training with the auxiliary head 299x299. torchvision's
published weights expect pixels scaled to [-1, 1].
"""

from typing import NamedTuple

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.models.blocks import initialize, leave_out_norm_scale, naming_small_images
from minicnn.models.googlenet import BasicConv2d, Branches, in_turn
from minicnn.nn import functional as F

__all__ = [
    "InceptionA",
    "InceptionAux",
    "InceptionB",
    "InceptionC",
    "InceptionD",
    "InceptionE",
    "InceptionOutputs",
    "InceptionV3",
    "inception_v3",
]


def _mean_of_neighbours() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=1, padding=1)


class InceptionA(Branches):
    """(N, in_channels, H, W) -> (N, 224 + pool_features, H, W): windows of 1x1, 5x5, and 3x3 twice.

    Args:
        in_channels: channels of the input.
        pool_features: channels of the pooled branch.
    """

    def __init__(self, in_channels: int, pool_features: int):
        super().__init__(
            {"branch1x1": BasicConv2d(in_channels, 64, 1)},
            {
                "branch5x5_1": BasicConv2d(in_channels, 48, 1),
                "branch5x5_2": BasicConv2d(48, 64, 5, padding=2),
            },
            {
                "branch3x3dbl_1": BasicConv2d(in_channels, 64, 1),
                "branch3x3dbl_2": BasicConv2d(64, 96, 3, padding=1),
                "branch3x3dbl_3": BasicConv2d(96, 96, 3, padding=1),
            },
            {
                "pool": _mean_of_neighbours(),
                "branch_pool": BasicConv2d(in_channels, pool_features, 1),
            },
        )


class InceptionB(Branches):
    """Halve the image: (N, in_channels, H, W) -> (N, 480 + in_channels, (H - 1) // 2, (W - 1) // 2).

    Args:
        in_channels: channels of the input.
    """

    def __init__(self, in_channels: int):
        super().__init__(
            {"branch3x3": BasicConv2d(in_channels, 384, 3, stride=2)},
            {
                "branch3x3dbl_1": BasicConv2d(in_channels, 64, 1),
                "branch3x3dbl_2": BasicConv2d(64, 96, 3, padding=1),
                "branch3x3dbl_3": BasicConv2d(96, 96, 3, stride=2),
            },
            {"pool": nn.MaxPool2d(3, stride=2)},
        )


class InceptionC(Branches):
    """(N, in_channels, H, W) -> (N, 768, H, W): windows of 1x1, 7x7, and 7x7 twice, taken apart.

    Args:
        in_channels: channels of the input.
        channels_7x7: channels inside the branches with the large windows.
    """

    def __init__(self, in_channels: int, channels_7x7: int):
        c7 = channels_7x7
        super().__init__(
            {"branch1x1": BasicConv2d(in_channels, 192, 1)},
            {
                "branch7x7_1": BasicConv2d(in_channels, c7, 1),
                "branch7x7_2": BasicConv2d(c7, c7, (1, 7), padding=(0, 3)),
                "branch7x7_3": BasicConv2d(c7, 192, (7, 1), padding=(3, 0)),
            },
            {
                "branch7x7dbl_1": BasicConv2d(in_channels, c7, 1),
                "branch7x7dbl_2": BasicConv2d(c7, c7, (7, 1), padding=(3, 0)),
                "branch7x7dbl_3": BasicConv2d(c7, c7, (1, 7), padding=(0, 3)),
                "branch7x7dbl_4": BasicConv2d(c7, c7, (7, 1), padding=(3, 0)),
                "branch7x7dbl_5": BasicConv2d(c7, 192, (1, 7), padding=(0, 3)),
            },
            {"pool": _mean_of_neighbours(), "branch_pool": BasicConv2d(in_channels, 192, 1)},
        )


class InceptionD(Branches):
    """Halve the image: (N, in_channels, H, W) -> (N, 512 + in_channels, (H - 1) // 2, (W - 1) // 2).

    Args:
        in_channels: channels of the input.
    """

    def __init__(self, in_channels: int):
        super().__init__(
            {
                "branch3x3_1": BasicConv2d(in_channels, 192, 1),
                "branch3x3_2": BasicConv2d(192, 320, 3, stride=2),
            },
            {
                "branch7x7x3_1": BasicConv2d(in_channels, 192, 1),
                "branch7x7x3_2": BasicConv2d(192, 192, (1, 7), padding=(0, 3)),
                "branch7x7x3_3": BasicConv2d(192, 192, (7, 1), padding=(3, 0)),
                "branch7x7x3_4": BasicConv2d(192, 192, 3, stride=2),
            },
            {"pool": nn.MaxPool2d(3, stride=2)},
        )


class InceptionE(nn.Module):
    """(N, in_channels, H, W) -> (N, 2048, H, W): branches that end in 1x3 and 3x1 side by side.

    Args:
        in_channels: channels of the input.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 320, 1)
        self.branch3x3_1 = BasicConv2d(in_channels, 384, 1)
        self.branch3x3_2a = BasicConv2d(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 448, 1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = BasicConv2d(384, 384, (3, 1), padding=(1, 0))
        self.pool = _mean_of_neighbours()
        self.branch_pool = BasicConv2d(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all branches to `x`."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),  # 320 channels
            self.branch3x3_2a(once),  # 384, and so the next three
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(self.pool(x)),  # 192
        ]
        return cat(parts, 1)


class InceptionAux(nn.Module):
    """The auxiliary head: (N, in_channels, H, W), H and W at least 17, -> scores (N, num_classes).

    Args:
        in_channels: channels of the input.
        num_classes: length of the output.
    """

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.conv0 = BasicConv2d(in_channels, 128, 1)
        self.conv1 = BasicConv2d(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify `x`.

        Raises:
            ValueError: for an image that is too small.
        """
        if min(x.shape[2:]) < 17:
            raise ValueError(
                f"InceptionAux: expected 17x17 values a channel at least, got {x.shape}; send images of 299x299 "
                "pixels, or build the network without this head (aux_logits=False)"
            )
        x = F.avg_pool2d(x, 5, stride=3)  # (N, in_channels, 5, 5)
        x = self.conv1(self.conv0(x))  # (N, 768, 1, 1)
        return self.fc(F.global_avg_pool2d(x).flatten(1))


class InceptionOutputs(NamedTuple):
    """What Inception v3 returns in training: scores (N, num_classes), of the last layer and of the head."""

    logits: Tensor
    aux_logits: Tensor


class InceptionV3(nn.Module):
    """See the module; the arguments are those of `inception_v3`."""

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        dropout: float = 0.5,
        in_channels: int = 3,
        small_images: bool = False,
    ):
        super().__init__()
        self.aux_logits = aux_logits
        self.small_images = small_images
        stride, padding = (1, 1) if small_images else (2, 0)
        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, 32, 3, stride, padding)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3, padding=padding)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding=1)
        self.maxpool1 = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3, padding=padding)
        self.maxpool2 = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        if aux_logits:
            self.AuxLogits = InceptionAux(768, num_classes)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        """Classify images (N, in_channels, H, W); in training, with the auxiliary head if there is one."""
        with naming_small_images(x, self.small_images):
            return self._scores(x)

    def _scores(self, x: Tensor) -> Tensor | InceptionOutputs:
        x = in_turn(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3, self.maxpool1)
        x = in_turn(x, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3, self.maxpool2)  # (N, 192, 35, 35)
        x = in_turn(x, self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)  # (N, 288, 35, 35)
        x = in_turn(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        with_head = self.training and self.aux_logits
        aux = self.AuxLogits(x) if with_head else None
        x = in_turn(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)  # (N, 2048, 8, 8)
        x = self.dropout(self.avgpool(x).flatten(1))  # (N, 2048)
        logits = self.fc(x)
        return InceptionOutputs(logits, aux) if with_head else logits


def inception_v3(
    num_classes: int = 1000,
    aux_logits: bool = True,
    dropout: float = 0.5,
    in_channels: int = 3,
    norm_scale: bool = True,
    small_images: bool = False,
) -> InceptionV3:
    """Inception v3: 27,161,264 parameters, 23,834,568 without the auxiliary head.

    Keras' form, without head and without BatchNorm's scale, has 23,851,784 numbers with running
    statistics.

    Args:
        num_classes: length of the output.
        aux_logits: whether there is an auxiliary head; in training mode the network then returns
            `InceptionOutputs`.
        dropout: probability before the last layer.
        in_channels: channels of the image.
        norm_scale: whether BatchNorm has a scale, see `blocks.leave_out_norm_scale`.
        small_images: the stem keeps the size, for images of 32x32 or 28x28 pixels; they are too small
            for the auxiliary head.
    """
    network = InceptionV3(num_classes, aux_logits, dropout, in_channels, small_images)
    if not norm_scale:
        leave_out_norm_scale(network)
    return network
