"""Network in Network: a small dense network at every pixel, and no dense layer at the end.

Lin, Chen & Yan, "Network in Network", arXiv 1312.4400. A convolution with 1 x 1 filters is a dense
layer that is applied to each pixel by itself, so that a block can combine channels in more ways than
a weighted sum. The last block has one channel for each class, whose mean over the image is the
score: this replaces the dense layers, which hold most of AlexNet's parameters. The layers are those
of d2l.ai, section 8.3, which takes AlexNet's filter sizes.

For images of 224 x 224 pixels (N is the batch):

    stage     output             first filters of the block
    block 1   (N, 96, 54, 54)    11 x 11, stride 4
    pooling   (N, 96, 26, 26)
    block 2   (N, 256, 26, 26)   5 x 5
    pooling   (N, 256, 12, 12)
    block 3   (N, 384, 12, 12)   3 x 3
    pooling   (N, 384, 5, 5)
    block 4   (N, num_classes, 5, 5)   3 x 3
    mean      (N, num_classes)
"""

from minicnn import nn
from minicnn.models.blocks import PhotographNetwork, initialize

__all__ = ["nin", "nin_block"]


def nin_block(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """A convolution and two 1 x 1 convolutions, each with a ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1),
        nn.ReLU(),
    )


def nin(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    small_images: bool = False,
) -> nn.Sequential:
    """Network in Network, 7,439,608 parameters; d2l's, for 10 classes of grey images, has 1,992,166.

    Args:
        num_classes: size of the output.
        in_channels: channels of the images.
        dropout: the probability of `nn.Dropout` before the last block.
        small_images: for 28 x 28 or 32 x 32 images: the first filters are 5 x 5 with stride 1, as in
            the paper's networks for 32 x 32.
    """
    kernel_size, stride, padding = (5, 1, 2) if small_images else (11, 4, 0)
    network = PhotographNetwork(
        nin_block(in_channels, 96, kernel_size, stride, padding),  # (N, 96, 54, 54)
        nn.MaxPool2d(3, stride=2),  # (N, 96, 26, 26)
        nin_block(96, 256, 5, padding=2),  # (N, 256, 26, 26)
        nn.MaxPool2d(3, stride=2),  # (N, 256, 12, 12)
        nin_block(256, 384, 3, padding=1),  # (N, 384, 12, 12)
        nn.MaxPool2d(3, stride=2),  # (N, 384, 5, 5)
        nn.Dropout(dropout),
        nin_block(384, num_classes, 3, padding=1),  # (N, num_classes, 5, 5)
        nn.GlobalAvgPool2d(),  # (N, num_classes, 1, 1)
        nn.Flatten(),  # (N, num_classes)
        small_images=small_images,
    )
    initialize(network)
    return network
