"""The figures that lectures and papers print, counted on the networks themselves."""

import pytest

import minicnn
from minicnn import models, nn
from minicnn.costs import cost
from minicnn.nn.init import without_drawing

VGG16 = [  # activations; weights without biases
    ("3.2M", 1_728),
    ("3.2M", 36_864),
    ("800K", 0),
    ("1.6M", 73_728),
    ("1.6M", 147_456),
    ("400K", 0),
    ("800K", 294_912),
    ("800K", 589_824),
    ("800K", 589_824),
    ("200K", 0),
    ("400K", 1_179_648),
    ("400K", 2_359_296),
    ("400K", 2_359_296),
    ("100K", 0),
    ("100K", 2_359_296),
    ("100K", 2_359_296),
    ("100K", 2_359_296),
    ("25K", 0),
    ("4096", 102_760_448),
    ("4096", 16_777_216),
    ("1000", 4_096_000),
]


def as_printed(number: int) -> str:
    """Round as the slides do: 3,211,264 is 3.2M, 802,816 is 800K, 25,088 is 25K."""
    if number >= 1_000_000:
        return f"{number / 1e6:.1f}M"
    if number >= 100_000:
        return f"{round(number / 1e5) * 100}K"
    return f"{round(number / 1000)}K" if number > 9_999 else str(number)


@pytest.fixture(scope="module")
def vgg16():
    with without_drawing():
        model = models.vgg16()
    return model, cost(model, (3, 224, 224))


def shown_rows(found):
    """The rows of the slide: those of ReLU, which works in place there, and of views are not shown."""
    return [row for row in found.rows if row.kind in ("Conv2d", "MaxPool2d", "Linear")]


def test_rows_of_vgg16(vgg16):
    model, found = vgg16
    for row, (activations, weights) in zip(shown_rows(found), VGG16, strict=True):
        layer = model.get_submodule(row.name)
        assert as_printed(row.activations) == activations
        assert sum(p.numel() for p in layer.parameters() if p.ndim > 1) == weights


def test_totals_of_vgg16(vgg16):
    _, found = vgg16
    assert found.total == 138_357_544
    assert sum(weights for _, weights in VGG16) == 138_344_128
    image = 3 * 224 * 224
    values = image + sum(row.activations for row in shown_rows(found))
    assert values == 15_237_608  # not 24 million, as the slide has it
    assert 4 * values / 1e6 == pytest.approx(61, abs=0.05)  # not 93 MB
    assert found.multiply_adds == 15_470_264_320


def test_receptive_fields_of_vgg16(vgg16):
    """That of the last pooling is in the table of Araujo, Norris & Sim; the dense layers see 7 of its positions."""
    _, found = vgg16
    *_, last_pooling, first_dense, _, _ = [row.field for row in shown_rows(found)]
    assert (last_pooling.size, last_pooling.jump) == ((212, 212), (32, 32))
    assert first_dense.size == (404, 404)


def conv(in_channels, out_channels, taps):
    return nn.Conv2d(in_channels, out_channels, taps, padding=taps // 2)


class SideBySide(nn.Module):
    """Branches that see the same input; their results are joined along the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return minicnn.cat([branch(x) for branch in self.branches], 1)


def products(model, shape):
    return cost(model, shape).multiply_adds


def test_a_bottleneck_before_a_5x5_convolution():
    assert products(conv(192, 32, 5), (192, 28, 28)) == 120_422_400
    reduced = nn.Sequential(conv(192, 16, 1), conv(16, 32, 5))
    assert products(reduced, (192, 28, 28)) == 2_408_448 + 10_035_200 == 12_443_648


def test_a_bottleneck_before_a_3x3_convolution():
    assert products(conv(256, 192, 3), (256, 28, 28)) == 346_816_512
    reduced = nn.Sequential(conv(256, 64, 1), conv(64, 192, 3))
    assert products(reduced, (256, 28, 28)) == 99_549_184


def test_naive_inception_module():
    module = SideBySide(
        conv(256, 128, 1), conv(256, 192, 3), conv(256, 96, 5), nn.MaxPool2d(3, 1, 1)
    )
    found = cost(module, (256, 28, 28))
    assert round(found.multiply_adds / 1e6) == 854
    assert found.rows[-1].kind == "MaxPool2d"
    assert sum(row.activations for row in found.rows) == 28 * 28 * 672


def test_inception_module_with_bottlenecks():
    module = SideBySide(
        conv(256, 128, 1),
        nn.Sequential(conv(256, 64, 1), conv(64, 192, 3)),
        nn.Sequential(conv(256, 64, 1), conv(64, 96, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(256, 64, 1)),
    )
    found = cost(module, (256, 28, 28))
    assert found.multiply_adds == 271_351_808
    # The slide's total is that of a sum in which the 3x3 convolution stands twice.
    (three,) = [row for row in found.rows if row.name == "branches.1.1"]
    assert round((found.multiply_adds + three.multiply_adds) / 1e6) == 358


def test_table_4_of_the_mobilenet_paper():
    # The rows of its tables 6 and 7, with other widths and resolutions, are in tests/models/test_mobilenet.py.
    with without_drawing():
        separable = cost(models.mobilenet_v1(), (3, 224, 224))
        ordinary = cost(models.mobilenet_v1(separable=False), (3, 224, 224))
    assert round(separable.multiply_adds / 1e6) == 569
    dense = ordinary.rows[-1].multiply_adds
    assert dense == 1_024_000
    assert ordinary.multiply_adds == 4_867_293_184
    # The paper prints 4866: of this network it counts the convolutions only, of the other one all.
    assert round((ordinary.multiply_adds - dense) / 1e6) == 4866
    assert round(separable.trainable / 1e6, 1) == 4.2
    assert round(ordinary.trainable / 1e6, 1) == 29.3


def test_a_separable_convolution_costs_a_ninth_and_a_share_of_the_outputs():
    channels, filters = 32, 64
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    separable = products(nn.Sequential(depthwise, conv(channels, filters, 1)), (channels, 14, 14))
    ordinary = products(conv(channels, filters, 3), (channels, 14, 14))
    assert separable / ordinary == pytest.approx(1 / filters + 1 / 9)
