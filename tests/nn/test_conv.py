"""Convolution layers: shapes of their parameters, initial values, settings, text, errors that name the layer."""

import math

import numpy as np
import pytest

import minicnn
import minicnn.nn.functional as F
from minicnn import Tensor, nn
from tests.nn.oracle import assert_like_torch, random_array

CASES = [
    ("Conv1d", (4, 6, 3), {}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2), {}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3), {"padding": "same", "bias": False}, (2, 4, 9)),
    ("Conv2d", (4, 6, 3), {}, (2, 4, 7, 8)),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2), {}, (2, 4, 7, 8)),
    ("Conv2d", (4, 4, 3), {"groups": 4, "padding": "same", "bias": False}, (2, 4, 5, 5)),
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 3, 4)),
    ("ConvTranspose2d", (4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, (1, 2)), {}, (2, 4, 3, 4)),
]
each_case = pytest.mark.parametrize(("kind", "settings", "named", "shape"), CASES)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_like_torch(torch, kind, settings, named, shape, dtype):
    mine = getattr(nn, kind)(*settings, **named).to(dtype)
    twin = getattr(torch.nn, kind)(*settings, **named).to(getattr(torch, dtype))
    mine.load_state_dict(twin.state_dict())
    assert_like_torch(torch, mine, twin, random_array(shape, dtype))
    for parameter, other in zip(mine.parameters(), twin.parameters(), strict=True):
        assert parameter.grad.dtype == dtype
        np.testing.assert_allclose(parameter.grad.array, other.grad.numpy(), rtol=1e-3, atol=1e-4)


@each_case
def test_initial_values_are_torchs(torch, kind, settings, named, shape):
    """Uniform between -1 / sqrt(fan_in) and 1 / sqrt(fan_in), bias included."""
    mine = getattr(nn, kind)(*settings, **named)
    twin = getattr(torch.nn, kind)(*settings, **named)
    bound = 1 / math.sqrt(math.prod(mine.weight.shape[1:]))
    for parameter, other in zip(mine.parameters(), twin.parameters(), strict=True):
        assert parameter.shape == tuple(other.shape)
        assert parameter.dtype == np.float32
        assert np.abs(parameter.array).max() <= bound
        assert parameter.array.std() > bound / 4
        assert other.abs().max() <= bound


def test_a_seed_repeats_the_initial_values():
    weights = []
    for seed in (1, 1, 2):
        minicnn.manual_seed(seed)
        weights.append(nn.Conv2d(1, 4, 3).weight.array)
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


@pytest.mark.parametrize("algorithm", ["naive", "im2col", "direct"])
def test_the_algorithm_is_handed_on(monkeypatch, algorithm):
    seen = []
    monkeypatch.setattr(F, "conv2d", lambda *args: seen.append(args[-5:]))
    nn.Conv2d(1, 1, 3, algorithm=algorithm)(minicnn.zeros(1, 1, 3, 3))
    assert seen == [(algorithm, None, None, None, None)]  # precision, activation, max_pool, scale
    assert f"algorithm={algorithm!r}" in repr(nn.Conv2d(1, 1, 3, algorithm=algorithm))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))"),
        (
            {"padding": 1, "bias": False},
            "Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)",
        ),
        (
            {"padding": "same", "dilation": 2},
            "Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding='same', dilation=(2, 2))",
        ),
    ],
)
def test_repr_is_torchs(torch, settings, text):
    assert repr(torch.nn.Conv2d(1, 8, 3, **settings)).replace("=same", "='same'") == text
    assert repr(nn.Conv2d(1, 8, 3, **settings)) == text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2, in_channels=3, out_channels=4"),
        (lambda: nn.Conv2d(2, 4, 3, groups=0), "groups"),
        (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), "stride 1"),
        (lambda: nn.Conv1d(1, 1, 3, stride=2, padding="same"), "stride 1"),
        (lambda: nn.Conv2d(1, 0, 3), "out_channels must be at least 1"),
        (lambda: nn.Conv2d(1, 1, 0), "kernel"),
        (lambda: nn.ConvTranspose2d(1, 1, 2, padding=-1), ">= 0"),
        (lambda: nn.Conv2d(1, 1, 3, stride=(0, 1)), "stride"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "3 numbers"),
        (lambda: nn.Conv2d(1, 1, 3, padding="full"), "'full'"),
        (lambda: nn.ConvTranspose2d(4, 3, 2, groups=2), "groups"),
    ],
)
def test_settings_are_refused_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (
            nn.Conv2d(1, 8, 3),
            minicnn.zeros(64, 28, 28),
            ValueError,
            r"64 images without a channel axis",
        ),
        (nn.Conv2d(3, 8, 3), minicnn.zeros(2, 1, 28, 28), ValueError, "expected 3 channels"),
        (
            nn.Conv2d(1, 8, 5),
            minicnn.zeros(2, 1, 4, 4),
            ValueError,
            r"\(4 \+ 0 \+ 0 - 1\*\(5-1\) - 1\)",
        ),
        (
            nn.Conv2d(1, 8, 3),
            minicnn.zeros(2, 1, 4, 4, dtype="float64"),
            TypeError,
            r"x\.to\(weight\.dtype\)",
        ),
        (nn.Conv2d(1, 8, 3), minicnn.zeros(2, 1, 4, 4, dtype="uint8"), TypeError, "uint8"),
    ],
)
def test_errors_name_the_layer(layer, x, error, message):
    with pytest.raises(error, match=message) as caught:
        layer(x)
    assert caught.value.__notes__ == [f"in {layer!r}"]


def test_input_and_parameters_are_not_changed():
    layer = nn.Conv2d(2, 3, 3)
    x = Tensor(random_array((2, 2, 5, 5), "float32"))
    before = [t.array.tobytes() for t in (x, *layer.parameters())]
    layer(x).sum().backward()
    assert [t.array.tobytes() for t in (x, *layer.parameters())] == before


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.Conv2d(1, 8 / 2, 3), "Conv2d: out_channels"),
        (lambda: nn.Conv1d(8 / 2, 1, 3), "Conv1d: in_channels"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, groups=8 / 2), "ConvTranspose2d: groups"),
    ],
)
def test_sizes_that_are_no_whole_numbers(make, name):
    with pytest.raises(TypeError, match=rf"{name}: expected a whole number, got 4\.0; use //"):
        make()


@pytest.mark.parametrize("make", [nn.Conv2d, nn.Conv1d, nn.ConvTranspose2d])
@pytest.mark.parametrize(
    ("settings", "argument"),
    [((0,), "kernel"), ((3.0,), "kernel(_size)?"), ((3, 0), "stride"), ((3, 1, -1), "padding")],
)
def test_refused_settings_name_the_layer(make, settings, argument):
    with pytest.raises((TypeError, ValueError), match=f"^{make.__name__}: {argument}: expected"):
        make(1, 8, *settings)


def test_another_word_as_padding_names_the_layer():
    with pytest.raises(ValueError, match=r"^Conv2d: padding: expected .* got 'full'"):
        nn.Conv2d(1, 8, 3, padding="full")


def test_channels_in_front_or_at_the_end():
    with pytest.raises(ValueError, match="in_channels should be 3"):
        nn.Conv2d(1, 8, 3)(minicnn.zeros(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"x\.permute\(0, 3, 1, 2\)"):
        nn.Conv2d(3, 8, 3)(minicnn.zeros(2, 9, 9, 3))
