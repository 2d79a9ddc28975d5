"""Dropout: how often and what it drops, its scale, repeatability, its gradient, bad input."""

import numpy as np
import pytest

import minicnn
import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.kernels import dropout as array_dropout
from minicnn.nn.functional.dropout import Dropout, new_key
from tests.checks import check_contract, in_memory, leaf
from tests.devices import constant, host, on_every_device, placed
from tests.nn.oracle import random_array

ALL = [
    (F.dropout, (4, 3, 2, 2)),
    (F.dropout1d, (4, 3, 5)),
    (F.dropout2d, (4, 3, 2, 2)),
    (F.stochastic_depth, (4, 3, 2, 2)),
]


@on_every_device
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_share_and_scale(p, dtype):
    n = 100_000
    y = F.dropout(constant(np.ones(n, dtype)), p)
    assert y.dtype == dtype
    kept = host(y) != 0
    spread = np.sqrt(p * (1 - p) / n)
    assert abs(kept.mean() - (1 - p)) < 5 * spread
    np.testing.assert_allclose(host(y)[kept], 1 / (1 - p), rtol=1e-6)


def test_neighbours_are_dropped_independently():
    kept = host(F.dropout(constant(np.ones(100_000)), 0.5)) != 0
    assert abs(np.corrcoef(kept[1:], kept[:-1])[0, 1]) < 0.02


@on_every_device
@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_nothing_and_everything(dropout, shape):
    x = random_array(shape)
    np.testing.assert_array_equal(host(dropout(constant(x), 0.0)), x)
    np.testing.assert_array_equal(host(dropout(constant(x), 1.0)), 0 * x)
    np.testing.assert_array_equal(host(dropout(constant(x), 0.5, training=False)), x)


@on_every_device
@pytest.mark.parametrize(("dropout", "shape"), ALL)
def test_a_seed_repeats_the_mask(dropout, shape):
    x = constant(random_array((8, *shape[1:])))
    draws = []
    for seed in (1, 1, 2):
        minicnn.manual_seed(seed)
        draws.append(host(dropout(x, 0.5)))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@on_every_device
@pytest.mark.parametrize(
    ("dropout", "shape"), [(F.dropout1d, (40, 30, 5)), (F.dropout2d, (40, 30, 2, 3))]
)
def test_channels_are_dropped_as_a_whole(dropout, shape):
    kept = host(dropout(constant(np.ones(shape)), 0.3)).reshape(40, 30, -1) != 0
    assert (kept.all(axis=2) | ~kept.any(axis=2)).all()
    assert 0.6 < kept.mean() < 0.8


@on_every_device
@pytest.mark.parametrize(("dropout", "shape"), ALL)
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_gradient_passes_the_same_mask(dropout, shape, p):
    x = leaf(np.ones(shape))
    y = dropout(x, p)
    y.backward(placed(np.full(shape, 3.0)))
    np.testing.assert_array_equal(host(x.grad), 3 * host(y))


def test_the_same_seed_drops_the_same_numbers_on_every_device(device):
    y = host(F.dropout(constant(np.ones((3, 5, 2, 7), "float32")), 0.4))
    minicnn.manual_seed(0)
    with_numpy = array_dropout.dropout(np.ones(y.shape, "float32"), 0.4, new_key())
    np.testing.assert_array_equal(y, with_numpy)


@on_every_device
@pytest.mark.parametrize(("dropout", "shape"), ALL)
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_nan_is_not_dropped(dropout, shape, p):
    """Nor in the gradient: a loss that has become NaN must not look right by chance."""
    x = leaf(np.full(shape, np.nan, "float32"))
    y = dropout(x, p)
    assert np.isnan(host(y)).all()
    y.backward(placed(np.full(shape, np.nan, "float32")))
    assert np.isnan(host(x.grad)).all()


@on_every_device
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


@on_every_device
@pytest.mark.parametrize("shape", [(3000,), (3000, 2), (3000, 2, 1, 2)])
def test_examples_are_dropped_as_a_whole(shape):
    y = host(F.stochastic_depth(constant(np.ones(shape)), 0.3)).reshape(3000, -1)
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
