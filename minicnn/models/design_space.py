"""Design spaces: random networks of a kind, and what their errors say about the kind.

Radosavovic et al., "Designing Network Design Spaces", arXiv 2003.13678. One network against another
says little about the ideas behind them, because either may have been tuned for longer. So draw many
networks of each kind, of equal cost; train each for a short time; and compare the distributions of
their errors. Where one kind has more good members than another, its restriction is a good one.

The paper's restrictions, one upon the other (its section 3.2):

    ANYNET_A    each of the stages has a depth, a width, a bottleneck and a group width of its own
    ANYNET_B    the bottleneck is the same in all stages
    ANYNET_C    the group width, too
    ANYNET_D    widths do not fall from stage to stage
    ANYNET_E    depths neither
    REGNET      widths lie on a line

    trials = search(ANYNET_C, error_of, count=20, limits=(1e6, 2e6), image=(1, 28, 28), num_classes=10)
    trials[0].stages                                       # the best
    fraction_below([trial.error for trial in trials], 0.2) # how many of the kind are that good
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from minicnn.models.regnet import AnyNet, Stage, regnet_stages, whole_groups
from minicnn.nn import Module
from minicnn.random import resolve

__all__ = [
    "ANYNET_A",
    "ANYNET_B",
    "ANYNET_C",
    "ANYNET_D",
    "ANYNET_E",
    "REGNET",
    "AnyNetSpace",
    "RegNetSpace",
    "Trial",
    "draw_within",
    "fraction_below",
    "multiply_adds",
    "search",
]

MOST_DRAWS = 10_000
"""After so many draws for each network that is wanted, the limits are held to be too narrow."""


class DesignSpace(Protocol):
    """A kind of networks."""

    def draw(self, generator: np.random.Generator) -> list[Stage]:
        """Return a random member."""


def _log_uniform(generator: np.random.Generator, least: int, most: int, size: int) -> np.ndarray:
    """Draw whole numbers from least to most, of which the logarithm is uniform; (size,) int64."""
    return np.exp(generator.uniform(np.log(least), np.log(most + 1), size)).astype(np.int64)


# --- the spaces ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnyNetSpace:
    """AnyNets of a number of stages.

    Attributes:
        stages: how many.
        max_depth: blocks of a stage, at most.
        max_width: channels of a stage, at most; widths are multiples of 8.
        bottlenecks: the choice for the bottleneck.
        group_widths: the choice for the group width.
        same_bottleneck: whether all stages share one.
        same_group_width: likewise.
        growing_widths: whether widths do not fall from stage to stage.
        growing_depths: whether depths do not fall, the last one excepted.
    """

    stages: int = 4
    max_depth: int = 16
    max_width: int = 1024
    bottlenecks: tuple[int, ...] = (1, 2, 4)
    group_widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    same_bottleneck: bool = False
    same_group_width: bool = False
    growing_widths: bool = False
    growing_depths: bool = False

    def draw(self, generator: np.random.Generator) -> list[Stage]:
        """Return a random member."""
        depths = _log_uniform(generator, 1, self.max_depth, self.stages)
        widths = 8 * _log_uniform(generator, 1, self.max_width // 8, self.stages)
        bottlenecks = generator.choice(self.bottlenecks, self.stages)
        group_widths = generator.choice(self.group_widths, self.stages)
        if self.same_bottleneck:
            bottlenecks[:] = bottlenecks[0]
        if self.same_group_width:
            group_widths[:] = group_widths[0]
        if self.growing_widths:
            widths.sort()
        if self.growing_depths:
            depths[:-1].sort()
        columns = (depths, widths, group_widths, bottlenecks)
        return [whole_groups(*map(int, row)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class RegNetSpace:
    """RegNets: AnyNets with widths on a line, see `regnet.regnet_stages`.

    Attributes:
        stages: how many; lines that give another number are drawn again.
        max_depth: blocks of all stages together, at most.
        max_width: w_0 and w_a, at most.
        bottlenecks: the choice for the bottleneck.
        group_widths: the choice for the group width.
    """

    stages: int = 4
    max_depth: int = 64
    max_width: int = 256
    bottlenecks: tuple[int, ...] = (1, 2, 4)
    group_widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)

    def draw(self, generator: np.random.Generator) -> list[Stage]:
        """Return a random member."""
        for _ in range(MOST_DRAWS):
            stages = regnet_stages(
                depth=int(_log_uniform(generator, self.stages, self.max_depth, 1)[0]),
                w_0=8 * int(_log_uniform(generator, 1, self.max_width // 8, 1)[0]),
                w_a=float(np.exp(generator.uniform(np.log(8), np.log(self.max_width)))),
                w_m=generator.uniform(1.5, 3),
                group_width=int(generator.choice(self.group_widths)),
                bottleneck=int(generator.choice(self.bottlenecks)),
            )
            if len(stages) == self.stages:
                return stages
        raise ValueError(
            f"{self}: none of {MOST_DRAWS} lines gave {self.stages} stages; a larger max_depth or "
            "max_width makes more of them"
        )


ANYNET_A = AnyNetSpace()
ANYNET_B = replace(ANYNET_A, same_bottleneck=True)
ANYNET_C = replace(ANYNET_B, same_group_width=True)
ANYNET_D = replace(ANYNET_C, growing_widths=True)
ANYNET_E = replace(ANYNET_D, growing_depths=True)
REGNET = RegNetSpace()


# --- cost ------------------------------------------------------------------------------------------


def multiply_adds(
    stages: Sequence[Stage],
    image: tuple[int, int, int] = (3, 224, 224),
    num_classes: int = 1000,
    stem_width: int = 32,
    small_images: bool = False,
) -> int:
    """Count an AnyNet's multiply-adds for one image, without building it.

    Args:
        stages: what the body consists of.
        image: shape (C, H, W).
        num_classes: see `AnyNet`, also for the rest.
        stem_width: of the first convolution.
        small_images: whether the stem keeps the size.
    """
    channels, H, W = image
    if not small_images:
        H, W = (H + 1) // 2, (W + 1) // 2
    total = H * W * stem_width * channels * 9
    channels = stem_width
    for stage in stages:
        inner = stage.width // stage.bottleneck
        before, H, W = H * W, (H + 1) // 2, (W + 1) // 2
        pixels = H * W
        # in each block 3x3 convolutions, then 1x1 ones that widen; before them, 1x1 that narrow
        total += stage.depth * pixels * inner * (9 * stage.group_width + stage.width)
        total += before * channels * inner  # the first block: before the image is halved
        total += (stage.depth - 1) * pixels * stage.width * inner
        total += pixels * channels * stage.width  # the projection on the first shortcut
        channels = stage.width
    return total + channels * num_classes


# --- search ----------------------------------------------------------------------------------------


def draw_within(
    space: DesignSpace,
    count: int,
    limits: tuple[float, float],
    generator: np.random.Generator,
    **form: Any,
) -> list[list[Stage]]:
    """Draw members whose cost lies within limits.

    Args:
        space: where from.
        count: how many.
        limits: the least and the most multiply-adds.
        generator: the source of chance.
        form: what else `multiply_adds` wants to know: `image`, `num_classes`, ...

    Raises:
        ValueError: if hardly any member of the space is within the limits.
    """
    least, most = limits
    found: list[list[Stage]] = []
    for _ in range(MOST_DRAWS * count):
        if len(found) == count:
            break
        stages = space.draw(generator)
        if least <= multiply_adds(stages, **form) <= most:
            found.append(stages)
    if len(found) < count:
        raise ValueError(
            f"draw_within: limits: only {len(found)} of {MOST_DRAWS * count} members of the space have "
            f"{least:,.0f} to {most:,.0f} multiply-adds, and {count} are wanted; widen the limits, or give the "
            "space a smaller max_depth and max_width"
        )
    return found


class Trial(NamedTuple):
    """One member of a space, trained.

    Attributes:
        error: what `error_of` returned, such as the share of images that are classified wrongly.
        stages: the member.
        multiply_adds: its cost.
    """

    error: float
    stages: list[Stage]
    multiply_adds: int


def search(
    space: DesignSpace,
    error_of: Callable[[Module], float],
    count: int,
    limits: tuple[float, float],
    image: tuple[int, int, int] = (3, 224, 224),
    num_classes: int = 1000,
    seed: int | np.random.Generator | None = None,
    **options: Any,
) -> list[Trial]:
    """Draw members of equal cost, train each, and put the best first.

    Args:
        space: where to search.
        error_of: takes a network with fresh weights, trains it, and returns its error.
        count: how many members.
        limits: the least and the most multiply-adds.
        image: shape of an image, (C, H, W).
        num_classes: length of the networks' output.
        seed: of the draws, or a generator; None for the global one.
        options: further ones of `AnyNet`: `stem_width`, `small_images`.

    Returns:
        the trials, the smallest error first.

    Raises:
        ValueError: see `draw_within`.
    """
    form = {"image": image, "num_classes": num_classes, **options}
    trials = []
    for stages in draw_within(space, count, limits, resolve(seed), **form):
        network = AnyNet(stages, num_classes, in_channels=image[0], **options)
        trials.append(Trial(error_of(network), stages, multiply_adds(stages, **form)))
    return sorted(trials, key=lambda trial: trial.error)


def fraction_below(errors: Sequence[float], error: float) -> float:
    """The share of errors below `error`: the distribution function F(e) of the paper's equation 1.

    Raises:
        ValueError: without any errors.
    """
    if not len(errors):
        raise ValueError("fraction_below: errors: expected at least one, got none")
    return float(np.mean(np.asarray(errors) < error))
