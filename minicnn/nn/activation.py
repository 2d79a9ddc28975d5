"""Activations as modules: each keeps its settings and calls the function of its name."""

from minicnn.autograd import Tensor
from minicnn.autograd.creation import full
from minicnn.nn import functional as F
from minicnn.nn.inplace import AcceptsInplace
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter


class ReLU(AcceptsInplace):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class LeakyReLU(AcceptsInplace):
    """x above 0, negative_slope * x below."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x above 0, weight * x below, where weight is learned (He et al., arXiv 1502.01852).

    Args:
        num_parameters: number of slopes: one for each channel (axis 1), or 1 for all.
        init: the slopes at the start.
        device: where the parameters are; None is the default device.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: str | None = None):
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(
            full(num_parameters, float(init), device=device)
        )  # (num_parameters,)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to `x`, (N, C, ...)."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(AcceptsInplace):
    """x above 0, alpha (e^x - 1) below (Clevert et al., arXiv 1511.07289)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Hardtanh(AcceptsInplace):
    """x limited to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        super().__init__(inplace)
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU6(AcceptsInplace):
    """x limited to [0, 6] (Howard et al., arXiv 1704.04861)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class Sigmoid(Module):
    """The logistic sigmoid 1 / (1 + e^-x)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class Softplus(Module):
    """ln(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class SiLU(AcceptsInplace):
    """x times its sigmoid, also called swish (Ramachandran et al., arXiv 1710.05941)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


class GELU(Module):
    """x times the normal distribution function of x (Hendrycks & Gimpel, arXiv 1606.08415)."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """e^x / sum e^x along axis `dim`, which must be given before the module is called."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Turn scores into positive numbers whose sum along `dim` is 1."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of softmax along axis `dim`, which must be given before the module is called."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Turn scores into logarithms of probabilities."""
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
