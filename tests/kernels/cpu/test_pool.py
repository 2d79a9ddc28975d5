"""Pooling in compiled loops: against the sibling for NumPy, over windows, channels, layouts and threads."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import kernels
from minicnn.kernels import pool as sibling
from minicnn.kernels.cpu import pool
from tests.kernels.test_pool import pool_cases

CHANNELS = [1, 3, 6, 8, 13, 16, 20, 33, 64, 70]
"""Fewer than a vector has lanes, whole vectors, whole blocks of vectors, and rests of all kinds."""

WINDOWS = [
    (2, {}),
    (2, {"stride": 2, "ceil_mode": True}),
    (3, {"stride": 2, "padding": 1}),
    (3, {"stride": 1, "padding": ((1, 0), (0, 1))}),
    ((1, 2), {"stride": (3, 1)}),
    (7, {}),
]


def images(channels, dtype="f4", N=2, size=7, seed=0):
    """Images with ties, channels innermost in memory."""
    x = np.random.default_rng(seed).integers(-4, 5, (N, size, size, channels))
    return x.astype(dtype).transpose(0, 3, 1, 2)


def assert_same_max_pool(x, kernel, **options):
    """Assert that y, the winners and the gradient equal the sibling's; return y and the winners."""
    y, winner = pool.max_pool2d(x, kernel, **options)
    expected, expected_winner = sibling.max_pool2d(x, kernel, **options)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winner, expected_winner)
    assert (y.dtype, winner.dtype) == (expected.dtype, expected_winner.dtype)
    options.pop("relu", None)
    grad = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.max_pool2d_grad(grad, winner, x.shape, kernel, **options)
    expected = sibling.max_pool2d_grad(grad, winner, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-6)
    assert grad_x.dtype == x.dtype
    return y, winner


def assert_same_avg_pool(x, kernel, **options):
    """Assert that y and the gradient equal the sibling's."""
    y = pool.avg_pool2d(x, kernel, **options)
    np.testing.assert_allclose(y, sibling.avg_pool2d(x, kernel, **options), rtol=1e-5, atol=1e-6)
    grad = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.avg_pool2d_grad(grad, x.shape, kernel, **options)
    expected = sibling.avg_pool2d_grad(grad, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-6)
    assert y.dtype == grad_x.dtype == x.dtype


@given(
    case=pool_cases(), relu=st.booleans(), special=st.sampled_from([None, np.nan, np.inf, -np.inf])
)
def test_max_pool2d_equals_the_sibling(case, relu, special):
    x, kernel, options, dilation, rng = case
    if special is not None:
        x = np.where(rng.random(x.shape) < 0.5, x.dtype.type(special), x)
    before = x.tobytes()
    y = pool.max_pool2d(x, kernel, **options, dilation=dilation)[0]
    assert x.tobytes() == before
    assert not np.shares_memory(x, y)
    y, winner = pool.max_pool2d(x, kernel, **options, dilation=dilation, relu=relu)
    expected, _ = sibling.max_pool2d(x, kernel, **options, dilation=dilation, relu=relu)
    np.testing.assert_array_equal(y, expected)
    grad = rng.standard_normal(y.shape).astype(x.dtype)
    options["dilation"] = dilation
    np.testing.assert_allclose(  # winners may differ where a window misses the image
        pool.max_pool2d_grad(grad, winner, x.shape, kernel, **options),
        sibling.max_pool2d_grad(grad, winner, x.shape, kernel, **options),
        rtol=1e-5,
        atol=1e-6,
    )


