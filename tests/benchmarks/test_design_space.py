"""The experiment with design spaces: its spaces can be drawn from, and its table says what was measured."""

import numpy as np
import pytest
from design_space import FORM, LIMITS, SPACES, record, table

from minicnn.models.design_space import Trial, draw_within, multiply_adds
from minicnn.models.regnet import Stage


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_space_has_members_within_the_limits(space):
    for stages in draw_within(space, 3, LIMITS, np.random.default_rng(0), **FORM):
        assert len(stages) == 3
        assert LIMITS[0] <= multiply_adds(stages, **FORM) <= LIMITS[1]


def test_the_table_shows_the_distributions():
    stages = [Stage(1, 8, 4)]
    good = [Trial(error, stages, 1) for error in (0.1, 0.2)]
    bad = [Trial(error, stages, 1) for error in (0.3, 0.4)]
    lines = table({"good": good, "bad": bad}).splitlines()
    assert lines[0] == "| space | members | best | mean | below 0.175 | below 0.250 | below 0.325 |"
    assert lines[2] == "| good | 2 | 0.100 | 0.150 | 50% | 100% | 100% |"
    assert lines[3] == "| bad | 2 | 0.300 | 0.350 | 0% | 0% | 50% |"


def test_a_record_can_be_written_as_json():
    fields = {"depth": 1, "width": 8, "group_width": 4, "bottleneck": 1}
    trial = Trial(0.5, [Stage(1, 8, 4)], 7)
    assert record(trial) == {"error": 0.5, "stages": [fields], "multiply_adds": 7}
