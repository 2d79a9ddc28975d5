"""Steps of optimizers over tables of addresses: against the sibling in NumPy, for arrays of every kind."""

import numpy as np
import pytest

from minicnn.kernels import update as numpy_update
from minicnn.kernels.cpu import table, update
from tests.kernels.update_cases import RULES, columns


def assert_same_step(rule, tolerance=1e-12, **kind):
    name, present, settings = RULES[rule]
    ours, theirs = columns(present, **kind), columns(present, **kind)
    for _ in range(2):
        getattr(update, name)(*ours, *settings)
        getattr(numpy_update, name)(*theirs, *settings)
    for mine, expected in zip(ours, theirs, strict=True):
        for a, b in zip(mine or [], expected or [], strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
def test_like_numpy(rule, dtype, tolerance):
    assert_same_step(rule, tolerance, dtype=dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["param", "grad"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("module", [numpy_update, update])
def test_nan_and_infinity_stay_where_they_are(module, rule, where, value):
    """A parameter that is not finite, or whose gradient is not, is not finite after a step; its neighbours are."""
    name, present, settings = RULES[rule]
    params, grads, *memory = columns(present, "float32")
    (params if where == "param" else grads)[0][1, 1, 2, 3] = value
    with np.errstate(invalid="ignore"):
        getattr(module, name)(params, grads, *memory, *settings)
    expected = np.ones(params[0].shape, bool)
    expected[1, 1, 2, 3] = False
    np.testing.assert_array_equal(np.isfinite(params[0]), expected)
    if np.isnan(value):
        assert np.isnan(params[0][1, 1, 2, 3])
    for arrays in (params, *filter(None, memory)):
        assert all(np.isfinite(array).all() for array in arrays[1:])


@pytest.mark.parametrize("order", ["transposed", "channels last", "strided", "reversed"])
def test_parameters_of_any_memory_order(order):
    assert_same_step("adam", order=order, grad_order=order)


@pytest.mark.parametrize("grad_order", ["channels last", "strided", "read-only", "broadcast"])
def test_gradients_of_another_memory_order(grad_order):
    assert_same_step("momentum", grad_order=grad_order)


def test_strides_along_axes_of_one_do_not_matter():
    param = np.zeros((4, 1, 3))
    grad = np.lib.stride_tricks.as_strided(np.ones((4, 1, 3)), strides=(24, 8, 8))
    assert table._fitting(grad, param, param.strides, param.dtype) is grad


def test_a_gradient_of_another_dtype():
    params, grads = [np.zeros(3, np.float32)], [np.ones(3)]
    update.sgd(params, grads, None, 1.0, 0.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(params[0], [-1, -1, -1])


def test_memory_of_another_dtype():
    params, grads, velocities = [np.zeros(3)], [np.ones(3)], [np.ones(3, np.float32)]
    update.sgd(params, grads, velocities, 1.0, 0.5, 0.0, 0.0, False)
    np.testing.assert_array_equal(params[0], [-1.5, -1.5, -1.5])


def test_parameters_that_share_memory_are_stepped_one_after_the_other():
    memory = np.zeros(100_000)
    grads = [np.ones(100_000), np.ones(60_000)]
    update.sgd([memory, memory[20_000:80_000]], grads, None, 1.0, 0.0, 0.0, 0.0, False)
    assert (memory[:20_000] == -1).all()
    assert (memory[20_000:80_000] == -2).all()


def test_gradients_in_the_same_arrays_or_in_others():
    params, expected = [np.zeros(4), np.zeros((2, 3))], np.zeros(2)
    kept = [np.ones(4), np.ones((2, 3))]
    transposed = np.ones((3, 2)).T  # has to be copied
    for number, grads in enumerate(
        [kept, kept, [kept[0], transposed], kept, [kept[1][0, :1], kept[1]], kept]
    ):
        for factor, grad in enumerate(grads):
            grad[...] = number + factor
        grads = [np.broadcast_to(grads[0], 4), grads[1]] if grads[0].size == 1 else grads
        update.sgd(params, grads, None, 1.0, 0.0, 0.0, 0.0, False)
        expected -= grads[0][0], grads[1][0, 0]
        for param, value in zip(params, expected, strict=True):
            np.testing.assert_array_equal(param, np.full_like(param, value))


def test_gradients_that_are_gone_are_not_taken_for_new_ones():
    param = np.zeros(1000)
    for number in range(5):
        update.sgd([param], [np.full(1000, float(number))], None, 1.0, 0.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(param, -10)


def test_new_arrays_get_a_new_table():
    for _ in range(3):
        params = [np.zeros(4)]
        update.sgd(params, [np.ones(4)], None, 1.0, 0.0, 0.0, 0.0, False)
        np.testing.assert_array_equal(params[0], -1)


def test_tables_of_arrays_that_are_gone_do_not_pile_up():
    kept = [[np.zeros(2)] for _ in range(100)]
    for params in kept:
        update.sgd(params, params, None, 1.0, 0.0, 0.0, 0.0, False)
    assert len(table._tables) <= table.TABLES_LIMIT


def test_infinite_weights_without_decay():
    params = [np.array([np.inf, 1.0])]
    update.sgd(params, [np.ones(2)], None, 1.0, 0.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(params[0], [np.inf, 0])


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 3)).T, np.zeros(9)[3:], np.zeros(())])
def test_addresses(array):
    assert table.address_of(array) == array.ctypes.data
