"""AnyNet and RegNet: networks as points in a space that can be drawn.

Radosavovic, Kosaraju, Girshick, He & Dollár, "Designing Network Design Spaces", arXiv 2003.13678.
Instead of one network, a person designs a space of networks, compares spaces by the errors of random
members (see `minicnn.models.design_space`), and narrows them. All have the same outline, AnyNet: a
stem, a body of stages that each halve the image, a head. A stage is a number of ResNeXt bottlenecks
of one width. What was left after narrowing is RegNet, whose widths lie on a line: block j starts with
w_0 + w_a j channels, and blocks of almost the same width are made a stage (section 3.3).

    AnyNet          output                               regnet_x_400mf, of 3x224x224
    stem            (N, w, H / 2, W / 2)     3x3         32x112x112
    block1          (N, w1, H / 4, W / 4)    d1 blocks   32x56x56       1 block
    block2          (N, w2, H / 8, W / 8)    d2 blocks   64x28x28       2 blocks
    block3          (N, w3, H / 16, W / 16)  d3 blocks   160x14x14      7 blocks
    block4          (N, w4, H / 32, W / 32)  d4 blocks   400x7x7        12 blocks
    mean, dense     (N, num_classes)                     1000

`regnet_x_32` is the small one of Zhang et al., "Dive into Deep Learning", section 8.8: two stages, for
grey images of 96x96.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.models.blocks import conv_norm, initialize, to_multiple
from minicnn.models.options import takes_options_of
from minicnn.nn.fusion import add_residual, chain, has_hooks

__all__ = [
    "AnyNet",
    "Stage",
    "XBlock",
    "regnet_stages",
    "regnet_x_32",
    "regnet_x_400mf",
    "whole_groups",
]


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        depth: how many, d.
        width: channels of their outputs, w.
        group_width: channels in each group of the 3x3 convolutions, g.
        bottleneck: how much fewer channels the 3x3 convolutions have than the output, b.

    Raises:
        ValueError: for a width that cannot be divided so.
    """

    depth: int
    width: int
    group_width: int
    bottleneck: int = 1

    def __post_init__(self):
        if min(self.depth, self.width, self.group_width, self.bottleneck) < 1:
            raise ValueError(f"Stage: expected numbers of at least 1, got {self}")
        if self.width % (self.bottleneck * self.group_width):
            raise ValueError(
                "Stage: expected a width that is a multiple of bottleneck * group_width = "
                f"{self.bottleneck * self.group_width}, so that the groups are whole, got {self}"
            )


class XBlock(nn.Module):
    """ResNeXt's bottleneck, RegNet's only block: (N, in_channels, H, W) -> (N, width, H / stride, W / stride).

    Args:
        in_channels: channels of the input.
        width: channels of the output.
        stride: of the 3x3 convolution, and of the projection on the shortcut.
        group_width: channels in each group of the 3x3 convolution.
        bottleneck: the inner channels are width / bottleneck.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, group_width: int, bottleneck: int = 1
    ):
        super().__init__()
        inner = width // bottleneck
        self.proj = None
        if stride != 1 or in_channels != width:
            self.proj = nn.Sequential(*conv_norm(in_channels, width, 1, stride, activation=None))
        groups = inner // group_width
        self.f = nn.Sequential(
            {
                "a": nn.Sequential(*conv_norm(in_channels, inner, 1)),  # (N, inner, H, W)
                "b": nn.Sequential(*conv_norm(inner, inner, 3, stride, groups=groups)),
                "c": nn.Sequential(*conv_norm(inner, width, 1, activation=None)),
            }
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(f(x) + shortcut): BatchNorm, sum and ReLU in one pass, unless hooks wait for f's own output."""
        shortcut = x if self.proj is None else self.proj(x)
        if has_hooks(self.f) or has_hooks(self.f.c):
            return self.activation(self.f(x) + shortcut)
        conv, norm = self.f.c
        y = chain(x, self.f.a, self.f.b, conv)  # (N, width, H / stride, W / stride)
        return add_residual(y, norm, shortcut, self.activation)


