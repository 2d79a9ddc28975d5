"""Dense layers, and layers that only change the shape."""

import math

from minicnn.autograd import Tensor
from minicnn.autograd.axes import axis_of
from minicnn.autograd.creation import zeros
from minicnn.nn import functional as F
from minicnn.nn import init
from minicnn.nn.functional.checks import check_whole
from minicnn.nn.functional.embedding import check_padding_idx
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter


def init_uniform_by_fan_in(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default for dense and convolutional layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for both.

    fan_in is the number of inputs of one output: the size of `weight` without its first axis.
    """
    fan_in = math.prod(weight.shape[1:])
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    init.uniform_(weight, -bound, bound)
    if bias is not None:
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """Dense layer y = x W^T + b, (..., in_features) -> (..., out_features).

    Args:
        in_features: size of the input's last axis.
        out_features: size of the output's last axis.
        bias: whether there is a b.
        device: where the parameters are; None is the default device.

    Raises:
        ValueError: for fewer than one output.

    Attributes:
        weight: (out_features, in_features).
        bias: (out_features,) or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None
    ):
        super().__init__()
        check_whole(type(self).__name__, in_features=in_features, out_features=out_features)
        if out_features < 1:
            raise ValueError(
                f"{type(self).__name__}: out_features must be at least 1, got {out_features}"
            )
        self.in_features = in_features
        self.out_features = out_features
        # In memory, the order is (in, out), in which the kernels of the CPU read it.
        self.weight = Parameter(zeros(in_features, out_features, device=device).array.T)
        constants = Parameter(zeros(out_features, device=device)) if bias else None
        self.register_parameter("bias", constants)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init_uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Return x W^T + b; `activation` may be "relu"."""
        return F.linear(x, self.weight, self.bias, activation)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Returns its input; takes any arguments, to stand in for another layer."""

    def __init__(self, *args: object, **kwargs: object):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim` into one: (N, C, H, W) -> (N, C H W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x with fewer axes."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits axis `dim` into axes of the sizes `unflattened_size`, one of which may be -1 and is computed."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]):
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with more axes."""
        dim = axis_of("Unflatten", self.dim, x.ndim)
        sizes = self.unflattened_size
        known = math.prod(n for n in sizes if n != -1)
        if -1 in sizes and known:
            sizes = tuple(x.shape[dim] // known if n == -1 else n for n in sizes)
        if math.prod(sizes) != x.shape[dim]:
            raise ValueError(
                f"Unflatten: axis {dim} of x has size {x.shape[dim]}, which is not the product of "
                f"{self.unflattened_size}; x has shape {x.shape}"
            )
        return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Embedding(Module):
    """A table of vectors, looked up by number: integers (...) -> (..., embedding_dim).

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of each vector.
        padding_idx: a row that stays zero; a negative number counts from the end.
        device: where the parameters are; None is the default device.

    Attributes:
        weight: (num_embeddings, embedding_dim), initially standard normal.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
    ):
        super().__init__()
        check_whole("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        check_padding_idx(padding_idx, num_embeddings)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(zeros(num_embeddings, embedding_dim, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers."""
        return F.embedding(index, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
