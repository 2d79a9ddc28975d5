"""DataLoader: order, repeatability, remainders, and both ways of making a batch."""

import numpy as np
import pytest

import minicnn.random
from minicnn.autograd import Tensor
from minicnn.data.dataset import Subset, TensorDataset
from minicnn.data.loader import DataLoader

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


@pytest.fixture
def dataset():
    return TensorDataset(X, Y)


def epoch(loader):
    return [y.tolist() for _, y in loader]


def test_batches_in_order_with_a_remainder(dataset):
    loader = DataLoader(dataset, 4)
    assert epoch(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    x, _ = next(iter(loader))
    assert isinstance(x, Tensor)
    np.testing.assert_array_equal(x.array, X[:4])


def test_default_is_one_example_a_batch(dataset):
    assert epoch(DataLoader(dataset))[:2] == [[0], [1]]


def test_drop_last(dataset):
    assert len(DataLoader(dataset, 4, drop_last=True)) == 2
    assert epoch(DataLoader(dataset, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert epoch(DataLoader(dataset, 5, drop_last=True)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert epoch(DataLoader(dataset, 11, drop_last=True)) == []


def test_shuffling_shows_each_example_once_and_keeps_pairs_together(dataset):
    x, y = (np.concatenate(part) for part in zip(*DataLoader(dataset, 3, True), strict=True))
    assert sorted(y) == list(range(10))
    np.testing.assert_array_equal(x, X[y.astype(int)])


def test_each_epoch_has_another_order_and_a_seed_repeats_them_all(dataset):
    first, again = (DataLoader(dataset, 10, shuffle=True, generator=7) for _ in range(2))
    epochs = [epoch(first) for _ in range(3)]
    assert epochs == [epoch(again) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_global_seed(dataset):
    loader = DataLoader(dataset, 10, shuffle=True)
    minicnn.random.manual_seed(3)
    first = epoch(loader)
    minicnn.random.manual_seed(3)
    assert epoch(loader) == first
    assert epoch(loader) != first


def test_a_loader_with_its_own_seed_leaves_the_global_generator_alone(dataset):
    minicnn.random.manual_seed(3)
    expected = minicnn.random.generator().random()
    minicnn.random.manual_seed(3)
    epoch(DataLoader(dataset, 10, shuffle=True, generator=0))
    assert minicnn.random.generator().random() == expected


def test_the_order_is_drawn_when_the_epoch_starts(dataset):
    """Two epochs begun together have the orders of two epochs one after the other."""
    both = DataLoader(dataset, 10, shuffle=True, generator=1)
    first, second = iter(both), iter(both)
    late, early = epoch(second), epoch(first)
    again = DataLoader(dataset, 10, shuffle=True, generator=1)
    assert [early, late] == [epoch(again), epoch(again)]


def test_both_ways_of_making_a_batch_agree(dataset):
    items = [(X[i], int(Y[i])) for i in range(10)]
    fast = DataLoader(dataset, 3, shuffle=True, generator=2)
    slow = DataLoader(items, 3, shuffle=True, generator=2)
    for (x, y), (x2, y2) in zip(fast, slow, strict=True):
        assert (x.dtype, y.dtype) == (x2.dtype, y2.dtype)
        np.testing.assert_array_equal(x.array, x2.array)
        np.testing.assert_array_equal(y.array, y2.array)


def test_a_tensor_dataset_is_never_indexed_example_by_example(dataset, monkeypatch):
    def refuse(*_):
        raise AssertionError("one example was fetched")

    monkeypatch.setattr(TensorDataset, "__getitem__", refuse)
    monkeypatch.setattr(Subset, "__getitem__", refuse)
    assert epoch(DataLoader(Subset(dataset, [7, 8, 9]), 2)) == [[7, 8], [9]]


def test_an_array_is_a_dataset():
    np.testing.assert_array_equal(next(iter(DataLoader(X, 3))).array, X[:3])


def test_a_tuple_of_arrays_is_no_dataset():
    with pytest.raises(TypeError, match=r"got a tuple; .*TensorDataset\(images, labels\)"):
        DataLoader((X, Y), 4)


def test_collate_fn(dataset):
    loader = DataLoader(dataset, 4, collate_fn=lambda examples: len(examples))
    assert list(loader) == [4, 4, 2]


@pytest.mark.parametrize("empty", [TensorDataset(X[:0], Y[:0]), []])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_empty_dataset_has_no_batches(empty, shuffle):
    loader = DataLoader(empty, 4, shuffle)
    assert len(loader) == 0
    assert list(loader) == []


def test_num_workers_changes_nothing(dataset):
    assert epoch(DataLoader(dataset, 4, num_workers=4)) == epoch(DataLoader(dataset, 4))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -1}, ValueError),
        ({"batch_size": 2.0}, TypeError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": None}, TypeError),
        ({"num_workers": -1}, ValueError),
        ({"num_workers": "4"}, TypeError),
        ({"prefetch_factor": 2}, TypeError),
    ],
)
def test_wrong_arguments(dataset, arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        DataLoader(dataset, **arguments)


def test_text(dataset):
    text = "DataLoader(TensorDataset, batch_size=4, shuffle=True, drop_last=False)"
    assert repr(DataLoader(dataset, 4, shuffle=True)) == text
