"""A tensor's numbers in the hands of Python and NumPy, and as text."""

import numpy as np
import pytest

from minicnn import Tensor, tensor
from minicnn.captured import capture
from tests.checks import leaf, normal

# --- conversions ----------------------------------------------------------------------------------


def test_item():
    assert Tensor([[2.5]]).item() == 2.5
    assert isinstance(Tensor(3).item(), int)
    with pytest.raises(ValueError, match=r"expected one element, got shape \(2,\)"):
        Tensor([1, 2]).item()


def test_tolist():
    assert Tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert Tensor(1.5).tolist() == 1.5


def test_python_numbers():
    x = Tensor([2.75])
    assert float(x) == 2.75
    assert int(x) == 2
    assert bool(x)
    assert not Tensor(0)


def test_the_truth_of_several_elements():
    with pytest.raises(ValueError, match=r"shape \(2,\) is ambiguous; use .any\(\) or .all\(\)"):
        bool(Tensor([1, 2]))


def test_the_truth_of_no_element():
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([]))


def test_an_integer_tensor_is_an_index():
    assert [10, 20, 30][Tensor(1)] == 20
    assert list(range(Tensor(2))) == [0, 1]


@pytest.mark.parametrize("x", [Tensor(1.0), Tensor([1, 2])])
def test_other_tensors_are_no_index(x):
    with pytest.raises(TypeError, match="only integer tensors with one element"):
        [10, 20, 30][x]


def test_numpy_shares_memory():
    x = Tensor(normal(3))
    assert x.numpy() is x.array
    assert np.asarray(x) is x.array


def test_numpy_copies_on_request():
    x = Tensor(normal(3))
    assert not np.shares_memory(np.array(x), x.array)
    assert np.asarray(x, dtype="float32").dtype == np.float32


def test_numpy_of_a_tensor_on_the_tape():
    with pytest.raises(RuntimeError, match=r"use tensor.detach\(\).numpy\(\)"):
        leaf(normal(3)).numpy()


def test_iteration():
    rows = list(Tensor([[1, 2], [3, 4]]))
    assert [row.tolist() for row in rows] == [[1, 2], [3, 4]]


def test_gradients_flow_through_iteration():
    x = leaf(normal(2, 3))
    first, second = x
    (first * 2 + second).sum().backward()
    assert x.grad.tolist() == [[2, 2, 2], [1, 1, 1]]


@pytest.mark.parametrize("function", [iter, len])
def test_a_number_has_no_length(function):
    with pytest.raises(TypeError, match="without axes"):
        function(Tensor(1.0))


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (Tensor([1, 2]), "tensor([1, 2])"),
        (Tensor([True]), "tensor([ True])"),
        (Tensor(3.0), "tensor(3.)"),
        (Tensor(np.ones(1)), "tensor([1.], dtype=float64)"),
        (Tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (Tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=Mul)"),
        (Tensor(np.zeros((0, 3), "float32")), "tensor([], shape=(0, 3))"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor) == text
    assert str(tensor) == text


def test_repr_lines_rows_up():
    assert repr(Tensor([[1, 2], [3, 4]])) == "tensor([[1, 2],\n        [3, 4]])"


def test_format():
    assert f"{Tensor(3.14159):.2f}" == "3.14"
    assert f"{Tensor([1, 2])}" == "tensor([1, 2])"


# --- NumPy's functions ----------------------------------------------------------------------------

FUNCTIONS = {
    "exp": np.exp,
    "mean": np.mean,
    "mean over an axis": lambda x: np.mean(x, axis=0, keepdims=True),
    "mean in float64": lambda x: np.mean(x, dtype=np.float64),
    "sum": np.sum,
    "max": np.max,
    "std": lambda x: np.std(x, ddof=1),
    "any": np.any,
    "argmax": np.argmax,
    "prod": np.prod,
    "maximum": lambda x: np.maximum(x, 0),
    "add": lambda x: np.add(np.ones(3), x),
    "concatenate": lambda x: np.concatenate([x, x]),
    "linalg.norm": np.linalg.norm,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_numpy_compute_with_the_array(function):
    array = normal(2, 3).astype(np.float32)
    found, expected = function(Tensor(array)), function(array)
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), np.asarray], ids=[*FUNCTIONS, "asarray"])
def test_functions_of_numpy_refuse_tensors_on_the_tape_and_say_what_to_write(function):
    message = (
        r"requires a gradient, shape \(2, 3\).*x\.exp\(\), x\.mean\(\).*x\.detach\(\)\.numpy\(\)"
    )
    for x in (leaf(normal(2, 3)), leaf(normal(2, 3)) * 2):
        with pytest.raises(RuntimeError, match=message):
            function(x)


def test_a_tensor_added_in_place_to_an_array_makes_a_tensor():
    zeros, x = np.zeros(2, np.float32), leaf(normal(2).astype(np.float32))
    total = zeros
    total += x
    total.sum().backward()
    assert zeros.tolist() == [0, 0]
    assert (total.tolist(), x.grad.tolist()) == (x.tolist(), [1, 1])


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2), np.array(2.0)])
def test_operators_between_an_array_and_a_tensor_are_the_tensors(number):
    x = tensor([1.0, 2.0], requires_grad=True)
    result = number * x
    result.sum().backward()
    assert (result.dtype, x.grad.tolist()) == (np.float32, [2, 2])


def test_a_captured_step_notices_functions_of_numpy():
    step = capture(lambda x: x * float(np.mean(x)), warm_up=0)
    with pytest.warns(RuntimeWarning, match=r"an array is read \(numpy\(\)\)"):
        step(np.ones(3, np.float32))


def test_messages_about_arguments_name_the_tensor():
    with pytest.raises(
        TypeError, match=r"^Tensor\.sum\(\) got an unexpected keyword argument 'dtype'"
    ):
        Tensor([1.0]).sum(dtype=np.float64)
