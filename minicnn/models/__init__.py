"""Networks composed from the framework's parts, and a registry of them by name.

One file a family; its docstring gives the paper, the idea, and the table of shapes. Blocks, such as
`resnet.Bottleneck` or `googlenet.Inception`, are public members of their family's module.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from minicnn.models.alexnet import alexnet, zfnet
from minicnn.models.course import bigger_cnn, first_cnn, mlp, pointwise_cnn, separable_cnn
from minicnn.models.densenet import densenet121, densenet169, densenet201
from minicnn.models.efficientnet import efficientnet_lite0
from minicnn.models.googlenet import googlenet
from minicnn.models.head import replace_head
from minicnn.models.inception_resnet_v2 import inception_resnet_v2
from minicnn.models.inception_v3 import inception_v3
from minicnn.models.lenet import lenet5, lenet5_bn
from minicnn.models.mobilenet import mobilenet_v1, mobilenet_v2
from minicnn.models.nasnet import nasnet_large, nasnet_mobile
from minicnn.models.nin import nin
from minicnn.models.regnet import regnet_x_32, regnet_x_400mf
from minicnn.models.resnet import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
)
from minicnn.models.resnet_v2 import resnet50_v2, resnet101_v2, resnet152_v2
from minicnn.models.small_resnet import plain_stack, resnet_small_v1, resnet_small_v2
from minicnn.models.squeezenet import squeezenet1_0, squeezenet1_1
from minicnn.models.text import text_cnn
from minicnn.models.unet import unet
from minicnn.models.vgg import (
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from minicnn.models.xception import mini_xception, xception
from minicnn.nn import Module

_BUILDERS: dict[str, Callable[..., Module]] = {
    builder.__name__: builder
    for builder in (
        *(mlp, first_cnn, bigger_cnn, pointwise_cnn, separable_cnn, lenet5, lenet5_bn),
        *(plain_stack, resnet_small_v1, resnet_small_v2),
        *(alexnet, zfnet, nin),
        *(vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn),
        *(googlenet, inception_v3, inception_resnet_v2, xception, mini_xception),
        *(resnet18, resnet34, resnet50, resnet101, resnet152),
        *(wide_resnet50_2, resnext50_32x4d, resnext101_32x8d),
        *(resnet50_v2, resnet101_v2, resnet152_v2),
        *(densenet121, densenet169, densenet201),
        *(squeezenet1_0, squeezenet1_1, mobilenet_v1, mobilenet_v2, efficientnet_lite0),
        *(nasnet_mobile, nasnet_large, regnet_x_400mf, regnet_x_32),
        *(unet, text_cnn),
    )
}

_GREY = (
    *("mlp", "first_cnn", "bigger_cnn", "pointwise_cnn", "separable_cnn", "lenet5", "lenet5_bn"),
    *("plain_stack", "resnet_small_v1", "resnet_small_v2"),
)
_EXAMPLES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_BUILDERS, (3, 224, 224)),
    **dict.fromkeys(_GREY, (1, 28, 28)),
    **dict.fromkeys(("inception_v3", "inception_resnet_v2", "xception"), (3, 299, 299)),
    "mini_xception": (3, 180, 180),
    "nasnet_large": (3, 331, 331),
    "regnet_x_32": (1, 96, 96),
    "unet": (3, 256, 256),
    "text_cnn": (500,),
}

__all__ = ["create", "example_shape", "list_models", "replace_head", *_BUILDERS]


def list_models() -> list[str]:
    """The names that `create` understands."""
    return list(_BUILDERS)


def example_shape(name: str) -> tuple[int, ...]:
    """The shape of one example that the network `name`, built without options, is made for.

    (C, H, W) for images; (L,) for the numbers of L words. Most networks take other sizes too.

    Raises:
        ValueError: for an unknown name.
    """
    _check_name("models.example_shape", name)
    return _EXAMPLES[name]


def create(name: str, **options: Any) -> Module:
    """Build the network `name` with fresh weights; `options` go to its builder.

    Most have the options `num_classes`, `in_channels` and `small_images`; the help of each, such as
    `help(models.resnet18)`, lists all. Trained weights come from a file:
    `minicnn.load_weights(model, path)`.

    Raises:
        ValueError: for an unknown name, with those that are like it or all known ones.
        TypeError: for an option that the builder does not have.
    """
    _check_name("models.create", name)
    for option in ("pretrained", "weights"):
        if option in options:
            raise TypeError(
                f"models.create: {name} has no option {option!r}: its weights are fresh; load trained "
                "ones from a file, minicnn.load_weights(model, path)"
            )
    builder = _BUILDERS[name]
    known = inspect.signature(builder).parameters
    try:
        return builder(**options)
    except TypeError as error:
        if not options.keys() <= known.keys():
            error.add_note(f"models.create: the options of {name} are {', '.join(known)}")
        raise


def _check_name(where: str, name: str) -> None:
    """Refuse a name that is not in the registry."""
    if name in _BUILDERS:
        return
    similar = difflib.get_close_matches(str(name).lower(), _BUILDERS)
    if similar:
        raise ValueError(
            f"{where}: unknown model {name!r}; did you mean {' or '.join(map(repr, similar))}? "
            "models.list_models() has all names"
        )
    raise ValueError(f"{where}: unknown model {name!r}; known are {', '.join(_BUILDERS)}")
