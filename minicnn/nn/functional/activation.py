"""Activations: the non-linear functions between the linear layers.

All but softmax and PReLU work element by element, y_i = f(x_i), so that dL/dx_i = f'(x_i) dL/dy_i.
At a kink, where f has no derivative, backward uses the same one-sided value as PyTorch. Results
have the shape and dtype of the input.

`inplace` is accepted where PyTorch has it, and changes nothing: every result is a new array.
"""

import math

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.kernels.dispatch import sibling
from minicnn.kernels.special import erf
from minicnn.nn.functional.checks import check_dtypes, check_float
from minicnn.ops.arithmetic import unbroadcast
from minicnn.ops.function import Function

# --- piecewise linear -----------------------------------------------------------------------------


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), with derivative 0 at 0 (Nair & Hinton, ICML 2010)."""
    return x.relu()


class LeakyReLU(Function):
    """y = max(x, 0) + s min(x, 0); dL/dx = dL/dy where x > 0, else s dL/dy."""

    def __init__(self, negative_slope: float):
        self.negative_slope = float(negative_slope)

    def forward(self, x):
        self.save(x)
        xp = xp_of(x)
        return xp.maximum(x, 0) + self.negative_slope * xp.minimum(x, 0)

    def backward(self, grad):
        (x,) = self.saved
        return (xp_of(x).where(x > 0, grad, self.negative_slope * grad),)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """ReLU with a small slope below 0, so that no unit stops learning (Maas et al., ICML 2013)."""
    check_float("leaky_relu", "x", x)
    return apply(LeakyReLU(negative_slope), x)


class PReLU(Function):
    """y = max(x, 0) + w min(x, 0); dL/dx = dL/dy where x > 0, else w dL/dy, dL/dw = sum of min(x, 0) dL/dy."""

    def forward(self, x, weight):  # weight broadcasts to x
        self.save(x, weight)
        xp = xp_of(x)
        return xp.maximum(x, 0) + weight * xp.minimum(x, 0)

    def backward(self, grad):
        x, weight = self.saved
        xp = xp_of(x)
        need_x, need_weight = self.needs_grad
        grad_x = grad_weight = None
        if need_x:
            grad_x = xp.where(x > 0, grad, weight * grad)
        if need_weight:
            grad_weight = unbroadcast(xp.minimum(x, 0) * grad, weight.shape)
        return grad_x, grad_weight


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """ReLU with a learned slope below 0 (He et al., arXiv 1502.01852, section 2.1).

    Args:
        x: any shape; channels are axis 1.
        weight: the slopes: (C,), one for each channel, or (1,), one for all.

    Raises:
        ValueError: where `weight` has neither one slope nor one for each channel.
        TypeError: for mixed dtypes.
    """
    check_float("prelu", "x", x)
    check_float("prelu", "weight", weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"prelu: expected a weight of shape (1,) or ({channels},), one slope for all or one for "
            f"each channel (axis 1) of x of shape {x.shape}, got {weight.shape}"
        )
    check_dtypes("prelu", x, weight=weight)
    per_channel = [weight.numel() if axis == 1 else 1 for axis in range(x.ndim)]  # (1, C, 1, 1)
    return apply(PReLU(), x, weight.reshape(per_channel))


class Hardtanh(Function):
    """y = min(max(x, low), high); dL/dx = dL/dy strictly between the ends, else 0."""

    def __init__(self, low: float, high: float):
        self.low = float(low)
        self.high = float(high)

    def forward(self, x):
        y = sibling("activation", x).hardtanh(x, self.low, self.high)
        self.save(y)
        return y

    def backward(self, grad):
        (y,) = self.saved
        return (sibling("activation", y).hardtanh_grad(grad, y, self.low, self.high),)


def hardtanh(
    x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Limit x to [min_val, max_val], with derivative 0 at both ends: the clipped ReLU where min_val is 0.

    Raises:
        ValueError: where min_val > max_val.
    """
    check_float("hardtanh", "x", x)
    if min_val > max_val:
        raise ValueError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    return apply(Hardtanh(min_val, max_val), x)


def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    """ReLU clipped at 6 (Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010).

    Howard et al., arXiv 1704.04861 (MobileNet), made it common: a bounded range suits low-precision
    arithmetic.
    """
    check_float("relu6", "x", x)
    return apply(Hardtanh(0, 6), x)


# --- smooth ---------------------------------------------------------------------------------------


class ELU(Function):
    """y = max(x, 0) + a (e^min(x, 0) - 1); dL/dx = dL/dy where x > 0, else a e^x dL/dy."""

    def __init__(self, alpha: float):
        self.alpha = float(alpha)

    def forward(self, x):
        self.save(x)
        xp = xp_of(x)
        return xp.maximum(x, 0) + self.alpha * xp.expm1(xp.minimum(x, 0))

    def backward(self, grad):
        (x,) = self.saved
        xp = xp_of(x)
        return (grad * xp.where(x > 0, 1, self.alpha * xp.exp(xp.minimum(x, 0))),)


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """The exponential linear unit (Clevert et al., arXiv 1511.07289): ReLU that levels off at -alpha."""
    check_float("elu", "x", x)
    return apply(ELU(alpha), x)


