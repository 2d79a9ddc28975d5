"""Freezing: parts of a network that training leaves as they are.

A network that was trained on many images has learned, in its first layers, edges, corners and
textures, which serve other images too (Yosinski et al., "How transferable are features in deep
neural networks?", arXiv 1411.1792). Whoever has few images of their own keeps these layers and
trains the others:

    model.freeze()         everything
    model.unfreeze("fc")   but the last layer

Two things change in training: parameters, by their gradients, and the running statistics of
BatchNorm, by every batch that goes through in training mode, gradients or not. A part whose
parameters alone were frozen would drift away with the statistics of the new images while its weights
still expect the old ones. So a part that is frozen here keeps its statistics too: its BatchNorms are
in inference mode, and `train()` does not take them out of it (Keras does the same where `trainable`
is False). `freeze(..., statistics=False)`, like PyTorch's `requires_grad_(False)`, freezes
parameters only.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from minicnn.nn.parameter import Parameter

if TYPE_CHECKING:
    from minicnn.nn.module import Module


class Freezable:
    """Freezing by name; `Module` supplies the tree of parts.

    Attributes:
        keeps_statistics: whether `train` leaves this module, and this one alone, in inference mode,
            because it was frozen.
    """

    keeps_statistics = False

    def freeze(self, *names: str, statistics: bool = True) -> int:
        """Keep parameters from being trained.

        Their `requires_grad` becomes False, and a gradient that they hold is forgotten, as an optimizer
        would still use it (and momentum and weight decay with it).

        Args:
            names: dotted names of parts ("features", "layer4.1") or of parameters ("fc.bias"); with a
                part, everything below it is frozen. Without names, the whole module.
            statistics: whether parts keep their running statistics too: modules with buffers, such as
                BatchNorm, go into inference mode and stay there until they are unfrozen.

        Returns:
            How many numbers are in the named parameters, those that were frozen before included.

        Raises:
            ValueError: for a name that is none of these, listing similar ones. Nothing is frozen then.
        """
        parts = _named("freeze", self, names)
        for parameter in (parameters := _parameters_of(parts)):
            parameter.requires_grad_(False)
            parameter.grad = None
        if statistics:
            for module in _with_buffers(parts):
                module.keeps_statistics, module.training = True, False
        return sum(parameter.numel() for parameter in parameters)

    def unfreeze(self, *names: str) -> int:
        """Let parameters be trained again, and running statistics follow the batches in training mode.

        An optimizer that was made of the trainable parameters only does not know the unfrozen ones; see
        `Optimizer.add_param_group`.

        Args:
            names: see `freeze`. BatchNorms take the mode, training or inference, of the module on which
                this is called; one on which it is called itself stays in inference mode until `train`.

        Returns:
            How many numbers are in the named parameters.

        Raises:
            ValueError: as in `freeze`.
        """
        parts = _named("unfreeze", self, names)
        for parameter in (parameters := _parameters_of(parts)):
            parameter.requires_grad_(True)
        for module in _with_buffers(parts):
            if module.keeps_statistics:
                module.keeps_statistics, module.training = False, self.training
        return sum(parameter.numel() for parameter in parameters)


def _named(where: str, root: "Module", names: Iterable[str]) -> "list[Module | Parameter]":
    """Return the parts and parameters of these names; without names, the root."""
    return [_find(where, root, name) for name in names] or [root]


def _find(where: str, root: "Module", name: str) -> "Module | Parameter":
    """Return the part or parameter of one name."""
    parts = dict(root._all_named_modules())
    if isinstance(name, str) and name != "":
        owner, _, last = name.rpartition(".")
        if name in parts:
            return parts[name]
        if owner in parts and parts[owner]._parameters.get(last) is not None:
            return parts[owner]._parameters[last]
    known = [*parts, *(known for known, _ in root.named_parameters())]
    raise ValueError(f"{type(root).__name__}.{where}: {unknown_name(name, known)}")


def unknown_name(name: object, known: Iterable[str]) -> str:
    """Return the text of an error for a name that no part has: names spelled like it, or of which it is the end."""
    if not isinstance(name, str):
        hint = "; unpack it with *" if isinstance(name, list | tuple) else ""
        return f"there is no part {name!r}: names are texts{hint}"
    known = [other for other in known if other]  # the root has the name ""
    without_dot = name.rstrip(".")  # load_weights takes beginnings of names, which may end in a dot
    similar = [other for other in known if other == without_dot or other.endswith(f".{name}")][:5]
    if not similar:
        same_depth = [other for other in known if other.count(".") == name.count(".")]
        similar = difflib.get_close_matches(name, same_depth, n=5)
    if similar:
        in_order = " or ".join(repr(other) for other in known if other in similar)
        return f"there is no part {name!r}; did you mean {in_order}?"
    outermost = dict.fromkeys(other.partition(".")[0] for other in known)
    return f"there is no part {name!r}; the parts are {', '.join(outermost) or 'none'}"


def _parameters_of(parts: "Iterable[Module | Parameter]") -> list[Parameter]:
    """Return all parameters in and below `parts`, each once."""
    found: dict[int, Parameter] = {}
    for part in parts:
        members = [part] if isinstance(part, Parameter) else part.parameters()
        found.update((id(parameter), parameter) for parameter in members)
    return list(found.values())


def _with_buffers(parts: "Iterable[Module | Parameter]") -> "Iterator[Module]":
    """Yield the modules in and below `parts` that hold buffers."""
    for part in parts:
        if not isinstance(part, Parameter):
            yield from (module for module in part.modules() if list(module.buffers(recurse=False)))
