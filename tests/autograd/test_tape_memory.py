"""What backward copies, what it keeps, and how much it holds at once."""

import tracemalloc

import numpy as np
import pytest

from minicnn import Function, Tensor, apply
from minicnn.autograd.tape import LARGE
from tests.checks import assert_close, leaf, normal

SIDE = int(LARGE**0.5)
"""A matrix of this side is just large enough to be kept without a copy."""


class Returning(Function):
    """y = a + b, with gradients that the test makes."""

    def __init__(self, make_grads):
        self.make_grads = make_grads

    def forward(self, a, b):
        self.save(a)
        return a + b

    def backward(self, grad):
        self.returned = self.make_grads(self, grad)
        return self.returned


def large(seed=0):
    return leaf(normal(SIDE, SIDE, seed=seed))


def grads_of(make_grads):
    """Send a gradient back through `Returning`; return what it returned, and what the leaves got."""
    a, b = large(), large(seed=1)
    y = apply(Returning(make_grads), a, b)
    function = y.grad_fn
    y.backward(normal(SIDE, SIDE, seed=2))
    return function.returned, (a.grad.array, b.grad.array)


# --- copies ---------------------------------------------------------------------------------------


def test_new_gradients_are_kept():
    returned, kept = grads_of(lambda f, g: (2 * g, (3 * g).T))
    assert np.shares_memory(kept[0], returned[0])
    assert np.shares_memory(kept[1], returned[1])


@pytest.mark.parametrize(
    "make_grads",
    [
        lambda f, g: (g, 2 * g),
        lambda f, g: (g[::-1], 2 * g),
        lambda f, g: (f.saved[0], 2 * g),
        lambda f, g: (f.saved[0].T, 2 * g),
        lambda f, g: (h := 2 * g, h),
        lambda f, g: (h := 2 * g, h.T),
        lambda f, g: ((h := 2 * g).T, h),
        lambda f, g: (np.broadcast_to(2 * g[:1], g.shape), 2 * g),
    ],
)
def test_gradients_that_somebody_else_holds_are_copied(make_grads):
    returned, kept = grads_of(make_grads)
    assert not np.shares_memory(kept[0], kept[1])
    assert not np.shares_memory(kept[0], returned[0])
    for grad, wanted in zip(kept, returned, strict=True):
        np.testing.assert_array_equal(grad, wanted)
        assert grad.flags.writeable


def test_a_gradient_of_another_dtype_is_converted():
    _, kept = grads_of(lambda f, g: (g.astype(np.float32) * 2, 2 * g))
    assert kept[0].dtype == np.float64


def test_a_kept_gradient_is_not_what_a_result_retained():
    x = large()
    y = 2 * x
    y.retain_grad()
    (y.reshape(-1) * 1).sum().backward()
    assert not np.shares_memory(x.grad.array, y.grad.array)


def test_the_hooks_of_a_leaf_may_hand_in_what_they_keep():
    x, mine = large(), Tensor(normal(SIDE, SIDE))
    x.register_hook(lambda g: mine)
    (2 * x).sum().backward()
    assert not np.shares_memory(x.grad.array, mine.array)


# --- sums -----------------------------------------------------------------------------------------


def test_a_sum_changes_no_array_that_is_on_its_way_elsewhere():
    x, y = large(), large(seed=1)
    shared = x + y  # the gradient of `shared` is that of x, of y, and of `shared` in the second use
    cotangent = normal(SIDE, SIDE, seed=2)
    (shared + 3 * x + shared * y).backward(cotangent)
    through = cotangent * (1 + y.array)
    assert_close(x.grad, through + 3 * cotangent)
    assert_close(y.grad, through + cotangent * (x.array + y.array))


def test_a_sum_leaves_the_sibling_that_views_it_alone():
    a, b = large(), large(seed=1)
    cotangent = normal(SIDE, SIDE, seed=2)
    returning = Returning(lambda f, g: (h := 2 * g, h.T))
    (apply(returning, a, b) + 5 * a).backward(cotangent)
    assert_close(a.grad, 7 * cotangent)
    assert_close(b.grad, 2 * cotangent.T)


# --- how much is held at once ---------------------------------------------------------------------

BUFFER = 2**18  # elements
LINKS = 6


def buffers_held(make_loss):
    """Return in buffers: what the tape holds after forward, the peak in backward, what is left after it."""
    make_loss().backward()  # whatever is done once has been done
    tracemalloc.start()
    try:
        loss = make_loss()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        loss.backward()
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return tuple(bytes_ / (BUFFER * 4) for bytes_ in (held, peak, left))


def chain(link):
    """Return a function that makes a loss: the sum over a chain of `link`s."""
    x = Tensor(np.ones(BUFFER, np.float32))

    def make_loss():
        y = x.clone().requires_grad_()  # a leaf that goes with the loss
        for _ in range(LINKS):
            y = link(y)
        return y.sum()

    return make_loss


def test_a_chain_needs_two_gradients_at_once():
    _, peak, _ = buffers_held(chain(lambda y: -y))
    assert peak < 2.1


def test_saved_arrays_are_freed_on_the_way():
    held, peak, left = buffers_held(chain(lambda y: y.exp() * 0.1))
    assert held < LINKS + 0.1
    assert peak < held + 2.1
    assert left < 0.1


def test_two_ways_to_one_place_need_no_third_gradient():
    held, peak, _ = buffers_held(chain(lambda y: y + (-y).exp()))
    assert peak < held + 2.1


def test_gradients_of_leaves_are_not_made_twice():
    weights = [Tensor(np.ones(BUFFER, np.float32), requires_grad=True) for _ in range(LINKS)]

    def make_loss():
        y = Tensor(np.ones(BUFFER, np.float32))
        for weight in weights:
            weight.grad = None
            y = y * weight
        return y.sum()

    held, peak, _ = buffers_held(make_loss)
    assert peak < held + 3.1  # one gradient comes in, two go out


def test_a_product_with_a_number_saves_no_array():
    held, _, _ = buffers_held(chain(lambda y: y * 0.5))
    assert held < 0.1


class Forgetful(Function):
    """y = sum(a b), which lets go of what it saved as soon as it has read it."""

    def forward(self, a, b):
        self.save(a, b)
        return np.asarray((a * b).sum())

    def backward(self, grad):
        a, b = self.saved
        self.saved = ()
        return b, a


def test_a_saved_array_that_backward_lets_go_of_is_copied():
    a, b = large(), large(seed=1)
    apply(Forgetful(), a, b).backward()
    assert not np.shares_memory(a.grad.array, b.array)
