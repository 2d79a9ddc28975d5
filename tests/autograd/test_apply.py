"""A user's own Function: from one end to the other, and what the tape says about its mistakes."""

import numpy as np
import pytest

from minicnn import Function, Tensor, apply
from minicnn.gradcheck import gradcheck
from minicnn.ops.elementwise import Exp
from tests.checks import assert_close, leaf, normal


class Scale(Function):
    """y = factor x, then whatever gradients the test asks for."""

    def __init__(self, make_grads):
        self.make_grads = make_grads

    def forward(self, x, y=None):
        return 2 * x

    def backward(self, grad):
        return self.make_grads(grad)


def test_a_users_function_from_end_to_end():
    class Square(Function):
        """y = x^2; dL/dx = 2 x dL/dy."""

        def forward(self, x):
            self.save(x)
            return x * x

        def backward(self, grad):
            (x,) = self.saved
            return (2 * grad * x,)

    x = leaf(normal(3))
    gradcheck(lambda x: apply(Square(), x), x)
    y = apply(Square(), x)
    assert y.grad_fn.name == "Square"
    y.sum().backward()
    assert_close(x.grad, 2 * x.array)


def test_an_absent_input_is_none():
    x = leaf(normal(3))
    apply(Scale(lambda g: (2 * g, None)), x, None).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_needs_grad_says_which_gradients_are_wanted():
    function = Scale(lambda g: (g, None))
    apply(function, leaf(normal(1)), Tensor(normal(1)))
    assert function.needs_grad == (True, False)


def test_too_many_gradients():
    y = apply(Scale(lambda g: (g, g)), leaf(normal(3)))
    with pytest.raises(RuntimeError, match=r"backward of Scale: expected 1 gradients.*got 2"):
        y.sum().backward()


def test_a_gradient_of_the_wrong_shape():
    y = apply(Scale(lambda g: (g[:1],)), leaf(normal(3)))
    with pytest.raises(RuntimeError, match=r"gradient of input 0 .* shape \(3,\), got \(1,\)"):
        y.sum().backward()


def test_a_gradient_without_its_tuple():
    y = apply(Scale(lambda g: g), leaf(normal(1)))
    with pytest.raises(TypeError, match=r"backward of Scale: expected a tuple.*got ndarray"):
        y.backward()


def test_an_input_that_gets_none_keeps_no_gradient():
    x = leaf(normal(3))
    apply(Scale(lambda g: (None,)), x).sum().backward()
    assert x.grad is None


def test_a_function_serves_one_call():
    function = Scale(lambda g: (g,))
    apply(function, leaf(normal(1)))
    with pytest.raises(RuntimeError, match="this Scale has been called before"):
        apply(function, leaf(normal(1)))


def test_a_class_is_not_an_instance():
    with pytest.raises(TypeError, match="expected an instance of a Function"):
        apply(Scale, leaf(normal(1)))


def test_arrays_are_to_be_wrapped():
    with pytest.raises(
        TypeError, match=r"apply: Exp: expected tensors \(or None\), got ndarray; wrap"
    ):
        apply(Exp(), np.ones(3))


@pytest.mark.parametrize(
    ("wrap", "kind"), [(Tensor, "Tensor"), (lambda y: 1.0, "float"), (lambda y: (y, y), "tuple")]
)
def test_forward_must_return_an_array(wrap, kind):
    class Wrapped(Function):
        def forward(self, x):
            return wrap(x)

    with pytest.raises(TypeError, match=f"forward of Wrapped: expected .* array .* got {kind}"):
        apply(Wrapped(), Tensor([1.0]))


def test_forward_may_return_a_numpy_scalar():
    class Total(Function):
        def forward(self, x):
            return x.sum()

    assert apply(Total(), Tensor([1.0, 2.0])).shape == ()
