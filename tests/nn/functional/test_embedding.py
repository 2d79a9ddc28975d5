"""Embedding and one-hot codes: against PyTorch, repeated rows, the padding row, bad indices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from tests.checks import in_memory, leaf
from tests.devices import constant, host, on_every_device, placed
from tests.nn.oracle import assert_like_torch, dtypes, orders, random_array, seeds


@on_every_device
@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.sampled_from([None, 0, 2, -1]),
    st.sampled_from(["int64", "int32"]),
    dtypes,
    st.tuples(orders, orders, orders),
    seeds,
)
def test_like_torch(torch, shape, padding_idx, index_dtype, dtype, memory, seed):
    index = np.random.default_rng(seed).integers(0, 5, shape).astype(index_dtype)
    assert_like_torch(
        torch,
        lambda index, w: F.embedding(index, w, padding_idx),
        lambda index, w: torch.nn.functional.embedding(index, w, padding_idx),
        in_memory(index, memory[0]),
        random_array((5, 3), dtype, seed + 1, memory[1]),
        seed=seed,
        order=memory[2],
    )


@on_every_device
def test_gradients_of_a_row_add_up():
    w = leaf(np.zeros((3, 2)))
    F.embedding(constant([1, 1, 2, 1]), w).backward(placed(np.ones((4, 2))))
    assert w.grad.tolist() == [[0, 0], [3, 3], [1, 1]]


def test_slopes():
    index = Tensor([[0, 2], [2, 1]])
    gradcheck(lambda w: F.embedding(index, w), Tensor(random_array((3, 2)), requires_grad=True))


def test_an_index_that_changes_before_backward_is_noticed():
    w = Tensor(random_array((3, 2)), requires_grad=True)
    index = Tensor([0, 1])
    y = F.embedding(index, w)
    index[0] = 2
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_no_index():
    w = Tensor(random_array((3, 2), "float32"), requires_grad=True)
    y = F.embedding(Tensor(np.zeros((0, 4), "int64")), w)
    assert y.shape == (0, 4, 2)
    y.sum().backward()
    assert not w.grad.array.any()


@on_every_device
@pytest.mark.parametrize("index", [[0, 3], [-1, 0], [[7]]])
def test_refuses_rows_that_do_not_exist(index):
    with pytest.raises(ValueError, match=r"must lie in \[0, 3\)"):
        F.embedding(constant(index), constant(random_array((3, 2)))).tolist()


@pytest.mark.parametrize("index", [np.array([0.0]), np.array([True])])
def test_refuses_what_is_no_number_of_a_row(index):
    for call in (F.one_hot, lambda i: F.embedding(i, Tensor(random_array((3, 2))))):
        with pytest.raises(TypeError, match=r"use \.long\(\)"):
            call(Tensor(index))


def test_refuses_other_tables_and_padding_rows():
    with pytest.raises(ValueError, match=r"\(rows, features\), got \(3,\)"):
        F.embedding(Tensor([0]), Tensor(random_array((3,))))
    with pytest.raises(ValueError, match=r"padding_idx .* \[-3, 3\), got 3"):
        F.embedding(Tensor([0]), Tensor(random_array((3, 2))), padding_idx=3)


@on_every_device
@pytest.mark.parametrize("classes", [-1, 5, 8])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_one_hot_like_torch(torch, shape, classes):
    index = np.random.default_rng(1).integers(0, 5, shape)
    mine = F.one_hot(constant(index), classes)
    twin = torch.nn.functional.one_hot(torch.tensor(index), classes)
    np.testing.assert_array_equal(host(mine), twin.numpy())
    assert mine.dtype == np.int64


def test_one_hot_refuses():
    with pytest.raises(ValueError, match=r"\[0, 3\), got 3 at index\[1\]"):
        F.one_hot(Tensor([1, 3]), 3)
    with pytest.raises(ValueError, match=r"got -1 at index\[0\]"):
        F.one_hot(Tensor([-1, 2]))
    with pytest.raises(ValueError, match="num_classes"):
        F.one_hot(Tensor(np.zeros(0, "int64")))
    assert F.one_hot(Tensor(np.zeros(0, "int64")), 3).shape == (0, 3)
