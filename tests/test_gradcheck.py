"""Gradient checks: they pass what is right, and name what is wrong."""

import copy
import doctest

import numpy as np
import pytest
from hypothesis import given

import minicnn
from minicnn import Function, Tensor, apply
from minicnn import gradcheck as module
from minicnn.gradcheck import GradcheckError, away_from_kinks, distinct, gradcheck
from tests.checks import arrays, leaf, normal, positive


class Wrong(Function):
    """y = x^2 (or x + y), with a backward that the test chooses."""

    def __init__(self, backward):
        self.wrong = backward

    def forward(self, x):
        self.save(x)
        return x * x

    def backward(self, grad):
        return (self.wrong(grad, 2 * self.saved[0]),)


def report_of(backward, shape=(3, 4), **options):
    """Check x^2 with a wrong backward: a function of the incoming gradient and of 2 x."""
    x = leaf(normal(*shape))
    return gradcheck(lambda x: apply(Wrong(backward), x), x, raise_exception=False, **options)


# --- what passes ----------------------------------------------------------------------------------


def test_the_example_in_the_docstring():
    results = doctest.testmod(module, extraglobs={"minicnn": minicnn})
    assert results.attempted > 0
    assert results.failed == 0


def test_a_right_gradient():
    report = gradcheck(lambda x, y: (x * y).exp().sum(1), [leaf(normal(2, 3)), leaf(normal(3))])
    assert report
    assert [(r.compared, r.wrong, r.skipped) for r in report.inputs] == [(6, 0, 0), (3, 0, 0)]


def test_float32_is_judged_more_loosely():
    x = leaf(normal(3, 4, dtype="float32"))
    assert gradcheck(lambda x: (x.tanh() * x).sum(0), x)
    report = report_of(lambda g, d: 1.2 * g * d)
    assert not report


def test_random_directions_for_large_inputs():
    report = gradcheck(lambda x: (x.sin() * x).mean(1), leaf(normal(50, 40)))
    assert report.inputs[0].unit == "directions"
    assert report.inputs[0].compared == 10


def test_directions_on_request():
    report = gradcheck(Tensor.tanh, leaf(normal(2, 3)), directions=3)
    assert report.inputs[0].compared == 3


def test_inputs_without_gradient_are_held_constant():
    x, mask = leaf(normal(3)), Tensor([True, False, True])
    report = gradcheck(lambda x, mask: x.where(mask, 0), [x, mask])
    assert [r.index for r in report.inputs] == [0]


def test_a_softmax_is_not_checked_with_ones():
    class WrongSoftmax(Function):
        """Right when the incoming gradient is constant along the axis, else wrong."""

        def forward(self, x):
            y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
            self.save(y)
            return y

        def backward(self, grad):
            return (grad * 0,)

    x = leaf(normal(2, 3))
    apply(WrongSoftmax(), x).backward(np.ones((2, 3)))
    assert not x.grad.array.any()  # which is right, for ones
    assert not gradcheck(lambda x: apply(WrongSoftmax(), x), x, raise_exception=False)


@given(arrays())
def test_any_shape_and_memory_order(x):
    assert gradcheck(lambda x: x * x, leaf(x))


def test_an_object_can_use_its_parameters_by_itself():
    weight = leaf(normal(3, 2))

    class Layer:
        def __call__(self, *_):
            return (Tensor(normal(4, 3)) @ weight).tanh()

    assert gradcheck(Layer(), [weight]).function == "Layer"


def test_an_empty_input():
    assert "nothing to compare" in str(gradcheck(Tensor.exp, leaf(normal(0, 3))))


# --- what it leaves as it was ---------------------------------------------------------------------


def test_inputs_gradients_and_hooks_are_as_before():
    x, other = leaf(normal(3)), leaf(normal(3))
    array, values = x.array, x.tolist()
    x.grad = Tensor(np.full(3, 7.0))
    other.grad = kept = Tensor(np.full(3, 8.0))
    gradcheck(lambda x: x * other, x)
    assert x.array is array
    assert x.tolist() == values
    assert x.grad.tolist() == [7, 7, 7]
    assert other.grad is kept
    assert kept.tolist() == [8, 8, 8]
    assert x.node.hooks == []


