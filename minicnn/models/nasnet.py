"""NASNet-A: cells that were found by a search, stacked by hand.

Zoph, Vasudevan, Shlens & Le, "Learning Transferable Architectures for Scalable Image Recognition",
arXiv 1707.07012. A person decides on the outline: cells that keep the size, and now and then one
that halves it. What is inside a cell was left to a controller that was trained by reinforcement:
five times it chose two tensors that exist already, an operation for each, and added the results. The
two tables below, the paper's figure 4, are all that it had to say; the search took place on 32x32
images, and its cells then served for ImageNet.

A cell sees what the last cell returned ("current") and what the one before it did ("previous"), both
brought to the cell's channels by a 1x1 convolution.

    stage                  mobile, of 3x224x224    large, of 3x331x331
    stem                   32x111x111              96x165x165    conv 3x3, stride 2
    2 reduction cells      44x56x56, 88x28x28      168x83x83, 336x42x42
    4 or 6 normal cells    264x28x28               1008x42x42
    reduction cell         352x14x14               1344x21x21
    4 or 6 normal cells    528x14x14               2016x21x21
    reduction cell         704x7x7                 2688x11x11
    4 or 6 normal cells    1056x7x7                4032x11x11
    mean, dropout, dense   1000                    1000

The paper's auxiliary head and dropped paths are options. Keras, which has neither, places windows of
stride 2 one pixel further where the side of the image is even.
"""

from typing import Any, NamedTuple

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.autograd.functions import cat
from minicnn.models.blocks import conv_norm, initialize
from minicnn.models.options import takes_options_of
from minicnn.models.xception import separable_pair
from minicnn.nn import functional as F

__all__ = [
    "NORMAL",
    "REDUCTION",
    "Cell",
    "FactorizedReduction",
    "NASNet",
    "NASNetAux",
    "NASNetOutputs",
    "Recipe",
    "nasnet_large",
    "nasnet_mobile",
    "operation",
    "separable_twice",
]

EPS = 1e-3
"""What these networks add to a variance."""


class Recipe(NamedTuple):
    """What is inside a cell.

    Attributes:
        sums: for each sum the operations on its two operands, (operation, operand) twice. An operand
            is "current", "previous", or the number of an earlier sum.
        joined: what is put side by side as the cell's result.
        halves: whether the operations on "current" and "previous" have a stride of 2.
    """

    sums: tuple
    joined: tuple
    halves: bool


NORMAL = Recipe(
    sums=(
        (("separable 5x5", "current"), ("separable 3x3", "previous")),  # sum 0
        (("separable 5x5", "previous"), ("separable 3x3", "previous")),  # sum 1
        (("mean 3x3", "current"), ("identity", "previous")),  # sum 2
        (("mean 3x3", "previous"), ("mean 3x3", "previous")),  # sum 3
        (("separable 3x3", "current"), ("identity", "current")),  # sum 4
    ),
    joined=("previous", 0, 1, 2, 3, 4),
    halves=False,
)
"""The cell that keeps the size."""

REDUCTION = Recipe(
    sums=(
        (("separable 5x5", "current"), ("separable 7x7", "previous")),  # sum 0
        (("maximum 3x3", "current"), ("separable 7x7", "previous")),  # sum 1
        (("mean 3x3", "current"), ("separable 5x5", "previous")),  # sum 2
        (("mean 3x3", 0), ("identity", 1)),  # sum 3
        (("separable 3x3", 0), ("maximum 3x3", "current")),  # sum 4
    ),
    joined=(1, 2, 3, 4),
    halves=True,
)
"""The cell that halves the size."""


# --- operations ------------------------------------------------------------------------------------


