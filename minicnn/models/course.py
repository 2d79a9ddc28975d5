"""The networks of a first course on convolution, for 28 x 28 grey images (MNIST, Fashion-MNIST).

Each is a page of its own: a chain of layers with the shape after each one beside it. N is the
batch.
"""

from minicnn import nn
from minicnn.models.blocks import conv_norm
from minicnn.models.mobilenet import separable_conv


def mlp(num_classes: int = 10) -> nn.Sequential:
    """Dense network 784-256-64-10: what can be reached without looking at neighbourhoods. 218,058 parameters."""
    return nn.Sequential(
        nn.Flatten(),  # (N, 784)
        nn.Linear(784, 256),
        nn.ReLU(),  # (N, 256)
        nn.Linear(256, 64),
        nn.ReLU(),  # (N, 64)
        nn.Linear(64, num_classes),  # (N, 10)
    )


def first_cnn(num_classes: int = 10) -> nn.Sequential:
    """Three convolutions, twice halved by pooling, and a small dense head. 25,034 parameters.

    With `num_classes=1` it predicts one number, as for the rotation of a digit: 24,449 parameters.
    """
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),  # (N, 8, 26, 26)
        nn.MaxPool2d(2),  # (N, 8, 13, 13)
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),  # (N, 16, 11, 11)
        nn.MaxPool2d(2),  # (N, 16, 5, 5)
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),  # (N, 32, 3, 3)
        nn.Flatten(),  # (N, 288)
        nn.Linear(288, 64),
        nn.ReLU(),  # (N, 64)
        nn.Linear(64, num_classes),  # (N, 10)
    )


def conv_pair(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Two 3 x 3 convolutions that keep the size, then BatchNorm."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding="same"),
        nn.ReLU(),
        nn.BatchNorm2d(out_channels),
    ]


def bigger_cnn(num_classes: int = 10, dropout: float = 0.3) -> nn.Sequential:
    """Three pairs of convolutions with BatchNorm, pooling after the first two, dropout before each dense layer.

    437,026 parameters, counting the 112 running statistics of its BatchNorms.
    """
    return nn.Sequential(
        *conv_pair(1, 8),  # (N, 8, 28, 28)
        nn.MaxPool2d(2),  # (N, 8, 14, 14)
        *conv_pair(8, 16),  # (N, 16, 14, 14)
        nn.MaxPool2d(2),  # (N, 16, 7, 7)
        *conv_pair(16, 32),  # (N, 32, 7, 7)
        nn.Flatten(),  # (N, 1568)
        nn.Dropout(dropout),
        nn.Linear(1568, 256),
        nn.ReLU(),  # (N, 256)
        nn.Dropout(dropout),
        nn.Linear(256, 64),
        nn.ReLU(),  # (N, 64)
        nn.Dropout(dropout),
        nn.Linear(64, num_classes),  # (N, 10)
    )


def pointwise_cnn(num_classes: int = 10, reduced: int | None = 32) -> nn.Sequential:
    """What a 1 x 1 convolution saves: the geometry of `first_cnn`, wider, and few channels before the dense layers.

    103,518 parameters; with `reduced=None`, which leaves the 1 x 1 convolution out, 135,998: the
    dense layer after it has most of them, and its number of inputs is what the convolution halves.

    Args:
        num_classes: length of the output.
        reduced: channels after the 1 x 1 convolution.
    """
    if reduced is None:
        mixing, channels = [], 64
    else:
        mixing, channels = [nn.Conv2d(64, reduced, 1), nn.ReLU()], reduced
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),  # (N, 32, 26, 26)
        nn.MaxPool2d(2),  # (N, 32, 13, 13)
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),  # (N, 64, 11, 11)
        nn.MaxPool2d(2),  # (N, 64, 5, 5)
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),  # (N, 64, 3, 3)
        *mixing,  # (N, 32, 3, 3)
        nn.Flatten(),  # (N, 288)
        nn.Linear(channels * 9, 120),
        nn.ReLU(),  # (N, 120)
        nn.Linear(120, 84),
        nn.ReLU(),  # (N, 84)
        nn.Linear(84, num_classes),  # (N, 10)
    )


def separable_cnn(num_classes: int = 10, dropout: float = 0.3) -> nn.Sequential:
    """Pairs of separable convolutions, and no dense layer but the last: 38,314 parameters.

    With ordinary 3 x 3 convolutions in their place it would have 292,666.
    """
    return nn.Sequential(
        *conv_norm(1, 16),  # (N, 16, 28, 28)
        *separable_conv(16, 32),  # (N, 32, 28, 28)
        *separable_conv(32, 32),
        nn.MaxPool2d(2),  # (N, 32, 14, 14)
        *separable_conv(32, 64),  # (N, 64, 14, 14)
        *separable_conv(64, 64),
        nn.MaxPool2d(2),  # (N, 64, 7, 7)
        *separable_conv(64, 128),  # (N, 128, 7, 7)
        *separable_conv(128, 128),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),  # (N, 128)
        nn.Dropout(dropout),
        nn.Linear(128, num_classes),  # (N, 10)
    )
