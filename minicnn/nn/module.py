"""The Module: a node in the tree of parts that makes up a network.

A module owns parameters, buffers (arrays that are part of its state but not learned, such as
running means) and other modules. Assigning one of these to an attribute registers it, and
everything else follows from walking the tree: all parameters for an optimizer, all arrays for a
file (see `minicnn.nn.state`), one switch between training and inference.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Self

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.capturing import clear_gradients, note_module
from minicnn.autograd.tape import RemovableHook
from minicnn.backend import as_dtype, is_device_name, to_device
from minicnn.kernels.capture import here, refuse
from minicnn.nn.features import Observable
from minicnn.nn.freezing import Freezable
from minicnn.nn.parameter import Parameter
from minicnn.nn.state import Stateful, dotted


class Members(MutableMapping):
    """The attributes of a module that are of one kind, by name.

    They lie in the module's `__dict__`, where Python finds attributes fastest: a layer asks for its
    weights in every call. What makes them parameters, or buffers, is that their names are listed.

    Args:
        attributes: the module's `__dict__`.
        names: their names, in the order of registration; a dict whose values are None, in which a name
            is found at once.
    """

    def __init__(self, attributes: dict[str, Any], names: dict[str, None]):
        self._attributes = attributes
        self._names = names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._attributes[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._names[name] = None
        self._attributes[name] = value

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        del self._attributes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Module(Stateful, Freezable, Observable):
    """Base class of all layers and networks. Subclasses create their parts in `__init__` and define `forward`.

    Attributes:
        training: whether the module is in training mode (see `train` and `eval`).
    """

    def __init__(self) -> None:
        for names in ("_parameter_names", "_buffer_names"):  # where a module is made anew
            for name in self.__dict__.get(names, ()):
                del self.__dict__[name]
        self.training = True
        self._parameter_names: dict[str, None] = {}
        self._buffer_names: dict[str, None] = {}
        self._modules: dict[str, Module | None] = OrderedDict()
        self._forward_pre_hooks: list[Callable] = []
        self._forward_hooks: list[Callable] = []

    def __copy__(self) -> Self:
        """A module with the same members, to which others can be added without the original."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__getstate__())
        for lists in ("_parameter_names", "_buffer_names", "_modules"):
            copied.__dict__[lists] = self.__dict__[lists].copy()
        return copied

    def forward(self, *inputs: Any) -> Any:
        """Compute the output; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output with `forward`, and call the hooks around it."""
        if here.active is not None:
            note_module(self)
        if self._forward_pre_hooks or self._forward_hooks:
            refuse("a module has hooks")
        if self._forward_pre_hooks:
            inputs = self._changed_inputs(inputs)
        try:
            output = self.forward(*inputs, **options)
        except Exception as error:
            if not self._modules:  # a layer; what holds it says where it stands
                error.add_note(f"in {type(self).__name__}({self.extra_repr()})")
            raise
        if self._forward_hooks:
            output = self._changed_output(inputs, output)
        return output

    def _changed_inputs(self, inputs: tuple) -> tuple:
        """Return what the hooks before forward make of its inputs."""
        for hook in tuple(self._forward_pre_hooks):  # a hook may remove itself
            changed = hook(self, inputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        return inputs

    def _changed_output(self, inputs: tuple, output: Any) -> Any:
        """Return what the hooks after forward make of its output."""
        for hook in tuple(self._forward_hooks):
            changed = hook(self, inputs, output)
            output = output if changed is None else changed
        return output

    def register_forward_pre_hook(self, hook: Callable) -> RemovableHook:
        """Call hook(module, inputs) before forward; what it returns replaces the inputs."""
        return RemovableHook(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable) -> RemovableHook:
        """Call hook(module, inputs, output) after forward; what it returns replaces the output."""
        return RemovableHook(self._forward_hooks, hook)

    # --- registration by assignment ---------------------------------------------------------------

    @property
    def _parameters(self) -> MutableMapping[str, Parameter | None]:
        return Members(self.__dict__, self._parameter_names)

    @property
    def _buffers(self) -> MutableMapping[str, Tensor | None]:
        return Members(self.__dict__, self._buffer_names)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            if "_modules" not in self.__dict__:
                raise _not_initialized(self, name)
            is_parameter = isinstance(value, Parameter)
            if is_parameter:
                self._refuse_method(name)
            self._forget(name, keep=self._parameter_names if is_parameter else self._modules)
            registry = self._parameters if is_parameter else self._modules
            registry[name] = value
            return
        kind = self._kind_of(name)
        if kind is not None and value is not None and not isinstance(value, kind):
            raise TypeError(
                f"{type(self).__name__}.{name}: expected a {kind.__name__} or None, as it is one, got "
                f"{type(value).__name__}; delete it first (del module.{name}), or change values under no_grad()"
            )
        if kind is Module:
            self._modules[name] = value
        else:
            super().__setattr__(name, value)

    def _kind_of(self, name: str) -> type | None:
        """What `name` is registered as; None for an ordinary attribute."""
        for registry, kind in (
            ("_parameter_names", Parameter),
            ("_modules", Module),
            ("_buffer_names", Tensor),
        ):
            if name in self.__dict__.get(registry, ()):
                return kind
        return None

    def __getattr__(self, name: str) -> Any:
        """Find a child module; Python calls this where `__dict__` has no such name, as it does for parameters."""
        if "_modules" not in self.__dict__:
            raise _not_initialized(self, name)
        if name in self._modules:
            return self._modules[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            super().__delattr__(name)

    def _forget(self, name: str, keep: dict[str, Any] | None = None) -> bool:
        """Remove `name` from wherever it is noted, but not from `keep`; say whether anything was removed."""
        found = False
        for place in (self.__dict__, self._parameter_names, self._buffer_names, self._modules):
            if place is not keep and name in place:
                del place[name]
                found = True
        return found

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter; None reserves the name (a layer without bias)."""
        self._register(self._parameters, Parameter, name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Add an array that is saved and moved with the module, but not learned."""
        self._register(self._buffers, Tensor, name, tensor)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a part under a name that may not be a Python identifier, such as "0"."""
        self._register(self._modules, Module, name, module)

    def _register(self, registry: MutableMapping, kind: type, name: str, value: Any) -> None:
        """Put `value` into a registry, after checks.

        Raises:
            TypeError: for a value that is not of this kind.
            ValueError: for a name that is taken, or that the dotted names of a state could not
                hold.
        """
        where = type(self).__name__
        if value is not None and not isinstance(value, kind):
            got, hint = type(value).__name__, ""
            if isinstance(value, (list, tuple)):
                hint = "; unpack it with *"
            elif isinstance(value, type):
                got, hint = f"the class {value.__name__}", f"; write {value.__name__}()"
            raise TypeError(f"{where}: {name!r} must be a {kind.__name__} or None, got {got}{hint}")
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{where}: expected a name without dots, not empty, got {name!r}")
        if registry is not self._modules:
            self._refuse_method(name)
        if name not in registry and (name in self.__dict__ or name in self._modules):
            raise ValueError(
                f"{where}: there is an attribute {name!r} already; choose another name"
            )
        registry[name] = value

    def _refuse_method(self, name: str) -> None:
        """Raise ValueError for the name of a method, which a parameter or buffer would hide."""
        if callable(getattr(type(self), name, None)):
            raise ValueError(f"{type(self).__name__}: {name!r} is a method; choose another name")

    # --- walking the tree -------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, each once, with dotted names; the module itself is called ""."""
        seen: set[Module] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            yield name, module
            children = [(dotted(name, key), part) for key, part in module.named_children()]
            stack.extend(reversed(children))

    def modules(self) -> Iterator["Module"]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The direct parts."""
        return ((name, part) for name, part in self._modules.items() if part is not None)

    def children(self) -> Iterator["Module"]:
        """The direct parts."""
        return (part for _, part in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, a shared one once."""
        return self._named_members("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, a shared one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names."""
        return self._named_members("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named_members(
        self, registry: str, prefix: str, recurse: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for module_name, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, member in getattr(module, registry).items():
                if member is not None and id(member) not in seen:
                    seen.add(id(member))
                    yield dotted(module_name, name), member

    def get_submodule(self, target: str) -> "Module":
        """The part with the dotted name `target`."""
        module = self
        for name in filter(None, target.split(".")):
            if module._modules.get(name) is None:
                raise AttributeError(
                    f"{type(self).__name__} has no part {target!r}: {name!r} is missing"
                )
            module = module._modules[name]
        return module

    def apply(self, function: Callable[["Module"], None]) -> Self:
        """Call `function` with every module, parts first; return this module."""
        for part in self.children():
            part.apply(function)
        function(self)
        return self

    # --- modes, gradients, devices ----------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and its parts to training mode: dropout drops, BatchNorm uses the batch's statistics.

        Frozen BatchNorms stay in inference mode, see `freeze`.
        """
        for module in self.modules():
            module.training = mode and not module.keeps_statistics
        return self

    def eval(self) -> Self:
        """Switch this module and its parts to inference mode; recording of gradients is not touched."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters; running statistics go on, unlike in `freeze`."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zero."""
        clear_gradients(self.parameters(), set_to_none)

    def to(self, target: Any) -> Self:
        """Move all parameters and buffers to a device ("cpu", "cuda:0"), or floating ones to a dtype, in place.

        Parameters stay the same objects, so optimizers go on. Where something goes wrong, nothing has moved.

        Raises:
            TypeError: for a dtype that is not floating-point: nothing could be learned in it.
            RuntimeError, MemoryError: for a device that cannot be used, or has no room for all of it.
        """
        is_device = is_device_name(target)
        if not is_device and as_dtype(target).kind != "f":
            raise TypeError(
                f"{type(self).__name__}.to: expected a device or a floating-point dtype, got {target!r}"
            )
        members = [*self.parameters(), *self.buffers()]
        gradients = [tensor.grad for tensor in members if tensor.grad is not None]
        tensors = (*members, *gradients)
        if is_device:
            moved = [to_device(tensor.array, target) for tensor in tensors]
        else:
            tensors = [tensor for tensor in tensors if tensor.dtype.kind == "f"]
            moved = [tensor.array.astype(target) for tensor in tensors]
        for tensor, array in zip(tensors, moved, strict=True):
            tensor.array = array
        return self

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self.to(np.float64)

    def cpu(self) -> Self:
        """Move all parameters and buffers to main memory."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> Self:
        """Move all parameters and buffers to GPU number `index`."""
        return self.to(f"cuda:{index}")

    # --- text -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The settings to show in the module's text."""
        return ""

    def __repr__(self) -> str:
        settings = self.extra_repr()
        lines = [
            f"({name}): " + repr(part).replace("\n", "\n  ") for name, part in self.named_children()
        ]
        if not lines:
            return f"{type(self).__name__}({settings})"
        lines = [settings, *lines] if settings else lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _not_initialized(module: Module, name: str) -> AttributeError:
    """The error for a module whose `__init__` did not call that of Module."""
    return AttributeError(
        f"{type(module).__name__}.{name}: call super().__init__() at the start of __init__, before "
        "anything else"
    )
