"""Convolutions whose output channels are scaled: every way in which compiled loops read their weights."""

import numpy as np
import pytest

from minicnn.kernels import reference
from tests.kernels.conv_cases import assert_same, rounding_terms, simple_case

pytest.importorskip("numba")
from minicnn.kernels.cpu import conv, depthwise, winograd

DTYPES = (np.float32, np.float64)

CONVOLUTIONS = {
    "panels of a tile": (conv, {"C": 16, "K": 70, "size": 7}),
    "panels of a vector": (conv, {"C": 9, "K": 5, "size": 7, "padding": 1}),
    "few channels": (conv, {"C": 1, "K": 20, "size": 9, "padding": 1}),
    "groups": (conv, {"C": 6, "K": 51, "size": 7, "groups": 3}),
    "one tap": (conv, {"C": 64, "K": 33, "size": 5, "kernel": 1}),
    "few pixels": (conv, {"N": 1, "C": 18, "K": 70, "size": 4}),
    "depthwise": (depthwise, {"C": 19, "K": 19, "size": 6, "groups": 19}),
    "Winograd, a few squares": (winograd, {"C": 20, "K": 70, "size": 6}),
    "Winograd, many squares": (winograd, {"N": 9, "C": 20, "K": 33, "size": 10}),
}


def case_of(name, dtype):
    """The module, a convolution, and a scale and a bias for its output channels."""
    module, settings = CONVOLUTIONS[name]
    case = simple_case(dtype, **settings)
    K = len(case.w)
    return module, case, np.linspace(-2, 3, K, dtype=dtype), np.linspace(4, -1, K, dtype=dtype)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_scale_comes_before_bias_and_relu(name, dtype, has_bias, relu):
    module, case, scale, bias = case_of(name, dtype)
    bias = bias if has_bias else None
    y = module.conv2d(case.x, case.w, **case.settings, bias=bias, relu=relu, scale=scale)
    expected = case.run(reference, "conv2d") * scale[:, None, None]
    if has_bias:
        expected += bias[:, None, None]
    if relu:
        expected = np.maximum(expected, 0)
    rounding = 20 if module is winograd else 1
    assert_same(y, expected, rounding * rounding_terms(case, "conv2d"))


@pytest.mark.parametrize("tile", [2, 4])
def test_both_kinds_of_squares(tile):
    _, case, scale, _ = case_of("Winograd, a few squares", np.float64)
    y = winograd.conv2d(case.x, case.w, scale=scale, tile=tile)
    assert_same(y, case.run(reference, "conv2d") * scale[:, None, None], 4000)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_arguments_are_not_changed(name):
    module, case, scale, _ = case_of(name, np.float32)
    before = case.w.tobytes(), scale.tobytes()
    module.conv2d(case.x, case.w, **case.settings, scale=scale)
    assert (case.w.tobytes(), scale.tobytes()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_scale_of_a_channel_is_for_that_channel_alone(name, value):
    module, case, scale, _ = case_of(name, np.float32)
    ordinary = module.conv2d(case.x, case.w, **case.settings, scale=scale)
    scale[3] = value
    y = module.conv2d(case.x, case.w, **case.settings, scale=scale)
    others = np.arange(len(scale)) != 3
    np.testing.assert_array_equal(y[:, others], ordinary[:, others])
    assert (y[:, 3] == 0).all() if value == 0 else not np.isfinite(y[:, 3]).any()


@pytest.mark.parametrize("layout", ["strided", "read-only"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_scale_in_any_memory_order(name, layout):
    module, case, scale, _ = case_of(name, np.float32)
    other = np.repeat(scale, 2)[::2] if layout == "strided" else scale.copy()
    other.flags.writeable = layout == "strided"
    with_other = module.conv2d(case.x, case.w, **case.settings, scale=other)
    expected = module.conv2d(case.x, case.w, **case.settings, scale=scale)
    np.testing.assert_array_equal(with_other, expected)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch, parts):
    _, case, scale, bias = case_of("panels of a tile", np.float32)
    results = []
    for count in (1, parts):
        monkeypatch.setattr(conv, "SERIAL_PRODUCTS", 0)
        monkeypatch.setattr(conv, "thread_count", lambda count=count: count)
        results.append(conv.conv2d(case.x, case.w, bias=bias, scale=scale))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_an_empty_batch(name):
    module, case, scale, _ = case_of(name, np.float32)
    assert module.conv2d(case.x[:0], case.w, **case.settings, scale=scale).shape[0] == 0