def test_the_input_is_put_back_when_the_function_fails():
    x, calls = leaf(normal(3)), []

    def fails_later(x):
        calls.append(1)
        if len(calls) > 3:
            raise ZeroDivisionError
        return x * 2

    array = x.array
    with pytest.raises(ZeroDivisionError):
        gradcheck(fails_later, x)
    assert x.array is array


# --- wrong gradients (the hints: test_gradcheck_report.py) -----------------------------------------


def test_one_wrong_element_among_many_is_seen_along_random_directions():
    def one_wrong(grad, derivative):
        result = grad * derivative
        result[7, 7] += 1
        return result

    assert not report_of(one_wrong, (100, 100))


def test_the_right_input_is_blamed():
    class Product(Function):
        def forward(self, a, b):
            self.save(a, b)
            return a * b

        def backward(self, grad):
            _, b = self.saved
            return grad * b, grad * b

    def product(a, b):
        return apply(Product(), a, b)

    with pytest.raises(GradcheckError, match="gradcheck of product: FAILED") as caught:
        gradcheck(product, [leaf(normal(3)), leaf(normal(3, seed=1))])
    report = caught.value.report
    assert [r.passed for r in report.inputs] == [True, False]
    assert "input 1 (3,) float64" in str(caught.value)


# --- large and small inputs -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [lambda x: (x * x).sum(), lambda x: x.sin(), Tensor.norm])
@pytest.mark.parametrize("size", [1e3, 1e8])
@pytest.mark.parametrize("directions", [None, 10])
def test_large_inputs_are_no_mistake(function, size, directions):
    report = gradcheck(function, leaf(normal(40) * size), directions=directions)
    assert report.inputs[0].skipped == 0


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_a_thousandth_too_much_is_seen_at_large_inputs(size):
    wrong = Wrong(lambda g, d: 1.001 * g * d)
    x = leaf(positive(40) * size)
    report = gradcheck(lambda x: apply(copy.copy(wrong), x).sum(), x, raise_exception=False)
    assert report.inputs[0].wrong == 40


def test_steps_are_long_enough_to_be_steps():
    wrong = Wrong(lambda g, d: 0 * g)
    x = leaf(positive(4, dtype="float32") * np.float32(1e7))
    assert not gradcheck(lambda x: apply(copy.copy(wrong), x), x, raise_exception=False)


# --- broken promises ------------------------------------------------------------------------------


def problems_of(function, *inputs):
    """Return the problems that a check reports."""
    report = gradcheck(function, list(inputs), raise_exception=False)
    assert not report
    return "\n".join(report.problems)


def test_chance_is_refused():
    problems = problems_of(lambda x: x * minicnn.randn(3, dtype="float64"), leaf(normal(3)))
    assert "not deterministic" in problems


def test_a_forward_that_writes_to_its_input():
    class Writes(Wrong):
        def forward(self, x):
            self.save(x.copy())
            y = x * x
            x[...] = np.round(x)
            return y

    x = leaf(np.array([1.0, 2.5]))
    problems = problems_of(lambda x: apply(Writes(lambda g, d: g * d), x), x)
    assert "not deterministic" in problems or "changed input 0" in problems


def test_a_backward_that_writes_to_its_input():
    def writes(grad, derivative):
        result = grad * derivative
        x.array[0] = 5
        return result

    x = leaf(normal(3))
    problems = problems_of(lambda x: apply(Wrong(writes), x), x)
    assert "the function or its backward changed input 0 in place" in problems


def test_a_backward_that_writes_to_the_incoming_gradient():
    def writes(grad, derivative):
        grad *= derivative
        return grad.copy()

    problems = problems_of(lambda x: apply(Wrong(writes), x), leaf(normal(3)))
    assert "backward changed the gradient that it was given" in problems


def test_a_gradient_of_another_dtype():
    x = leaf(normal(3, dtype="float32"))
    problems = problems_of(lambda x: apply(Wrong(lambda g, d: g * d * np.float64(1)), x), x)
    assert "the gradient of input 0 is float64, the input is float32" in problems


