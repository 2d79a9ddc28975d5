"""Batch normalisation in CUDA: against the definition, and its accuracy, over shapes and orders of threads."""

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels.gpu import norm
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.gpu.on_device import OnDevice
from tests.kernels.test_norm import EPS, check_against_the_definition, norm_cases


@pytest.fixture
def on_device(cupy):
    return OnDevice(norm, cupy)


def a_case(shape, dtype="float32", relu=True, seed=0):
    rng = np.random.default_rng(seed)
    N, C, *size = shape
    images = [rng.standard_normal((N, *size, C)).astype(dtype) for _ in range(3)]
    x, residual, grad = (np.moveaxis(image, -1, 1) for image in images)
    weight, bias = rng.standard_normal((2, C)).astype(dtype)
    return x, weight, bias, residual, relu, grad


@settings(max_examples=15)
@given(norm_cases())
def test_equals_the_definition(on_device, case):
    check_against_the_definition(on_device, case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 1, 3, 3),
        (3, 6, 5, 5),  # no whole packs
        (2, 16, 28, 28),  # several blocks of rows
        (3, 70, 7, 7),
        (2, 300, 1, 1),  # several blocks of channels
        (130, 64),
    ],
)
def test_shapes_of_rows(on_device, shape, relu, dtype):
    check_against_the_definition(on_device, a_case(shape, dtype, relu))


def test_partial_sums_of_many_blocks(on_device, monkeypatch):
    monkeypatch.setattr(norm, "MOST_PARTS", 3)
    check_against_the_definition(on_device, a_case((40, 8, 9, 9)))


def test_results_are_the_same_bits_for_all_orders_of_threads(on_device, monkeypatch):
    x, weight, bias, residual, relu, grad = a_case((4, 20, 5, 5))
    runs = []
    for seed in range(4):
        monkeypatch.setattr(HostModule, "seed", seed)
        y, mean, inverse_std, variance = on_device.batch_norm(x, weight, bias, EPS, residual, relu)
        gradients = on_device.batch_norm_grad(grad, x, mean, inverse_std, weight, bias, True, y)
        runs.append([a.tobytes() for a in (y, mean, inverse_std, variance, *gradients)])
    assert runs[0] == runs[1] == runs[2] == runs[3]


@pytest.mark.parametrize("outlier", [0, -3e3])
def test_a_large_mean_keeps_a_small_variance(on_device, outlier):
    x = 1e4 + np.random.default_rng(0).standard_normal((16, 3, 16, 16))
    x[0, :, 0, 0] += outlier  # in the row that all others are compared with
    x = x.astype(np.float32)
    y, mean, _, variance = on_device.batch_norm(x, None, None, 0.0)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(variance, exact.var((0, 2, 3)), rtol=1e-5)
    expected = (exact - mean[:, None, None]) / np.sqrt(variance)[:, None, None]
    assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_constant_channel_has_no_variance(on_device):
    x = np.full((4, 5, 3, 3), 0.1, np.float32)
    y, mean, inverse_std, variance = on_device.batch_norm(x, None, None, 1e-5)
    assert not y.any()
    assert variance.tolist() == [0] * 5
    np.testing.assert_allclose(mean, np.float32(0.1))
    np.testing.assert_allclose(inverse_std, 1e-5**-0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_channel(on_device, value):
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    x[0, 1, 0, 0] = value
    y, mean, inverse_std, _ = on_device.batch_norm(x, None, None, EPS, None, True)
    assert np.isnan(y[:, 1]).any()
    assert np.isfinite(y[:, ::2]).all()
    grad_x, *_ = on_device.batch_norm_grad(np.ones_like(x), x, mean, inverse_std, None, None, True)
    assert np.isnan(grad_x[:, 1]).any()
    assert np.isfinite(grad_x[:, ::2]).all()


def test_given_statistics_keep_infinity_out_of_the_gradient(on_device):
    x = np.full((1, 2, 1, 1), np.inf, np.float32)
    statistics = np.zeros(2), np.ones(2)
    assert np.isposinf(on_device.apply_statistics(x, *statistics, None, None)).all()
    grad_x, *_ = on_device.batch_norm_grad(
        np.ones_like(x), x, *statistics, None, None, of_batch=False
    )
    assert (grad_x == 1).all()


def test_nan_passes_the_relu_and_its_gradient(on_device):
    x = np.array([[np.nan, -1.0, 0.0, 2.0]], np.float32)
    statistics = np.zeros(4), np.ones(4)
    y = on_device.apply_statistics(x, *statistics, None, None, None, True)
    np.testing.assert_array_equal(y, [[np.nan, 0, 0, 2]])
    for saved in (y, None):
        grad_x, *_ = on_device.batch_norm_grad(
            np.ones_like(x), x, *statistics, None, None, True, saved, False
        )
        np.testing.assert_array_equal(grad_x, [[1, 0, 0, 1]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward_finds_the_zeros_of_the_relu_again(on_device, dtype):
    x, weight, bias, _, _, _ = a_case((16, 33, 4, 4), dtype)
    y, mean, inverse_std, _ = on_device.batch_norm(x, weight, bias, EPS, None, True)
    rest = np.ones_like(x), x, mean, inverse_std, weight, bias, True
    by_x, by_y = (on_device.batch_norm_grad(*rest, saved, False) for saved in (None, y))
    np.testing.assert_array_equal(by_x[0], by_y[0])


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 2, 2), (0, 4)])
def test_empty_arrays_launch_nothing(on_device, shape, monkeypatch):
    monkeypatch.setattr(norm, "function", None)
    x, C = np.zeros(shape, np.float32), shape[1]
    y = on_device.apply_statistics(x, np.zeros(C), np.ones(C), None, None)
    grad_x, grad_weight, grad_bias, _ = on_device.batch_norm_grad(
        y, x, np.zeros(C), np.ones(C), None, None
    )
    assert y.shape == grad_x.shape == shape
    assert grad_weight.tolist() == grad_bias.tolist() == [0] * C


def test_the_host_never_waits(cupy, traffic):
    x, *_ = a_case((2, 4, 3, 3))
    x = cupy.asarray(x)
    traffic.clear()
    y, mean, inverse_std, _ = norm.batch_norm(x, None, None, EPS, x, True)
    norm.batch_norm_grad(x, x, mean, inverse_std, None, None, True, y)
    assert not traffic.syncs
    assert not traffic.uploads
