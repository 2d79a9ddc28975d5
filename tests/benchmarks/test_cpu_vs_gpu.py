"""Layers and networks in parts, and where the lines of two devices cross."""

import time

import cpu_vs_gpu
import pytest
from cpu_vs_gpu import QUICK, crossover, draw, measure, save, sweep, tables
from device_timing import WHOLE
from passes import LAYERS, WHOLE_NETWORKS, Pass

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
    with installed(make_cupy()):
        records = sweep(subject, ("cpu", "cuda"), (1, 2), QUICK, limit=60)
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
    assert len(sweep(LAYERS["relu"], ["cpu"], (1, 2, 4), QUICK, limit=0)) == 1


def test_running_out_of_memory_ends_the_sweep(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(cpu_vs_gpu, "measure_batch", fail)
    assert sweep(LAYERS["relu"], ["cpu"], (1, 2), QUICK, limit=1) == []


def test_after_the_deadline_names_are_kept():
    assert measure(["mlp"], ["cpu"], (1,), QUICK, 1, time.perf_counter() - 1) == ([], ["mlp"])


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
    text = save(tmp_path / "new", {"cores": 2}, [RESULT], ["lenet5"])
    assert (tmp_path / "new" / "cpu_vs_gpu.md").read_text() == text
    assert text.rstrip().endswith("for: lenet5.")


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert draw([RESULT], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
