"""Everything that a GPU has to show, by one command: tests, speed, accuracy, and PyTorch beside it.

    python benchmarks/gpu_report.py --out DIR

needs CuPy and a GPU, and neither Numba nor a network. It is made for --minutes (8), and writes report.md,
report.json, the output of the tests, and pictures where Matplotlib is installed. In turn:

    tests            those of the CUDA kernels and of the devices, with CuPy itself in the place of the stand-in
    gradients        in float32 on the GPU, against float64 on the CPU
    bandwidth        memory-bound kernels, against the card's measured copy
    convolutions     the direct kernel against cuDNN, with and without TF32
    training         steps against PyTorch: eager, channels-last with cudnn.benchmark, and as a CUDA graph
    algorithms       conv_algorithms.py
    devices          cpu_vs_gpu.py

Each part has its share of the time, and what earlier parts left of theirs. Rows for which there is none are
named as not run. A part that fails is reported with its error, and the next one begins. Exit status: 0 if all
parts ran and nothing was found wrong, 1 otherwise, and 2 without a GPU, when nothing is written.
"""

import argparse
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import checkout
import conv_algorithms
import cpu_vs_gpu
import gpu_parts
from conv_algorithms import CASES, ways_on
from cpu_vs_gpu import BATCHES, DEVICES, PRECISIONS, use_precision
from environment import describe, describe_gpu, describe_threads
from gpu_parts import Allowance, Findings
from passes import LAYERS, WHOLE_NETWORKS
from tables import Table, described
from timing import Pace

from minicnn.backend import cuda_problem

NO_GPU = 2

KERNEL_TESTS = ("tests/kernels/gpu", "tests/gpu")
DEVICE_TESTS = (
    "tests/ops",
    "tests/autograd",
    "tests/nn",
    "tests/optim",
    "tests/train",
    "tests/data",
)
WITHOUT_GPU = ("tests/kernels/gpu/test_compile.py", "tests/gpu/test_cuda_on_host.py")
"""Tests of compilers, which need no GPU."""

OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
"""A line of pytest's for one test."""

Part = Callable[[Allowance], Findings]


# --- parts that stand in other files, or in other processes ---------------------------------------


