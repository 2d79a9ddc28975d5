"""Everything that a GPU has to show, by one command: tests, speed, accuracy, and PyTorch beside it.

    python benchmarks/gpu_report.py --out DIR

needs CuPy and a GPU, and neither Numba nor a network. It is made for --minutes (8). In turn:

    tests            those of the CUDA kernels and of the devices, with CuPy itself in the place of the stand-in
    gradients        in float32 on the GPU, against float64 on the CPU
    bandwidth        memory-bound kernels, against the card's measured copy
    convolutions     the direct kernel against cuDNN, with and without TF32
    training         steps against PyTorch: eager, channels-last with cudnn.benchmark, and as a CUDA graph
    algorithms       conv_algorithms.py
    devices          cpu_vs_gpu.py

Each part has its share of the time, and what earlier parts left of theirs. Rows for which there is none are
named as not run. Each part is a process of its own, which is watched: one that dies, that shows no sign of life, or
whose card answers no more after a row is followed by another one, which begins with the next row. The report is
written anew after each row: when the command is stopped, report.md and report.json hold all that it had found. The
folder parts/ holds what each process found and printed. Pictures are drawn where Matplotlib is installed.

Exit status: 0 if all parts ran and nothing was found wrong, 1 otherwise, and 2 without a GPU, when nothing is
written.
"""

import argparse
import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import checkout  # noqa: F401
import gpu_parts
import gpu_training
from environment import describe, describe_gpu, describe_threads
from gpu_card import LOST
from gpu_devices import device_tables, devices
from gpu_findings import Allowance, CardLostError, Findings, words_of
from gpu_goals import Goal
from gpu_tests import GROUPS, run_groups, tables_of_tests
from gpu_writing import Record, draw_pictures, save, state_of
from precision import PRECISIONS, use_precision
from tables import Table
from timing import Pace
from watched import run_watched

from minicnn.backend import cuda_problem

NO_GPU = 2
PATIENCE = 60
"""Seconds without a sign of life after which a row hangs."""

GRACE = 15
"""Seconds that a row may take when the time of its part is over."""

