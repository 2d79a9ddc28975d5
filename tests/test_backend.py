"""Devices by name, and what is said where there is no GPU."""

import sys
import types

import numpy as np
import pytest

from minicnn import backend
from minicnn.backend import cuda_is_available, device_of, is_array, parse_device, to_device, xp_of


@pytest.mark.parametrize(
    ("text", "device"),
    [("cpu", ("cpu", 0)), ("cpu:0", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:1", ("cuda", 1))],
)
def test_device_names(text, device):
    assert parse_device(text) == device


@pytest.mark.parametrize("text", ["gpu", "cpu:1", "cuda:x", "cuda:-1", "", None, 0])
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match='device: expected "cpu", "cuda" or "cuda:<index>"'):
        parse_device(text)


def test_numpy_arrays_live_on_the_cpu():
    array = np.ones(2)
    assert xp_of(array) is np
    assert device_of(array) == "cpu"
    assert to_device(array, "cpu") is array


@pytest.mark.parametrize(
    ("value", "answer"), [(np.ones(2), True), (np.float32(1), False), ([1], False)]
)
def test_is_array(value, answer):
    assert is_array(value) is answer


def fake_cupy(count):
    """A CuPy that is installed on a machine with `count` GPUs; None: without a driver."""

    def get_device_count():
        if count is None:
            raise OSError("no driver")
        return count

    runtime = types.SimpleNamespace(getDeviceCount=get_device_count)
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    cupy.ndarray = type("ndarray", (), {})
    return cupy


@pytest.mark.parametrize(
    ("cupy", "reason"),
    [
        (None, "CuPy cannot be imported"),
        (fake_cupy(None), "no CUDA driver or GPU answers"),
        (fake_cupy(0), "this machine has no GPU"),
    ],
)
def test_why_cuda_cannot_be_used(monkeypatch, cupy, reason):
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # None makes `import cupy` fail
    assert not cuda_is_available()
    with pytest.raises(RuntimeError, match=f'device "cuda" cannot be used: .*{reason}'):
        to_device(np.ones(1), "cuda")


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    assert backend.cuda_is_available()
    with pytest.raises(RuntimeError, match=r'device "cuda:3" does not exist: .* 1 GPU\(s\)'):
        to_device(np.ones(1), "cuda:3")


@pytest.mark.parametrize("target", ["gpu", "mps:0", None, "float31"])
def test_what_is_neither_device_nor_dtype_is_refused(target):
    with pytest.raises(TypeError, match=r'expected a device \("cpu", .*\) or a dtype'):
        backend.as_dtype(target)
