"""GoogLeNet, also called Inception v1.

Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842. A block looks at its input through
windows of several sizes at once and puts the results side by side as channels; 1x1 convolutions first
reduce the channels, without which the large windows would cost too much. Two small classifiers
halfway give the early layers a gradient of their own in training, and are not used afterwards.

    stage                output, of 3x224x224
    conv1                64x112x112          7x7, stride 2
    maxpool1             64x56x56
    conv2, conv3         192x56x56           1x1 and 3x3
    maxpool2             192x28x28
    inception3a, 3b      256, 480x28x28
    maxpool3             480x14x14
    inception4a to 4e    512, 512, 512, 528, 832x14x14; the auxiliary heads stand after 4a and 4d
    maxpool4             832x7x7
    inception5a, 5b      832, 1024x7x7
    avgpool, fc          1000

This is the form with BatchNorm. The windows that are 5x5 in the paper are 3x3, as in torchvision,
whose published weights were trained so; they expect pixels scaled to [-1, 1].
"""

from collections.abc import Mapping
from typing import NamedTuple

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.kernels.shapes import IntOrPair, Padding
from minicnn.models.blocks import initialize
from minicnn.nn import functional as F

__all__ = [
    "BasicConv2d",
    "Branches",
    "GoogLeNet",
    "GoogLeNetAux",
    "GoogLeNetOutputs",
    "Inception",
    "googlenet",
    "in_turn",
]


class BasicConv2d(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU: the layer of all Inception networks.

    Args:
        in_channels: channels of the input.
        out_channels: number of filters.
        kernel_size: size of the filters.
        stride: step of the filters.
        padding: see `nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
    ):
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        norm = nn.BatchNorm2d(out_channels, eps=0.001)
        super().__init__({"conv": conv, "bn": norm, "relu": nn.ReLU()})


class Branches(nn.Module):
    """Chains of layers that all see the block's input; their results are joined along the channels.

    (N, C, H, W) -> (N, sum of the branches' channels, OH, OW)

    Args:
        branches: the layers of each branch by name, in the order in which they are called. All of
            them are members of this module.
    """

    def __init__(self, *branches: Mapping[str, nn.Module]):
        super().__init__()
        self.branches = [list(layers) for layers in branches]
        for layers in branches:
            for name, layer in layers.items():
                self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all branches to `x`."""
        return cat([in_turn(x, *map(self.get_submodule, names)) for names in self.branches], 1)


class Inception(Branches):
    """Windows of 1x1, 3x3 and 5x5 and a maximum over 3x3, side by side.

    (N, in_channels, H, W) -> (N, ch1x1 + ch3x3 + ch5x5 + pool_proj, H, W)

    Args:
        in_channels: channels of the input.
        ch1x1: channels of the 1x1 branch.
        ch3x3red: to how many channels the input of the 3x3 convolution is reduced.
        ch3x3: channels of the 3x3 branch.
        ch5x5red: to how many channels the input of the next is reduced.
        ch5x5: channels of the branch with the largest window.
        pool_proj: to how many channels the maxima are reduced.
        largest: the size of that window, 5 in the paper; see the module.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        largest: int = 3,
    ):
        middle = nn.Sequential(
            BasicConv2d(in_channels, ch3x3red, 1),
            BasicConv2d(ch3x3red, ch3x3, 3, padding=1),
        )
        large = nn.Sequential(
            BasicConv2d(in_channels, ch5x5red, 1),
            BasicConv2d(ch5x5red, ch5x5, largest, padding=largest // 2),
        )
        pooled = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            BasicConv2d(in_channels, pool_proj, 1),
        )
        super().__init__(
            {"branch1": BasicConv2d(in_channels, ch1x1, 1)},
            {"branch2": middle},
            {"branch3": large},
            {"branch4": pooled},
        )


class GoogLeNetAux(nn.Module):
    """An auxiliary head: (N, in_channels, H, W) -> scores (N, num_classes).

    Args:
        in_channels: channels of the input.
        num_classes: length of the output.
        dropout: probability before the last layer.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7):
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Classify `x`."""
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))  # (N, 128, 4, 4)
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 1024)
        return self.fc2(self.dropout(x))


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet returns in training: scores (N, num_classes), of the last layer and of both heads.

    The paper adds the heads' losses with a weight of 0.3.
    """

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class GoogLeNet(nn.Module):
    """See the module; the arguments are those of `googlenet`."""

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        in_channels: int = 3,
        small_images: bool = False,
    ):
        super().__init__()
        self.aux_logits = aux_logits
        if small_images:
            self.conv1 = BasicConv2d(in_channels, 64, 3, padding=1)
            self.maxpool1 = nn.Identity()
        else:
            self.conv1 = BasicConv2d(in_channels, 64, 7, stride=2, padding=3)
            self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        if aux_logits:
            self.aux1 = GoogLeNetAux(512, num_classes, dropout_aux)
            self.aux2 = GoogLeNetAux(528, num_classes, dropout_aux)
        self.avgpool = nn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        """Classify images (N, in_channels, H, W); in training, with the auxiliary heads if there are any."""
        with_heads = self.training and self.aux_logits
        x = in_turn(x, self.conv1, self.maxpool1, self.conv2, self.conv3, self.maxpool2)
        x = in_turn(x, self.inception3a, self.inception3b, self.maxpool3)  # (N, 480, 14, 14)
        x = self.inception4a(x)
        aux1 = self.aux1(x) if with_heads else None
        x = in_turn(x, self.inception4b, self.inception4c, self.inception4d)
        aux2 = self.aux2(x) if with_heads else None
        x = in_turn(x, self.inception4e, self.maxpool4, self.inception5a, self.inception5b)
        x = self.dropout(self.avgpool(x).flatten(1))  # (N, 1024)
        logits = self.fc(x)
        return GoogLeNetOutputs(logits, aux2, aux1) if with_heads else logits


def googlenet(
    num_classes: int = 1000,
    aux_logits: bool = True,
    dropout: float = 0.2,
    dropout_aux: float = 0.7,
    in_channels: int = 3,
    small_images: bool = False,
) -> GoogLeNet:
    """GoogLeNet: 13,004,888 parameters, 6,624,904 without the auxiliary heads.

    Args:
        num_classes: length of the output.
        aux_logits: whether there are auxiliary heads; in training mode the network then returns
            `GoogLeNetOutputs`.
        dropout: probability before the last layer.
        dropout_aux: likewise in the heads.
        in_channels: channels of the image.
        small_images: a 3x3 stem that keeps the size, for images of 32x32 or 28x28 pixels.
    """
    return GoogLeNet(num_classes, aux_logits, dropout, dropout_aux, in_channels, small_images)


def in_turn(x: Tensor, *layers: nn.Module) -> Tensor:
    """Pass `x` through the layers, one after another."""
    for layer in layers:
        x = layer(x)
    return x
