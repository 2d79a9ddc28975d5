"""Collating examples into batches."""

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.data.collate import collate


@pytest.mark.parametrize(
    ("examples", "dtype"),
    [
        ([1, 2, 3], np.int64),
        ([1.0, 2.0], np.float32),
        ([True, False], np.bool_),
        ([np.float64(1), np.float64(2)], np.float64),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.zeros(2, np.float32)] * 2, np.float32),
        ([Tensor(np.zeros(2, np.int32))] * 2, np.int32),
    ],
)
def test_dtypes(examples, dtype):
    batch = collate(examples)
    assert isinstance(batch, Tensor)
    assert batch.dtype == dtype
    assert batch.shape[0] == len(examples)


def test_pairs_become_a_tuple_of_batches():
    x, y = collate([(np.full((1, 2), i, np.float32), i) for i in range(3)])
    assert x.shape == (3, 1, 2)
    np.testing.assert_array_equal(y.array, [0, 1, 2])


def test_nesting_and_dicts():
    batch = collate([{"x": [1, (2.0, 3)]}, {"x": [4, (5.0, 6)]}])
    one, (two, three) = batch["x"]
    assert (one.tolist(), two.tolist(), three.tolist()) == ([1, 4], [2.0, 5.0], [3, 6])


def test_the_batch_does_not_share_memory():
    example = np.zeros(2, np.float32)
    assert not np.shares_memory(collate([example]).array, example)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one"),
        (
            [np.zeros(2), np.zeros(3)],
            r"equal shapes, got \(2,\) in example 0 .* \(3,\) in example 1",
        ),
        ([np.zeros(2), np.zeros(2, np.float32)], "equal dtypes, got float64"),
        ([(1, 2), (1,)], "equal lengths, got 2"),
        ([{"a": 1}, {"b": 1}], "equal keys"),
        ([np.zeros(1), (1,)], "equal types, got ndarray .* tuple in example 1"),
    ],
)
def test_unequal_examples(examples, message):
    with pytest.raises(ValueError, match=message):
        collate(examples)


def test_other_types():
    with pytest.raises(TypeError, match="got str; give the DataLoader a collate_fn"):
        collate(["a", "b"])
