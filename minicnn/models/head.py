"""A new head for a trained network: its last layer, for other classes.

What a network has learned about images is in all its layers but the last, which turns features into
scores for the classes of its time. For other classes a fresh layer takes the place of that one; with
`model.freeze()` before, it is the only one that learns.
"""

from minicnn import nn
from minicnn.nn import Conv2d, Linear, Module

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
        ValueError: if the last layer with weights is no Linear and no 1x1 convolution, or has no sizes
            yet; or if it is not a part of `model` but `model` itself.
    """
    name, old = _last_layer(model)
    if isinstance(old, Linear):
        new = Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        new = Conv2d(old.in_channels, num_classes, 1, bias=old.bias is not None)
    new.to(old.weight.device).to(old.weight.dtype).train(old.training)
    owner, _, last = name.rpartition(".")
    model.get_submodule(owner).add_module(last, new)
    return new


def _last_layer(model: Module) -> tuple[str, Module]:
    """Return the layer to replace, and its name."""
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, (Linear, nn.Conv1d, Conv2d, nn.ConvTranspose2d))
    ]
    name, layer = layers[-1] if layers else ("", model)
    if name and type(layer) is Linear:
        return name, layer
    if name and type(layer) is Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1:
        return name, layer
    raise ValueError(
        f"replace_head: expected a model whose last layer with weights is a Linear or a 1x1 convolution, got "
        f"{type(model).__name__} with {f'{name}: {layer!r}' if name else 'none'}; assign the new head "
        "yourself, model.NAME = nn.Linear(...); call a model with lazy layers first"
    )
