"""Clipping against hand-computed values and PyTorch, and the flat vector of all parameters."""

import math

import numpy as np
import pytest

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.nn import utils


def param(values, grad=None, dtype=np.float64):
    tensor = Tensor(np.array(values, dtype), requires_grad=True)
    if grad is not None:
        tensor.grad = Tensor(np.array(grad, dtype))
    return tensor


def test_norm_is_scaled_down_to_the_limit():
    p, q = param([0.0], grad=[3.0]), param(0.0, grad=4.0)
    norm = utils.clip_grad_norm_([p, q], max_norm=1.0)
    assert norm.item() == 5.0
    np.testing.assert_allclose([p.grad.item(), q.grad.item()], [0.6, 0.8], rtol=1e-6)


def test_short_gradients_stay():
    p = param([0.0, 0.0], grad=[3.0, 4.0])
    utils.clip_grad_norm_([p], max_norm=5.1)
    np.testing.assert_array_equal(p.grad.array, [3.0, 4.0])


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_is_pytorchs(torch, norm_type, dtype):
    rng = np.random.default_rng(0)
    params, twins = [], []
    for shape in [(4, 3, 2, 2), (5,), ()]:
        params.append(param(np.zeros(shape), rng.normal(size=shape), dtype))
        twins.append(torch.tensor(params[-1].array, requires_grad=True))
        twins[-1].grad = torch.tensor(params[-1].grad.array.copy())
    params.append(param([1.0]))  # without gradient
    norm = utils.clip_grad_norm_(params, 0.7, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(twins, 0.7, norm_type)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm.item(), expected.item(), rtol=tolerance)
    for p, twin in zip(params, twins, strict=False):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad.array, twin.grad.numpy(), rtol=tolerance)


def test_clipping_counts_a_version_of_the_gradient():
    p = param([0.0], grad=[3.0])
    count = p.grad.version.count
    utils.clip_grad_norm_(p, 1.0)
    utils.clip_grad_value_(p, 0.5)
    assert p.grad.version.count == count + 2


def test_nothing_to_clip():
    assert utils.clip_grad_norm_([param([1.0])], 1.0).item() == 0
    assert utils.clip_grad_norm_([], 1.0).item() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_parameter_with_a_bad_gradient_is_named(bad):
    good, guilty = param([0.0], grad=[9.0]), param([0.0, 0.0], grad=[1.0, bad])
    with pytest.raises(RuntimeError, match=r"in the gradient of body.weight \(shape \(2,\)\);"):
        utils.clip_grad_norm_(
            [("head.bias", good), ("body.weight", guilty)], 1.0, error_if_nonfinite=True
        )
    assert good.grad.item() == 9.0


def test_a_parameter_without_name_gets_its_number():
    pair = [param([0.0], grad=[1.0]), param([0.0], grad=[math.nan])]
    with pytest.raises(RuntimeError, match="in the gradient of parameter 1 "):
        utils.clip_grad_norm_(pair, 1.0, error_if_nonfinite=True)


def test_a_norm_that_overflows_is_reported_as_such():
    p = param([0.0, 0.0], grad=[3e38, 3e38], dtype=np.float32)
    with pytest.raises(RuntimeError, match="all gradients are finite, but their norm"):
        utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_without_the_check_a_bad_norm_scales_everything():
    p, q = param([0.0], grad=[1.0]), param([0.0], grad=[math.nan])
    assert math.isnan(utils.clip_grad_norm_([p, q], 1.0).item())
    assert math.isnan(p.grad.item())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_cut(dtype):
    p = param([0.0, 0.0, 0.0], grad=[-3.0, 0.1, 3.0], dtype=dtype)
    utils.clip_grad_value_([p, param([1.0])], np.float64(0.5))
    np.testing.assert_allclose(p.grad.array, np.array([-0.5, 0.1, 0.5], dtype))
    assert p.grad.dtype == dtype


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_impossible_limits_are_refused(limit):
    with pytest.raises(ValueError, match=f"expected max_norm >= 0, got {limit}"):
        utils.clip_grad_norm_([param([0.0])], limit)
    with pytest.raises(ValueError, match=f"expected clip_value >= 0, got {limit}"):
        utils.clip_grad_value_([param([0.0])], limit)


def test_norm_of_order_zero_is_refused():
    with pytest.raises(ValueError, match="expected norm_type > 0, got 0"):
        utils.clip_grad_norm_([param([0.0], grad=[1.0])], 1.0, norm_type=0)


def test_wrong_kinds_of_parameters_are_refused():
    with pytest.raises(TypeError, match=r"clip_grad_norm_: .*write model.parameters\(\)"):
        utils.clip_grad_norm_(len, 1.0)
    with pytest.raises(TypeError, match="parameter 0: expected a Tensor, got a float"):
        utils.clip_grad_norm_([1.0], 1.0)


def test_vector_and_back():
    p, q = param([[1.0, 2.0], [3.0, 4.0]]), param(5.0)
    vector = utils.parameters_to_vector([p, q])
    assert vector.tolist() == [1, 2, 3, 4, 5]
    utils.vector_to_parameters(vector.detach() * 10, [p, q])
    assert (p.tolist(), q.tolist()) == ([[10, 20], [30, 40]], 50)


def test_gradients_flow_through_the_vector():
    p, q = param([1.0, 2.0]), param([3.0])
    (utils.parameters_to_vector([("p", p), ("q", q)]) ** 2).sum().backward()
    assert (p.grad.tolist(), q.grad.tolist()) == ([2, 4], [6])


def test_parameters_do_not_share_the_vectors_memory():
    p = param([1.0])
    vector = Tensor(np.array([7.0]))
    utils.vector_to_parameters(vector, [p])
    assert not np.shares_memory(p.array, vector.array)


@pytest.mark.parametrize("size", [2, 4])
def test_vector_of_another_length_is_refused(size):
    p = param([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=rf"have 3 elements.*\(3,\), got \({size},\)"):
        utils.vector_to_parameters(Tensor(np.zeros(size)), [p])
    assert p.tolist() == [1, 2, 3]


def test_an_array_is_no_vector():
    with pytest.raises(TypeError, match="expected a Tensor, got a ndarray"):
        utils.vector_to_parameters(np.zeros(1), [param([1.0])])


@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_a_gradient_without_elements_counts_nothing(norm_type):
    empty, p = (Tensor(np.zeros(n), requires_grad=True) for n in (0, 1))
    for tensor in (empty, p):
        (tensor * 3).sum().backward()
    assert utils.clip_grad_norm_([empty], 1.0, norm_type).item() == 0
    assert utils.clip_grad_norm_([empty, p], 1.0, norm_type).item() == 3
    assert abs(p.grad.item() - 1) < 1e-5


def test_a_model_instead_of_its_parameters_is_refused():
    with pytest.raises(TypeError, match=r"got a Sequential; write model\.parameters\(\)"):
        utils.clip_grad_norm_(nn.Sequential(nn.Linear(1, 1)), 1.0)
