"""Groups, gradients, saved state and errors, which are the same for all optimizers."""

import pickle

import numpy as np
import pytest

from minicnn.autograd import Tensor, is_grad_enabled, no_grad
from minicnn.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tests.optim.compare import param, random_params, set_random_grads


def test_parameters_may_come_from_a_generator():
    p = param([1.0], grad=[1.0])
    SGD((q for q in [p]), lr=0.5).step()
    np.testing.assert_allclose(p.array, [0.5])


def test_parameters_may_have_names():
    p, q = param([1.0], grad=[1.0]), param([1.0])
    optimizer = SGD([("weight", p), ("bias", q)], lr=0.5)
    optimizer.step()
    np.testing.assert_allclose(p.array, [0.5])
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


def test_groups_have_options_of_their_own():
    p, q = param([1.0], grad=[1.0]), param([1.0], grad=[1.0])
    SGD([{"params": [p], "lr": 0.1}, {"params": q}], lr=0.5).step()
    np.testing.assert_allclose([p.array[0], q.array[0]], [0.9, 0.5])


def test_the_callers_group_is_left_alone():
    group = {"params": [param([1.0])]}
    SGD([group], lr=0.5)
    assert group.keys() == {"params"}


def test_group_added_later_takes_part():
    p, q = param([1.0]), param([1.0], grad=[1.0])
    optimizer = SGD([p], lr=0.5)
    optimizer.add_param_group({"params": [q], "lr": 0.25})
    optimizer.step()
    np.testing.assert_allclose(q.array, [0.75])


def test_parameter_without_gradient_stays():
    p = param([1.0])
    SGD([p], lr=0.5, weight_decay=0.5).step()
    np.testing.assert_array_equal(p.array, [1.0])


def test_gradient_is_not_modified():
    p = param([1.0], grad=[1.0])
    for optimizer in (SGD([p], momentum=0.9, weight_decay=0.1, nesterov=True), Adam([p])):
        optimizer.step()
    np.testing.assert_array_equal(p.grad.array, [1.0])


def test_step_writes_into_the_same_array_and_counts_a_version():
    p = param([1.0], grad=[1.0])
    array, count = p.array, p.version.count
    SGD([p], lr=0.5).step()
    assert p.array is array
    assert p.version.count == count + 1


@pytest.mark.parametrize("make", [SGD, Adam, AdamW, RMSprop])
def test_numpy_scalars_as_options_compute_in_the_parameters_dtype(make):
    moved = []
    for number in (float, np.float64):
        params = random_params(dtype="float32")
        optimizer = make(params, lr=number(0.1), weight_decay=number(0.1))
        rng = np.random.default_rng(1)
        for _ in range(5):
            set_random_grads(params, rng)
            optimizer.step()
        moved.append(params[0].array)
    np.testing.assert_array_equal(*moved)


def test_overflow_ends_in_infinity_without_a_warning():
    p = param([3e38], grad=[-3e38], dtype=np.float32)
    SGD([p], lr=10.0).step()
    assert np.isinf(p.array).all()


