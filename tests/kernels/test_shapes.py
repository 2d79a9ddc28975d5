import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import shapes

small = st.integers(1, 4)


@pytest.mark.parametrize(("value", "expected"), [(3, (3, 3)), ((1, 2), (1, 2)), ([1, 2], (1, 2))])
def test_pair(value, expected):
    assert shapes.pair(value, "stride") == expected


def test_pair_takes_numpy_integers_and_gives_python_ones():
    assert [type(v) for v in shapes.pair(np.int64(3), "stride")] == [int, int]


@pytest.mark.parametrize("value", [1.0, "3", None, True, (1, 2.0), np.array([1, 2])])
def test_pair_refuses_what_is_no_integer(value):
    with pytest.raises(TypeError, match="stride: expected an integer or two"):
        shapes.pair(value, "stride")


@pytest.mark.parametrize("value", [(), (1,), (1, 2, 3)])
def test_pair_refuses_other_lengths(value):
    with pytest.raises(ValueError, match=f"stride: .* got {len(value)} numbers"):
        shapes.pair(value, "stride")


def test_same_padding_puts_the_extra_pixel_at_the_end():
    assert shapes.same_padding((4, 3), (1, 2)) == ((1, 2), (2, 2))


@given(size=st.integers(1, 9), kernel=small, dilation=small)
def test_same_padding_keeps_the_size(size, kernel, dilation):
    sides = shapes.same_padding(kernel, dilation)[0]
    assert shapes.conv_output_size(size, kernel, 1, sides, dilation) == size


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (0, 1))),
    ],
)
def test_resolve_padding(padding, expected):
    assert shapes.resolve_padding(padding, (3, 2)) == expected


def test_same_needs_stride_one():
    with pytest.raises(ValueError, match='"same" needs stride 1, got stride 2'):
        shapes.resolve_padding("same", 3, stride=2)


def test_resolve_padding_refuses_other_words():
    with pytest.raises(ValueError, match="got 'full'"):
        shapes.resolve_padding("full", 3)


@pytest.mark.parametrize("padding", [-1, (0, -1), ((0, 0), (-1, 0))])
def test_resolve_padding_refuses_negative_numbers(padding):
    with pytest.raises(ValueError, match="padding: expected numbers >= 0"):
        shapes.resolve_padding(padding, 3)


@pytest.mark.parametrize("padding", [((1, 1),), ((1, 1), (1, 1), (1, 1))])
def test_resolve_padding_refuses_other_numbers_of_sides(padding):
    with pytest.raises(ValueError, match="top, bottom"):
        shapes.resolve_padding(padding, 3)


@given(
    size=st.integers(1, 12), kernel=small, stride=small, before=st.integers(0, 3), dilation=small
)
def test_conv_output_size_counts_the_positions_of_the_window(
    size, kernel, stride, before, dilation
):
    padded, extent = size + before + 1, dilation * (kernel - 1) + 1
    positions = len(range(0, padded - extent + 1, stride))
    assert max(0, shapes.conv_output_size(size, kernel, stride, (before, 1), dilation)) == positions


@given(size=st.integers(1, 12), kernel=small, stride=small, dilation=small, data=st.data())
def test_conv_transpose_output_size_is_the_inverse(size, kernel, stride, dilation, data):
    count = shapes.conv_output_size(size, kernel, stride, (1, 2), dilation)
    if count >= 1:
        missed = size + 3 - dilation * (kernel - 1) - 1 - (count - 1) * stride
        back = shapes.conv_transpose_output_size(count, kernel, stride, (1, 2), dilation, missed)
        assert back == size


@given(size=st.integers(1, 12), kernel=small, stride=small, dilation=small, data=st.data())
def test_pool_output_size_is_pytorchs(torch, size, kernel, stride, dilation, data):
    padding = data.draw(st.integers(0, kernel // 2))
    ceil_mode = data.draw(st.booleans())
    count = shapes.pool_output_size(size, kernel, stride, (padding,) * 2, dilation, ceil_mode)
    x = torch.zeros(1, 1, 1, size)
    window = (1, kernel), (1, stride), (0, padding), (1, dilation), ceil_mode
    if count >= 1:
        assert torch.nn.functional.max_pool2d(x, *window).shape[3] == count
    else:
        with pytest.raises(RuntimeError, match="too small"):
            torch.nn.functional.max_pool2d(x, *window)


def test_conv2d_shape():
    assert shapes.conv2d_shape((2, 4, 9, 8), (6, 2, 3, 2), (2, 3), 1, 1, groups=2) == (2, 6, 5, 3)


def test_an_empty_batch_is_legal():
    assert shapes.conv2d_shape((0, 1, 5, 5), (2, 1, 3, 3)) == (0, 2, 3, 3)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "settings", "words"),
    [
        ((64, 28, 28), (8, 1, 3, 3), {}, r"\(64, 28, 28\).*x\[:, None\] or x.unsqueeze\(1\)"),
        ((28, 28), (8, 1, 3, 3), {}, r"expected images \(N, C, H, W\), got shape \(28, 28\)"),
        ((64, 784), (8, 1, 3, 3), {}, r"for flattened images x\.reshape\(-1, C, H, W\)"),
        ((1, 28, 28), (8, 1, 3, 3), {}, "If this is one image without a channel axis"),
        ((2, 1, 0, 5), (8, 1, 3, 3), {}, "only the batch may be empty"),
        ((2, 1, 5, 5), (8, 3, 3), {}, r"w: expected weights .* got shape \(8, 3, 3\)"),
        ((2, 1, 5, 5), (0, 1, 3, 3), {}, r"w: expected weights .* got shape \(0, 1, 3, 3\)"),
        (
            (2, 3, 5, 5),
            (8, 1, 3, 3),
            {},
            r"x: expected 1 channels, .* got 3: x \(2, 3, 5, 5\).*in_channels should be 3",
        ),
        ((2, 4, 5, 5), (8, 4, 3, 3), {"groups": 2}, "expected 8 channels, .* got 4.* groups 2"),
        ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 3}, "groups: .* divides the 4 input channels"),
        ((2, 4, 5, 5), (6, 1, 3, 3), {"groups": 4}, "the 6 output channels, got 4"),
        ((2, 4, 5, 5), (6, 1, 3, 3), {"groups": 0}, "groups: expected a number >= 1"),
        (
            (2, 1, 5, 5),
            (8, 1, 3, 3),
            {"stride": 0},
            r"conv2d: stride: expected numbers >= 1, got \(0, 0\)",
        ),
        ((2, 1, 5, 5), (8, 1, 3, 3), {"dilation": (1, 0)}, "dilation: expected numbers >= 1"),
        ((2, 1, 5, 5), (8, 1, 3, 3), {"padding": -1}, "padding: expected numbers >= 0"),
    ],
)
def test_conv2d_shape_refuses(x_shape, w_shape, settings, words):
    with pytest.raises(ValueError, match=words):
        shapes.conv2d_shape(x_shape, w_shape, **settings)


