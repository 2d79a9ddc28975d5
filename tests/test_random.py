"""The one source of chance."""

import numpy as np
import pytest

from minicnn import random


def test_the_same_seed_gives_the_same_numbers():
    first = random.manual_seed(5).random(3)
    assert (random.manual_seed(5).random(3) == first).all()
    assert (random.manual_seed(6).random(3) != first).any()


def test_manual_seed_restarts_the_global_generator():
    assert random.manual_seed(5) is random.generator()


def test_resolve():
    own = np.random.default_rng(1)
    assert random.resolve(None) is random.generator()
    assert random.resolve(own) is own
    assert random.resolve(7).random() == random.resolve(7).random()


@pytest.mark.parametrize("seed", ["a", -1, 1.5, None, [1, 2]])
def test_other_seeds_are_refused_and_change_nothing(seed):
    before = random.generator()
    with pytest.raises((TypeError, ValueError), match="manual_seed: seed: expected a whole number"):
        random.manual_seed(seed)
    assert random.generator() is before
