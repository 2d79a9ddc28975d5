"""The parts of gpu_report.py that compare on one GPU: gradients, memory-bound kernels, convolutions, training.

Each part is a function of its `Allowance`, and returns `Findings`. A part looks at the clock before each
of its rows, and names the rows for which no time was left.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from agreement import worst
from conv_algorithms import PARTS, Way, calls_of, cudnn_ways
from convolutions import Convolution
from device_timing import WHOLE, clock_of, milliseconds, time_phases
from passes import LAYERS, LEARNING_RATE, MOMENTUM, WHOLE_NETWORKS, Pass, Subject, random_batch
from tables import Table
from timing import Pace

from minicnn import Tensor, nn, optim
from minicnn.backend import Array, library_of
from minicnn.kernels.dispatch import sibling
from minicnn.nn.functional.precision import precision_in_force

Row = TypeVar("Row")
GRADIENT_GOALS = {"fast": 1e-4, "exact": 1e-4, "tf32": 1e-2}
"""Errors that gradients may have, by the precision in force."""

TIMES_THE_CPU = 4


@dataclass(frozen=True)
class Allowance:
    """What a part may take.

    Attributes:
        deadline: the moment of `time.perf_counter` after which no row begins.
        pace: how long a row is timed.
        is_tiny: take the smallest sizes, to see that everything works.
        device: "cuda"; "cpu" where parts are tried without a GPU.
    """

    deadline: float
    pace: Pace
    is_tiny: bool = False
    device: str = "cuda"


@dataclass
class Findings:
    """What a part found.

    Attributes:
        tables: for the report.
        data: the same and more, for JSON.
        not_run: rows for which no time was left.
        failed: what was found to be wrong.
    """

    tables: list[Table] = field(default_factory=list)
    data: Any = None
    not_run: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def in_time(
        self, rows: Iterable[Row], name: Callable[[Row], str], allowance: Allowance
    ) -> Iterator[Row]:
        """Go through rows until the deadline, and note the names of those after it."""
        for row in rows:
            if time.perf_counter() > allowance.deadline:
                self.not_run.append(name(row))
            else:
                yield row
                gc.collect()


# --- gradients ------------------------------------------------------------------------------------


def gradients(allowance: Allowance) -> Findings:
    """Compare the gradients of layers and networks in float32 on the GPU with those in float64 on the CPU."""
    subjects = LAYERS | WHOLE_NETWORKS
    names = ["conv 3x3", "batch norm", "mlp"] if allowance.is_tiny else list(subjects)
    batch = 2 if allowance.is_tiny else 8
    goal = GRADIENT_GOALS[precision_in_force()]
    found, rows = Findings(data={}), []
    for name in found.in_time(names, str, allowance):
        subject = subjects[name]
        exact = Pass(subject, batch, "cpu", "float64").gradients()
        own, on_cpu = (
            worst(Pass(subject, batch, device).gradients(), exact)
            for device in (allowance.device, "cpu")
        )
        found.data[name] = {"error": own, "error on the CPU": on_cpu}
        rows.append([subject.title, f"{own:.1e}", f"{on_cpu:.1e}"])
        if not own <= max(goal, TIMES_THE_CPU * on_cpu):  # NaN is wrong too
            found.failed.append(f"gradients of {name}: error {own:.1e}, on the CPU {on_cpu:.1e}")
    note = (
        "The norm of the difference / the norm of the result, for the outputs and each gradient: the largest. Goal: "
        f"{goal:.0e}. In deep networks, rounding turns a few ReLUs and maxima the other way, on any device: there, up "
        f"to {TIMES_THE_CPU} times the CPU's own error in float32 passes; a wrong gradient is off by about 1."
    )
    headings = ["", "GPU, float32", "CPU, float32"]
    found.tables.append(Table("Gradients against float64", headings, rows, note))
    return found


# --- memory-bound kernels -------------------------------------------------------------------------


@dataclass(frozen=True)
class Traffic:
    """A kernel that does little but move numbers.

    Attributes:
        name: how the table calls it.
        call: launches it.
        moved: bytes that it must read and write.
    """

    name: str
    call: Callable[[], object]
    moved: int


def bandwidth(allowance: Allowance) -> Findings:
    """Time memory-bound kernels, and compare the bytes a second with those of a large copy on the same card."""
    clock = clock_of(allowance.device)
    found = Findings(data={})
    measured = {}
    for traffic in found.in_time(traffics(allowance), lambda t: t.name, allowance):
        ms = milliseconds(clock, traffic.call, allowance.pace)
        measured[traffic.name] = traffic.moved / ms / 1e6  # GB/s
    copy = measured.get("copy")
    rows = [
        [name, rate, f"{100 * rate / copy:.0f} %" if copy else None]
        for name, rate in measured.items()
    ]
    found.data = {"GB/s": measured}
    note = (
        "Counted are the bytes that the arithmetic makes necessary: each array once, but the input of BatchNorm twice, "
        "for its statistics and for its result, and so in backward. Goal: 70 % of the copy."
    )
    found.tables.append(Table("Memory-bound kernels", ["", "GB/s", "of the copy"], rows, note))
    return found


def traffics(allowance: Allowance) -> Iterator[Traffic]:
    """Make the kernels one after the other, with arrays that are larger than the caches of a card."""
    xp = library_of(allowance.device)
    N, C, size = (2, 8, 4) if allowance.is_tiny else (256, 64, 64)  # 256 MiB

    def images(size: int) -> Array:
        values = np.random.default_rng(0).random((N, size, size, C), dtype=np.float32) - 0.5
        return xp.asarray(values).transpose(0, 3, 1, 2)

    x, g = images(size), images(size)
    flat, target = x.transpose(0, 2, 3, 1), xp.empty((N, size, size, C), x.dtype)
    yield Traffic("copy", lambda: xp.copyto(target, flat), 2 * x.nbytes)
    activation, norm, pool = (sibling(name, x) for name in ("activation", "norm", "pool"))
    yield Traffic("ReLU", lambda: activation.relu(x), 2 * x.nbytes)
    yield Traffic("ReLU, gradient", lambda: activation.relu_grad(g, x), 3 * x.nbytes)
    weight, bias = xp.ones(C, x.dtype), xp.zeros(C, x.dtype)
    _, mean, inverse_std, _ = norm.batch_norm(x, weight, bias, 1e-5)
    statistics = mean, inverse_std, weight, bias
    yield Traffic("BatchNorm", lambda: norm.batch_norm(x, weight, bias, 1e-5), 3 * x.nbytes)
    yield Traffic(
        "BatchNorm, gradient", lambda: norm.batch_norm_grad(g, x, *statistics), 5 * x.nbytes
    )
    y, winner = pool.max_pool2d(x, 2)
    moved = x.nbytes + y.nbytes + winner.nbytes
    yield Traffic("MaxPool2d 2x2", lambda: pool.max_pool2d(x, 2), moved)
    yield Traffic(
        "MaxPool2d 2x2, gradient", lambda: pool.max_pool2d_grad(y, winner, x.shape, 2), moved
    )
    parameter = nn.Parameter(flat)
    parameter.grad = Tensor(g.transpose(0, 2, 3, 1))
    optimizer = optim.SGD([parameter], LEARNING_RATE, momentum=MOMENTUM)
    yield Traffic("update: SGD with momentum", optimizer.step, 5 * x.nbytes)


# --- convolutions against cuDNN -------------------------------------------------------------------


def convolutions(allowance: Allowance) -> Findings:
    """Time minicnn's direct 3x3 convolution against cuDNN's, in float32 and with TF32."""
    shapes = [(32, 56, 64), (32, 28, 128), (32, 14, 256), (32, 7, 512)]
    cases = [Convolution(N, H, C, C) for N, H, C in ([(1, 5, 4)] if allowance.is_tiny else shapes)]
    direct = [
        Way(name, allowance.device, "direct", precision)
        for name, precision in (("direct", "exact"), ("direct TF32", "tf32"))
    ]
    cudnn = cudnn_ways()[:2] if allowance.device == "cuda" else []  # both precisions of one library
    found, rows = Findings(data=[]), []
    for case in found.in_time(cases, lambda case: case.title, allowance):
        rates = {way.name: rates_of(way, case, allowance) for way in (*direct, *cudnn)}
        found.data.append({"case": case.title, "GFLOP/s": rates})
        for i, part in enumerate(PARTS):
            cells = [rates[way.name][i] for way in direct]
            theirs = [rates[way.name][i] for way in cudnn] or [None, None]
            shares = [a / b if b else None for a, b in zip(cells, theirs, strict=True)]
            rows.append(
                [
                    f"{case.title}: {part}",
                    cells[0],
                    theirs[0],
                    shares[0],
                    cells[1],
                    theirs[1],
                    shares[1],
                ]
            )
    headings = ["", *("direct", "cuDNN", "ratio"), *("direct TF32", "cuDNN TF32", "ratio")]
    note = (
        "GFLOP/s, channels-last. cuDNN is called by PyTorch, with cudnn.benchmark, or by minicnn where there is no "
        "PyTorch. Ratio: direct / cuDNN; goal: 0.6 with TF32. "
        + (f"Here: {cudnn[0].name}." if cudnn else "There is no cuDNN here.")
    )
    found.tables.append(Table("3x3 convolutions against cuDNN", headings, rows, note))
    return found


def rates_of(way: Way, case: Convolution, allowance: Allowance) -> list[float]:
    """Return the GFLOP/s of forward, gradient of x and gradient of w."""
    clock, calls = clock_of(allowance.device), calls_of(way, case)
    return [case.flops / milliseconds(clock, calls[part], allowance.pace) / 1e6 for part in PARTS]


# --- training against PyTorch ---------------------------------------------------------------------

TRAININGS = [
    *((name, batch) for name in ("first_cnn", "lenet5", "vgg_like") for batch in (64, 512)),
    ("resnet18", 256),
    ("mobilenet", 64),
]
"""Networks and their batch sizes."""

OURS, CAPTURED = "minicnn", "minicnn captured"
EAGER, CHANNELS_LAST, GRAPH = "PyTorch eager", "PyTorch channels-last", "PyTorch CUDA graph"
CONTESTANTS = (OURS, CAPTURED, EAGER, CHANNELS_LAST, GRAPH)


def training(allowance: Allowance) -> Findings:
    """Time training steps of networks against PyTorch's."""
    rows = [("mlp", 2)] if allowance.is_tiny else TRAININGS
    found, cells = Findings(data=[]), []
    for name, batch in found.in_time(rows, lambda row: f"{row[0]} {row[1]}", allowance):
        subject = WHOLE_NETWORKS[name]
        times, problems = {}, {}
        for contestant in CONTESTANTS:
            try:
                times[contestant] = step_time(contestant, subject, batch, allowance)
            except Exception as error:  # one that fails must not take the others along
                problems[contestant] = f"{type(error).__name__}: {error}"
            gc.collect()
        found.data.append({"network": name, "batch": batch, "ms": times, "problems": problems})
        found.failed += [f"{name} {batch}, {who}: {problem}" for who, problem in problems.items()]
        theirs = [times[who] for who in (EAGER, CHANNELS_LAST, GRAPH) if times.get(who)]
        ours = [times[who] for who in (OURS, CAPTURED) if times.get(who)]
        ratio = min(theirs) / min(ours) if theirs and ours else None
        title = f"{subject.title}, batch {batch}"
        cells.append([title, *(times.get(who) for who in CONTESTANTS), ratio])
    note = (
        "Milliseconds of a step: forward, cross-entropy, backward, SGD with momentum; inputs on the card. Ratio: the "
        "best of PyTorch's / the best of ours. No number: PyTorch is not there, or minicnn.capture does not record "
        "on a GPU."
    )
    found.tables.append(Table("Training steps", ["", *CONTESTANTS, "ratio"], cells, note))
    return found


def step_time(contestant: str, subject: Subject, batch: int, allowance: Allowance) -> float | None:
    """Return the milliseconds of a training step; None where this contestant is not to be had."""
    clock = clock_of(allowance.device)
    if contestant == OURS:
        phases = Pass(subject, batch, allowance.device).phases
        return time_phases(clock, phases, allowance.pace)[WHOLE]
    if contestant == CAPTURED:
        step = Pass(subject, batch, allowance.device).captured()
    else:
        step = torch_step(contestant, subject, batch, allowance.device)
    return None if step is None else milliseconds(clock, step, allowance.pace)


def torch_step(
    contestant: str, subject: Subject, batch: int, device: str
) -> Callable[[], object] | None:
    """Return a training step of PyTorch; None where it is not installed, or cannot use the device."""
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        return None
    if device == "cpu" and contestant == GRAPH:
        return None
    torch.manual_seed(0)
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


def recorded(torch: Any, step: Callable[[], object]) -> Callable[[], object]:
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
