import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import reference
from tests.checks import MEMORY_ORDERS
from tests.kernels.conv_cases import (
    FUNCTIONS,
    array_in,
    assert_same,
    check_against,
    simple_case,
)

pytest.importorskip("numba")
from minicnn.kernels.cpu import depthwise, streaming
from minicnn.kernels.cpu.simd import panel_width
from minicnn.kernels.cpu.target import TILE_VECTORS, VECTOR_BYTES
from minicnn.kernels.memory import CACHE_LINE

DTYPES = (np.float32, np.float64)


def depthwise_case(C, dtype=np.float32, **settings):
    """A convolution of C groups."""
    return simple_case(dtype, C=C, K=C, groups=C, **settings)


@st.composite
def depthwise_cases(draw):
    """Draw a depthwise convolution whose window fits the padded image."""
    small, sides = st.integers(1, 3), st.integers(0, 3)
    kernel, stride, dilation = ((draw(small), draw(small)) for _ in range(3))
    padding = ((draw(sides), draw(sides)), (draw(sides), draw(sides)))
    size = [
        max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 9))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    case = depthwise_case(
        draw(st.sampled_from((1, 3, 8, 16, 20, 33))),
        draw(st.sampled_from(DTYPES)),
        N=draw(st.integers(0, 3)),
        size=tuple(size),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    rng = np.random.default_rng(0)
    for name in ("x", "w", "grad"):
        array = getattr(case, name)
        layout = draw(st.sampled_from(MEMORY_ORDERS))
        setattr(case, name, array_in(layout, array.shape, array.dtype, rng))
    return case


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=80)
@given(case=depthwise_cases())
def test_equals_the_reference(function, case):
    check_against(reference, depthwise, function, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_long_rows_and_many_channels(function, stride, dtype):
    case = depthwise_case(
        2 * panel_width(4) + 5, dtype, N=1, size=(3, 23), padding=1, stride=stride
    )
    check_against(reference, depthwise, function, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 8])
@pytest.mark.parametrize("bytes_of_channels", [depthwise.WIDE_BYTES, depthwise.MOST_WIDE_BYTES])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_blocks_of_every_width(function, bytes_of_channels, columns, dtype):
    """Wide blocks, one of TILE_VECTORS, and a part of one; and more channels than wide sums are kept of."""
    itemsize = np.dtype(dtype).itemsize
    channels = bytes_of_channels // itemsize + panel_width(itemsize) + 1
    case = depthwise_case(channels, dtype, N=1, size=(3, columns), padding=1)
    check_against(reference, depthwise, function, case)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_kernel_larger_than_the_image(function):
    check_against(reference, depthwise, function, depthwise_case(3, size=2, kernel=7, padding=3))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_more_threads_than_rows(function, monkeypatch):
    monkeypatch.setattr(depthwise, "SERIAL_PRODUCTS", 0)
    monkeypatch.setattr(depthwise, "thread_count", lambda: 7)
    check_against(reference, depthwise, function, depthwise_case(5, N=1, size=3))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_few_products_wake_no_threads(function, monkeypatch):
    monkeypatch.delattr(depthwise, "thread_count")
    check_against(reference, depthwise, function, depthwise_case(5, N=1, size=3))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_repeats_its_bits(function):
    case = depthwise_case(20, N=4, size=9, padding=1)
    first, second = case.run(depthwise, function), case.run(depthwise, function)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("C", [1, 20, 32])
def test_bias_and_relu_are_fused(C, relu):
    case = depthwise_case(C, padding=1)
    bias = np.random.default_rng(1).standard_normal(C).astype(np.float32)
    y = depthwise.conv2d(case.x, case.w, padding=1, groups=C, bias=bias, relu=relu)
    expected = reference.conv2d(case.x, case.w, padding=1, groups=C) + bias[:, None, None]
    assert_same(y, np.maximum(expected, 0) if relu else expected, 10)


def test_relu_keeps_nan():
    x, w = np.full((1, 3, 4, 4), np.nan, np.float32), np.ones((3, 1, 3, 3), np.float32)
    assert np.isnan(depthwise.conv2d(x, w, groups=3, relu=True)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_reach_what_depends_on_them(function, value):
    case = depthwise_case(20, size=7, stride=2, padding=1)
    array = case.grad if function == "conv2d_grad_input" else case.x
    array[0, 19, 1, 1] = value
    actual, expected = case.run(depthwise, function), case.run(reference, function)
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(actual), kind(expected))
    assert not np.isfinite(actual).all()
    assert np.isfinite(actual).any()


