"""The report of a GPU, with the stand-in as the GPU: all parts run, and what goes wrong is told."""

import argparse
import json
import os
import subprocess
import sys
import time

import conv_algorithms
import cpu_vs_gpu
import gpu_report
import gpu_training
import pytest
from gpu_findings import Allowance, Findings
from gpu_goals import at_least
from gpu_report import NO_GPU, PARTS, Part, describe_all, main, run_all
from gpu_writing import Record, save
from tables import Table
from timing import Pace

import minicnn
from tests.benchmarks.stand_ins import LOST_AT, STAND_IN, cupy_in
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy

PACE = Pace(block_seconds=0, least_calls=1)
ALL_BUT_TESTS = ["gradients", "bandwidth", "convolutions", "training", "algorithms", "devices"]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The stand-in with kernels on the host, in this process and in those that it starts."""
    if not has_compiler():
        pytest.skip("needs g++, to compile the CUDA kernels for the CPU")
    monkeypatch.setenv("PYTHONPATH", cupy_in(tmp_path / "library"))
    library = make_cupy()
    equip(library)
    with installed(library), minicnn.precision("fast"):
        yield library


def report_of(tmp_path):
    report = json.loads((tmp_path / "report.json").read_text())
    return report | {"parts": {part["name"]: part for part in report["parts"]}}


def test_all_parts_but_the_tests_run(gpu, tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--tiny", "--only", *ALL_BUT_TESTS]) == 0, (
        capsys.readouterr().out + (tmp_path / "report.md").read_text()
    )
    report = report_of(tmp_path)
    assert report["environment"]["gpu"] == "Stand-in"
    assert list(report["parts"]) == ALL_BUT_TESTS
    for part in report["parts"].values():
        assert (part["is_done"], part["failed"], bool(part["data"])) == (True, [], True)
        without_libraries = [w for w in part["not_run"] if not w.startswith(("cuDNN", "PyTorch"))]
        assert without_libraries == []
    text = (tmp_path / "report.md").read_text()
    for heading in ("Goals", "Gradients against", "Memory-bound", "3x3 conv", "Training steps"):
        assert f"## {heading}" in text


def test_a_lost_card_loses_one_row(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", cupy_in(tmp_path / "library", STAND_IN + LOST_AT))
    assert main(["--out", str(tmp_path), "--tiny", "--only", "bandwidth"]) == 1
    part = report_of(tmp_path)["parts"]["bandwidth"]
    (words,) = part["failed"]
    assert words.startswith("copy: CUDARuntimeError: cudaErrorIllegalAddress")
    assert (part["is_done"], part["not_run"]) == (True, [])
    assert len(part["data"]) == 7  # all kernels but the copy


def test_a_row_that_hangs_is_named_and_the_others_run(gpu, tmp_path, monkeypatch):
    hanging = "import time\nlibrary.copyto = lambda *arguments: time.sleep(600)\n"
    monkeypatch.setenv("PYTHONPATH", cupy_in(tmp_path / "library", STAND_IN + hanging))
    monkeypatch.setattr(gpu_report, "PATIENCE", 3)
    assert main(["--out", str(tmp_path), "--tiny", "--only", "bandwidth"]) == 1
    part = report_of(tmp_path)["parts"]["bandwidth"]
    (words,) = part["failed"]
    assert words.startswith("copy: the process was stopped")
    assert (part["is_done"], len(part["data"])) == (True, 7)


def test_a_capture_that_fails_is_not_clean(gpu, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no capture today")

    monkeypatch.setattr(gpu.cuda.Stream, "begin_capture", fail)
    found = Findings(is_done=True)
    gpu_training.training(Allowance(time.perf_counter() + 60, PACE, is_tiny=True), found)
    (words,) = found.failed
    assert words.endswith("minicnn captured: not replayed: RuntimeError: no capture today")
    assert [row["ms"] is not None for row in found.data] == [True, False]
    assert not Record("training", PARTS["training"], found).is_clean


def test_a_command_that_is_stopped_leaves_what_it_has_found(gpu, tmp_path):
    hanging = "import time\nlibrary.zeros = lambda *arguments: time.sleep(600)\n"
    path = cupy_in(tmp_path / "library", STAND_IN + hanging)
    command = [sys.executable, gpu_report.__file__, "--out", str(tmp_path), "--tiny"]
    process = subprocess.Popen(
        [*command, "--only", "bandwidth"], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        wait_for(lambda: "| copy |" in (tmp_path / "report.md").read_text())
    finally:
        process.terminate()
    assert process.wait(20) == 128 + 15
    part = report_of(tmp_path)["parts"]["bandwidth"]
    assert (part["is_done"], [row["name"] for row in part["data"]]) == (False, ["copy"])
    assert "| bandwidth | 6 not run, in BatchNorm | " in (tmp_path / "report.md").read_text()


def wait_for(condition, seconds=60):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.1)
    pytest.fail("it never came to be")


def test_a_card_that_cannot_be_described_is_reported_on(gpu, monkeypatch):
    def fail(index):
        raise RuntimeError("no properties today")

    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceProperties", fail)
    found = describe_all()
    assert found["problem of describe_gpu"] == "RuntimeError: no properties today"
    assert found["python"]


def test_without_a_gpu_there_is_a_message_and_a_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["--out", str(tmp_path / "new")]) == NO_GPU
    assert "nothing to report without a GPU: CuPy cannot be imported" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_neither_minicnn_nor_pytest_need_be_installed(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('broken')")
    (tmp_path / "pytest.py").write_text("raise ImportError('missing')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, gpu_report.__file__, "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "CuPy cannot be imported (broken)" in done.stderr) == (NO_GPU, True)


def test_a_part_that_does_not_exist(gpu, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--only", "speed"])
    assert "expected some of tests, gradients" in capsys.readouterr().err


def options_for(tmp_path, minutes=1.0):
    return argparse.Namespace(out=tmp_path, minutes=minutes, tiny=True, precision="float32")


def test_time_that_is_left_goes_to_the_next_part(tmp_path, monkeypatch):
    deadlines = []

    def note(record, deadline, *_):
        deadlines.append(deadline)
        record.found.is_done = True

    monkeypatch.setattr(gpu_report, "run_part", note)
    monkeypatch.setitem(PARTS, "a", Part(0.25, None, lambda data: []))
    monkeypatch.setitem(PARTS, "b", Part(0.75, None, lambda data: []))
    (tmp_path / "parts").mkdir()
    start = time.perf_counter()
    records = run_all(["a", "b"], options_for(tmp_path, 100 / 60), {})
    assert deadlines == [pytest.approx(start + 25, abs=2), pytest.approx(start + 100, abs=2)]
    assert all(record.is_clean for record in records)


def test_the_report_tells_what_was_wrong_and_what_was_not_run(tmp_path):
    def tables(data):
        return [Table("Rows", ["", "ms"], [["x", number] for number in data])]

    part = Part(
        1, None, tables, lambda data: [at_least("speed", "x", n, 2) for n in data], ("speed",)
    )
    found = Findings([1.5], ["z is off"], planned=["x", "y"], begun=["x"], is_done=True)
    records = [Record("a", part, found, 1.0), Record("b", part, Findings(doing="row 7"))]
    save(tmp_path, {"gpu": "some"}, records)
    text = (tmp_path / "report.md").read_text()
    for words in (
        "| x | 1.5 |",
        "- z is off",
        "not run: y.",
        "1 found wrong, 1 not run",
        "in row 7",
    ):
        assert words in text
    assert "| speed | 0 of 1 | x (1.50) |" in text


def test_tables_that_cannot_be_made_lose_no_numbers(tmp_path):
    def tables(data):
        raise KeyError("a column")

    save(tmp_path, {}, [Record("a", Part(1, None, tables), Findings([1.5]))])
    assert report_of(tmp_path)["parts"]["a"]["data"] == [1.5]
    assert "KeyError: 'a column'" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("name", "module"), [("algorithms", conv_algorithms), ("devices", cpu_vs_gpu)]
)
def test_a_picture_that_cannot_be_drawn_loses_nothing(tmp_path, monkeypatch, name, module):
    def fail(*_):
        raise ValueError("no font")

    monkeypatch.setattr(module, "draw", fail)
    record = Record(name, PARTS[name], Findings(is_done=True))
    gpu_report.draw_pictures(tmp_path, record)
    assert record.found.not_run == [f"{name}.png could not be drawn: ValueError: no font"]
