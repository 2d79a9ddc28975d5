"""Cross-entropy in one pass over the scores, and one for the gradient; the contracts are in the sibling ../loss.py.

A row is read, and its probabilities are written, while it is in the fastest cache. Each thread takes
an equal share of the rows. `truth` stands for (labels, weights, ignore_index, smoothing).
"""

import math

import numpy as np

from ..capture import do
from ..memory import empty
from .compiled import compiled, on_threads, plain
from .flat import share, threads_for
from .special import exp, minus_log_softmax


def cross_entropy(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    ignore_index: int,
    smoothing: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """See ../loss.py."""
    scores, labels, weights = plain(scores), plain(labels), plain(weights)
    truth = labels, weights, ignore_index, float(smoothing)
    losses, probabilities = empty(scores.shape[:1], scores.dtype), empty(scores.shape, scores.dtype)
    threads = threads_for(scores.size)
    weight_sums, wrong_rows = empty((threads,), np.float64), empty((threads,), np.int64)
    do(np.ndarray.fill, wrong_rows, -1)  # for who only compiles the loops, see ../ahead.py
    _losses(threads, scores, truth, losses, probabilities, weight_sums, wrong_rows)
    if threads == 1:
        return losses, probabilities, weight_sums.reshape(()), wrong_rows.reshape(())
    weight, wrong = empty((), np.float64), empty((), np.int64)
    do(_combine, weight_sums, wrong_rows, weight, wrong)
    return losses, probabilities, weight, wrong


def _combine(
    weight_sums: np.ndarray, wrong_rows: np.ndarray, weight: np.ndarray, wrong: np.ndarray
) -> None:
    """Write the sum of all threads' sums of weights, and the first of their wrong rows, or -1."""
    weight[...] = sum(weight_sums.tolist())
    wrong[...] = min((row for row in wrong_rows.tolist() if row >= 0), default=-1)


def cross_entropy_grad(
    grad: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    ignore_index: int,
    smoothing: float,
) -> np.ndarray:
    """See ../loss.py."""
    grad, labels, weights = plain(grad), plain(labels), plain(weights)
    truth = labels, weights, ignore_index, float(smoothing)
    grad_x = empty(probabilities.shape, probabilities.dtype)
    _grad_of_losses(threads_for(probabilities.size), grad, probabilities, truth, grad_x)
    return grad_x


def total(losses: np.ndarray, divisor: np.ndarray | None = None) -> np.ndarray:
    """See ../loss.py."""
    result = empty((), losses.dtype)
    do(np.add.reduce, losses, 0, None, result)
    if divisor is not None:
        do(np.divide, result, divisor, result)
    return result


def divided(grad: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """See ../loss.py."""
    result = empty(grad.shape, grad.dtype)
    do(np.divide, grad, divisor, result)
    return result


@compiled
def _softmax(x, p):
    """Write the probabilities of one row; return the sum of e^(x - highest x), and the highest."""
    highest = x[0]
    for c in range(x.size):
        highest = x[c] if x[c] > highest else highest
    for c in range(x.size):
        p[c] = exp(x[c] - highest)  # every power is at most 1
    # In a loop of its own: one that also reads x would add in another order where x and p lie close together.
    total = x.dtype.type(0)
    for c in range(x.size):
        total += p[c]
    for c in range(x.size):
        p[c] /= total
    return total, highest


@on_threads
def _losses(part, parts, scores, truth, losses, probabilities, weight_sums, wrong_rows):
    labels, weights, ignore_index, smoothing = truth
    C, number = scores.shape[1], scores.dtype.type
    zero, sure, even = number(0), number(1 - smoothing), number(smoothing / C)
    mine = share(len(scores), part, parts)
    weight_sum, wrong = 0.0, -1
    for n in range(mine.start, mine.stop):
        label, x = labels[n], scores[n]
        total, highest = _softmax(x, probabilities[n])
        loss = zero
        if label != ignore_index:
            if label < 0 or label >= C:
                wrong = n
                break
            log_total = number(math.log(total))
            weight_sum += weights[label]
            if weights[label] != zero:
                loss = sure * weights[label] * minus_log_softmax(x[label], highest, log_total)
            if even != zero:
                for c in range(C):
                    loss += even * weights[c] * minus_log_softmax(x[c], highest, log_total)
        losses[n] = loss
    weight_sums[part], wrong_rows[part] = weight_sum, wrong


@on_threads
def _grad_of_losses(part, parts, grad, probabilities, truth, grad_x):
    labels, weights, ignore_index, smoothing = truth
    C, number = probabilities.shape[1], probabilities.dtype.type
    zero, sure, even = number(0), number(1 - smoothing), number(smoothing / C)
    evenly = zero
    for c in range(C):
        evenly += even * weights[c]
    mine = share(len(probabilities), part, parts)
    for n in range(mine.start, mine.stop):
        label, p, row = labels[n], probabilities[n], grad_x[n]
        weight, total_truth = zero, zero
        if label != ignore_index:
            weight = sure * weights[label]
            total_truth = weight + evenly
        if total_truth == zero:
            for c in range(C):
                row[c] = zero
            continue
        g = grad[n % len(grad)]
        for c in range(C):
            row[c] = (p[c] * total_truth - even * weights[c]) * g
        row[label] = (p[label] * total_truth - even * weights[label] - weight) * g
