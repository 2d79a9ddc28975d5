"""What minicnn.cuda says about GPUs, where there are some and where there are none."""

import sys

import numpy as np
import pytest

import minicnn
from minicnn import cuda, nn
from tests.checks import normal
from tests.devices import constant, tensors_on
from tests.gpu.strict_cupy import installed, make_cupy, ndarray


@pytest.fixture
def gpu():
    with tensors_on("cuda"):
        yield ndarray.cupy


@pytest.fixture
def two_gpus():
    with installed(make_cupy(2)) as cupy:
        yield cupy


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not cuda.is_available()
    assert cuda.device_count() == 0
    for call in (cuda.synchronize, cuda.memory_allocated, cuda.empty_cache, cuda.current_device):
        with pytest.raises(RuntimeError, match=r"install minicnn\[cuda12\]"):
            call()


@pytest.mark.parametrize("devices", [None, 0])
def test_without_a_driver_or_a_card(devices):
    with installed(make_cupy(devices)):
        assert not cuda.is_available()
        assert cuda.device_count() == 0
        with pytest.raises(RuntimeError, match="cannot be used"):
            cuda.get_device_name()


def test_one_gpu(gpu):
    assert cuda.is_available()
    assert (cuda.device_count(), cuda.current_device()) == (1, 0)
    assert cuda.get_device_name() == cuda.get_device_name(0) == "Stand-in"
    with pytest.raises(RuntimeError, match=r'"cuda:1" does not exist: this machine has 1 GPU'):
        cuda.get_device_name(1)


def test_memory_is_counted(gpu):
    before = cuda.memory_allocated()
    x = constant(np.zeros(1000))
    assert cuda.memory_allocated() - before == 8192  # in blocks of 512 bytes
    del x
    assert cuda.memory_allocated() == before
    assert cuda.memory_reserved() >= 8192
    cuda.empty_cache()
    assert cuda.memory_reserved() == before


def test_synchronize_waits(gpu):
    gpu.traffic.clear()
    cuda.synchronize()
    assert gpu.traffic.syncs == ["Device.synchronize"]


def test_the_gpu_in_use(two_gpus):
    assert minicnn.ones(2, device="cuda").device == "cuda:0"
    cuda.set_device(1)
    assert minicnn.ones(2, device="cuda").device == "cuda:1"
    assert minicnn.tensor([1.0]).to("cuda:0").device == "cuda:0"
    with pytest.raises(RuntimeError, match="does not exist"):
        cuda.set_device(2)


def test_tensors_of_two_gpus_do_not_mix(two_gpus):
    a, b = minicnn.ones(2, device="cuda:0"), minicnn.ones(3, device="cuda:1")
    words = r"Add: .*a of shape \(2,\) on cuda:0, b of shape \(3,\) on cuda:1"
    with pytest.raises(RuntimeError, match=words):
        a + b
    assert b.to("cuda:0").device == "cuda:0"


# --- running out of memory ------------------------------------------------------------------------


def limit(cupy, more):
    """Leave room for so many bytes more."""
    pool = cupy.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + more)


def test_a_forward_that_does_not_fit_names_the_layer_and_the_sizes(gpu):
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 8, 3)).to("cuda")
    x = constant(normal(4, 3, 16, 16, dtype="float32"))
    limit(gpu, 20_000)
    with pytest.raises(MemoryError) as caught:
        model(x)
    message = "\n".join([str(caught.value), *caught.value.__notes__])
    assert "Conv2d: cuda:0 has not enough memory to compute with float32 (4, 3, 16, 16)" in message
    assert "use a smaller batch" in message
    assert "in Conv2d(3, 8, kernel_size=(3, 3)" in message
    del caught
    limit(gpu, 10**6)
    assert model(x[:1]).shape == (1, 8, 14, 14)  # the process goes on


def test_nothing_stays_allocated_after_a_failure(gpu):
    layer = nn.Linear(64, 64).to("cuda")
    x = constant(normal(64, 64, dtype="float32")).requires_grad_()
    before = cuda.memory_allocated()
    limit(gpu, 40_000)
    with pytest.raises(MemoryError):
        layer(layer(layer(x))).sum().backward()
    assert cuda.memory_allocated() == before
    assert x.grad is None


def test_a_backward_that_does_not_fit_is_named(gpu):
    x = constant(normal(64, 64, dtype="float32")).requires_grad_()
    y = x.exp()
    limit(gpu, 100)
    with pytest.raises(MemoryError, match=r"backward of Exp: cuda:0 .* float32 \(64, 64\)"):
        y.backward(y.detach())


def test_a_model_that_does_not_fit_stays_where_it_is(gpu):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(100, 100))
    limit(gpu, 10_000)
    with pytest.raises(MemoryError, match=r"to\('cuda'\): .*\(100, 100\)"):
        model.to("cuda")
    assert {parameter.device for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("name", ["cpu", "gpu", -1])
def test_what_is_no_gpu_is_refused(gpu, name):
    for call in (cuda.synchronize, cuda.set_device, cuda.memory_allocated, cuda.get_device_name):
        with pytest.raises(ValueError, match=f"expected .*got .*{name}"):
            call(name)
