"""How long a program needs from its start to the end of the first training step of the first CNN.

    python benchmarks/startup.py [--repeats 5]

Each time is that of a new process, from just before it is started to the end of the step. "Cold"
starts with an empty folder for machine code (NUMBA_CACHE_DIR), so that the step compiles what it
needs; "warm" finds there what the cold start has left. PyTorch runs the same program. Both libraries
are imported once before, so that the disk does not count, and their bytecode is kept as Python keeps
it, even where PYTHONDONTWRITEBYTECODE is set. "Alone" is a cold start without the process that compiles
ahead (minicnn/ahead.py). Results go to benchmarks/results/startup.json and startup.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from environment import describe
from libraries import thread_settings

BENCHMARKS = Path(__file__).parent
RESULTS = BENCHMARKS / "results"

PROGRAM = """
import time
marks = [time.monotonic()]
import numpy as np
import {library}
from {library} import nn, optim
from networks import first_cnn
marks.append(time.monotonic())
rng = np.random.default_rng(0)
images = {tensor}(rng.standard_normal((64, 1, 28, 28), dtype=np.float32))
labels = {tensor}(rng.integers(0, 10, 64))
model = first_cnn(nn)
optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
marks.append(time.monotonic())
for step in range(2):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    marks.append(time.monotonic())
print(*marks)
"""

PROGRAMS = {
    "minicnn": PROGRAM.format(library="minicnn", tensor="minicnn.from_numpy"),
    "PyTorch": PROGRAM.format(library="torch", tensor="torch.from_numpy"),
}
PARTS = ("interpreter", "imports", "network", "first step", "second step")


def run(
    library: str, cache: str, bytecode: str, threads: int, alone: bool = False
) -> dict[str, float]:
    """Run the program in a new process; return the seconds of its parts, and of all up to the first step.

    Args:
        library: a key of PROGRAMS.
        cache: folder for machine code.
        bytecode: folder for Python's bytecode.
        threads: of either library.
        alone: without the process that compiles ahead.
    """
    environment = os.environ | {
        "NUMBA_CACHE_DIR": cache,
        "NUMBA_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPYCACHEPREFIX": bytecode,
        "MINICNN_COMPILE_AHEAD": "0" if alone else "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    path = [str(BENCHMARKS), str(BENCHMARKS.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    command = [sys.executable, "-c", PROGRAMS[library]]
    begin = time.monotonic()  # one clock for all processes of a machine
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds = np.diff([begin, *map(float, done.stdout.split())])
    parts = dict(zip(PARTS, seconds.tolist(), strict=True))
    return {"total": sum(parts[name] for name in PARTS[:-1]), **parts}


def measure(repeats: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """Return the runs of each kind."""
    with tempfile.TemporaryDirectory() as used:
        for library in PROGRAMS:
            run(library, used, used, threads)
        runs = {"minicnn, cold": [], "minicnn, cold, alone": [], "minicnn, warm": [], "PyTorch": []}
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                runs["minicnn, cold"].append(run("minicnn", empty, used, threads))
                runs["minicnn, warm"].append(run("minicnn", empty, used, threads))
            with tempfile.TemporaryDirectory() as empty:
                alone = run("minicnn", empty, used, threads, alone=True)
                runs["minicnn, cold, alone"].append(alone)
            runs["PyTorch"].append(run("PyTorch", used, used, threads))
    return runs


def table(environment: dict, runs: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians as Markdown."""
    lines = [
        "# From the start of a program to its first training step\n",
        "Written by `benchmarks/startup.py`: the first CNN, batch 64. Seconds, medians. Goals: 15 s cold, 1 s warm. "
        "Alone: without the process that compiles ahead.\n",
        f"| | runs | {' | '.join(['**first step done**', *PARTS])} |",
        f"|{' --- |' * (len(PARTS) + 3)}",
    ]
    for kind, members in runs.items():
        middle = {name: float(np.median([run[name] for run in members])) for name in members[0]}
        cells = [f"**{middle['total']:.2f}**", *(f"{middle[name]:.3f}" for name in PARTS)]
        lines.append(f"| {kind} | {len(members)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", ", ".join(f"{k} {v}" for k, v in environment.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="starts of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two repeats, nothing saved")
    options = parser.parse_args()
    runs = measure(2 if options.quick else options.repeats, options.threads)
    environment = describe() | thread_settings(options.threads)
    text = table(environment, runs)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        content = {"environment": environment, "runs": runs}
        (RESULTS / "startup.json").write_text(json.dumps(content, indent=2) + "\n")
        (RESULTS / "startup.md").write_text(text)


if __name__ == "__main__":
    main()
