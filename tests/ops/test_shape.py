"""Functions that move elements: every element arrives, and every gradient finds its way home."""

import numpy as np
import pytest

from minicnn.autograd import Tensor, apply
from minicnn.ops import shape as ops
from tests.checks import check, check_contract, normal
from tests.devices import constant, on_every_device

X = normal(2, 3, 4)

CASES = {
    "reshape": lambda: ops.Reshape((4, 6)),
    "permute": lambda: ops.Permute((2, 0, 1)),
    "expand": lambda: ops.Expand((5, 2, 3, 4)),
    "flip": lambda: ops.Flip((0, 2)),
    "pad": lambda: ops.Pad(((1, 0), (0, 0), (2, 1)), 7.0),
    "pad and cut": lambda: ops.Pad(((-1, 0), (1, -1), (0, -2)), 0.0),
    "basic index": lambda: ops.GetItem((0, slice(None), ..., slice(None, None, -2))),
    "all integers": lambda: ops.GetItem((0, 1, 2)),
    "new axis": lambda: ops.GetItem((None, ..., None)),
    "index with duplicates": lambda: ops.GetItem((np.array([0, 1, 0, 0]), slice(1, 3))),
    "boolean index": lambda: ops.GetItem(X > 0),
}


@on_every_device
@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_contract(CASES[name], X)


@on_every_device
@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    check(lambda x: apply(CASES[name](), x), X)


@on_every_device
def test_contract_of_gather():
    check_contract(lambda: ops.Gather(1), X, np.array([[[0, 2, 1, 1]], [[2, 2, 0, 1]]]))


@on_every_device
def test_gather():
    index = np.array([[[0, 2, 1, 1]], [[2, 2, 0, 1]]])
    check(
        lambda x: x.gather(1, constant(index)), X, oracle=lambda x: np.take_along_axis(x, index, 1)
    )


@on_every_device
def test_gather_with_fewer_rows_than_there_are(torch):
    index = np.array([[0, 2, 0]])

    def oracle(x):
        return torch.tensor(x.copy()).gather(1, torch.tensor(index)).numpy()

    check(lambda x: x.gather(1, constant(index)), normal(3, 4), oracle=oracle)


@pytest.mark.parametrize("index", [[0, 1], [[0.0, 1.0]]])
def test_gather_refuses_other_indices(index):
    with pytest.raises(ValueError, match=r"gather: expected integer indices with the 2 axes"):
        Tensor(normal(3, 4)).gather(1, Tensor(index))


@on_every_device
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate(axis):
    def join(a, b, c):
        return apply(ops.Concatenate(axis), a, b, c)

    a, b, c = normal(2, 2), normal(2, 2, seed=1), normal(2, 2, seed=2)
    check(join, a, b, c, oracle=lambda *parts: np.concatenate(parts, axis))
    check_contract(lambda: ops.Concatenate(axis), a, b, c)


@on_every_device
def test_concatenate_with_an_empty_part():
    check_contract(lambda: ops.Concatenate(0), normal(2, 3), normal(0, 3), normal(1, 3))


def test_pad_value():
    y = ops.Pad(((1, 2),), 9.0).forward(np.array([1.0, 2.0]))
    assert y.tolist() == [9, 1, 2, 9, 9]


def test_negative_pad_cuts():
    y = ops.Pad(((-1, 1),), 0.0).forward(np.array([1.0, 2.0, 3.0]))
    assert y.tolist() == [2, 3, 0]


@pytest.mark.parametrize(
    ("index", "basic"),
    [
        (0, True),
        (np.int64(0), True),
        (slice(None), True),
        ((None, ..., 1, slice(2)), True),
        (True, False),
        ([0, 1], False),
        (np.array([0]), False),
        ((0, [1]), False),
    ],
)
def test_is_basic(index, basic):
    assert ops.is_basic(index) is basic


@pytest.mark.parametrize("index", [0, (0, 1, 2), slice(1), (..., 1)])
def test_a_basic_index_makes_a_view(index):
    x = X.copy()
    assert np.shares_memory(ops.GetItem(index).forward(x), x)
