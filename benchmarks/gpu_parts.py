"""The parts of gpu_report.py that look at the kernels of one GPU: gradients, memory-bound kernels, convolutions.

Each part is a function of its `Allowance` that fills `Findings`, row after row; beside it stand the tables
and the goals that follow from its data.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import conv_algorithms
import numpy as np
from agreement import worst
from conv_algorithms import PARTS, Way, calls_of, cudnn_ways
from convolutions import Convolution
from device_timing import clock_of, milliseconds
from gpu_findings import Allowance, Findings
from gpu_goals import Goal, at_least
from passes import LAYERS, LEARNING_RATE, MOMENTUM, WHOLE_NETWORKS, Pass, Subject
from tables import Table

from minicnn import Tensor, nn, optim
from minicnn.backend import Array, library_of
from minicnn.kernels.dispatch import sibling

Call = Callable[[], object]

# --- gradients ------------------------------------------------------------------------------------

GRADIENT_ERROR = 1e-4
TIMES_THE_CPU = 4

GRADIENT_GOAL = f"gradients in float32: error {GRADIENT_ERROR:.0e}"


def gradients(allowance: Allowance, found: Findings) -> None:
    """Compare the gradients of layers and networks in float32 on the GPU with those in float64 on the CPU."""
    subjects = WHOLE_NETWORKS | LAYERS
    names = ["mlp", "conv 3x3", "batch norm"] if allowance.is_tiny else list(subjects)
    found.carry_out(
        {
            name: functools.partial(compare_gradients, name, subjects[name], allowance, found)
            for name in names
        },
        allowance,
    )


def compare_gradients(name: str, subject: Subject, allowance: Allowance, found: Findings) -> None:
    """Add the errors of one layer or network; one that is too large is wrong."""
    batch = 2 if allowance.is_tiny or subject.shape[-1] > 100 else 8
    results = []
    for device, dtype in (("cpu", "float64"), (allowance.device, "float32"), ("cpu", "float32")):
        found.go_on(f"{name} in {dtype} on {device}")
        results.append(Pass(subject, batch, device, dtype).gradients())
    exact, own, on_cpu = results
    record = {"name": name, "title": subject.title, "batch": batch}
    record |= {"error": worst(own, exact), "error on the CPU": worst(on_cpu, exact)}
    found.data.append(record)
    if not is_close(record):
        errors = f"error {record['error']:.1e}, on the CPU {record['error on the CPU']:.1e}"
        found.failed.append(f"gradients of {name}: {errors}")


def is_close(record: dict[str, Any]) -> bool:
    """Whether an error is one of rounding. NaN is not."""
    return record["error"] <= max(GRADIENT_ERROR, TIMES_THE_CPU * record["error on the CPU"])


def gradient_goals(data: list[dict]) -> list[Goal]:
    """Return the goals of all rows."""
    return [
        Goal(GRADIENT_GOAL, r["title"], f"{r['error']:.1e}", r["error"] <= GRADIENT_ERROR)
        for r in data
    ]


def gradient_tables(data: list[dict]) -> list[Table]:
    """Return the table of errors."""
    note = (
        "The norm of the difference / the norm of the result, for the outputs and each gradient: the largest. Goal: "
        f"{GRADIENT_ERROR:.0e}. In deep networks, rounding turns a few ReLUs and maxima the other way, on any device: "
        f"there, up to {TIMES_THE_CPU} times the CPU's own error in float32 is not wrong; a wrong gradient is off by "
        "about 1. The CPU computes with NumPy alone."
    )
    rows = [
        [r["title"], f"{r['error']:.1e}", f"{r['error on the CPU']:.1e}", goal.word]
        for r, goal in zip(data, gradient_goals(data), strict=True)
    ]
    headings = ["", "GPU, float32", "CPU, float32", "goal"]
    return [Table("Gradients against float64", headings, rows, note)]


# --- memory-bound kernels -------------------------------------------------------------------------

COPY = "copy"
SHARE_OF_COPY = 0.7
BANDWIDTH_GOAL = f"memory-bound kernels: {100 * SHARE_OF_COPY:.0f} % of the bandwidth of a copy"


def bandwidth(allowance: Allowance, found: Findings) -> None:
    """Time memory-bound kernels, and compare the bytes a second with those of a large copy on the same card."""
    images = functools.cache(functools.partial(images_for, allowance))
    rows = {}
    for name, make in TRAFFIC.items():
        rows[name] = functools.partial(time_traffic, name, make, images, allowance, found)
    found.carry_out(rows, allowance)


def time_traffic(
    name: str,
    make: Callable[[Array, Array], tuple[Call, int]],
    images: Callable[[], tuple[Array, Array]],
    allowance: Allowance,
    found: Findings,
) -> None:
    """Add the bytes a second of one kernel."""
    call, moved = make(*images())
    ms = milliseconds(clock_of(allowance.device), call, allowance.pace)
    found.data.append({"name": name, "GB/s": moved / ms / 1e6, "ms": ms})


def images_for(allowance: Allowance) -> tuple[Array, Array]:
    """Return two arrays (N, C, H, W), channels-last in memory, that are larger than the caches of a card: 256 MiB."""
    xp = library_of(allowance.device)
    N, C, size = (2, 8, 4) if allowance.is_tiny else (256, 64, 64)
    values = np.random.default_rng(0).random((N, size, size, C), dtype=np.float32) - 0.5
    x = xp.asarray(values)
    return x.transpose(0, 3, 1, 2), (x * 0.5).transpose(0, 3, 1, 2)


def copy(x: Array, g: Array) -> tuple[Call, int]:
    """Each of these functions returns a call, and the bytes that it must read and write."""
    xp, flat = library_of_array(x), x.transpose(0, 2, 3, 1)
    target = xp.empty(flat.shape, x.dtype)
    return lambda: xp.copyto(target, flat), 2 * x.nbytes


def relu(x: Array, g: Array) -> tuple[Call, int]:
    """ReLU reads x and writes y."""
    activation = sibling("activation", x)
    return lambda: activation.relu(x), 2 * x.nbytes


def relu_grad(x: Array, g: Array) -> tuple[Call, int]:
    """Its gradient reads two arrays and writes one."""
    activation = sibling("activation", x)
    return lambda: activation.relu_grad(g, x), 3 * x.nbytes


def batch_norm(x: Array, g: Array) -> tuple[Call, int]:
    """BatchNorm reads x for its statistics, and again for its result."""
    xp, norm, C = library_of_array(x), sibling("norm", x), x.shape[1]
    weight, bias = xp.ones(C, x.dtype), xp.zeros(C, x.dtype)
    return lambda: norm.batch_norm(x, weight, bias, 1e-5), 3 * x.nbytes


def batch_norm_grad(x: Array, g: Array) -> tuple[Call, int]:
    """Its gradient reads both arrays twice."""
    xp, norm, C = library_of_array(x), sibling("norm", x), x.shape[1]
    weight, bias = xp.ones(C, x.dtype), xp.zeros(C, x.dtype)
    _, mean, inverse_std, _ = norm.batch_norm(x, weight, bias, 1e-5)
    statistics = mean, inverse_std, weight, bias
    return lambda: norm.batch_norm_grad(g, x, *statistics), 5 * x.nbytes


def max_pool(x: Array, g: Array) -> tuple[Call, int]:
    """Max-pooling writes a quarter of what it reads, and where the maxima were."""
    pool = sibling("pool", x)
    y, winner = pool.max_pool2d(x, 2)
    return lambda: pool.max_pool2d(x, 2), x.nbytes + y.nbytes + winner.nbytes


def max_pool_grad(x: Array, g: Array) -> tuple[Call, int]:
    """Its gradient goes the same way back."""
    pool = sibling("pool", x)
    y, winner = pool.max_pool2d(x, 2)
    moved = x.nbytes + y.nbytes + winner.nbytes
    return lambda: pool.max_pool2d_grad(y, winner, x.shape, 2), moved


def update(x: Array, g: Array) -> tuple[Call, int]:
    """SGD with momentum reads parameter, gradient and velocity, and writes the first and the last."""
    parameter = nn.Parameter(x.transpose(0, 2, 3, 1).copy())
    parameter.grad = Tensor(g.transpose(0, 2, 3, 1))
    return optim.SGD([parameter], LEARNING_RATE, momentum=MOMENTUM).step, 5 * x.nbytes


def library_of_array(array: Array) -> Any:
    """Return NumPy or CuPy."""
    return library_of("cpu" if isinstance(array, np.ndarray) else "cuda")


TRAFFIC = {
    COPY: copy,
    "BatchNorm": batch_norm,
    "BatchNorm, gradient": batch_norm_grad,
    "MaxPool2d 2x2": max_pool,
    "MaxPool2d 2x2, gradient": max_pool_grad,
    "update: SGD with momentum": update,
    "ReLU": relu,
    "ReLU, gradient": relu_grad,
}


def shares_of_copy(data: list[dict]) -> dict[str, float]:
    """Return the bandwidths as shares of that of the copy; nothing where that is not known."""
    rates = {record["name"]: record["GB/s"] for record in data}
    of_copy = rates.pop(COPY, None)
    return {name: rate / of_copy for name, rate in rates.items()} if of_copy else {}


def bandwidth_goals(data: list[dict]) -> list[Goal]:
    """Return the goals of all kernels but the copy."""
    return [
        at_least(BANDWIDTH_GOAL, name, share, SHARE_OF_COPY)
        for name, share in shares_of_copy(data).items()
    ]


def bandwidth_tables(data: list[dict]) -> list[Table]:
    """Return the table of bandwidths."""
    shares, goals = shares_of_copy(data), {g.row: g.word for g in bandwidth_goals(data)}
    rows = []
    for record in data:
        name = record["name"]
        share = f"{100 * shares[name]:.0f} %" if name in shares else None
        rows.append([name, record["GB/s"], share, goals.get(name)])
    note = (
        "Counted are the bytes that the arithmetic makes necessary: each array once, but the input of BatchNorm twice, "
        "for its statistics and for its result, and so in backward."
    )
    headings = ["", "GB/s", "of the copy", "goal"]
    return [Table("Memory-bound kernels", headings, rows, note)]


# --- convolutions against cuDNN -------------------------------------------------------------------

RATIO_TO_CUDNN = 0.6
CUDNN_GOAL = f"direct 3x3 convolution with TF32: {RATIO_TO_CUDNN} of cuDNN's speed"
SHAPES = [(128, 56, 64), (128, 28, 128), (128, 14, 256), (128, 7, 512)]
"""N, H, C: a kernel takes more than 100 microseconds, so that Python, which needs 25 to 50 for a call, is ahead."""

PRECISION_SUFFIX = {"exact": "", "tf32": " TF32"}


def contestants_on(device: str) -> dict[str, Way]:
    """Return the direct kernel and cuDNN, in TF32 and in float32."""
    cudnn = {way.precision: way for way in reversed(cudnn_ways())} if device == "cuda" else {}
    ways = {}
    for precision in ("tf32", "exact"):
        suffix = PRECISION_SUFFIX[precision]
        ways[f"direct{suffix}"] = Way(f"direct{suffix}", device, "direct", precision)
        if precision in cudnn:
            ways[f"cuDNN{suffix}"] = cudnn[precision]
    return ways


def convolutions(allowance: Allowance, found: Findings) -> None:
    """Time minicnn's direct 3x3 convolution against cuDNN's, with TF32 and in float32."""
    shapes = [(1, 5, 4)] if allowance.is_tiny else SHAPES
    ways = contestants_on(allowance.device)
    if not any(name.startswith("cuDNN") for name in ways):
        found.leave_out("cuDNN: neither PyTorch nor nvidia-cudnn-frontend can call it here")
    rows = {}
    for N, H, C in shapes:
        case = Convolution(N, H, C, C)
        for name, way in ways.items():
            row = functools.partial(time_convolution, name, way, case, allowance, found)
            rows[f"{case.title}: {name}"] = row
    found.carry_out(rows, allowance)


def time_convolution(
    name: str, way: Way, case: Convolution, allowance: Allowance, found: Findings
) -> None:
    """Add GFLOP/s of forward, gradient of x and gradient of w; each may fail by itself."""
    clock, calls = clock_of(allowance.device), calls_of(way, case)
    rates: dict[str, float] = {}
    found.data.append({"case": case.title, "way": name, "by": way.name, "GFLOP/s": rates})

    def time_part(part: str) -> None:
        ms = milliseconds(clock, calls[part], allowance.pace)
        rates[part] = case.flops / ms / 1e6

    for part in PARTS:
        title = f"{case.title}: {name}, {part}"
        found.go_on(title)
        found.attempt(title, functools.partial(time_part, part), allowance.device)


def ratio_to_cudnn(rates: dict[str, dict], part: str, suffix: str) -> float | None:
    """Return direct / cuDNN in one precision; None where one is missing."""
    ours, theirs = (rates.get(f"{name}{suffix}", {}).get(part) for name in ("direct", "cuDNN"))
    return ours / theirs if ours and theirs else None


def rates_by_case(data: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Return GFLOP/s by case, way and part."""
    cases: dict[str, dict] = {}
    for record in data:
        cases.setdefault(record["case"], {})[record["way"]] = record["GFLOP/s"]
    return cases


