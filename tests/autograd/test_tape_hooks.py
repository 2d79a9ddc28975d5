"""Hooks on the tape: what they see, what they may return, and who is not to notice."""

import numpy as np
import pytest

from minicnn import Tensor
from tests.checks import leaf, normal


def test_a_hook_sees_the_complete_gradient():
    x, seen = leaf(np.array(2.0)), []
    y = x * 1
    y.register_hook(lambda g: seen.append(g.item()))
    (y * 2 + y * 3).backward()
    assert seen == [5]


def test_a_hook_can_replace_the_gradient():
    x = leaf(np.array(2.0))
    y = x * 4
    y.register_hook(lambda g: g * 10)
    y.backward()
    assert x.grad.item() == 40


def test_hooks_run_in_order():
    x = leaf(np.array(1.0))
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 10)
    x.backward()
    assert x.grad.item() == 20


def test_a_hook_can_be_removed():
    x, seen = leaf(np.array(2.0)), []
    hook = x.register_hook(seen.append)
    hook.remove()
    hook.remove()
    (x * 1).backward()
    assert seen == []


def test_a_hook_that_removes_itself_does_not_skip_the_next():
    x, seen = leaf(np.array(2.0)), []
    first = x.register_hook(lambda g: first.remove())
    x.register_hook(seen.append)
    (x * 1).backward()
    assert len(seen) == 1


def test_a_hook_that_writes_changes_nobody_elses_gradient():
    x, y = leaf(normal(2)), leaf(normal(2))

    def clear(gradient):
        gradient.zero_()

    x.register_hook(clear)
    cotangent = np.ones(2)
    (x + y).backward(cotangent)
    assert cotangent.tolist() == [1, 1]
    assert y.grad.tolist() == [1, 1]


@pytest.mark.parametrize("replacement", [Tensor([1.0]), np.ones(2), 5])
def test_a_hook_must_return_a_tensor_of_the_same_shape(replacement):
    x = leaf(normal(2))

    def careless(g):
        return replacement

    x.register_hook(careless)
    with pytest.raises(RuntimeError, match=r"'careless'.*tensor of shape \(2,\)"):
        x.sum().backward()


@pytest.mark.parametrize("method", ["retain_grad", "register_hook"])
def test_hooks_need_a_tape(method):
    with pytest.raises(RuntimeError, match=f"{method}: this tensor requires no gradient"):
        getattr(Tensor([1.0]), method)(*([print] if method == "register_hook" else []))


def test_a_hook_that_returns_another_dtype_does_not_leak_it():
    x = leaf(normal(2, dtype="float32"))
    y = x * 1
    y.register_hook(lambda g: g.double() * 2)
    seen = []
    x.register_hook(lambda g: seen.append(g.dtype))
    y.sum().backward()
    assert seen == [np.float32]
    assert x.grad.tolist() == [2, 2]


def test_a_backward_inside_a_hook_that_frees_the_tape():
    x = leaf(normal(2))
    y = (x * x).sum()
    handle = y.register_hook(lambda g: (handle.remove(), y.backward())[0])
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\) \(at Sum"):
        y.backward()
