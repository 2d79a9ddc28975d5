"""A new head for a trained network: its last layer, for other classes.

What a network has learned about images is in all its layers but the last, which turns features into
scores for the classes of its time. For other classes a fresh layer takes the place of that one; with
`model.freeze()` before, it is the only one that learns.
"""

from minicnn import nn
from minicnn.nn import Conv2d, Linear, Module
from minicnn.nn.functional.checks import check_whole

__all__ = ["replace_head"]


def replace_head(model: Module, num_classes: int) -> Linear | Conv2d:
    """Put a new layer with `num_classes` outputs into the place of the last Linear or 1x1 convolution of `model`.

    The last one is meant in the order of `named_modules`, in which auxiliary classifiers come earlier;
    they are left as they are (`model.aux_logits = False` leaves them out of training). Everywhere
    else the same is done by an assignment: `model.fc = nn.Linear(512, 10)`.

    Args:
        model: the network; changed in place.
        num_classes: outputs of the new layer.

    Returns:
        The new layer, with fresh weights, on the device and of the dtype of the old one; it has a bias
        if that one had.

    Raises:
        TypeError: for a model that is none, such as a builder that was not called.
        ValueError: for less than one class; if the last layer with weights is no Linear and no 1x1
            convolution, or has no sizes yet; or if it is not a part of `model` but `model` itself.
    """
    if not isinstance(model, Module):
        raise TypeError(f"replace_head: model: expected a module, got {model!r}")
    check_whole("replace_head", num_classes=num_classes)
    if num_classes < 1:
        raise ValueError(f"replace_head: num_classes: expected a number >= 1, got {num_classes}")
    old = _last_layer(model)
    if isinstance(old, Linear):
        new = Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        new = Conv2d(old.in_channels, num_classes, 1, bias=old.bias is not None)
    new.to(old.weight.device).to(old.weight.dtype).train(old.training)
    for owner in list(model.modules()):  # a layer may stand in several places
        for name, part in list(owner.named_children()):
            if part is old:
                owner.add_module(name, new)
    return new


def _last_layer(model: Module) -> Module:
    """Return the layer to replace."""
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, (Linear, nn.Conv1d, Conv2d, nn.ConvTranspose2d))
    ]
    name, layer = layers[-1] if layers else ("", model)
    if name and type(layer) is Linear:
        return layer
    if name and type(layer) is Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer
    raise ValueError(
        f"replace_head: expected a model whose last layer with weights is a Linear or a 1x1 convolution, got "
        f"{type(model).__name__} with {f'{name}: {layer!r}' if name else 'none'}; assign the new head "
        "yourself, model.NAME = nn.Linear(...); call a model with lazy layers first"
    )
