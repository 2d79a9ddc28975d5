"""Dropout: silence random elements, channels or branches while training (Srivastava et al., JMLR 15, 2014)."""

import operator

from minicnn import random
from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.kernels.arrays import keeping_order
from minicnn.kernels.capture import number
from minicnn.kernels.dispatch import sibling
from minicnn.nn.functional.checks import check_float
from minicnn.ops.function import Function


def new_key() -> int | Array:
    """Draw what decides over all elements of one call: the only random number that comes from the host."""
    return number(_drawn)


def _drawn() -> int:
    return int(random.generator().integers(2**63))


class Dropout(Function):
    """y = x m / (1 - p) with m = 0 with probability p, else 1; dL/dx = dL/dy m / (1 - p).

    One m is drawn for each element of `mask_shape`, which broadcasts to x.
    """

    def __init__(self, p: float, mask_shape: tuple[int, ...]):
        self.p = p
        self.mask_shape = mask_shape

    def forward(self, x):
        self.key = new_key()
        xp = xp_of(x)
        ones = xp.ones(self.mask_shape, x.dtype)
        mask = xp.empty_like(x, shape=self.mask_shape)  # in the memory order of x
        mask[...] = sibling("dropout", x).dropout(ones, self.p, self.key)
        self.save(mask)
        return keeping_order(operator.mul, x, mask)

    def backward(self, grad):
        (mask,) = self.saved
        return (keeping_order(operator.mul, grad, mask),)


class DropoutByKey(Function):
    """`Dropout` of each element by itself: m is drawn again in backward, from the same key."""

    def __init__(self, p: float):
        self.p = p

    def forward(self, x):
        self.key = new_key()
        self.order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
        return self.dropped(x)

    def backward(self, grad):
        return (self.dropped(grad),)

    def dropped(self, array: Array) -> Array:
        """Drop elements, counted in the order in which x lies in memory."""
        in_memory = array.transpose(self.order)
        y = sibling("dropout", array).dropout(in_memory, self.p, self.key)
        return y.transpose(sorted(self.order, key=self.order.__getitem__))  # the inverse order


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Multiply each element by 0 with probability `p` and by 1 / (1 - p) otherwise; do nothing unless `training`.

    NaN stays, and infinity times 0 is NaN, in the gradient too.

    Raises:
        TypeError: for anything but a tensor of floating-point numbers.
        ValueError: for a probability outside [0, 1].
    """
    _check("dropout", x, p)
    if not training or p == 0:
        return x
    return apply(DropoutByKey(p), x)


def dropout1d(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Spatial dropout for sequences (N, C, L): set whole channels to zero."""
    return _channel_dropout("dropout1d", x, 3, p, training)


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Spatial dropout for images (N, C, H, W): set whole channels to zero (Tompson et al., arXiv 1411.4280)."""
    return _channel_dropout("dropout2d", x, 4, p, training)


def stochastic_depth(x: Tensor, p: float, mode: str = "row", training: bool = True) -> Tensor:
    """Set whole examples to zero with probability `p` and scale the rest by 1 / (1 - p); do nothing unless `training`.

    At the end of a residual branch this leaves some examples with the shortcut alone: they pass
    through a network that is less deep (Huang et al., arXiv 1603.09382; the paper decides once for
    a whole batch, and scales in inference instead).

    Args:
        x: (N, ...), what the branch computed.
        p: probability of dropping.
        mode: "row" decides for each example by itself, "batch" for all of them together.
        training: whether to do anything.

    Raises:
        TypeError: for anything but a tensor of floating-point numbers.
        ValueError: for a probability outside [0, 1], another mode, or a single number.
    """
    _check("stochastic_depth", x, p)
    check_mode("stochastic_depth", mode)
    if x.ndim == 0:
        raise ValueError("stochastic_depth: expected x of shape (N, ...), got a single number")
    examples = x.shape[0] if mode == "row" else 1
    mask_shape = (examples,) + (1,) * (x.ndim - 1)
    return apply(Dropout(p, mask_shape), x) if training and p > 0 else x


def check_mode(where: str, mode: str) -> None:
    """Refuse what is no mode of stochastic depth.

    Raises:
        ValueError: with the modes that there are.
    """
    if mode not in ("row", "batch"):
        raise ValueError(f"{where}: mode: expected 'row' or 'batch', got {mode!r}")


def _channel_dropout(where: str, x: Tensor, ndim: int, p: float, training: bool) -> Tensor:
    _check(where, x, p)
    if x.ndim != ndim:
        raise ValueError(f"{where}: expected {ndim} axes (N, C, ...), got x of shape {x.shape}")
    mask_shape = x.shape[:2] + (1,) * (ndim - 2)
    return apply(Dropout(p, mask_shape), x) if training and p > 0 else x


def _check(where: str, x: Tensor, p: float) -> None:
    check_float(where, "x", x)
    if not 0 <= p <= 1:
        raise ValueError(f"{where}: expected a probability p in [0, 1], got {p}")
