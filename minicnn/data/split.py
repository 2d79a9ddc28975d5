"""Cutting a dataset into training, validation and test parts: none is lost, none is in two."""

import math
import operator
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from minicnn.data.dataset import Subset
from minicnn.random import resolve


def train_val_test_split(
    examples: int | Sequence,
    fractions: Sequence[float] = (0.7, 0.2, 0.1),
    stratify: np.ndarray | None = None,
    seed: int | np.random.Generator | None = None,
) -> tuple[np.ndarray, ...]:
    """Draw the examples of each part by lot.

    Args:
        examples: how many examples there are, or anything that has a length (a dataset, the
            labels).
        fractions: the share of each part, adding up to 1; as many parts as there are fractions.
        stratify: (N,) labels; if given, every part gets its share of every class, as nearly as
            whole examples allow (exactly, where the shares are whole numbers; with few examples a
            class may miss from a small part).
        seed: a seed, a generator, or None for the global generator (`minicnn.random`).

    Returns:
        One array of indices (int64, in random order) a part. Their sizes add up to N exactly, each
        within one of fraction * N, the same whether stratified or not.

    Raises:
        ValueError: fractions that are negative or do not add up to 1, a negative number of
            examples, labels of another length.
        TypeError: `examples` is neither a whole number nor has a length.
    """
    n = _count(examples)
    shares = _check_fractions("train_val_test_split", "fractions", fractions)
    sizes = _largest_remainder(n, shares)
    rng = resolve(seed)
    order = rng.permutation(n)  # (N,)
    if stratify is None:
        return tuple(np.split(order, np.cumsum(sizes)[:-1]))
    labels = np.asarray(stratify)
    if labels.shape != (n,):
        raise ValueError(
            f"train_val_test_split: stratify: expected {n} labels, one an example, "
            f"got the shape {labels.shape}"
        )
    by_class = np.argsort(labels[order], kind="stable")
    order = order[by_class]  # class after class, shuffled within each
    part_of = _deal(sizes)  # (N,)
    return tuple(rng.permutation(order[part_of == part]) for part in range(len(sizes)))


def random_split(
    dataset: Sequence,
    lengths: Sequence[int] | Sequence[float],
    generator: int | np.random.Generator | None = None,
) -> list[Subset]:
    """Cut `dataset` into parts drawn by lot, as `torch.utils.data.random_split` does.

    Args:
        dataset: anything with a length and indexing.
        lengths: whole numbers that add up to len(dataset), or fractions that add up to 1. Of
            fractions, each part gets the floor of its share, and what is left over is given out one
            by one from the first part on (PyTorch's rule, for equal sizes).
        generator: a seed, a generator, or None for the global generator (`minicnn.random`).

    Returns:
        One `Subset` a length.

    Raises:
        ValueError: lengths that are negative or do not add up.
    """
    n = len(dataset)
    if all(isinstance(length, Integral) for length in lengths):
        sizes = [int(length) for length in lengths]
        if min(sizes, default=-1) < 0 or sum(sizes) != n:
            raise ValueError(
                f"random_split: lengths: expected whole numbers >= 0 that add up to {n}, "
                f"the length of the dataset, got {list(lengths)}, which add up to {sum(sizes)}"
            )
    else:
        shares = _check_fractions("random_split", "lengths", lengths)
        sizes = [math.floor(n * share) for share in shares]
        for extra in range(n - sum(sizes)):
            sizes[extra % len(sizes)] += 1
    order = resolve(generator).permutation(n)  # (N,)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _count(examples: int | Sequence) -> int:
    """Return the number of examples."""
    if hasattr(examples, "__len__"):
        return len(examples)
    try:
        n = operator.index(examples)
    except TypeError:
        raise TypeError(
            f"train_val_test_split: examples: expected a whole number or something with a length, "
            f"got {examples!r}"
        ) from None
    if n < 0:
        raise ValueError(f"train_val_test_split: examples: expected a number >= 0, got {n}")
    return n


def _check_fractions(where: str, argument: str, fractions: Sequence[float]) -> list[float]:
    """Return the fractions as floats, or say what is wrong with them."""
    shares = [float(fraction) for fraction in fractions]
    whole = math.isclose(sum(shares), 1, abs_tol=1e-9)
    if not whole or not all(share >= 0 for share in shares):
        raise ValueError(
            f"{where}: {argument}: expected fractions >= 0 that add up to 1, "
            f"got {shares}, which add up to {sum(shares)}"
        )
    return shares


def _largest_remainder(n: int, shares: list[float]) -> list[int]:
    """Round n * share to whole numbers that add up to n: down, then up where most was cut off."""
    ideal = [n * share for share in shares]
    sizes = [math.floor(size) for size in ideal]
    by_remainder = sorted(range(len(shares)), key=lambda part: sizes[part] - ideal[part])
    for part in by_remainder[: n - sum(sizes)]:
        sizes[part] += 1
    return sizes


def _deal(sizes: list[int]) -> np.ndarray:
    """Return N part numbers, `sizes[p]` times p, each spread evenly: as cards are dealt to players.

    Example k of part p is wanted at the place (k + 1/2) N / sizes[p]; sorting by these places deals
    the cards. Any run of neighbours, such as a class, then has about the right share of each part.
    """
    places = [(np.arange(size) + 0.5) * (sum(sizes) / max(size, 1)) for size in sizes]
    parts = np.repeat(np.arange(len(sizes)), sizes)  # (N,)
    return parts[np.argsort(np.concatenate(places), kind="stable")]
