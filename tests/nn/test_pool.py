"""Pooling layers: each calls its function with its settings; text like PyTorch's; errors name the layer."""

import pytest

import minicnn
from minicnn import nn
from tests.nn.oracle import assert_like_torch, distinct

CASES = [
    ("MaxPool1d", (2,), {}),
    ("MaxPool1d", (3, 2, 1, 2), {"ceil_mode": True}),
    ("AvgPool1d", (2,), {}),
    ("AvgPool1d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
    ("AdaptiveAvgPool1d", (4,), {}),
    ("AdaptiveMaxPool1d", (4,), {}),
    ("MaxPool2d", (2,), {}),
    ("MaxPool2d", ((2, 3),), {"stride": (2, 3), "padding": (0, 1)}),
    ("MaxPool2d", (3, 2, 1), {"dilation": (1, 2), "ceil_mode": True}),
    ("AvgPool2d", (2,), {}),
    ("AvgPool2d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}),
    ("AdaptiveAvgPool2d", ((1, 1),), {}),
    ("AdaptiveAvgPool2d", ((3, None),), {}),
    ("AdaptiveMaxPool2d", (3,), {}),
]


@pytest.mark.parametrize(("kind", "settings", "named"), CASES)
def test_like_torch(torch, kind, settings, named):
    shape = (2, 3, 9) if kind.endswith("1d") else (2, 3, 9, 8)
    mine, twin = (getattr(lib, kind)(*settings, **named) for lib in (nn, torch.nn))
    assert_like_torch(torch, mine, twin, distinct(shape))


@pytest.mark.parametrize(
    ("kind", "opposite"), [("MinPool1d", "MaxPool1d"), ("MinPool2d", "MaxPool2d")]
)
def test_min_is_the_opposite_of_max(torch, kind, opposite):
    shape = (2, 3, 9) if kind.endswith("1d") else (2, 3, 9, 8)
    mine, twin = getattr(nn, kind)(3, 2, 1), getattr(torch.nn, opposite)(3, 2, 1)
    assert_like_torch(torch, mine, lambda x: -twin(-x), distinct(shape))


def test_global_pools():
    x = minicnn.rand(2, 3, 4, 5)
    assert nn.GlobalAvgPool2d()(x).tolist() == nn.AdaptiveAvgPool2d(1)(x).tolist()
    assert nn.GlobalMaxPool2d()(x).tolist() == nn.AdaptiveMaxPool2d(1)(x).tolist()
    assert list(nn.GlobalAvgPool2d().parameters()) == []


def test_global_pools_of_sequences():
    x = minicnn.rand(2, 3, 4)
    assert nn.GlobalAvgPool1d()(x).tolist() == nn.AdaptiveAvgPool1d(1)(x).tolist()
    assert nn.GlobalMaxPool1d()(x).tolist() == nn.AdaptiveMaxPool1d(1)(x).tolist()


def test_the_stride_defaults_to_the_kernel():
    assert nn.MaxPool2d((2, 3)).stride == (2, 3)
    assert nn.AvgPool1d(4).stride == 4


def test_text():
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0)"
    assert repr(nn.AvgPool2d(3, 2, ceil_mode=True)).endswith("stride=2, padding=0, ceil_mode=True)")
    assert repr(nn.AdaptiveAvgPool2d((1, 1))) == "AdaptiveAvgPool2d(output_size=(1, 1))"


@pytest.mark.parametrize("layer", [nn.MaxPool2d(5), nn.AvgPool2d(5), nn.MinPool2d(5)])
def test_errors_name_the_layer(layer):
    with pytest.raises(ValueError, match="larger than the padded image") as caught:
        layer(minicnn.zeros(1, 1, 4, 4))
    assert caught.value.__notes__ == [f"in {layer!r}"]


@pytest.mark.parametrize("make", [nn.MaxPool2d, nn.AvgPool2d, nn.MinPool1d])
@pytest.mark.parametrize("settings", [(0,), (2.0,), (2, 0), (2, 2, -1)])
def test_settings_are_refused_at_once(make, settings):
    with pytest.raises((TypeError, ValueError), match=f"^{make.__name__}: .*: expected"):
        make(*settings)


@pytest.mark.parametrize("settings", [((2, 3),), (2, (1, 2)), (2, 2, (0, 1)), (2, 2, 0, (1, 1))])
def test_a_sequence_has_one_axis(settings):
    with pytest.raises(TypeError, match=r"^MaxPool1d: .*: expected a whole number"):
        nn.MaxPool1d(*settings)


@pytest.mark.parametrize("make", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d])
@pytest.mark.parametrize("size", [0, -1, 2.0, (0, 1), "2"])
def test_output_sizes_are_refused_at_once(make, size):
    with pytest.raises((TypeError, ValueError), match="output_size: expected"):
        make(size)
