"""What all algorithms of convolution share: the checks of arguments, and the choice among them."""

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn import kernels
from minicnn.kernels import convolution, reference
from tests.kernels.conv_cases import (
    FUNCTIONS,
    WINOGRAD_EPSILONS,
    assert_same,
    assert_sums_of_products,
    conv_cases,
    in_double,
    largest_error,
    simple_case,
    winograd_cases,
)


@pytest.fixture(params=["naive", "im2col", "direct", "auto"])
def algorithm(request):
    if request.param == "direct":
        pytest.importorskip("numba")
    return request.param


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=30)
@given(case=conv_cases())
def test_all_algorithms_agree(algorithm, function, case):
    """Each within the bound that holds for every order of adding, so that no two differ by more than twice that."""
    actual = with_algorithm(algorithm, function, case)
    expected = in_double(case).run(reference, function)
    assert_sums_of_products(actual, expected, case, function)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=30)
@given(case=winograd_cases())
def test_all_algorithms_agree_where_winograd_may_be_used(function, case):
    pytest.importorskip("numba")
    expected = in_double(case).run(reference, function)
    for algorithm in ("naive", "im2col", "direct", "auto"):
        actual = with_algorithm(algorithm, function, case)
        assert_sums_of_products(actual, expected, case, function)
    actual = with_algorithm("winograd", function, case)
    assert actual.dtype == case.x.dtype
    assert largest_error(actual, case, function) < WINOGRAD_EPSILONS[4]


