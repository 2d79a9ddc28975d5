"""Padding: all modes against PyTorch, widths that cut, slopes, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from tests.devices import constant, on_every_device
from tests.nn.oracle import assert_like_torch, dtypes, orders, random_array, seeds

size = st.integers(2, 4)


@on_every_device
@given(
    st.lists(size, min_size=1, max_size=4),
    st.integers(0, 4),
    st.lists(st.integers(-1, 3), min_size=8, max_size=8),
    st.sampled_from([0.0, 1.5, float("-inf")]),
    dtypes,
    st.tuples(orders, orders),
    seeds,
)
def test_constant_like_torch(torch, shape, axes, widths, value, dtype, memory, seed):
    widths = tuple(widths[: 2 * min(axes, len(shape))])
    assert_like_torch(
        torch,
        lambda x: F.pad(x, widths, "constant", value),
        lambda x: torch.nn.functional.pad(x, widths, "constant", value),
        random_array(shape, dtype, seed, memory[0]),
        seed=seed,
        order=memory[1],
    )


@on_every_device
@given(
    st.tuples(size, size, size, size),
    st.sampled_from(["reflect", "replicate", "circular"]),
    st.lists(st.integers(-1, 1), min_size=4, max_size=4),
    dtypes,
    st.tuples(orders, orders),
    seeds,
)
def test_other_modes_like_torch(torch, shape, mode, widths, dtype, memory, seed):
    if mode == "circular":  # PyTorch wants a pixel to repeat on each side
        widths = [max(width, 0) for width in widths]
    assert_like_torch(
        torch,
        lambda x: F.pad(x, tuple(widths), mode),
        lambda x: torch.nn.functional.pad(x, tuple(widths), mode),
        random_array(shape, dtype, seed, memory[0]),
        seed=seed,
        order=memory[1],
    )


@on_every_device
@pytest.mark.parametrize(
    ("mode", "widths", "expected"),
    [
        ("reflect", (3, 2), [3, 2, 1, 0, 1, 2, 3, 2, 1]),
        ("replicate", (1, 6), [0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
        ("circular", (4, 1), [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("reflect", (-1, 2), [1, 2, 3, 2, 1]),
        ("circular", (-1, 2), [1, 2, 3, 1, 2]),
        ("circular", (1, -1), [2, 0, 1, 2]),
        ("constant", (-2, 1), [2, 3, 9]),
        ("constant", (-4, 2), [9, 9]),
    ],
)
def test_one_axis(mode, widths, expected):
    assert F.pad(constant([[0, 1, 2, 3]]), widths, mode, 9).tolist() == [expected]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_slopes(mode):
    x = Tensor(random_array((2, 3, 4)), requires_grad=True)
    gradcheck(lambda x: F.pad(x, (2, 1, -1, 1), mode), x)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_empty_batch(mode):
    x = Tensor(np.zeros((0, 1, 4, 4), "float32"), requires_grad=True)
    y = F.pad(x, (1, 2, 1, 1), mode)
    assert y.shape == (0, 1, 6, 7)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("widths", "mode", "message"),
    [
        ((1,), "constant", "pairs"),
        ((0, 0, 0, 0, 1, 1), "constant", "at most 2 axes"),
        ((-5, 9), "constant", "cuts more"),
        ((-3, -2), "reflect", "cuts more"),
        ((4, 0), "reflect", "too large for 'reflect' on an axis of size 4"),
        ((0, 5), "circular", "too large"),
        ((0, 0), "mirror", "'mirror'"),
    ],
)
def test_refuses_widths(widths, mode, message):
    with pytest.raises(ValueError, match=message):
        F.pad(Tensor(random_array((2, 4))), widths, mode)


@pytest.mark.parametrize("widths", [1, (1.0, 1.0), "12"])
def test_refuses_what_are_no_widths(widths):
    with pytest.raises(TypeError, match="tuple of integers"):
        F.pad(Tensor(random_array((2, 4))), widths)
