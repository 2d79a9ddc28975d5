"""Functions of one array: values against NumPy, gradients against measured slopes."""

import numpy as np
import pytest
from hypothesis import given

from minicnn.autograd import Tensor
from minicnn.gradcheck import away_from_kinks, gradcheck
from minicnn.ops import elementwise as ops
from tests.checks import arrays, assert_close, check, check_contract, leaf, normal, positive
from tests.devices import on_every_device

X = away_from_kinks(normal(2, 3, 4))


@on_every_device
@pytest.mark.parametrize(
    "make",
    [
        ops.Neg,
        ops.Exp,
        ops.Abs,
        ops.Sin,
        ops.Cos,
        ops.Tanh,
        ops.Sigmoid,
        ops.ReLU,
        lambda: ops.Clamp(-1, 1),
        lambda: ops.Clamp(None, 0.5),
        lambda: ops.Clamp(-0.5, None),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3, 4), (), (0, 2)])
def test_contract(make, shape):
    check_contract(make, normal(*shape))


@on_every_device
@pytest.mark.parametrize("make", [ops.Log, ops.Sqrt])
def test_contract_for_positive_numbers(make):
    check_contract(make, positive(2, 3))


@on_every_device
def test_contract_of_copy():
    check_contract(lambda: ops.Copy("float32"), normal(2, 3), dtypes=["float32"])
    check_contract(lambda: ops.Copy("float64", order="C"), normal(2, 3), dtypes=["float64"])


def test_copy_gives_the_gradient_in_the_dtype_of_the_input():
    function = ops.Copy("float64")
    function.forward(np.ones(2, np.float32))
    (grad,) = function.backward(np.ones(2))
    assert grad.dtype == np.float32


def test_to_device_where_nothing_is_to_be_moved():
    function = ops.ToDevice("cpu")
    x = normal(2)
    assert function.forward(x) is x
    assert function.backward(x)[0] is x


@on_every_device
def test_neg():
    check(lambda x: -x, X, oracle=np.negative)


@on_every_device
def test_exp():
    check(Tensor.exp, X, oracle=np.exp)


@on_every_device
def test_log():
    check(Tensor.log, positive(2, 3), oracle=np.log)


@on_every_device
def test_sqrt():
    check(Tensor.sqrt, positive(2, 3), oracle=np.sqrt)


@on_every_device
def test_abs():
    check(abs, X, oracle=np.abs)


@on_every_device
def test_sin():
    check(Tensor.sin, X, oracle=np.sin)


@on_every_device
def test_cos():
    check(Tensor.cos, X, oracle=np.cos)


@on_every_device
def test_tanh():
    check(Tensor.tanh, X, oracle=np.tanh)


@on_every_device
def test_sigmoid():
    check(Tensor.sigmoid, X, oracle=lambda x: 1 / (1 + np.exp(-x)))


@on_every_device
def test_relu():
    check(Tensor.relu, X, oracle=lambda x: np.maximum(x, 0))


@on_every_device
def test_clamp():
    x = away_from_kinks(3 * normal(3, 4), kinks=(-1, 1))
    check(lambda x: x.clamp(-1, 1), x, oracle=lambda x: np.clip(x, -1, 1))
    check(lambda x: x.clamp(min=-1), x, oracle=lambda x: np.maximum(x, -1))
    check(lambda x: x.clamp(max=1), x, oracle=lambda x: np.minimum(x, 1))


def test_clamp_needs_a_bound():
    with pytest.raises(ValueError, match="clamp: expected min, max or both"):
        Tensor([1.0]).clamp()


@pytest.mark.parametrize("bound", [0.5, np.float64(0.5), np.array(0.5), Tensor(0.5)])
def test_clamp_keeps_float32(bound):
    assert Tensor([1.0, 0.0]).clamp(min=bound).dtype == np.float32


def test_clamp_of_integers():
    x = Tensor([1, 5])
    assert x.clamp(max=3).dtype == np.int64
    assert x.clamp(max=3).tolist() == [1, 3]
    assert x.clamp(max=2.5).dtype == np.float32


def test_clamp_passes_the_gradient_at_its_bounds():
    x = leaf(np.array([-1.0, 1.0, 2.0]))
    x.clamp(-1, 1).backward(np.ones(3))
    assert x.grad.tolist() == [1, 1, 0]


def test_kinks_have_gradient_zero():
    x = leaf(np.zeros(1))
    (x.relu() + x.abs()).backward()
    assert x.grad.tolist() == [0]


def test_relu_and_clamp_keep_nan():
    x = Tensor([np.nan])
    assert x.relu().isnan().all()
    assert x.clamp(-1, 1).isnan().all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_tanh_far_out(dtype):
    x = leaf(np.array([-1e4, -200, 200, 1e4], dtype))
    y = x.sigmoid() + x.tanh()
    y.backward(np.ones(4))
    assert_close(y, [-1, -1, 2, 2])
    assert_close(x.grad, np.zeros(4))


def test_outside_the_domain_is_nan_without_a_warning():
    assert Tensor([-1.0]).log().isnan().all()
    assert Tensor([-1.0]).sqrt().isnan().all()
    assert Tensor([0.0]).log().item() == -np.inf


@given(arrays())
def test_any_shape_in_any_memory_order(x):
    assert_close(Tensor(x).tanh(), np.tanh(x))
    gradcheck(lambda x: x.tanh() * x.sigmoid() + x.exp().sin() - x.cos(), leaf(x))


def test_relu_stops_an_infinite_gradient():
    x = leaf(np.array([-1.0, 0.0, 2.0]))
    x.relu().backward(np.array([np.inf, np.nan, np.inf]))
    assert x.grad.tolist() == [0, 0, np.inf]


def test_root_of_squares():
    x = leaf(np.array([0.0, 4.0]))
    y = x.apply(ops.RootOfSquares())
    y.backward(np.array([np.inf, 1.0]))
    assert y.tolist() == [0, 2]
    assert x.grad.tolist() == [0, 0.25]