class AnyNet(nn.Sequential):
    """Stem, stages, head: (N, in_channels, H, W) -> (N, num_classes).

    Args:
        stages: what the body consists of; each stage halves the image.
        num_classes: length of the output.
        in_channels: channels of the image.
        stem_width: channels of the first convolution.
        small_images: the stem does not halve the image, for those of 32x32 or 28x28 pixels.

    Raises:
        ValueError: without stages.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        stem_width: int = 32,
        small_images: bool = False,
    ):
        if not stages:
            raise ValueError(f"AnyNet: stages: expected at least one, got {stages!r}")
        widths = [stem_width, *(stage.width for stage in stages)]
        body = {
            f"block{i}": _stage(f"block{i}", before, stage)
            for i, (before, stage) in enumerate(zip(widths, stages, strict=False), start=1)
        }
        stem = conv_norm(in_channels, stem_width, stride=1 if small_images else 2)
        super().__init__(
            {
                "stem": nn.Sequential(*stem),
                "trunk_output": nn.Sequential(body),
                "avgpool": nn.GlobalAvgPool2d(),
                "flatten": nn.Flatten(),  # (N, w4)
                "fc": nn.Linear(widths[-1], num_classes),
            }
        )
        initialize(self)


def _stage(name: str, in_channels: int, stage: Stage) -> nn.Sequential:
    """The blocks of a stage, of which the first one halves the image."""
    blocks = nn.Sequential()
    for i in range(stage.depth):
        block = XBlock(
            *(in_channels if i == 0 else stage.width, stage.width, 2 if i == 0 else 1),
            *(stage.group_width, stage.bottleneck),
        )
        blocks.add_module(f"{name}-{i}", block)
    return blocks


# --- RegNet: widths on a line ----------------------------------------------------------------------


def whole_groups(depth: int, width: int, group_width: int, bottleneck: int) -> Stage:
    """The stage nearest to these numbers whose groups are whole.

    A group is as wide as the inner channels at most; then these are rounded to a multiple of it. The
    arguments are the attributes of `Stage`.
    """
    inner = max(1, width // bottleneck)
    group_width = min(group_width, inner)
    return Stage(depth, to_multiple(inner, group_width) * bottleneck, group_width, bottleneck)


def regnet_stages(
    depth: int, w_0: float, w_a: float, w_m: float, group_width: int, bottleneck: int = 1
) -> list[Stage]:
    """Stages whose widths lie on a line, quantised (the paper's equations 2 to 4).

    Args:
        depth: number of blocks of all stages together, d.
        w_0: width at the start of the line.
        w_a: how much wider each block is than the one before.
        w_m: by what factor a stage is wider than the one before it: the line's widths are rounded to
            w_0 w_m^s for whole s.
        group_width: of all stages; a stage that is narrower has a single group.
        bottleneck: of all stages.

    Returns:
        the stages, their widths rounded to whole groups. How many follows from the line.

    Raises:
        ValueError: for a depth below 1, a line that does not start above 0 or that falls, or w_m of 1
            or less.
    """
    if depth < 1 or w_0 <= 0 or w_a < 0 or w_m <= 1:
        raise ValueError(
            "regnet_stages: expected depth >= 1, w_0 > 0, w_a >= 0 and w_m > 1, got "
            f"depth={depth}, w_0={w_0}, w_a={w_a}, w_m={w_m}"
        )
    line = w_0 + w_a * np.arange(depth)  # equation 2
    steps = np.round(np.log(line / w_0) / np.log(w_m))  # equation 3: s_j, to whole numbers
    quantised = np.round(w_0 * w_m**steps / 8).astype(int) * 8  # equation 4, to multiples of 8
    widths, depths = np.unique(quantised, return_counts=True)
    return [
        whole_groups(int(d), int(w), group_width, bottleneck)
        for d, w in zip(depths, widths, strict=True)
    ]


@takes_options_of(AnyNet)
def regnet_x_400mf(num_classes: int = 1000, **options: Any) -> AnyNet:
    """RegNetX-400MF: 5,495,976 parameters, 400 million multiply-adds; the options are those of `AnyNet`."""
    stages = regnet_stages(depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16)
    return AnyNet(stages, num_classes, **options)


@takes_options_of(AnyNet)
def regnet_x_32(num_classes: int = 10, in_channels: int = 1, **options: Any) -> AnyNet:
    """RegNetX-32 of "Dive into Deep Learning", two stages: 4 blocks of 32 channels, 6 of 80.

    The options are those of `AnyNet`.
    """
    stages = [Stage(4, 32, group_width=16), Stage(6, 80, group_width=16)]
    return AnyNet(stages, num_classes, in_channels=in_channels, **options)
