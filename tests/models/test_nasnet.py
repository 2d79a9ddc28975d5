"""NASNet-A: counts, its two cells by hand, shapes, and that it learns."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import no_grad
from minicnn.autograd.functions import cat
from minicnn.models.nasnet import (
    NORMAL,
    REDUCTION,
    Cell,
    FactorizedReduction,
    NASNet,
    nasnet_large,
    nasnet_mobile,
    operation,
    separable_twice,
)
from minicnn.nn import functional as F
from minicnn.train import auxiliary_loss
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(
    NASNet, 8, 1, 4, skip_reduction=False, num_classes=3, dropout=0.0, small_images=True
)


@pytest.mark.parametrize(
    ("build", "parameters", "with_statistics"),
    [(nasnet_mobile, 5_289_978, 5_326_716), (nasnet_large, 88_753_150, 88_949_818)],
)
def test_number_of_parameters(build, parameters, with_statistics):
    assert count_parameters(build) == parameters
    assert count_parameters(build, statistics=True) == with_statistics


def test_normal_cell_is_that_of_figure_4():
    cell = Cell(NORMAL, 6, 5, 4).eval()
    before, last = images(2, 5, 7, 7), images(2, 6, 7, 7, seed=1)
    p, h = cell.previous(before), cell.current(last)
    ops = cell.operations

    def mean(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    sums = [
        ops[0](h) + ops[1](p),
        ops[2](p) + ops[3](p),
        mean(h) + p,
        mean(p) + mean(p),
        ops[8](h) + h,
    ]
    y = cell(before, last)
    assert y.shape == (2, cell.out_channels, 7, 7) == (2, 24, 7, 7)
    np.testing.assert_allclose(y.array, cat([p, *sums], 1).array, rtol=1e-5, atol=1e-6)


def test_reduction_cell_is_that_of_figure_4():
    cell = Cell(REDUCTION, 6, 5, 4).eval()
    before, last = images(2, 5, 7, 7), images(2, 6, 7, 7, seed=1)
    p, h = cell.previous(before), cell.current(last)
    ops = cell.operations
    maximum = F.max_pool2d(h, 3, 2, 1)
    first = ops[0](h) + ops[1](p)
    second = maximum + ops[3](p)
    third = F.avg_pool2d(h, 3, 2, 1, count_include_pad=False) + ops[5](p)
    fourth = F.avg_pool2d(first, 3, 1, 1, count_include_pad=False) + second
    fifth = ops[8](first) + maximum
    y = cell(before, last)
    assert y.shape == (2, cell.out_channels, 4, 4) == (2, 16, 4, 4)
    expected = cat([second, third, fourth, fifth], 1).array
    np.testing.assert_allclose(y.array, expected, rtol=1e-5, atol=1e-6)


def test_windows_of_the_operations():
    with without_drawing():
        cell = Cell(REDUCTION, 6, 5, 4)
    windows = [ops[1].weight.shape[2] for ops in map(list, separable_parts(cell))]
    assert windows == [5, 7, 7, 5, 3]


def separable_parts(cell):
    return [part for part in cell.operations if len(list(part.children())) > 1]


@pytest.mark.parametrize(("side", "halved"), [(7, 4), (8, 4), (1, 1)])
def test_factorized_reduction_sees_even_and_odd_pixels(side, halved):
    layer = FactorizedReduction(1, 2).eval()
    for conv in (layer.even, layer.odd):
        conv.weight.data.fill_(1)
    x = images(1, 1, side, side)
    y = layer(x).array * np.sqrt(np.float32(1 + layer.norm.eps))
    assert y.shape == (1, 2, halved, halved)
    seen = np.maximum(x.array[0, 0], 0)
    np.testing.assert_allclose(y[0, 0], seen[::2, ::2], rtol=1e-5)
    odd = seen[1::2, 1::2]
    np.testing.assert_allclose(y[0, 1, : odd.shape[0], : odd.shape[1]], odd, rtol=1e-5)
    assert y[0, 1].sum() == pytest.approx(odd.sum(), rel=1e-5)  # zeros at the end


@pytest.mark.parametrize(
    ("build", "side", "expected"),
    [
        (nasnet_mobile, 224, [(44, 56), (88, 28), (264, 28), (352, 14), (528, 14), (704, 7)]),
        (nasnet_large, 331, [(168, 83), (336, 42), (1008, 42), (1344, 21), (2016, 21), (2688, 11)]),
    ],
)
def test_shapes_at_the_size_of_the_paper(build, side, expected):
    """One cell a stage keeps the size as six do; the widths are those of the whole network."""
    shapes = []
    with without_drawing(), no_grad():
        large = build is nasnet_large
        network = NASNet(*((168, 1, 96, True) if large else (44, 1, 32, False)), num_classes=2)
        for cell in (*network.stem_cells, *network.cells):
            cell.register_forward_hook(lambda _, __, y: shapes.append((y.shape[1], y.shape[2])))
        network.eval()(images(1, 3, side, side))
    assert shapes[:6] == expected


def test_skip_reduction_decides_what_the_cell_after_a_reduction_sees():
    for skip, channels in ((False, 6 * 8), (True, 4)):
        with without_drawing():
            network = NASNet(8, 1, 4, skip, small_images=True)
        after = network.cells[2].previous
        assert isinstance(after, FactorizedReduction)
        assert after.even.weight.shape[1] == channels


@pytest.mark.parametrize("stem", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_output_shape(stem, skip):
    network = NASNet(8, 1, 4, skip, 3, 1, small_images=stem).eval()
    for shape in ((2, 1, 16, 16), (1, 1, 13, 21), (0, 1, 16, 16)):
        assert network(images(*shape)).shape == (shape[0], 3)


def test_learns():
    check_learns(small(), images(6, 3, 12, 12), integers(3, 6), lr=0.05)


@pytest.mark.parametrize(
    ("build", "channels", "window"), [(nasnet_mobile, 528, 4), (nasnet_large, 2016, 6)]
)
def test_the_auxiliary_head_adds_its_parameters_and_nothing_else(build, channels, window):
    convolutions = 128 * channels + 128 * 768 * window**2
    added = convolutions + 2 * (128 + 768) + 768 * 1000 + 1000
    with_head = count_parameters(partial(build, aux_logits=True))
    assert with_head == count_parameters(build) + added


def test_the_auxiliary_head_sees_what_the_last_reduction_sees():
    network = small(aux_logits=True)
    seen = []
    network.aux.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    reduction = network.cells[3]
    assert reduction.recipe is REDUCTION
    reduction.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    scores, aux = network(images(2, 3, 28, 28))
    assert scores.shape == aux.shape == (2, 3)
    assert seen[0] is seen[1]
    assert seen[0].shape == (2, 6 * 16, 14, 14)
    assert network.eval()(images(2, 3, 28, 28)).shape == (2, 3)


def test_learns_with_head_and_dropped_paths():
    minicnn.manual_seed(0)
    network = small(aux_logits=True, drop_path=0.1)
    loss = auxiliary_loss()
    check_learns(network, images(2, 3, 28, 28), integers(3, 2), loss_function=loss, steps=3)


def test_dropped_paths_rise_linearly_with_depth():
    network = NASNet(8, 1, 4, False, drop_path=0.7)
    cells = [*network.stem_cells, *network.cells]
    assert [cell.drop.p for cell in cells] == pytest.approx([0.1 * i for i in range(1, 8)])
    network.set_drop_path(0)
    assert [cell.drop.p for cell in cells] == [0] * 7
    with pytest.raises(
        ValueError, match=r"NASNet: drop_path: expected a number in \[0, 1\], got 2"
    ):
        network.set_drop_path(2)


def test_all_paths_but_identities_are_dropped():
    cell = Cell(NORMAL, 6, 5, 4)
    cell.drop.p = 1.0
    before, last = images(2, 5, 7, 7), images(2, 6, 7, 7, seed=1)
    with no_grad():
        p, h = cell.previous(before).array, cell.current(last).array
        sums = np.split(cell(before, last).array, 6, axis=1)
    zero = np.zeros_like(p)
    for actual, expected in zip(sums, [p, zero, zero, p, zero, h], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 12, 12))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 12, 12))


def test_separable_twice_starts_with_relu():
    layer = separable_twice(2, 3, 5, stride=2).eval()
    x = images(1, 2, 6, 6)
    np.testing.assert_array_equal(layer(x).array, layer(F.relu(x)).array)


def test_windows_are_those_of_the_name():
    x = images(1, 4, 9, 9)
    np.testing.assert_array_equal(
        operation("maximum 5x5", 4, 4, 2)(x).array, F.max_pool2d(x, 5, 2, 2).array
    )
    mean = F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    np.testing.assert_array_equal(operation("mean 5x5", 4, 4, 1)(x).array, mean.array)


@pytest.mark.parametrize("name", ["mean", "median 3x3", "mean 3x5", "maximum 4x4", ""])
def test_unknown_operations_are_refused(name):
    with pytest.raises(ValueError, match=r"nasnet.operation: name: expected .* got "):
        operation(name, 4, 4, 1)


def test_arguments_are_refused():
    with pytest.raises(ValueError, match=r"NASNet: channels: expected a multiple of 4.*got 10"):
        NASNet(10, 1, 4, False)
    with pytest.raises(ValueError, match=r"NASNet: blocks: expected at least 1 .* got 0"):
        NASNet(8, 0, 4, False)
    with pytest.raises(ValueError, match=r"FactorizedReduction: out_channels: .* even .* got 3"):
        FactorizedReduction(2, 3)
