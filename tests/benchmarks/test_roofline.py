import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")
from convolutions import Convolution
from peaks import Level, Peaks, tile_flops
from roofline import measure, placed, report
from roofline_kernels import winograd_flops
from timing import Pace
from traffic import Kernel, Traffic

PEAKS = Peaks(
    {"one way": 50.0, "another": 100.0},
    (Level("L2", 1000, 10.0, 20.0), Level("memory", 10**9, 1.0, 2.0)),
)


def kernel(flops, size, family="norm"):
    return Kernel(
        "a kernel", family, flops, Traffic("x -> y", {"x": size, "y": size}), lambda: list
    )


def test_arithmetic_is_held_to_the_highest_peak():
    row = placed(kernel(flops=1000, size=1), PEAKS, seconds=20.0, moving=2.0)
    assert (row["limited_by"], row["of_limit"]) == ("arithmetic", 0.5)


def test_a_pass_is_held_to_the_bare_one():
    row = placed(kernel(flops=10, size=500), PEAKS, seconds=20.0, moving=5.0)
    assert (row["limited_by"], row["of_limit"], row["bytes"]) == ("L2", 0.25, 1000)


def test_the_level_is_that_of_all_arrays_together():
    assert placed(kernel(1, 501), PEAKS, 1.0, 1.0)["level"] == "memory"


def test_a_kernel_is_timed_by_turns_with_bare_passes():
    row = measure(kernel(flops=1, size=6400), PEAKS, 1, Pace(1, 0.001, 1))
    assert row["gigabytes_at_most"] > 0
    assert "lines at a time" in row["bare_passes"]


def test_the_report_has_a_table_for_each_kind_of_kernel():
    rows = [placed(kernel(1, 500, family), PEAKS, 20.0, 5.0) for family in ("norm", "dense")]
    text = report({"cores": 2}, PEAKS, rows, ["another kernel"])
    assert "| a kernel | `x -> y` | 0 | 2e+04 | 0.0 | 0.0 | L2 | 25% |" in text
    assert "| a kernel | 2e+04 | 0.001 | 5e-11 | L2 | 25% |" in text
    assert "Not in this version: another kernel." in text


def test_winograd_multiplies_less_than_the_definition():
    case = Convolution(2, 8, 4, 4)  # squares of 4x4: 36 products instead of 144
    assert winograd_flops(case) * 4 == case.flops


def test_the_tile_computes_what_it_should():
    assert tile_flops(1, channels=16, count=1) > 0  # or raises an error
