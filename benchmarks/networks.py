"""The networks that are timed, each written once for PyTorch and for minicnn.

A builder takes the namespace of layers, `torch.nn` or `minicnn.nn`, and makes the same layers in the
same order under the same names, so that the weights of one network fit into the other. ReLU gets
`inplace=True`, as in torchvision's networks: it saves PyTorch a pass over memory.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from minicnn.kernels.shapes import Shape


@dataclass(frozen=True)
class Network:
    """A network and how it is timed.

    Attributes:
        title: how tables call it.
        build: makes it from a namespace of layers.
        image: (C, H, W).
        batch: images a training step.
        least: PyTorch's time / ours that a training step must reach, or None.
        aim: what it should reach, or None.
        classes: number of outputs.
    """

    title: str
    build: Callable[[Any], Any]
    image: Shape
    batch: int
    least: float | None
    aim: float | None
    classes: int = 10


def mlp(nn: ModuleType) -> Any:
    """Dense network 784-256-64-10, as `minicnn.models.mlp`."""
    return nn.Sequential(
        nn.Flatten(),  # (N, 784)
        nn.Linear(784, 256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, 10),  # (N, 10)
    )


def first_cnn(nn: ModuleType) -> Any:
    """Three convolutions and a small dense head, as `minicnn.models.first_cnn`."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),  # (N, 8, 13, 13)
        nn.Conv2d(8, 16, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),  # (N, 16, 5, 5)
        nn.Conv2d(16, 32, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),  # (N, 288)
        nn.Linear(288, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, 10),  # (N, 10)
    )


def lenet5(nn: ModuleType) -> Any:
    """LeNet-5 as courses build it, with ReLU and max-pooling: `minicnn.models.lenet5`."""
    return _lenet(nn, lambda: nn.ReLU(inplace=True), nn.MaxPool2d)


def lenet5_sigmoid(nn: ModuleType) -> Any:
    """LeNet-5 nearer to the paper of 1998, with sigmoids and average pooling."""
    return _lenet(nn, nn.Sigmoid, nn.AvgPool2d)


def _lenet(nn: ModuleType, activation: Callable[[], Any], pool: Callable[[int], Any]) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        activation(),
        pool(2),  # (N, 6, 14, 14)
        nn.Conv2d(6, 16, 5),
        activation(),
        pool(2),  # (N, 16, 5, 5)
        nn.Flatten(),  # (N, 400)
        nn.Linear(400, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, 10),  # (N, 10)
    )


def conv_norm_relu(
    nn: ModuleType, C: int, K: int, size: int = 3, stride: int = 1, groups: int = 1
) -> list[Any]:
    """Convolution, BatchNorm, ReLU; a padding that keeps the size at stride 1."""
    return [
        nn.Conv2d(C, K, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(K),
        nn.ReLU(inplace=True),
    ]


def vgg_like(nn: ModuleType) -> Any:
    """Three pairs of convolutions, 32-64-128 channels, with BatchNorm after each of them."""
    return nn.Sequential(
        *conv_norm_relu(nn, 1, 32),
        *conv_norm_relu(nn, 32, 32),
        nn.MaxPool2d(2),  # (N, 32, 14, 14)
        *conv_norm_relu(nn, 32, 64),
        *conv_norm_relu(nn, 64, 64),
        nn.MaxPool2d(2),  # (N, 64, 7, 7)
        *conv_norm_relu(nn, 64, 128),
        *conv_norm_relu(nn, 128, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # (N, 128)
        nn.Linear(128, 10),  # (N, 10)
    )


def resnet18(nn: ModuleType) -> Any:
    """ResNet-18 (He et al., arXiv 1512.03385), ten classes."""
    block = basic_block_of(nn)
    return nn.Sequential(
        *conv_norm_relu(nn, 3, 64, size=7, stride=2),
        nn.MaxPool2d(3, 2, 1),  # (N, 64, H / 4, W / 4)
        block(64, 64),
        block(64, 64),
        block(64, 128, stride=2),
        block(128, 128),
        block(128, 256, stride=2),
        block(256, 256),
        block(256, 512, stride=2),
        block(512, 512),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # (N, 512)
        nn.Linear(512, 10),  # (N, 10)
    )


@functools.cache
def basic_block_of(nn: ModuleType) -> type:
    """Return the class of ResNet's block of two convolutions and a shortcut around them."""

    class BasicBlock(residual_of(nn)):
        """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))."""

        def __init__(self, C: int, K: int, stride: int = 1):
            body = nn.Sequential(
                *conv_norm_relu(nn, C, K, stride=stride),
                nn.Conv2d(K, K, 3, padding=1, bias=False),
            )
            super().__init__(body, C, K, stride)

    return BasicBlock


@functools.cache
def residual_of(nn: ModuleType) -> type:
    """Return the class of relu(norm(body(x)) + shortcut(x)), whose shortcut fits the sizes where they differ."""
    join = norm_add_relu_of(nn)

    class Residual(nn.Module):
        """`body` makes K channels of C, in steps of `stride` pixels."""

        def __init__(self, body: Any, C: int, K: int, stride: int):
            super().__init__()
            self.body = body
            self.join = join(K)
            self.shortcut = nn.Identity()
            if stride != 1 or C != K:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(C, K, 1, stride, bias=False), nn.BatchNorm2d(K)
                )

        def forward(self, x: Any) -> Any:
            return self.join(self.body(x), self.shortcut(x))

    return Residual


@functools.cache
def norm_add_relu_of(nn: ModuleType) -> type:
    """Return the class of relu(norm(x) + shortcut): each library does it in as few passes as it can."""
    if nn.__name__ == "minicnn.nn":

        class NormAddReLU(nn.BatchNorm2d):
            """BatchNorm, the sum and ReLU, in one pass forwards."""

            def forward(self, x: Any, shortcut: Any) -> Any:
                return super().forward(x, residual=shortcut, activation="relu")
    else:

        class NormAddReLU(nn.BatchNorm2d):
            """BatchNorm, the sum and ReLU, the last two in place."""

            def forward(self, x: Any, shortcut: Any) -> Any:
                return nn.functional.relu(super().forward(x).add_(shortcut), inplace=True)

    return NormAddReLU


def resnet50(nn: ModuleType) -> Any:
    """ResNet-50 (He et al., arXiv 1512.03385), with the stride in the 3x3 convolutions, as torchvision's."""
    bottleneck = bottleneck_of(nn)
    layers = [*conv_norm_relu(nn, 3, 64, size=7, stride=2), nn.MaxPool2d(3, 2, 1)]
    C = 64
    for width, blocks, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for number in range(blocks):
            layers.append(bottleneck(C, width, stride if number == 0 else 1))
            C = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 1000))


