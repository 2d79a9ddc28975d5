"""The tape: the order of the walk, accumulation, and switching it off."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from minicnn import Tensor, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minicnn.autograd.tape import topological_order
from tests.checks import leaf, normal

# --- the walk -------------------------------------------------------------------------------------


def test_a_diamond():
    x = leaf(np.array(3.0))
    b = x + x
    c = b + b
    c.backward()
    assert x.grad.item() == 4


def test_sixty_diamonds_take_linear_time():
    x = leaf(np.array(1.0))
    y = x
    for _ in range(60):
        y = y + y
    start = time.perf_counter()
    y.backward()
    assert x.grad.item() == 2.0**60
    assert time.perf_counter() - start < 1


def test_every_node_comes_after_its_parents():
    x = leaf(normal(2))
    y = x * 2
    z = y + (y * x).exp()
    order = topological_order(z.node)
    position = {node: i for i, node in enumerate(order)}
    assert order[-1] is z.node
    assert all(
        position[parent] < position[node]
        for node in order
        for parent in node.parents
        if parent is not None
    )


def test_a_chain_of_100_000_functions():
    x = leaf(np.array(1.0))
    y = x
    for _ in range(100_000):
        y = -y
    y.backward()
    assert x.grad.item() == 1


def test_a_chain_of_100_000_functions_can_be_dropped():
    y = leaf(np.array(1.0))
    for _ in range(100_000):
        y = -y
    del y
    gc.collect()


def test_the_tape_goes_with_its_result():
    y = leaf(normal(2)).exp()
    function = weakref.ref(y.grad_fn)
    del y
    assert function() is None  # at once: there is no cycle that waits for the garbage collector


# --- accumulation ---------------------------------------------------------------------------------


def test_gradients_of_two_backwards_add_up():
    x = leaf(np.array([1.0, 2.0]))
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_a_tape_that_is_kept_can_be_walked_again():
    x = leaf(np.array(2.0))
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_a_tape_that_was_freed_cannot():
    x = leaf(np.array(2.0))
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*Mul.*retain_graph=True"):
        y.backward()


def test_two_results_on_one_part_of_the_tape():
    x = leaf(np.array(2.0))
    shared = x * x
    a, b = shared * 2, shared * 3
    a.backward(retain_graph=True)
    b.backward()
    assert x.grad.item() == 4 * 2 + 4 * 3


def test_backward_frees_what_was_saved():
    x = leaf(normal(3))
    y = x.exp().sum()
    exp = y.node.parents[0].function
    assert exp.saved
    y.backward()
    assert exp.saved == ()


def test_gradients_have_memory_of_their_own():
    x, y = leaf(normal(3)), leaf(normal(3, seed=1))
    cotangent = np.ones(3)
    (x + y).backward(cotangent)
    for a, b in [
        (x.grad.array, y.grad.array),
        (x.grad.array, cotangent),
        (y.grad.array, cotangent),
    ]:
        assert not np.shares_memory(a, b)


def test_the_gradient_of_a_leaf_itself_is_a_copy():
    x, cotangent = leaf(normal(3)), normal(3)
    x.backward(cotangent)
    assert x.grad.tolist() == cotangent.tolist()
    assert not np.shares_memory(x.grad.array, cotangent)


def test_a_sum_has_a_writable_gradient():
    x = leaf(normal(3))
    x.sum().backward()
    x.grad.array[0] = 5
    assert x.grad.tolist() == [5, 1, 1]


def test_a_leaf_that_is_gone_is_no_error():
    x = leaf(normal(2))
    y = (x * leaf(normal(2))).sum()
    y.backward()
    assert x.grad.shape == (2,)


# --- what backward accepts ------------------------------------------------------------------------


def test_a_result_with_several_elements_needs_a_gradient():
    x = leaf(normal(2, 3))
    with pytest.raises(RuntimeError, match=r"shape \(2, 3\); reduce it first"):
        (x * 2).backward()


def test_the_gradient_must_have_the_shape_of_the_result():
    x = leaf(normal(2, 3))
    with pytest.raises(RuntimeError, match=r"expected a gradient of shape \(2, 3\), got \(3,\)"):
        (x * 2).backward(np.ones(3))


def test_one_element_is_enough_for_an_implied_gradient():
    x = leaf(normal(1, 1))
    (x * 2).backward()
    assert x.grad.tolist() == [[2]]


@pytest.mark.parametrize(
    "gradient", [[1, 2], np.array([1, 2]), np.array([1.0, 2.0]), Tensor([1, 2])]
)
def test_the_gradient_is_converted_to_the_dtype_of_the_result(gradient):
    x = leaf(normal(2, dtype="float32"))
    (x * 1).backward(gradient)
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [1, 2]


def test_without_a_tape():
    with pytest.raises(RuntimeError, match="requires no gradient"):
        Tensor([1.0]).sum().backward()


# --- switching the tape off and on ----------------------------------------------------------------


def test_no_grad_records_nothing():
    x = leaf(normal(2))
    with no_grad():
        y = x * 2
        assert not is_grad_enabled()
    assert is_grad_enabled()
    assert not y.requires_grad
    assert y.is_leaf


def test_enable_grad_within_no_grad():
    x = leaf(normal(2))
    with no_grad(), enable_grad():
        assert (x * 2).requires_grad


@pytest.mark.parametrize("mode", [True, False])
def test_set_grad_enabled(mode):
    with set_grad_enabled(mode):
        assert is_grad_enabled() is mode
    assert is_grad_enabled()


def test_an_exception_ends_no_grad():
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert is_grad_enabled()


def test_no_grad_as_a_decorator():
    @no_grad()
    def double(x):
        return x * 2

    assert not double(leaf(normal(2))).requires_grad
    assert is_grad_enabled()


def test_a_decorated_function_may_call_itself():
    @no_grad()
    def count_down(n):
        return n if n == 0 else count_down(n - 1)

    count_down(3)
    assert is_grad_enabled()


def test_a_decorated_function_may_run_in_two_threads():
    both_inside = threading.Barrier(2, timeout=10)
    one_is_out = threading.Event()
    seen = []

    @no_grad()
    def work(leaves_first):
        both_inside.wait()
        return leaves_first or one_is_out.wait(timeout=10)

    def run(leaves_first):
        set_grad_enabled(leaves_first)
        work(leaves_first)
        one_is_out.set()
        seen.append(is_grad_enabled() is leaves_first)

    threads = [threading.Thread(target=run, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True, True]


def test_one_block_may_be_open_in_two_threads():
    block, seen = no_grad(), []

    def inner():
        with enable_grad(), block:
            pass
        seen.append(is_grad_enabled())

    with block:
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()
        assert not is_grad_enabled()
    assert is_grad_enabled()
    assert seen == [True]


def test_generators_cannot_be_decorated():
    def batches():
        yield is_grad_enabled()

    with pytest.raises(TypeError, match="no_grad: cannot decorate batches, a generator"):
        no_grad()(batches)


def test_set_grad_enabled_as_a_function():
    try:
        set_grad_enabled(False)
        assert not is_grad_enabled()
    finally:
        set_grad_enabled(True)
    assert is_grad_enabled()


def test_set_grad_enabled_as_a_decorator_changes_nothing_outside():
    @set_grad_enabled(False)
    def inside():
        return is_grad_enabled()

    assert is_grad_enabled()
    assert not inside()
    assert is_grad_enabled()


@pytest.mark.parametrize("make", [no_grad, enable_grad])
def test_a_block_that_nobody_enters_changes_nothing(make):
    with set_grad_enabled(make is no_grad):
        before = is_grad_enabled()
        make()
        assert is_grad_enabled() is before


def test_each_thread_has_its_own_switch():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_works_inside_no_grad():
    x = leaf(np.array(3.0))
    y = x * x
    with no_grad():
        y.backward()
    assert x.grad.item() == 6


# --- detach, retain_grad --------------------------------------------------------------------------


def test_detach_cuts_the_graph_and_shares_the_memory():
    x = leaf(np.array([1.0, 2.0]))
    y = x * x
    d = y.detach()
    (d * x).sum().backward()
    assert x.grad.tolist() == [1, 4]
    assert np.shares_memory(d.array, y.array)


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(np.array(2.0))
    y = x * x
    y.retain_grad()
    (3 * y).backward()
    assert y.grad.item() == 3
    assert x.grad.item() == 12


def test_results_keep_no_gradient_unasked():
    x = leaf(np.array(2.0))
    y = x * x
    (3 * y).backward()
    assert y.grad is None
