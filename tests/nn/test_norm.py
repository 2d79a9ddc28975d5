"""Normalisation layers against PyTorch's, through several steps of training and inference."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from tests.nn.oracle import assert_close, assert_like_torch, random_array

SETTINGS = [
    {},
    {"momentum": 0.3},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
    {"eps": 0.1},
]
SHAPES = [("BatchNorm1d", (6, 3)), ("BatchNorm1d", (4, 3, 5)), ("BatchNorm2d", (4, 3, 2, 5))]


def twins_of(torch, kind, settings, dtype):
    mine = getattr(nn, kind)(3, **settings).to(dtype)
    twin = getattr(torch.nn, kind)(3, **settings).to(getattr(torch, dtype))
    for index, (parameter, other) in enumerate(
        zip(mine.parameters(), twin.parameters(), strict=True)
    ):
        parameter.data[:] = random_array((3,), dtype, index)
        other.data[:] = torch.tensor(parameter.array)
    return mine, twin


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_batch_norm_like_torch(torch, kind, shape, settings, dtype):
    """Three steps of training, then inference, then training again: outputs, gradients and buffers."""
    mine, twin = twins_of(torch, kind, settings, dtype)
    for step, training in enumerate([True, True, True, False, True]):
        mine.train(training)
        twin.train(training)
        x = step + (1 + step) * random_array(shape, dtype, step)
        assert_like_torch(torch, mine, twin, x.astype(dtype), seed=step)
        for (name, buffer), (_, other) in zip(
            mine.named_buffers(), twin.named_buffers(), strict=True
        ):
            np.testing.assert_allclose(buffer.array, other.numpy(), rtol=1e-5, err_msg=name)
    for parameter, other in zip(mine.parameters(), twin.parameters(), strict=True):
        assert_close(parameter.grad.array, other.grad.numpy())


def test_momentum_weights_the_new_batch():
    layer = nn.BatchNorm1d(1, momentum=0.1)
    layer(Tensor([[1.0], [3.0]]))
    assert layer.running_mean.item() == pytest.approx(0.1 * 2)
    assert layer.running_var.item() == pytest.approx(
        0.9 * 1 + 0.1 * 2
    )  # unbiased: (1 + 1) / (2 - 1)


def test_momentum_none_averages_over_all_batches():
    layer = nn.BatchNorm1d(1, momentum=None)
    for value in (1.0, 4.0, 7.0):
        layer(Tensor([[value - 1], [value + 1]]))
    assert layer.running_mean.item() == pytest.approx(4)
    assert layer.running_var.item() == pytest.approx(2)
    assert layer.num_batches_tracked.item() == 3


def test_inference_changes_no_statistics_and_has_gradients():
    layer = nn.BatchNorm2d(3).eval()
    before = {name: t.array.copy() for name, t in layer.state_dict().items()}
    x = Tensor(random_array((1, 3, 2, 2), "float32"), requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.array.any()
    assert layer.weight.grad.array.any()
    for name, tensor in layer.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])


def test_training_without_recording_updates_the_statistics():
    layer = nn.BatchNorm1d(2)
    with minicnn.no_grad():
        layer(minicnn.rand(4, 2))
    assert layer.running_mean.array.all()


def test_one_value_per_channel_is_refused_and_changes_nothing():
    layer = nn.BatchNorm1d(2, momentum=None)
    with pytest.raises(ValueError, match=r"drop_last=True") as caught:
        layer(minicnn.rand(1, 2))
    assert caught.value.__notes__ == [f"in {layer!r}"]
    assert layer.num_batches_tracked.item() == 0
    assert layer.eval()(minicnn.rand(1, 2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm2d(3), (4, 3)),
        (nn.BatchNorm2d(3), (3, 4, 4)),
        (nn.BatchNorm1d(3), (2, 3, 4, 4)),
    ],
)
def test_other_numbers_of_axes_are_refused(layer, shape):
    with pytest.raises(ValueError, match="axes, got shape"):
        layer(minicnn.zeros(shape))


def test_mixed_dtypes_are_refused():
    for layer in (
        nn.BatchNorm1d(3),
        nn.BatchNorm1d(3, affine=False),
        nn.LayerNorm(3),
        nn.GroupNorm(1, 3),
    ):
        with pytest.raises(TypeError, match="float64") as caught:
            layer(Tensor(random_array((4, 3))))
        assert caught.value.__notes__ == [f"in {layer!r}"]


def test_the_number_of_channels_must_fit():
    with pytest.raises(
        ValueError, match=r"expected weight of shape \(2,\), got \(3,\); num_features should be 2"
    ):
        nn.BatchNorm1d(3)(minicnn.zeros(4, 2))


def test_reset_parameters():
    layer = nn.BatchNorm1d(2)
    layer(minicnn.rand(4, 2))
    layer.weight.data.fill_(5)
    layer.reset_parameters()
    fresh = nn.BatchNorm1d(2).state_dict()
    assert all(
        tensor.tolist() == fresh[name].tolist() for name, tensor in layer.state_dict().items()
    )


def test_reset_parameters_without_scale():
    layer = nn.BatchNorm2d(2)
    layer.register_parameter("weight", None)
    layer.bias.data.fill_(5)
    layer.reset_parameters()
    assert layer.bias.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("LayerNorm", (5,), {}),
        ("LayerNorm", ((4, 5),), {}),
        ("LayerNorm", ([4, 5],), {"eps": 0.1, "bias": False}),
        ("LayerNorm", (5,), {"elementwise_affine": False}),
        ("GroupNorm", (2, 4), {}),
        ("GroupNorm", (4, 4), {"affine": False}),
        ("GroupNorm", (1, 4, 0.1), {}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_and_group_norm_like_torch(torch, kind, settings, named, dtype):
    mine = getattr(nn, kind)(*settings, **named).to(dtype)
    twin = getattr(torch.nn, kind)(*settings, **named).to(getattr(torch, dtype))
    assert list(mine.state_dict()) == list(twin.state_dict())
    assert_like_torch(torch, mine, twin, random_array((3, 4, 5), dtype))
    for parameter, other in zip(mine.parameters(), twin.parameters(), strict=True):
        assert_close(parameter.grad.array, other.grad.numpy())


def test_group_norm_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="num_groups must divide num_channels, got 3 and 4"):
        nn.GroupNorm(3, 4)


def test_text(torch):
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05)"
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05)"
    assert repr(nn.BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True)"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.BatchNorm2d(8 / 2), "BatchNorm2d: num_features"),
        (lambda: nn.GroupNorm(2, 8 / 2), "GroupNorm: num_channels"),
    ],
)
def test_sizes_that_are_no_whole_numbers(make, name):
    with pytest.raises(TypeError, match=rf"{name}: expected a whole number, got 4\.0; use //"):
        make()
