"""What a network finds on the way: the outputs of its layers, by name.

    features = model.features_at("layer2", "avgpool")
    found = features(images)  # {"layer2": (N, 128, H, W), "avgpool": (N, 512, 1, 1)}

A hook on each of the named layers takes down its output. A layer with a hook is not joined with its
neighbours (see `minicnn/nn/fusion.py`), so that the output is the layer's own: that of a convolution
is without the ReLU behind it. When the last of the outputs is there, the rest of the network has
nothing to add, and an exception ends the pass. It is none that `except Exception` catches, so that
it passes the handlers on its way that explain real errors.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minicnn.nn.freezing import unknown_name

if TYPE_CHECKING:
    from minicnn.nn.module import Module


class _Found(BaseException):
    """All outputs of a pass are there; its argument is the dict that holds them."""


class Observable:
    """Access to outputs of layers; `Module` supplies the tree of parts."""

    def features_at(self, *names: str) -> "Features":
        """Return a function that computes the outputs of the layers with these names.

        Args:
            names: dotted names of parts, such as "layer3", "layer3.0.conv1" or "features.5".

        Raises:
            TypeError: without names.
            ValueError: for a name that no part has, listing similar ones.
        """
        return Features(self, names)


class Features:
    """The outputs of some layers of a network; `model.features_at(...)` makes one.

    The network is called as it is, in its mode, on its device; gradients are recorded as usual, unless
    under `no_grad`. For features in inference mode use `eval()` first, or `train.extract_features`.

    Args:
        model: the network.
        names: dotted names of its parts.

    Attributes:
        model, names: the same.
    """

    def __init__(self, model: "Module", names: Sequence[str]):
        where = f"{type(model).__name__}.features_at"
        if not names:
            raise TypeError(f"{where}: expected the name of a part at least, got none")
        parts = dict(model._all_named_modules())
        for name in names:
            if not isinstance(name, str) or not name or name not in parts:
                raise ValueError(f"{where}: {unknown_name(name, parts)}")
        self.model = model
        self.names = tuple(names)

    def __call__(self, *inputs: Any) -> Any:
        """Call the network on `inputs`, up to the last of the named layers.

        Returns:
            The output of the layer if there is one name; for several a dict, name to output, in the
            order of the names. If a layer is called more than once, that of its first call.

        Raises:
            RuntimeError: if the network does not call one of the layers, as with an auxiliary
                classifier in inference mode.
        """
        found: dict[str, Any] = {}
        hooks = []
        try:
            for name in self.names:
                part = self.model.get_submodule(name)
                hooks.append(part.register_forward_hook(self._note(name, found)))
            self.model(*inputs)
        except _Found as end:
            if end.args[0] is not found:  # of another pass, around this one
                raise
        finally:
            for hook in hooks:
                hook.remove()
        missing = [name for name in self.names if name not in found]
        if missing:
            raise RuntimeError(
                f"{type(self.model).__name__}.features_at: {', '.join(missing)} was not called; a part that "
                "works in training only needs train(), and one whose forward is passed by has no output"
            )
        if len(self.names) == 1:
            return found[self.names[0]]
        return {name: found[name] for name in self.names}

    def _note(self, name: str, found: dict[str, Any]) -> Callable[..., None]:
        """Return a hook that puts the output of a layer into `found`; calls by other threads are not its business."""
        thread = threading.get_ident()

        def note(module: "Module", inputs: tuple, output: Any) -> None:
            if threading.get_ident() != thread:
                return
            found.setdefault(name, output)
            if len(found) == len(set(self.names)):
                raise _Found(found)

        return note

    def __repr__(self) -> str:
        return f"Features({type(self.model).__name__}, {', '.join(map(repr, self.names))})"
