"""Dropout: how often and what it drops, its scale, repeatability, its gradient, bad input."""

import numpy as np
import pytest

import minicnn
import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.nn.functional.dropout import Dropout
from tests.checks import check_contract, in_memory
from tests.nn.oracle import random_array

ALL = [
    (F.dropout, (4, 3, 2, 2)),
    (F.dropout1d, (4, 3, 5)),
    (F.dropout2d, (4, 3, 2, 2)),
    (F.stochastic_depth, (4, 3, 2, 2)),
]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_share_and_scale(p, dtype):
    n = 100_000
    y = F.dropout(Tensor(np.ones(n, dtype)), p)
    assert y.dtype == dtype
    kept = y.array != 0
    spread = np.sqrt(p * (1 - p) / n)
    assert abs(kept.mean() - (1 - p)) < 5 * spread
    np.testing.assert_allclose(y.array[kept], 1 / (1 - p), rtol=1e-6)


def test_neighbours_are_dropped_independently():
    kept = F.dropout(Tensor(np.ones(100_000)), 0.5).array != 0
    assert abs(np.corrcoef(kept[1:], kept[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_nothing_and_everything(dropout, shape):
    x = random_array(shape)
    np.testing.assert_array_equal(dropout(Tensor(x), 0.0).array, x)
    np.testing.assert_array_equal(dropout(Tensor(x), 1.0).array, 0 * x)
    np.testing.assert_array_equal(dropout(Tensor(x), 0.5, training=False).array, x)


@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_a_seed_repeats_the_mask(dropout, shape):
    x = Tensor(random_array((8, *shape[1:])))
    draws = []
    for seed in (1, 1, 2):
        minicnn.manual_seed(seed)
        draws.append(dropout(x, 0.5).array)
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize(
    ("dropout", "shape"), [(F.dropout1d, (40, 30, 5)), (F.dropout2d, (40, 30, 2, 3))]
)
def test_channels_are_dropped_as_a_whole(dropout, shape):
    kept = dropout(Tensor(np.ones(shape)), 0.3).array.reshape(40, 30, -1) != 0
    assert (kept.all(axis=2) | ~kept.any(axis=2)).all()
    assert 0.6 < kept.mean() < 0.8


@pytest.mark.parametrize(("dropout", "shape"), ALL)
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_gradient_passes_the_same_mask(dropout, shape, p):
    x = Tensor(np.ones(shape), requires_grad=True)
    y = dropout(x, p)
    y.backward(np.full(shape, 3.0))
    np.testing.assert_array_equal(x.grad.array, 3 * y.array)


def test_contract():
    check_contract(lambda: Dropout(0.5, (3, 4)), random_array((3, 4)))
    check_contract(lambda: Dropout(0.5, (3, 4, 1)), random_array((3, 4, 5)))


@pytest.mark.parametrize("dropout", [F.dropout, F.dropout2d])
def test_the_memory_order_is_kept(dropout):
    x = in_memory(random_array((2, 3, 4, 5)), "channels last")
    y = dropout(Tensor(x))
    assert y.array.strides == x.strides


@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_empty_batch(dropout, shape):
    x = Tensor(np.zeros((0, *shape[1:]), "float32"), requires_grad=True)
    y = dropout(x, 0.5)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape


@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_refuses(dropout, shape):
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"probability p in \[0, 1\]"):
            dropout(Tensor(random_array(shape)), p)
    with pytest.raises(TypeError, match="int64"):
        dropout(Tensor(np.ones(shape, "int64")), 0.5)


@pytest.mark.parametrize("dropout", [F.dropout1d, F.dropout2d])
def test_channel_dropout_refuses_other_numbers_of_axes(dropout):
    with pytest.raises(ValueError, match=r"got x of shape \(4, 3\)"):
        dropout(Tensor(random_array((4, 3))))


# --- stochastic depth ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3000,), (3000, 2), (3000, 2, 1, 2)])
def test_examples_are_dropped_as_a_whole(shape):
    y = F.stochastic_depth(Tensor(np.ones(shape)), 0.3).array.reshape(3000, -1)
    kept = y != 0
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all()
    assert abs(kept.mean() - 0.7) < 0.05
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)


def test_a_batch_is_dropped_as_a_whole():
    x = Tensor(np.ones((6, 2)))
    drawn = [F.stochastic_depth(x, 0.3, "batch").array for _ in range(400)]
    assert all(y.min() == y.max() for y in drawn)
    assert abs(np.mean([y.any() for y in drawn]) - 0.7) < 0.1


def test_stochastic_depth_refuses():
    with pytest.raises(ValueError, match="stochastic_depth: mode: expected 'row' or 'batch'"):
        F.stochastic_depth(Tensor(random_array((4, 3))), 0.5, "column")
    with pytest.raises(ValueError, match="stochastic_depth: expected x of shape"):
        F.stochastic_depth(Tensor(np.float32(1)), 0.5)
