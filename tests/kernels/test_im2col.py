import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels import im2col, reference
from tests.kernels.conv_cases import (
    FUNCTIONS,
    check_against,
    check_non_finite,
    conv_cases,
    simple_case,
)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, max_examples=80)
@given(case=conv_cases())
def test_equals_the_reference(function, case):
    check_against(reference, im2col, function, case)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_propagate(function, value):
    check_non_finite(reference, im2col, function, value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_one_by_one_kernel_does_not_hand_out_its_input(function):
    case = simple_case(C=1, K=1, kernel=1)
    case.x = case.x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    check_against(reference, im2col, function, case)


def test_patches_of_channels_last_images_and_a_one_by_one_kernel_are_no_copy():
    x = simple_case().x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    window = im2col.window_of(1)
    assert np.shares_memory(im2col._patches(x, window, x.shape[2:], groups=1), x)


def test_gradients_add_where_windows_overlap():
    grad, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    expected = [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]
    np.testing.assert_array_equal(im2col.conv2d_grad_input(grad, w, (1, 1, 3, 3)), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_half_precision_stays_half(function):
    assert simple_case(np.float16).run(im2col, function).dtype == np.float16


def test_weight_gradient_is_contiguous():
    assert simple_case().run(im2col, "conv2d_grad_weight").flags.c_contiguous
