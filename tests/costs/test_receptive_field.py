"""Receptive fields: against an experiment on every kind of layer, and against published figures."""

from fractions import Fraction

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.costs import cost
from minicnn.nn import functional as F
from minicnn.nn.init import without_drawing
from tests.costs.oracle import box_computed, box_seen


class Sum(nn.Module):
    """The sum of what branches make of the input."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        first, *others = [branch(x) for branch in self.branches]
        for other in others:
            first = first + other
        return first


class Joined(Sum):
    """The same, side by side."""

    def forward(self, x):
        return minicnn.cat([branch(x) for branch in self.branches], 1)


class Calls(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def conv(taps, **settings):
    return nn.Conv2d(2, 2, taps, **settings)


LAYERS = {
    "one convolution": [conv(3)],
    "a chain": [conv(3, padding=1), nn.ReLU(), conv(5, padding=2, stride=2), conv((3, 1))],
    "dilated": [conv(3, dilation=2, padding=2), conv((1, 3), dilation=3)],
    "sides of their own": [conv(3, padding=((2, 0), (0, 1)), stride=(1, 2))],
    "same": [conv(4, padding="same")],
    "grouped": [nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 3)],
    "pooled": [nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(2), conv(2)],
    "pooled with ceil": [nn.MaxPool2d(3, stride=2, ceil_mode=True), conv(2)],
    "a shortcut": [conv(3, stride=2, padding=1), Sum(conv(3, padding=1), nn.Identity())],
    "a strided shortcut": [
        Sum(nn.Sequential(conv(3, stride=2, padding=1), conv(3, padding=1)), conv(1, stride=2))
    ],
    "branches": [Joined(conv(1), conv(3, padding=1), conv(5, padding=2), nn.MaxPool2d(3, 1, 1))],
    "padded before": [nn.ZeroPad2d((1, 2, 2, 0)), conv(3)],
    "cropped": [Calls(lambda x: x[:, :, 2:-2, 3:]), conv(3)],
    "every second": [conv(3), Calls(lambda x: x[..., 1::2, ::3]), conv(2)],
    "adaptive": [conv(3, padding=1), nn.AdaptiveAvgPool2d((3, 2))],
    "global": [conv(3), nn.GlobalMaxPool2d()],
    "a mean over the image": [conv(3), Calls(lambda x: x.mean((2, 3)))],
    "a sum over rows": [conv(3), Calls(lambda x: x.sum(3, keepdim=True))],
    "dense": [conv(3, stride=2), nn.Flatten(), nn.LazyLinear(3)],
    "a gate": [Sum(conv(3, padding=1), nn.Sequential(conv(3), nn.GlobalAvgPool2d(), conv(1)))],
    "joined in one call": [
        Calls(lambda x: F.conv2d(x, minicnn.ones(2, 2, 3, 3), max_pool=2)),
        conv(2),
    ],
}


@pytest.mark.parametrize("corner", [0, -1])
@pytest.mark.parametrize("name", LAYERS)
def test_what_a_position_sees_is_found_by_experiment(name, corner):
    shape = (2, 12, 18)
    model = nn.Sequential(*LAYERS[name])
    field = cost(model, shape).field
    position = [corner % extent.count for extent in field]
    assert box_computed(field, shape, position) == box_seen(model, shape, position)


def test_an_adaptive_pooling_sees_the_widest_of_its_windows():
    field = cost(nn.AdaptiveAvgPool2d((3, 5)), (2, 12, 18)).field
    assert field.size == (4, 5)  # of 18 columns: 0 to 3, 3 to 7, 7 to 10, 10 to 14, 14 to 17
    assert field.jump == (4, 3.6)


def test_minima_see_what_maxima_see():
    smallest = cost(nn.MinPool2d(3, 2, 1), (2, 9, 9))
    assert smallest.field == cost(nn.MaxPool2d(3, 2, 1), (2, 9, 9)).field


def test_a_reflected_frame_leaves_the_inside_where_it_was():
    model, shape = nn.Sequential(nn.ReflectionPad2d(2), conv(3)), (2, 12, 18)
    field = cost(model, shape).field
    assert box_computed(field, shape, (6, 9)) == box_seen(model, shape, (6, 9))


@pytest.mark.parametrize(
    ("taps", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 1), (5, 3, 2)]
)
def test_transposed_convolutions_see_what_the_widest_of_their_positions_sees(taps, stride, padding):
    model = nn.Sequential(
        conv(3, stride=2), nn.ConvTranspose2d(2, 2, taps, stride=stride, padding=padding)
    )
    shape = (2, 15, 15)
    field = cost(model, shape).field
    middle = field.vertical.count // 2
    boxes = [box_seen(model, shape, (middle + i, middle)) for i in range(stride)]
    assert field.size[0] == max(last - first + 1 for first, last, _, _ in boxes)
    assert field.vertical.jump == Fraction(2, stride)
    for i, (first, last, _, _) in enumerate(boxes):  # computed for the average of the positions
        place = field.start[0] + (middle + i) * field.jump[0]
        assert abs(place - (first + last) / 2) <= 1  # half the jump of the convolution


def test_what_comes_after_a_transposed_convolution_is_marked_as_about_right():
    model = nn.Sequential(
        conv(3), nn.ConvTranspose2d(2, 2, 2, stride=2), Sum(conv(3, padding=1), nn.Identity())
    )
    found = cost(model, (2, 9, 9))
    assert [extent.exact for extent in found.rows[0].field] == [True, True]
    assert not any(extent.exact for row in found.rows[1:] for extent in row.field)
    assert not any(extent.exact for extent in found.field)
    assert "Receptive field of the output: ~4x4 pixels" in str(found)
    boxes = [box_seen(model, (2, 9, 9), (6 + i, 6)) for i in range(2)]
    assert all(abs(last - first + 1 - 4) <= 1 for first, last, _, _ in boxes)


def test_a_transposed_convolution_that_enlarges_nothing_is_exact():
    model, shape = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, padding=1), conv(3)), (2, 9, 9)
    field = cost(model, shape).field
    assert field.vertical.exact
    assert box_computed(field, shape, (3, 3)) == box_seen(model, shape, (3, 3))


def test_two_3x3_see_what_one_5x5_sees_and_three_what_a_7x7_sees():
    for count, taps in ((2, 5), (3, 7)):
        layers = [nn.Conv2d(64, 64, 3, bias=False) for _ in range(count)]
        stack = cost(nn.Sequential(*layers), (64, 16, 16))
        single = cost(nn.Conv2d(64, 64, taps, bias=False), (64, 16, 16))
        assert stack.field == single.field
        assert stack.field.size == (taps, taps)
        assert (stack.total, single.total) == (count * 9 * 64**2, taps**2 * 64**2)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 195), ("mobilenet_v1", 315)])
def test_table_of_araujo_norris_and_sim(name, size):
    with without_drawing():
        features = models.create(name).features
    field = cost(features, (3, 64, 64)).field
    assert field.size == (size, size)
    assert field.jump == (32, 32)


def test_that_table_on_a_network_of_branches():
    with without_drawing():
        network = models.inception_v3()
    # Of 75x75 pixels, one position is left before the mean.
    assert cost(network, (3, 75, 75)).field.size == (1311, 1311)


def test_attention_sees_every_position_from_every_other():
    def attention(x):
        rows = x.flatten(2).transpose(1, 2)  # (N, H W, C)
        return (rows @ rows.transpose(1, 2)).softmax(-1) @ rows

    assert cost(nn.Sequential(conv(3), Calls(attention)), (2, 6, 7)).field.size == (6, 7)


def test_the_start_is_the_middle_of_what_the_first_position_sees():
    field = cost(conv(4, stride=2, padding=(1, 0)), (2, 9, 9)).field
    assert (field.vertical.first, field.vertical.last) == (-1, 2)
    assert field.start == (0.5, 1.5)


def test_sequences_are_images_of_height_1():
    model = nn.Sequential(nn.Conv1d(2, 3, 5), nn.MaxPool1d(2), nn.Conv1d(3, 2, 3, dilation=2))
    field = cost(model, (2, 40)).field
    assert (field.size, field.jump) == ((1, 14), (1, 2))


def test_words_are_the_pixels_of_a_text():
    with without_drawing():
        found = cost(models.text_cnn(num_words=10), (500,), dtype=np.int64)
    sizes = {row.name: row.field.size for row in found.rows}
    assert sizes["features.0"] == (1, 7)
    assert sizes["features.3"] == (1, 7 + 4 + 6 * 5)
    assert found.rows[-1].field.size == (1, 41 + 91 * 5)


def test_the_statistics_of_normalisations_are_left_out():
    model = nn.Sequential(conv(3), nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.Softmax(1))
    assert cost(model, (2, 9, 9)).field.size == (3, 3)


def test_vectors_have_no_field():
    found = cost(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,))
    assert found.field is None
    assert [row.field for row in found.rows] == [None, None]


def test_frozen_layers_are_seen_through():
    model = nn.Sequential(conv(3), conv(3)).requires_grad_(False)
    assert cost(model, (2, 9, 9)).field.size == (5, 5)


def test_images_made_of_a_vector_see_all_of_it():
    model = nn.Sequential(
        conv(3), nn.Flatten(), nn.LazyLinear(16), nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 1, 3)
    )
    field = cost(model, (2, 9, 9)).field
    assert (field.size, field.jump) == ((9, 9), (0, 0))
    assert [extent.count for extent in field] == [2, 2]
