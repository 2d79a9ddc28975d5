"""What a kernel needs to divide by a number without a division; see divisor.cuh."""

import functools
from collections.abc import Iterable

import numpy as np

from .launch import struct


def members_of(*names: str) -> tuple[str, ...]:
    """The names of the members of `Divisor` in divisor.cuh, for each of several divisors."""
    return tuple(
        f"{name}_{member}" for name in names for member in ("value", "multiplier", "shift")
    )


def members(values: Iterable[int]) -> tuple[int, ...]:
    """The members of a divisor for each of the values, 1 to 2^31 - 1: they divide what is below 2^31 exactly."""
    return tuple(member for value in values for member in _members(value))


@functools.lru_cache(maxsize=4096)
def struct_of(value: int) -> np.ndarray:
    """Return a divisor as a kernel takes it."""
    return struct(members_of("by"), *_members(value), dtype=np.uint32)


def _members(value: int) -> tuple[int, int, int]:
    shift = (value - 1).bit_length()
    return value, 2**32 * (2**shift - value) // value + 1, shift
