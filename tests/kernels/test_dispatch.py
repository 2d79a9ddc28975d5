import subprocess
import sys

import numpy as np
import pytest

from minicnn import kernels
from minicnn.kernels import reference
from tests.kernels.conv_cases import FUNCTIONS, assert_same, simple_case


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("algorithm", ["naive", "im2col", "direct", "auto"])
def test_all_algorithms_agree(algorithm, function):
    case = simple_case()
    case.settings = {"padding": "same", "algorithm": algorithm}
    case.grad = np.resize(case.grad, (2, 4, 6, 6))
    expected = getattr(reference, function)(*case.arguments(function), padding="same")
    assert_same(case.run(kernels, function), expected, 100)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_algorithm_is_refused(function):
    case = simple_case(algorithm="fft")
    with pytest.raises(
        ValueError, match='expected "auto", "im2col", "direct" or "naive", got \'fft\''
    ):
        case.run(kernels, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_two_dtypes_are_refused(function):
    case = simple_case()
    case.w, case.x = case.w.astype(np.float64), case.x.astype(np.float64)
    if function == "conv2d":
        case.x = case.x.astype(np.float32)
    with pytest.raises(TypeError, match=r"of the same dtype, got .*float32 and .*float64; convert"):
        case.run(kernels, function)


def test_integers_are_refused():
    case = simple_case(int)
    with pytest.raises(TypeError, match=r"conv2d: x: .* got int64; convert with x.astype"):
        case.run(kernels, "conv2d")


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match="conv2d: x: expected a NumPy or CuPy array, got list"):
        kernels.conv2d([[[[1.0]]]], np.ones((1, 1, 1, 1)))


def test_direct_refuses_half_precision_which_auto_computes():
    case = simple_case(np.float16, algorithm="direct")
    with pytest.raises(TypeError, match='"direct" computes in float32 or float64, got float16'):
        case.run(kernels, "conv2d")
    case.settings["algorithm"] = "auto"
    assert case.run(kernels, "conv2d").dtype == np.float16


@pytest.mark.parametrize("function", FUNCTIONS[1:])
def test_a_gradient_of_another_shape_is_refused(function):
    case = simple_case()
    case.grad = case.grad[:, :, 1:]
    with pytest.raises(
        ValueError, match=r"grad: expected shape \(2, 4, 4, 4\), got \(2, 4, 3, 4\)"
    ):
        case.run(kernels, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_are_checked(function):
    case = simple_case()
    case.x, case.w = case.x[:, :2], case.w
    with pytest.raises(ValueError, match="expected 3 channels"):
        case.run(kernels, function)


@pytest.mark.parametrize("algorithm", ["naive", "direct"])
def test_algorithms_of_the_cpu_refuse_gpu_arrays(monkeypatch, algorithm):
    monkeypatch.setattr(kernels, "xp_of", lambda array: "cupy")
    with pytest.raises(
        ValueError, match=f'"{algorithm}" computes on the CPU, but the arrays are on'
    ):
        simple_case(algorithm=algorithm).run(kernels, "conv2d")


def test_auto_takes_im2col_for_gpu_arrays(monkeypatch):
    monkeypatch.setattr(kernels, "xp_of", lambda array: "cupy")
    array = np.zeros(1, np.float32)
    assert kernels.choose_algorithm(array, (10**6, 16, 9, 9), (16, 8, 3, 3)) == "im2col"


@pytest.mark.parametrize(
    ("batch", "dtype", "expected"),
    [(64, "float32", "im2col"), (4096, "float32", "direct"), (4096, "float16", "im2col")],
)
def test_auto_takes_direct_where_patches_would_fill_the_memory(batch, dtype, expected):
    y_shape, w_shape = (batch, 32, 28, 28), (32, 32, 3, 3)
    assert kernels.choose_algorithm(np.zeros(1, dtype), y_shape, w_shape) == expected


def test_importing_the_kernels_imports_neither_numba_nor_cupy():
    script = "import sys; import minicnn.kernels; assert not {'numba', 'cupy'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", script], check=True)
