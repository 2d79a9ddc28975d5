"""Cross-entropy with class numbers, for arrays of either library; the sibling for the CPU is cpu/loss.py.

For scores x, the probabilities are p = softmax(x), and w_c are weights of the classes. With
smoothing s, the part s of the truth t is spread evenly over the C classes (Szegedy et al., arXiv
1512.00567, section 7):

    l_n = -sum_c t_nc ln p_nc              t_nc = (1 - s) w_c [c = label_n] + s w_c / C
    dL/dx_nc = (p_nc T_n - t_nc) dL/dl_n   T_n = sum_c t_nc, which is 1 where all weights are 1

Rows whose label is `ignore_index`, and those without any truth (T_n = 0), have the loss 0 and the
gradient 0, whatever their scores.
"""

from .arrays import Array, first_true, sum_dtype, xp_of


def cross_entropy(
    scores: Array, labels: Array, weights: Array, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array, Array]:
    """The loss of each row, and the probabilities, which the gradient is made of.

    Args:
        scores: (rows, C), float.
        labels: (rows,), int64: in [0, C), or `ignore_index`.
        weights: (C,), of the dtype of the scores.
        ignore_index: the label of rows that do not count.
        smoothing: s, in [0, 1].

    Returns:
        The losses (rows,); the probabilities (rows, C); the sum of w over the labels that count,
        by which a mean divides; and the first row whose label is neither a class nor
        `ignore_index`, or -1. If there is one, the rest means nothing. The last two are 0-d arrays on
        the device of the scores, which nobody has read.
    """
    xp = xp_of(scores)
    wrong = ((labels < 0) | (labels >= scores.shape[1])) & (labels != ignore_index)
    shifted = scores - scores.max(axis=1, keepdims=True)  # every power is at most 1
    probabilities = xp.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)  # (rows, 1)
    probabilities /= total
    surprise = xp.log(total) - shifted  # -ln p
    labels = xp.where(wrong, ignore_index, labels)
    place = xp.arange(len(labels)), xp.where(labels == ignore_index, 0, labels)
    label_weights, truth = _truth(labels, weights, ignore_index, smoothing)
    losses = (1 - smoothing) * label_weights * surprise[place]
    if smoothing:
        losses = losses + smoothing / scores.shape[1] * (surprise * weights).sum(axis=1)
    return (
        xp.where(truth == 0, 0, losses),
        probabilities,
        label_weights.sum(dtype=sum_dtype(scores.dtype)),
        first_true(wrong),
    )


def cross_entropy_grad(
    grad: Array,
    probabilities: Array,
    labels: Array,
    weights: Array,
    ignore_index: int,
    smoothing: float,
) -> Array:
    """dL/dx.

    Args:
        grad: dL/dl, (rows,), or (1,) where it is the same for all rows.
        probabilities: (rows, C), from `cross_entropy`.
        labels: see `cross_entropy`.
        weights: see `cross_entropy`.
        ignore_index: see `cross_entropy`.
        smoothing: see `cross_entropy`.

    Returns:
        (rows, C), of the dtype of the probabilities.
    """
    xp = xp_of(probabilities)
    place = xp.arange(len(labels)), xp.where(labels == ignore_index, 0, labels)
    label_weights, truth = _truth(labels, weights, ignore_index, smoothing)
    grad_x = probabilities * truth[:, None] - smoothing / len(weights) * weights
    grad_x[place] -= (1 - smoothing) * label_weights
    return xp.where(truth[:, None] == 0, 0, grad_x * grad[:, None])


def total(losses: Array, divisor: Array | None = None) -> Array:
    """The sum of the losses (rows,), divided by a number (0-d) if there is one: 0-d, of their dtype."""
    result = losses.sum(dtype=sum_dtype(losses.dtype))  # in float16, it may be infinite
    return xp_of(losses).asarray(result if divisor is None else result / divisor, losses.dtype)


def divided(grad: Array, divisor: Array) -> Array:
    """The gradient of `total` with respect to the losses: dL/dtotal (1,), divided likewise."""
    return (grad / divisor).astype(grad.dtype, copy=False)


def _truth(
    labels: Array, weights: Array, ignore_index: int, smoothing: float
) -> tuple[Array, Array]:
    """Return w of each row's label, and T_n; both are 0 for rows that do not count."""
    xp = xp_of(labels)
    ignored = labels == ignore_index
    label_weights = xp.where(ignored, 0, weights[xp.where(ignored, 0, labels)])
    evenly = smoothing / len(weights) * weights.sum()
    return label_weights, xp.where(ignored, 0, (1 - smoothing) * label_weights + evenly)
