import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import pool, reference
from tests.checks import MEMORY_ORDERS
from tests.kernels.conv_cases import array_in


@st.composite
def pool_cases(draw):
    """Images in any memory layout, with ties, and the kernel and settings of a max pooling."""
    kernel, stride, dilation = (
        (draw(st.integers(1, high)), draw(st.integers(1, high))) for high in (4, 4, 2)
    )
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, e // 2)), draw(st.integers(0, e // 2))) for e in extent)
    ceil_mode = draw(
        st.booleans()
    )  # the window may then reach past the image by less than a stride
    fits = (
        e - sum(p) - (s - 1 if ceil_mode else 0)
        for e, p, s in zip(extent, padding, stride, strict=True)
    )
    size = (draw(st.integers(max(1, smallest), 8)) for smallest in fits)
    shape = draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = array_in(
        draw(st.sampled_from(MEMORY_ORDERS)), shape, draw(st.sampled_from(["f4", "f8"])), rng
    )
    if draw(st.booleans()):
        x = np.round(x)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    return x, kernel, options, dilation, rng


@settings(deadline=None, max_examples=100)
@given(
    case=pool_cases(), special=st.sampled_from([None, np.nan, np.inf, -np.inf]), relu=st.booleans()
)
def test_max_pool2d_equals_the_reference(case, special, relu):
    x, kernel, options, dilation, rng = case
    options |= {"dilation": dilation, "relu": relu}
    if special is not None:
        x = np.where(rng.random(x.shape) < 0.5, x.dtype.type(special), x)
    before = x.tobytes()
    y, winner = pool.max_pool2d(x, kernel, **options)
    expected, expected_winner = reference.max_pool2d(x, kernel, **options)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == x.dtype
    assert winner.dtype == np.uint8
    assert x.tobytes() == before
    assert not np.shares_memory(x, y)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous

    del options["relu"]
    grad = rng.standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.max_pool2d_grad(grad, winner, x.shape, kernel, **options)
    expected = reference.max_pool2d_grad(grad, expected_winner, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-6)
    assert grad_x.dtype == x.dtype
    assert grad_x.transpose(0, 2, 3, 1).flags.c_contiguous


@settings(deadline=None, max_examples=80)
@given(case=pool_cases(), count_include_pad=st.booleans())
def test_avg_pool2d_equals_the_reference(case, count_include_pad):
    x, kernel, options, _, rng = case
    options["count_include_pad"] = count_include_pad
    options["padding"] = tuple(
        (min(before, k // 2), min(after, k // 2))
        for (before, after), k in zip(options["padding"], kernel, strict=True)
    )
    before = x.tobytes()
    y = pool.avg_pool2d(x, kernel, **options)
    np.testing.assert_allclose(y, reference.avg_pool2d(x, kernel, **options), rtol=1e-5, atol=1e-6)
    assert y.dtype == x.dtype
    assert x.tobytes() == before
    assert not np.shares_memory(x, y)

    grad = rng.standard_normal(y.shape).astype(x.dtype)
    grad_x = pool.avg_pool2d_grad(grad, x.shape, kernel, **options)
    expected = reference.avg_pool2d_grad(grad, x.shape, kernel, **options)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-6)
    assert grad_x.dtype == x.dtype


@pytest.mark.parametrize("value", [1.0, -np.inf, np.nan])
def test_one_element_of_each_window_gets_the_gradient_whatever_the_ties(value):
    x = np.full((1, 1, 4, 4), value, np.float32)
    y, winner = pool.max_pool2d(x, 2)
    grad_x = pool.max_pool2d_grad(np.ones_like(y), winner, x.shape, 2)
    np.testing.assert_array_equal(grad_x[0, 0, ::2, ::2], 1)
    assert grad_x.sum() == 4


def test_relu_before_or_after_the_pooling_is_the_same():
    x = np.round(np.random.default_rng(0).standard_normal((2, 3, 8, 8)) * 2)
    x[0, 0, 0, 0] = np.nan
    y, winner = pool.max_pool2d(x, 2, relu=True)
    y_after, winner_after = pool.max_pool2d(np.maximum(x, 0), 2)
    np.testing.assert_array_equal(y, y_after)
    grad = np.random.default_rng(1).standard_normal(y.shape)
    grad_x = pool.max_pool2d_grad(grad, winner, x.shape, 2)
    grad_after = pool.max_pool2d_grad(grad, winner_after, x.shape, 2)
    np.testing.assert_array_equal(grad_x, np.where(x <= 0, 0, grad_after))


def test_padding_never_wins_over_minus_infinity():
    x = np.full((1, 1, 3, 3), -np.inf)
    y, winner = pool.max_pool2d(x, 3, 2, 1)
    assert pool.max_pool2d_grad(np.ones_like(y), winner, x.shape, 3, 2, 1).sum() == y.size


def test_max_pool2d_ignores_its_padding_where_all_is_negative():
    assert pool.max_pool2d(np.full((1, 1, 2, 2), -3.0), 2, 1, 1)[0].max() == -3


@pytest.mark.parametrize(("kernel", "dtype"), [(16, np.uint8), (17, np.uint16)])
def test_winners_are_stored_in_the_smallest_integers(kernel, dtype):
    x = np.zeros((1, 1, 17, 17), np.float32)
    x[0, 0, kernel - 1, kernel - 1] = 1
    _, winner = pool.max_pool2d(x, kernel)
    assert winner.dtype == dtype
    assert winner[0, 0, 0, 0] == kernel * kernel - 1


def test_nan_in_a_gradient_stays_with_its_winner():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    y, winner = pool.max_pool2d(x, 2)
    grad = np.ones_like(y)
    grad[0, 0, 0, 0] = np.nan
    assert np.isnan(pool.max_pool2d_grad(grad, winner, x.shape, 2)).sum() == 1


@pytest.mark.parametrize("function", [pool.max_pool2d, pool.avg_pool2d])
@pytest.mark.parametrize("x", [np.zeros((1, 1, 4, 4), int), [[[[1.0]]]]])
def test_what_is_no_float_array_is_refused(function, x):
    with pytest.raises(TypeError, match=f"{function.__name__}: x: expected"):
        function(x, 2)


def test_gradients_of_another_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"grad: expected shape \(1, 1, 2, 2\), got \(1, 1, 3, 3\)"
    ):
        pool.avg_pool2d_grad(np.zeros((1, 1, 3, 3)), (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"winner: expected shape \(1, 1, 2, 2\), got \(1, 1, 2\)"):
        pool.max_pool2d_grad(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2)), (1, 1, 4, 4), 2)


def test_means_of_float16_are_taken_in_float32():
    """Sums above 65,504 and, in the gradient, many small shares for one pixel."""
    x = np.full((1, 1, 32, 32), 100, np.float16)
    y = pool.avg_pool2d(x, 32)
    assert (y.dtype, y.item()) == (np.float16, 100)
    ones = np.ones((1, 1, 1, 1), np.float16)
    grad_x = pool.avg_pool2d_grad(ones, (1, 1, 300, 300), 300)
    assert grad_x.dtype == np.float16
    np.testing.assert_array_equal(grad_x, np.float16(1 / 90_000))
    shares = np.ones((1, 1, 65, 65), np.float16)
    middle = pool.avg_pool2d_grad(shares, (1, 1, 129, 129), 65, 1)[0, 0, 64, 64]
    assert middle == 1  # 65 * 65 shares of 1 / (65 * 65)
