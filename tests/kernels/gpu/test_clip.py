"""Clipping of many gradients at once in CUDA."""

import numpy as np
import pytest

from minicnn.kernels.gpu import clip
from tests.checks import in_memory, normal
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.gpu.on_device import up

SHAPES = [(3, 2, 5, 5), (), (0,), (300, 20)]


def grads(dtype, order="contiguous"):
    return [in_memory(normal(*shape, dtype=dtype), order) for shape in SHAPES]


@pytest.mark.parametrize("order", ["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_functions(cupy, traffic, order, dtype):
    host = grads(dtype, order)
    arrays, plain = [up(cupy, g) for g in host], np.concatenate([g.ravel() for g in host])
    traffic.clear()
    norm = clip.norm(arrays)
    assert norm.dtype == dtype
    clip.scale(arrays, 0.5)
    clip.scale(arrays, cupy.zeros(()) + 3)
    clip.clip(arrays, 0.25)
    assert not traffic.syncs
    np.testing.assert_allclose(norm.get(), np.linalg.norm(plain), rtol=1e-6)
    found = np.concatenate([g.get().ravel() for g in arrays])
    np.testing.assert_allclose(found, np.clip(1.5 * plain, -0.25, 0.25), rtol=1e-6)


def test_arrays_with_gaps_and_arrays_that_share_memory(cupy):
    memory = cupy.asarray(np.arange(1.0, 11.0))
    arrays = [memory[::2], memory[2:6], memory[4:]]
    expected = np.linalg.norm(np.concatenate([a.get() for a in arrays]))
    np.testing.assert_allclose(clip.norm(arrays).get(), expected)
    clip.scale(arrays, 2.0)
    np.testing.assert_array_equal(memory.get(), np.arange(1, 11) * [2, 1, 4, 2, 8, 4, 4, 2, 4, 2])


def test_nan_and_infinity(cupy):
    array = cupy.asarray(np.array([np.nan, np.inf, -np.inf, 1.0]))
    assert np.isnan(clip.norm([array]).get())
    assert clip.norm([array[1:]]).get() == np.inf
    clip.clip([array], 2.0)
    np.testing.assert_array_equal(array.get(), [np.nan, 2, -2, 1])


def test_squares_may_be_larger_than_float32(cupy):
    norm = clip.norm([cupy.asarray(np.full(4, 1e38, np.float32))])
    np.testing.assert_allclose(norm.get(), 2e38, rtol=1e-6)


def test_nothing_has_the_norm_0(cupy, monkeypatch):
    monkeypatch.setattr(clip, "function", None)
    assert clip.norm([cupy.zeros(0), cupy.zeros((2, 0))]).get() == 0


def test_the_norm_is_the_same_bits_for_all_orders_of_threads(cupy, monkeypatch):
    arrays = [up(cupy, g) for g in grads("float32")]
    norms = set()
    for seed in range(4):
        monkeypatch.setattr(HostModule, "seed", seed)
        norms.add(clip.norm(arrays).item())
    assert len(norms) == 1
