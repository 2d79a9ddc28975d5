"""Layers and networks in parts, and where the lines of two devices cross."""

import time

import cpu_vs_gpu
import pytest
from cpu_vs_gpu import QUICK, crossover, draw, save, sweep, tables
from device_timing import WHOLE
from passes import LAYERS, WHOLE_NETWORKS, Pass

from minicnn import graphs
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy


def record(device, batch, whole, captured=None, transfer=0.0):
    times = dict.fromkeys(cpu_vs_gpu.COLUMNS, 1.0)
    return times | {
        "device": device,
        "batch": batch,
        WHOLE: whole,
        "captured": captured,
        "transfer": transfer,
    }


def lines(cpu, gpu, transfer=0.0):
    batches = (1, 4, 16)
    records = [record("cpu", batch, ms) for batch, ms in zip(batches, cpu, strict=True)]
    return records + [
        record("cuda", batch, ms, transfer=transfer) for batch, ms in zip(batches, gpu, strict=True)
    ]


def test_lines_cross_between_batch_sizes():
    assert crossover(lines((1, 2, 8), (4, 4, 4))) == pytest.approx(8)


def test_the_way_to_the_gpu_counts():
    assert crossover(lines((1, 2, 8), (2, 2, 2), transfer=2.0)) == pytest.approx(8)


def test_a_gpu_that_is_quicker_from_the_first_batch_on():
    assert crossover(lines((5, 6, 7), (4, 4, 4))) == 1


def test_a_gpu_that_is_never_quicker():
    assert crossover(lines((1, 2, 3), (4, 4, 4))) is None


def test_the_last_crossing_counts():
    assert crossover(lines((4, 1, 4), (2, 2, 2))) == pytest.approx(8)


def test_without_a_gpu_there_is_no_crossover():
    assert crossover([record("cpu", 1, 1.0)]) is None


def test_a_captured_step_counts_where_it_is_quicker():
    slow_first = [record("cpu", 1, 4.0, captured=1.0), record("cuda", 1, 2.0)]
    assert crossover(slow_first) is None


@pytest.mark.parametrize("name", ["max pool", "mlp"])
def test_a_batch_in_parts_on_both_devices(name):
    subject = (LAYERS | WHOLE_NETWORKS)[name]
    library = make_cupy()
    if has_compiler():
        equip(library)
    with installed(library):
        swept = sweep(subject, ("cpu", "cuda"), (1, 2), QUICK, limit=60)
    records = swept.records
    assert swept.not_run == []
    if has_compiler():  # without kernels, nothing can be recorded
        assert swept.problems == []
    assert [(r["device"], r["batch"]) for r in records] == [
        *(("cpu", 1), ("cpu", 2)),
        *(("cuda", 1), ("cuda", 2)),
    ]
    for found in records:
        assert min(found[key] for key in ("forward", "backward", WHOLE, "first")) > 0
        assert (found["transfer"] > 0) == (found["device"] == "cuda")
        assert (found["gflops"] is None) == (name == "max pool")
    assert records[3]["memory"] > 0


def test_a_long_step_ends_the_sweep():
    assert len(sweep(LAYERS["relu"], ["cpu"], (1, 2, 4), QUICK, limit=0).records) == 1


class DriverError(RuntimeError):
    """As CuPy's CUDARuntimeError, which is no MemoryError."""


OUT_OF_MEMORY = [MemoryError("no room"), DriverError("cudaErrorMemoryAllocation: out of memory")]


def failing_from(batch, error, monkeypatch):
    measure_batch = cpu_vs_gpu.measure_batch

    def fail(subject, size, *arguments):
        if size >= batch:
            raise error
        return measure_batch(subject, size, *arguments)

    monkeypatch.setattr(cpu_vs_gpu, "measure_batch", fail)
    return sweep(LAYERS["relu"], ["cpu"], (1, 2, 4), QUICK, limit=60)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["MemoryError", "of the driver"])
def test_running_out_of_memory_ends_the_sweep(error, monkeypatch):
    found = failing_from(2, error, monkeypatch)
    assert ([r["batch"] for r in found.records], found.problems) == ([1], [])


def test_a_batch_that_fails_keeps_those_before_it(monkeypatch):
    found = failing_from(2, DriverError("an illegal memory access"), monkeypatch)
    assert [r["batch"] for r in found.records] == [1]
    (problem,) = found.problems
    assert problem.endswith("batch 2 on cpu: DriverError: an illegal memory access")


def test_a_sweep_that_the_deadline_cuts_is_named(monkeypatch):
    found = sweep(LAYERS["relu"], ["cpu", "cuda"], (1, 2), QUICK, 1, time.perf_counter() - 1)
    title = LAYERS["relu"].title
    assert found.records == []
    assert found.not_run == [f"{title} on {device} from batch 1 on" for device in ("cpu", "cuda")]


def test_a_step_that_cannot_be_recorded_says_why(monkeypatch):
    def fail(self):
        raise RuntimeError("no capture today")

    monkeypatch.setattr(graphs.GraphCapture, "_begin", fail)
    with installed(make_cupy()):
        found = sweep(WHOLE_NETWORKS["mlp"], ["cuda"], (2,), QUICK, limit=60)
    assert found.records[0]["captured"] is None
    assert found.records[0]["problem"] == "RuntimeError: no capture today"
    (problem,) = found.problems
    assert problem.endswith("batch 2 on cuda: not replayed: RuntimeError: no capture today")


def test_an_update_forgets_gradients_and_changes_numbers():
    work = Pass(WHOLE_NETWORKS["mlp"], 2, "cpu")
    (parameter, *_) = work.model.parameters()
    before = parameter.detach().numpy().copy()
    for _, call in work.phases:
        call()
    assert parameter.grad is None
    assert (parameter.detach().numpy() != before).any()


RESULT = {
    "name": "mlp",
    "title": "dense",
    "kind": "network",
    "multiply_adds": 1234,
    "crossover": 8.0,
    "records": lines((1, 2, 8), (4, 4, 4)),
}


def test_tables_show_both_devices_and_the_crossover():
    parts, batches = (table.markdown() for table in tables([RESULT], 4))
    assert "| dense | 1,234 | cpu | 4 |" in parts
    assert "| dense | cuda | 4 | 4 | 4 | about 8 |" in batches


def test_results_are_written(tmp_path):
    text = save(tmp_path / "new", {"cores": 2}, [RESULT], ["lenet5: no luck"])
    assert (tmp_path / "new" / "cpu_vs_gpu.md").read_text() == text
    assert text.rstrip().endswith("- lenet5: no luck")


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert draw([RESULT], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
