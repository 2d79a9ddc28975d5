"""Initial weights: random numbers whose spread keeps signals alive through many layers.

If a layer sums `fan_in` products of a weight and an input, its output has fan_in * var(weight)
times the variance of its input. Over many layers that factor has to be about 1, forward for the
activations and backward (with fan_out) for the gradients, or both vanish or explode. The
initialisers named after people are choices of that variance.

All functions overwrite a tensor in place and return it. They may be used on parameters: nothing is
recorded on the tape. `generator` is a seed, a `numpy.random.Generator`, or None for the global one
(see `minicnn.random`). Inside `with without_drawing():` nothing is drawn at all.
"""

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from statistics import NormalDist
from typing import Any

import numpy as np

from minicnn import random
from minicnn.autograd import Tensor
from minicnn.backend import to_device
from minicnn.kernels import capture

Source = int | np.random.Generator | None

_drawing: ContextVar[bool] = ContextVar("drawing", default=True)


@contextmanager
def without_drawing() -> Iterator[None]:
    """Leave out random numbers: layers built inside the block keep the zeros that they are made with.

    For networks whose weights come from a file, or do not matter, as for counting. Most of the time
    of building VGG-16 goes into drawing 138 million numbers, while memory that is all 0 is not even
    taken before something is written there. Only what is drawn is left out: `ones_`, `zeros_` and
    their like write as always.

        with nn.init.without_drawing():
            network = models.vgg16()
        load_weights(network, "vgg16.pth")

    A tensor that is given to `normal_` and its like inside the block is returned as it is. The block
    counts for its own thread only.
    """
    before = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(before)


