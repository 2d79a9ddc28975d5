"""How photographs have to be prepared for published weights: facts that belong to the weights.

A network trained on pictures of one size, scaled in one way, is at its best on such pictures only.
These are the recipes that the publishers measured their accuracies with; `minicnn.photograph` carries
them out.
"""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph of any size to the input of a network.

    The middle of the photograph is taken, a square that is size / resize of its shorter side, and
    brought to size x size pixels; then every channel becomes (value / 255 - mean) / std.

    Attributes:
        size: height and width of the input, in pixels.
        resize: length to which the shorter side is brought, of which the middle `size` pixels count.
        resampling: "bilinear", which averages over the pixels that become one (Pillow's, as
            torchvision uses it), or "tensorflow", see `minicnn.photograph.resize_like_tensorflow`.
        mean: of red, green and blue, between 0 and 1.
        std: likewise.
    """

    size: int
    resize: int
    resampling: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5)

TORCHVISION = Preprocessing(224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
"""For the first weights of most networks there ("IMAGENET1K_V1")."""

CONVERTED = Preprocessing(224, 256, "bilinear", HALVES, HALVES)
"""For torchvision's GoogLeNet, whose weights came from TensorFlow: it rescales its inputs itself, from
the usual mean and standard deviation to these. The networks here leave that to the preprocessing."""

CONVERTED_299 = Preprocessing(299, 342, "bilinear", HALVES, HALVES)
"""The same for Inception v3, whose images are larger."""

LITE = Preprocessing(224, 256, "tensorflow", (127 / 255,) * 3, (128 / 255,) * 3)
"""EfficientNet-Lite0, from the TensorFlow team's repository tensorflow/tpu: the crop in
models/official/efficientnet/preprocessing.py, mean and standard deviation, 127 and 128 of 255, in
lite/efficientnet_lite_builder.py beside it."""

PUBLISHED = {
    **dict.fromkeys(("alexnet", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2"), TORCHVISION),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), TORCHVISION),
    **dict.fromkeys(("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), TORCHVISION),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), TORCHVISION),
    **dict.fromkeys(("wide_resnet50_2", "resnext50_32x4d", "resnext101_32x8d"), TORCHVISION),
    **dict.fromkeys(("densenet121", "densenet169", "densenet201"), TORCHVISION),
    "regnet_x_400mf": TORCHVISION,
    "googlenet": CONVERTED,
    "inception_v3": CONVERTED_299,
    "efficientnet_lite0": LITE,
}
"""The recipe of each network in `minicnn.models` for which weights are published that it can load."""