def sigmoid(x: Tensor) -> Tensor:
    """The logistic sigmoid 1 / (1 + e^-x)."""
    return x.sigmoid()


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return x.tanh()


def softplus_of(x: Array) -> Array:
    """Return ln(1 + e^x) as max(x, 0) + ln(1 + e^-|x|), in which no power overflows."""
    xp = xp_of(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


class Softplus(Function):
    """y = ln(1 + e^(b x)) / b, and y = x where b x > threshold; dL/dx = dL/dy / (1 + e^(-b x)), or dL/dy there."""

    def __init__(self, beta: float, threshold: float):
        self.beta = float(beta)
        self.threshold = float(threshold)

    def forward(self, x):
        self.save(x)
        z = self.beta * x
        return xp_of(x).where(z > self.threshold, x, softplus_of(z) / self.beta)

    def backward(self, grad):
        (x,) = self.saved
        z = self.beta * x
        slope = sibling("activation", z).sigmoid(z)
        return (xp_of(x).where(z > self.threshold, grad, grad * slope),)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """A smooth ReLU, ln(1 + e^(beta x)) / beta (Dugas et al., NIPS 2000).

    Args:
        x: any shape.
        beta: the larger, the closer to ReLU; not 0.
        threshold: where beta x is above it, the result is x, which differs by less than
            e^-threshold / beta.

    Raises:
        ValueError: for beta = 0.
    """
    check_float("softplus", "x", x)
    if beta == 0:
        raise ValueError("softplus: beta divides the result and must not be 0")
    return apply(Softplus(beta, threshold), x)


class SiLU(Function):
    """y = x s with s = 1 / (1 + e^-x); dL/dx = s (1 + x (1 - s)) dL/dy."""

    def forward(self, x):
        self.save(x)
        return sibling("activation", x).silu(x)

    def backward(self, grad):
        (x,) = self.saved
        return (sibling("activation", x).silu_grad(grad, x),)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """The product of x and its sigmoid, also called swish (Ramachandran et al., arXiv 1710.05941)."""
    check_float("silu", "x", x)
    return apply(SiLU(), x)


swish = silu


class GELU(Function):
    """y = x P(x) with P(x) = (1 + erf(x / sqrt 2)) / 2; dL/dx = (P(x) + x e^(-x^2 / 2) / sqrt(2 pi)) dL/dy.

    P is the distribution function of the standard normal distribution, and the second summand x
    times its density.
    """

    def forward(self, x):
        probability = 0.5 * (1 + erf(x * math.sqrt(0.5)))
        self.save(x, probability)
        return x * probability

    def backward(self, grad):
        x, probability = self.saved
        density = xp_of(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return (grad * (probability + x * density),)


class TanhGELU(Function):
    """y = x (1 + t) / 2 with t = tanh u, u = c (x + 0.044715 x^3), c = sqrt(2 / pi).

    dL/dx = ((1 + t) + x (1 - t^2) u') / 2 dL/dy with u' = c (1 + 3 * 0.044715 x^2).
    """

    scale = math.sqrt(2 / math.pi)
    cubic = 0.044715

    def forward(self, x):
        t = xp_of(x).tanh(self.scale * (x + self.cubic * x * x * x))
        self.save(x, t)
        return 0.5 * x * (1 + t)

    def backward(self, grad):
        x, t = self.saved
        slope = self.scale * (1 + 3 * self.cubic * x * x)
        return (grad * 0.5 * ((1 + t) + x * (1 - t * t) * slope),)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """The product of x and the probability that a standard normal variable is below x.

    Hendrycks & Gimpel, arXiv 1606.08415.

    Args:
        x: any shape.
        approximate: "none", or "tanh" for the approximation of that paper, off by less than 0.001.

    Raises:
        ValueError: for any other `approximate`.
    """
    check_float("gelu", "x", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: expected approximate "none" or "tanh", got {approximate!r}')
    return apply(GELU() if approximate == "none" else TanhGELU(), x)


# --- along an axis --------------------------------------------------------------------------------


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x / sum e^x along axis `dim`: positive numbers whose sum is 1 (Bridle, 1990)."""
    check_float("softmax", "x", x)
    _check_axis("softmax", x, dim)
    return x.softmax(dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """The logarithm of softmax, x - ln sum e^x along axis `dim`: exact where the softmax rounds to 0 or 1."""
    check_float("log_softmax", "x", x)
    _check_axis("log_softmax", x, dim)
    return x.log_softmax(dim)


def _check_axis(where: str, x: Tensor, dim: int | None) -> None:
    """Refuse an axis that is missing (PyTorch guesses one then) or that `x` does not have."""
    if dim is None:
        raise ValueError(f"{where}: which axis? Give dim (dim=1 for scores of shape (N, classes))")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"{where}: dim {dim} is not one of the {x.ndim} axes of shape {x.shape}")
