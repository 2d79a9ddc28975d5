"""Convolution and pooling in one pass, against the definitions of the two, one after the other."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import reference
from tests.checks import MEMORY_ORDERS, in_memory

pytest.importorskip("numba")

from minicnn.kernels.cpu import conv_pool, conv_pool_loops

DTYPES = (np.float32, np.float64)
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


@dataclass
class Case:
    """The arrays, and the settings (stride, padding, dilation, pool)."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    settings: tuple
    relu: bool = True
    order: str = "contiguous"

    def forward(self):
        *conv, pool = self.settings
        return conv_pool.conv2d_max_pool2d(self.x, self.w, self.bias, *conv, pool, self.relu)

    def reference(self):
        """Return the convolution in float64, and the winners and results of pooling it."""
        stride, padding, dilation, pool = self.settings
        z = reference.conv2d(
            self.x.astype(np.float64), self.w.astype(np.float64), stride, padding, dilation
        )
        if self.bias is not None:
            z = z + self.bias[:, None, None]
        if self.relu:
            z = np.maximum(z, 0)
        return (z, *reference.max_pool2d(z, pool))

    def check(self):
        """Compare results, and the gradients for a random one, with the reference."""
        tolerance = TOLERANCE[self.x.dtype.type]
        y, winner, framed = self.forward()
        z, expected, _ = self.reference()
        assert y.dtype == self.x.dtype
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(z).max(initial=1))

        grad = np.random.default_rng(1).standard_normal(y.shape).astype(self.x.dtype)
        grad = in_memory(grad, self.order)
        *conv, pool = self.settings
        results = conv_pool.conv2d_max_pool2d_grad(
            grad, winner, framed, self.w, self.x.shape, *conv, pool, True
        )
        nobody = pool_taps(pool) if self.relu else -1
        grad_z = reference.max_pool2d_grad(
            np.where(winner == nobody, 0, grad).astype(np.float64),
            np.where(winner == nobody, 0, winner),
            z.shape,
            pool,
        )
        x, w = self.x.astype(np.float64), self.w.astype(np.float64)
        expected = (
            reference.conv2d_grad_input(grad_z, w, x.shape, *conv),
            reference.conv2d_grad_weight(grad_z, x, w.shape, *conv),
            grad_z.sum(axis=(0, 2, 3)),
        )
        for name, a, b in zip(("grad_x", "grad_w", "grad_bias"), results, expected, strict=True):
            scale = tolerance * max(1, np.abs(b).max(initial=0))
            np.testing.assert_allclose(a, b, rtol=0, atol=scale, err_msg=name)
            assert a.dtype == self.x.dtype


def pool_taps(pool):
    return int(np.prod(pool)) if isinstance(pool, tuple) else pool**2


def case(
    dtype=np.float32, N=3, C=2, K=5, size=(9, 8), kernel=(3, 3), stride=1, padding=0, dilation=1,
    pool=2, relu=True, bias=True, orders=("contiguous",) * 3, seed=0,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    x, w, b = (
        rng.standard_normal(shape).astype(dtype) for shape in ((N, C, *size), (K, C, *kernel), (K,))
    )
    return Case(
        in_memory(x, orders[0]),
        in_memory(w, orders[1]),
        b if bias else None,
        (stride, padding, dilation, pool),
        relu,
        orders[2],
    )


@st.composite
def cases(draw):
    small, sides = st.integers(1, 3), st.integers(0, 2)
    kernel, stride, pool = ((draw(small), draw(small)) for _ in range(3))
    padding = ((draw(sides), draw(sides)), (draw(sides), draw(sides)))
    dilation = (draw(small), 1)
    size = []
    for k, s, p, d, (before, after) in zip(kernel, stride, pool, dilation, padding, strict=True):
        least = d * (k - 1) + 1 + (p - 1) * s - before - after
        size.append(max(1, least) + draw(st.integers(0, 5)))
    orders = tuple(draw(st.sampled_from(MEMORY_ORDERS)) for _ in range(3))
    return case(
        draw(st.sampled_from(DTYPES)), draw(small), draw(st.integers(1, 9)), draw(st.integers(1, 18)),
        size, kernel, stride, padding, dilation, pool, draw(st.booleans()), draw(st.booleans()), orders,
        draw(st.integers(0, 99)),
    )  # fmt: skip


@settings(max_examples=150)
@given(cases())
def test_equals_the_reference(case):
    case.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [
        {"C": 1, "K": 8, "size": (28, 28)},
        {"C": 6, "K": 16, "size": (14, 14), "kernel": (5, 5)},
        {"C": 24, "K": 3, "kernel": (3, 2)},  # rows of the window longer than the unrolled vectors
        {"C": 3, "K": 40, "size": (30, 66), "padding": 1},  # several panels and several strips
        {"K": 1, "size": (1, 7), "kernel": (1, 2), "pool": (1, 3)},
        {"N": 1, "C": 1, "size": (20, 20), "pool": (17, 17)},  # winners of two bytes
        {"N": 1, "size": (3, 4), "kernel": (1, 1), "pool": 1},
        {"N": 7, "K": 20, "size": (11, 11), "stride": 2, "padding": 2},
    ],
)
def test_shapes_that_reach_every_part_of_the_loops(shape, dtype):
    case(dtype, **shape).check()


