"""Which kernels serve arrays on a GPU."""

import numpy as np
import pytest

from minicnn import kernels
from minicnn.kernels import clip, dispatch, im2col, linear, pool
from minicnn.kernels.gpu.launch import FOLDER
from tests.kernels.conv_cases import FUNCTIONS, simple_case

CONVOLUTIONS = {"conv", "depthwise"}  # which convolution.py chooses


def test_every_cuda_source_is_in_use():
    assert {path.stem for path in FOLDER.glob("*.cu")} == dispatch.CUDA_KERNELS | CONVOLUTIONS


@pytest.mark.parametrize("name", sorted(dispatch.CUDA_KERNELS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_siblings_in_cuda(cupy, name, dtype):
    found = dispatch.sibling(name, cupy.zeros(3, dtype))
    assert found.__name__ == f"minicnn.kernels.gpu.{name}"


def test_siblings_of_the_array_library(cupy):
    assert dispatch.sibling("pool", cupy.zeros(3, np.float16)) is pool
    assert dispatch.sibling("linear", cupy.zeros(3, np.float32)) is linear


def test_products_of_their_own(cupy):
    x = cupy.zeros((2, 3), np.float32)
    with dispatch.own_products():
        assert dispatch.sibling("linear", x).__name__ == "minicnn.kernels.gpu.linear"
        assert dispatch.sibling("linear", cupy.zeros(3, np.float16)) is linear
        with dispatch.cuda_kernels(on=False):
            assert dispatch.sibling("linear", x) is linear
    assert dispatch.sibling("linear", x) is linear


def test_kernels_can_be_switched_off(cupy):
    x = cupy.zeros(3, np.float32)
    with dispatch.cuda_kernels(on=False):
        assert dispatch.sibling("clip", x) is clip
        with dispatch.cuda_kernels(on=True):
            assert dispatch.sibling("clip", x) is not clip
        assert dispatch.sibling("clip", x) is clip
    assert dispatch.sibling("clip", x) is not clip


@pytest.fixture
def forgetful():
    """What is known about a card is forgotten before and after the test."""
    dispatch._runs_kernels.cache_clear()
    yield
    dispatch._runs_kernels.cache_clear()


def test_a_cupy_without_kernels(on_host, monkeypatch, forgetful):
    monkeypatch.delattr(on_host, "RawModule")
    assert dispatch.sibling("clip", on_host.zeros(3, np.float32)) is clip


def test_a_card_that_is_too_old(on_host, monkeypatch, forgetful):
    monkeypatch.setitem(on_host.cuda.Device.attributes, "ComputeCapabilityMajor", 7)
    assert dispatch.sibling("clip", on_host.zeros(3, np.float32)) is clip


def run(cupy, case, function, **options):
    arguments = [
        cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in case.arguments(function)
    ]
    return getattr(kernels, function)(*arguments, **case.settings, **options).get()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("sizes", [{"C": 4, "K": 8}, {"C": 6, "K": 6, "groups": 6}])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_convolutions(cupy, function, sizes, algorithm):
    case = simple_case(**sizes)
    expected = case.run(im2col, function)
    y = run(cupy, case, function, algorithm=algorithm)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_auto_is_direct_where_there_are_kernels(cupy):
    shapes = (1, 4, 8, 8), (4, 4, 3, 3)
    for dtype, expected in (("float32", "direct"), ("float64", "direct"), ("float16", "im2col")):
        assert kernels.choose_algorithm("conv2d", cupy.zeros(1, dtype), *shapes) == expected
    with dispatch.cuda_kernels(on=False):
        assert kernels.choose_algorithm("conv2d", cupy.zeros(1, np.float32), *shapes) == "im2col"


def test_scale_bias_and_relu_are_fused(cupy):
    case = simple_case(C=4, K=4)
    extra = {"bias": cupy.ones(4, np.float32), "scale": cupy.ones(4, np.float32) * 2, "relu": True}
    y = run(cupy, case, "conv2d", **extra)
    expected = np.maximum(2 * case.run(im2col, "conv2d") + 1, 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "rounds"), [("fast", False), ("exact", False), ("tf32", True)]
)
def test_only_tf32_rounds_factors(cupy, precision, rounds):
    case = simple_case(C=16, K=8)
    expected = case.run(im2col, "conv2d")
    error = np.abs(run(cupy, case, "conv2d", precision=precision) - expected).max()
    assert (error > 1e-4) == rounds


def test_algorithms_that_a_gpu_has_not(cupy):
    case = simple_case()
    for algorithm in ("naive", "winograd"):
        with pytest.raises(
            ValueError, match=r"computes on the CPU, but .* \"direct\" or \"im2col\""
        ):
            run(cupy, case, "conv2d", algorithm=algorithm)
    with (
        dispatch.cuda_kernels(on=False),
        pytest.raises(
            RuntimeError, match=r'"direct" needs the kernels in gpu/, which are switched'
        ),
    ):
        run(cupy, case, "conv2d", algorithm="direct")
    with pytest.raises(TypeError, match='"direct" computes in float32 or float64, got float16'):
        run(cupy, simple_case(np.float16), "conv2d", algorithm="direct")