# --- constants and plain distributions ------------------------------------------------------------


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    return _write("constant_", tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _write("zeros_", tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _write("ones_", tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Source = None) -> Tensor:
    """Draw from the uniform distribution on [a, b)."""
    return _draw("uniform_", tensor, generator, lambda rng: rng.uniform(a, b, tensor.shape))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Source = None
) -> Tensor:
    """Draw from the normal distribution with the given mean and standard deviation."""
    return _draw("normal_", tensor, generator, lambda rng: rng.normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Source = None,
) -> Tensor:
    """Draw from the normal distribution, restricted to [a, b].

    Draws that miss are drawn again. Where most of a normal distribution's draws would miss, points
    are drawn evenly from [a, b] instead, and kept with a probability proportional to the density.

    Raises:
        ValueError: unless std > 0 and a < b.
    """
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: expected std > 0 and a < b, got std={std}, a={a}, b={b}")

    def draw(rng: np.random.Generator) -> np.ndarray:
        return _truncated(rng, tensor.numel(), mean, std, a, b).reshape(tensor.shape)

    return _draw("trunc_normal_", tensor, generator, draw)


def _truncated(
    rng: np.random.Generator, count: int, mean: float, std: float, a: float, b: float
) -> np.ndarray:
    """Return `count` numbers of the normal distribution that lie in [a, b]."""
    bell = NormalDist(mean, std)
    mostly_inside = bell.cdf(b) - bell.cdf(a) > 0.3
    peak = min(max(mean, a), b)
    values = np.empty(count)
    missing = np.arange(count)
    while missing.size:
        if mostly_inside:
            drawn = rng.normal(mean, std, missing.size)
            keep = (a <= drawn) & (drawn <= b)
        else:
            drawn = rng.uniform(a, b, missing.size)
            log_density = ((peak - mean) ** 2 - (drawn - mean) ** 2) / (2 * std**2)  # 0 at the peak
            keep = rng.random(missing.size) < np.exp(log_density)
        values[missing[keep]] = drawn[keep]
        missing = missing[~keep]
    return values


# --- distributions scaled to the size of a layer --------------------------------------------------


def lecun_uniform_(tensor: Tensor, generator: Source = None) -> Tensor:
    """Draw evenly with variance 1 / fan_in, the choice for layers without ReLU.

    LeCun, Bottou, Orr and Mueller, "Efficient BackProp" (1998), equation 16.
    """
    return _uniform_with(tensor, _std("lecun_uniform_", tensor, "fan_in"), generator)


def lecun_normal_(tensor: Tensor, generator: Source = None) -> Tensor:
    """Draw normally with variance 1 / fan_in; see `lecun_uniform_`."""
    return normal_(tensor, 0.0, _std("lecun_normal_", tensor, "fan_in"), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Draw evenly with variance gain^2 * 2 / (fan_in + fan_out).

    A compromise between keeping activations and keeping gradients. Glorot and Bengio,
    "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 16.
    """
    return _uniform_with(tensor, gain * _std("xavier_uniform_", tensor, "mean"), generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Draw normally with variance gain^2 * 2 / (fan_in + fan_out); see `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * _std("xavier_normal_", tensor, "mean"), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """Draw evenly with variance gain^2 / fan, the choice for layers followed by ReLU.

    ReLU zeroes half of its inputs, so the variance is doubled: gain^2 = 2 / (1 + a^2). He, Zhang,
    Ren and Sun, "Delving Deep into Rectifiers" (2015), section 2.2.

    Args:
        tensor: weights of at least 2 dimensions, (out, in / groups, kernel...).
        a: slope of the leaky ReLU for negative inputs; 0 is plain ReLU.
        mode: "fan_in" keeps the size of activations, "fan_out" that of gradients.
        nonlinearity: what follows the layer; see `calculate_gain`.
        generator: where the draws come from; see the module.

    Raises:
        ValueError: for fewer than 2 dimensions, an unknown mode or nonlinearity.
    """
    gain = calculate_gain(nonlinearity, a)
    return _uniform_with(tensor, gain * _std("kaiming_uniform_", tensor, mode), generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """Draw normally with variance gain^2 / fan; arguments as in `kaiming_uniform_`."""
    gain = calculate_gain(nonlinearity, a)
    return normal_(tensor, 0.0, gain * _std("kaiming_normal_", tensor, mode), generator)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor on the standard deviation that makes up for what follows a layer.

    Args:
        nonlinearity: "linear", "sigmoid", "conv1d" (also 2d, 3d, conv_transpose1d, ...): 1; "tanh":
            5/3; "relu": sqrt(2); "leaky_relu": sqrt(2 / (1 + param^2)); "selu": 3/4.
        param: slope of the leaky ReLU for negative inputs, 0.01 if None.

    Raises:
        ValueError: for another name.
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 3 / 4,
    }
    name = "linear" if nonlinearity.startswith("conv") else nonlinearity
    if name not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity: expected {', '.join(gains)} or the name of a "
            f"convolution, got {nonlinearity!r}"
        )
    return gains[name]


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs feed one output of a layer, and how many outputs one input feeds.

    For weights (out, in, kernel...) that is in * kernel size and out * kernel size. For a grouped
    convolution, whose weights are (out, in / groups, ...), the second number counts all groups.

    Raises:
        ValueError: for a tensor of fewer than 2 dimensions, such as a bias.
    """
    return _fans("fan_in_and_fan_out", tensor)


# --- structured weights ---------------------------------------------------------------------------


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Fill with gain times a random matrix of orthonormal rows, or columns if there are more rows.

    Dimensions after the first are taken as one. A product of orthogonal matrices neither shrinks
    nor grows a signal: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks" (2014). The signs make all such matrices equally likely
    (Mezzadri, "How to generate random matrices from the classical compact groups", 2007).

    Raises:
        ValueError: for a tensor of fewer than 2 dimensions.
    """
    _fans("orthogonal_", tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])

    def draw(rng: np.random.Generator) -> np.ndarray:
        drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(drawn)  # (long, short), (short, short)
        q = q * np.sign(np.diagonal(r))
        matrix = q if rows >= columns else q.T  # (rows, columns)
        return gain * matrix.reshape(tensor.shape)

    return _draw("orthogonal_", tensor, generator, draw)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity, as far as it goes.

    Raises:
        ValueError: for a tensor that does not have 2 dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a tensor of 2 dimensions, got shape {tensor.shape}")
    return _write("eye_", tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weights of a convolution so that it returns its input, channel by channel.

    Output channel i of a group is input channel i of that group, as far as there are both: the
    kernel is 1 at its centre and 0 elsewhere.

    Raises:
        ValueError: for fewer than 3 dimensions, or out-channels that the groups do not divide.
    """
    if tensor.ndim < 3 or tensor.shape[0] % groups != 0:
        raise ValueError(
            "dirac_: expected weights (out, in / groups, kernel...) with out a multiple of "
            f"groups = {groups}, got shape {tensor.shape}"
        )
    channels = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    values = np.zeros(tensor.shape)
    for group in range(groups):
        for channel in range(min(channels, tensor.shape[1])):
            values[(group * channels + channel, channel, *centre)] = 1
    return _write("dirac_", tensor, values)


# --- helpers --------------------------------------------------------------------------------------


def _uniform_with(tensor: Tensor, std: float, generator: Source) -> Tensor:
    """Draw evenly around 0 with a standard deviation; that of [-b, b] is b / sqrt(3)."""
    bound = math.sqrt(3) * std
    return uniform_(tensor, -bound, bound, generator)


def _std(where: str, tensor: Tensor, mode: str) -> float:
    """Return 1 / sqrt(fan), with the fan that `mode` names, or the mean of both."""
    fan_in, fan_out = _fans(where, tensor)
    fans = {"fan_in": fan_in, "fan_out": fan_out, "mean": (fan_in + fan_out) / 2}
    if mode not in fans:
        raise ValueError(f"{where}: mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return 1 / math.sqrt(fans[mode])


def _fans(where: str, tensor: Tensor) -> tuple[int, int]:
    _check(where, tensor)
    if tensor.ndim < 2:
        raise ValueError(
            f"{where}: expected weights of at least 2 dimensions, (out, in, ...), got shape "
            f"{tensor.shape}; use zeros_ or constant_ for a bias"
        )
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _check(where: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{where}: expected a Tensor, got a {type(tensor).__name__}")
    if tensor.numel() == 0:
        raise ValueError(
            f"{where}: the tensor of shape {tensor.shape} has no elements: expected sizes of at least 1; "
            "if it belongs to a lazy layer, send one batch through the network first, which decides its shape"
        )


def _draw(
    where: str, tensor: Tensor, generator: Source, draw: Callable[[np.random.Generator], np.ndarray]
) -> Tensor:
    """Overwrite `tensor` with what `draw` makes of a generator; `without_drawing` leaves it as it is."""
    _check(where, tensor)
    if not _drawing.get():
        return tensor
    return _write(where, tensor, draw(random.resolve(generator)))


def _write(where: str, tensor: Tensor, values: Any) -> Tensor:
    """Overwrite `tensor`, keeping its dtype, device and memory order, and tell the tape."""
    _check(where, tensor)
    if tensor.dtype.kind != "f":
        raise TypeError(f"{where}: expected a tensor of floating-point numbers, got {tensor.dtype}")
    values = np.asarray(values, tensor.dtype)
    capture.do(operator.setitem, tensor.array, ..., to_device(values, tensor.device))
    tensor.bump_version()
    return tensor
