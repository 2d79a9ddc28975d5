"""DenseNet: every layer sees what all layers before it in its block have found.

Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", arXiv
1608.06993. A layer adds a few channels (the growth rate, k = 32) to those that it got, instead of
replacing them, so nothing has to be found twice, and the gradient reaches each layer directly. The
channels grow within a dense block; a transition between blocks halves them, and the image.
BatchNorm and ReLU stand before each convolution, because each layer needs a scaling of its own for
the same inputs.

For images of 224 x 224 pixels (N is the batch):

    stage              output in DenseNet-121   layers in 121  169  201
    convolution 7 x 7  (N, 64, 112, 112)
    pooling            (N, 64, 56, 56)
    dense block 1      (N, 256, 56, 56)                   6    6    6
    transition 1       (N, 128, 28, 28)
    dense block 2      (N, 512, 28, 28)                  12   12   12
    transition 2       (N, 256, 14, 14)
    dense block 3      (N, 1024, 14, 14)                 24   32   48
    transition 3       (N, 512, 7, 7)
    dense block 4      (N, 1024, 7, 7)                   16   32   32
    mean, dense        (N, num_classes)
"""

from collections.abc import Sequence
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.models.blocks import PhotographNetwork
from minicnn.models.options import takes_options_of

__all__ = [
    "DenseBlock",
    "DenseLayer",
    "Transition",
    "densenet",
    "densenet121",
    "densenet169",
    "densenet201",
]


class DenseLayer(nn.Sequential):
    """The new channels of one layer: (N, in_channels, H, W) -> (N, growth_rate, H, W).

    A 1 x 1 convolution first reduces the many channels to a few, on which the 3 x 3 filters work.

    Args:
        in_channels: channels of the input.
        growth_rate: number of new channels, k.
        bn_size: the 1 x 1 convolution leaves bn_size * k channels.
        drop_rate: the probability of `nn.Dropout` on the new channels.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, bn_size: int = 4, drop_rate: float = 0.0
    ):
        few = bn_size * growth_rate
        super().__init__(
            {
                "norm1": nn.BatchNorm2d(in_channels),
                "relu1": nn.ReLU(),
                "conv1": nn.Conv2d(in_channels, few, 1, bias=False),
                "norm2": nn.BatchNorm2d(few),
                "relu2": nn.ReLU(),
                "conv2": nn.Conv2d(few, growth_rate, 3, padding=1, bias=False),
                "dropout": nn.Dropout(drop_rate),
            }
        )


class DenseBlock(nn.ModuleDict):
    """A chain of dense layers: (N, in_channels, H, W) -> (N, in_channels + layers * growth_rate, H, W).

    Args:
        layers: how many.
        in_channels: channels of the input.
        growth_rate: channels that each layer adds.
        bn_size: see `DenseLayer`.
        drop_rate: see `DenseLayer`.
    """

    def __init__(
        self,
        layers: int,
        in_channels: int,
        growth_rate: int,
        bn_size: int = 4,
        drop_rate: float = 0.0,
    ):
        super().__init__(
            {
                f"denselayer{i + 1}": DenseLayer(
                    in_channels + i * growth_rate, growth_rate, bn_size, drop_rate
                )
                for i in range(layers)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Join what each layer finds to what it got."""
        for layer in self.children():
            x = cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Sequential):
    """Between blocks: (N, in_channels, H, W) -> (N, out_channels, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            {
                "norm": nn.BatchNorm2d(in_channels),
                "relu": nn.ReLU(),
                "conv": nn.Conv2d(in_channels, out_channels, 1, bias=False),
                "pool": nn.AvgPool2d(2),
            }
        )


def densenet(
    block_config: Sequence[int] = (6, 12, 24, 16),
    growth_rate: int = 32,
    num_init_features: int = 64,
    bn_size: int = 4,
    drop_rate: float = 0.0,
    num_classes: int = 1000,
    in_channels: int = 3,
    small_images: bool = False,
) -> nn.Sequential:
    """A network of dense blocks, with transitions that halve channels and image between them.

    Args:
        block_config: number of layers in each block.
        growth_rate: channels that each layer adds, k.
        num_init_features: channels of the first convolution.
        bn_size: see `DenseLayer`.
        drop_rate: see `DenseLayer`.
        num_classes: size of the output.
        in_channels: channels of the images.
        small_images: for 28 x 28 or 32 x 32 images: the first filters are 3 x 3 with stride 1, and
            no pooling follows, as in the paper's networks for 32 x 32.

    Raises:
        ValueError: without any block.
    """
    if not block_config:
        raise ValueError(
            f"densenet: block_config: expected at least one number, got {block_config}"
        )
    channels = num_init_features
    features = nn.Sequential(_stem(in_channels, channels, small_images))
    for number, layers in enumerate(block_config, start=1):
        block = DenseBlock(layers, channels, growth_rate, bn_size, drop_rate)
        features.add_module(f"denseblock{number}", block)
        channels += layers * growth_rate
        if number < len(block_config):
            features.add_module(f"transition{number}", Transition(channels, channels // 2))
            channels //= 2
    features.add_module("norm5", nn.BatchNorm2d(channels))
    features.add_module("relu5", nn.ReLU())
    network = PhotographNetwork(
        {
            "features": features,  # (N, 1024, 7, 7)
            "avgpool": nn.GlobalAvgPool2d(),  # (N, 1024, 1, 1)
            "flatten": nn.Flatten(),  # (N, 1024)
            "classifier": nn.Linear(channels, num_classes),  # (N, num_classes)
        },
        small_images=small_images,
    )
    _initialize(network)
    return network


def _stem(in_channels: int, channels: int, small_images: bool) -> dict[str, nn.Module]:
    """The layers before the first block."""
    if small_images:
        return {
            "conv0": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            "norm0": nn.BatchNorm2d(channels),
            "relu0": nn.ReLU(),
        }
    return {
        "conv0": nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False),
        "norm0": nn.BatchNorm2d(channels),
        "relu0": nn.ReLU(),  # (N, 64, 112, 112)
        "pool0": nn.MaxPool2d(3, stride=2, padding=1),  # (N, 64, 56, 56)
    }


def _initialize(network: nn.Module) -> None:
    """Draw the convolutions' weights for the activations' sake (fan in), and let the dense layer start without bias."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


@takes_options_of(densenet, given=("block_config",))
def densenet121(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """DenseNet-121, 7,978,856 parameters (8,062,504 with running statistics); the options are those of `densenet`."""
    return densenet((6, 12, 24, 16), num_classes=num_classes, **options)


@takes_options_of(densenet, given=("block_config",))
def densenet169(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """DenseNet-169, 14,149,480 parameters (14,307,880 with running statistics); see `densenet`."""
    return densenet((6, 12, 32, 32), num_classes=num_classes, **options)


@takes_options_of(densenet, given=("block_config",))
def densenet201(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """DenseNet-201, 20,013,928 parameters (20,242,984 with running statistics); see `densenet`."""
    return densenet((6, 12, 48, 32), num_classes=num_classes, **options)
