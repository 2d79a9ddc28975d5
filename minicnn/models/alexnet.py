"""AlexNet, which made convolutional networks win, and ZFNet, which looked into it and mended it.

Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
2012; the channels are those of the form for one device in Krizhevsky, "One weird trick for
parallelizing convolutional neural networks", arXiv 1404.5997. Large filters find edges and colours,
overlapping poolings shrink the image, and two wide dense layers decide; ReLU and dropout made it
possible to train this.

Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", arXiv 1311.2901, made the
layers' responses visible and saw that filters of 11 x 11 every 4 pixels miss what is fine. Their
network has 7 x 7 every 2 pixels, and is AlexNet otherwise. The normalisation of neighbouring
channels is left out of both: it helps little, and no later network has it.

For images of 224 x 224 pixels (N is the batch):

    stage                AlexNet                 ZFNet
    first convolution    (N, 64, 55, 55)         (N, 96, 110, 110)
    pooling              (N, 64, 27, 27)         (N, 96, 55, 55)
    5 x 5 convolution    (N, 192, 27, 27)        (N, 256, 26, 26)
    pooling              (N, 192, 13, 13)        (N, 256, 13, 13)
    3 x 3 convolutions   384, 256, 256 channels  384, 384, 256 channels
    pooling              (N, 256, 6, 6)          (N, 256, 6, 6)
    dense                (N, 4096), (N, 4096), (N, num_classes)
"""

from minicnn import nn
from minicnn.models.blocks import PhotographNetwork

__all__ = ["alexnet", "zfnet"]


def alexnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """AlexNet, 61,100,840 parameters, for images of at least 63 x 63 pixels.

    Args:
        num_classes: size of the output.
        in_channels: channels of the images.
        dropout: the probability of `nn.Dropout` before the two hidden dense layers.
        small_images: for 28 x 28 or 32 x 32 images: the first filters are 3 x 3 with stride 1, and
            the dense layers look at 2 x 2 pixels.
    """
    if small_images:
        first, side = nn.Conv2d(in_channels, 64, 3, padding=1), 2
    else:
        first, side = nn.Conv2d(in_channels, 64, 11, stride=4, padding=2), 6
    features = nn.Sequential(
        first,
        nn.ReLU(),  # (N, 64, 55, 55)
        nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),  # (N, 192, 27, 27)
        nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),  # (N, 384, 13, 13)
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),  # (N, 256, 13, 13)
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),  # (N, 256, 13, 13)
        nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
    )
    return _with_dense_layers(features, side, num_classes, dropout, small_images)


def zfnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """ZFNet, 62,357,608 parameters; the arguments are those of `alexnet`."""
    if small_images:
        first, side = nn.Conv2d(in_channels, 96, 3, padding=1), 2
        second = nn.Conv2d(96, 256, 5, padding=2)
    else:
        first, side = nn.Conv2d(in_channels, 96, 7, stride=2, padding=1), 6
        second = nn.Conv2d(96, 256, 5, stride=2)
    features = nn.Sequential(
        first,
        nn.ReLU(),  # (N, 96, 110, 110)
        nn.MaxPool2d(3, stride=2, padding=1),  # (N, 96, 55, 55)
        second,
        nn.ReLU(),  # (N, 256, 26, 26)
        nn.MaxPool2d(3, stride=2, padding=1),  # (N, 256, 13, 13)
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),  # (N, 384, 13, 13)
        nn.Conv2d(384, 384, 3, padding=1),
        nn.ReLU(),  # (N, 384, 13, 13)
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),  # (N, 256, 13, 13)
        nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
    )
    return _with_dense_layers(features, side, num_classes, dropout, small_images)


def _with_dense_layers(
    features: nn.Sequential, side: int, num_classes: int, dropout: float, small_images: bool
) -> nn.Sequential:
    """The network that averages `features` to 256 channels of side x side pixels, and classifies them."""
    return PhotographNetwork(
        {
            "features": features,
            "avgpool": nn.AdaptiveAvgPool2d(side),  # (N, 256, 6, 6)
            "flatten": nn.Flatten(),  # (N, 9216)
            "classifier": nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(256 * side * side, 4096),
                nn.ReLU(),  # (N, 4096)
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),  # (N, 4096)
                nn.Linear(4096, num_classes),  # (N, num_classes)
            ),
        },
        small_images=small_images,
    )
