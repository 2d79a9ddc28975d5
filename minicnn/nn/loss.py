"""Losses as modules: each keeps its settings and calls the function of its name."""

from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn import functional as F
from minicnn.nn.module import Module


class _Loss(Module):
    """What losses share: how the losses of single elements become one number ("mean", "sum" or "none")."""

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with constant weights, which move with the module."""

    def __init__(self, weight: Tensor | None, reduction: str):
        super().__init__(reduction)
        weight = None if weight is None else Tensor(weight)
        if weight is not None and weight.ndim != 1:
            name = type(self).__name__
            raise ValueError(
                f"{name}: weight: expected one factor a class, (C,), got shape {weight.shape}; to "
                f"compute a loss write nn.{name}()(input, target)"
            )
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """Cross-entropy between scores (logits) and class numbers or class probabilities; see `F.cross_entropy`.

    Args:
        weight: a factor for each class, (C,), or None.
        ignore_index: the label of positions to leave out.
        reduction: "mean", "sum" or "none".
        label_smoothing: the part of the truth, in [0, 1], that is spread evenly over the classes.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Compare scores (N, C, ...) with labels (N, ...)."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """The negative log-likelihood of class numbers, from log-probabilities; see `F.nll_loss`.

    Args:
        weight: a factor for each class, (C,), or None.
        ignore_index: the label of positions to leave out.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """Compare log-probabilities (N, C, ...) with labels (N, ...)."""
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """The mean squared error."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """The mean absolute error."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class HuberLoss(_Loss):
    """Squared errors up to `delta`, absolute ones beyond; see `F.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """The Huber loss divided by its delta, here `beta`; see `F.smooth_l1_loss`."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCELoss(_WeightedLoss):
    """Binary cross-entropy of probabilities; see `F.binary_cross_entropy`.

    Args:
        weight: factors for the losses, or None; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare probabilities with targets of equal shape."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """Binary cross-entropy of scores (logits); see `F.binary_cross_entropy_with_logits`.

    Args:
        weight: factors for the losses, or None; broadcasts to the input's shape.
        reduction: "mean", "sum" or "none".
        pos_weight: factors for the part of class 1, or None; broadcasts likewise.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ):
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else Tensor(pos_weight))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare scores with targets of equal shape."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )
