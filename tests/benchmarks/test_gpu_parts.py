"""Parts of the GPU report, tried on the CPU: what they find, and what they make of it."""

import time

import gpu_devices
import gpu_parts
import gpu_training
import pytest
from gpu_findings import Allowance, Findings
from gpu_goals import table_of
from gpu_training import CAPTURED, EAGER, GRAPH, LARGE_GOAL, OURS
from passes import Pass
from timing import Pace

PACE = Pace(block_seconds=0, least_calls=1)


@pytest.fixture
def allowance():
    return Allowance(time.perf_counter() + 60, PACE, is_tiny=True, device="cpu")


def found_by(part, allowance):
    found = Findings()
    part(allowance, found)
    return found


PARTS = [
    (gpu_parts.gradients, gpu_parts.gradient_tables, gpu_parts.gradient_goals),
    (gpu_parts.bandwidth, gpu_parts.bandwidth_tables, gpu_parts.bandwidth_goals),
    (gpu_parts.convolutions, gpu_parts.convolution_tables, gpu_parts.convolution_goals),
    (gpu_training.training, gpu_training.training_tables, gpu_training.training_goals),
    (gpu_parts.algorithms, gpu_parts.algorithm_tables, lambda data: []),
    (gpu_devices.devices, gpu_devices.device_tables, lambda data: []),
]


@pytest.mark.parametrize(("part", "tables", "goals"), PARTS)
def test_after_the_deadline_no_row_begins(part, tables, goals):
    found = found_by(part, Allowance(time.perf_counter() - 1, PACE, is_tiny=True, device="cpu"))
    assert found.not_run
    assert all(table.rows == [] for table in tables([]))
    assert goals([]) == []


def test_a_wrong_gradient_is_found(allowance, monkeypatch):
    true_backward = Pass.backward

    def backward(self):
        true_backward(self)
        for parameter in self.model.parameters():
            if parameter.grad.dtype == "float32":
                parameter.grad *= 1.01

    monkeypatch.setattr(Pass, "backward", backward)
    monkeypatch.setattr(gpu_parts, "TIMES_THE_CPU", 0.5)  # which makes the same mistake here
    found = found_by(gpu_parts.gradients, allowance)
    names = ["mlp", "conv 3x3", "batch norm"]
    assert [words.partition(":")[0] for words in found.failed] == [
        f"gradients of {n}" for n in names
    ]
    assert [goal.word for goal in gpu_parts.gradient_goals(found.data)] == ["missed"] * 3


def test_a_kernel_that_fails_loses_no_other(allowance, monkeypatch):
    def fail(x, g):
        raise RuntimeError("nvrtc: error")

    monkeypatch.setitem(gpu_parts.TRAFFIC, "BatchNorm", fail)
    found = found_by(gpu_parts.bandwidth, allowance)
    assert found.failed == ["BatchNorm: RuntimeError: nvrtc: error"]
    assert [r["name"] for r in found.data] == [n for n in gpu_parts.TRAFFIC if n != "BatchNorm"]


def test_without_a_copy_there_are_no_shares():
    data = [{"name": "ReLU", "GB/s": 100.0}]
    (table,) = gpu_parts.bandwidth_tables(data)
    assert table.rows == [["ReLU", 100.0, None, None]]


def test_shares_of_the_copy_are_judged():
    rates = {"copy": 100.0, "ReLU": 70.0, "BatchNorm": 69.0}
    data = [{"name": name, "GB/s": rate} for name, rate in rates.items()]
    goals = gpu_parts.bandwidth_goals(data)
    assert [(goal.row, goal.word) for goal in goals] == [("ReLU", "met"), ("BatchNorm", "missed")]
    (row,) = table_of(goals, [gpu_parts.BANDWIDTH_GOAL]).rows
    assert row[1:] == ["1 of 2", "BatchNorm (0.69)"]