def run_tests_on_gpu(out: Path, paths: Sequence[Sequence[str]], allowance: Allowance) -> Findings:
    """Run tests on the GPU, in processes of their own, so that a kernel that fails takes no more with it.

    Args:
        out: the folder for their output.
        paths: arguments of pytest, for each process.
        allowance: when they must have ended.
    """
    if importlib.util.find_spec("pytest") is None:
        return Findings(failed=["tests: pytest is not installed"])
    found, rows = Findings(data=[]), []
    for i, arguments in enumerate(paths):
        title, log = " ".join(arguments), out / f"tests-{i + 1}.log"
        seconds = allowance.deadline - time.perf_counter()
        if seconds < 1:
            found.not_run.append(title)
            continue
        status = run_tests(arguments, log, seconds)
        outcomes = OUTCOME.findall(log.read_text(errors="replace"))
        count = Counter(outcome for _, outcome in outcomes)
        wrong = [name for name, outcome in outcomes if outcome in ("FAILED", "ERROR")]
        found.failed += [f"test {name}" for name in wrong]
        if status not in (0, None) and not wrong:
            found.failed.append(f"pytest {title} ended with status {status}, see {log.name}")
        if status is None:
            found.not_run.append(f"the rest of {title}, stopped after {seconds:.0f} s")
        record = {name: count[name] for name in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
        found.data.append({"tests": title, "status": status, **record})
        rows.append([title, *map(str, record.values())])
    note = "Skipped: what only the stand-in for CuPy can tell, and what needs packages that are not here."
    headings = ["", "passed", "failed", "errors", "skipped"]
    found.tables.append(Table("Tests on the GPU", headings, rows, note))
    return found


def run_tests(arguments: Sequence[str], log: Path, seconds: float) -> int | None:
    """Run pytest with its output in a file; return its exit status, None if it was stopped."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-v",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        *("-W", "default"),  # CuPy warns, for instance where it finds no CUDA toolkit
    ]
    paths = [str(checkout.ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "MINICNN_TEST_GPU": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with log.open("w") as output:
        try:
            return subprocess.run(
                [*command, *arguments],
                cwd=checkout.ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def algorithms(out: Path, allowance: Allowance) -> Findings:
    """See conv_algorithms.py; on the GPU alone, as a CPU without Numba would take all the time."""
    cases = conv_algorithms.QUICK_CASES if allowance.is_tiny else CASES
    ways = ways_on(allowance.device)
    records, not_run = conv_algorithms.measure(ways, cases, allowance.pace, allowance.deadline)
    conv_algorithms.draw(records, out / "conv_algorithms.png")
    return Findings(conv_algorithms.tables(records), records, not_run)


def devices(out: Path, allowance: Allowance) -> Findings:
    """See cpu_vs_gpu.py; networks first."""
    names, batches = [*WHOLE_NETWORKS, *LAYERS], BATCHES
    if allowance.is_tiny:
        names, batches = ["relu"], (1, 2)
    compared = DEVICES if allowance.device == "cuda" else (allowance.device,)
    results, not_run = cpu_vs_gpu.measure(
        names, compared, batches, allowance.pace, 0.2, allowance.deadline
    )
    cpu_vs_gpu.draw(results, out / "cpu_vs_gpu.png")
    return Findings(cpu_vs_gpu.tables(results, 64), results, not_run)


# --- one after the other --------------------------------------------------------------------------


def parts_of(out: Path) -> dict[str, tuple[float, Part]]:
    """Return the parts in turn, each with its share of the time."""
    selection = [
        [*KERNEL_TESTS, *(f"--ignore={path}" for path in WITHOUT_GPU)],
        [*DEVICE_TESTS, "-k", "cuda"],
    ]
    return {
        "tests": (0.30, functools.partial(run_tests_on_gpu, out, selection)),
        "gradients": (0.06, gpu_parts.gradients),
        "bandwidth": (0.06, gpu_parts.bandwidth),
        "convolutions": (0.08, gpu_parts.convolutions),
        "training": (0.20, gpu_parts.training),
        "algorithms": (0.08, functools.partial(algorithms, out)),
        "devices": (0.18, functools.partial(devices, out)),
    }


def run_all(
    parts: Mapping[str, tuple[float, Part]],
    seconds: float,
    pace: Pace,
    is_tiny: bool = False,
    device: str = "cuda",
) -> list[dict]:
    """Run parts one after the other.

    Args:
        parts: shares of the time, and functions, by name.
        seconds: for all of them together.
        pace: how long a row is timed.
        is_tiny: take the smallest sizes.
        device: what they compute on.

    Returns:
        for each part a record: its name, its seconds, an error or None, and what it found
    """
    records, deadline = [], time.perf_counter()
    for name, (share, part) in parts.items():
        deadline += share * seconds
        start, error, found = time.perf_counter(), None, Findings()
        print(f"{name} ...", flush=True)
        try:
            found = part(Allowance(deadline, pace, is_tiny, device))
        except Exception:  # its error belongs into the report, and the next part may work
            error = traceback.format_exc()
        took = time.perf_counter() - start
        records.append({"name": name, "seconds": round(took, 1), "error": error, "found": found})
        print(f"{name}: {state_of(records[-1])}, {took:.0f} s", flush=True)
    return records


def state_of(record: dict) -> str:
    """Return in words how a part went."""
    found = record["found"]
    if record["error"] is not None:
        return "stopped by an error"
    words = [f"{len(found.failed)} found wrong"] if found.failed else []
    words += [f"{len(found.not_run)} rows not run"] if found.not_run else []
    return ", ".join(words) or "done"


def is_clean(records: Sequence[dict]) -> bool:
    """Whether no part failed or found something wrong."""
    return all(record["error"] is None and not record["found"].failed for record in records)


def text_of(environment: dict, records: Sequence[dict], pictures: Sequence[Path]) -> str:
    """Return the report as Markdown."""
    summary = [[r["name"], state_of(r), f"{r['seconds']:.0f} s"] for r in records]
    parts = [
        "# What a GPU showed",
        f"Written by `benchmarks/gpu_report.py`, whose head says what each part does. {described(environment)}",
        "Medians after a warm-up, between events in the GPU's queue.",
        Table("Parts", ["", "", "took"], summary).markdown().strip(),
    ]
    for record in records:
        found = record["found"]
        parts += [table.markdown().strip() for table in found.tables]
        if found.failed:
            parts.append("Found wrong:\n\n" + "\n".join(f"- {words}" for words in found.failed))
        if found.not_run:
            parts.append(f"No time was left for: {', '.join(found.not_run)}.")
        if record["error"] is not None:
            parts.append(
                f"{record['name']} was stopped:\n\n```text\n{record['error'].strip()}\n```"
            )
    parts += [f"![{picture.stem}]({picture.name})" for picture in pictures if picture.exists()]
    return "\n\n".join(parts) + "\n"


def save(out: Path, environment: dict, records: Sequence[dict]) -> None:
    """Write report.md and report.json."""
    pictures = [out / "conv_algorithms.png", out / "cpu_vs_gpu.png"]
    (out / "report.md").write_text(text_of(environment, records, pictures))
    plain = [
        {
            **{key: record[key] for key in ("name", "seconds", "error")},
            **{key: getattr(record["found"], key) for key in ("data", "failed", "not_run")},
        }
        for record in records
    ]
    content = {"environment": environment, "parts": plain}
    (out / "report.json").write_text(json.dumps(content, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder that the report goes to"
    )
    parser.add_argument("--minutes", type=float, default=8, help="for all of it")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of training")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some of the parts")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does everything run?")
    options = parser.parse_args(arguments)
    problem = cuda_problem()
    if problem is not None:
        print(f"There is nothing to report without a GPU: {problem}.", file=sys.stderr)
        return NO_GPU
    out = options.out
    parts = parts_of(out)
    unknown = sorted(set(options.only or ()) - parts.keys())
    if unknown:
        parser.error(f"--only: expected some of {', '.join(parts)}; got {', '.join(unknown)}")
    parts = {name: part for name, part in parts.items() if name in (options.only or parts)}
    out.mkdir(parents=True, exist_ok=True)
    use_precision(options.precision)
    pace = Pace(block_seconds=0, least_calls=1) if options.tiny else Pace(block_seconds=0.1)
    records = run_all(parts, 60 * options.minutes, pace, options.tiny)
    environment = describe() | describe_threads() | describe_gpu()
    save(out, environment | {"precision of training": options.precision}, records)
    print(f"The report is in {out / 'report.md'}.")
    return 0 if is_clean(records) else 1


if __name__ == "__main__":
    sys.exit(main())