def test_conv2d_shape_refuses_groups_that_are_no_integer():
    with pytest.raises(TypeError, match=r"groups: expected an integer, got 2\.0"):
        shapes.conv2d_shape((2, 4, 5, 5), (8, 2, 3, 3), groups=2.0)


def test_a_window_larger_than_the_image_is_shown_with_its_arithmetic():
    message = (
        r"horizontal axis: \(W \+ left \+ right .* = \(4 \+ 1 \+ 0 - 2\*\(4-1\) - 1\)//2 \+ 1 = 0"
    )
    with pytest.raises(ValueError, match=message):
        shapes.conv2d_shape((2, 1, 9, 4), (8, 1, 3, 4), 2, ((0, 0), (1, 0)), 2)


def test_pool2d_shape_has_the_kernel_as_default_stride():
    assert shapes.pool2d_shape((2, 3, 7, 9), (2, 3)) == (2, 3, 3, 3)


@pytest.mark.parametrize(
    ("x_shape", "kernel", "settings", "words"),
    [
        ((3, 7, 7), 2, {}, r"pooling: x: .* got shape \(3, 7, 7\).* x\[None\]"),
        ((1, 3, 7, 7), 3, {"padding": 2}, "at most half of the window, 3 // 2 = 1"),
        ((1, 3, 7, 7), 0, {}, "pooling: kernel: expected numbers >= 1"),
        ((1, 3, 7, 7), 8, {}, r"\(7 \+ 0 \+ 0 - 1\*\(8-1\) - 1\)//8 \+ 1 = 0"),
        ((1, 3, 7, 7), 2, {"stride": 0}, "stride: expected numbers >= 1"),
    ],
)
def test_pool2d_shape_refuses(x_shape, kernel, settings, words):
    with pytest.raises(ValueError, match=words):
        shapes.pool2d_shape(x_shape, kernel, **settings)


def test_with_ceil_mode_one_window_may_be_larger_than_the_image():
    assert shapes.pool2d_shape((1, 1, 2, 2), 3, 2, ceil_mode=True) == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"ceil\(\(1 \+ 0 \+ 0 - 1\*\(3-1\) - 1\) / 2\) \+ 1 = 0"):
        shapes.pool2d_shape((1, 1, 2, 1), 3, 2, ceil_mode=True)


def test_pool2d_shape_refuses_words_as_padding():
    with pytest.raises(TypeError, match=r"padding: expected an integer .* got 'same'"):
        shapes.pool2d_shape((1, 3, 7, 7), 2, padding="same")


@pytest.mark.parametrize(("size", "expected"), [(2, (2, 2)), ((1, None), (1, 7)), ((9, 3), (9, 3))])
def test_adaptive_pool2d_shape(size, expected):
    assert shapes.adaptive_pool2d_shape((4, 3, 5, 7), size) == (4, 3, *expected)


def test_adaptive_pool2d_shape_refuses_zero():
    with pytest.raises(ValueError, match="adaptive pooling: output_size: expected numbers >= 1"):
        shapes.adaptive_pool2d_shape((4, 3, 5, 7), 0)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "groups", "expected"),
    [
        ((2, 8, 5, 5), (8, 1, 3, 3), 8, True),
        ((2, 8, 5, 5), (16, 1, 3, 3), 8, False),
        ((2, 8, 5, 5), (8, 2, 3, 3), 4, False),
        ((2, 1, 5, 5), (1, 1, 3, 3), 1, True),
    ],
)
def test_depthwise_is_one_filter_a_channel(x_shape, w_shape, groups, expected):
    assert shapes.is_depthwise(x_shape, w_shape, groups) == expected
