import numpy as np
import pytest

from minicnn.kernels import reference
from tests.kernels.conv_cases import check_against, simple_case

pytest.importorskip("numba")

from minicnn.kernels.cpu import conv, conv_few
from minicnn.kernels.cpu.conv_plan import FEW_PIXELS

FEW = {
    "a dense layer": {"N": 1, "C": 50, "K": 40, "size": 1, "kernel": 1},
    "as many pixels as are few": {"N": FEW_PIXELS, "C": 17, "K": 19, "size": 1, "kernel": 1},
    "fewer channels than rows at a time": {"N": 2, "C": 3, "K": 16, "size": 2, "padding": 1},
    "channels that fill no vector": {"N": 1, "C": 9, "K": 5, "size": 3, "padding": 1},
    "more columns than the sums have room for": {"N": 3, "C": 9, "K": 1500, "size": 2, "kernel": 2},
    "a stride and a dilation": {"N": 1, "C": 8, "K": 20, "size": 9, "stride": 2, "dilation": 2},
    "windows in the padding only": {"N": 1, "C": 8, "K": 9, "size": 1, "padding": ((4, 0), (0, 3))},
}


@pytest.fixture
def runs(monkeypatch):
    """Count the calls, to know that a test tests these loops."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        conv_few.multiply_few(*arguments)

    monkeypatch.setattr(conv, "multiply_few", counted)
    return calls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FEW)
def test_equals_the_reference(runs, name, dtype):
    check_against(reference, conv, "conv2d", simple_case(dtype, **FEW[name]))
    assert len(runs) == 1


@pytest.mark.parametrize("convolution", [{"N": FEW_PIXELS + 1}, {"N": 1, "groups": 2}])
def test_more_pixels_and_groups_are_left_to_tiles(runs, convolution):
    case = simple_case(C=8, size=1, kernel=1, **convolution)
    check_against(reference, conv, "conv2d", case)
    assert not runs


@pytest.mark.parametrize("parts", [2, 3, 500])
def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch, parts):
    case = simple_case(**FEW["more columns than the sums have room for"])
    monkeypatch.setattr(conv, "SERIAL_PRODUCTS", 0)
    monkeypatch.setattr(conv, "thread_count", lambda: 1)
    with_one = case.run(conv, "conv2d")
    monkeypatch.setattr(conv, "thread_count", lambda: parts)
    np.testing.assert_array_equal(case.run(conv, "conv2d"), with_one)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bias_and_relu(dtype):
    case = simple_case(dtype, **FEW["channels that fill no vector"])
    bias = np.linspace(-2, 2, 5, dtype=dtype)
    y = conv.conv2d(case.x, case.w, padding=1, bias=bias, relu=True)
    expected = np.maximum(reference.conv2d(case.x, case.w, padding=1) + bias[:, None, None], 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert y.dtype == dtype


def test_relu_keeps_nan():
    case = simple_case(**FEW["a dense layer"])
    case.x[0, 7] = np.nan
    assert np.isnan(conv.conv2d(case.x, case.w, relu=True)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_one_output_stay_there(value):
    case = simple_case(**FEW["as many pixels as are few"])
    case.w[3, 5] = value
    y = case.run(conv, "conv2d")
    assert not np.isfinite(y[:, 3]).any()
    assert np.isfinite(np.delete(y, 3, axis=1)).all()
