"""Cross-entropy: the compiled loops against NumPy, and both against the definition."""

import numpy as np
import pytest

from minicnn.kernels import loss as numpy_loss
from minicnn.kernels.cpu import loss
from tests.checks import normal
from tests.kernels.loss_cases import IGNORE, TOLERANCE, case, softmax, truth_of

MODULES = pytest.mark.parametrize("module", [loss, numpy_loss], ids=["compiled", "numpy"])


@MODULES
@pytest.mark.parametrize("shape", [(64, 10), (1, 1), (0, 3), (7, 1000), (3000, 11)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_definition(module, shape, smoothing, dtype):
    x, labels, weights = case(*shape, dtype)
    truth = truth_of(labels, weights.astype(np.float64), smoothing)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}

    settings = labels, weights, IGNORE, smoothing
    losses, probabilities, weight, wrong = module.cross_entropy(x, *settings)
    assert losses.dtype == probabilities.dtype == dtype
    assert int(wrong) == -1
    assert wrong.dtype == np.int64
    np.testing.assert_allclose(losses, -(truth * np.log(softmax(x))).sum(1), **tolerance)
    np.testing.assert_allclose(weight, weights[labels[labels != IGNORE]].sum(), **tolerance)

    grad = normal(shape[0], seed=1, dtype=dtype)
    expected = softmax(x) * truth.sum(1, keepdims=True) - truth
    for g in (grad, grad[:1]):
        grad_x = module.cross_entropy_grad(g, probabilities, *settings)
        assert grad_x.dtype == dtype
        np.testing.assert_allclose(grad_x, expected * g[:, None], **tolerance)


@MODULES
@pytest.mark.parametrize("bad", [-1, 10, 2**40, -(2**63)])
@pytest.mark.parametrize("rows", [64, 5000])
def test_the_first_wrong_label_is_found(module, rows, bad):
    x, labels, weights = case(rows, 10)
    labels[[rows // 2, rows - 1]] = bad
    assert module.cross_entropy(x, labels, weights, IGNORE, 0.0)[3] == rows // 2


@MODULES
def test_rows_without_truth_may_hold_anything(module):
    x = np.array([[np.nan, np.inf, 0.0], [np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]])
    labels, weights = np.array([IGNORE, 0, 1]), np.array([0.0, 1.0, 1.0])
    with np.errstate(invalid="ignore"):
        losses, probabilities, _, _ = module.cross_entropy(x, labels, weights, IGNORE, 0.0)
        grad_x = module.cross_entropy_grad(np.ones(3), probabilities, labels, weights, IGNORE, 0.0)
    np.testing.assert_allclose(losses, [0, 0, np.log(3)])
    np.testing.assert_array_equal(grad_x[:2], 0)


@MODULES
def test_large_scores_keep_their_digits(module):
    x = np.array([[1000.0, 999.0]], np.float32)
    losses = module.cross_entropy(x, np.array([0]), np.ones(2, np.float32), IGNORE, 0.0)[0]
    np.testing.assert_allclose(losses, np.log1p(np.exp(-1)), rtol=1e-6)


@MODULES
def test_nan_is_seen(module):
    x = np.zeros((2, 3))
    x[0, 2] = np.nan
    losses = module.cross_entropy(x, np.array([0, 0]), np.ones(3), IGNORE, 0.0)[0]
    np.testing.assert_array_equal(np.isnan(losses), [True, False])


def test_arrays_of_any_memory_order():
    x, labels, weights = case(40, 6)
    plain = loss.cross_entropy(x, labels, weights, IGNORE, 0.1)
    odd = loss.cross_entropy(
        np.asfortranarray(x), np.repeat(labels, 2)[::2], weights[::-1].copy()[::-1], IGNORE, 0.1
    )
    np.testing.assert_array_equal(plain[0], odd[0])


@pytest.mark.parametrize("distance", [32, 48, 64, 96])
def test_bits_do_not_depend_on_where_the_arrays_lie(distance):
    x, labels, weights = case(2, 4, np.float32)
    results = []
    for place in (distance, 512):
        memory = np.zeros(1024, np.uint8)
        first = -memory.ctypes.data % 64
        scores, probabilities = (
            memory[first + start : first + start + x.nbytes].view(x.dtype).reshape(x.shape)
            for start in (0, place)
        )
        scores[...] = x
        losses = np.empty(len(x), x.dtype)
        truth = labels, weights, IGNORE, 0.0
        sums = np.empty(1), np.full(1, -1)
        loss._losses(1, scores, truth, losses, probabilities, *sums)
        results.append(losses.tobytes() + probabilities.tobytes())
    assert results[0] == results[1]


@MODULES
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_losses_are_added_up_and_divided(module, rows, dtype):
    losses, divisor = normal(rows, seed=2, dtype=dtype), np.array(7.5)
    for found, expected in [
        (module.total(losses), losses.sum(dtype=np.float64)),
        (module.total(losses, divisor), losses.sum(dtype=np.float64) / 7.5),
        (module.divided(losses[:1], divisor), losses[:1] / 7.5),
    ]:
        assert isinstance(found, np.ndarray)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@MODULES
def test_a_mean_over_nothing_is_nan(module):
    with np.errstate(invalid="ignore"):
        assert np.isnan(module.total(np.zeros(3, np.float32), np.array(0.0)))