def test_a_way_that_fails_loses_no_other(allowance, monkeypatch):
    calls_of = gpu_parts.calls_of

    def fail(way, case):
        if way.precision == "tf32":
            raise RuntimeError("no plan")
        return calls_of(way, case) | {"input gradient": lambda: 1 / 0}

    monkeypatch.setattr(
        gpu_parts,
        "contestants_on",
        lambda device: {
            name: gpu_parts.Way(name, "cpu", "im2col", precision)
            for name, precision in (("direct TF32", "tf32"), ("direct", "exact"))
        },
    )
    monkeypatch.setattr(gpu_parts, "calls_of", fail)
    found = found_by(gpu_parts.convolutions, allowance)
    assert [words.rpartition(": ")[2] for words in found.failed] == ["no plan", "division by zero"]
    (record,) = found.data
    assert list(record["GFLOP/s"]) == ["forward", "weight gradient"]
    (table,) = gpu_parts.convolution_tables(found.data)
    assert [row[1] is None for row in table.rows] == [False, True, False]


def test_pytorch_trains_beside_ours(allowance, torch):
    found = found_by(gpu_training.training, allowance)
    assert (found.failed, found.not_run) == ([], [])
    assert [r["contestant"] for r in found.data] == [OURS, CAPTURED, EAGER, "PyTorch channels-last"]
    assert all(r["ms"] > 0 and r["host ms"] > 0 for r in found.data)


def test_a_contestant_that_fails_is_named(allowance, torch, monkeypatch):
    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(gpu_training, "torch_step", fail)
    found = found_by(gpu_training.training, allowance)
    assert "mlp 2, PyTorch eager: RuntimeError: no luck" in found.failed
    assert [r["contestant"] for r in found.data] == [OURS, CAPTURED]


def test_a_broken_pytorch_is_left_out(allowance, monkeypatch):
    def fail(name):
        raise OSError("libcudart.so.13: cannot open")

    monkeypatch.setattr("precision.importlib.import_module", fail)
    found = found_by(gpu_training.training, allowance)
    words = "PyTorch cannot be imported (OSError: libcudart.so.13: cannot open)"
    assert (found.failed, found.not_run) == ([], [words])
    assert not gpu_parts.conv_algorithms.torch_has_cudnn()


def times(network, batch, **ms):
    names = {"ours": OURS, "captured": CAPTURED, "eager": EAGER, "graph": GRAPH}
    names["channels_last"] = gpu_training.CHANNELS_LAST
    title = gpu_training.SUBJECTS[network].title
    return [
        {"network": network, "title": title, "batch": batch, "contestant": names[who]}
        | {"ms": value, "host ms": value}
        for who, value in ms.items()
    ]


def test_small_networks_are_judged_by_the_captured_step():
    data = times("lenet5", 64, ours=0.2, captured=1.0, eager=3.0, graph=0.9)
    goals = gpu_training.training_goals(data)
    assert [(goal.word, goal.reached) for goal in goals] == [("met", "3.00"), ("missed", "0.90")]


def test_large_networks_are_judged_by_the_quicker_step():
    data = times("resnet50", 128, ours=2.0, captured=4.0, eager=1.0, channels_last=2.0)
    (goal,) = gpu_training.training_goals(data)
    assert (goal.kind, goal.word) == (LARGE_GOAL, "met")
    (row, *_), _ = (table.rows for table in gpu_training.training_tables(data))
    assert row[-4:] == [0.5, 1.0, None, "met"]


def test_a_step_that_is_not_replayed_is_not_judged():
    data = times("lenet5", 64, captured=None, eager=3.0, graph=0.9)
    assert gpu_training.training_goals(data) == []


def test_a_batch_without_room_ends_its_device(allowance, monkeypatch):
    def fail(subject, batch, *_):
        raise MemoryError("no room")

    monkeypatch.setattr(gpu_devices, "measure_batch", fail)
    found = found_by(gpu_devices.devices, allowance)
    assert [(r["batch"], r["record"], r["is_last"]) for r in found.data] == [(1, None, True)]
    assert (found.failed, gpu_devices.results_of(found.data)) == ([], [])


def test_a_batch_that_fails_keeps_those_before_it(allowance, monkeypatch):
    measure_batch = gpu_devices.measure_batch

    def fail(subject, batch, *arguments):
        if batch == 2:
            raise RuntimeError("an illegal memory access")
        return measure_batch(subject, batch, *arguments)

    monkeypatch.setattr(gpu_devices, "measure_batch", fail)
    found = found_by(gpu_devices.devices, allowance)
    assert found.failed == ["relu on cpu, batch 2: RuntimeError: an illegal memory access"]
    (result,) = gpu_devices.results_of(found.data)
    assert [record["batch"] for record in result["records"]] == [1]