def separable_twice(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Sequential:
    """ReLU, separable convolution and BatchNorm, twice; the first time with the stride.

    (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up
    """
    return nn.Sequential(
        nn.ReLU(),
        *separable_pair(in_channels, out_channels, kernel_size, stride),
        nn.BatchNorm2d(out_channels, eps=EPS),
        nn.ReLU(),
        *separable_pair(out_channels, out_channels, kernel_size),
        nn.BatchNorm2d(out_channels, eps=EPS),
    )


def operation(name: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The layers that `name` stands for, such as "mean 3x3"; only separable convolutions change the channels.

    Raises:
        ValueError: for a name of another kind.
    """
    if name == "identity":
        return nn.Identity()
    kind, _, window = name.partition(" ")
    size, _, other = window.partition("x")
    if kind not in ("separable", "mean", "maximum") or size != other or size not in ("3", "5", "7"):
        raise ValueError(
            "nasnet.operation: name: expected 'identity', or 'separable', 'mean' or 'maximum' with a window such as "
            f"'mean 3x3', got {name!r}"
        )
    side = int(size)
    if kind == "separable":
        return separable_twice(in_channels, out_channels, side, stride)
    if kind == "mean":
        return nn.AvgPool2d(side, stride, side // 2, count_include_pad=False)
    return nn.MaxPool2d(side, stride, side // 2)


def squeeze(in_channels: int, out_channels: int) -> nn.Sequential:
    """ReLU, 1x1 convolution and BatchNorm."""
    return nn.Sequential(
        nn.ReLU(), *conv_norm(in_channels, out_channels, 1, activation=None, eps=EPS)
    )


class FactorizedReduction(nn.Module):
    """Halve the image without losing every other pixel: (N, in_channels, H, W) -> (N, out_channels, OH, OW).

    A 1x1 convolution of stride 2 sees a quarter of the pixels. Here two of them have half of the
    channels each, and the second looks one pixel further to the right and below. OH is H / 2,
    rounded up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, an even number.

    Raises:
        ValueError: for an odd number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        if out_channels % 2:
            raise ValueError(
                "FactorizedReduction: out_channels: expected an even number, as two convolutions "
                f"share them, got {out_channels}"
            )
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both convolutions to relu(x)."""
        x = F.relu(x)
        further = F.pad(x, (-1, 1, -1, 1))  # without the first row and column, zeros at the end
        return self.norm(cat([self.even(x), self.odd(further)], 1))


# --- cells and networks ----------------------------------------------------------------------------


class Cell(nn.Module):
    """A cell made from its recipe.

    previous (N, previous_channels, PH, PW) and current (N, in_channels, H, W) ->
    (N, 6 channels, H, W) for `NORMAL`, (N, 4 channels, H / 2, W / 2) for `REDUCTION`

    Args:
        recipe: `NORMAL` or `REDUCTION`, or another.
        in_channels: channels of current.
        previous_channels: channels of previous.
        channels: of every sum in the cell.
        fit_previous: how previous gets the size of current: "squeeze" changes the channels,
            "halve" also the image, which has twice the side, and "keep" leaves it alone.

    Attributes:
        out_channels: channels of the result.
        drop: leaves out operations for single examples in training, at first none.
    """

    def __init__(
        self,
        recipe: Recipe,
        in_channels: int,
        previous_channels: int,
        channels: int,
        fit_previous: str = "squeeze",
    ):
        super().__init__()
        self.recipe = recipe
        self.out_channels = channels * len(recipe.joined)
        self.current = squeeze(in_channels, channels)
        self.previous = {
            "squeeze": squeeze,
            "halve": FactorizedReduction,
            "keep": lambda *_: nn.Identity(),
        }[fit_previous](previous_channels, channels)
        widths = {"previous": previous_channels if fit_previous == "keep" else channels}
        self.operations = nn.ModuleList()
        for pair in recipe.sums:
            for name, operand in pair:
                stride = 2 if recipe.halves and isinstance(operand, str) else 1
                width = widths.get(operand, channels)
                self.operations.append(operation(name, width, channels, stride))
        self.drop = nn.StochasticDepth(0.0)

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Compute the sums, and join those that the recipe names."""
        values = {"previous": self.previous(previous), "current": self.current(current)}
        operations = iter(self.operations)
        for number, pair in enumerate(self.recipe.sums):
            left, right = (self._path(next(operations), values[operand]) for _, operand in pair)
            values[number] = left + right
        return cat([values[name] for name in self.recipe.joined], 1)

    def _path(self, operation: nn.Module, x: Tensor) -> Tensor:
        """One side of a sum."""
        keeps = self.drop.p == 0 or isinstance(operation, nn.Identity)
        return operation(x) if keeps else self.drop(operation(x))


class NASNetAux(nn.Sequential):
    """Classifies from the middle of a network: (N, in_channels, H, W) -> (N, num_classes).

    `window` is the side of the second convolution, which covers what the pooling leaves: 4 pixels of 14.
    """

    def __init__(self, in_channels: int, num_classes: int, window: int):
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3),  # (N, in_channels, 4, 4)
            *conv_norm(in_channels, 128, 1, eps=EPS),
            *conv_norm(128, 768, window, padding=0, eps=EPS),  # (N, 768, 1, 1)
            nn.GlobalAvgPool2d(),
            nn.Flatten(),  # (N, 768)
            nn.Linear(768, num_classes),
        )


class NASNetOutputs(NamedTuple):
    """What NASNet returns in training with a head: scores (N, num_classes), of the last layer and of the head."""

    logits: Tensor
    aux_logits: Tensor


