"""The part of gpu_report.py that runs tests on the GPU, with CuPy itself in the place of the stand-in.

They run in processes of their own, one for each group of files, and each process is watched (`watched.py`). One that
hangs, dies, or loses its card is followed by another that goes on with the next test (`gpu_pytest.py`), so that a
kernel that is wrong takes no other test along; the test that it was stopped in is named as wrong.
"""

import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import checkout
from gpu_card import LOST
from gpu_diary import BEGUN, ERROR, FAILED, PASSED, SKIPPED, VARIABLE, read_diary, unfinished
from gpu_findings import Allowance, Findings
from tables import Table
from watched import run_watched


@dataclass(frozen=True)
class Group:
    """Tests that run in one process, as long as that goes well.

    Attributes:
        title: how the report calls them.
        arguments: of pytest.
        weight: of their share of the time that is left.
    """

    title: str
    arguments: Sequence[str]
    weight: float = 1


COMPILERS = ("tests/kernels/gpu/test_compile.py", "tests/gpu/test_cuda_on_host.py")
"""Tests of compilers, which need no GPU."""

WEIGHTS = {"tests/nn": 4, "tests/train": 1, "tests/optim": 1, "tests/autograd": 2, "tests/ops": 1}

GROUPS = [
    Group(
        "tests/kernels/gpu", ["tests/kernels/gpu", *(f"--ignore={path}" for path in COMPILERS)], 8
    ),
    Group("tests/gpu", ["tests/gpu", *(f"--ignore={path}" for path in COMPILERS)], 2),
    *(Group(f"{path} -k cuda", [path, "-k", "cuda"], weight) for path, weight in WEIGHTS.items()),
    Group("tests/data/test_prefetch.py", ["tests/data/test_prefetch.py"]),
]

PATIENCE = 30
"""Seconds without a sign of life after which a test hangs; a kernel may be compiled meanwhile."""

SUSPICIOUS = 10
"""Seconds for which a test that is stopped at the end of its group's time must have run, to be called wrong."""

MOST_PROCESSES = 8
"""For one group: a card that is gone for good would have each test begin a new one."""

BY_ITSELF = (0, 1, 5)
"""Exit statuses of pytest: tests passed, some failed, none were left."""

REFUSALS = (2, 3, 4)
"""Exit statuses of pytest after which it would end the same way again."""

PYTEST = [
    *("-m", "pytest", "-p", "gpu_pytest", "-o", "addopts=", "-v", "--tb=short"),
    "--continue-on-collection-errors",
    *("-p", "no:cacheprovider", "-W", "default"),  # CuPy warns, for instance without a CUDA toolkit
    *("-o", "faulthandler_timeout=20"),  # where a test hangs stands in the log
]


def run_groups(
    groups: Sequence[Group],
    out: Path,
    allowance: Allowance,
    found: Findings,
    on_group: Callable[[], None] = lambda: None,
) -> None:
    """Run groups of tests; each has its share of the time, and what the ones before left of theirs.

    Args:
        groups: which tests.
        out: the folder for their diaries and output.
        allowance: when they must have ended.
        found: what is filled: a record of each group.
        on_group: called after each.
    """
    if importlib.util.find_spec("pytest") is None:
        found.failed.append("tests: pytest is not installed")
        return
    out.mkdir(parents=True, exist_ok=True)
    found.planned = [group.title for group in groups]
    for number, group in enumerate(groups):
        left = allowance.deadline - time.perf_counter()
        if left < 1:
            break
        share = group.weight / sum(later.weight for later in groups[number:])
        found.begun.append(group.title)
        found.go_on(group.title)
        diary, log = (out / f"tests-{number + 1}.{kind}" for kind in ("jsonl", "log"))
        run_group(group, diary, log, time.perf_counter() + share * left, found)
        on_group()
    found.go_on("")


