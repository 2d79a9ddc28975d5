"""BatchNorm in inference, folded into the convolution before it: when, the same numbers, and the same errors."""

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.nn import functional as F
from minicnn.nn.fusion import steps_of

pytest.importorskip("numba")

CONVOLUTIONS = {
    "wide": ({"in_channels": 16, "out_channels": 70, "kernel_size": 3, "bias": False}, 9),
    "narrow": ({"in_channels": 3, "out_channels": 6, "kernel_size": 3, "padding": 1}, 9),
    "few pixels": ({"in_channels": 9, "out_channels": 20, "kernel_size": 3}, 4),
    "one tap": ({"in_channels": 20, "out_channels": 24, "kernel_size": 1, "stride": 2}, 9),
    "groups": ({"in_channels": 6, "out_channels": 9, "kernel_size": 3, "groups": 3}, 7),
    "depthwise": ({"in_channels": 12, "out_channels": 12, "kernel_size": 3, "groups": 12}, 7),
    "Winograd": ({"in_channels": 24, "out_channels": 20, "kernel_size": 3, "algorithm": "winograd"}, 9),
    "im2col": ({"in_channels": 5, "out_channels": 6, "kernel_size": 3, "algorithm": "im2col"}, 6),
    "naive": ({"in_channels": 2, "out_channels": 3, "kernel_size": 2, "algorithm": "naive"}, 4),
}  # fmt: skip


def norm_of(channels, **settings):
    """A BatchNorm2d in inference, with statistics and parameters that are not the initial ones."""
    norm = nn.BatchNorm2d(channels, **settings).eval()
    rng = np.random.default_rng(1)
    for tensor in (norm.running_mean, norm.weight, norm.bias):
        if tensor is not None:
            tensor.array[:] = rng.standard_normal(channels)
    norm.running_var.array[:] = rng.uniform(0.1, 3, channels)
    return norm


def chain_of(name="narrow", relu=True, **settings):
    """Convolution, BatchNorm and ReLU, and an image of float32."""
    minicnn.manual_seed(2)
    options, size = CONVOLUTIONS[name]
    conv = nn.Conv2d(**options)
    layers = [conv, norm_of(conv.out_channels, **settings), *([nn.ReLU()] if relu else [])]
    return nn.Sequential(*layers), minicnn.randn(1, conv.in_channels, size, size)


def steps(chain):
    """The first layer of each step that the chain takes in inference."""
    with minicnn.no_grad():
        return starts(chain)


def starts(chain):
    """The first layer of each step that the chain takes now."""
    return [str(part.start) for _, part in steps_of(list(chain))]


@minicnn.no_grad()
def assert_same_as_one_by_one(chain, x, tolerance):
    y = chain(x).numpy()
    with minicnn.fusion(False):
        expected = chain(x).numpy()
    assert y.dtype == expected.dtype
    finite = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * finite)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_same_numbers(name, affine, relu):
    chain, x = chain_of(name, relu, affine=affine)
    with minicnn.no_grad():
        chain(x)
    assert steps(chain) == ["0"]
    assert_same_as_one_by_one(chain, x, 1e-5)
    assert_same_as_one_by_one(chain.double(), x.double(), 1e-13)


def test_what_follows_stays_as_it_is():
    chain, x = chain_of()
    chain.extend([nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, padding=1), norm_of(4), nn.Flatten()])
    with minicnn.no_grad():
        chain(x)
    assert steps(chain) == ["0", "3", "4", "6"]
    assert_same_as_one_by_one(chain, x, 1e-5)


@pytest.mark.parametrize("value", [0, -1, 1e30, np.nan, np.inf])
def test_extreme_variances(value):
    chain, x = chain_of()
    chain[1].running_var.array[1] = value
    assert_same_as_one_by_one(chain, x, 1e-5)


@pytest.mark.parametrize("value", [0, -2, np.nan, 1e30])
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean"])
def test_extreme_parameters(name, value):
    chain, x = chain_of()
    getattr(chain[1], name).array[1] = value
    assert_same_as_one_by_one(chain, x, 1e-5)


def test_nan_and_infinity_in_the_image():
    chain, x = chain_of(relu=False)
    x.array[0, 0, 1, 1], x.array[0, 1, 6, 6] = np.nan, np.inf
    assert_same_as_one_by_one(chain, x, 1e-5)


def test_an_empty_batch():
    chain, x = chain_of()
    with minicnn.no_grad():
        assert chain(x[:0]).shape == (0, 6, 9, 9)


def test_changes_of_weights_and_statistics_are_seen():
    chain, x = chain_of()
    with minicnn.no_grad():
        chain(x)
        for tensor in (*chain.parameters(), chain[1].running_mean, chain[1].running_var):
            tensor.array[...] *= 1.5
            assert_same_as_one_by_one(chain, x, 1e-5)


# --- when it is folded ----------------------------------------------------------------------------


