"""Depthwise convolution in CUDA: against the specification, over windows, channels and orders of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import im2col, reference
from minicnn.kernels.gpu import depthwise
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.conv_cases import (
    FUNCTIONS,
    check_against,
    conv_cases,
    simple_case,
)
from tests.kernels.gpu.on_device import OnDevice


@pytest.fixture
def on_device(cupy):
    return OnDevice(depthwise, cupy)


def one_channel_a_group(case, C):
    """Turn a case into a depthwise one with C channels."""
    repeat = {"x": case.x, "grad": case.grad}
    for name, array in repeat.items():
        repeat[name] = (
            np.repeat(array[:, :1], C, 1) * np.arange(1, C + 1, dtype=array.dtype)[:, None, None]
        )
    case.x, case.grad = repeat["x"], repeat["grad"]
    case.w = np.resize(case.w, (C, 1, *case.w.shape[2:]))
    case.settings["groups"] = C
    return case


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=20)
@given(case=conv_cases(), C=st.integers(1, 9))
def test_equals_the_reference(on_device, function, case, C):
    check_against(reference, on_device, function, one_channel_a_group(case, C))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("channels", [4, 70])
@pytest.mark.parametrize(
    "settings_",
    [
        {"kernel": 3, "padding": 1},
        {"kernel": (2, 6), "stride": 2},
        {"kernel": (7, 4), "padding": 2, "stride": (1, 2)},  # several pieces of the window
        {"kernel": (1, 5), "dilation": 2},
    ],
)
def test_larger_images(on_device, function, channels, settings_):
    case = simple_case(C=channels, K=channels, size=11, groups=channels, **settings_)
    check_against(im2col, on_device, function, case)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_threads_does_not_matter(on_device, seed, monkeypatch):
    monkeypatch.setattr(HostModule, "seed", seed)
    case = simple_case(C=12, K=12, size=9, groups=12, padding=1)
    check_against(im2col, on_device, "conv2d_grad_weight", case)


def test_scale_bias_and_relu(on_device):
    case = simple_case(C=6, K=6, groups=6)
    rng = np.random.default_rng(3)
    bias, scale = rng.standard_normal((2, 6)).astype(np.float32)
    y = on_device.conv2d(case.x, case.w, groups=6, bias=bias, relu=True, scale=scale)
    z = reference.conv2d(case.x, case.w, groups=6) * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(y, np.maximum(z, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_go_where_they_belong(on_device, value):
    case = simple_case(C=6, K=6, groups=6)
    case.x[0, 1, 2, 2] = value
    expected = reference.conv2d(case.x, case.w, groups=6)
    y = on_device.conv2d(case.x, case.w, groups=6)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_batch_launches_nothing(on_device, function, monkeypatch):
    monkeypatch.setattr(depthwise, "function", None)
    case = simple_case(N=0, C=4, K=4, groups=4)
    check_against(reference, on_device, function, case)


def test_other_convolutions_are_refused(on_device):
    case = simple_case(C=4, K=8, groups=4)
    with pytest.raises(
        ValueError, match="as many groups as input and output channels, got groups=4"
    ):
        on_device.conv2d(case.x, case.w, groups=4)
