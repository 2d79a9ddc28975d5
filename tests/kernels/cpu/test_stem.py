import numpy as np
import pytest
from hypothesis import given, settings

from minicnn import kernels
from minicnn.kernels import reference
from tests.checks import MEMORY_ORDERS
from tests.kernels.conv_cases import (
    array_in,
    check_against,
    check_non_finite,
    conv_cases,
    in_double,
    rounding_terms,
    simple_case,
)

pytest.importorskip("numba")

from minicnn.kernels.cpu import conv, stem
from minicnn.kernels.memory import owner_of

DTYPES = (np.float32, np.float64)
FUNCTIONS = ("conv2d", "conv2d_grad_weight")
SETTINGS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}

STEMS = {
    "a small network's": {"C": 1, "K": 6, "size": 28, "kernel": 5, "padding": 2},
    "outputs that fill a vector": {"C": 1, "K": 8, "size": 14},
    "outputs that fill a tile": {"C": 1, "K": 16, "size": 14},
    "several panels, the last in part": {"C": 3, "K": 37, "size": 9, "padding": 1},
    "one output": {"C": 1, "K": 1, "size": 5, "kernel": 2},
    "rows of one pixel, of one output": {"N": 9, "C": 2, "K": 1, "size": (7, 3)},
    "rows shorter than a tile": {"N": 4, "C": 2, "K": 3, "size": 4, "kernel": 2},
    "a stride": {"C": 3, "K": 32, "size": (17, 22), "padding": 1, "stride": 2},
    "a stride that leaves pixels out": {"C": 2, "K": 9, "size": 19, "kernel": 2, "stride": (3, 5)},
    "a large window": {"N": 1, "C": 3, "K": 10, "size": 20, "kernel": 7, "padding": 3, "stride": 2},
    "rows that are far apart": {"C": 2, "K": 7, "size": 9, "dilation": (3, 1), "padding": (4, 0)},
    "padding on one side": {"C": 1, "K": 5, "size": 6, "padding": ((0, 3), (2, 0))},
    "windows in the padding only": {"C": 2, "K": 9, "size": 2, "padding": ((4, 3), (2, 5))},
    "images of several frames": {"N": 2, "C": 5, "K": 4, "size": (60, 300), "kernel": (5, 3)},
    "rows longer than a frame": {"N": 1, "C": 7, "K": 3, "size": (3, 3000), "kernel": 2},
    "as many channels as are few": {"C": stem.MOST_CHANNELS, "K": 12, "size": 8, "padding": 1},
}  # fmt: skip


@pytest.fixture
def split_work(monkeypatch):
    """A function that makes the kernels split their work into so many parts, whatever the machine."""
    monkeypatch.setattr(stem, "SERIAL_PRODUCTS", 0)
    return lambda parts: monkeypatch.setattr(stem, "thread_count", lambda: parts)


@pytest.fixture
def no_clean_memory(monkeypatch):
    """Results begin as NaN, so that what is not written, or written by nobody but a neighbour, shows."""
    monkeypatch.setattr(stem, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_equals_the_reference(no_clean_memory, function, name, dtype):
    check_against(reference, stem, function, simple_case(dtype, **STEMS[name]))


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=60)
@given(case=conv_cases())
def test_equals_the_reference_wherever_it_is_chosen(function, case):
    """Without regard to the number of pixels, which only says what is quicker."""
    choices = SETTINGS | case.settings
    few = choices["groups"] == 1 and choices["dilation"][1] == 1
    check_against(reference, stem if few else kernels, function, case)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 500])