def test_where_gradients_are_recorded_it_is_not():
    chain, x = chain_of()
    chain(x).sum().backward()
    assert starts(chain) == ["0", "1"]
    assert all(parameter.grad is not None for parameter in chain.parameters())


def test_in_training_mode_it_is_not():
    chain, x = chain_of()
    before = chain[1].running_mean.numpy().copy()
    with minicnn.no_grad():
        chain.train()(x)
        assert steps(chain) == ["0", "1"]
        assert (chain[1].running_mean.numpy() != before).all()
        chain.eval()(x)
        assert steps(chain) == ["0"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_with_a_hook_sees_its_own_output(place):
    chain, x = chain_of()
    seen = []
    chain[place].register_forward_hook(lambda module, inputs, output: seen.append(output.numpy()))
    with minicnn.no_grad():
        chain(x)
        expected = chain[:1](x) if place == 0 else chain[1](chain[:1](x))
    np.testing.assert_array_equal(seen[0], expected.numpy())


def test_without_running_statistics_it_is_not():
    chain, x = chain_of()
    chain[1] = nn.BatchNorm2d(6, track_running_stats=False).eval()
    with minicnn.no_grad():
        chain(x)
    assert steps(chain) == ["0", "1"]
    assert_same_as_one_by_one(chain, x, 0)


def test_without_eps_it_is_not():
    chain, x = chain_of(eps=0, relu=False)
    chain[1].running_var.array[0] = 0
    assert_same_as_one_by_one(chain, x, 0)


def test_in_half_precision_it_is_not():
    chain, x = chain_of()
    chain, x = chain.to(np.float16), x.to(np.float16)
    with minicnn.no_grad():
        chain(x)
    assert steps(chain) == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        (lambda chain: chain.__setitem__(1, norm_of(5)), 1, "batch_norm: for x of shape"),
        (lambda chain: chain[1].double(), 1, "batch_norm: x and parameters must have one dtype"),
        (lambda chain: chain.double(), 0, "conv2d: x and parameters must have one dtype"),
        (lambda chain: setattr(chain[1], "running_var", None), 1, "running statistics are needed"),
        (lambda chain: chain.__setitem__(0, nn.Conv2d(4, 6, 3)), 0, "expected 4 channels"),
    ],
)
def test_errors_are_those_of_the_layer_and_name_its_place(change, part, message):
    chain, x = chain_of()
    change(chain)
    with minicnn.no_grad(), pytest.raises((TypeError, ValueError), match=message) as error:
        chain(x)
    assert f"which is part {part} of a Sequential" in error.value.__notes__


# --- what it is made of ---------------------------------------------------------------------------


def test_scale_and_shift_are_what_the_layer_does():
    norm, x, bias = norm_of(4), minicnn.randn(2, 4, 3, 3), minicnn.randn(4)
    with minicnn.no_grad():
        for before in (None, bias):
            scale, shift = norm.scale_and_shift(before)
            y = x * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
            expected = norm(x if before is None else x + before.reshape(-1, 1, 1))
            np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
            assert scale.dtype == shift.dtype == np.float32


def test_scale_and_shift_need_running_statistics():
    with pytest.raises(ValueError, match="BatchNorm2d: scale and shift follow from running stat"):
        nn.BatchNorm2d(4, track_running_stats=False).scale_and_shift()


@pytest.mark.parametrize("max_pool", [None, 2])
def test_a_scale_is_an_argument_of_conv2d(max_pool):
    x, weight = minicnn.randn(2, 3, 8, 8), minicnn.randn(5, 3, 3, 3)
    scale, bias = minicnn.randn(5), minicnn.randn(5)
    y = F.conv2d(x, weight, bias, activation="relu", max_pool=max_pool, scale=scale)
    expected = F.relu(F.conv2d(x, weight) * scale.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1))
    if max_pool:
        expected = F.max_pool2d(expected, max_pool)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wanted", range(4))
def test_a_scale_has_no_gradient(wanted):
    tensors = [minicnn.randn(1, 2, 4, 4), minicnn.randn(3, 2, 3, 3), minicnn.randn(3), minicnn.randn(3)]  # fmt: skip
    tensors[wanted].requires_grad_()
    with pytest.raises(RuntimeError, match="conv2d: scale is for inference, and has no gradient"):
        F.conv2d(*tensors[:3], scale=tensors[3])


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (minicnn.ones(4), ValueError, r"conv2d: scale: expected shape \(3,\), got \(4,\)"),
        (minicnn.ones(3).double(), TypeError, "x float32 of shape .* scale float64"),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(scale, error, message):
    with pytest.raises(error, match=message):
        F.conv2d(minicnn.randn(1, 2, 4, 4), minicnn.randn(3, 2, 3, 3), scale=scale)


def test_a_numpy_eps_does_not_change_the_dtype():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, eps=np.float64(1e-5))).eval()
    with minicnn.no_grad():
        assert network(minicnn.randn(1, 2, 5, 5)).dtype == np.float32