class NASNet(nn.Module):
    """Stages of normal cells with a reduction cell between them, (N, in_channels, H, W) -> (N, num_classes).

    Args:
        channels: of the sums in the first stage; each further stage has twice as many.
        blocks: number of normal cells in each of the three stages.
        stem_channels: channels of the first convolution.
        skip_reduction: whether the first cell after a reduction sees, as previous, what the reduction
            itself saw as previous; otherwise what it saw as current.
        num_classes: length of the output.
        in_channels: channels of the image.
        dropout: probability before the dense layer.
        small_images: for images of about 32x32: the stem keeps the size, and has no reduction cells.
        aux_logits: whether there is an auxiliary head, in front of the last reduction; in training mode the
            network then returns `NASNetOutputs`.
        aux_window: see `NASNetAux`.
        drop_path: see `set_drop_path`.

    Raises:
        ValueError: for channels that the stem cannot divide by 4 and 2, or stages without cells.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        stem_channels: int,
        skip_reduction: bool,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        small_images: bool = False,
        aux_logits: bool = False,
        aux_window: int = 4,
        drop_path: float = 0.0,
    ):
        super().__init__()
        _check(channels, blocks)
        self.aux_logits = aux_logits
        self.skip_reduction = skip_reduction
        stride, padding = (1, 1) if small_images else (2, 0)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem_channels, 3, stride, padding, bias=False),
            nn.BatchNorm2d(stem_channels, eps=EPS),
        )  # (N, stem_channels, 111, 111)
        self.stem_cells = nn.ModuleList()
        width = previous = stem_channels
        if not small_images:
            first = Cell(REDUCTION, width, width, channels // 4, "keep")
            second = Cell(REDUCTION, first.out_channels, width, channels // 2, "halve")
            self.stem_cells.extend([first, second])
            width, previous = second.out_channels, first.out_channels

        fit = "squeeze" if small_images else "halve"  # of the first cell of a stage
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage == 2 and aux_logits:
                self.aux = NASNetAux(width, num_classes, aux_window)
            for block in range(blocks + (stage > 0)):
                recipe = REDUCTION if stage > 0 and block == 0 else NORMAL
                cell = Cell(recipe, width, previous, channels * 2**stage, fit)
                self.cells.append(cell)
                if not (recipe.halves and skip_reduction):
                    previous = width
                width = cell.out_channels
                fit = "halve" if recipe.halves else "squeeze"
        self.avgpool = nn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)
        initialize(self)
        self.set_drop_path(drop_path)

    def set_drop_path(self, probability: float) -> None:
        """Set with which probability a path of the last cell is dropped in training; it rises linearly to there.

        In the paper it also rises over the time of training ("ScheduledDropPath"): call this after each
        epoch, with epoch / epochs times the final probability, such as 0.3.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"NASNet: drop_path: expected a number in [0, 1], got {probability}")
        cells = [*self.stem_cells, *self.cells]
        for number, cell in enumerate(cells, start=1):
            cell.drop = nn.StochasticDepth(probability * number / len(cells))

    def forward(self, x: Tensor) -> Tensor | NASNetOutputs:
        """Classify images; in training, with the auxiliary head if there is one."""
        previous = current = self.stem(x)
        for cell in self.stem_cells:
            previous, current = current, cell(previous, current)
        with_head = self.training and self.aux_logits
        last_reduction = [cell for cell in self.cells if cell.recipe.halves][-1]
        for cell in self.cells:
            if with_head and cell is last_reduction:
                aux = self.aux(current)
            result = cell(previous, current)
            if not (cell.recipe.halves and self.skip_reduction):
                previous = current
            current = result
        features = self.avgpool(F.relu(current)).flatten(1)  # (N, 1056)
        logits = self.fc(self.dropout(features))
        return NASNetOutputs(logits, aux) if with_head else logits


def _check(channels: int, blocks: int) -> None:
    if channels < 8 or channels % 4:
        raise ValueError(
            "NASNet: channels: expected a multiple of 4, at least 8, as the stem's cells have a "
            f"quarter and a half of them, got {channels}"
        )
    if blocks < 1:
        raise ValueError(f"NASNet: blocks: expected at least 1 normal cell a stage, got {blocks}")


@takes_options_of(NASNet)
def nasnet_mobile(num_classes: int = 1000, **options: Any) -> NASNet:
    """NASNet-A (4 @ 1056): 5,289,978 parameters, and 5,326,716 numbers with running statistics, as Keras counts.

    The options are those of `NASNet`; 4 @ 1056 are the cells of a stage and the last channels.
    """
    return NASNet(44, 4, 32, skip_reduction=False, num_classes=num_classes, **options)


@takes_options_of(NASNet)
def nasnet_large(num_classes: int = 1000, **options: Any) -> NASNet:
    """NASNet-A (6 @ 4032): 88,753,150 parameters, and 88,949,818 numbers with running statistics, as Keras counts.

    The options are those of `NASNet`.
    """
    options = {"aux_window": 6} | options
    return NASNet(168, 6, 96, True, num_classes, **options)
