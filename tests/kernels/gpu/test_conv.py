"""Convolution in CUDA: against the specification, over windows, groups, layouts, tiles and orders of threads."""

import re

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels import im2col, reference
from minicnn.kernels.gpu import conv, launch
from minicnn.kernels.gpu.parts import Split
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.conv_cases import (
    FUNCTIONS,
    check_against,
    check_non_finite,
    conv_cases,
    simple_case,
)
from tests.kernels.gpu.on_device import OnDevice


@pytest.fixture
def on_device(cupy):
    return OnDevice(conv, cupy)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=25)
@given(case=conv_cases())
def test_equals_the_reference(on_device, function, case):
    check_against(reference, on_device, function, case)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [
        {"C": 8, "K": 12},  # 16 bytes at a time
        {"C": 3, "K": 8},  # one number of x at a time
        {"C": 8, "K": 5},  # one number of w at a time
        {"C": 40, "K": 8, "groups": 2},
        {"C": 4, "K": 140, "kernel": 1, "size": 4},  # several tiles of channels
        {"C": 4, "K": 8, "N": 5, "size": 9},  # several tiles of pixels
    ],
)
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "padding": ((2, 0), (1, 3))}])
def test_tiles_and_chunks(on_device, function, dtype, shape, options):
    case = simple_case(dtype, **{"size": 7, **shape}, **options)
    check_against(im2col, on_device, function, case)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_tf32_rounds_both_factors(cupy, function):
    case = simple_case(C=12, K=72, size=6, padding=1)
    expected = case.run(reference, function)
    exact = case.run(OnDevice(conv, cupy), function)
    case.settings["precision"] = "tf32"
    rounded = case.run(OnDevice(conv, cupy), function)

    def error(y):
        return np.linalg.norm(y - expected) / np.linalg.norm(expected)

    assert error(exact) < 1e-6
    assert 1e-5 < error(rounded) < 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_order_of_threads_does_not_matter(on_device, function, seed, monkeypatch):
    monkeypatch.setattr(HostModule, "seed", seed)
    check_against(im2col, on_device, function, simple_case(C=24, K=8, size=8, padding=1))


@pytest.mark.parametrize("marks", ["read", "overwritten"])
def test_a_missing_barrier_between_copies_and_products_is_seen(
    on_device, on_host, marks, monkeypatch
):
    """The barrier keeps tiles from being read too early, and from being overwritten too early."""
    true_source = launch.source

    def without_barrier(file):
        text, count = re.subn(r"__syncthreads\(\);(\s*// and so are)", r"\1", true_source(file))
        assert count == 1
        return text

    monkeypatch.setattr(launch, "source", without_barrier)
    launch._module.cache_clear()
    launch._function.cache_clear()
    try:
        case = simple_case(C=80 if marks == "overwritten" else 8, K=8, size=8, padding=1)
        y, expected = case.run(on_device, "conv2d"), case.run(im2col, "conv2d")
        assert not np.allclose(y, expected, rtol=1e-3, atol=1e-3)
    finally:
        launch._module.cache_clear()
        launch._function.cache_clear()


