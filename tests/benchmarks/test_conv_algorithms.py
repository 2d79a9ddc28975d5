"""Every way to compute a convolution is measured, and computes the same."""

import time
from dataclasses import asdict

import conv_algorithms
import pytest
from conv_algorithms import QUICK, QUICK_CASES, Way, draw, measure, quickest, save, tables, ways_on
from convolutions import Convolution

from minicnn.kernels.dispatch import can_compile
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy


def found(*milliseconds):
    return {"milliseconds": list(milliseconds), "gflops": [1, 2, 3], "errors": [1e-7] * 3}


RECORDS = [
    {
        "case": asdict(Convolution(8, 14, 4, 4)),
        "title": "small",
        "found": {"a": found(1, 2, 3), "b": found(2, 1, 1)},
    },
]


def test_on_the_cpu_all_ways_agree_with_float64():
    records, not_run = measure(ways_on("cpu"), QUICK_CASES[:1], QUICK)
    (record,) = records
    expected = {"CPU naive", "CPU im2col"} | (
        {"CPU direct", "CPU winograd"} if can_compile() else set()
    )
    assert (record["found"].keys(), not_run) == (expected, [])
    assert all(error < 1e-5 for way in record["found"].values() for error in way["errors"])


def test_on_a_gpu_tf32_rounds_more():
    if not has_compiler():
        pytest.skip("needs g++, to compile the CUDA kernels for the CPU")
    library = make_cupy()
    equip(library)
    with installed(library):
        ways = [way for way in ways_on("cuda") if way.algorithm not in ("cudnn", "pytorch")]
        (record,), _ = measure(ways, QUICK_CASES[:1], QUICK)
    errors = {name: max(way["errors"]) for name, way in record["found"].items()}
    assert errors.keys() == {"GPU im2col", "GPU direct", "GPU direct TF32"}
    assert errors["GPU direct"] < 1e-5 < errors["GPU direct TF32"] < 1e-2


@pytest.mark.parametrize("precision", ["exact", "tf32"])
def test_settings_of_cudnn_do_not_stay(torch, precision):
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    with conv_algorithms.pytorch_settings(precision):
        assert (cudnn.benchmark, cudnn.allow_tf32) == (True, precision == "tf32")
    assert (cudnn.benchmark, cudnn.allow_tf32) == before


def test_after_the_deadline_cases_are_named():
    assert measure([], QUICK_CASES, QUICK, time.perf_counter() - 1) == (
        [],
        ["3x3 4->4 at 6, batch 1", "1x1 4->4 at 6, batch 1"],
    )


@pytest.mark.parametrize(
    ("way", "case", "suits"),
    [
        (Way("", "cpu", "naive"), Convolution(1, 10, 4, 4), True),
        (Way("", "cpu", "naive"), Convolution(64, 10, 4, 4), False),
        (Way("", "cpu", "winograd"), Convolution(1, 10, 4, 4, stride=2), False),
        (Way("", "cuda", "direct"), Convolution(64, 10, 4, 4, stride=2), True),
    ],
)
def test_ways_for_which_a_case_is_unsuitable_are_left_out(way, case, suits):
    assert way.suits(case) == suits


def test_the_quickest_has_the_least_sum():
    assert quickest(RECORDS[0]) == "b"


def test_what_was_not_measured_is_a_dash():
    other = {**RECORDS[0], "title": "other", "found": {"c": found(1, 1, 1)}}
    text = tables([*RECORDS, other])[0].markdown()
    assert "| small | 1 / 2 / 3 | 2 / 1 / 1 | - | b |" in text
    assert "| other | - | - | 1 / 1 / 1 | c |" in text


def test_results_are_written(tmp_path):
    text = save(tmp_path / "new", {"cores": 2}, RECORDS, ["large"])
    assert (tmp_path / "new" / "conv_algorithms.md").read_text() == text
    assert "cores 2" in text
    assert "No time was left for: large." in text


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert draw(RECORDS, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_every_swept_case_is_measured():
    assert {*conv_algorithms.CHANNELS, *conv_algorithms.SIZES} <= {*conv_algorithms.CASES}
