import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels import reference
from minicnn.kernels.shapes import window_of
from tests.kernels.conv_cases import (
    FUNCTIONS,
    WINOGRAD_EPSILONS,
    ConvCase,
    in_double,
    largest_error,
    simple_case,
    winograd_cases,
)

pytest.importorskip("numba")
from minicnn.kernels.cpu import winograd

TILES = (2, 4)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=60)
@given(case=winograd_cases())
def test_equals_the_reference(function, tile, case):
    arrays = case.x, case.w, case.grad
    before = [array.tobytes() for array in arrays]
    actual = getattr(winograd, function)(*case.arguments(function), tile=tile, **case.settings)
    assert actual.dtype == case.x.dtype
    assert largest_error(actual, case, function) < WINOGRAD_EPSILONS[tile]
    assert [array.tobytes() for array in arrays] == before
    assert not any(np.shares_memory(actual, array) for array in arrays)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("N", "C", "K", "size"), [(40, 32, 32, 9), (1, 24, 136, 12), (3, 130, 200, 5), (2, 8, 8, 40)]
)
def test_many_squares_and_many_panels(N, C, K, size, function, tile):
    """Those that share transformed weights, those that share inputs, and more than one block."""
    case = simple_case(N=N, C=C, K=K, size=size, padding=1)
    actual = getattr(winograd, function)(*case.arguments(function), tile=tile, padding=1)
    assert largest_error(actual, case, function) < WINOGRAD_EPSILONS[tile]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_blocks_that_share_little_memory(function, monkeypatch):
    monkeypatch.setattr(winograd, "SHARED_BYTES", 36 * 10 * 16 * 4)  # of at most 10 squares
    case = simple_case(N=3, C=16, K=40, size=9, padding=1)
    actual = case.run(winograd, function)
    assert largest_error(actual, case, function) < WINOGRAD_EPSILONS[4]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_images_are_channels_last_and_weights_rsck(function):
    case = simple_case(C=8, K=16, padding=1)
    order = (2, 3, 1, 0) if function == "conv2d_grad_weight" else (0, 2, 3, 1)
    assert case.run(winograd, function).transpose(order).flags.c_contiguous


@pytest.mark.parametrize("tile", TILES)
def test_bias_and_relu_are_added_at_the_end(tile):
    case = simple_case(C=5, K=21, size=7)
    bias = np.random.default_rng(1).standard_normal(21).astype(np.float32)
    y = winograd.conv2d(case.x, case.w, bias=bias, relu=True, tile=tile)
    expected = np.maximum(reference.conv2d(case.x, case.w) + bias[:, None, None], 0)
    np.testing.assert_allclose(y, expected, atol=2e-4)
    assert y.min() == 0


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_reaches_all_that_it_should(function, relu):
    case = simple_case(size=9, padding=1)
    (case.grad if function == "conv2d_grad_input" else case.x)[0, 1, 4, 4] = np.nan
    more = {"relu": relu} if function == "conv2d" else {}
    actual = getattr(winograd, function)(*case.arguments(function), padding=1, **more)
    assert np.isnan(actual)[np.isnan(case.run(reference, function))].all()
    if function != "conv2d_grad_weight":
        assert np.isfinite(actual[1]).all()  # the other image


@pytest.mark.parametrize("function", FUNCTIONS)
def test_infinity_does_not_become_finite(function):
    case = simple_case(size=9, padding=1)
    (case.grad if function == "conv2d_grad_input" else case.x)[0, 1, 4, 4] = np.inf
    actual = case.run(winograd, function)
    assert not np.isfinite(actual)[~np.isfinite(case.run(reference, function))].any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_more_threads_than_work(function):
    case = simple_case(N=1, C=1, K=1, size=3)
    actual = case.run(winograd, function)
    assert largest_error(actual, case, function) < WINOGRAD_EPSILONS[4]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_result_does_not_depend_on_the_number_of_threads(function):
    import numba

    case = simple_case(N=4, C=16, K=40, size=12, padding=1)
    with_all = case.run(winograd, function)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with_one = case.run(winograd, function)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(with_one, with_all)


@pytest.mark.parametrize("mean", [0, 10])
@pytest.mark.parametrize(("tile", "bound"), [(2, 2e-6), (4, 3e-5)])
def test_how_much_it_rounds(tile, bound, mean):
    """What docs/08-winograd.md states: the largest error relative to the largest result, in float32."""
    case = simple_case(N=2, C=64, K=64, size=24, padding=1)
    case.x += mean
    exact = in_double(case)
    for function in FUNCTIONS:
        expected = exact.run(winograd, function)  # in float64: far more exact than what is measured
        actual = getattr(winograd, function)(*case.arguments(function), padding=1, tile=tile)
        assert abs(actual - expected).max() < bound * abs(expected).max()


@pytest.mark.parametrize(
    ("kernel", "setting"), [(3, {"stride": 2}), (3, {"dilation": 2}), (3, {"groups": 2}), (5, {})]
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_settings_are_refused(function, kernel, setting):
    x, grad = np.zeros((1, 4, 9, 9), np.float32), np.zeros((1, 4, 7, 7), np.float32)
    w = np.zeros((4, 4 // setting.get("groups", 1), kernel, kernel), np.float32)
    case = ConvCase(x, w, grad, setting)
    with pytest.raises(ValueError, match=r"winograd.* 3 x 3 taps with stride 1"):
        case.run(winograd, function)


def test_other_tiles_are_refused():
    case = simple_case()
    with pytest.raises(ValueError, match="tile: expected 2, 4 or None, got 3"):
        winograd.conv2d(case.x, case.w, tile=3)


@pytest.mark.parametrize(
    ("x_shape", "K", "padding", "expected"),
    [
        ((16, 64, 24, 24), 64, 1, True),  # ResNet-18 at 96
        ((16, 512, 3, 3), 512, 1, False),  # its last block: few squares, many weights
        ((4, 512, 14, 14), 512, 1, True),  # VGG-11 at 224
        ((4, 3, 224, 224), 64, 1, False),  # its first layer: few channels
        ((64, 16, 14, 14), 32, 1, False),
        ((1, 64, 24, 24), 64, 1, True),  # ResNet-18 at 96, one image
        ((8, 32, 14, 14), 32, 1, True),  # enough to do, hardly
        ((7, 32, 14, 14), 32, 1, False),  # little to do
        ((1, 256, 14, 14), 256, 1, False),  # few squares, many weights
        ((0, 64, 24, 24), 64, 1, False),
        ((64, 64, 3, 3), 64, 0, False),  # one pixel of a square is used
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_suits_what_it_is_quicker_for(function, x_shape, K, padding, expected):
    w_shape = (K, x_shape[1], 3, 3)
    assert winograd.suits(function, x_shape, w_shape, window_of(3, 1, padding)) is expected


@pytest.mark.parametrize(
    "window", [window_of(3, 2, 1), window_of(3, 1, 2, 2), window_of(1), window_of(5, 1, 2)]
)
def test_suits_no_other_windows(window):
    assert not winograd.suits("conv2d", (16, 64, 24, 24), (64, 64, *window.kernel), window)


def test_suits_no_groups():
    assert not winograd.suits(
        "conv2d", (16, 64, 24, 24), (64, 32, 3, 3), window_of(3, 1, 1), groups=2
    )