@pytest.mark.parametrize("parts", [1, 2, 5, 300])
def test_shares_of_the_work(monkeypatch, parts):
    monkeypatch.setattr(conv_pool, "SERIAL_PRODUCTS", 0)
    monkeypatch.setattr(conv_pool, "thread_count", lambda: parts)
    case(N=4, C=3, K=11, size=(12, 13), padding=1).check()


def test_short_chunks_of_pixels():
    """The last chunk is shorter than the others, and its panels lie closer together."""
    case(N=2, K=20, size=(2 * conv_pool_loops.CHUNK_PIXELS // 8 + 5, 7)).check()


def test_the_first_of_equals_wins():
    equal = case(size=(4, 4), kernel=(1, 1), bias=False)
    equal.x[:] = 1
    equal.w[:] = 1
    _, winner, _ = equal.forward()
    assert not winner.any()


def test_nan_is_larger_than_every_number():
    broken = case(N=1, C=1, K=1, size=(4, 4), kernel=(1, 1))
    broken.x[0, 0, 1, 1] = np.nan
    y, winner, _ = broken.forward()
    np.testing.assert_array_equal(np.isnan(y[0, 0]), [[True, False], [False, False]])
    assert winner[0, 0, 0, 0] == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gradients_that_are_no_numbers_stay_with_what_they_belong_to(value):
    one = case(N=2, C=5, K=6, size=(8, 8))
    one.x[:], one.w[:] = np.abs(one.x), np.abs(one.w)  # everybody has a winner
    y, winner, framed = one.forward()
    grad = np.ones_like(y)
    grad[0, 2, 0, 0] = value
    *conv, pool = one.settings
    grad_x, grad_w, grad_bias = conv_pool.conv2d_max_pool2d_grad(
        grad, winner, framed, one.w, one.x.shape, *conv, pool, True
    )
    np.testing.assert_array_equal(np.isfinite(grad_bias), np.arange(6) != 2)
    assert np.isfinite(np.delete(grad_w, 2, axis=0)).all()
    assert not np.isfinite(grad_w[2]).any()
    assert np.isfinite(grad_x[1]).all()
    assert not np.isfinite(grad_x[0][:, :3, :3]).all()
    assert np.isfinite(grad_x[0][:, 4:]).all()  # outside of what the pooled pixel can see
    assert np.isfinite(grad_x[0][:, :, 4:]).all()


def test_the_same_bits_again():
    one = case(N=5, C=6, K=16, size=(14, 14))
    *conv, pool = one.settings
    runs = []
    for _ in range(3):
        y, winner, framed = one.forward()
        settings = one.x.shape, *conv, pool, True
        gradients = conv_pool.conv2d_max_pool2d_grad(y, winner, framed, one.w, *settings)
        runs.append((y, *gradients))
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
