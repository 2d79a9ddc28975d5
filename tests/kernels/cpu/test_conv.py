import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels import im2col, reference
from tests.checks import MEMORY_ORDERS
from tests.kernels.conv_cases import (
    FUNCTIONS,
    array_in,
    check_against,
    check_non_finite,
    conv_cases,
    in_double,
    rounding_terms,
    simple_case,
)
from tests.kernels.cpu.convolutions import CONVOLUTIONS

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu import conv
from minicnn.kernels.cpu.conv_grad_weight import FAR_APART
from minicnn.kernels.cpu.target import L2_BYTES, TILE_VECTORS, VECTOR_BYTES
from minicnn.kernels.memory import owner_of

DTYPES = (np.float32, np.float64)
MANY = {"N": 3, "C": 20, "K": 40, "size": 6, "padding": 1}
"""Several tiles and several panels."""


def run_program(script, **environment):
    """Run a Python program, and return what it wrote; fail if it does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def split_work(monkeypatch):
    """A function that makes the kernels split their work into so many parts, whatever the machine."""
    monkeypatch.setattr(conv, "SERIAL_PRODUCTS", 0)
    return lambda parts: monkeypatch.setattr(conv, "thread_count", lambda: parts)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=80)
@given(case=conv_cases())
def test_equals_the_reference(function, case):
    check_against(reference, conv, function, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_that_reach_every_part_of_the_loops(function, name, dtype):
    check_against(reference, conv, function, simple_case(dtype, **CONVOLUTIONS[name]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_panels_that_do_not_fit_in_the_cache_together(function):
    """A panel of weights alone fills half of the L2 cache, so that there are blocks of one panel each."""
    panel_bytes = 9 * TILE_VECTORS * VECTOR_BYTES  # for each channel
    channels = L2_BYTES // 2 // panel_bytes + 1
    outputs = 2 * TILE_VECTORS * VECTOR_BYTES // 4 + 1  # two panels of float32 and one column
    shape = {"C": channels, "K": outputs}
    if function == "conv2d_grad_input":
        shape = {"C": outputs, "K": channels}
    check_against(reference, conv, function, simple_case(N=2, size=3, padding=1, **shape))


@pytest.mark.parametrize("l2_bytes", [0, L2_BYTES])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2])
def test_weight_gradient_of_one_tap_and_many_channels(monkeypatch, l2_bytes, dtype, groups):
    """Inputs are packed; there are several chunks of pixels, and shares of weights or of pixels."""
    monkeypatch.setattr(conv, "L2_BYTES", l2_bytes)
    channels = FAR_APART // np.dtype(dtype).itemsize + 3
    shape = {"C": groups * channels, "K": groups * 18, "kernel": 1, "groups": groups}
    pixels = {"N": 2, "size": (17, 18), "stride": (1, 1)}
    check_against(im2col, conv, "conv2d_grad_weight", simple_case(dtype, **shape, **pixels))


@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradient_that_threads_share(monkeypatch, split_work, dtype, parts):
    """Where each thread adds up its own share of the weights, and not its own share of the pixels."""
    monkeypatch.setattr(conv, "L2_BYTES", 0)
    split_work(parts)
    check_against(reference, conv, "conv2d_grad_weight", simple_case(dtype, **MANY))


@pytest.mark.parametrize("convolution", [MANY, {"N": 1, "size": 3}, {"N": 1, "size": 3, "C": 9}])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_more_threads_than_work(split_work, function, convolution):
    split_work(500)
    check_against(reference, conv, function, simple_case(**convolution))


@pytest.mark.parametrize("parts", [1, 2, 500])
@pytest.mark.parametrize("l2_bytes", [0, L2_BYTES])
def test_every_sum_of_a_weight_gradient_is_written(monkeypatch, split_work, l2_bytes, parts):
    """What was in the memory before does not matter."""
    monkeypatch.setattr(conv, "L2_BYTES", l2_bytes)
    monkeypatch.setattr(conv, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    split_work(parts)
    check_against(reference, conv, "conv2d_grad_weight", simple_case(**MANY))


@pytest.mark.parametrize("parts", [2, 7])
def test_a_weight_gradient_keeps_no_memory_but_its_own(split_work, parts):
    split_work(parts)
    gradient = simple_case(**MANY).run(conv, "conv2d_grad_weight")
    assert owner_of(gradient).nbytes == gradient.nbytes


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("function", FUNCTIONS[:2])
def test_the_bits_do_not_depend_on_the_number_of_threads(split_work, function, parts):
    case = simple_case(stride=2, **MANY)
    split_work(1)
    with_one = case.run(conv, function)
    split_work(parts)
    np.testing.assert_array_equal(case.run(conv, function), with_one)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_bits_of_a_weight_gradient_repeat_for_a_number_of_threads(split_work, parts):
    case = simple_case(**MANY)
    split_work(parts)
    first = case.run(conv, "conv2d_grad_weight")
    for _ in range(3):
        np.testing.assert_array_equal(case.run(conv, "conv2d_grad_weight"), first)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_numba_may_be_told_the_number_of_threads(function):
    case = simple_case(**MANY)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        check_against(reference, conv, function, case)
    finally:
        numba.set_num_threads(threads)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_propagate(function, value):
    check_non_finite(reference, conv, function, value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_one_output_stay_there(value):
    """The columns that fill up a panel are zeros, and do not spread what is in their neighbours."""
    case = simple_case(C=9, K=19)
    case.w[18, 0, 1, 1] = value
    y = case.run(conv, "conv2d")
    assert not np.isfinite(y[:, 18]).any()
    assert np.isfinite(y[:, :18]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [3, 24, 33])
def test_bias(dtype, K):
    case = simple_case(dtype, C=9, K=K, padding=1)
    bias = np.random.default_rng(1).standard_normal(K).astype(dtype)
    y = conv.conv2d(case.x, case.w, padding=1, bias=bias)
    expected = reference.conv2d(case.x, case.w, padding=1) + bias[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["strided", "reversed", "broadcast", "read-only"])
def test_bias_in_any_memory_order(layout):
    case = simple_case(K=8)
    bias = np.arange(8, dtype=np.float32)
    placed = {
        "strided": np.repeat(bias, 2)[::2],
        "reversed": bias[::-1].copy()[::-1],
        "broadcast": np.broadcast_to(np.float32(3), 8),
        "read-only": bias.copy(),
    }[layout]
    placed.flags.writeable = layout not in ("broadcast", "read-only")
    y = conv.conv2d(case.x, case.w, bias=placed)
    expected = conv.conv2d(case.x, case.w) + placed[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_bias_of_groups():
    case = simple_case(C=6, K=20, groups=2)
    bias = np.arange(20, dtype=np.float32)
    y = conv.conv2d(case.x, case.w, groups=2, bias=bias)
    expected = reference.conv2d(case.x, case.w, groups=2) + bias[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_comes_after_the_bias(dtype):
    case = simple_case(dtype, C=9, K=19)
    bias = np.linspace(-9, 9, 19).astype(dtype)
    plain = conv.conv2d(case.x, case.w, bias=bias)
    y = conv.conv2d(case.x, case.w, bias=bias, relu=True)
    assert (plain < 0).any()
    np.testing.assert_array_equal(y, np.maximum(plain, 0))


def test_relu_keeps_nan():
    case = simple_case(C=9, K=19)
    case.x[0, 0, 0, 0] = np.nan
    y = conv.conv2d(case.x, case.w, relu=True)
    assert np.isnan(y[0, :, 0, 0]).all()
    assert (y[1] >= 0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "convolution",
    [
        {"C": 64, "K": 32, "size": 16, "padding": 1},
        {"C": 3, "K": 32, "size": 32, "kernel": 5, "padding": 2, "stride": 2},
        {"C": 300, "K": 10, "size": 4, "kernel": 1, "N": 16},
    ],
)
def test_error_of_float32(function, convolution):
    """The largest error is below 1e-7 sqrt(n) of the largest result: sums of n products, in order of the taps.

    Numbers of random signs: a sum of n of them grows like sqrt(n), and so do n roundings of random
    signs, each of up to 6e-8 of what the sum has grown to.
    """
    case = simple_case(**convolution)
    expected = in_double(case).run(conv, function)
    error = np.abs(case.run(conv, function) - expected).max() / np.abs(expected).max()
    assert error < 1e-7 * np.sqrt(rounding_terms(case, function))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_batch(function):
    check_against(reference, conv, function, simple_case(N=0, C=9))


def test_arrays_of_every_memory_order_use_the_same_compiled_version():
    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        for order in MEMORY_ORDERS:
            for C in (3, 9):
                x = array_in(order, (2, C, 6, 6), dtype, rng)
                w = array_in(order, (4, C, 3, 3), dtype, rng)
                grad = array_in(order, (2, 4, 4, 4), dtype, rng)
                conv.conv2d(x, w, bias=x[0, :4, 0, 0] if C == 9 else None)
                conv.conv2d_grad_input(grad, w, x.shape)
                conv.conv2d_grad_weight(grad, x, w.shape)
    assert len(conv._multiply.loop.signatures) == len(DTYPES)
    assert len(conv.add_up.loop.signatures) == len(DTYPES)


def test_arrays_that_are_not_aligned():
    case = simple_case(C=9)
    raw = np.zeros(case.x.nbytes + 1, np.uint8)
    x = raw[1:].view(np.float32).reshape(case.x.shape)
    x[...] = case.x
    assert not x.flags.aligned
    np.testing.assert_array_equal(conv.conv2d(x, case.w), conv.conv2d(case.x, case.w))


def test_threads_may_convolve_at_the_same_time():
    """Also with Numba's simplest threading layer, which ends the process where two loops overlap."""
    run_program(
        "import numpy as np; from concurrent.futures import ThreadPoolExecutor;"
        "from minicnn.kernels.cpu import conv;"
        "x = np.ones((8, 3, 32, 32), 'f4'); w = np.ones((16, 3, 3, 3), 'f4'); y = conv.conv2d(x, w);"
        "work = lambda i: (conv.conv2d(x, w), conv.conv2d_grad_weight(y, x, w.shape));"
        "pool = ThreadPoolExecutor(2); assert len(list(pool.map(work, range(60)))) == 60",
        NUMBA_THREADING_LAYER="workqueue",
        NUMBA_NUM_THREADS="2",
    )