@given(case=pool_cases(), count_include_pad=st.booleans())
def test_avg_pool2d_equals_the_sibling(case, count_include_pad):
    x, kernel, options, _, _ = case
    options["padding"] = tuple(
        (min(before, k // 2), min(after, k // 2))
        for (before, after), k in zip(options["padding"], kernel, strict=True)
    )
    assert_same_avg_pool(x, kernel, **options, count_include_pad=count_include_pad)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("window", WINDOWS)
def test_any_number_of_channels(channels, dtype, window):
    kernel, options = window
    x = images(channels, dtype)
    assert_same_max_pool(x, kernel, **options)
    assert_same_max_pool(x, kernel, **options, relu=True)
    assert_same_avg_pool(x, kernel, **options)


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_the_number_of_threads(channels, threads):
    x = images(channels, N=3)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        assert_same_max_pool(x, 3, stride=2, padding=1)
        assert_same_avg_pool(x, 3, stride=2, padding=1)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("channels", [1, 6, 16])
def test_nothing_is_written_outside_the_results(channels):
    """With few channels, whole vectors are stored that reach beyond a pixel."""
    x = images(channels, N=1, size=4)
    y = np.full((3, 1, 2, 2, channels), 7, np.float32)
    winner = np.full((3, 1, 2, 2, channels), 7, np.uint8)
    plan = pool._plan(x.shape, 2, None, 0, 1, False)
    memory = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    pool._maxima(2, memory, *plan.seen, np.float32(np.nan), plan.taps, y[1], winner[1])
    assert (y[::2] == 7).all()
    assert (winner[::2] == 7).all()


def test_more_threads_than_rows():
    x = images(5, N=1, size=2)
    assert_same_max_pool(x, 2)
    assert_same_avg_pool(x, 2)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_an_empty_batch(kernel):
    x = np.zeros((0, 4, 6, 6), np.float32)
    y, winner = pool.max_pool2d(x, kernel)
    assert y.shape == winner.shape == (0, 4, 6 // kernel, 6 // kernel)
    assert pool.max_pool2d_grad(y, winner, x.shape, kernel).shape == x.shape
    assert pool.avg_pool2d_grad(pool.avg_pool2d(x, kernel), x.shape, kernel).shape == x.shape


@pytest.mark.parametrize(("kernel", "dtype"), [(16, np.uint8), (17, np.uint16)])
def test_winners_are_stored_in_the_smallest_integers(kernel, dtype):
    x = np.random.default_rng(0).standard_normal((1, 3, 17, 17)).astype(np.float32)
    assert assert_same_max_pool(x, kernel)[1].dtype == dtype


def test_relu_needs_one_more_winner_for_nobody():
    x = -np.ones((1, 1, 16, 16), np.float32)
    _, winner = pool.max_pool2d(x, 16, relu=True)
    assert (winner.dtype, winner.item()) == (np.uint16, 256)


def test_a_window_that_misses_the_image():
    """Dilated taps may lie on both sides of an image of one pixel."""
    x = np.ones((1, 3, 1, 1), np.float32)
    options = {"stride": 1, "padding": 1, "dilation": 2}
    for relu, value in ((False, -np.inf), (True, 0)):
        y, winner = pool.max_pool2d(x, 2, **options, relu=relu)
        np.testing.assert_array_equal(y, value)
        assert not pool.max_pool2d_grad(np.ones_like(y), winner, x.shape, 2, **options).any()


def test_settings_may_be_lists():
    x = images(4)
    y, winner = pool.max_pool2d(x, [2, 2], [2, 1], [[1, 0], [0, 1]])
    expected, _ = sibling.max_pool2d(x, (2, 2), (2, 1), ((1, 0), (0, 1)))
    np.testing.assert_array_equal(y, expected)
    assert pool.max_pool2d_grad(y, winner, x.shape, [2, 2], [2, 1], [[1, 0], [0, 1]]).any()


def test_shapes_of_gradients_are_checked():
    with pytest.raises(ValueError, match=r"grad: expected shape \(1, 1, 2, 2\), got \(1, 1, 3, 3"):
        pool.avg_pool2d_grad(np.zeros((1, 1, 3, 3)), (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"winner: expected shape \(1, 1, 2, 2\), got \(1, 1, 2\)"):
        pool.max_pool2d_grad(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2)), (1, 1, 4, 4), 2)


@pytest.mark.parametrize("kernel", [2.0, (2, 2.0), "2"])
def test_a_setting_that_is_refused_is_refused_again(kernel):
    for _ in range(2):
        with pytest.raises(TypeError, match="kernel: expected an integer"):
            pool.max_pool2d(np.zeros((1, 1, 5, 9), np.float32), kernel)


def test_the_compiled_loops_are_the_ones_in_use():
    y, winner = kernels.max_pool2d(images(4), 2)
    expected, expected_winner = pool.max_pool2d(images(4), 2)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winner, expected_winner)
    half = kernels.max_pool2d(images(4, "f2"), 2)[0]
    assert half.dtype == np.float16