def test_two_gradients_in_one_memory():
    a, b = leaf(normal(3)), leaf(normal(3))
    shared = Tensor(np.zeros(3))

    def share(gradient):
        a.grad = b.grad = shared

    a.register_hook(share)
    problems = problems_of(lambda a, b: b + a, a, b)
    assert "the gradient of input 0 shares memory with the gradient of input 1" in problems


def test_an_output_that_depends_on_nothing():
    assert "depends on no input" in problems_of(lambda x: x.detach() * 2, leaf(normal(3)))


def test_an_output_that_is_not_finite():
    assert "not finite" in problems_of(lambda x: x.log(), leaf(-np.ones(2)))


# --- kinks ----------------------------------------------------------------------------------------


def test_kinks_are_skipped():
    report = gradcheck(Tensor.relu, leaf(np.array([-1.0, 0.0, 1e-7, 1.0])))
    assert report.inputs[0].skipped == 2
    assert "2 at a kink skipped" in str(report)


def test_a_wrong_gradient_beside_a_kink_is_not_excused():
    class WrongAbs(Function):
        def forward(self, x):
            return np.abs(x)

        def backward(self, grad):
            return (5 * grad,)

    assert not gradcheck(lambda x: apply(WrongAbs(), x), leaf(np.zeros(1)), raise_exception=False)


def test_a_check_that_compared_nothing_has_not_passed():
    report = gradcheck(Tensor.relu, leaf(np.zeros(3)), raise_exception=False)
    assert not report
    assert "every one of 3 elements lies at a kink" in str(report)


def test_away_from_kinks():
    x = np.array([-0.05, 0.0, 0.05, 0.3, 0.97, 1.02])
    moved = away_from_kinks(x, kinks=(0, 1), gap=0.1)
    np.testing.assert_allclose(moved, [-0.1, 0.1, 0.1, 0.3, 0.9, 1.1])
    assert x[1] == 0
    assert away_from_kinks(x.astype("float32")).dtype == np.float32


def test_distinct():
    x = np.array([[2.0, 1.0], [2.0, 5.0]])
    values = distinct(x, gap=0.5)
    np.testing.assert_allclose(values, [[-0.25, -0.75], [0.25, 0.75]])
    assert distinct(x.astype("float32")).dtype == np.float32
    assert distinct(np.zeros((0, 2))).shape == (0, 2)


# --- wrong calls ----------------------------------------------------------------------------------


def test_inputs_must_be_tensors():
    with pytest.raises(TypeError, match="input 1 must be a tensor, got float"):
        gradcheck(lambda x, y: x * y, [leaf(normal(2)), 2.0])


def test_inputs_must_be_leaves():
    with pytest.raises(ValueError, match=r"input 0 of shape \(2,\) is a result of Mul"):
        gradcheck(Tensor.exp, leaf(normal(2)) * 2)


def test_inputs_must_be_different_tensors():
    x = leaf(normal(2))
    with pytest.raises(ValueError, match="input 1 was given before"):
        gradcheck(lambda x, y: x * y, [x, x])


def test_an_input_must_require_a_gradient():
    with pytest.raises(ValueError, match="no input requires a gradient"):
        gradcheck(Tensor.exp, Tensor(normal(2)))


def test_the_function_must_return_one_tensor():
    with pytest.raises(TypeError, match="must return one tensor, got ValuesAndIndices"):
        gradcheck(lambda x: x.max(0), leaf(normal(2)))


def test_the_cotangent_is_not_what_manual_seed_draws():
    """With inputs equal to the cotangent a transposed gradient would pass: x^T x is symmetric."""

    class Transposed(Function):
        def forward(self, x, w):
            self.save(x, w)
            return x @ w

        def backward(self, grad):
            x, w = self.saved
            return grad @ w.T, grad.T @ x

    minicnn.manual_seed(0)
    x = minicnn.randn(3, 3, dtype="float64")
    w = minicnn.randn(3, 3, dtype="float64", requires_grad=True)
    assert not gradcheck(lambda x, w: apply(Transposed(), x, w), [x, w], raise_exception=False)


@pytest.mark.parametrize("inputs", [np.ones(3), [np.ones(3)]])
def test_an_array_is_no_input(inputs):
    with pytest.raises(
        TypeError, match=r"got ndarray; write minicnn\.tensor\(array, requires_grad"
    ):
        gradcheck(minicnn.relu, inputs)
