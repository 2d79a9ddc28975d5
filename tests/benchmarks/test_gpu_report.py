"""The report of a GPU, with the stand-in as the GPU: all parts run, and what goes wrong is told."""

import json
import os
import subprocess
import sys
import time

import gpu_parts
import gpu_report
import pytest
from gpu_parts import Allowance, Findings
from gpu_report import NO_GPU, main, run_all, run_tests_on_gpu, save
from passes import Pass
from tables import Table
from timing import Pace

import minicnn
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy

PACE = Pace(block_seconds=0, least_calls=1)


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in with kernels on the host; PyTorch cannot use it."""
    if not has_compiler():
        pytest.skip("needs g++, to compile the CUDA kernels for the CPU")
    monkeypatch.setenv("CUPY_TF32", "0")
    library = make_cupy()
    equip(library)
    with installed(library), minicnn.precision("fast"):
        yield library


@pytest.fixture
def allowance():
    return Allowance(time.perf_counter() + 60, PACE, is_tiny=True, device="cpu")


def test_all_parts_but_the_tests_run(gpu, tmp_path, capsys):
    parts = ["gradients", "bandwidth", "convolutions", "training", "algorithms", "devices"]
    assert main(["--out", str(tmp_path), "--tiny", "--only", *parts]) == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["environment"]["gpu"] == "Stand-in"
    assert [(p["name"], p["error"], p["failed"], p["not_run"]) for p in report["parts"]] == [
        (name, None, [], []) for name in parts
    ]
    text = (tmp_path / "report.md").read_text()
    for heading in ("Gradients against", "Memory-bound", "3x3 convolutions", "Training steps"):
        assert f"## {heading}" in text


def test_without_a_gpu_there_is_a_message_and_a_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["--out", str(tmp_path / "new")]) == NO_GPU
    assert "nothing to report without a GPU: CuPy cannot be imported" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_minicnn_need_not_be_installed(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('broken')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, gpu_report.__file__, "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "CuPy cannot be imported (broken)" in done.stderr) == (NO_GPU, True)


def test_a_part_that_does_not_exist(gpu, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--only", "speed"])
    assert "expected some of tests, gradients" in capsys.readouterr().err


def test_a_part_that_fails_does_not_take_the_next_one_along():
    def fail(_):
        raise RuntimeError("no luck")

    records = run_all({"a": (0.5, fail), "b": (0.5, lambda _: Findings(data=1))}, 1, PACE)
    assert "no luck" in records[0]["error"]
    assert (records[1]["error"], records[1]["found"].data) == (None, 1)
    assert not gpu_report.is_clean(records)
    assert gpu_report.is_clean(records[1:])


def test_time_that_is_left_goes_to_the_next_part():
    deadlines = []

    def note(allowance):
        deadlines.append(allowance.deadline)
        return Findings()

    start = time.perf_counter()
    run_all({"a": (0.25, note), "b": (0.75, note)}, 100, PACE)
    assert deadlines == [pytest.approx(start + 25, abs=1), pytest.approx(start + 100, abs=1)]


def test_the_report_tells_what_was_wrong_and_what_was_not_run(tmp_path):
    found = Findings([Table("Rows", ["", "ms"], [["x", 1.5]])], {}, ["y"], ["z is off"])
    records = [
        {"name": "a", "seconds": 1.0, "error": None, "found": found},
        {"name": "b", "seconds": 1.0, "error": "Traceback: no luck", "found": Findings()},
    ]
    save(tmp_path, {"gpu": "some"}, records)
    text = (tmp_path / "report.md").read_text()
    for words in ("| x | 1.5 |", "- z is off", "left for: y.", "no luck", "1 found wrong, 1 rows"):
        assert words in text


@pytest.mark.parametrize("part", [gpu_parts.gradients, gpu_parts.bandwidth, gpu_parts.training])
def test_after_the_deadline_no_row_begins(part):
    found = part(Allowance(time.perf_counter() - 1, PACE, is_tiny=True, device="cpu"))
    assert found.not_run
    assert all(table.rows == [] for table in found.tables)


def test_a_wrong_gradient_is_found(allowance, monkeypatch):
    true_backward = Pass.backward

    def backward(self):
        true_backward(self)
        for parameter in self.model.parameters():
            if parameter.grad.dtype == "float32":
                parameter.grad *= 1.01

    monkeypatch.setattr(Pass, "backward", backward)
    monkeypatch.setattr(gpu_parts, "TIMES_THE_CPU", 0.5)  # which makes the same mistake here
    failed = gpu_parts.gradients(allowance).failed
    assert [words.partition(":")[0] for words in failed] == [
        f"gradients of {name}" for name in ("conv 3x3", "batch norm", "mlp")
    ]


def test_pytorch_trains_beside_ours(allowance, torch):
    (row,) = gpu_parts.training(allowance).data
    assert row["problems"] == {}
    present = [name for name, ms in row["ms"].items() if ms]
    assert {"minicnn", "PyTorch eager", "PyTorch channels-last"} <= {*present}


def test_a_contestant_that_fails_is_named(allowance, monkeypatch):
    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(gpu_parts, "torch_step", fail)
    found = gpu_parts.training(allowance)
    assert "mlp 2, PyTorch eager: RuntimeError: no luck" in found.failed
    assert found.data[0]["ms"]["minicnn"] > 0


TESTS = """
import pytest

def test_good(): pass
def test_bad(): assert 0
def test_skipped(): pytest.skip("for a reason")
"""


def test_outcomes_of_tests_are_counted(tmp_path, allowance):
    (tmp_path / "test_some.py").write_text(TESTS)
    found = run_tests_on_gpu(tmp_path, [[str(tmp_path / "test_some.py")]], allowance)
    assert (found.data[0]["PASSED"], found.data[0]["FAILED"], found.data[0]["SKIPPED"]) == (1, 1, 1)
    assert len(found.failed) == 1
    assert "test_bad" in found.failed[0]


def test_tests_that_take_too_long_are_stopped(tmp_path):
    (tmp_path / "test_long.py").write_text("import time\ndef test_long(): time.sleep(60)\n")
    soon = Allowance(time.perf_counter() + 1.5, PACE)
    found = run_tests_on_gpu(tmp_path, [[str(tmp_path / "test_long.py")]], soon)
    assert "stopped after" in found.not_run[0]
    assert found.failed == []


def test_tests_that_cannot_be_collected_are_told(tmp_path, allowance):
    found = run_tests_on_gpu(tmp_path, [[str(tmp_path / "missing.py")]], allowance)
    assert "ended with status 4" in found.failed[0]
