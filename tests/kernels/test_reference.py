"""The specification against PyTorch, which was written by others, in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import reference
from tests.kernels.conv_cases import conv_cases


@settings(deadline=None, max_examples=60)
@given(case=conv_cases(dtypes=(np.float64,)))
def test_conv2d_is_pytorchs(torch, case):
    (top, bottom), (left, right) = case.settings["padding"]
    settings = {**case.settings, "padding": 0}
    x, w = (torch.tensor(np.array(a), requires_grad=True) for a in (case.x, case.w))
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, w, **settings)
    y.backward(torch.tensor(np.array(case.grad)))
    for function, expected in (
        ("conv2d", y.detach()),
        ("conv2d_grad_input", x.grad),
        ("conv2d_grad_weight", w.grad),
    ):
        actual = case.run(reference, function)
        np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-12, atol=1e-12)


def test_conv2d_is_scipys_correlation():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((7, 6)), rng.standard_normal((3, 2))
    y = reference.conv2d(x[None, None], w[None, None])[0, 0]
    np.testing.assert_allclose(y, signal.correlate2d(x, w, mode="valid"))


@st.composite
def pool_cases(draw):
    """Images, a gradient and the settings of a pooling, with ties."""
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = (draw(st.integers(max(1, k - 2 * p), 8)) for k, p in zip(kernel, padding, strict=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-2, 3, (draw(st.integers(1, 2)), 2, *size)).astype(np.float64)
    return x, {"stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}, kernel, rng


@settings(deadline=None, max_examples=60)
@given(case=pool_cases(), dilation=st.integers(1, 2))
def test_max_pool2d_is_pytorchs(torch, case, dilation):
    x, options, kernel, rng = case
    if any(
        n + 2 * p < dilation * (k - 1) + 1
        for n, p, k in zip(x.shape[2:], options["padding"], kernel, strict=True)
    ):
        return
    options = {**options, "dilation": dilation}
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch.nn.functional.max_pool2d(x_torch, kernel, **options)
    grad = rng.standard_normal(y_torch.shape)
    y_torch.backward(torch.tensor(grad))
    y, winner = reference.max_pool2d(x, kernel, **options)
    grad_x = reference.max_pool2d_grad(grad, winner, x.shape, kernel, **options)
    np.testing.assert_array_equal(y, y_torch.detach().numpy())
    np.testing.assert_allclose(grad_x, x_torch.grad.numpy(), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(case=pool_cases(), count_include_pad=st.booleans())
def test_avg_pool2d_is_pytorchs(torch, case, count_include_pad):
    x, options, kernel, rng = case
    options = {**options, "count_include_pad": count_include_pad}
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch.nn.functional.avg_pool2d(x_torch, kernel, **options)
    grad = rng.standard_normal(y_torch.shape)
    y_torch.backward(torch.tensor(grad))
    y = reference.avg_pool2d(x, kernel, **options)
    grad_x = reference.avg_pool2d_grad(grad, x.shape, kernel, **options)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(grad_x, x_torch.grad.numpy(), atol=1e-12)


def test_results_keep_the_dtype():
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    y = reference.conv2d(x, w)
    results = [
        y,
        reference.conv2d_grad_input(y, w, x.shape),
        reference.conv2d_grad_weight(y, x, w.shape),
        reference.max_pool2d(x, 2)[0],
        reference.avg_pool2d(x, 2),
        reference.avg_pool2d_grad(reference.avg_pool2d(x, 2), x.shape, 2),
    ]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