@pytest.mark.parametrize("name", ["a small network's", "rows of one pixel, of one output"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_any_number_of_threads(no_clean_memory, split_work, function, name, parts):
    split_work(parts)
    check_against(reference, stem, function, simple_case(**STEMS[name]))


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_the_bits_do_not_depend_on_the_number_of_threads(split_work, parts):
    case = simple_case(**STEMS["a small network's"])
    split_work(1)
    with_one = case.run(stem, "conv2d")
    split_work(parts)
    np.testing.assert_array_equal(case.run(stem, "conv2d"), with_one)


@pytest.mark.parametrize("parts", [1, 3])
def test_the_bits_of_a_weight_gradient_repeat_for_a_number_of_threads(split_work, parts):
    case = simple_case(**STEMS["a small network's"])
    split_work(parts)
    first = case.run(stem, "conv2d_grad_weight")
    for _ in range(3):
        np.testing.assert_array_equal(case.run(stem, "conv2d_grad_weight"), first)


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("name", ["a small network's", "one output", "rows shorter than a tile"])
def test_writes_nothing_behind_the_result(monkeypatch, split_work, name, parts):
    """Whole vectors are stored, but the last pixels of each thread's share are stored as they are."""
    behind = []

    def with_margin(shape, dtype):
        memory = np.full(np.prod(shape) + 64, 7, dtype)
        behind.append(memory[-64:])
        return memory[:-64].reshape(shape)

    monkeypatch.setattr(stem, "empty", with_margin)
    split_work(parts)
    for function in FUNCTIONS:
        simple_case(**STEMS[name]).run(stem, function)
    assert len(behind) == (2 if parts == 1 else 3)  # several threads have sums of their own
    assert all((margin == 7).all() for margin in behind)


@pytest.mark.parametrize("order", MEMORY_ORDERS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_arrays_in_any_memory_order(function, order):
    case = simple_case(C=3, K=6, padding=1)
    rng = np.random.default_rng(0)
    for name in ("x", "w", "grad"):
        shape = getattr(case, name).shape
        setattr(case, name, array_in(order, shape, np.float32, rng))
    check_against(reference, stem, function, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [3, 6, 16, 33])
def test_scale_bias_and_relu_come_in_this_order(dtype, K):
    case = simple_case(dtype, K=K, padding=1)
    rng = np.random.default_rng(1)
    bias, scale = rng.standard_normal((2, K)).astype(dtype)
    y = stem.conv2d(case.x, case.w, padding=1, bias=bias, relu=True, scale=scale)
    plain = reference.conv2d(case.x, case.w, padding=1)
    expected = np.maximum(plain * scale[:, None, None] + bias[:, None, None], 0)
    assert (expected == 0).any()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert y.dtype == dtype


def test_relu_keeps_nan():
    case = simple_case(K=6)
    case.x[0, 0, 0, 0] = np.nan
    y = stem.conv2d(case.x, case.w, relu=True)
    assert np.isnan(y[0, :, 0, 0]).all()
    assert (y[1] >= 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_propagate(function, value):
    check_non_finite(reference, stem, function, value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_with_their_output(value):
    """Lanes that no output fills hold what is next in memory, which must not come into the sums."""
    case = simple_case(**STEMS["a small network's"])
    case.w[5, 0, 2, 2] = value
    y = case.run(stem, "conv2d")
    assert not np.isfinite(y[:, 5]).any()
    assert np.isfinite(y[:, :5]).all()
    case.grad[:, 0] = value
    grad_w = case.run(stem, "conv2d_grad_weight")
    assert not np.isfinite(grad_w[0]).any()
    assert np.isfinite(grad_w[1:]).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_error_of_float32(function):
    """The bound of conv.py: 1e-7 sqrt(n) of the largest result, for sums of n products."""
    shape = {"C": 3, "K": 32, "size": 32, "kernel": 5, "padding": 2, "stride": 2}
    case = simple_case(**shape)
    expected = in_double(case).run(stem, function)
    error = np.abs(case.run(stem, function) - expected).max() / np.abs(expected).max()
    assert error < 1e-7 * np.sqrt(rounding_terms(case, function))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_batch(function):
    check_against(reference, stem, function, simple_case(N=0))


def test_a_weight_gradient_keeps_no_memory_but_its_own(split_work):
    split_work(3)
    gradient = simple_case(**STEMS["a small network's"]).run(stem, "conv2d_grad_weight")
    assert owner_of(gradient).nbytes == gradient.nbytes


@pytest.mark.parametrize("changes", [{"groups": 2}, {"dilation": 2}])
def test_refuses_other_convolutions(changes):
    case = simple_case(C=2, K=4, size=8, **changes)
    assert not stem.suits(case.x.shape, case.w.shape, *(SETTINGS | changes).values())
    with pytest.raises(ValueError, match="use the convolution of `conv`"):
        case.run(stem, "conv2d")


@pytest.mark.parametrize(
    ("convolution", "suits"),
    [
        ({"C": 1, "size": 28}, True),
        ({"C": 7, "size": 28}, True),
        ({"C": 8, "size": 28}, False),
        ({"C": 3, "size": 28, "kernel": 1}, False),
        ({"C": 3, "size": 4, "N": 3}, False),
        ({"C": 3, "size": 4, "N": 4}, True),
    ],
)
def test_is_chosen_for_few_channels_and_many_pixels(monkeypatch, convolution, suits):
    case = simple_case(**convolution)
    assert stem.suits(case.x.shape, case.w.shape, *SETTINGS.values()) == suits
    calls = []
    for module in (conv, stem):
        for function in FUNCTIONS:
            called = getattr(module, function)
            monkeypatch.setattr(
                module, function, lambda *a, f=called, m=module: calls.append(m) or f(*a)
            )
    kernels.convolution._way.cache_clear()
    for function in FUNCTIONS:
        check_against(reference, kernels, function, case)
    kernels.convolution._way.cache_clear()
    assert calls == [stem if suits else conv] * 2
