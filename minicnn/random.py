"""The one source of chance: initial weights, dropout masks, shuffling and augmentation draw from here.

`manual_seed(0)` at the start of a script makes every draw that follows repeatable, bit for bit.
"""

from numbers import Integral

import numpy as np

from minicnn.kernels import capture

_generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the global generator from `seed` and return it.

    Raises:
        TypeError, ValueError: `seed` is no whole number >= 0.
    """
    global _generator
    if not isinstance(seed, Integral) or seed < 0:  # NumPy would draw a seed for None
        kind = ValueError if isinstance(seed, Integral) else TypeError
        raise kind(f"manual_seed: seed: expected a whole number >= 0, got {seed!r}")
    _generator = np.random.default_rng(seed)
    return _generator


def generator() -> np.random.Generator:
    """Return the global generator."""
    capture.refuse("random numbers are drawn; draw them outside, or in a layer such as dropout")
    return _generator


def resolve(source: int | np.random.Generator | None) -> np.random.Generator:
    """Return the generator that `source` stands for: a seed, a generator, or None for the global one."""
    if source is None:
        return generator()
    return np.random.default_rng(source)
