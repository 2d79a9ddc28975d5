"""Operators: which dtypes they accept and give, what they say about shapes."""

import numpy as np
import pytest

from minicnn import Tensor
from tests.checks import assert_close, leaf, normal, positive

F32 = normal(2, 3, dtype="float32")

# --- operands -------------------------------------------------------------------------------------

BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


@pytest.mark.parametrize("operator", BINARY)
@pytest.mark.parametrize(
    "number",
    [
        2,
        2.0,
        True,
        np.float64(2),
        np.float32(2),
        np.int64(2),
        np.array(2.0),
        np.array(2),
        Tensor(np.array(2.0)),
        Tensor(2),
        np.sqrt(2),
    ],
    ids=lambda number: f"{type(number).__name__} {getattr(number, 'dtype', '')}",
)
@pytest.mark.parametrize("shape", [(2, 3), ()])
def test_numbers_never_promote(operator, number, shape):
    x = Tensor(positive(*shape, dtype="float32"))
    if isinstance(number, Tensor) and number.dtype == np.float64 and not shape:
        pytest.skip("two tensors without axes: neither is the number")
    function, value = BINARY[operator], float(number)
    for result, expected in [
        (function(x, number), function(x.array, np.float32(value))),
        (function(number, x), function(np.float32(value), x.array)),
    ]:
        assert isinstance(result, Tensor)
        assert result.dtype == np.float32
        assert_close(result, expected)


@pytest.mark.parametrize("operator", BINARY)
def test_an_array_as_an_operand(operator):
    x, array = Tensor(positive(2, 3)), positive(3, seed=1)
    function = BINARY[operator]
    assert_close(function(x, array), function(x.array, array))
    assert_close(function(array, x), function(array, x.array))


@pytest.mark.parametrize("operator", BINARY)
def test_mixed_floats_are_refused(operator):
    with pytest.raises(TypeError, match=r"mixed dtypes, float32 .* with float64 .* \.to\(dtype\)"):
        BINARY[operator](Tensor(F32), Tensor(normal(2, 3)))


def test_two_tensors_without_axes_take_the_wider_dtype_in_either_order():
    a, b = Tensor(1.0), Tensor(np.float64(1))
    assert (a + b).dtype == (b + a).dtype == np.float64


def test_integers_meet_floats_as_floats():
    labels = Tensor([1, 2, 3])
    for result in (labels * Tensor(F32), Tensor(F32) * labels, labels * 0.5, 0.5 * labels):
        assert result.dtype == np.float32


def test_gradients_of_mixed_operands_have_the_dtype_of_their_input():
    x = leaf(F32.copy())
    (x * Tensor([1, 2, 3]) + np.float64(2) * x / np.sqrt(2)).sum().backward()
    assert x.grad.dtype == np.float32


def test_integers_stay_integers():
    a = Tensor([7, 8])
    assert (a + 1).dtype == (a * a).dtype == (-a).dtype == (a**2).dtype == np.int64


def test_the_quotient_of_integers_is_float32():
    quotient = Tensor([1, 2]) / Tensor([2, 2])
    assert quotient.dtype == np.float32
    assert quotient.tolist() == [0.5, 1]


def test_small_integers_keep_their_dtype_beside_a_number():
    assert (Tensor(np.array([1, 2], np.uint8)) + 1).dtype == np.uint8


def test_booleans_count():
    mask = Tensor([True, False])
    assert (mask + 1).tolist() == [2, 1]
    assert (mask * 2.5).dtype == np.float32
    assert mask.sum().item() == 1


def test_integers_to_a_negative_power():
    with pytest.raises(ValueError, match="Pow: Integers to negative integer powers"):
        Tensor([1, 2]) ** -1


@pytest.mark.parametrize("operand", ["text", None, {}])
def test_operands_that_are_no_numbers(operand):
    with pytest.raises(TypeError, match=f"got {type(operand).__name__}"):
        Tensor([1.0]) + operand


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"Add: shapes \(2, 3\) and \(2,\) do not broadcast"):
        Tensor(normal(2, 3)) + Tensor(normal(2))