def convolution_goals(data: list[dict]) -> list[Goal]:
    """Return the goals of the kernels with TF32."""
    goals = []
    for case, rates in rates_by_case(data).items():
        for part in PARTS:
            ratio = ratio_to_cudnn(rates, part, PRECISION_SUFFIX["tf32"])
            if ratio is not None:
                goals.append(at_least(CUDNN_GOAL, f"{case}: {part}", ratio, RATIO_TO_CUDNN))
    return goals


def convolution_tables(data: list[dict]) -> list[Table]:
    """Return the table of rates."""
    words, rows = {goal.row: goal.word for goal in convolution_goals(data)}, []
    for case, rates in rates_by_case(data).items():
        for part in PARTS:
            row = [f"{case}: {part}"]
            for suffix in PRECISION_SUFFIX.values():
                row += [rates.get(f"{name}{suffix}", {}).get(part) for name in ("direct", "cuDNN")]
                row.append(ratio_to_cudnn(rates, part, suffix))
            rows.append([*row, words.get(row[0])])
    headings = ["", *("direct", "cuDNN", "ratio"), *("direct TF32", "cuDNN TF32", "ratio"), "goal"]
    callers = dict.fromkeys(r["by"] for r in data if r["way"].startswith("cuDNN"))
    note = (
        "GFLOP/s, channels-last. cuDNN is called by PyTorch, with cudnn.benchmark, or by minicnn where there is no "
        f"PyTorch; here: {', '.join(callers) or 'none'}. Ratio: direct / cuDNN."
    )
    return [Table("3x3 convolutions against cuDNN", headings, rows, note)]


