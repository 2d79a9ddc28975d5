"""Operators: which dtypes they accept and give, what they say about shapes, what changes in place."""

import numpy as np
import pytest

from minicnn import Tensor, no_grad
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


# --- in place -------------------------------------------------------------------------------------


def add(x):
    x += 1


def subtract(x):
    x -= 1


def multiply(x):
    x *= 2


def divide(x):
    x /= 2


IN_PLACE = [(add, [2, 3]), (subtract, [0, 1]), (multiply, [2, 4]), (divide, [0.5, 1])]


@pytest.mark.parametrize(("update", "expected"), IN_PLACE)
def test_in_place_operators_write_to_the_array(update, expected):
    x = Tensor(np.array([1.0, 2.0]))
    array = x.array
    update(x)
    assert x.array is array
    assert array.tolist() == expected


@pytest.mark.parametrize(("update", "expected"), IN_PLACE)
def test_in_place_operators_on_a_parameter_under_no_grad(update, expected):
    x = leaf(np.array([1.0, 2.0]))
    array = x.array
    with no_grad():
        update(x)
    assert array.tolist() == expected
    assert x.requires_grad


@pytest.mark.parametrize(("update", "_"), IN_PLACE)
def test_in_place_operators_refuse_a_leaf_on_the_tape(update, _):
    with pytest.raises(RuntimeError, match=r"requires a gradient cannot be changed.*no_grad\(\)"):
        update(leaf(normal(2)))


def test_an_in_place_operator_gives_a_result_on_the_tape_a_new_value():
    x = leaf(np.array([1.0, 2.0]))
    y = x * x
    before = y
    y += 1
    y *= 2
    assert y is not before
    assert before.tolist() == [1, 4]
    y.sum().backward()
    assert x.grad.tolist() == [4, 8]


def test_adding_a_parameter_to_plain_data_makes_a_new_value():
    w, total = leaf(normal(2)), Tensor(np.zeros(2))
    array = total.array
    total += w
    assert total.requires_grad
    assert array.tolist() == [0, 0]


def test_in_place_operators_keep_the_dtype():
    x = Tensor([1.0, 2.0])
    x *= np.float64(2)
    x += np.array(1.0)
    assert x.dtype == np.float32
    with pytest.raises(TypeError, match="in-place operator: mixed dtypes"):
        x += normal(2)


def test_integers_cannot_hold_a_fraction():
    x = Tensor([1, 2])
    with pytest.raises(TypeError, match="Cannot cast"):
        x += 0.5


def test_assignment():
    x = Tensor(np.zeros((2, 3)))
    x[0] = 1
    x[1, Tensor([0, 2])] = Tensor(np.array([2.0, 3.0]))
    x[x == 0] = 9
    assert x.tolist() == [[1, 1, 1], [2, 9, 3]]


def test_assignment_is_refused_on_the_tape():
    x, y = leaf(normal(2)), Tensor(normal(2))
    with pytest.raises(RuntimeError, match=r"no gradient flows through an assignment"):
        x[0] = 1
    with pytest.raises(RuntimeError, match=r"no gradient flows through an assignment"):
        y[0] = x[1]


def test_updating_a_part_under_no_grad():
    x = leaf(np.array([1.0, 2.0]))
    with no_grad():
        x[0] += 5
    assert x.tolist() == [6, 2]


def test_methods_that_write():
    x = Tensor(np.ones(3))
    assert x.add_(2).tolist() == [3, 3, 3]
    assert x.add_(1, alpha=-2).tolist() == [1, 1, 1]
    assert x.mul_(4).tolist() == [4, 4, 4]
    assert x.fill_(5).tolist() == [5, 5, 5]
    assert x.copy_(Tensor([1, 2, 3])).tolist() == [1, 2, 3]
    assert x.zero_().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "write",
    [
        Tensor.zero_,
        lambda x: x.fill_(1),
        lambda x: x.copy_(x),
        lambda x: x.add_(1),
        lambda x: x.mul_(2),
    ],
)
def test_methods_that_write_refuse_the_tape(write):
    for x in (leaf(normal(2)), leaf(normal(2)) * 2):
        with pytest.raises(RuntimeError, match="cannot be changed in place"):
            write(x)


def test_plus_is_the_tensor_itself():
    x = leaf(normal(2))
    assert +x is x
