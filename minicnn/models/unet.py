"""U-Net: a class for every pixel.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv
1505.04597. The encoder halves the image again and again, to see what is in it, and loses where it
is; the decoder enlarges the result step by step, and at each step gets the encoder's features of
that size beside its own (the skips), which know where. Convolutions are padded here, so that the
output has the size of the image, and BatchNorm follows them: both became usual after the paper.

For images of 256 x 256 pixels (N is the batch):

    encoder                   decoder
    (N, 64, 256, 256)   -->   (N, 64, 256, 256)   -->   (N, num_classes, 256, 256)
    (N, 128, 128, 128)  -->   (N, 128, 128, 128)
    (N, 256, 64, 64)    -->   (N, 256, 64, 64)
    (N, 512, 32, 32)    -->   (N, 512, 32, 32)
    (N, 1024, 16, 16)   -->   from here upwards
"""

from collections.abc import Sequence
from itertools import pairwise

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.models.blocks import conv_norm, initialize

__all__ = ["Decoder", "DecoderStep", "Encoder", "UNet", "double_conv", "unet"]


def double_conv(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Two 3 x 3 convolutions that keep the size, each with BatchNorm and ReLU."""
    return [*conv_norm(in_channels, out_channels), *conv_norm(out_channels, out_channels)]


class Encoder(nn.Module):
    """The way down: an image -> its features in every size, the finest first.

    Args:
        in_channels: channels of the image.
        channels: of the features, the finest first; the size is halved between them.
    """

    def __init__(self, in_channels: int, channels: Sequence[int]):
        super().__init__()
        self.steps = nn.ModuleList([nn.Sequential(*double_conv(in_channels, channels[0]))])
        for fine, coarse in pairwise(channels):
            self.steps.append(nn.Sequential(nn.MaxPool2d(2), *double_conv(fine, coarse)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features (N, channels[i], H / 2^i, W / 2^i) for each i."""
        features = []
        for step in self.steps:
            x = step(x)
            features.append(x)
        return features


class DecoderStep(nn.Module):
    """One step up: (N, coarse, H, W) and the skip (N, fine, 2 H, 2 W) -> (N, fine, 2 H, 2 W)."""

    def __init__(self, coarse: int, fine: int):
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.convolutions = nn.Sequential(*double_conv(2 * fine, fine))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Enlarge `x`, put the skip beside it, and combine them."""
        return self.convolutions(cat([skip, self.enlarge(x)], dim=1))


class Decoder(nn.Module):
    """The way up: the features of an `Encoder` with the same `channels` -> (N, channels[0], H, W)."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        upwards = pairwise(reversed(channels))
        self.steps = nn.ModuleList(DecoderStep(coarse, fine) for coarse, fine in upwards)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Go from the coarsest features to the finest."""
        *skips, x = features
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = step(x, skip)
        return x


class UNet(nn.Module):
    """Encoder, decoder, and a 1 x 1 convolution: (N, in_channels, H, W) -> (N, num_classes, H, W).

    Args:
        num_classes: scores for each pixel.
        in_channels: channels of the images.
        channels: of the features, the finest first; one more of them halves the image once more.

    Raises:
        ValueError: without any channels; in forward, for images whose height or width cannot be
            halved as often.
    """

    def __init__(self, num_classes: int, in_channels: int, channels: Sequence[int]):
        super().__init__()
        if not channels:
            raise ValueError(f"UNet: channels: expected at least one number, got {channels!r}")
        self.multiple = 2 ** (len(channels) - 1)  # what height and width must be multiples of
        self.encoder = Encoder(in_channels, channels)
        self.decoder = Decoder(channels)
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class at each pixel."""
        self._check_size(x)
        return self.head(self.decoder(self.encoder(x)))

    def _check_size(self, x: Tensor) -> None:
        """Refuse what is no batch of images, or cannot be halved without a remainder."""
        if x.ndim == 4 and all(size % self.multiple == 0 for size in x.shape[2:]):
            return
        hint = ""
        if x.ndim == 4:
            bottom, right = (-size % self.multiple for size in x.shape[2:])
            hint = f"; add rows and columns with F.pad(x, (0, {right}, 0, {bottom})), or resize the images"
        raise ValueError(
            "UNet: expected images (N, C, H, W) with H and W multiples of "
            f"{self.multiple}, because the encoder halves the size {len(self.encoder.steps) - 1} "
            f"times, got shape {x.shape}{hint}"
        )


def unet(
    num_classes: int = 2,
    in_channels: int = 3,
    channels: Sequence[int] = (64, 128, 256, 512, 1024),
) -> UNet:
    """U-Net, 31,037,698 parameters, for images whose height and width are multiples of 16.

    Args:
        num_classes: scores for each pixel.
        in_channels: channels of the images.
        channels: of the encoder's features, the finest first. With n of them, height and width must
            be multiples of 2^(n - 1).

    Raises:
        ValueError: see `UNet`.
    """
    return UNet(num_classes, in_channels, channels)
