"""Modules that hold modules: a chain, a list, a dictionary."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from minicnn.nn.fusion import steps_of
from minicnn.nn.module import Module


class _Indexed(Module):
    """What Sequential and ModuleList share: parts numbered from 0, in the manner of a Python list."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        parts = list(self)
        del parts[index]
        self._renumber(parts)

    def append(self, module: Module) -> Self:
        """Add a part at the end."""
        number = len(self)
        while str(number) in self._modules:  # a slice keeps its numbers, which may run ahead
            number += 1
        self.add_module(str(number), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several parts at the end."""
        for module in tuple(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a part before number `index`, and number all parts again."""
        parts = list(self)
        parts.insert(index, module)
        self._renumber(parts)
        return self

    def _renumber(self, parts: list[Module]) -> None:
        self._modules.clear()
        self.extend(parts)


class Sequential(_Indexed):
    """A chain: each module gets what the one before it returned.

    Takes modules in order, or one mapping of names to modules. A slice is a chain of the same
    modules under the same names.
    """

    def __init__(self, *modules: Any):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self)[index]

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a part under a name, at the end if it is a new one; see `Module.add_module`.

        Raises:
            TypeError: for None, which cannot be called in its turn.
        """
        if module is None:
            raise TypeError(
                f"{type(self).__name__}: {name!r} must be a Module, got None; leave it out, or write "
                "nn.Identity()"
            )
        super().add_module(name, module)

    def forward(self, x: Any) -> Any:
        """Pass `x` through all modules, some of them joined, see `nn.fusion`."""
        names, layers = tuple(self._modules), tuple(self._modules.values())
        for compute, part in steps_of(layers):
            try:
                x = compute(x, *layers[part])
            except Exception as error:
                error.add_note(f"which is part {names[part.start]} of a {type(self).__name__}")
                raise
        return x


class ModuleList(_Indexed):
    """A list of modules, for a forward that uses them in its own way."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        parts = list(self)[index]
        return ModuleList(parts) if isinstance(index, slice) else parts


class ModuleDict(Module):
    """A dictionary of modules, for a forward that uses them in its own way."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()
