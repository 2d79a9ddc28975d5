"""Convolutions: against PyTorch for all settings, algorithms against each other, slopes, empty batches, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from minicnn.nn.functional.conv import Conv2d, ConvTranspose2d
from tests.checks import check_contract
from tests.devices import on_every_device, on_gpu
from tests.kernels.conv_cases import channels
from tests.nn.oracle import assert_close, assert_like_torch, dtypes, orders, random_array, seeds

# PyTorch warns, once a program, about its own speed.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

ALGORITHMS = ["naive", "im2col", "direct", "auto"]


def here(algorithm):
    """The algorithm to try: on a GPU, the one that is chosen there."""
    return "auto" if on_gpu() else algorithm


@st.composite
def conv2d_cases(draw):
    """Draw the shapes of x and weight, and settings; strides may leave a remainder."""
    small = st.integers(1, 3)
    groups = draw(small)
    c_per_group, k_per_group = draw(channels(groups)), draw(channels(groups))
    kernel, dilation = (draw(small), draw(small)), (draw(small), draw(small))
    word = draw(st.sampled_from(["", "", "", "same", "valid"]))
    stride = 1 if word == "same" else draw(st.one_of(small, st.tuples(small, small)))
    sides = st.integers(0, 2)
    padding = word or draw(st.one_of(sides, st.tuples(sides, sides)))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(n, n + 3)) for n in extent]
    x_shape = (draw(st.integers(1, 3)), groups * c_per_group, *size)
    w_shape = (groups * k_per_group, c_per_group, *kernel)
    return x_shape, w_shape, (stride, padding, dilation, groups)


@on_every_device
@settings(max_examples=50)
@given(
    conv2d_cases(),
    st.sampled_from(ALGORITHMS),
    st.booleans(),
    dtypes,
    st.tuples(*[orders] * 4),
    seeds,
)
def test_conv2d_like_torch(torch, case, algorithm, bias, dtype, memory, seed):
    x_shape, w_shape, options = case
    assert_like_torch(
        torch,
        lambda *tensors: F.conv2d(*tensors, *options, algorithm=here(algorithm)),
        lambda *tensors: torch.nn.functional.conv2d(*tensors, *options),
        random_array(x_shape, dtype, seed, memory[0]),
        random_array(w_shape, dtype, seed + 1, memory[1]),
        random_array(w_shape[:1], dtype, seed + 2, memory[2]) if bias else None,
        seed=seed + 3,
        order=memory[3],
    )


@on_every_device
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 3, 7, 7), (4, 3, 7, 7), (2, 3)),  # a stem: 7 x 7, stride 2, with a remainder
        ((2, 4, 6, 6), (4, 1, 3, 3), (1, 1, 1, 4)),  # depthwise
        ((2, 4, 7, 6), (8, 1, 3, 3), (2, 1, 1, 4)),  # depthwise with two filters and stride
        ((2, 6, 6, 7), (4, 3, 3, 2), (2, 0, 1, 2)),  # groups and stride
        ((2, 5, 4, 4), (3, 5, 1, 1), ()),  # pointwise
        ((2, 3, 5, 5), (4, 3, 1, 1), (2,)),  # pointwise with stride: pixels that nobody saw
        ((1, 1, 1, 1), (1, 1, 1, 1), ()),
        ((1, 1, 1, 9), (2, 1, 1, 3), ((1, 2), (0, 1))),
        ((2, 20, 3, 3), (18, 20, 2, 2), (1, "same")),  # more channels than vector lanes
        ((3, 2, 9, 9), (2, 2, 3, 3), (1, "same", 2)),
    ],
)
def test_conv2d_shapes_of_known_networks(torch, x_shape, w_shape, options, algorithm):
    assert_like_torch(
        torch,
        lambda x, w, b: F.conv2d(x, w, b, *options, algorithm=here(algorithm)),
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, *options),
        random_array(x_shape, "float32"),
        random_array(w_shape, "float32", 1),
        random_array(w_shape[:1], "float32", 2),
    )


@st.composite
def conv1d_cases(draw):
    """Draw the shapes of x and weight of a 1-D convolution, and settings."""
    small = st.integers(1, 3)
    groups, per_group, kernel, dilation = (draw(small) for _ in range(4))
    padding = draw(st.sampled_from([0, 1, 2, "same", "valid"]))
    stride = 1 if padding == "same" else draw(small)
    length = draw(st.integers(0, 6)) + dilation * (kernel - 1) + 1
    x_shape, w_shape = (2, groups * per_group, length), (2 * groups, per_group, kernel)
    return x_shape, w_shape, (stride, padding, dilation, groups)


@on_every_device
@given(conv1d_cases(), dtypes, st.tuples(orders, orders), seeds)
def test_conv1d_like_torch(torch, case, dtype, memory, seed):
    x_shape, w_shape, options = case
    assert_like_torch(
        torch,
        lambda *tensors: F.conv1d(*tensors, *options),
        lambda *tensors: torch.nn.functional.conv1d(*tensors, *options),
        random_array(x_shape, dtype, seed, memory[0]),
        random_array(w_shape, dtype, seed + 1, memory[1]),
        random_array(w_shape[:1], dtype, seed + 2),
        seed=seed + 3,
    )


@st.composite
def transposed_cases(draw):
    """Draw the shapes of x and weight of a transposed convolution, and settings."""
    small = st.integers(1, 3)
    groups = draw(small)
    c_per_group, k_per_group = draw(channels(groups)), draw(channels(groups))
    kernel, stride, dilation = ((draw(small), draw(small)) for _ in range(3))
    extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
    size = (draw(st.integers(2, 5)), draw(st.integers(2, 5)))
    room = [  # half of the output's size without padding, less the pixel that must stay
        ((n - 1) * s + d * (k - 1) + e) // 2
        for n, s, d, k, e in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    padding = tuple(draw(st.integers(0, min(2, most))) for most in room)
    x_shape = (draw(st.integers(1, 2)), groups * c_per_group, *size)
    w_shape = (groups * c_per_group, k_per_group, *kernel)
    return x_shape, w_shape, (stride, padding, extra, groups, dilation)


@on_every_device
@given(
    transposed_cases(),
    st.sampled_from(ALGORITHMS),
    st.booleans(),
    dtypes,
    st.tuples(*[orders] * 3),
    seeds,
)
def test_conv_transpose2d_like_torch(torch, case, algorithm, bias, dtype, memory, seed):
    x_shape, w_shape, options = case
    channels = w_shape[1] * options[3]
    assert_like_torch(
        torch,
        lambda *tensors: F.conv_transpose2d(*tensors, *options, algorithm=here(algorithm)),
        lambda *tensors: torch.nn.functional.conv_transpose2d(*tensors, *options),
        random_array(x_shape, dtype, seed, memory[0]),
        random_array(w_shape, dtype, seed + 1, memory[1]),
        random_array((channels,), dtype, seed + 2) if bias else None,
        seed=seed + 3,
        order=memory[2],
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_algorithms_agree(algorithm, dtype):
    arrays = (
        random_array((2, 6, 9, 8), dtype),
        random_array((4, 3, 3, 2), dtype, 1),
        random_array((4,), dtype, 2),
    )
    results = {}
    for each in (algorithm, "naive"):
        x, w, b = (Tensor(a.copy(), requires_grad=True) for a in arrays)
        y = F.conv2d(x, w, b, (2, 1), 1, (1, 2), 2, algorithm=each)
        y.backward(random_array(y.shape, dtype, 3))
        results[each] = [t.array for t in (y, x.grad, w.grad, b.grad)]
    for mine, twin in zip(results[algorithm], results["naive"], strict=True):
        assert_close(mine, twin)


def test_slopes():
    x, w, b = (
        random_array((2, 4, 5, 6)),
        random_array((4, 2, 3, 2), seed=1),
        random_array((4,), seed=2),
    )
    tensors = [Tensor(a, requires_grad=True) for a in (x, w, b)]
    gradcheck(lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 2), tensors)
    gradcheck(lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1, 2), tensors)


def test_slopes_in_one_dimension():
    tensors = [
        Tensor(a, requires_grad=True)
        for a in (
            random_array((2, 4, 9)),
            random_array((4, 2, 3), seed=1),
            random_array((4,), seed=2),
        )
    ]
    gradcheck(lambda x, w, b: F.conv1d(x, w, b, 2, 1, 2, 2), tensors)


@on_every_device
@pytest.mark.parametrize("bias", [random_array((4,), seed=2), None], ids=["bias", "no bias"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_contract(algorithm, bias):
    arrays = random_array((2, 4, 6, 5)), random_array((4, 2, 3, 3), seed=1), bias
    algorithm = here(algorithm)
    check_contract(lambda: Conv2d(2, 1, 1, 2, algorithm), *arrays)
    output_shape = (2, 4, 6, 5)
    x = random_array((2, 4, 3, 3))
    check_contract(lambda: ConvTranspose2d(output_shape, 2, 1, 1, 2, algorithm), x, *arrays[1:])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_empty_batch(function, algorithm):
    x = Tensor(random_array((0, 3, 5, 5), "float32"), requires_grad=True)
    w = Tensor(random_array((3, 3, 3, 3), "float32"), requires_grad=True)
    b = Tensor(random_array((3,), "float32"), requires_grad=True)
    y = function(x, w, b, padding=1, algorithm=here(algorithm))
    assert y.shape == (0, 3, 5, 5)
    y.sum().backward()
    for tensor in (x, w, b):
        assert tensor.grad.shape == tensor.shape
        assert tensor.grad.dtype == np.float32
        assert not tensor.grad.array.any()


def test_nan_stays_where_it_is_seen():
    x = Tensor(np.zeros((1, 1, 1, 5), "float32"))
    x.array[..., 0] = np.nan
    y = F.conv2d(x, Tensor(np.ones((1, 1, 1, 2), "float32")))
    np.testing.assert_array_equal(np.isnan(y.array).ravel(), [True, False, False, False])


def test_only_the_gradients_that_are_wanted():
    x = Tensor(random_array((1, 1, 4, 4)))
    w = Tensor(random_array((1, 1, 2, 2)), requires_grad=True)
    F.conv2d(x, w).sum().backward()
    assert x.grad is None
    assert w.grad is not None


def x_and_w(x_shape, w_shape, dtype="float32"):
    return Tensor(random_array(x_shape, dtype)), Tensor(random_array(w_shape, dtype))


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        ((2, 3, 5, 5), (4, 2, 3, 3), {}, "expected 2 channels"),
        ((64, 28, 28), (8, 1, 3, 3), {}, r"x\.unsqueeze\(1\)"),
        ((2, 1, 4, 4), (1, 1, 5, 5), {}, r"\(4 \+ 0 \+ 0 - 1\*\(5-1\) - 1\)//1 \+ 1 = 0"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"groups": 2}, "groups"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"padding": "same", "stride": 2}, "stride 1"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"padding": "full"}, "'full'"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"padding": -1}, ">= 0"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"stride": 0}, ">= 1"),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"algorithm": "fft"}, "'fft'"),
    ],
)
def test_conv2d_refuses(x_shape, w_shape, options, message):
    with pytest.raises(ValueError, match=message):
        F.conv2d(*x_and_w(x_shape, w_shape), **options)


def test_conv2d_refuses_mixed_dtypes():
    x, w = x_and_w((1, 1, 4, 4), (1, 1, 2, 2))
    with pytest.raises(TypeError, match=r"x float64 of shape \(1, 1, 4, 4\), weight float32"):
        F.conv2d(x.double(), w)
    with pytest.raises(TypeError, match="bias float64"):
        F.conv2d(x, w, Tensor(np.zeros(1)))
    with pytest.raises(TypeError, match="x uint8"):
        F.conv2d(Tensor(np.zeros((1, 1, 4, 4), "uint8")), w)


def test_conv2d_refuses_a_bias_of_another_size():
    x, w = x_and_w((1, 1, 4, 4), (3, 1, 2, 2))
    with pytest.raises(
        ValueError, match=r"bias of shape \(3,\), one per output channel, got \(2,\)"
    ):
        F.conv2d(x, w, Tensor(np.zeros(2, "float32")))


def test_conv1d_refuses_sequences_without_channels():
    with pytest.raises(ValueError, match=r"x\.unsqueeze\(1\)"):
        F.conv1d(*x_and_w((8, 20), (4, 1, 3)))


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "message"),
    [
        ((2, 3, 5, 5), (4, 3, 3, 3), {}, r"weight of shape \(C, K / groups, R, S\)"),
        ((2, 3, 5, 5), (3, 3, 3, 3), {"groups": 2}, "groups must divide"),
        ((2, 3, 5, 5), (3, 3, 3, 3), {"output_padding": 1}, "smaller than the stride"),
        ((2, 3, 1, 1), (3, 3, 2, 2), {"padding": 1}, "leaves size"),
    ],
)
def test_conv_transpose2d_refuses(x_shape, w_shape, options, message):
    with pytest.raises(ValueError, match=message):
        F.conv_transpose2d(*x_and_w(x_shape, w_shape), **options)


@on_every_device
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(
    "settings", [{}, {"padding": 1}, {"stride": 2, "padding": (0, 1)}, {"groups": 2}]
)
@pytest.mark.parametrize("max_pool", [2, (1, 3)])
def test_conv2d_with_max_pool_is_both_after_another(settings, activation, max_pool):
    def both(x, weight, bias):
        return F.max_pool2d(F.conv2d(x, weight, bias, **settings), max_pool, activation=activation)

    def one(x, weight, bias):
        return F.conv2d(x, weight, bias, **settings, activation=activation, max_pool=max_pool)

    results = []
    for function in (both, one):
        groups = settings.get("groups", 1)
        shapes = (3, 4, 9, 10), (6, 4 // groups, 3, 3), (6,)
        tensors = [
            Tensor(random_array(shape, np.float64, seed), requires_grad=True)
            for seed, shape in enumerate(shapes)
        ]
        y = function(*tensors)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_gradients_of_conv2d_with_max_pool():
    shapes = (2, 3, 6, 6), (4, 3, 3, 3), (4,)
    tensors = [Tensor(random_array(shape, np.float64, 5), requires_grad=True) for shape in shapes]
    gradcheck(lambda *t: F.conv2d(*t, activation="relu", max_pool=2), tensors)


def test_a_frozen_weight_gets_no_gradient_through_conv2d_with_max_pool():
    x = Tensor(random_array((2, 3, 6, 6), np.float32, 0), requires_grad=True)
    weight = Tensor(random_array((4, 3, 3, 3), np.float32, 1))
    F.conv2d(x, weight, max_pool=2).sum().backward()
    assert weight.grad is None
    assert x.grad.shape == x.shape


def test_max_pool_that_does_not_fit_is_refused():
    x, weight = Tensor(np.ones((1, 1, 4, 4))), Tensor(np.ones((1, 1, 3, 3)))
    with pytest.raises(ValueError, match="pooling: the window is larger"):
        F.conv2d(x, weight, max_pool=3)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2, 3, 8, 8)])
def test_max_pool_does_not_hide_what_is_wrong_with_the_images(shape):
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\)"):
        F.conv2d(Tensor(np.ones(shape)), Tensor(np.ones((4, 3, 3, 3))), max_pool=2)


def test_an_array_in_the_place_of_a_weight_is_refused_with_advice():
    with pytest.raises(TypeError, match=r"wrap arrays: minicnn\.tensor\(array\)"):
        F.conv2d(Tensor(np.ones((1, 1, 4, 4), np.float32)), np.ones((1, 1, 3, 3), np.float32))
