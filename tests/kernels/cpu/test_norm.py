"""Batch normalisation in compiled loops: against the definition, and its accuracy, over shapes and threads."""

import numba
import numpy as np
import pytest
from hypothesis import given

from minicnn.kernels import norm as sibling
from minicnn.kernels.cpu import norm
from tests.kernels.test_norm import EPS, a_case, check_against_the_definition, norm_cases


@given(norm_cases())
def test_equals_the_definition(case):
    check_against_the_definition(norm, case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 1, 3, 3),
        (3, 6, 5, 5),  # an odd number of rows of 6
        (64, 6, 4, 4),  # rows that are put side by side
        (2, 16, 28, 28),
        (5, 33, 3, 3),
        (3, 70, 7, 7),
        (2, 1024, 1, 1),
        (130, 64),  # some blocks of rows
    ],
)
def test_shapes_of_rows(shape, relu, dtype):
    check_against_the_definition(norm, a_case(shape, dtype, relu))


@pytest.mark.parametrize("shape", [(2, 3), (3, 8, 1, 1), (64, 16, 8, 8)])
def test_one_thread_gives_the_same_as_the_definition(shape):
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        check_against_the_definition(norm, a_case(shape))
    finally:
        numba.set_num_threads(before)


def test_results_are_the_same_bits_each_time():
    x, weight, bias, residual, relu, grad = a_case((16, 20, 9, 9))
    runs = []
    for _ in range(3):
        y, mean, inverse_std, variance = norm.batch_norm(x, weight, bias, EPS, residual, relu)
        gradients = norm.batch_norm_grad(grad, x, mean, inverse_std, weight, bias, True, y)
        runs.append([a.tobytes() for a in (y, mean, inverse_std, variance, *gradients)])
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("outlier", [0, -3e3])
def test_a_large_mean_keeps_a_small_variance(outlier):
    x = 1e4 + np.random.default_rng(0).standard_normal((64, 3, 16, 16))
    x[0, :, 0, 0] += outlier  # in the row that is looked at first
    x = x.astype(np.float32)
    y, mean, _, variance = norm.batch_norm(x, None, None, 0.0)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(variance, exact.var((0, 2, 3)), rtol=1e-5)
    expected = (exact - mean[:, None, None]) / np.sqrt(variance)[:, None, None]
    assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()


def test_sums_over_many_rows_lose_nothing():
    x = np.random.default_rng(0).uniform(0, 1, (200, 50, 50, 4)).astype(np.float32)
    x = x.transpose(0, 3, 1, 2)
    _, mean, _, variance = norm.batch_norm(x, None, None, EPS)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3), dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 2, 3)), rtol=1e-6)


def test_a_constant_channel_has_no_variance():
    x = np.full((4, 5, 3, 3), 0.1, np.float32)
    y, mean, inverse_std, variance = norm.batch_norm(x, None, None, 1e-5)
    assert not y.any()
    assert variance.tolist() == [0] * 5
    np.testing.assert_allclose(mean, np.float32(0.1))
    np.testing.assert_allclose(inverse_std, 1e-5**-0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_channel(value):
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    x[0, 1, 0, 0] = value
    y, mean, inverse_std, _ = norm.batch_norm(x, None, None, EPS, None, True)
    assert np.isnan(y[:, 1]).any()
    assert np.isfinite(y[:, ::2]).all()
    grad_x, *_ = norm.batch_norm_grad(np.ones_like(x), x, mean, inverse_std, None, None, True)
    assert np.isnan(grad_x[:, 1]).any()
    assert np.isfinite(grad_x[:, ::2]).all()


def test_given_statistics_keep_infinity_out_of_the_gradient():
    x = np.full((1, 2, 1, 1), np.inf, np.float32)
    statistics = np.zeros(2), np.ones(2)
    y = norm.apply_statistics(x, *statistics, None, None)
    assert np.isposinf(y).all()
    grad_x, *_ = norm.batch_norm_grad(np.ones_like(x), x, *statistics, None, None, of_batch=False)
    assert (grad_x == 1).all()


def test_nan_passes_the_relu_and_its_gradient():
    x = np.array([[np.nan, -1.0, 0.0, 2.0]], np.float32)
    statistics = np.zeros(4), np.ones(4)
    y = norm.apply_statistics(x, *statistics, None, None, None, True)
    np.testing.assert_array_equal(y, [[np.nan, 0, 0, 2]])
    for saved in (y, None):
        grad_x, *_ = norm.batch_norm_grad(
            np.ones_like(x), x, *statistics, None, None, True, saved, False
        )
        np.testing.assert_array_equal(grad_x, [[1, 0, 0, 1]])


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 2, 2), (0, 4)])
def test_empty_arrays(shape):
    x, C = np.zeros(shape, np.float32), shape[1]
    y = norm.apply_statistics(x, np.zeros(C), np.ones(C), None, None)
    grad_x, grad_weight, grad_bias, _ = norm.batch_norm_grad(
        y, x, np.zeros(C), np.ones(C), None, None
    )
    assert y.shape == grad_x.shape == shape
    assert grad_weight.tolist() == grad_bias.tolist() == [0] * C


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward_finds_the_zeros_of_the_relu_again(dtype):
    """From x, to the last bit: where y is 0, nothing comes back."""
    x, weight, bias, _, _, _ = a_case((64, 33, 20, 20), dtype)
    y, mean, inverse_std, _ = norm.batch_norm(x, weight, bias, EPS, None, True)
    statistics = mean, inverse_std
    ones = np.ones_like(x)
    by_x = norm.batch_norm_grad(ones, x, *statistics, weight, bias, True, None, False)
    by_y = norm.batch_norm_grad(ones, x, *statistics, weight, bias, True, y, False)
    np.testing.assert_array_equal(by_x[0], by_y[0])


