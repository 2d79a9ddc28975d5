"""LeNet-5, the network that read cheques.

LeCun et al., "Gradient-based learning applied to document recognition", 1998.
Two convolutions, each followed by a subsampling that makes the response insensitive to small
shifts, then three dense layers. This is the form that courses teach: max-pooling, ReLU, and an
ordinary last layer. On 28 x 28 images a padding of 2 gives the 32 x 32 pixels of the paper.
"""

from typing import Any

from minicnn import nn
from minicnn.models.options import takes_options_of


def lenet5(
    num_classes: int = 10, in_channels: int = 1, padding: int = 2, batch_norm: bool = False
) -> nn.Sequential:
    """LeNet-5 for 28 x 28 images (`padding=2`) or 32 x 32 images (`padding=0`).

    Without BatchNorm 61,706 parameters. With BatchNorm, after each hidden layer and before its
    activation, the biases that BatchNorm would undo are left out.
    """

    def norm_2d(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels)] if batch_norm else []

    def norm_1d(features: int) -> list[nn.Module]:
        return [nn.BatchNorm1d(features)] if batch_norm else []

    bias = not batch_norm
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=padding, bias=bias),
        *norm_2d(6),
        nn.ReLU(),  # (N, 6, 28, 28)
        nn.MaxPool2d(2),  # (N, 6, 14, 14)
        nn.Conv2d(6, 16, 5, bias=bias),
        *norm_2d(16),
        nn.ReLU(),  # (N, 16, 10, 10)
        nn.MaxPool2d(2),  # (N, 16, 5, 5)
        nn.Flatten(),  # (N, 400)
        nn.Linear(400, 120, bias=bias),
        *norm_1d(120),
        nn.ReLU(),  # (N, 120)
        nn.Linear(120, 84, bias=bias),
        *norm_1d(84),
        nn.ReLU(),  # (N, 84)
        nn.Linear(84, num_classes),  # (N, 10)
    )


@takes_options_of(lenet5, given=("batch_norm",))
def lenet5_bn(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """LeNet-5 with BatchNorm; the options are those of `lenet5`."""
    return lenet5(num_classes, batch_norm=True, **options)
