"""Convolution by cuDNN: its results on a GPU, and without one what it is asked for, on a stand-in."""

import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn import kernels
from minicnn.kernels import reference
from minicnn.kernels.gpu import cudnn
from tests.gpu.cudnn_stand_in import make_cudnn
from tests.gpu.library import gpu_library, is_real
from tests.gpu.strict_cupy import make_cupy
from tests.kernels.conv_cases import FUNCTIONS, check_against, conv_cases, simple_case
from tests.kernels.gpu.on_device import OnDevice


@pytest.fixture
def cupy():
    with gpu_library(make_cupy()) as library:
        yield library


def forget():
    """Forget plans, handles and the library."""
    cudnn.library.cache_clear()
    cudnn._plan.cache_clear()
    cudnn._handles = cudnn._Handles()


@pytest.fixture
def library(monkeypatch):
    """cuDNN where there is a GPU and it is installed, and otherwise the stand-in."""
    forget()
    if not is_real():
        monkeypatch.setitem(sys.modules, "cudnn", make_cudnn())
    elif importlib.util.find_spec("cudnn") is None:
        pytest.skip("needs nvidia-cudnn-frontend")
    yield cudnn.library()
    forget()


@pytest.fixture
def stand_in(library):
    if is_real():
        pytest.skip("asks what only the stand-in for cuDNN knows")
    return library


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=25)
@given(case=conv_cases())
def test_equals_the_reference(cupy, library, function, case):
    check_against(reference, OnDevice(cudnn, cupy), function, case)


def run(cupy, case, function="conv2d", **options):
    arguments = [
        cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in case.arguments(function)
    ]
    return getattr(kernels, function)(
        *arguments, **case.settings, algorithm="cudnn", **options
    ).get()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_chosen_by_name(cupy, library, function, dtype):
    case = simple_case(dtype, groups=2, C=4, padding=1)
    result = run(cupy, case, function)
    assert result.dtype == dtype
    tolerance = 3e-2 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(result, case.run(reference, function), tolerance, tolerance)


def test_scale_bias_and_relu_follow(cupy, library):
    case = simple_case(C=4, K=4)
    extra = {"bias": cupy.ones(4, np.float32), "scale": cupy.ones(4, np.float32) * 2, "relu": True}
    expected = np.maximum(2 * case.run(reference, "conv2d") + 1, 0)
    np.testing.assert_allclose(run(cupy, case, **extra), expected, rtol=1e-4, atol=1e-5)


def test_a_plan_is_built_once_for_each_problem(cupy, stand_in):
    for _ in range(3):
        run(cupy, simple_case(padding=1))
    assert stand_in.built == 1
    run(cupy, simple_case(padding=1), precision="tf32")
    run(cupy, simple_case(padding=2))
    run(cupy, simple_case(np.float64, padding=1))
    assert stand_in.built == 4
    assert len(stand_in.handles) == 1


def test_runs_on_the_current_stream(cupy, stand_in):
    case = simple_case()
    x, w = cupy.asarray(case.x), cupy.asarray(case.w)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        kernels.conv2d(x, w, algorithm="cudnn")
        assert stand_in.handles[0].stream == stream.ptr != 0
    kernels.conv2d(x, w, algorithm="cudnn")
    assert stand_in.handles[0].stream == 0


def test_waits_for_nothing(cupy, stand_in):
    case = simple_case()
    x, w = cupy.asarray(case.x), cupy.asarray(case.w)
    cupy.traffic.clear()
    kernels.conv2d(x, w, algorithm="cudnn")
    assert (cupy.traffic.syncs, cupy.traffic.uploads) == ([], [])


@pytest.mark.parametrize(
    ("dtype", "precision", "refused", "taken"),
    [
        ("float32", "exact", {"TENSOR_CORE", "WINOGRAD", "FFT"}, set()),
        ("float32", "fast", {"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}, {"WINOGRAD", "FFT"}),
        ("float32", "tf32", {"NONDETERMINISTIC"}, {"TENSOR_CORE", "WINOGRAD"}),
        ("float16", "exact", {"REDUCED_PRECISION_REDUCTION", "WINOGRAD"}, {"TENSOR_CORE"}),
        ("float64", "fast", {"NONDETERMINISTIC"}, {"TENSOR_CORE"}),
    ],
)
def test_what_rounds_or_varies_is_refused(cupy, stand_in, dtype, precision, refused, taken):
    run(cupy, simple_case(dtype), precision=precision)
    notes = set(stand_in.graphs[0].refused)
    assert refused <= notes
    assert not taken & notes


def test_no_plan(cupy, stand_in):
    stand_in.refuses = True
    with pytest.raises(
        RuntimeError,
        match=r'conv2d: cuDNN has no plan for arrays \(2, 3, 6, 6\) and .* float32 .*"direct"',
    ):
        run(cupy, simple_case())


def test_not_installed(cupy, library, monkeypatch):
    forget()
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(
        RuntimeError, match=r'"cudnn" needs the package nvidia-cudnn-frontend .*minicnn\[cudnn\]'
    ):
        run(cupy, simple_case())


def test_installed_without_the_library_itself(cupy, stand_in, monkeypatch):
    def fail():
        raise RuntimeError("Unable to find symbol cudnnCreate")

    monkeypatch.setattr(stand_in, "create_handle", fail)
    with pytest.raises(RuntimeError, match="no cuDNN library that works here; install nvidia-"):
        run(cupy, simple_case())


def test_arrays_on_the_cpu():
    case = simple_case()
    with pytest.raises(
        ValueError, match='"cudnn" computes on a GPU, but the arrays are on the CPU'
    ):
        kernels.conv2d(case.x, case.w, algorithm="cudnn")
