import numpy as np
import pytest
from agreement import STEP_TOLERANCE, relative_error, require, require_recorded, worst
from networks import NETWORKS

import minicnn


def test_the_error_is_relative_to_the_norm():
    assert relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)


def test_another_shape_is_infinitely_wrong():
    assert relative_error(np.ones((2, 1)), np.ones(2)) == float("inf")


@pytest.mark.parametrize(("value", "error"), [(0.0, 0.0), (1e-9, float("inf"))])
def test_where_nothing_is_expected_only_nothing_is_right(value, error):
    assert relative_error(np.full(2, value), np.zeros(2)) == error


def test_the_worst_of_several_results_counts():
    reference = {"a": np.ones(1), "b": np.ones(1)}
    assert worst({"a": np.ones(1), "b": np.full(1, 1.5)}, reference) == 0.5


def test_a_missing_result_is_infinitely_wrong():
    assert worst({}, {"a": np.ones(1)}) == float("inf")


@pytest.mark.parametrize("error", [0.2, float("nan"), float("inf")])
def test_a_large_error_is_refused(error):
    with pytest.raises(ValueError, match="a row: the results of ours"):
        require({"ours": error}, 0.1, "a row")


def test_an_error_within_the_tolerance_passes():
    require({"ours": 0.1, "ours exact": 0.0}, 0.1, "a row")


def test_every_network_has_a_tolerance():
    assert STEP_TOLERANCE.keys() == NETWORKS.keys()


def test_what_runs_as_usual_is_not_timed_as_captured():
    @minicnn.capture
    def step(x):
        return x * x.sum().item()  # decided by numbers: it cannot be replayed

    x = minicnn.tensor([1.0, 2.0])
    step(x)
    with pytest.warns(RuntimeWarning, match="runs as usual"):
        step(x)
    with pytest.raises(ValueError, match=r"a row: ours does not run from a recording: .*item"):
        require_recorded("a row", {"theirs": None, "ours": step})


def test_what_was_not_recorded_again_is_not_timed_as_captured():
    step = minicnn.capture(lambda x: x + x)
    with pytest.raises(ValueError, match="has not been recorded"):
        require_recorded("a row", {"ours": step})


def test_a_recording_may_be_timed():
    step = minicnn.capture(lambda x: x + x)
    for number in (1.0, 1.0, 2.0):
        step(minicnn.tensor([number]))
    require_recorded("a row", {"theirs": None, "ours": step})
