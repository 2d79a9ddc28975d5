"""The stand-in for CuPy refuses what CuPy refuses, counts what passes between host and device, and has CuPy's names."""

import inspect
import operator
import pickle

import numpy as np
import pytest

from tests.gpu import strict_cupy
from tests.gpu.strict_cuda import ATTRIBUTES, FUNCTIONS, METHODS, OutOfMemoryError
from tests.gpu.strict_cupy import installed, make_cupy

NUMBERS = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def cupy():
    with installed(make_cupy()) as module:
        yield module


@pytest.fixture
def x(cupy):
    array = cupy.asarray(NUMBERS)
    cupy.traffic.clear()
    return array


# --- what it computes -----------------------------------------------------------------------------


def test_arithmetic(cupy, x):
    y = np.float32(2) * x + 1 - cupy.ones(3, "float32")
    y /= 2
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_array_equal(y.get(), NUMBERS)
    assert (cupy.traffic.syncs, cupy.traffic.uploads) == (["get"], [])


def test_numpys_universal_functions_are_handed_over(cupy, x):
    y = np.sqrt(x)
    np.add(x, 1, out=y)
    np.testing.assert_array_equal(y.get(), NUMBERS + 1)


def test_reductions_stay_on_the_device(cupy, x):
    total = x.sum()
    assert isinstance(total, cupy.ndarray)
    assert total.shape == ()


def test_results_are_in_row_major_order(cupy, x):
    columns = cupy.asfortranarray(x)
    for y in (columns + 1, cupy.exp(columns), cupy.where(columns > 1, columns, 0), columns * x):
        assert y.flags.c_contiguous
    for y in (columns.astype("float64"), cupy.zeros_like(columns), cupy.empty_like(columns)):
        assert y.flags.f_contiguous


def test_views_know_their_base(cupy, x):
    for view in (x.T, x[0], x.reshape(6), cupy.moveaxis(x, 0, 1), x[:, ::2].T):
        assert view.base is x
    assert (x + 1).base is x.copy().base is None


def test_an_index_out_of_range_is_wrapped_round(cupy, x):
    assert x[cupy.asarray([1, 2, -3])].tolist() == NUMBERS[[1, 0, 1]].tolist()
    assert x[:, cupy.asarray([4])].tolist() == NUMBERS[:, [1]].tolist()
    assert x[..., cupy.asarray([5]), None].tolist() == NUMBERS[:, [2], None].tolist()
    assert cupy.take_along_axis(x, cupy.asarray([[3], [4]]), 1).tolist() == [[0], [4]]
    with pytest.raises(IndexError):
        x[2]


def test_new_memory_holds_nothing_that_could_be_used(cupy):
    assert np.isnan(cupy.empty(3).get()).all()
    assert cupy.empty(2, "uint8").tolist() == [255, 255]


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mix",
    [
        lambda xp, x: x + NUMBERS,
        lambda xp, x: NUMBERS * x,
        lambda xp, x: x == NUMBERS,
        lambda xp, x: operator.iadd(x, NUMBERS),
        lambda xp, x: xp.maximum(x, NUMBERS),
        lambda xp, x: xp.where(NUMBERS > 0, x, 0),
        lambda xp, x: xp.concatenate([x, NUMBERS]),
        lambda xp, x: np.maximum(x, NUMBERS),
        lambda xp, x: np.concatenate([x, x]),
        lambda xp, x: np.asarray(x),
        lambda xp, x: np.mean(x),
    ],
)
def test_nothing_of_numpys_mixes_in(cupy, x, mix):
    with pytest.raises(TypeError):
        mix(cupy, x)


def test_nothing_of_the_host_is_assigned(x):
    with pytest.raises(ValueError, match="non-scalar"):
        x[...] = NUMBERS
    with pytest.raises(TypeError):
        x[0] = [1, 2, 3]


@pytest.mark.parametrize("name", ["ctypes", "__array_interface__", "tofile", "itemset"])
def test_attributes_that_it_lacks(x, name):
    with pytest.raises(AttributeError):
        getattr(x, name)


def test_functions_that_it_lacks(cupy):
    with pytest.raises(AttributeError):
        cupy.linalg  # noqa: B018


