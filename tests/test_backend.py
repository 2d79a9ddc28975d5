"""Devices by name, and what is said where there is no GPU."""

import builtins
import sys
import types

import numpy as np
import pytest

import minicnn
from minicnn import backend
from minicnn.backend import cuda_is_available, device_of, is_array, parse_device, to_device, xp_of
from tests.checks import MEMORY_ORDERS, in_memory
from tests.devices import tensors_on


@pytest.mark.parametrize(
    ("text", "device"),
    [("cpu", ("cpu", 0)), ("cpu:0", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:1", ("cuda", 1))],
)
def test_device_names(text, device):
    assert parse_device(text) == device


@pytest.mark.parametrize("text", ["gpu", "cpu:1", "cuda:x", "cuda:-1", "cuda:", "", None, 0])
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


# --- names of devices -----------------------------------------------------------------------------


def test_a_device_is_its_name_in_two_parts():
    gpu = minicnn.device("cuda", 1)
    assert gpu == "cuda:1"
    assert (gpu.type, gpu.index) == ("cuda", 1)
    assert minicnn.device("cuda").index is None
    assert minicnn.device("cpu:0") == minicnn.device("cpu") == minicnn.ones(1).device
    assert repr(gpu) == "device('cuda:1')"
    with pytest.raises(ValueError, match="expected"):
        minicnn.device("cuda:0", 1)


MAKERS = {
    "tensor": lambda **o: minicnn.tensor([1.0], **o),
    "zeros": lambda **o: minicnn.zeros(2, **o),
    "ones": lambda **o: minicnn.ones(2, **o),
    "full": lambda **o: minicnn.full((2,), 3, **o),
    "eye": lambda **o: minicnn.eye(2, **o),
    "arange": lambda **o: minicnn.arange(3, **o),
    "linspace": lambda **o: minicnn.linspace(0, 1, 3, **o),
    "rand": lambda **o: minicnn.rand(2, **o),
    "randn": lambda **o: minicnn.randn(2, **o),
    "normal": lambda **o: minicnn.normal(0, 1, (2,), **o),
    "randint": lambda **o: minicnn.randint(0, 5, (2,), **o),
    "randperm": lambda **o: minicnn.randperm(3, **o),
}


@pytest.mark.parametrize("name", MAKERS)
def test_new_tensors_are_made_where_it_is_said(name):
    make = MAKERS[name]
    minicnn.manual_seed(0)
    expected = make()
    assert expected.device == "cpu"
    with tensors_on("cuda"):
        minicnn.manual_seed(0)
        there = make(device="cuda")
        with minicnn.device("cuda"):
            assert make().device == "cuda:0"
            assert make(device="cpu").device == "cpu"
        assert make().device == "cpu"
        assert (there.device, there.dtype) == ("cuda:0", expected.dtype)
        assert there.tolist() == expected.tolist()


def test_the_default_device():
    with tensors_on("cuda"):
        minicnn.set_default_device("cuda")
        try:
            assert minicnn.get_default_device() == "cuda"
            assert minicnn.zeros(1).device == minicnn.tensor(2).device == "cuda:0"
            assert minicnn.Tensor([1.0]).device == "cpu"  # wraps, and makes nothing
            with minicnn.device("cpu"):
                assert minicnn.zeros(1).device == "cpu"
        finally:
            minicnn.set_default_device("cpu")
    with pytest.raises(ValueError, match="expected"):
        minicnn.set_default_device("gpu")


def test_a_default_device_that_cannot_be_used_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="install minicnn"):
        minicnn.set_default_device("cuda")
    assert minicnn.get_default_device() == "cpu"


@pytest.mark.parametrize("error", [OSError("libcuda.so"), RuntimeError("odd"), KeyError("x")])
def test_whatever_importing_cupy_raises_the_cpu_works(monkeypatch, error):
    def refuse(name, *args, **options):
        if name == "cupy":
            raise error
        return real_import(name, *args, **options)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert not minicnn.cuda.is_available()
    assert (minicnn.ones(2) + 1).sum().item() == 4
    with pytest.raises(RuntimeError, match='device "cuda" cannot be used: CuPy cannot be imported'):
        minicnn.ones(2).to("cuda")


# --- moving, and staying apart --------------------------------------------------------------------


def test_there_and_back():
    x = minicnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with tensors_on("cuda"):
        there = x.to("cuda", non_blocking=True)
        assert there.device == x.cuda().device == "cuda:0"
        assert there.to("cuda:0") is there
        with pytest.raises(RuntimeError, match=r"lives on cuda:0; use tensor.cpu\(\)"):
            there.detach().numpy()
        (there * there).cpu().sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [[2, 4], [6, 8]]


@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_the_memory_order_survives_the_journey(order):
    array = in_memory(np.arange(120.0).reshape(2, 3, 4, 5), order)
    with tensors_on("cuda"):
        back = to_device(to_device(array, "cuda"), "cpu")
    np.testing.assert_array_equal(back, array)
    if order in ("contiguous", "transposed", "channels last"):
        assert back.strides == array.strides


MIXTURES = {
    "a + b": (
        lambda a, b: a + b,
        r"Add: .*a of shape \(2, 3\) on cuda:0, b of shape \(3,\) on cpu",
    ),
    "b * a": (
        lambda a, b: b * a,
        r"Mul: .*a of shape \(3,\) on cpu, b of shape \(2, 3\) on cuda:0",
    ),
    "a > b": (lambda a, b: a > b, r"greater: .*a of shape .* cuda:0, b of shape"),
    "b > a": (lambda a, b: b > a, r"greater: .*a of shape .* cpu, b of shape"),
    "a += b": (lambda a, b: a.add_(b), r"in-place add: .*x of shape .* cuda:0, other of shape"),
    "b[...] = a": (lambda a, b: b.__setitem__(0, a[0, 0]), r"x\[...\] = value: .*x .* cpu, value"),
    "b[a]": (lambda a, b: b[a[0].long()], r"x\[index\]: .*x of shape .* cpu, index of shape"),
    "a @ b": (lambda a, b: a @ b, r"MatMul: .*a of shape"),
    "a + array": (lambda a, b: a + b.numpy(), r"Add: .*b of shape \(3,\) on cpu"),
    "cat": (
        lambda a, b: minicnn.cat([a[0], b]),
        r"Concatenate: .*input 0 .* cuda:0, input 1 .* cpu",
    ),
    "backward": (
        lambda a, b: (a[0].requires_grad_() * 2).backward(b),
        r"backward: .*result of shape \(3,\) on cuda:0, gradient of shape \(3,\) on cpu",
    ),
    "loss": (
        lambda a, b: minicnn.nn.functional.cross_entropy(a, minicnn.tensor([0, 1])),
        r"cross_entropy: .*input of shape \(2, 3\) on cuda:0, target of shape \(2,\) on cpu",
    ),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_tensors_of_two_devices_are_refused_by_name(name):
    mix, words = MIXTURES[name]
    with tensors_on("cuda"):
        a, b = minicnn.ones(2, 3, device="cuda"), minicnn.ones(3)
        with pytest.raises(
            RuntimeError, match=words + r'.*; move the others there with \.to\("cuda:0"\)'
        ):
            mix(a, b)


def test_numbers_and_indices_of_the_host_go_along():
    with tensors_on("cuda"):
        x = minicnn.arange(6.0, device="cuda").reshape(2, 3)
        assert (x[np.array([1, 1])] * np.float32(2) + 1).sum().item() == 54
        assert x[minicnn.tensor([0])].tolist() == [[0, 1, 2]]
        x.copy_(np.ones((2, 3)))
        x.copy_([[1, 1, 1], [1, 1, 1]])
        x[0, [0, 2]] = 5
        x[1] = [2, 3, 4]
        assert x.tolist() == [[5, 1, 5], [2, 3, 4]]
        assert (x == [5, 3, 4]).tolist() == [[True, False, False], [False, True, True]]
        assert (x * np.array(2.0)).sum().item() == 40
        with pytest.raises(RuntimeError, match="x of shape"):
            x[0] = np.ones(3)
