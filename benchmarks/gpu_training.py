"""The part of gpu_report.py that times training steps against PyTorch's, one contestant after the other."""

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from device_timing import WHOLE, clock_of, host_milliseconds, milliseconds, time_phases
from gpu_findings import Allowance, Findings
from gpu_goals import Goal, at_least
from networks import COLOUR, resnet50
from passes import (
    LEARNING_RATE,
    MOMENTUM,
    WHOLE_NETWORKS,
    Pass,
    Subject,
    captured_time,
    random_batch,
    release_memory,
)
from precision import find_torch, round_alike
from tables import Table

SUBJECTS = WHOLE_NETWORKS | {"resnet50": Subject("ResNet-50 at 224x224", resnet50, COLOUR, 1000)}

TRAININGS = [
    ("first_cnn", 64),
    ("resnet18", 256),
    ("resnet50", 128),
    ("mobilenet", 64),
    ("vgg_like", 64),
    ("lenet5", 64),
    ("first_cnn", 512),
    ("vgg_like", 512),
    ("lenet5", 512),
    ("mlp", 64),
]
"""Networks and batch sizes, the most important first: the last ones are dropped where time runs out."""

OURS, CAPTURED = "minicnn", "minicnn captured"
EAGER, CHANNELS_LAST, GRAPH = "PyTorch eager", "PyTorch channels-last", "PyTorch CUDA graph"
CONTESTANTS = (OURS, CAPTURED, EAGER, CHANNELS_LAST, GRAPH)

TIMES_EAGER = 3.0
EAGER_GOAL = f"training of small networks, captured: {TIMES_EAGER:.0f}x PyTorch's eager mode"
GRAPH_GOAL = "training of small networks, captured: 1x PyTorch's CUDA graph"
LARGE_GOAL = "training of large networks: 1x PyTorch's channels-last"

Times = Mapping[str, float]


def training(allowance: Allowance, found: Findings) -> None:
    """Time training steps of networks, ours and PyTorch's."""
    theirs, problem = theirs_on(allowance.device)
    if problem:
        found.leave_out(problem)
    rows = {}
    for name, batch in [("mlp", 2)] if allowance.is_tiny else TRAININGS:
        for contestant in (OURS, CAPTURED, *theirs):
            row = functools.partial(time_step, name, batch, contestant, allowance, found)
            rows[f"{name} {batch}, {contestant}"] = row
    found.carry_out(rows, allowance)


def theirs_on(device: str) -> tuple[tuple[str, ...], str]:
    """Return the contestants of PyTorch on a device, and why there are none, or ""."""
    torch, problem = find_torch()
    if torch is None:
        return (), problem
    if device == "cpu":
        return (EAGER, CHANNELS_LAST), ""
    if not torch.cuda.is_available():
        return (), f"PyTorch {torch.__version__} sees no GPU"
    return (EAGER, CHANNELS_LAST, GRAPH), ""


def time_step(
    name: str, batch: int, contestant: str, allowance: Allowance, found: Findings
) -> None:
    """Add the milliseconds of a training step of one contestant."""
    release_memory(allowance.device)
    subject, clock, pace = SUBJECTS[name], clock_of(allowance.device), allowance.pace
    record = {"network": name, "title": subject.title, "batch": batch, "contestant": contestant}
    if contestant in (OURS, CAPTURED):
        record |= our_time(contestant, Pass(subject, batch, allowance.device), allowance)
    else:
        step = torch_step(contestant, subject, batch, allowance.device)
        record |= {"ms": milliseconds(clock, step, pace), "host ms": host_milliseconds(clock, step)}
    found.data.append(record)
    if record.get("problem"):
        found.failed.append(f"{name} {batch}, {contestant}: not replayed: {record['problem']}")


def our_time(contestant: str, work: Pass, allowance: Allowance) -> dict[str, Any]:
    """Return the milliseconds of our step, for the device and for the host; or why it is not replayed."""
    clock = clock_of(allowance.device)
    if contestant == CAPTURED:
        ms, host_ms, problem = captured_time(work, allowance.pace)
        return {"ms": ms, "host ms": host_ms, "problem": problem}
    ms = time_phases(clock, work.phases, allowance.pace)[WHOLE]
    return {"ms": ms, "host ms": host_milliseconds(clock, work.whole)}