def test_the_condition_of_where_must_broadcast_too():
    with pytest.raises(
        ValueError, match=r"Where: shapes \(4,\) and \(2, 3\) and \(\) do not broad"
    ):
        Tensor(normal(2, 3)).where(Tensor([True] * 4), 0)


@pytest.mark.parametrize(
    "name", ["exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "softmax", "log_softmax"]
)
def test_real_functions_of_integers_are_float32(name):
    arguments = [0] if "softmax" in name else []
    assert getattr(Tensor([1, 2]), name)(*arguments).dtype == np.float32


FLOAT32_TO_FLOAT32 = {
    "neg": lambda x: -x,
    "abs": abs,
    "exp": Tensor.exp,
    "log": lambda x: x.abs().log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "sin": Tensor.sin,
    "cos": Tensor.cos,
    "tanh": Tensor.tanh,
    "sigmoid": Tensor.sigmoid,
    "relu": Tensor.relu,
    "clamp": lambda x: x.clamp(-0.5, np.float64(0.5)),
    "pow": lambda x: x.pow(2),
    "maximum": lambda x: x.maximum(np.float64(0.1)),
    "minimum": lambda x: x.minimum(0),
    "where": lambda x: x.where(x > 0, np.float64(0)),
    "matmul": lambda x: x @ x.T,
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(1),
    "var": lambda x: x.var(1),
    "std": Tensor.std,
    "norm": Tensor.norm,
    "amax": lambda x: x.amax(0),
    "max": lambda x: x.max(0).values,
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "gather": lambda x: x.gather(0, Tensor([[0, 1, 0]])),
    "index": lambda x: x[[0, 1, 0], 1:],
    "reshape": lambda x: x.reshape(-1),
    "expand": lambda x: x.expand(2, 2, 3),
    "flip": lambda x: x.flip(0),
    "clone": Tensor.clone,
}


@pytest.mark.parametrize("name", FLOAT32_TO_FLOAT32)
def test_float32_stays_float32(name):
    x, arrived = leaf(F32.copy()), []
    x.register_hook(lambda g: arrived.append(g.dtype))
    y = FLOAT32_TO_FLOAT32[name](x)
    y.sum().backward()
    assert y.dtype == np.float32
    assert arrived == [np.float32]


def test_plus_is_the_tensor_itself():
    x = leaf(normal(2))
    assert +x is x


# --- comparisons ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (lambda x: x == 2, [False, True, False]),
        (lambda x: x != 2, [True, False, True]),
        (lambda x: x < 2, [True, False, False]),
        (lambda x: x <= 2, [True, True, False]),
        (lambda x: x > Tensor([2.0]), [False, False, True]),
        (lambda x: x >= np.array([2.0]), [False, True, True]),
        (lambda x: (x > 1) & (x < 3), [False, True, False]),
        (lambda x: (x < 2) | (x > 2), [True, False, True]),
        (lambda x: ~(x > 1), [True, False, False]),
        (lambda x: np.array([2.0]) < x, [False, False, True]),
    ],
)
def test_comparisons(compare, expected):
    result = compare(leaf(np.array([1.0, 2.0, 3.0])))
    assert result.dtype == bool
    assert not result.requires_grad
    assert result.tolist() == expected


def test_matrices_count_as_arrays():
    matrix = np.arange(4.0).reshape(2, 2).view(np.matrix)
    plain = np.asarray(matrix)
    x = Tensor(matrix)
    assert np.shares_memory(x.array, matrix)
    for result in (x * plain, x * matrix, matrix * Tensor(plain)):
        assert result.tolist() == (plain * plain).tolist()
    assert (plain @ x).tolist() == (matrix @ x).tolist() == (plain @ plain).tolist()
    assert all(type(t.array) is np.ndarray for t in (x, x == matrix, x.where(matrix > 0, 0)))
