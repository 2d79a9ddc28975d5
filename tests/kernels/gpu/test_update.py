"""Steps of optimizers in CUDA: against the sibling for NumPy, for arrays of every kind."""

import numpy as np
import pytest

from minicnn.kernels import update as numpy_update
from minicnn.kernels.gpu import table, update
from tests.checks import in_memory, normal
from tests.kernels.gpu.on_device import up
from tests.kernels.update_cases import RULES, columns


def to_device(cupy, lists):
    return [arrays and [up(cupy, array) for array in arrays] for arrays in lists]


def assert_same_step(cupy, rule, tolerance=1e-12, **kind):
    name, present, settings = RULES[rule]
    ours, theirs = to_device(cupy, columns(present, **kind)), columns(present, **kind)
    for _ in range(2):
        getattr(update, name)(*ours, *settings)
        getattr(numpy_update, name)(*theirs, *settings)
    for mine, expected in zip(ours, theirs, strict=True):
        for a, b in zip(mine or [], expected or [], strict=True):
            np.testing.assert_allclose(a.get(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
def test_like_numpy(cupy, rule, dtype, tolerance):
    assert_same_step(cupy, rule, tolerance, dtype=dtype)


@pytest.mark.parametrize("where", ["param", "grad"])
@pytest.mark.parametrize("rule", RULES)
def test_nan_stays_where_it_is(cupy, rule, where):
    name, present, settings = RULES[rule]
    params, grads, *memory = columns(present, "float32")
    (params if where == "param" else grads)[0][1, 1, 2, 3] = np.nan
    expected = np.zeros(params[0].shape, bool)
    expected[1, 1, 2, 3] = True
    on_device = to_device(cupy, [params, grads, *memory])
    getattr(update, name)(*on_device, *settings)
    np.testing.assert_array_equal(np.isnan(on_device[0][0].get()), expected)
    assert all(np.isfinite(param.get()).all() for param in on_device[0][1:])


@pytest.mark.parametrize("order", ["transposed", "channels last"])
@pytest.mark.parametrize("grad_order", ["contiguous", "channels last"])
def test_arrays_of_any_memory_order(cupy, order, grad_order):
    assert_same_step(cupy, "adam", order=order, grad_order=grad_order)


def test_one_launch_for_all_parameters(cupy, monkeypatch):
    params = [cupy.asarray(normal(5000)) for _ in range(3)]
    launches = []

    def counting(*names):
        return lambda *arguments: launches.append(names[:2])

    monkeypatch.setattr(table, "function", counting)
    update.sgd(params, params, None, 0.1, 0.0, 0.0, 0.0, False)
    assert launches == [("update", "sgd")]


@pytest.mark.parametrize("rule", ["momentum", "adamw", "rmsprop"])
def test_parameters_with_gaps_are_stepped_too(cupy, rule):
    name, present, settings = RULES[rule]
    host = [[normal(6, 8)[:, ::2]] if there else None for there in (True, True, *present)]
    host[2:] = [kept and [abs(kept[0])] for kept in host[2:]]
    device = [kept and [cupy.asarray(np.repeat(kept[0], 2, 1))[:, ::2]] for kept in host]
    getattr(update, name)(*device, *settings)
    getattr(numpy_update, name)(*host, *settings)
    np.testing.assert_allclose(device[0][0].get(), host[0][0], rtol=1e-12)


def test_parameters_that_share_memory_are_stepped_one_after_the_other(cupy):
    memory = cupy.zeros(10_000)
    grads = [cupy.ones(10_000), cupy.ones(6_000)]
    update.sgd([memory, memory[2_000:8_000]], grads, None, 1.0, 0.0, 0.0, 0.0, False)
    assert (memory.get()[:2_000] == -1).all()
    assert (memory.get()[2_000:8_000] == -2).all()


def test_a_gradient_of_another_dtype(cupy):
    params = [cupy.zeros(3, np.float32)]
    update.sgd(params, [cupy.ones(3)], None, 1.0, 0.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(params[0].get(), [-1, -1, -1])


def test_infinite_weights_without_decay(cupy):
    params = [cupy.asarray(np.array([np.inf, 1.0]))]
    update.sgd(params, [cupy.ones(2)], None, 1.0, 0.0, 0.0, 0.0, False)
    np.testing.assert_array_equal(params[0].get(), [np.inf, 0])


def test_nothing_to_do(cupy, monkeypatch):
    monkeypatch.setattr(table, "function", None)
    update.sgd([cupy.zeros(0)], [cupy.zeros(0)], None, 1.0, 0.0, 0.0, 0.0, False)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "adamw", "amsgrad", "rmsprop"])
def test_learning_rate_and_step_in_device_memory(cupy, traffic, rule):
    name, present, settings = RULES[rule]
    by_number, by_array = (to_device(cupy, columns(present)) for _ in range(2))
    getattr(update, name)(*by_number, *settings)
    on_device = [cupy.asarray(np.array(settings[0])), *settings[1:]]
    if name == "adam":
        on_device[1] = cupy.asarray(np.array([settings[1]]))
    traffic.clear()
    getattr(update, name)(*by_array, *on_device)
    assert not traffic.syncs
    for a, b in zip(by_number[0], by_array[0], strict=True):
        np.testing.assert_array_equal(a.get(), b.get())


def test_nothing_is_uploaded_and_nobody_waits(cupy, traffic):
    arguments = [cupy.ones(7)], [cupy.ones(7)], None, 1.0, 0.0, 0.0, 0.0, False
    traffic.clear()
    update.sgd(*arguments)
    assert not traffic.uploads
    assert not traffic.syncs


def test_more_parameters_than_a_table_has_lines(cupy):
    count = 2 * table.MOST_LINES + 3
    params = [cupy.asarray(np.full(3 + index, index, np.float32)) for index in range(count)]
    grads = [cupy.ones(3 + index, np.float32) for index in range(count)]
    update.sgd(params, grads, None, 0.5, 0.0, 0.0, 0.0, False)
    for index, param in enumerate(params):
        np.testing.assert_array_equal(param.get(), np.full(3 + index, index - 0.5))


def test_tables_fit_into_the_arguments_of_a_kernel():
    most_options = 7 * 8 + 2 * 8
    assert table.TABLE.itemsize + most_options <= 4096


def test_steps_along_axes_of_one_do_not_matter(cupy):
    param, grad = cupy.zeros((4, 1, 3)), cupy.ones((1, 4, 3)).transpose(1, 0, 2)
    assert table.fitting(grad, param) is grad


def test_device_numbers_cannot_serve_parameters_with_gaps(cupy):
    params = [cupy.zeros((4, 4))[:, ::2]]
    arguments = params, params, params, params, None, cupy.ones(1, np.int64), 0.1
    with pytest.raises(ValueError, match=r"side by side in memory .* got one of shape \(4, 2\)"):
        update.adam(*arguments, (0.9, 0.99), 1e-8, 0.0, False)


@pytest.mark.parametrize("size", [1, 4096, 4097, 20_000])
def test_pieces_of_all_sizes(cupy, size):
    host = normal(size + 3, dtype="float32")
    params = [cupy.asarray(host)[start : start + size] for start in (0, 3)]
    for param, start in zip(params, (0, 3), strict=True):
        grad = cupy.asarray(in_memory(normal(size, seed=1, dtype="float32"), "contiguous"))
        update.sgd([param], [grad], None, 0.5, 0.0, 0.0, 0.0, False)
        expected = host[start : start + size] - np.float32(0.5) * normal(
            size, seed=1, dtype="float32"
        )
        np.testing.assert_allclose(param.get(), expected, rtol=1e-6, atol=1e-6)