def test_adding_at_integers_is_not_supported(cupy):
    with pytest.raises(TypeError, match="int64"):
        cupy.add.at(cupy.zeros(3, "int64"), cupy.asarray([0]), 1)


# --- what it counts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("get", lambda x: x.get()),
        ("item", lambda x: x[0, 0].item()),
        ("tolist", lambda x: x.tolist()),
        ("float", lambda x: float(x[0, 0])),
        ("int", lambda x: int(x[0, 0])),
        ("bool", lambda x: bool((x > 0).any())),
        ("bool", lambda x: 1 if x.max() > 3 else 0),
        ("repr", repr),
        ("mask", lambda x: x[x > 1]),
        ("mask", lambda x: operator.setitem(x, x > 1, 0)),
        ("get", pickle.dumps),
    ],
)
def test_every_wait_is_counted(cupy, x, name, read):
    read(x)
    assert cupy.traffic.syncs == [name]


def test_functions_that_wait_are_counted(cupy, x):
    cupy.nonzero(x)
    cupy.argwhere(x)
    cupy.asnumpy(x)
    assert cupy.traffic.syncs == ["nonzero", "argwhere", "get"]


def test_uploads_are_counted(cupy, x):
    cupy.asarray(2.5)
    x[np.array([0])]
    x.set(NUMBERS)
    assert cupy.traffic.uploads == ["asarray", "index", "asarray", "set"]


# --- memory and streams ---------------------------------------------------------------------------


def test_memory_is_counted_in_blocks(cupy):
    pool = cupy.get_default_memory_pool()
    a = cupy.zeros(3)
    view = a[1:]
    del a
    assert pool.used_bytes() == 512
    del view
    assert (pool.used_bytes(), pool.free_bytes()) == (0, 512)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


def test_memory_runs_out(cupy):
    cupy.get_default_memory_pool().set_limit(2000)
    with pytest.raises(OutOfMemoryError, match="limit set to: 2,000"):
        cupy.zeros(1000)
    assert cupy.zeros(10).sum() == 0


def test_a_copy_on_another_stream_happens_when_it_is_waited_for(cupy):
    side, source = cupy.cuda.Stream(non_blocking=True), NUMBERS.copy()
    there = cupy.empty((2, 3), "float32")
    there.set(source, stream=side)
    event = side.record()
    source += 1  # too early: the copy has not been made
    assert np.isnan(there.get()).all()
    assert not event.done
    cupy.cuda.get_current_stream().wait_event(event)
    assert event.done
    np.testing.assert_array_equal(there.get(), NUMBERS + 1)


def test_arrays_of_two_gpus_do_not_mix():
    with installed(make_cupy(2)) as cupy:
        a = cupy.ones(2)
        with cupy.cuda.Device(1):
            b = cupy.ones(2)
        assert (a.device.id, b.device.id) == (0, 1)
        with pytest.raises(ValueError, match="device"):
            a + b


def test_without_a_driver():
    with installed(make_cupy(None)) as cupy:
        assert not cupy.cuda.is_available()
        for call in (cupy.cuda.runtime.getDeviceCount, lambda: cupy.zeros(1)):
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
                call()


# --- the original ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original():
    """CuPy itself, where it is installed; a GPU is not needed to read its names."""
    return pytest.importorskip("cupy", exc_type=ImportError)


def test_cupy_has_these_functions(original):
    assert [name for name in FUNCTIONS if not hasattr(original, name)] == []


def test_cupys_arrays_have_these_attributes(original):
    mine = [name for name in vars(strict_cupy.ndarray) if not name.startswith("_")]
    names = set(mine) - {"cupy"} | set(METHODS) | set(ATTRIBUTES)
    assert sorted(name for name in names if not hasattr(original.ndarray, name)) == []


@pytest.mark.parametrize("name", ["asarray", "empty_like", "full", "full_like", "zeros", "arange"])
def test_cupy_takes_the_arguments_that_are_used(original, name):
    used = {"asarray": "dtype", "empty_like": "shape", "full_like": "shape"}.get(name, "dtype")
    assert used in inspect.signature(getattr(original, name)).parameters