def test_pixels_that_no_window_saw_get_no_gradient():
    case = depthwise_case(20, size=7, kernel=1, stride=3)
    case.grad[:] = 1
    grad_x = case.run(depthwise, "conv2d_grad_input")
    assert np.count_nonzero(grad_x) == grad_x[:, :, ::3, ::3].size


def test_weight_gradient_lies_in_memory_like_weights():
    grad_w = depthwise_case(20).run(depthwise, "conv2d_grad_weight")
    assert grad_w.transpose(2, 3, 1, 0).flags.c_contiguous


def test_output_begins_with_a_cache_line():
    y = depthwise_case(20).run(depthwise, "conv2d")
    assert y.ctypes.data % 64 == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("function", FUNCTIONS[:2])
def test_large_results_are_written_past_the_caches(monkeypatch, function, stride, dtype):
    """Large is here what has whole blocks of channels; the bits are those of other stores."""
    case = depthwise_case(2 * panel_width(4), dtype, size=(9, 14), padding=1, stride=stride)
    stored = case.run(depthwise, function)
    monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(depthwise, "STREAMED_BYTES", 0)
    streamed = []

    def noted(result, block_bytes):
        streamed.append(streaming.is_streamed(result, block_bytes))
        return streamed[-1]

    monkeypatch.setattr(depthwise, "is_streamed", noted)
    np.testing.assert_array_equal(case.run(depthwise, function), stored)
    check_against(reference, depthwise, function, case)
    whole_lines = TILE_VECTORS * VECTOR_BYTES % CACHE_LINE == 0
    assert streamed == [whole_lines] * 2


def test_refuses_other_convolutions():
    with pytest.raises(ValueError, match=r"depthwise: groups: expected as many groups"):
        depthwise.conv2d(np.ones((1, 4, 5, 5)), np.ones((8, 1, 3, 3)), groups=4)


def test_every_memory_order_uses_the_same_compiled_version():
    rng = np.random.default_rng(0)
    for layout in MEMORY_ORDERS:
        x = array_in(layout, (2, 3, 6, 6), np.float32, rng)
        w = array_in(layout, (3, 1, 3, 3), np.float32, rng)
        depthwise.conv2d(x, w, groups=3)
    if hasattr(depthwise._multiply_rows, "signatures"):  # not with NUMBA_DISABLE_JIT=1
        assert len(depthwise._multiply_rows.loop.signatures) <= len(DTYPES)


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages with Linux's mprotect")
def test_memory_beside_the_arrays_is_not_touched():
    """Arrays that begin or end where memory does: a program that reads one byte more is ended."""
    script = """
import ctypes, mmap
import numpy as np
from minicnn.kernels.cpu import depthwise
PAGE, libc = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
kept = []
def fenced(shape, dtype, at_end):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    inner = -(-size // PAGE) * PAGE
    memory = mmap.mmap(-1, inner + 2 * PAGE)
    first = np.frombuffer(memory, np.uint8).ctypes.data
    for fence in (first, first + PAGE + inner):
        assert libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0) == 0
    kept.append(memory)
    start = PAGE + (inner - size if at_end else 0)
    return np.frombuffer(memory, np.uint8)[start : start + size].view(dtype).reshape(shape)
for at_end in (False, True):
    depthwise._aligned_empty = lambda shape, dtype: fenced(shape, dtype, at_end)
    for C in (1, 3, 16, 20):
        for dtype in (np.float32, np.float64):
            for stride in (1, 2):
                x, g = (fenced((2, n, n, C), dtype, at_end).transpose(0, 3, 1, 2) for n in (9, 8 // stride + 1))
                w = np.ones((C, 1, 3, 3), dtype)
                x[:], g[:] = 1, 1
                depthwise.conv2d(x, w, stride, 1, 1, C)
                depthwise.conv2d_grad_input(g, w, x.shape, stride, 1, 1, C)
                depthwise.conv2d_grad_weight(g, x, w.shape, stride, 1, 1, C)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_equals_pytorch_at_the_size_of_a_network(torch):
    case = depthwise_case(64, N=2, size=28, stride=2, padding=1)
    x, w, grad = (torch.from_numpy(array.copy()) for array in (case.x, case.w, case.grad))
    y = torch.nn.functional.conv2d(x, w, None, 2, 1, 1, 64)
    grad_x, grad_w, _ = torch.ops.aten.convolution_backward(
        grad, x, w, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 64, [True, True, False]
    )
    for function, expected in zip(FUNCTIONS, (y, grad_x, grad_w), strict=True):
        np.testing.assert_allclose(case.run(depthwise, function), expected, rtol=1e-4, atol=1e-4)
