"""The state of a module: its parameters and buffers by name, given out and taken back.

A name is the path through the tree, such as "features.0.weight". Loading looks at everything before
it changes anything: names that miss, names too many, shapes that differ.
"""

import operator
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.convert import array_of
from minicnn.backend import to_device, xp_of
from minicnn.kernels import capture
from minicnn.kernels.shapes import Shape


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Stateful:
    """Saving and loading; `Module` supplies `named_children` and the registries of its members."""

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by dotted name, sharing memory with the module."""
        return OrderedDict(
            (dotted(module_name, name), tensor.detach())
            for module_name, module in self._all_named_modules()
            for name, tensor in module._own_state().items()
        )

    def _own_state(self) -> dict[str, Tensor]:
        """The parameters and buffers of this module, without those of its parts."""
        members = {**self._parameters, **self._buffers}
        return {name: tensor for name, tensor in members.items() if tensor is not None}

    def _all_named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Stateful"]]:
        """Like `named_modules`, but a shared module under each of its names: its state is stored under all."""
        yield prefix, self
        for name, part in self.named_children():
            yield from part._all_named_modules(dotted(prefix, name))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values by name into parameters and buffers, across devices; nothing changes if anything does not fit.

        Args:
            state_dict: names to tensors or arrays.
            strict: refuse missing and unexpected names; otherwise they are returned.

        Raises:
            TypeError: if `state_dict` is no mapping.
            ValueError: listing missing and unexpected names, shapes that differ, and numbers that
                the network's dtype cannot hold.
        """
        where = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping):
            hint = "; for a file, use minicnn.load_weights(model, path)"
            raise TypeError(
                f"{where}: expected a mapping of names to tensors, got {type(state_dict).__name__}"
                + (hint if isinstance(state_dict, str | os.PathLike) else "")
            )
        arrays = {name: array_of(value) for name, value in state_dict.items()}
        expected = {
            dotted(module_name, name): shape
            for module_name, module in self._all_named_modules()
            for name, shape in module._shapes_to_load(_shapes_in(arrays, module_name)).items()
        }
        missing = [name for name in expected if name not in arrays]
        unexpected = [name for name in arrays if name not in expected]
        differing = [
            f"{name}: expected shape {expected[name]}, got {array.dtype} of shape {array.shape}"
            for name, array in arrays.items()
            if name in expected
            and (array.shape != expected[name] or array.dtype.kind not in "fiub")
        ]
        problems = _first_few(differing, "of another shape")
        problems = problems or _first_few(_too_large(arrays, self.state_dict()), "too large")
        if strict:
            problems += _first_few(
                [f"missing: {name} {expected[name]}" for name in missing], "missing"
            )
            problems += _first_few([f"unexpected: {name}" for name in unexpected], "unexpected")
        if problems:
            if len(missing) == len(expected):
                problems.append("no name fits: this is the state of another network")
            raise ValueError(f"{where}: the state does not fit:\n  " + "\n  ".join(problems))
        for module_name, module in self._all_named_modules():
            module._prepare_to_load(_shapes_in(arrays, module_name))
        for name, tensor in self.state_dict().items():
            if name in arrays:
                values = to_device(arrays[name], tensor.device)
                capture.do(operator.setitem, tensor.array, ..., values)
                tensor.bump_version()
        return IncompatibleKeys(missing, unexpected)

    def _shapes_to_load(self, given: Mapping[str, Shape]) -> dict[str, Shape]:
        """The shapes that a state must have for this module alone; lazy layers decide by what is `given`."""
        return {name: tensor.shape for name, tensor in self._own_state().items()}

    def _prepare_to_load(self, given: Mapping[str, Shape]) -> None:
        """Get ready to receive a state with these shapes; lazy layers take their size from it."""


def dotted(prefix: str, name: str) -> str:
    """Return the name of a member of the module called `prefix`; the root's name is empty."""
    return f"{prefix}.{name}" if prefix else name


def _too_large(arrays: Mapping[str, Any], own: Mapping[str, Tensor]) -> list[str]:
    """Say which arrays hold finite numbers that would be infinite in the network: float64 beyond float32."""
    problems = []
    for name in [name for name in own if name in arrays]:
        array, dtype = arrays[name], own[name].dtype
        is_wider = array.dtype.kind == dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize
        if is_wider and array.size:
            xp = xp_of(array)
            largest = float(xp.abs(xp.where(xp.isfinite(array), array, 0)).max())
            if largest > float(np.finfo(dtype).max):
                problems.append(
                    f"{name}: {array.dtype} numbers of up to {largest:.3g}, which {dtype} cannot hold"
                )
    return problems


def _first_few(problems: list[str], kind: str, most: int = 8) -> list[str]:
    """Return the first problems of one kind, and how many more there are."""
    rest = len(problems) - most
    return problems if rest <= 0 else [*problems[:most], f"... and {rest} more {kind}"]


def _shapes_in(arrays: Mapping[str, Any], module_name: str) -> dict[str, Shape]:
    """Return the shapes of the arrays that belong to one module, by their names in it."""
    shapes = {}
    for full_name, array in arrays.items():
        owner, _, name = full_name.rpartition(".")
        if owner == module_name:
            shapes[name] = array.shape
    return shapes