def run_group(group: Group, diary: Path, log: Path, deadline: float, found: Findings) -> None:
    """Run one group, in as many processes as it takes."""
    for path in (diary, log):
        path.unlink(missing_ok=True)
    problems = []
    for _ in range(MOST_PROCESSES):
        before = begun_in(diary)
        command = [sys.executable, *PYTEST, *group.arguments]
        environment = environment_of(diary)
        ending = run_watched(command, log, diary, deadline, PATIENCE, environment, checkout.ROOT)
        words = f"pytest {group.title} {ending.words}, see {log.name}"
        last = unfinished(read_diary(diary))
        if ending.status is None and ending.still < min(PATIENCE, SUSPICIOUS):  # merely out of time
            found.leave_out(f"{words}, in {last}" if last else words)
            break
        if last:
            note_stop(diary, last, ending.words)
        elif ending.status not in (*BY_ITSELF, LOST):
            problems.append(words)
        is_over = time.perf_counter() > deadline
        if ending.status in (*BY_ITSELF, *REFUSALS) or begun_in(diary) == before or is_over:
            break
    else:
        problems.append(f"pytest {group.title} was begun {MOST_PROCESSES} times, see {log.name}")
    add_record(group, read_diary(diary), problems, found)


def begun_in(diary: Path) -> int:
    """Return how many tests have begun."""
    return sum(line.get("event") == BEGUN for line in read_diary(diary))


def environment_of(diary: Path) -> dict[str, str]:
    """Return environment variables: a GPU, exact products, no time for compiling the CPU's loops."""
    here = Path(__file__).parent
    paths = [str(checkout.ROOT), str(here), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "MINICNN_TEST_GPU": "1",
        "NUMBA_DISABLE_JIT": "1",
        "CUPY_TF32": "0",
        VARIABLE: str(diary.resolve()),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def note_stop(diary: Path, test: str, words: str) -> None:
    """Write into the diary what its process could not."""
    line = json.dumps({"test": test, "event": ERROR, "error": f"the process {words}"}) + "\n"
    text = diary.read_text()
    diary.write_text(text + ("" if text.endswith("\n") else "\n") + line)


def add_record(group: Group, lines: Sequence[dict], problems: list[str], found: Findings) -> None:
    """Add the counts of a group, and name what was wrong."""
    outcomes: dict[str, tuple[str, str]] = {}
    for line in lines:
        if line.get("event") in (FAILED, ERROR, SKIPPED, PASSED):
            worse = outcomes.get(line["test"], ("", ""))[0] in (FAILED, ERROR)
            if not worse:  # an error of the clean-up after a test that passed counts
                outcomes[line["test"]] = line["event"], line.get("error", "")
    count = Counter(event for event, _ in outcomes.values())
    wrong = {test: words for test, (event, words) in outcomes.items() if event in (FAILED, ERROR)}
    collected = next((int(line["collected"]) for line in lines if "collected" in line), 0)
    record = {"tests": group.title, "collected": collected}
    record |= {name: count[name] for name in (PASSED, FAILED, ERROR, SKIPPED)}
    found.data.append(record | {"wrong": wrong})
    found.failed += [f"test {test}" for test in wrong] + problems
    if outcomes and count[SKIPPED] == len(outcomes):
        found.failed.append(f"all {len(outcomes)} tests of {group.title} were skipped")
    if len(outcomes) < collected:
        found.leave_out(f"{collected - len(outcomes)} of the {collected} tests of {group.title}")
    found.save()


def distinct_failures(data: Sequence[dict]) -> list[list[str]]:
    """Return each error with how many tests it has, and one of these; the most frequent first."""
    tests_of: dict[str, list[str]] = {}
    for record in data:
        for test, words in record["wrong"].items():
            tests_of.setdefault(words[:160], []).append(test)
    ordered = sorted(tests_of.items(), key=lambda pair: -len(pair[1]))
    return [[words.replace("|", "/"), str(len(names)), names[0]] for words, names in ordered]


def tables_of_tests(data: list[dict]) -> list[Table]:
    """Return the counts, and the distinct failures."""
    note = (
        "Skipped: what only the stand-in for CuPy can tell, and what needs packages that are not here. Where a "
        "process hangs or dies, the test that it was in counts as an error, and another process goes on."
    )
    kinds = (PASSED, FAILED, ERROR, SKIPPED)
    rows = [[r["tests"], *(str(r[key]) for key in ("collected", *kinds))] for r in data]
    headings = ["", "collected", "passed", "failed", "errors", "skipped"]
    found = [Table("Tests on the GPU", headings, rows, note)]
    failures = distinct_failures(data)
    if failures:
        found.append(Table("Distinct failures", ["error", "tests", "such as"], failures))
    return found
