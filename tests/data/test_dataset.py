"""TensorDataset and Subset."""

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.data.dataset import Dataset, Subset, TensorDataset, fetch_batch

X = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
Y = np.arange(6) * 10


def test_an_example_has_one_entry_of_every_tensor():
    x, y = TensorDataset(X, Y)[2]
    assert isinstance(x, Tensor)
    np.testing.assert_array_equal(x.array, X[2])
    assert (y.item(), y.dtype, y.shape) == (20, np.int64, ())


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_dtypes_are_kept(dtype):
    dataset = TensorDataset(X.astype(dtype), Y.astype(dtype))
    for batch in (dataset[1], dataset[1:3], dataset.fetch(np.array([1]))):
        assert [tensor.dtype for tensor in batch] == [dtype, dtype]


def test_tensors_are_taken_too_and_carry_no_gradient():
    dataset = TensorDataset(Tensor(X, requires_grad=True), Tensor(Y))
    assert not dataset[0][0].requires_grad
    assert not dataset.tensors[0].requires_grad


def test_fetch_copies():
    dataset = TensorDataset(X.copy())
    batch = dataset.fetch(np.array([3, 0]))[0]
    np.testing.assert_array_equal(batch.array, X[[3, 0]])
    batch.array[:] = -1
    np.testing.assert_array_equal(dataset.tensors[0].array, X)


def test_iterating_over_a_dataset_ends():
    assert [y.item() for _, y in TensorDataset(X, Y)] == Y.tolist()


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"same N, got \(6, 2, 2\), \(5,\)"):
        TensorDataset(X, Y[:5])
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()
    with pytest.raises(ValueError, match=r"got \(\)"):
        TensorDataset(np.float32(1))


def test_subset_renumbers():
    subset = Subset(TensorDataset(X, Y), [4, 1, -1])
    assert len(subset) == 3
    assert [y.item() for _, y in subset] == [40, 10, 50]
    np.testing.assert_array_equal(subset.fetch(np.array([1, 0]))[1].array, [10, 40])


def test_subset_of_a_subset_and_of_a_list():
    inner = Subset(list("abcdef"), [5, 4, 3])
    assert list(Subset(inner, [2, 0])) == ["d", "f"]
    numbers = Subset(Subset([1, 2, 3], [2, 1]), [1, 0])
    np.testing.assert_array_equal(fetch_batch(numbers, np.array([0, 1])).array, [2, 3])


def test_empty_subset():
    assert list(Subset([1, 2], [])) == []


@pytest.mark.parametrize("indices", [[6], [0, -7]])
def test_subset_checks_its_indices(indices):
    with pytest.raises(IndexError, match="6 examples, got index"):
        Subset(TensorDataset(X, Y), indices)


@pytest.mark.parametrize("indices", [[0.5], [True, False], [[1, 2]]])
def test_subset_indices_are_whole_numbers(indices):
    with pytest.raises(TypeError, match="flat list of whole numbers"):
        Subset(TensorDataset(X, Y), indices)


def test_an_unfinished_dataset_says_what_is_missing():
    class Mine(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Mine: a dataset must define __len__"):
        len(Mine())
    with pytest.raises(NotImplementedError, match="Mine: a dataset must define __getitem__"):
        Mine()[0]


def test_text():
    dataset = TensorDataset(np.zeros((3, 2), "f4"), np.zeros(3, "i8"))
    assert repr(dataset) == "TensorDataset(float32 (3, 2), int64 (3,))"
    assert repr(Subset(dataset, [2])) == "Subset(1 of the 3 examples of a TensorDataset)"
