"""Tensors from nothing: shapes, dtypes, and chance that can be repeated."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from tests.checks import assert_close, leaf, normal


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
def test_sizes_and_default_dtype(name):
    make = getattr(minicnn, name)
    assert make(2, 3).shape == make((2, 3)).shape == make([2, 3]).shape == (2, 3)
    assert make(size=(2, 3)).shape == (2, 3)
    assert make().shape == ()
    assert make(0, 3).shape == (0, 3)
    assert make(2).dtype == np.float32
    assert make(2, dtype="float64").dtype == np.float64
    assert make(2, dtype="float16").dtype == np.float16
    assert make(2, requires_grad=True).requires_grad


def test_values():
    assert minicnn.zeros(2).tolist() == [0, 0]
    assert minicnn.ones(2).tolist() == [1, 1]
    assert minicnn.eye(2).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("value", "dtype"), [(2.5, "float32"), (2, "int64"), (True, "bool"), (np.float64(2), "float32")]
)
def test_full(value, dtype):
    x = minicnn.full((2,), value)
    assert x.dtype == dtype
    assert x.tolist() == [value, value]


def test_like_another():
    x = Tensor(normal(2, 3))
    for y in (minicnn.zeros_like(x), minicnn.ones_like(x), minicnn.full_like(x, 7)):
        assert (y.shape, y.dtype, y.requires_grad) == ((2, 3), np.float64, False)
    assert minicnn.ones_like(x, dtype="int64").dtype == np.int64
    assert minicnn.full_like(x, 7).tolist() == [[7] * 3] * 2


def test_tensor_copies():
    array = normal(2)
    x = minicnn.tensor(array)
    assert x.dtype == np.float64
    assert not np.shares_memory(x.array, array)
    assert not np.shares_memory(minicnn.tensor(x).array, x.array)


@pytest.mark.parametrize(
    ("data", "dtype"), [([1.0], "float32"), ([1], "int64"), ([True], "bool"), (2.0, "float32")]
)
def test_tensor_of_python_numbers(data, dtype):
    assert minicnn.tensor(data).dtype == dtype


def test_tensor_with_options():
    x = minicnn.tensor([1, 2], dtype="float32", device="cpu", requires_grad=True)
    assert x.requires_grad
    assert x.dtype == np.float32


def test_from_numpy_shares():
    array = normal(2)
    assert minicnn.from_numpy(array).array is array
    with pytest.raises(TypeError, match=r"expected a numpy\.ndarray, got list"):
        minicnn.from_numpy([1.0])


@pytest.mark.parametrize(
    ("arguments", "values", "dtype"),
    [
        ((3,), [0, 1, 2], "int64"),
        ((1, 4), [1, 2, 3], "int64"),
        ((0, 1, 0.5), [0, 0.5], "float32"),
        ((3, 0, -1), [3, 2, 1], "int64"),
    ],
)
def test_arange(arguments, values, dtype):
    x = minicnn.arange(*arguments)
    assert x.tolist() == values
    assert x.dtype == dtype


def test_linspace():
    x = minicnn.linspace(0, 1, 5)
    assert x.dtype == np.float32
    assert x.tolist() == [0, 0.25, 0.5, 0.75, 1]


# --- chance ---------------------------------------------------------------------------------------

DRAWS = {
    "rand": lambda: minicnn.rand(5),
    "randn": lambda: minicnn.randn(5),
    "normal": lambda: minicnn.normal(0, 1, (5,)),
    "randint": lambda: minicnn.randint(0, 100, (5,)),
    "randperm": lambda: minicnn.randperm(50),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_seed_gives_the_same_numbers(name):
    minicnn.manual_seed(3)
    first, second = DRAWS[name](), DRAWS[name]()
    minicnn.manual_seed(3)
    assert DRAWS[name]().tolist() == first.tolist()
    assert first.tolist() != second.tolist()


def test_distributions():
    uniform, gauss = minicnn.rand(100_000), minicnn.randn(100_000)
    assert 0 <= uniform.min().item() < 0.001
    assert 0.999 < uniform.max().item() < 1
    assert_close(uniform.mean().array, 0.5, tolerance=0.01)
    assert_close(gauss.mean().array, 0, tolerance=0.02)
    assert_close(gauss.std().array, 1, tolerance=0.02)
    shifted = minicnn.normal(3, 0.1, (100_000,))
    assert_close(shifted.mean().array, 3, tolerance=0.01)
    assert_close(shifted.std().array, 0.1, tolerance=0.01)


def test_rand_never_reaches_one():
    class AlmostOne:
        def random(self, size, dtype=np.float64):
            return np.full(size, np.nextafter(dtype(1), dtype(0)), dtype)

    original = minicnn.random._generator
    minicnn.random._generator = AlmostOne()
    try:
        assert minicnn.rand(2).max().item() < 1
    finally:
        minicnn.random._generator = original


def test_randint_and_randperm():
    assert set(minicnn.randint(2, 5, (1000,)).tolist()) == {2, 3, 4}
    assert sorted(minicnn.randperm(10).tolist()) == list(range(10))
    assert minicnn.randperm(3).dtype == minicnn.randint(0, 2, 3).dtype == np.int64


def test_a_leaf_made_here_takes_part():
    x = minicnn.ones(2, requires_grad=True)
    (x * leaf(np.full(2, 3, np.float32))).sum().backward()
    assert x.grad.tolist() == [3, 3]


@pytest.mark.parametrize("like", [minicnn.rand_like, minicnn.randn_like])
def test_random_numbers_like_another_tensor(like):
    drawn = like(minicnn.zeros(20, 30, dtype=minicnn.float64))
    assert (drawn.shape, drawn.dtype) == ((20, 30), np.float64)
    assert len(np.unique(drawn.array)) == 600