def with_algorithm(algorithm, function, case):
    return getattr(kernels, function)(
        *case.arguments(function), **case.settings, algorithm=algorithm
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_padding_may_be_a_word(algorithm, function):
    case = simple_case(padding="same", algorithm=algorithm)
    expected = getattr(reference, function)(*case.arguments(function), padding="same")
    assert_same(case.run(kernels, function), expected, 100)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_all_algorithms_add_a_bias_and_apply_relu(algorithm, groups, relu):
    case = simple_case(K=6, groups=groups, algorithm=algorithm)
    case.x[0, 0, 0, 0] = np.nan
    bias = np.linspace(-2, 2, 6, dtype=np.float32)
    expected = reference.conv2d(case.x, case.w, groups=groups) + bias[:, None, None]
    if relu:
        expected = np.where(expected < 0, 0, expected)
    y = kernels.conv2d(case.x, case.w, groups=groups, algorithm=algorithm, bias=bias, relu=relu)
    assert_same(y, expected.astype(np.float32), 27)


@pytest.mark.parametrize("groups", [1, 3])
def test_all_algorithms_scale_before_they_add_a_bias(algorithm, groups):
    case = simple_case(K=6, groups=groups, algorithm=algorithm)
    scale, bias = np.linspace(-1, 2, 6, dtype=np.float32), np.linspace(3, -2, 6, dtype=np.float32)
    expected = reference.conv2d(case.x, case.w, groups=groups) * scale[:, None, None]
    y = kernels.conv2d(case.x, case.w, **case.settings, bias=bias, scale=scale)
    assert_same(y, expected + bias[:, None, None], 27)


def test_scale_in_half_precision():
    case = simple_case(np.float16)
    scale = np.array([2, 0.5, -4, 0], np.float16)  # products with these are exact
    y = kernels.conv2d(case.x, case.w, scale=scale)
    np.testing.assert_array_equal(y, kernels.conv2d(case.x, case.w) * scale[:, None, None])
    assert y.dtype == np.float16


@pytest.mark.parametrize("function", FUNCTIONS)
def test_settings_may_be_lists(algorithm, function):
    lists = {"stride": [2, 1], "padding": [[1, 0], [0, 2]], "dilation": [1, 2]}
    case = simple_case(**lists, algorithm=algorithm)
    tuples = {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2)}
    expected = getattr(reference, function)(*case.arguments(function), **tuples)
    assert_same(case.run(kernels, function), expected, 100)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_may_be_lists(algorithm, function):
    case = simple_case(algorithm=algorithm)
    arguments = [list(a) if isinstance(a, tuple) else a for a in case.arguments(function)]
    y = getattr(kernels, function)(*arguments, algorithm=algorithm)
    assert_same(y, getattr(reference, function)(*case.arguments(function)), 100)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_algorithm_is_refused(function):
    case = simple_case(algorithm="fft")
    names = '"auto", "im2col", "direct", "winograd", "cudnn" or "naive"'
    with pytest.raises(ValueError, match=f"algorithm: expected {names}, got 'fft'"):
        case.run(kernels, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_precision_is_refused(function):
    case = simple_case(precision="double")
    with pytest.raises(
        ValueError, match='precision: expected "fast", "exact" or "tf32", got \'double\''
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


@pytest.mark.parametrize("shape", [(3,), (1,), (4, 1), ()])
def test_a_bias_of_another_shape_is_refused(algorithm, shape):
    case = simple_case()
    with pytest.raises(ValueError, match=r"conv2d: bias: expected shape \(4,\), got \("):
        kernels.conv2d(case.x, case.w, algorithm=algorithm, bias=np.ones(shape, np.float32))


def test_a_bias_of_another_dtype_is_refused(algorithm):
    case = simple_case()
    with pytest.raises(TypeError, match=r"bias: expected float32, .* got float64; convert"):
        kernels.conv2d(case.x, case.w, algorithm=algorithm, bias=np.ones(4))


def test_a_scale_of_another_shape_is_refused(algorithm):
    case = simple_case()
    with pytest.raises(ValueError, match=r"conv2d: scale: expected shape \(4,\), got \(3,\)"):
        kernels.conv2d(case.x, case.w, algorithm=algorithm, scale=np.ones(3, np.float32))


def test_a_scale_of_another_dtype_is_refused(algorithm):
    case = simple_case()
    with pytest.raises(
        TypeError, match=r"scale: expected float32, .* e.g. scale.astype\(w.dtype\)"
    ):
        kernels.conv2d(case.x, case.w, algorithm=algorithm, scale=np.ones(4))


@pytest.mark.parametrize("compiled", ["direct", "winograd"])
def test_compiled_loops_refuse_half_precision(compiled):
    case = simple_case(np.float16, algorithm=compiled)
    match = f'"{compiled}" computes in float32 or float64, got float16'
    with pytest.raises(TypeError, match=match):
        case.run(kernels, "conv2d")


@pytest.mark.parametrize("compiled", ["direct", "winograd"])
def test_compiled_loops_need_numba(monkeypatch, compiled):
    monkeypatch.setattr(convolution, "can_compile", lambda: False)
    with pytest.raises(RuntimeError, match=f'"{compiled}" needs Numba, .* use "auto" or "im2col"'):
        simple_case(algorithm=compiled).run(kernels, "conv2d")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_auto_computes_in_half_precision(function):
    case = simple_case(np.float16)
    assert case.run(kernels, function).dtype == np.float16


@pytest.mark.parametrize("function", FUNCTIONS[1:])
def test_a_gradient_of_another_shape_is_refused(algorithm, function):
    case = simple_case(algorithm=algorithm)
    case.grad = case.grad[:, :, 1:]
    with pytest.raises(
        ValueError, match=r"grad: expected shape \(2, 4, 4, 4\), got \(2, 4, 3, 4\)"
    ):
        case.run(kernels, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_are_checked(algorithm, function):
    case = simple_case(algorithm=algorithm)
    case.x = case.x[:, :2]
    with pytest.raises(ValueError, match="expected 3 channels"):
        case.run(kernels, function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_batch(algorithm, function):
    case = simple_case(N=0, algorithm=algorithm)
    y = case.run(kernels, function)
    expected = getattr(reference, function)(*case.arguments(function))
    assert_same(y, expected, 1)


@pytest.mark.parametrize("name", ["naive", "winograd"])
def test_algorithms_of_the_cpu_refuse_gpu_arrays(monkeypatch, name):
    monkeypatch.setattr(convolution, "xp_of", lambda array: "cupy")
    with pytest.raises(ValueError, match=f'"{name}" computes on the CPU, but the arrays are on'):
        simple_case(algorithm=name).run(kernels, "conv2d")


def choose(dtype="float32", precision="fast", kernel=3, stride=1, function="conv2d"):
    """What "auto" stands for with 64 channels on images of 32 x 32."""
    shapes = (32, 64, 32, 32), (64, 64, kernel, kernel)
    array = np.zeros(1, dtype)
    return kernels.choose_algorithm(function, array, *shapes, stride, 1, precision=precision)


def test_auto_takes_im2col_in_half_precision():
    assert choose("float16") == choose("float16", "exact") == "im2col"


def test_auto_takes_im2col_without_numba(monkeypatch):
    monkeypatch.setattr(convolution, "place_of", lambda array: "")
    assert choose() == choose(precision="exact") == "im2col"


def test_auto_takes_im2col_for_what_is_no_numpy_array():
    class FromElsewhere(np.ndarray):
        pass

    array = np.zeros(1, np.float32).view(FromElsewhere)
    shapes = (32, 64, 32, 32), (64, 64, 3, 3)
    assert kernels.choose_algorithm("conv2d", array, *shapes) == "im2col"


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_auto_takes_direct_where_rounding_matters(dtype, function):
    pytest.importorskip("numba")
    assert choose(dtype, "exact", function=function) == "direct"


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("window", [{"kernel": 1}, {"kernel": 5}, {"stride": 2}])
def test_auto_takes_direct_where_winograd_cannot(window, function):
    pytest.importorskip("numba")
    assert choose(function=function, **window) == "direct"


def assert_same_non_finite(actual, expected):
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(actual), kind(expected))
    assert not np.isfinite(expected).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_infinite_weights_in_the_input_gradient(algorithm, groups, value):
    """Away from the border all is as the definition says; the loops for depthwise convolutions keep it there too."""
    case = simple_case(C=6, K=6, size=(8, 9), padding=1, groups=groups)
    case.w[1, 0, 0, 1] = value
    with np.errstate(invalid="ignore"):
        actual = kernels.conv2d_grad_input(
            case.grad, case.w, case.x.shape, **case.settings, algorithm=algorithm
        )
        expected = case.run(reference, "conv2d_grad_input")
    inside = slice(1, -1)
    assert_same_non_finite(actual[:, :, inside, inside], expected[:, :, inside, inside])
    if algorithm == "naive" or (algorithm == "direct" and groups == 6):
        assert_same_non_finite(actual, expected)
    assert np.isfinite(actual).any()
