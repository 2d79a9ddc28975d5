"""Networks composed from the framework's parts, and a registry of them by name."""

from collections.abc import Callable
from typing import Any

from minicnn.models.course import bigger_cnn, first_cnn, mlp
from minicnn.models.lenet import lenet5, lenet5_bn
from minicnn.nn import Module

__all__ = ["bigger_cnn", "create", "first_cnn", "lenet5", "lenet5_bn", "list_models", "mlp"]


_BUILDERS: dict[str, Callable[..., Module]] = {
    "mlp": mlp,
    "first_cnn": first_cnn,
    "bigger_cnn": bigger_cnn,
    "lenet5": lenet5,
    "lenet5_bn": lenet5_bn,
}


def list_models() -> list[str]:
    """The names that `create` understands."""
    return list(_BUILDERS)


def create(name: str, **options: Any) -> Module:
    """Build the network `name` with fresh weights; `options` go to its builder.

    Raises:
        ValueError: for an unknown name, listing the known ones.
    """
    if name not in _BUILDERS:
        raise ValueError(f"models.create: unknown model {name!r}; known are {', '.join(_BUILDERS)}")
    return _BUILDERS[name](**options)