def test_the_gradient_of_a_residual_without_relu_is_the_gradient():
    x, weight, bias, residual, _, grad = a_case((2, 4, 3, 3))
    for kernel in (norm, sibling):
        _, mean, inverse_std, _ = kernel.batch_norm(x, weight, bias, EPS, residual)
        gradients = kernel.batch_norm_grad(grad, x, mean, inverse_std, weight, bias)
        assert gradients[3] is grad


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_added", [False, True])
def test_streamed_results_are_the_same_bits(is_added, dtype, monkeypatch):
    x, weight, bias, residual, relu, grad = a_case((8, 64, 48, 48), dtype)
    residual = residual if is_added else None
    assert norm.is_streamed(norm.empty(norm._rows(x).shape, x.dtype), norm.BLOCK_BYTES)

    def results():
        y, mean, inverse_std, _ = norm.batch_norm(x, weight, bias, EPS, residual, relu)
        kept = y if is_added else None
        grads = norm.batch_norm_grad(grad, x, mean, inverse_std, weight, bias, relu, kept)
        return [array.tobytes() for array in (y, *grads) if array is not None]

    streamed = results()
    asked = []
    monkeypatch.setattr(norm, "is_streamed", lambda result, _: asked.append(result.shape) or False)
    assert results() == streamed
    assert len(asked) == 2  # y and grad_x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("momentum", [0.1, 1, np.float64(0.3), np.array(0.25)])
def test_a_running_statistic_moves_as_numpy_moves_it(dtype, momentum):
    rng = np.random.default_rng(0)
    running, batch = rng.standard_normal(37).astype(dtype), rng.standard_normal(37)
    momentum = momentum.astype(dtype) if isinstance(momentum, np.ndarray) else momentum
    expected = running.copy()
    sibling.move_statistic(expected, batch, 5 / 4, momentum)
    norm.move_statistic(running, batch, 5 / 4, momentum)
    assert running.dtype == dtype
    np.testing.assert_allclose(running, expected, rtol=1e-6, atol=1e-7)


def test_a_running_statistic_moves_where_it_is():
    rows = np.ones((3, 4), np.float32)
    norm.move_statistic(rows[:, 1], np.full(3, 3.0), 1.0, 0.5)
    np.testing.assert_array_equal(rows, np.array([[1, 2, 1, 1]] * 3))


def test_a_running_statistic_that_cannot_be_written_is_refused():
    running = np.ones(3, np.float32)
    running.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        norm.move_statistic(running, np.ones(3), 1.0, 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_may_be_given_in_the_dtype_of_the_image(dtype):
    x, weight, bias, *_ = a_case((2, 4, 3, 3), dtype)
    mean, inverse_std = np.arange(4.0), np.array([1, 0.5, 2, 4.0])
    expected = norm.apply_statistics(x, mean, inverse_std, weight, bias)
    found = norm.apply_statistics(x, mean.astype(dtype), inverse_std.astype(dtype), weight, bias)
    np.testing.assert_array_equal(found, expected)