MOST_PROCESSES = 6
"""For one part: a card that is gone for good would have each row begin a new one."""


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes:
        share: of the time.
        run: fills the findings; None for the tests, which are processes already.
        tables: what they are shown as.
        goals: the rows among them that have a goal.
        kinds: of goals.
        compiles: whether the CPU's loops are compiled for it; elsewhere NumPy serves, for compiling takes minutes.
        has_precision: whether --precision is heeded; elsewhere products are exact, or both kinds are compared.
    """

    share: float
    run: Callable[[Allowance, Findings], None] | None
    tables: Callable[[list], list[Table]]
    goals: Callable[[list], list[Goal]] = lambda data: []
    kinds: tuple[str, ...] = ()
    compiles: bool = False
    has_precision: bool = False


PARTS = {
    "tests": Part(0.30, None, tables_of_tests),
    "gradients": Part(
        0.06,
        gpu_parts.gradients,
        gpu_parts.gradient_tables,
        gpu_parts.gradient_goals,
        (gpu_parts.GRADIENT_GOAL,),
    ),
    "bandwidth": Part(
        0.05,
        gpu_parts.bandwidth,
        gpu_parts.bandwidth_tables,
        gpu_parts.bandwidth_goals,
        (gpu_parts.BANDWIDTH_GOAL,),
    ),
    "convolutions": Part(
        0.08,
        gpu_parts.convolutions,
        gpu_parts.convolution_tables,
        gpu_parts.convolution_goals,
        (gpu_parts.CUDNN_GOAL,),
    ),
    "training": Part(
        0.25,
        gpu_training.training,
        gpu_training.training_tables,
        gpu_training.training_goals,
        (gpu_training.EAGER_GOAL, gpu_training.GRAPH_GOAL, gpu_training.LARGE_GOAL),
        has_precision=True,
    ),
    "algorithms": Part(0.08, gpu_parts.algorithms, gpu_parts.algorithm_tables),
    "devices": Part(0.18, devices, device_tables, compiles=True, has_precision=True),
}


# --- one after the other --------------------------------------------------------------------------


def run_all(
    names: Sequence[str], options: argparse.Namespace, environment: Mapping
) -> list[Record]:
    """Run parts one after the other, and write the report whenever there is something new.

    Args:
        names: of the parts.
        options: of the command.
        environment: hardware and versions.

    Returns:
        what each part found
    """
    records: list[Record] = []
    deadline = time.perf_counter()
    for name in names:
        deadline += PARTS[name].share * 60 * options.minutes
        records.append(Record(name, PARTS[name], Findings(path=part_file(options.out, name))))
        records[-1].found.save()
        print(f"{name} ...", flush=True)
        write_report = functools.partial(save, options.out, environment, records)
        write_report()
        run_part(records[-1], deadline, options, write_report)
        draw_pictures(options.out, records[-1])
        write_report()
        print(f"{name}: {state_of(records[-1])}, {records[-1].seconds:.0f} s", flush=True)
    return records


def run_part(
    record: Record, deadline: float, options: argparse.Namespace, write_report: Callable[[], None]
) -> None:
    """Run one part: the tests from this process, and any other in its own."""
    start = time.perf_counter()

    def look() -> None:
        record.found = Findings.load(record.found.path)
        record.seconds = time.perf_counter() - start
        write_report()

    if record.part.run is None:
        run_tests(record.found, Allowance(deadline, pace_of(options)), write_report)
    else:
        run_processes(record.name, deadline, options, look)
    record.found = Findings.load(record.found.path)
    record.seconds = time.perf_counter() - start


def run_tests(found: Findings, allowance: Allowance, write_report: Callable[[], None]) -> None:
    """Run the tests; what they find is in the report after each group."""
    try:
        run_groups(GROUPS, found.path.parent, allowance, found, write_report)
        found.is_done = True
    except Exception as error:  # the next part may work
        traceback.print_exc()
        found.failed.append(f"tests: {words_of(error)}")
    found.save()


def run_processes(
    name: str, deadline: float, options: argparse.Namespace, look: Callable[[], None]
) -> None:
    """Run a part in a process, and in others after it where one is stopped or dies before the last row."""
    path = part_file(options.out, name)
    log = path.with_suffix(".log")
    log.unlink(missing_ok=True)
    for _ in range(MOST_PROCESSES):
        before = len(Findings.load(path).begun)
        command = command_of(name, deadline, options)
        variables = environment_of(name)
        ending = run_watched(
            command, log, path, deadline + GRACE, PATIENCE, variables, on_life=look
        )
        found = Findings.load(path)
        if ending.status not in (0, LOST):
            what = found.doing or f"{name}, between rows"
            found.failed.append(f"{what}: the process {ending.words}, see {log.name}")
        found.doing = ""
        found.save()
        is_over = time.perf_counter() > deadline
        if found.is_done or len(found.begun) == before or is_over:
            break


def command_of(name: str, deadline: float, options: argparse.Namespace) -> list[str]:
    """Return the command of the process of a part."""
    seconds = max(deadline - time.perf_counter(), 0)
    command = [sys.executable, __file__, "--out", str(options.out), "--process", name]
    command += ["--seconds", f"{seconds:.1f}", "--precision", options.precision]
    return command + (["--tiny"] if options.tiny else [])


def environment_of(name: str) -> dict[str, str]:
    """Return the environment variables of the process of a part."""
    compiling = {} if PARTS[name].compiles else {"NUMBA_DISABLE_JIT": "1"}
    return {**os.environ, "PYTHONFAULTHANDLER": "1", **compiling}


def part_file(out: Path, name: str) -> Path:
    """Return where a part keeps what it finds."""
    return out.resolve() / "parts" / f"{name}.json"


def pace_of(options: argparse.Namespace) -> Pace:
    """Return how long a row is timed."""
    return Pace(block_seconds=0, least_calls=1) if options.tiny else Pace(block_seconds=0.1)


def run_in_process(options: argparse.Namespace) -> int:
    """Be the process of one part; return its exit status."""
    part, found = PARTS[options.process], Findings.load(part_file(options.out, options.process))
    allowance = Allowance(time.perf_counter() + options.seconds, pace_of(options), options.tiny)
    try:
        use_precision(options.precision if part.has_precision else "float32")
        part.run(allowance, found)
    except CardLostError as error:
        print(error)
        return LOST
    found.is_done = True
    found.save()
    return 0


def describe_all() -> dict[str, str | int]:
    """Return hardware and versions, as far as they can be asked for."""
    found: dict[str, str | int] = {}
    for ask in (describe, describe_threads, describe_gpu):
        try:
            found |= ask()
        except Exception as error:  # a broken driver, a broken Numba
            found[f"problem of {ask.__name__}"] = words_of(error)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder that the report goes to"
    )
    parser.add_argument("--minutes", type=float, default=8, help="for all of it")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of training, on all sides"
    )
    parser.add_argument("--only", nargs="+", metavar="PART", help="some of the parts")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does everything run?")
    parser.add_argument("--process", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.process is not None:
        return run_in_process(options)
    problem = cuda_problem()
    if problem is not None:
        print(f"There is nothing to report without a GPU: {problem}.", file=sys.stderr)
        return NO_GPU
    unknown = sorted(set(options.only or ()) - PARTS.keys())
    if unknown:
        parser.error(f"--only: expected some of {', '.join(PARTS)}; got {', '.join(unknown)}")
    (options.out / "parts").mkdir(parents=True, exist_ok=True)
    environment = describe_all() | {"precision of training": options.precision}
    names = [name for name in PARTS if name in (options.only or PARTS)]
    records = run_all(names, options, environment)
    print(f"The report is in {options.out / 'report.md'}.")
    return 0 if all(record.is_clean for record in records) else 1


def end_at_once(*_: object) -> None:
    """End as by Ctrl-C, so that the process of the part that is running is stopped, too."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_at_once)
    sys.exit(main())
