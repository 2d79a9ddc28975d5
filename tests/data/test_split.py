"""Splits: sizes, no overlap, class proportions, repeatability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn.random
from minicnn.data.split import random_split, train_val_test_split

WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any)


def as_fractions(weights):
    return [weight / sum(weights) for weight in weights]


@given(n=st.integers(0, 500), weights=WEIGHTS, classes=st.integers(0, 7), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_every_example_is_in_exactly_one_part(n, weights, classes, seed):
    labels = np.random.default_rng(seed).integers(0, classes, n) if classes else None
    parts = train_val_test_split(n, as_fractions(weights), labels, seed)
    assert sorted(np.concatenate(parts)) == list(range(n))


@given(n=st.integers(0, 5000), weights=WEIGHTS)
@settings(max_examples=150, deadline=None)
def test_sizes_are_within_one_of_the_ideal(n, weights):
    fractions = as_fractions(weights)
    for part, fraction in zip(train_val_test_split(n, fractions, seed=0), fractions, strict=True):
        assert abs(len(part) - n * fraction) < 1


@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=8), weights=WEIGHTS)
@settings(max_examples=150, deadline=None)
def test_stratified_parts_hold_their_share_of_every_class(counts, weights):
    labels = np.repeat(np.arange(len(counts)), counts)
    fractions = as_fractions(weights)
    plain = train_val_test_split(len(labels), fractions, seed=0)
    parts = train_val_test_split(len(labels), fractions, stratify=labels, seed=0)
    assert [len(part) for part in parts] == [len(part) for part in plain]
    for part, fraction in zip(parts, fractions, strict=True):
        got = np.bincount(labels[part], minlength=len(counts))
        assert np.all(np.abs(got - fraction * np.array(counts)) <= 1 + len(weights) / 2)


def test_stratified_is_exact_where_shares_are_whole():
    labels = np.tile(np.arange(10), 60)
    train, validation, test = train_val_test_split(labels, (0.7, 0.2, 0.1), labels, seed=3)
    assert np.bincount(labels[train]).tolist() == [42] * 10
    assert np.bincount(labels[validation]).tolist() == [12] * 10
    assert np.bincount(labels[test]).tolist() == [6] * 10


def test_largest_remainder():
    sizes = [len(part) for part in train_val_test_split(11, (0.7, 0.2, 0.1), seed=0)]
    assert sizes == [8, 2, 1]  # 7.7, 2.2, 1.1


def test_stratified_parts_are_not_sorted_by_class():
    labels = np.repeat(np.arange(5), 40)
    train = train_val_test_split(labels, stratify=labels, seed=0)[0]
    assert np.any(np.diff(labels[train]) < 0)


def test_string_labels():
    labels = np.array(["cat", "dog"] * 10)
    first, second = train_val_test_split(labels, (0.5, 0.5), labels, seed=0)
    assert sorted(labels[first]) == sorted(labels[second])


@pytest.mark.parametrize("stratify", [None, np.arange(100) % 3])
def test_a_seed_repeats_the_split(stratify):
    first, again, other = (
        train_val_test_split(100, stratify=stratify, seed=seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_without_a_seed_the_global_generator_decides():
    minicnn.random.manual_seed(5)
    first = train_val_test_split(50)[0]
    minicnn.random.manual_seed(5)
    np.testing.assert_array_equal(first, train_val_test_split(50)[0])


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.2), (0.7, 0.2, 0.2), (1.1, -0.1), (), (float("nan"), 1.0), (0, 0)]
)
def test_wrong_fractions(fractions):
    with pytest.raises(ValueError, match="fractions: expected fractions >= 0 that add up to 1"):
        train_val_test_split(10, fractions)


def test_wrong_arguments():
    with pytest.raises(
        ValueError, match=r"expected 10 labels, one an example, got the shape \(9,\)"
    ):
        train_val_test_split(10, stratify=np.zeros(9))
    with pytest.raises(ValueError, match="examples: expected a number >= 0, got -1"):
        train_val_test_split(-1)
    with pytest.raises(TypeError, match="expected a whole number or something with a length"):
        train_val_test_split(10.0)


def test_random_split_by_counts():
    parts = random_split(list("abcdefgh"), [5, 3], generator=0)
    assert [len(part) for part in parts] == [5, 3]
    assert sorted(letter for part in parts for letter in part) == list("abcdefgh")


@pytest.mark.parametrize("n", [14, 15, 33, 100])
@pytest.mark.parametrize("fractions", [(0.5, 0.25, 0.25), (0.7, 0.2, 0.1), (0.29, 0.71), (1.0,)])
def test_random_split_has_pytorchs_sizes(n, fractions):
    utils = pytest.importorskip("torch.utils.data")
    theirs = [len(part) for part in utils.random_split(range(n), fractions)]
    assert [len(part) for part in random_split(range(n), fractions)] == theirs


def test_random_split_is_repeatable():
    first, again = (random_split(range(30), [0.5, 0.5], generator=4)[0] for _ in range(2))
    assert list(first) == list(again)


@pytest.mark.parametrize("lengths", [[5, 4], [11, -1], [], [0.5, 0.6], [1.5, -0.5]])
def test_random_split_refuses_lengths_that_do_not_add_up(lengths):
    with pytest.raises(ValueError, match="random_split: lengths"):
        random_split(range(10), lengths)
