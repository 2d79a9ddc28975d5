"""Functions of one number for compiled loops: against long double, in units of the last place, and at the extremes."""

import numpy as np
import pytest

from minicnn.kernels.cpu import special
from minicnn.kernels.cpu.compiled import compiled

LIMITS = {"float32": (-87.3, 88.7), "float64": (-708.0, 709.7)}
EXTREMES = [-np.inf, -1e4, 0.0, 1e4, np.inf, np.nan]


@compiled
def exp(x, y):
    for i in range(x.size):
        y[i] = special.exp(x[i])


@compiled
def sigmoid(x, y):
    for i in range(x.size):
        y[i] = special.sigmoid(x[i])


@compiled
def tanh(x, y):
    for i in range(x.size):
        y[i] = special.tanh(x[i])


def computed(loop, x):
    y = np.empty_like(x)
    loop(x, y)
    return y


@pytest.mark.parametrize(
    ("loop", "oracle", "units"),
    [(exp, np.exp, 2), (sigmoid, lambda x: 1 / (1 + np.exp(-x)), 3), (tanh, np.tanh, 3)],
)
@pytest.mark.parametrize("dtype", LIMITS)
def test_accuracy(loop, oracle, units, dtype):
    low, high = LIMITS[dtype]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, high, 20_000), rng.normal(size=20_000) * 1e-2])
    x = x.astype(dtype)
    expected = oracle(x.astype(np.longdouble))
    error = np.abs(computed(loop, x) - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert error.max() < units


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        (exp, [0, 0, 1, np.inf, np.inf, np.nan]),
        (sigmoid, [0, 0, 0.5, 1, 1, np.nan]),
        (tanh, [-1, -1, 0, 1, 1, np.nan]),
    ],
)
@pytest.mark.parametrize("dtype", LIMITS)
def test_extremes(loop, expected, dtype):
    np.testing.assert_array_equal(computed(loop, np.array(EXTREMES, dtype)), expected)


@pytest.mark.parametrize(("dtype", "x"), [("float32", -103.0), ("float64", -744.0)])
def test_powers_near_zero_are_subnormal(dtype, x):
    x = np.array([x], dtype)
    y = computed(exp, x)
    assert 0 < y[0] < np.finfo(dtype).tiny
    np.testing.assert_allclose(y, np.exp(x), rtol=0.5)


def test_the_sign_of_zero_is_kept():
    assert np.signbit(computed(tanh, np.array([-0.0]))).all()