# --- all ways to compute a convolution ------------------------------------------------------------


def algorithms(allowance: Allowance, found: Findings) -> None:
    """See conv_algorithms.py; on the GPU alone, as a CPU without Numba would take all the time."""
    cases = conv_algorithms.QUICK_CASES if allowance.is_tiny else conv_algorithms.CASES
    exact = functools.lru_cache(1)(conv_algorithms.exact_results)

    def row(case: Convolution, way: Way) -> None:
        result = conv_algorithms.measured(way, case, exact(case), allowance.pace)
        found.data.append({"case": asdict(case), "title": case.title, "found": {way.name: result}})

    ways = conv_algorithms.ways_on(allowance.device)
    rows = {
        f"{case.title}: {way.name}": functools.partial(row, case, way)
        for case in cases
        for way in ways
        if way.suits(case)
    }
    found.carry_out(rows, allowance)


def algorithm_records(data: list[dict]) -> list[dict]:
    """Return one record for each convolution, as conv_algorithms.py shows them."""
    cases: dict[str, dict] = {}
    for record in data:
        known = cases.setdefault(record["title"], {**record, "found": {}})
        known["found"] |= record["found"]
    return list(cases.values())


def algorithm_tables(data: list[dict]) -> list[Table]:
    """Return the tables of conv_algorithms.py."""
    return conv_algorithms.tables(algorithm_records(data))
