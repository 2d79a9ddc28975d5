"""Pooling: against PyTorch for all settings, ties, NaN and infinities, slopes, empty batches, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from minicnn.nn.functional.pool import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    MaxPool2d,
    max_pool2d,
)
from tests.checks import check_contract
from tests.devices import on_every_device
from tests.nn.oracle import assert_like_torch, distinct, dtypes, orders, seeds

POOLS_2D = [F.max_pool2d, F.min_pool2d, F.avg_pool2d]
POOLS_1D = [F.max_pool1d, F.min_pool1d, F.avg_pool1d]


@st.composite
def windows(draw, dims):
    """Draw a size of the image, and (kernel, stride, padding, dilation, ceil_mode) of a window that fits.

    With ceil_mode it may reach past the padded image, by less than a stride; not if it is dilated,
    for PyTorch's backward writes outside its memory where all of a window's elements are outside.
    """
    small = st.integers(1, 3)
    kernel = [draw(small) for _ in range(dims)]
    dilation = [draw(st.integers(1, 2)) for _ in range(dims)]
    padding = [draw(st.integers(0, k // 2)) for k in kernel]  # PyTorch's limit
    stride = draw(st.one_of(st.none(), st.tuples(*[small] * dims)))
    ceil_mode = draw(st.booleans())
    size = [
        draw(st.integers(0, 5))
        + max(d * (k - 1) + 1 - (2 * p + s - 1 if ceil_mode and d == 1 else 0), 1)
        for k, s, p, d in zip(kernel, stride or kernel, padding, dilation, strict=True)
    ]
    return size, (tuple(kernel), stride, tuple(padding), tuple(dilation), ceil_mode)


def torch_min_pool(pool):
    return lambda x, *window: -pool(-x, *window)


@on_every_device
@given(windows(2), st.sampled_from(["max", "min"]), dtypes, st.tuples(orders, orders), seeds)
def test_extreme_pool2d_like_torch(torch, case, kind, dtype, memory, seed):
    size, window = case
    oracle = torch.nn.functional.max_pool2d
    ours, theirs = {"max": (F.max_pool2d, oracle), "min": (F.min_pool2d, torch_min_pool(oracle))}[
        kind
    ]
    assert_like_torch(
        torch,
        lambda x: ours(x, *window),
        lambda x: theirs(x, *window),
        distinct((2, 3, *size), dtype, seed, memory[0]),
        seed=seed,
        order=memory[1],
    )


@on_every_device
@given(windows(2), dtypes, st.tuples(orders, orders), seeds)
def test_max_pool2d_and_relu_like_torch(torch, case, dtype, memory, seed):
    size, window = case
    x = distinct((2, 3, *size), dtype, seed, memory[0])
    oracle = torch.nn.functional
    for twin in (
        lambda x: torch.relu(oracle.max_pool2d(x, *window)),
        lambda x: oracle.max_pool2d(torch.relu(x), *window),
    ):
        assert_like_torch(
            torch,
            lambda x: max_pool2d(x, *window, activation="relu"),
            twin,
            x,
            seed=seed,
            order=memory[1],
        )


def test_max_pool2d_refuses_other_activations():
    with pytest.raises(ValueError, match="must be \"relu\" or None, got 'tanh'"):
        max_pool2d(Tensor(np.zeros((1, 1, 4, 4))), 2, activation="tanh")


@on_every_device
@given(windows(2), st.booleans(), dtypes, st.tuples(orders, orders), seeds)
def test_avg_pool2d_like_torch(torch, case, count_include_pad, dtype, memory, seed):
    size, (kernel, stride, padding, _, ceil_mode) = case
    window = kernel, stride, padding, ceil_mode, count_include_pad
    assert_like_torch(
        torch,
        lambda x: F.avg_pool2d(x, *window),
        lambda x: torch.nn.functional.avg_pool2d(x, *window),
        distinct((2, 3, *size), dtype, seed, memory[0]),
        seed=seed,
        order=memory[1],
    )


@on_every_device
@given(windows(1), st.booleans(), dtypes, orders, seeds)
def test_pool1d_like_torch(torch, case, count_include_pad, dtype, memory, seed):
    (length,), ((kernel,), stride, (padding,), (dilation,), ceil_mode) = case
    stride = None if stride is None else stride[0]
    x = distinct((2, 3, length), dtype, seed, memory)
    oracle = torch.nn.functional
    extreme = kernel, stride, padding, dilation, ceil_mode
    mean = kernel, stride, padding, ceil_mode, count_include_pad

    def assert_like(ours, theirs, window):
        assert_like_torch(
            torch, lambda x: ours(x, *window), lambda x: theirs(x, *window), x, seed=seed
        )

    assert_like(F.max_pool1d, oracle.max_pool1d, extreme)
    assert_like(F.min_pool1d, torch_min_pool(oracle.max_pool1d), extreme)
    assert_like(F.avg_pool1d, oracle.avg_pool1d, mean)


sizes = st.integers(1, 9)


@on_every_device
@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), dtypes, st.tuples(orders, orders), seeds)
def test_adaptive_pool2d_like_torch(torch, size, output_size, dtype, memory, seed):
    x = distinct((2, 2, *size), dtype, seed, memory[0])
    for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        assert_like_torch(
            torch,
            lambda x, name=name: getattr(F, name)(x, output_size),
            lambda x, name=name: getattr(torch.nn.functional, name)(x, output_size),
            x,
            seed=seed,
            order=memory[1],
        )


@pytest.mark.parametrize("output_size", [1, 3, (None, 2), (4, None), (1, 1)])
def test_adaptive_pool2d_takes_numbers_and_none(torch, output_size):
    assert_like_torch(
        torch,
        lambda x: F.adaptive_avg_pool2d(x, output_size),
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, output_size),
        distinct((2, 3, 5, 7)),
    )


@on_every_device
@pytest.mark.parametrize("output_size", [1, 2, 4, 7, 9])
def test_adaptive_pool1d_like_torch(torch, output_size):
    for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d"):
        assert_like_torch(
            torch,
            lambda x, name=name: getattr(F, name)(x, output_size),
            lambda x, name=name: getattr(torch.nn.functional, name)(x, output_size),
            distinct((2, 3, 7)),
        )


def test_global_pools():
    x = distinct((2, 3, 4, 5))
    y = F.global_avg_pool2d(Tensor(x))
    np.testing.assert_allclose(y.array, x.mean(axis=(2, 3), keepdims=True), rtol=1e-14)
    np.testing.assert_array_equal(
        F.global_max_pool2d(Tensor(x)).array, x.max(axis=(2, 3), keepdims=True)
    )


@pytest.mark.parametrize("pool", [F.max_pool2d, F.min_pool2d])
def test_the_first_of_equals_gets_the_gradient(pool):
    x = Tensor(np.zeros((1, 1, 3, 3)), requires_grad=True)
    pool(x, 3).backward(np.full((1, 1, 1, 1), 5.0))
    assert x.grad.tolist() == [[[[5, 0, 0], [0, 0, 0], [0, 0, 0]]]]


def test_padding_never_wins():
    x = Tensor(np.full((1, 1, 2, 2), -1.0))
    assert F.max_pool2d(x, 3, 2, 1).tolist() == [[[[-1.0]]]]
    assert F.min_pool2d(-x, 3, 2, 1).tolist() == [[[[1.0]]]]


@pytest.mark.parametrize("pool", [F.max_pool2d, F.min_pool2d])
def test_nan_wins_and_gets_the_gradient(pool):
    values = np.array([[[[1.0, np.nan, 2.0, 3.0]]]])
    x = Tensor(values, requires_grad=True)
    y = pool(x, (1, 2))
    assert np.isnan(y.array).tolist() == [[[[True, False]]]]
    y.backward(np.array([[[[5.0, 7.0]]]]))
    assert x.grad.array[0, 0, 0, 1] == 5
    assert x.grad.array.sum() == 12


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_windows_of_one_extreme_value_send_their_gradient_inside(value):
    x = Tensor(np.full((1, 2, 3, 3), value, "float32"), requires_grad=True)
    y = F.max_pool2d(x, 3, 2, 1)
    np.testing.assert_array_equal(y.array, np.full((1, 2, 2, 2), value, "float32"))
    y.backward(np.ones((1, 2, 2, 2), "float32"))
    assert x.grad.array.sum() == 8


@pytest.mark.parametrize("pool", POOLS_2D)
def test_slopes_2d(pool):
    x = Tensor(distinct((2, 2, 5, 6)), requires_grad=True)
    gradcheck(lambda x: pool(x, (3, 2), (2, 1), 1, ceil_mode=True), x)


@pytest.mark.parametrize("pool", POOLS_1D)
def test_slopes_1d(pool):
    gradcheck(lambda x: pool(x, 3, 2, 1), Tensor(distinct((2, 2, 8)), requires_grad=True))


@pytest.mark.parametrize("pool", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
@pytest.mark.parametrize("output_size", [(3, 2), (1, 1), (4, 7)])
def test_slopes_adaptive(pool, output_size):
    x = Tensor(distinct((2, 2, 5, 6)), requires_grad=True)
    gradcheck(lambda x: pool(x, output_size), x)


@pytest.mark.parametrize("pool", [F.global_avg_pool2d, F.global_max_pool2d])
def test_slopes_global(pool):
    gradcheck(pool, Tensor(distinct((2, 3, 4, 4)), requires_grad=True))


@pytest.mark.parametrize(
    ("pool", "expected"), [(F.global_avg_pool1d, np.mean), (F.global_max_pool1d, np.max)]
)
def test_global_pools_of_sequences(pool, expected):
    x = distinct((2, 3, 5))
    y = pool(Tensor(x))
    np.testing.assert_allclose(y.array, expected(x, axis=2, keepdims=True), rtol=1e-14)
    gradcheck(pool, Tensor(x, requires_grad=True))


@on_every_device
@pytest.mark.parametrize(
    "make",
    [
        lambda: MaxPool2d(2, 1, 1, 1, True),
        lambda: MaxPool2d(2, 1, 1, 1, True, relu=True),
        lambda: AvgPool2d(2, 1, 0, False, True),
        lambda: AdaptiveMaxPool2d(3),
        lambda: AdaptiveAvgPool2d(3),
        lambda: AdaptiveMaxPool2d(2),
        lambda: AdaptiveAvgPool2d((None, None)),
        lambda: MaxPool2d(1, 1, 0, 1, False),
        lambda: AvgPool2d(1, 1, 0, False, True),
    ],
)
def test_contract(make):
    check_contract(make, distinct((2, 3, 4, 4)))


@pytest.mark.parametrize("pool", [*POOLS_2D, F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
def test_empty_batch(pool):
    x = Tensor(np.zeros((0, 3, 4, 4), "float32"), requires_grad=True)
    y = pool(x, 2)
    assert y.shape == (0, 3, 2, 2)
    y.sum().backward()
    assert (x.grad.shape, x.grad.dtype) == (x.shape, np.float32)


@pytest.mark.parametrize("pool", POOLS_2D)
@pytest.mark.parametrize(
    ("shape", "window", "message"),
    [
        ((2, 1, 3, 3), (4,), r"\(3 \+ 0 \+ 0 - 1\*\(4-1\) - 1\)//4 \+ 1 = 0"),
        ((2, 1, 4, 4), (2, 2, 2), "at most half of the window"),
        ((2, 4, 4), (2,), r"x\.unsqueeze\(1\)"),
        ((2, 1, 4, 4), (0,), ">= 1"),
    ],
)
def test_pool2d_refuses(pool, shape, window, message):
    with pytest.raises(ValueError, match=message):
        pool(Tensor(np.zeros(shape)), *window)


@pytest.mark.parametrize("pool", POOLS_2D)
def test_pool2d_refuses_integers(pool):
    with pytest.raises(TypeError, match="got int64"):
        pool(Tensor(np.zeros((1, 1, 4, 4), "int64")), 2)


@pytest.mark.parametrize("pool", POOLS_1D)
def test_pool1d_refuses_sequences_without_channels(pool):
    with pytest.raises(ValueError, match=r"\(N, C, L\), got \(8, 20\).*unsqueeze"):
        pool(Tensor(np.zeros((8, 20))), 2)


@on_every_device
@pytest.mark.parametrize("pool", POOLS_2D)
def test_an_image_smaller_than_the_window_with_ceil_mode(torch, pool):
    oracle = torch.nn.functional
    twin = {
        F.max_pool2d: lambda x: oracle.max_pool2d(x, 3, 2, ceil_mode=True),
        F.min_pool2d: lambda x: -oracle.max_pool2d(-x, 3, 2, ceil_mode=True),
        F.avg_pool2d: lambda x: oracle.avg_pool2d(x, 3, 2, ceil_mode=True),
    }[pool]
    assert_like_torch(torch, lambda x: pool(x, 3, 2, ceil_mode=True), twin, distinct((2, 1, 2, 2)))