@pytest.fixture
def in_parts(monkeypatch):
    """A function that lets all sums be split into so many parts, or as many as they have steps."""

    def split_into(wanted):
        def split_of(terms, depth, *rest):
            steps = -(-terms // depth)
            steps_of_a_part = -(-steps // wanted)
            return Split(-(-steps // steps_of_a_part), steps_of_a_part * depth)

        monkeypatch.setattr(conv, "split_of", split_of)

    return split_into


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [5])
@pytest.mark.parametrize(
    "options",
    [
        {"N": 3, "C": 24, "K": 40},
        {"C": 21, "K": 37},  # numbers one by one
        {"C": 80, "K": 72, "groups": 2, "padding": 1},
        {"C": 40, "K": 40, "stride": 2, "padding": 1},  # phases of the gradient of x
        {"C": 40, "K": 140, "kernel": 1, "stride": (1, 3)},  # some of which see nothing
        {"C": 24, "K": 40, "dilation": (2, 1)},
    ],
)
def test_sums_in_parts(on_device, in_parts, function, dtype, parts, options):
    in_parts(parts)
    case = simple_case(dtype, **{"size": (7, 6), **options})
    check_against(im2col, on_device, function, case)


@pytest.mark.parametrize("K", [40, 37])
def test_scale_bias_and_relu_wait_for_the_last_part(on_device, in_parts, K):
    in_parts(3)
    case = simple_case(C=24, K=K)
    bias, scale = np.random.default_rng(3).standard_normal((2, K)).astype(np.float32)
    y = on_device.conv2d(case.x, case.w, bias=bias, relu=True, scale=scale)
    z = reference.conv2d(case.x, case.w) * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(y, np.maximum(z, 0), rtol=1e-4, atol=1e-4)
    case.x[...] = np.nan
    assert np.isnan(on_device.conv2d(case.x, case.w, relu=True)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sums_in_parts_are_the_same_bits_in_any_order(on_device, in_parts, function, monkeypatch):
    in_parts(4)
    case, found = simple_case(C=24, K=40, padding=1), set()
    for seed in range(3):
        monkeypatch.setattr(HostModule, "seed", seed)
        found.add(case.run(on_device, function).tobytes())
    assert len(found) == 1


def test_the_rule_for_parts_is_told_what_there_is_to_do(cupy, monkeypatch):
    asked = []

    def split_of(*arguments):
        asked.append(arguments)
        return Split(1, arguments[0])

    monkeypatch.setattr(conv, "split_of", split_of)
    case = simple_case(C=40, K=72, groups=2, padding=1, stride=2)
    case.run(OnDevice(conv, cupy), "conv2d")
    case.settings["precision"] = "tf32"
    case.run(OnDevice(conv, cupy), "conv2d_grad_input")
    case.run(OnDevice(conv, cupy), "conv2d_grad_weight")
    forward, *phases, weights = asked
    result = 2 * 3 * 3 * 72 * 4  # bytes
    assert forward == (9 * 20, 32, 2, 128 * 64, result, "float32")
    phase = 2 * 3 * 3 * 40 * 4
    assert phases == [(taps * 36, 32, 2, 128 * 64, phase, "tf32") for taps in (1, 2, 2, 4)]
    assert weights == (2 * 3 * 3, 32, 2 * 2, 128 * 64, 9 * 20 * 72 * 4, "tf32")


@pytest.mark.parametrize(("shared_bytes", "stages"), [(227, 3), (99, 2)])
def test_cards_with_less_shared_memory(on_device, cupy, monkeypatch, shared_bytes, stages):
    monkeypatch.setattr(conv, "_shared_bytes", lambda xp, device: shared_bytes * 2**10)
    assert conv._tile(cupy.zeros(1, np.float32), 128).stages == stages
    case = simple_case(C=24, K=72, size=5, padding=1)
    for function in FUNCTIONS:
        check_against(im2col, on_device, function, case)


def test_scale_bias_and_relu(on_device):
    case = simple_case(C=6, K=7)
    bias, scale = np.random.default_rng(3).standard_normal((2, 7)).astype(np.float32)
    y = on_device.conv2d(case.x, case.w, bias=bias, relu=True, scale=scale)
    z = reference.conv2d(case.x, case.w) * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(y, np.maximum(z, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_where_they_belong(on_device, function, value):
    check_non_finite(reference, on_device, function, value)


def test_relu_keeps_nan(on_device):
    case = simple_case()
    case.x[...] = np.nan
    assert np.isnan(on_device.conv2d(case.x, case.w, relu=True)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_batch_launches_nothing(on_device, function, monkeypatch):
    monkeypatch.setattr(conv, "function", None)
    check_against(reference, on_device, function, simple_case(N=0, C=4, K=4))


def test_arrays_that_begin_anywhere(cupy):
    case = simple_case(C=4, K=4)
    images = np.ascontiguousarray(case.x.transpose(0, 2, 3, 1))
    memory = cupy.asarray(np.concatenate([np.zeros(1, "f4"), images.ravel()]))
    x = memory[1:].reshape(images.shape).transpose(0, 3, 1, 2)
    y = conv.conv2d(x, cupy.asarray(case.w))
    np.testing.assert_allclose(y.get(), case.run(im2col, "conv2d"), rtol=1e-5, atol=1e-5)


def test_too_many_pixels_are_refused():
    with pytest.raises(ValueError, match=r"at most 2\^30 pixels .* 2 x 65536 x 65536; split"):
        conv._forward_plan(
            (2, 1, 65536, 65536), (2, 1, 65536, 65536), conv.window_of(1, 1, 0, 1), 1
        )


def test_the_host_never_waits(cupy, traffic):
    case = simple_case(stride=2)
    x, w, grad = map(cupy.asarray, (case.x, case.w, case.grad))
    traffic.clear()
    conv.conv2d(x, w, 2, bias=w[:, 0, 0, 0], precision="tf32")
    conv.conv2d_grad_input(grad, w, x.shape, 2)
    conv.conv2d_grad_weight(grad, x, w.shape, 2)
    assert not traffic.syncs
    assert not traffic.uploads