def torch_step(contestant: str, subject: Subject, batch: int, device: str) -> Callable[[], object]:
    """Return a training step of PyTorch."""
    import torch

    torch.manual_seed(0)
    round_alike(torch)
    torch.backends.cudnn.benchmark = contestant != EAGER
    order = torch.contiguous_format if contestant == EAGER else torch.channels_last
    model = subject.build(torch.nn).to(device, memory_format=order)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    images, labels = random_batch(subject, batch)
    images = torch.from_numpy(images).to(device, memory_format=order)
    labels = torch.from_numpy(labels).to(device)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return recorded(torch, step) if contestant == GRAPH else step


def recorded(torch: ModuleType, step: Callable[[], object]) -> Callable[[], object]:
    """Return the replay of a step as a CUDA graph, after a warm-up on a stream of its own, as PyTorch's manual says."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# --- tables and goals -----------------------------------------------------------------------------


def by_network(data: list[dict], key: str) -> dict[tuple[str, int], dict[str, float]]:
    """Return what was measured for each contestant, by network and batch."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for record in data:
        times = found.setdefault((record["network"], record["batch"]), {})
        if record[key] is not None:
            times[record["contestant"]] = record[key]
    return found


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """Return how many times as quick ours is; None where one is missing."""
    return theirs / ours if theirs and ours else None


def quickest(times: Times, contestants: tuple[str, ...]) -> float | None:
    """Return the least time of some contestants; None where there is none."""
    return min((times[who] for who in contestants if who in times), default=None)


def training_goals(data: list[dict]) -> list[Goal]:
    """Return the goals of all networks: small images captured, large ones in the quicker of our two ways."""
    goals = []
    for (name, batch), times in by_network(data, "ms").items():
        row = f"{name} {batch}"
        if SUBJECTS[name].shape[-1] > 28:
            found = [(LARGE_GOAL, quickest(times, (OURS, CAPTURED)), CHANNELS_LAST, 1.0)]
        else:
            captured = times.get(CAPTURED)
            found = [(EAGER_GOAL, captured, EAGER, TIMES_EAGER), (GRAPH_GOAL, captured, GRAPH, 1.0)]
        for kind, ours, opponent, least in found:
            value = ratio(times.get(opponent), ours)
            if value is not None:
                goals.append(at_least(kind, row, value, least))
    return goals


def training_tables(data: list[dict]) -> list[Table]:
    """Return the tables of the device's times and of the host's."""
    goals, rows = training_goals(data), []
    for (name, batch), times in by_network(data, "ms").items():
        ours = quickest(times, (OURS, CAPTURED))
        ratios = [ratio(times.get(who), ours) for who in (EAGER, CHANNELS_LAST, GRAPH)]
        words = {goal.word for goal in goals if goal.row == f"{name} {batch}"}
        title = f"{SUBJECTS[name].title}, batch {batch}"
        cells = [times.get(who) for who in CONTESTANTS]
        rows.append([title, *cells, *ratios, ", ".join(sorted(words)) or None])
    headings = ["", *CONTESTANTS, "x eager", "x channels-last", "x CUDA graph", "goals"]
    note = (
        "Milliseconds of a step: forward, cross-entropy, backward, SGD with momentum; inputs on the card. Ratios: "
        "PyTorch's / the best of ours. Dense layers multiply in float32 on both sides, with TF32 allowed too."
    )
    host = [
        [f"{SUBJECTS[name].title}, batch {batch}", *(times.get(who) for who in CONTESTANTS)]
        for (name, batch), times in by_network(data, "host ms").items()
    ]
    about_host = "Milliseconds until the call returns, while the card still computes: what Python costs a step."
    return [
        Table("Training steps", headings, rows, note),
        Table("Training steps: time of the host", ["", *CONTESTANTS], host, about_host),
    ]