def test_memory_order_of_a_parameter_is_kept():
    p = Tensor(np.zeros((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2), requires_grad=True)
    p.grad = Tensor(np.ones((2, 3, 4, 5), np.float32))
    optimizer = Adam([p])
    optimizer.step()
    restored = Adam([p])
    restored.load_state_dict(optimizer.state_dict())
    assert p.array.strides == optimizer.state[p]["exp_avg"].strides
    assert p.array.strides == restored.state[p]["exp_avg"].strides


def test_closure_records_gradients_and_its_value_is_returned():
    p = param([1.0])

    def closure():
        assert is_grad_enabled()
        p.grad = Tensor(np.array([2.0]))
        return "loss"

    with no_grad():
        assert SGD([p], lr=0.5).step(closure) == "loss"
    np.testing.assert_allclose(p.array, [0.0])


def test_zero_grad_sets_none_or_zeros():
    p = param([1.0], grad=[1.0])
    optimizer = SGD([p])
    optimizer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(p.grad.array, [0.0])
    optimizer.zero_grad()
    assert p.grad is None


def test_state_dict_is_a_snapshot_of_plain_content():
    p = param([1.0], grad=[1.0])
    optimizer = SGD([p], lr=0.5, momentum=0.5)
    optimizer.step()
    saved = optimizer.state_dict()
    optimizer.step()
    np.testing.assert_array_equal(saved["state"][0]["momentum_buffer"], [1.0])
    assert saved["param_groups"][0]["params"] == [0]
    assert pickle.loads(pickle.dumps(saved))["param_groups"] == saved["param_groups"]


def test_state_dict_has_pytorchs_keys(torch):
    ours, theirs = param([1.0], grad=[1.0]), torch.tensor([1.0], requires_grad=True)
    theirs.grad = torch.tensor([1.0])
    optimizers = Adam([ours], amsgrad=True), torch.optim.Adam([theirs], amsgrad=True)
    for optimizer in optimizers:
        optimizer.step()
    our_state, their_state = (optimizer.state_dict() for optimizer in optimizers)
    assert our_state["state"][0].keys() == their_state["state"][0].keys()
    assert our_state["param_groups"][0].keys() <= their_state["param_groups"][0].keys()


def test_loaded_options_replace_those_of_the_optimizer():
    optimizer = SGD([param([1.0])], lr=0.1)
    optimizer.load_state_dict(SGD([param([1.0])], lr=0.7, momentum=0.3).state_dict())
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.7, 0.3)


def test_loaded_memory_is_a_copy_with_the_parameters_dtype():
    p = param([1.0], grad=[1.0])
    optimizer = SGD([p], momentum=0.5)
    optimizer.step()
    saved = optimizer.state_dict()
    q = param([1.0], grad=[1.0], dtype=np.float32)
    restored = SGD([q], momentum=0.5)
    restored.load_state_dict(saved)
    restored.step()
    assert restored.state[q]["momentum_buffer"].dtype == np.float32
    np.testing.assert_array_equal(saved["state"][0]["momentum_buffer"], [1.0])


def test_state_of_other_groups_is_refused():
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters.*\[2\]"):
        SGD([param([1.0])]).load_state_dict(SGD([param([1.0]), param([1.0])]).state_dict())


def test_state_of_another_optimizer_is_refused():
    with pytest.raises(
        ValueError, match=r"the saved group lacks amsgrad, betas.*another optimizer"
    ):
        Adam([param([1.0])]).load_state_dict(SGD([param([1.0])]).state_dict())


@pytest.mark.parametrize(
    "saved",
    [
        None,
        {},
        {"param_groups": []},
        {"param_groups": [{}], "state": {}},
        {"param_groups": [], "state": []},
    ],
)
def test_what_is_no_saved_state_is_refused(saved):
    with pytest.raises(ValueError, match=r"SGD\.load_state_dict: .*(expected a dict|lacks)"):
        SGD([param([1.0])]).load_state_dict(saved)


@pytest.mark.parametrize(
    "optimizer",
    [
        Adam([param([1.0], grad=[1.0])], amsgrad=True),
        RMSprop([param([1.0], grad=[1.0])], momentum=0.5, centered=True),
    ],
)
def test_a_state_without_some_memory_is_refused_and_nothing_is_loaded(optimizer):
    optimizer.step()
    for name in optimizer.state_dict()["state"][0]:
        saved = optimizer.state_dict()
        del saved["state"][0][name]
        saved["param_groups"][0]["lr"] = 7.0
        with pytest.raises(ValueError, match=f"the state of parameter 0 lacks {name}"):
            optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] != 7.0
    assert len(optimizer.state_dict()["state"][0]) == len(saved["state"][0]) + 1


