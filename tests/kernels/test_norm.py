"""Batch normalisation with NumPy: against float64 formulas and differences, and what it promises about arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import norm
from tests.checks import MEMORY_ORDERS, in_memory

EPS = 1e-3


@st.composite
def norm_cases(draw, max_channels=5):
    """Images, features or sequences in any memory order, with weight, bias, residual, and whether there is a ReLU."""
    channels = draw(st.integers(1, max_channels))
    size = draw(st.sampled_from([(), (3,), (2, 3), (1, 1), (4, 4), (2, 2, 2)]))
    shape = draw(st.integers(2, 5)), channels, *size
    dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))

    def numbers(shape):
        return rng.standard_normal(shape).astype(dtype)

    order, other = draw(st.sampled_from(MEMORY_ORDERS)), draw(st.sampled_from(MEMORY_ORDERS))
    order = "strided" if order == "broadcast" else order  # its variance would be 0
    x = in_memory(numbers(shape), order)
    weight, bias = (numbers(channels) if draw(st.booleans()) else None for _ in range(2))
    residual = in_memory(numbers(shape), other) if draw(st.booleans()) else None
    grad = in_memory(numbers(shape), draw(st.sampled_from(MEMORY_ORDERS)))
    return x, weight, bias, residual, draw(st.booleans()), grad


def a_case(shape, dtype="float32", relu=True, seed=0):
    """Images in channels-last memory, with all that may be added to them."""
    rng = np.random.default_rng(seed)
    N, C, *size = shape
    images = [rng.standard_normal((N, *size, C)).astype(dtype) for _ in range(3)]
    x, residual, grad = (np.moveaxis(image, -1, 1) for image in images)
    weight, bias = rng.standard_normal((2, C)).astype(dtype)
    return x, weight, bias, residual, relu, grad


def expected_forward(x, weight, bias, residual, relu, statistics=None):
    """The definition, in float64, and x_hat."""
    x = x.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    per_channel = (1, -1, *[1] * (x.ndim - 2))
    mean, variance = statistics or (x.mean(axes), x.var(axes))
    x_hat = (x - mean.reshape(per_channel)) / np.sqrt(variance.reshape(per_channel) + EPS)
    z = x_hat
    z = z if weight is None else z * weight.reshape(per_channel)
    z = z if bias is None else z + bias.reshape(per_channel)
    z = z if residual is None else z + residual
    return (np.maximum(z, 0) if relu else z), mean, variance, x_hat


def expected_gradients(grad, x_hat, variance, weight, y, of_batch):
    """The equations of Ioffe & Szegedy, section 3, in float64."""
    axes = (0, *range(2, x_hat.ndim))
    per_channel = (1, -1, *[1] * (x_hat.ndim - 2))
    g = grad.astype(np.float64) if y is None else np.where(y <= 0, 0, grad).astype(np.float64)
    grad_weight, grad_bias = (g * x_hat).sum(axes), g.sum(axes)
    scale = 1 / np.sqrt(variance + EPS) * (1 if weight is None else weight)
    grad_x = g
    if of_batch:
        count = g.size / len(grad_bias)
        along = x_hat * grad_weight.reshape(per_channel)
        grad_x = g - (grad_bias.reshape(per_channel) + along) / count
    return grad_x * scale.reshape(per_channel), grad_weight, grad_bias, g


def assert_near(actual, expected):
    tolerance = 1e-9 if actual.dtype == np.float64 else 2e-5
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def check_against_the_definition(kernel, case):
    """Check forward and backward, with the batch's statistics and with given ones."""
    x, weight, bias, residual, relu, grad = case
    arguments = [a for a in (x, weight, bias, residual, grad) if a is not None]
    before = [a.tobytes() for a in arguments]
    y, mean, inverse_std, variance = kernel.batch_norm(x, weight, bias, EPS, residual, relu)
    expected_y, *expected, x_hat = expected_forward(x, weight, bias, residual, relu)
    assert_near(y, expected_y)
    for actual, wanted in zip((mean, variance), expected, strict=True):
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inverse_std, 1 / np.sqrt(variance + EPS), rtol=1e-12)
    shifted = mean + 0.25, inverse_std * 2
    given_variance = (0.5 / inverse_std) ** 2 - EPS
    for of_batch in (True, False):
        statistics = (mean, inverse_std) if of_batch else shifted
        if not of_batch:
            y = kernel.apply_statistics(x, *shifted, weight, bias, residual, relu)
            expected_y, _, variance, x_hat = expected_forward(
                x, weight, bias, residual, relu, (shifted[0], given_variance)
            )
            assert_near(y, expected_y)
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        saved = y if relu and residual is not None else None
        actual = kernel.batch_norm_grad(grad, x, *statistics, weight, bias, relu, saved, of_batch)
        wanted = expected_gradients(grad, x_hat, variance, weight, y if relu else None, of_batch)
        for i in range(4 if residual is not None else 3):
            assert actual[i].dtype == x.dtype
            assert_near(actual[i], wanted[i])
        for array in (y, actual[0]):
            assert np.moveaxis(array, 1, -1).flags.c_contiguous
            assert not any(np.shares_memory(array, argument) for argument in arguments)
    assert [a.tobytes() for a in arguments] == before


@given(norm_cases())
def test_equals_the_definition(case):
    check_against_the_definition(norm, case)


def test_nan_and_infinity_stay_in_their_channel():
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    x[0, 1, 0, 0] = np.nan
    y, *_ = norm.batch_norm(x, None, None, EPS, None, True)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, ::2]).all()


def test_float16_statistics_are_summed_in_float64():
    x = (1000 + np.arange(4096) % 2).reshape(1, 1, 64, 64).astype(np.float16)
    y, mean, _, variance = norm.batch_norm(x, None, None, 0.0)
    assert y.dtype == np.float16
    np.testing.assert_allclose(mean, 1000.5, rtol=1e-3)
    np.testing.assert_allclose(variance, 0.25, rtol=0.1)


@pytest.mark.parametrize("of_batch", [True, False])
def test_an_empty_batch_has_gradients_of_zero(of_batch):
    x = np.zeros((0, 3, 2, 2), np.float32)
    y = norm.apply_statistics(x, np.zeros(3), np.ones(3), None, None)
    grad_x, grad_weight, grad_bias, _ = norm.batch_norm_grad(
        y, x, np.zeros(3), np.ones(3), None, None, False, None, of_batch
    )
    assert y.shape == grad_x.shape == x.shape
    assert grad_weight.tolist() == grad_bias.tolist() == [0, 0, 0]
