"""What a kernel computes and moves: the two things that its least time follows from."""

from collections.abc import Callable
from dataclasses import dataclass

FLOAT = 4
"""Bytes of a float32."""

READ, WRITE, UPDATE = range(3)


@dataclass(frozen=True)
class Traffic:
    """The arrays that a kernel goes through.

    Attributes:
        passes: "x; x -> y" means that x is read, and then read again while y is written. An array that
            stands on both sides is changed in place.
        sizes: bytes of each array.
    """

    passes: str
    sizes: dict[str, int]

    def steps(self) -> list[list[tuple[str, int]]]:
        """Return what happens in each pass, as pairs of an array and READ, WRITE or UPDATE."""
        steps = []
        for text in self.passes.split(";"):
            before, _, after = text.partition("->")
            read, written = before.split(), after.split()
            step = [(name, UPDATE if name in written else READ) for name in read]
            steps.append(step + [(name, WRITE) for name in written if name not in read])
        return steps

    @property
    def moved(self) -> int:
        """Bytes read and written by all passes together."""
        return sum(
            self.sizes[name] * (2 if kind == UPDATE else 1)
            for step in self.steps()
            for name, kind in step
        )

    @property
    def footprint(self) -> int:
        """Bytes of the arrays that take part: what a cache has to hold if nothing shall come from memory."""
        return sum(self.sizes[name] for name in self.arrays)

    @property
    def arrays(self) -> list[str]:
        """The names of the arrays that take part."""
        return sorted({name for step in self.steps() for name, _ in step})


@dataclass(frozen=True)
class Kernel:
    """A kernel on one shape.

    Attributes:
        name: how tables call it.
        family: its colour.
        flops: additions, multiplications, comparisons, divisions and roots that it asks for.
        traffic: the arrays that it cannot do without.
        make: prepares the arrays, and returns what is timed.
    """

    name: str
    family: str
    flops: float
    traffic: Traffic
    make: Callable[[], Callable[[], object]]

    @property
    def intensity(self) -> float:
        """Arithmetic for each byte that is moved."""
        return self.flops / self.traffic.moved
