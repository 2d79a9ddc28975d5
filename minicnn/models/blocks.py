"""What the networks of several families are made of: convolution with BatchNorm, and their initial weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.kernels.shapes import IntOrPair, pair
from minicnn.nn import init

__all__ = [
    "PhotographNetwork",
    "conv_norm",
    "initialize",
    "leave_out_norm_scale",
    "naming_small_images",
    "to_multiple",
]


class PhotographNetwork(nn.Sequential):
    """A chain of layers with the option `small_images`, which its errors name where it would help.

    Args:
        layers: names and modules, or one module after the other.
        small_images: whether it was built for them.
    """

    def __init__(self, *layers: Any, small_images: bool):
        super().__init__(*layers)
        self.small_images = small_images

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores of images, (N, C, H, W) -> (N, num_classes)."""
        with naming_small_images(x, self.small_images):
            return super().forward(x)


@contextmanager
def naming_small_images(x: Any, small_images: bool) -> Iterator[None]:
    """Where images `x` have become smaller than a window, add to the error how to build the network for these."""
    try:
        yield
    except ValueError as error:
        if not small_images and "the window is larger than the padded image" in str(error):
            shape = x.shape  # (N, C, H, W)
            error.add_note(
                f"this network is made for larger images than {shape[2]} x {shape[3]}; for such, build it with "
                "small_images=True"
            )
        raise


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: IntOrPair = 3,
    stride: IntOrPair = 1,
    padding: IntOrPair | None = None,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
    bias: bool = False,
) -> list[nn.Module]:
    """Convolution, BatchNorm and activation: the parts of a chain, `nn.Sequential(*conv_norm(3, 64))`.

    BatchNorm subtracts the mean of each channel, and with it any bias that the convolution added.
    Hence the convolution has none, unless old weights that come with one are to fit.

    Args:
        in_channels: channels of the input.
        out_channels: number of filters.
        kernel_size: size of the filters.
        stride: step of the filters.
        padding: rows and columns of zeros on each side; None for half the filter, which keeps the
            size of the image at stride 1.
        groups: number of independent channel groups; `in_channels` for a depthwise convolution.
        activation: the class of the activation, or what else makes one; None for none.
        eps: of the BatchNorm.
        bias: whether the convolution has a bias all the same.

    Returns:
        [Conv2d, BatchNorm2d, activation], or the first two.

    Raises:
        ValueError: for filters of even size and no padding, as they have no middle.
    """
    if padding is None:
        size = pair(kernel_size, "conv_norm: kernel_size")
        if size[0] % 2 == 0 or size[1] % 2 == 0:
            raise ValueError(
                f"conv_norm: kernel_size: expected odd numbers, as padding=None pads with half of them on each side, "
                f"got {kernel_size}; give the padding too"
            )
        padding = (size[0] // 2, size[1] // 2)
    layers = [
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias
        ),
        nn.BatchNorm2d(out_channels, eps=eps),
    ]
    return layers if activation is None else [*layers, activation()]


def initialize(model: nn.Module, dense_std: float = 0.01) -> None:
    """Draw new initial weights for all convolutions and dense layers in `model`; reset its BatchNorms.

    - Convolutions: normal with variance 2 / fan_out, which keeps the size of gradients on their way
      back through layers with ReLU (He et al., arXiv 1502.01852, equation 14).
    - Dense layers: normal with a small deviation, so that all classes start almost equally likely.
    - BatchNorms: scale 1, shift 0. All biases: 0.

    Args:
        model: a network, or part of one.
        dense_std: standard deviation of the dense layers' weights.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            init.normal_(layer.weight, 0.0, dense_std)
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            if layer.weight is not None:
                init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            init.zeros_(layer.bias)


def leave_out_norm_scale(network: nn.Module) -> None:
    """Remove the scale of every BatchNorm of `network`, and keep its shift.

    A convolution after a ReLU can scale its weights by itself, so that this takes nothing from what the
    network can express.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_parameter("weight", None)


def to_multiple(channels: float, multiple: int = 8) -> int:
    """Round to a multiple, at least one of it, and never down by more than a tenth."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * channels else rounded + multiple
