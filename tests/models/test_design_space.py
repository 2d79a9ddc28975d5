"""Design spaces: what is drawn keeps the restrictions, costs are exact, errors have a distribution."""

from dataclasses import replace

import numpy as np
import pytest

from minicnn.models.design_space import (
    ANYNET_A,
    ANYNET_B,
    ANYNET_C,
    ANYNET_D,
    ANYNET_E,
    REGNET,
    draw_within,
    fraction_below,
    multiply_adds,
    search,
)
from minicnn.models.regnet import AnyNet, Stage, regnet_stages
from minicnn.nn.init import without_drawing
from minicnn.summary import summary

SPACES = {
    "A": ANYNET_A,
    "B": ANYNET_B,
    "C": ANYNET_C,
    "D": ANYNET_D,
    "E": ANYNET_E,
    "RegNet": REGNET,
}
GREY = {"image": (1, 28, 28), "num_classes": 10}


def members(space, count=30):
    generator = np.random.default_rng(0)
    return [space.draw(generator) for _ in range(count)]


def rising(numbers):
    numbers = list(numbers)
    return numbers == sorted(numbers)


# --- what is drawn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_members_differ_and_have_four_stages(space):
    drawn = members(space)
    assert all(len(stages) == 4 for stages in drawn)
    assert len({tuple(stages) for stages in drawn}) == len(drawn)


@pytest.mark.parametrize("name", "ABCDE")
def test_members_keep_the_limits_of_the_space(name):
    stages = [stage for drawn in members(SPACES[name], 100) for stage in drawn]
    assert {stage.bottleneck for stage in stages} == {1, 2, 4}
    assert max(stage.depth for stage in stages) == 16
    assert 900 < max(stage.width for stage in stages) <= 1024 + 32 * 4
    assert max(stage.group_width for stage in stages) == 32


def test_restrictions_come_one_upon_the_other():
    assert not all(len({stage.bottleneck for stage in stages}) == 1 for stages in members(ANYNET_A))
    for name in ("B", "C", "D", "E", "RegNet"):
        for stages in members(SPACES[name]):
            assert len({stage.bottleneck for stage in stages}) == 1
    for stages in members(replace(ANYNET_C, max_width=1024, bottlenecks=(1,))):
        widest = max(stage.group_width for stage in stages)
        assert all(stage.group_width == min(widest, stage.width) for stage in stages)


@pytest.mark.parametrize("name", ["D", "E", "RegNet"])
def test_widths_rise(name):
    space = replace(SPACES[name], group_widths=(8,), bottlenecks=(1,))
    assert all(rising(stage.width for stage in stages) for stages in members(space))


def test_depths_rise_but_for_the_last():
    assert all(rising(stage.depth for stage in stages[:-1]) for stages in members(ANYNET_E))
    assert not all(rising(stage.depth for stage in stages) for stages in members(ANYNET_E))


def test_lines_that_cannot_have_so_many_stages_are_reported(monkeypatch):
    monkeypatch.setattr("minicnn.models.design_space.MOST_DRAWS", 200)
    with pytest.raises(ValueError, match=r"none of 200 lines gave 9 stages; a larger max_depth"):
        replace(REGNET, stages=9, max_depth=9, max_width=8).draw(np.random.default_rng(0))


# --- cost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small_images", [False, True])
@pytest.mark.parametrize("image", [(3, 64, 64), (1, 29, 50)])
def test_multiply_adds_are_those_of_the_network(image, small_images):
    stages = [Stage(2, 16, 4, 2), Stage(1, 24, 8), Stage(3, 32, 1, 4)]
    form = {"stem_width": 8, "small_images": small_images}
    with without_drawing():
        network = AnyNet(stages, 5, in_channels=image[0], **form)
    counted = multiply_adds(stages, image, 5, **form)
    assert counted == summary(network, image).multiply_adds


def test_multiply_adds_of_regnet_x_400mf():
    stages = regnet_stages(22, 24, 24.48, 2.54, 16)
    assert multiply_adds(stages) == 413_812_608  # 0.41 G, as torchvision publishes


# --- search -------------------------------------------------------------------------------------------


def test_draws_stay_within_the_limits():
    drawn = draw_within(ANYNET_C, 5, (1e6, 2e6), np.random.default_rng(0), **GREY)
    assert len(drawn) == 5
    assert all(1e6 <= multiply_adds(stages, **GREY) <= 2e6 for stages in drawn)


def test_limits_that_hardly_any_member_keeps_are_reported(monkeypatch):
    monkeypatch.setattr("minicnn.models.design_space.MOST_DRAWS", 20)
    with pytest.raises(ValueError, match=r"only 0 of 40 members .* 1 to 2 multiply-adds"):
        draw_within(ANYNET_A, 2, (1, 2), np.random.default_rng(0))


def test_search_puts_the_best_first():
    errors = iter([0.5, 0.2, 0.3])
    seen = []

    def error_of(network):
        seen.append(network)
        return next(errors)

    space = replace(ANYNET_C, stages=2, max_width=32, max_depth=2)
    trials = search(space, error_of, 3, (1e5, 1e6), (1, 28, 28), 10, seed=0, stem_width=8)
    assert [trial.error for trial in trials] == [0.2, 0.3, 0.5]
    for trial, network in zip(trials, (seen[1], seen[2], seen[0]), strict=True):
        assert isinstance(network, AnyNet)
        assert 1e5 <= trial.multiply_adds <= 1e6
        assert trial.multiply_adds == summary(network, (1, 28, 28)).multiply_adds


def test_search_is_repeatable():
    space = replace(ANYNET_A, stages=2, max_width=32, max_depth=2)
    runs = [
        search(space, lambda _: 0.0, 3, (1e5, 1e7), (1, 28, 28), 10, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_distribution_of_errors():
    errors = [0.3, 0.1, 0.2, 0.4]
    assert [fraction_below(errors, e) for e in (0.1, 0.25, 0.4, 0.5)] == [0, 0.5, 0.75, 1]
    with pytest.raises(ValueError, match="fraction_below: errors: expected at least one"):
        fraction_below([], 0.5)
