import numpy as np
import pytest
from agreement import relative_error, require, worst


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
        require({"ours": error, "theirs": 0.01}, ["ours"], 0.1, "a row")


@pytest.mark.parametrize("theirs", [0.0, 0.5])
def test_an_error_within_the_tolerance_or_that_of_pytorch_passes(theirs):
    require({"ours": max(0.1, theirs), "theirs": theirs}, ["ours"], 0.1, "a row")
