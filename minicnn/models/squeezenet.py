"""SqueezeNet: as accurate as AlexNet, with a fiftieth of its parameters.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv 1602.07360. A 3 x 3 filter costs nine times as much as one of 1 x 1, and both cost in
proportion to their input channels. So a fire module first squeezes the channels with 1 x 1 filters,
then expands them with 1 x 1 and 3 x 3 filters side by side. As in Network in Network, the classes'
scores are means over the image.

For images of 224 x 224 pixels (N is the batch):

    stage          SqueezeNet 1.0           SqueezeNet 1.1
    convolution    (N, 96, 109, 109) 7 x 7  (N, 64, 111, 111) 3 x 3
    pooling        (N, 96, 54, 54)          (N, 64, 55, 55)
    fire modules   (N, 256, 54, 54)  3      (N, 128, 55, 55)  2
    pooling        (N, 256, 27, 27)         (N, 128, 27, 27)
    fire modules   (N, 512, 27, 27)  4      (N, 256, 27, 27)  2
    pooling        (N, 512, 13, 13)         (N, 256, 13, 13)
    fire modules   (N, 512, 13, 13)  1      (N, 512, 13, 13)  4
    classifier     (N, num_classes, 13, 13), (N, num_classes)
"""

from collections.abc import Sequence
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.models.options import takes_options_of
from minicnn.nn.fusion import chain

__all__ = ["Fire", "squeezenet", "squeezenet1_0", "squeezenet1_1"]


class Fire(nn.Module):
    """The fire module: (N, in_channels, H, W) -> (N, expand1x1_channels + expand3x3_channels, H, W).

    Args:
        in_channels: channels of the input.
        squeeze_channels: of the 1 x 1 convolution that comes first; few.
        expand1x1_channels: of the 1 x 1 convolution after it.
        expand3x3_channels: of the 3 x 3 convolution beside that one.
    """

    def __init__(
        self,
        in_channels: int,
        squeeze_channels: int,
        expand1x1_channels: int,
        expand3x3_channels: int,
    ):
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze_channels, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze_channels, expand1x1_channels, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze_channels, expand3x3_channels, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, expand in two ways, and join the channels."""
        squeezed = chain(x, self.squeeze, self.squeeze_activation)  # (N, squeeze_channels, H, W)
        expanded = [
            chain(squeezed, self.expand1x1, self.expand1x1_activation),
            chain(squeezed, self.expand3x3, self.expand3x3_activation),
        ]
        return cat(expanded, dim=1)


POOL = "pool"

V1_0 = (
    *(POOL, (16, 64), (16, 64), (32, 128)),
    *(POOL, (32, 128), (48, 192), (48, 192), (64, 256)),
    *(POOL, (64, 256)),
)
"""Poolings and fire modules of 1.0: to how many channels a module squeezes, and expands in each of its two ways."""

V1_1 = (
    *(POOL, (16, 64), (16, 64)),
    *(POOL, (32, 128), (32, 128)),
    *(POOL, (48, 192), (48, 192), (64, 256), (64, 256)),
)
"""Poolings come earlier here, which saves more than half of the arithmetic."""


def squeezenet(
    plan: Sequence[str | tuple[int, int]],
    channels: int,
    kernel_size: int,
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """A convolution, poolings and fire modules, and a classifier that is a convolution too.

    Args:
        plan: what follows the first convolution, such as `V1_0`.
        channels: of the first convolution.
        kernel_size: of the first convolution.
        num_classes: size of the output.
        in_channels: channels of the images.
        dropout: the probability of `nn.Dropout` before the classifier.
        small_images: for 28 x 28 or 32 x 32 images: the first filters are 3 x 3 with stride 1.
    """
    if small_images:
        features = [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
    else:
        features = [nn.Conv2d(in_channels, channels, kernel_size, stride=2), nn.ReLU()]
    for part in plan:
        if part == POOL:
            features.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        else:
            squeeze, expand = part
            features.append(Fire(channels, squeeze, expand, expand))
            channels = 2 * expand
    network = nn.Sequential(
        {
            "features": nn.Sequential(*features),  # (N, 512, 13, 13)
            "classifier": nn.Sequential(
                nn.Dropout(dropout),
                nn.Conv2d(channels, num_classes, 1),
                nn.ReLU(),  # (N, num_classes, 13, 13)
                nn.GlobalAvgPool2d(),  # (N, num_classes, 1, 1)
            ),
            "flatten": nn.Flatten(),  # (N, num_classes)
        }
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.normal_(network.classifier[1].weight, std=0.01)
    return network


@takes_options_of(squeezenet)
def squeezenet1_0(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """SqueezeNet 1.0, the paper's, 1,248,424 parameters; the options are those of `squeezenet`."""
    return squeezenet(V1_0, 96, 7, num_classes, **options)


@takes_options_of(squeezenet)
def squeezenet1_1(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """SqueezeNet 1.1, 1,235,496 parameters; the options are those of `squeezenet`."""
    return squeezenet(V1_1, 64, 3, num_classes, **options)
