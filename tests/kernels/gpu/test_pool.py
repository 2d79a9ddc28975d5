"""Pooling in CUDA: against the sibling for NumPy, over windows, channels, dtypes and orders of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import pool as sibling
from minicnn.kernels.gpu import pool
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.test_pool import pool_cases

WINDOWS = [
    (2, {}),
    (2, {"stride": 2, "ceil_mode": True}),
    (3, {"stride": 2, "padding": 1}),
    (3, {"stride": 1, "padding": ((1, 0), (0, 1))}),
    ((1, 2), {"stride": (3, 1)}),
    (7, {}),
]


def images(channels, dtype="f4", N=2, size=7):
    """Images with ties, channels innermost in memory."""
    x = np.random.default_rng(0).integers(-4, 5, (N, size, size, channels))
    return x.astype(dtype)


def assert_same_max_pool(cupy, x, kernel, relu=False, **options):
    """Assert that y, the winners and the gradient equal the sibling's; return y and the winners."""
    on_device = cupy.asarray(np.ascontiguousarray(x))
    y, winner = pool.max_pool2d(on_device, kernel, relu=relu, **options)
    expected, expected_winner = sibling.max_pool2d(x, kernel, relu=relu, **options)
    np.testing.assert_array_equal(y.get(), expected)
    assert (y.dtype, winner.dtype) == (expected.dtype, expected_winner.dtype)
    seen = np.isfinite(expected) | np.isnan(expected)  # elsewhere no tap may lie in the image
    np.testing.assert_array_equal(winner.get()[seen], expected_winner[seen])
    grad = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.max_pool2d_grad(cupy.asarray(grad), winner, x.shape, kernel, **options)
    expected = sibling.max_pool2d_grad(grad, expected_winner, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x.get(), expected, rtol=1e-5, atol=1e-6)
    assert grad_x.dtype == x.dtype
    return y, winner


def assert_same_avg_pool(cupy, x, kernel, **options):
    """Assert that y and the gradient equal the sibling's."""
    y = pool.avg_pool2d(cupy.asarray(np.ascontiguousarray(x)), kernel, **options)
    expected = sibling.avg_pool2d(x, kernel, **options)
    np.testing.assert_allclose(y.get(), expected, rtol=1e-5, atol=1e-6)
    grad = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.avg_pool2d_grad(cupy.asarray(grad), x.shape, kernel, **options)
    expected = sibling.avg_pool2d_grad(grad, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x.get(), expected, rtol=1e-5, atol=1e-6)
    assert y.dtype == grad_x.dtype == x.dtype


@settings(max_examples=60)
@given(
    case=pool_cases(), relu=st.booleans(), special=st.sampled_from([None, np.nan, np.inf, -np.inf])
)
def test_max_pool2d_equals_the_sibling(cupy, case, relu, special):
    x, kernel, options, dilation, rng = case
    if special is not None:
        x = np.where(rng.random(x.shape) < 0.5, x.dtype.type(special), x)
    assert_same_max_pool(cupy, x, kernel, relu, **options, dilation=dilation)


@given(case=pool_cases(), count_include_pad=st.booleans())
def test_avg_pool2d_equals_the_sibling(cupy, case, count_include_pad):
    x, kernel, options, _, _ = case
    options["padding"] = tuple(
        (min(before, k // 2), min(after, k // 2))
        for (before, after), k in zip(options["padding"], kernel, strict=True)
    )
    assert_same_avg_pool(cupy, x, kernel, **options, count_include_pad=count_include_pad)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8, 13])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("window", WINDOWS)
def test_any_number_of_channels(cupy, channels, dtype, window):
    kernel, options = window
    x = images(channels, dtype).transpose(0, 3, 1, 2)
    assert_same_max_pool(cupy, x, kernel, **options)
    assert_same_max_pool(cupy, x, kernel, relu=True, **options)
    assert_same_avg_pool(cupy, x, kernel, **options)


def test_images_that_lie_in_order_are_not_copied(cupy, monkeypatch):
    x = cupy.asarray(images(8)).transpose(0, 3, 1, 2)
    y, winner = pool.max_pool2d(x, 2)
    monkeypatch.setattr(cupy, "ascontiguousarray", None)
    again, _ = pool.max_pool2d(x, 2)
    np.testing.assert_array_equal(again.get(), y.get())
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert winner.transpose(0, 2, 3, 1).flags.c_contiguous


def test_the_host_never_waits(cupy, traffic):
    x = cupy.asarray(images(4)).transpose(0, 3, 1, 2)
    traffic.clear()
    y, winner = pool.max_pool2d(x, 2)
    pool.max_pool2d_grad(y, winner, x.shape, 2)
    pool.avg_pool2d_grad(pool.avg_pool2d(x, 3), x.shape, 3)
    assert not traffic.syncs
    assert not traffic.uploads


def test_the_order_of_threads_does_not_matter(cupy, monkeypatch):
    x = images(6, N=3).transpose(0, 3, 1, 2)
    for seed in range(4):
        monkeypatch.setattr(HostModule, "seed", seed)
        assert_same_max_pool(cupy, x, 3, stride=2, padding=1)
        assert_same_avg_pool(cupy, x, 3, stride=2, padding=1)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_an_empty_batch_launches_nothing(cupy, kernel, monkeypatch):
    monkeypatch.setattr(pool, "function", None)
    x = cupy.zeros((0, 4, 6, 6), np.float32)
    y, winner = pool.max_pool2d(x, kernel)
    assert y.shape == winner.shape == (0, 4, 6 // kernel, 6 // kernel)
    assert pool.max_pool2d_grad(y, winner, x.shape, kernel).shape == x.shape
    assert pool.avg_pool2d_grad(pool.avg_pool2d(x, kernel), x.shape, kernel).shape == x.shape


def test_many_taps_need_larger_winners(cupy):
    x = np.random.default_rng(0).standard_normal((1, 3, 17, 17)).astype(np.float32)
    assert assert_same_max_pool(cupy, x, 17)[1].dtype == np.uint16


def test_winners_may_come_in_other_integers(cupy):
    x = cupy.asarray(images(4)).transpose(0, 3, 1, 2)
    y, winner = pool.max_pool2d(x, 2)
    expected = pool.max_pool2d_grad(y, winner, x.shape, 2).get()
    grad_x = pool.max_pool2d_grad(y, winner.astype(np.int64), x.shape, 2)
    np.testing.assert_array_equal(grad_x.get(), expected)


def test_a_window_that_misses_the_image(cupy):
    x = cupy.asarray(np.ones((1, 3, 1, 1), np.float32))
    options = {"stride": 1, "padding": 1, "dilation": 2}
    for relu, value in ((False, -np.inf), (True, 0)):
        y, winner = pool.max_pool2d(x, 2, **options, relu=relu)
        np.testing.assert_array_equal(y.get(), value)
        grad_x = pool.max_pool2d_grad(cupy.ones_like(y), winner, x.shape, 2, **options)
        assert not grad_x.get().any()


def test_shapes_of_gradients_are_checked(cupy):
    with pytest.raises(ValueError, match=r"grad: expected shape \(1, 1, 2, 2\), got \(1, 1, 3, 3"):
        pool.avg_pool2d_grad(cupy.zeros((1, 1, 3, 3)), (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"winner: expected shape \(1, 1, 2, 2\), got \(1, 1, 2\)"):
        pool.max_pool2d_grad(cupy.zeros((1, 1, 2, 2)), cupy.zeros((1, 1, 2)), (1, 1, 4, 4), 2)