def test_loaded_options_are_checked():
    saved = SGD([param([1.0])]).state_dict()
    saved["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match="expected 0 <= lr"):
        SGD([param([1.0])]).load_state_dict(saved)


def test_memory_of_another_shape_is_refused_and_nothing_is_loaded():
    saved = random_params()[:2]
    optimizer = SGD(saved, lr=0.7, momentum=0.5)
    set_random_grads(saved, np.random.default_rng(0))
    optimizer.step()
    other = SGD(saved[::-1], lr=0.1)
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 0: expected .*\(4,\), got"):
        other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.1
    assert not other.state


def test_empty_list_is_refused():
    with pytest.raises(ValueError, match="params is empty"):
        SGD([])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (param([1.0]), r"got one tensor of shape \(1,\); write SGD\(\[tensor\]"),
        ({1, 2}, "got a set"),
        ({"params": []}, r"got a dict.*\[group\]"),
        (len, r"write model.parameters\(\)"),
        ([np.zeros(3)], r"expected a Tensor, got a bare array of shape \(3,\)"),
        ([{"lr": 0.1}], "a dict with the key 'params'"),
        ([{"params": [param([1.0])]}, param([1.0])], "do not mix dicts and tensors"),
    ],
)
def test_wrong_kinds_of_params_are_refused(params, message):
    with pytest.raises(TypeError, match=message):
        SGD(params)


def test_parameter_given_twice_is_refused():
    p = param([1.0])
    with pytest.raises(ValueError, match="appears more than once"):
        SGD([p, p])
    with pytest.raises(ValueError, match="appears more than once"):
        SGD([{"params": [p]}, {"params": [p]}])


def test_result_of_a_computation_is_refused():
    with pytest.raises(ValueError, match="is the result of a computation"):
        SGD([param([1.0]).clone()])


def test_whole_numbers_cannot_be_trained():
    with pytest.raises(TypeError, match=r"SGD: parameter count, of shape \(3,\), has .* int64"):
        SGD([("weight", param([1.0])), ("count", Tensor(np.arange(3)))])


def test_some_names_missing_is_refused():
    with pytest.raises(ValueError, match="all parameters of a group a name"):
        SGD([("weight", param([1.0])), param([1.0])])


def test_options_of_a_group_are_checked():
    with pytest.raises(ValueError, match="expected 0 <= lr"):
        SGD([{"params": [param([1.0])], "lr": float("nan")}])


def test_option_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="SGD: lr: expected a number, got a str"):
        SGD([param([1.0])], lr="0.1")


def test_gradient_of_another_shape_is_refused():
    p = param([1.0, 2.0])
    p.grad = Tensor(np.ones(1))
    with pytest.raises(ValueError, match=r"shape \(2,\) has a gradient of shape \(1,\)"):
        SGD([p]).step()
    np.testing.assert_array_equal(p.array, [1.0, 2.0])


@pytest.mark.parametrize(("make", "rate"), [(SGD, 0.3), (Adam, 0.1), (AdamW, 0.1), (RMSprop, 0.02)])
def test_a_line_is_fitted(make, rate):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 2))
    y = x @ [2.0, -3.0] + 0.5
    weight, bias = param([0.0, 0.0]), param(0.0)
    optimizer = make([weight, bias], lr=rate, weight_decay=0)
    for _ in range(200):
        optimizer.zero_grad()
        ((Tensor(x) @ weight + bias - Tensor(y)) ** 2).mean().backward()
        optimizer.step()
    np.testing.assert_allclose([*weight.array, bias.item()], [2.0, -3.0, 0.5], atol=0.05)


def test_a_step_between_forward_and_backward_is_noticed():
    p = param([3.0], grad=[1.0])
    loss = (p * p).sum()
    SGD([p]).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_rule_of_ones_own_needs_only_update():
    class SignDescent(Optimizer):
        def update(self, param, grad, state, group):
            param -= group["lr"] * np.sign(grad)

    p = param([1.0, 1.0], grad=[5.0, -0.1])
    SignDescent([p], {"lr": 0.5}).step()
    np.testing.assert_allclose(p.array, [0.5, 1.5])


def test_repr_names_the_options():
    assert "1 parameters: lr=0.5, momentum=0" in repr(SGD([param([1.0])], lr=0.5))
