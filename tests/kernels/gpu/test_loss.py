"""Cross-entropy in CUDA: against the definition, and labels that are no classes."""

import numpy as np
import pytest

from minicnn.kernels.gpu import loss
from tests.checks import normal
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.gpu.on_device import OnDevice
from tests.kernels.loss_cases import IGNORE, TOLERANCE, case, softmax, truth_of


@pytest.fixture
def on_device(cupy):
    return OnDevice(loss, cupy)


@pytest.mark.parametrize("shape", [(64, 10), (1, 1), (0, 3), (7, 300), (300, 11)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_definition(on_device, shape, smoothing, dtype):
    x, labels, weights = case(*shape, dtype)
    truth = truth_of(labels, weights.astype(np.float64), smoothing)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}

    settings = labels, weights, IGNORE, smoothing
    losses, probabilities, weight, wrong = on_device.cross_entropy(x, *settings)
    assert losses.dtype == probabilities.dtype == weight.dtype == dtype
    assert wrong == -1
    np.testing.assert_allclose(losses, -(truth * np.log(softmax(x))).sum(1), **tolerance)
    np.testing.assert_allclose(weight, weights[labels[labels != IGNORE]].sum(), **tolerance)

    grad = normal(shape[0], seed=1, dtype=dtype)
    expected = softmax(x) * truth.sum(1, keepdims=True) - truth
    for g in (grad, grad[:1]):
        grad_x = on_device.cross_entropy_grad(g, probabilities, *settings)
        assert grad_x.dtype == dtype
        np.testing.assert_allclose(grad_x, expected * g[:, None], **tolerance)


@pytest.mark.parametrize("bad", [-1, 10, 2**40, -(2**63)])
@pytest.mark.parametrize("rows", [64, 700])
def test_the_first_wrong_label_is_reported(on_device, rows, bad, monkeypatch):
    monkeypatch.setattr(loss, "MOST_BLOCKS", 20)  # so that warps take several rows
    x, labels, weights = case(rows, 10)
    labels[[rows // 2, rows - 1]] = bad
    losses, probabilities, _, wrong = on_device.cross_entropy(x, labels, weights, IGNORE, 0.0)
    assert wrong == rows // 2
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(losses)), [rows // 2, rows - 1])
    grad_x = on_device.cross_entropy_grad(
        np.ones(rows), probabilities, labels, weights, IGNORE, 0.0
    )
    assert np.isfinite(grad_x).all()


def test_rows_without_truth_may_hold_anything(on_device):
    x = np.array([[np.nan, np.inf, 0.0], [np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]])
    labels, weights = np.array([IGNORE, 0, 1]), np.array([0.0, 1.0, 1.0])
    settings = labels, weights, IGNORE, 0.0
    losses, probabilities, _, _ = on_device.cross_entropy(x, *settings)
    np.testing.assert_allclose(losses, [0, 0, np.log(3)])
    grad_x = on_device.cross_entropy_grad(np.ones(3), probabilities, *settings)
    np.testing.assert_array_equal(grad_x[:2], 0)


def test_large_scores_keep_their_digits(on_device):
    x = np.array([[1000.0, 999.0]], np.float32)
    arguments = x, np.array([0]), np.ones(2, np.float32), IGNORE, 0.0
    losses = on_device.cross_entropy(*arguments)[0]
    np.testing.assert_allclose(losses, np.log1p(np.exp(-1)), rtol=1e-6)


def test_nan_is_seen(on_device):
    x = np.zeros((2, 3))
    x[0, 2] = np.nan
    losses = on_device.cross_entropy(x, np.array([0, 0]), np.ones(3), IGNORE, 0.0)[0]
    np.testing.assert_array_equal(np.isnan(losses), [True, False])


def test_labels_of_32_bits_and_scores_in_another_order(on_device):
    x, labels, weights = case(40, 6)
    plain = on_device.cross_entropy(x, labels, weights, IGNORE, 0.1)
    other = on_device.cross_entropy(
        np.asfortranarray(x), labels.astype(np.int32), weights, IGNORE, 0.1
    )
    np.testing.assert_array_equal(plain[0], other[0])


def test_results_are_the_same_bits_for_all_orders_of_threads(on_device, monkeypatch):
    x, labels, weights = case(100, 33, "float32")
    runs = set()
    for seed in range(4):
        monkeypatch.setattr(HostModule, "seed", seed)
        results = on_device.cross_entropy(x, labels, weights, IGNORE, 0.1)
        runs.add(tuple(result.tobytes() for result in results))
    assert len(runs) == 1


def test_the_host_never_waits(cupy, traffic):
    x, labels, weights = map(cupy.asarray, case(16, 10))
    traffic.clear()
    settings = labels, weights, IGNORE, 0.1
    losses, probabilities, _, _ = loss.cross_entropy(x, *settings)
    loss.cross_entropy_grad(losses, probabilities, *settings)
    assert not traffic.syncs
    assert not traffic.uploads