@functools.cache
def bottleneck_of(nn: ModuleType) -> type:
    """Return the class of ResNet's block of three convolutions, the middle one on few channels, and a shortcut."""

    class Bottleneck(residual_of(nn)):
        """1x1 to `width` channels, 3x3 with the stride, 1x1 to four times as many; shortcut; ReLU."""

        def __init__(self, C: int, width: int, stride: int = 1):
            K = 4 * width
            body = nn.Sequential(
                *conv_norm_relu(nn, C, width, size=1),
                *conv_norm_relu(nn, width, width, stride=stride),
                nn.Conv2d(width, K, 1, bias=False),
            )
            super().__init__(body, C, K, stride)

    return Bottleneck


def mobilenet(nn: ModuleType) -> Any:
    """MobileNet v1 (Howard et al., arXiv 1704.04861): depthwise 3x3 and 1x1 convolutions in turn."""
    channels = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
    channels += [(256, 512, 2), *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1)]
    layers = conv_norm_relu(nn, 3, 32, stride=2)
    for C, K, stride in channels:
        layers += conv_norm_relu(nn, C, C, stride=stride, groups=C)
        layers += conv_norm_relu(nn, C, K, size=1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


def vgg11(nn: ModuleType) -> Any:
    """VGG-11 without BatchNorm (Simonyan & Zisserman, arXiv 1409.1556), in torchvision's layout."""
    layers, C = [], 3
    for stage in [(64,), (128,), (256, 256), (512, 512), (512, 512)]:
        for K in stage:
            layers += [nn.Conv2d(C, K, 3, padding=1), nn.ReLU(inplace=True)]
            C = K
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),  # (N, 25088)
        nn.Linear(25088, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 1000),  # (N, 1000)
    )


GREY = (1, 28, 28)
COLOUR = (3, 224, 224)

NETWORKS = {
    "mlp": Network("dense 784-256-64-10", mlp, GREY, 64, 1.0, 1.5),
    "first_cnn": Network("first CNN (25,034)", first_cnn, GREY, 64, 2.2, 4.0),
    "lenet5": Network("LeNet-5", lenet5, GREY, 64, 2.0, 4.0),
    "lenet5_sigmoid": Network(
        "LeNet-5, sigmoid, average pooling", lenet5_sigmoid, GREY, 64, None, None
    ),
    "vgg_like": Network("VGG-like 32-64-128 with BN at 28x28", vgg_like, GREY, 64, 1.6, 2.0),
    "resnet18": Network("ResNet-18 at 96x96", resnet18, (3, 96, 96), 16, 1.5, 2.0),
    "mobilenet": Network("MobileNet v1 at 224x224", mobilenet, COLOUR, 8, 1.3, 2.0, classes=1000),
    "vgg11": Network("VGG-11 at 224x224", vgg11, COLOUR, 4, 1.3, 1.8, classes=1000),
}