FORK = """
import os, sys
import numpy as np
from minicnn.kernels.cpu import conv

x, w = np.ones((2, 3, 8, 8), "f4"), np.ones((4, 3, 3, 3), "f4")
if {before}:
    conv.conv2d(x, w)
child = os.fork()
if child == 0:
    try:
        y = conv.conv2d(x, w)
        print("computed", y[0, 0, 0, 0])
    except RuntimeError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (conv.conv2d(x, w) == 27).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork() here")
def test_a_forked_process_says_that_its_threads_are_lost():
    output = run_program(FORK.format(before=True))
    assert "made by os.fork()" in output
    assert 'get_context("spawn")' in output


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork() here")
def test_a_process_forked_before_the_first_loop_computes():
    assert run_program(FORK.format(before=False)) == "computed 27.0\n"


@pytest.mark.parametrize(
    ("C", "K", "size"),
    [(600, 300, 17), (700, 40, 3), (4, 33000, 2)],
    ids=["inputs packed in blocks", "one chunk", "panels shared by the threads"],
)
def test_weight_gradient_of_single_taps_with_many_channels(C, K, size):
    """The gradient of a 1x1 convolution is one matrix product, cut in different ways for different shapes."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, C, size, size)).astype(np.float32)
    grad = generator.standard_normal((2, K, size, size)).astype(np.float32)
    grad_w = conv.conv2d_grad_weight(grad, x, (K, C, 1, 1))
    expected = np.tensordot(grad.astype(np.float64), x.astype(np.float64), ((0, 2, 3), (0, 2, 3)))
    np.testing.assert_allclose(grad_w[:, :, 0, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_packed_once_serve_all_blocks_of_inputs(groups):
    """More pixels than a chunk, and more input channels than are packed at once."""
    generator = np.random.default_rng(4)
    x = generator.standard_normal((1, 700 * groups, 20, 20))
    grad = generator.standard_normal((1, 20 * groups, 20, 20))
    mine = conv.conv2d_grad_weight(grad, x, (20 * groups, 700, 1, 1), groups=groups)
    pairs = zip(np.split(grad[0], groups), np.split(x[0], groups), strict=True)
    expected = np.concatenate([np.einsum("khw,chw->kc", g, part) for g, part in pairs])
    np.testing.assert_allclose(mine[:, :, 0, 0], expected, rtol=1e-10, atol=1e-10)
