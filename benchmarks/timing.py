"""Timing by turns: what slows the machine down for a while slows down everybody."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SETTLE_SECONDS = 0.02
"""The threads of OpenMP wait for work in a busy loop before they sleep. For so long at least, and for
one call at least, a block is not timed: threads of the other library would take part of the machine."""


@dataclass(frozen=True)
class Pace:
    """How long is timed.

    Attributes:
        rounds: how often each contestant has its turn.
        block_seconds: how long one turn takes, about.
        least_calls: calls in a turn, at least.
    """

    rounds: int = 5
    block_seconds: float = 0.3
    least_calls: int = 3


@dataclass(frozen=True)
class Contestant:
    """Something that is timed.

    Attributes:
        call: what is timed.
        settle: what is called before a block, as often as needed, without being timed; None: `call`.
    """

    call: Callable[[], object]
    settle: Callable[[], object] | None = None


Samples = dict[str, list[list[float]]]
"""For each contestant, for each round, the seconds of each call."""


def alternate(contestants: Mapping[str, Contestant], pace: Pace) -> Samples:
    """Time all contestants by turns; who begins changes from round to round."""
    names = list(contestants)
    samples: Samples = {name: [] for name in names}
    for number in range(pace.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(block(contestants[name], pace))
    return samples


def block(contestant: Contestant, pace: Pace) -> list[float]:
    """Settle, then return the seconds of each of some calls."""
    end = time.perf_counter() + SETTLE_SECONDS
    settle = contestant.settle or contestant.call
    settle()
    while time.perf_counter() < end:
        settle()
    seconds: list[float] = []
    while len(seconds) < pace.least_calls or sum(seconds) < pace.block_seconds:
        start = time.perf_counter()
        contestant.call()
        seconds.append(time.perf_counter() - start)
    return seconds


def medians(samples: Samples) -> dict[str, float]:
    """The median of all calls of each contestant, in milliseconds."""
    return {name: 1e3 * float(np.median(np.concatenate(turns))) for name, turns in samples.items()}


@dataclass(frozen=True)
class Ratio:
    """The best of PyTorch's times / ours: of the medians, and the range over the rounds."""

    value: float
    low: float
    high: float


def ratio(samples: Samples, ours: str, theirs: list[str]) -> Ratio:
    """Return the quickest of `theirs` / `ours`."""
    middle = medians(samples)
    by_round = [
        min(np.median(samples[name][number]) for name in theirs) / np.median(turn)
        for number, turn in enumerate(samples[ours])
    ]
    value = min(middle[name] for name in theirs) / middle[ours]
    return Ratio(value, float(min(by_round)), float(max(by_round)))
