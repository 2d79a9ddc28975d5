"""How much memory networks need, how near `minicnn.costs.cost` predicts it, and the limits that must hold.

    python benchmarks/memory_limits.py [--quick]

Each row is measured in a process of its own. What it does, two training steps (SGD with momentum) or
one inference, is done once, which loads and compiles what is needed; free memory is given back to
the system, the system's mark of the peak is reset, and it is done again. "Added" is the peak of
the second time above what the process held before, which includes the weights. "In all" is the highest
peak of the whole process: Python, NumPy, compiler, weights, everything.

Results go to benchmarks/results/memory_limits.json and memory_limits.md. The script fails where a
limit does not hold. Needs Linux.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from environment import describe
from resident import give_back, reset_peak, status

from minicnn import Tensor, models, no_grad, optim
from minicnn.costs import Cost, cost
from minicnn.nn import Module
from minicnn.nn import functional as F

RESULTS = Path(__file__).parent / "results"
MIB = 2**20
SCRATCH = 16
"""MiB that inference may need besides the activations: for transformed weights and tiles."""


@dataclass(frozen=True)
class Task:
    """A row: what is done with which network.

    Attributes:
        work: "training" or "inference".
        network: a name that `models.create` knows.
        size: of one image, (C, H, W).
        batch: number of images.
        limit: MiB that must not be exceeded: in all for training, added for inference; None for no limit.
    """

    work: str
    network: str
    size: tuple[int, int, int]
    batch: int
    limit: float | None = None


TASKS = (
    Task("training", "first_cnn", (1, 28, 28), 256),
    Task("training", "resnet18", (3, 96, 96), 16),
    Task("training", "mobilenet_v1", (3, 224, 224), 8),
    Task("training", "densenet121", (3, 224, 224), 4),
    Task("training", "vgg11", (3, 224, 224), 4),
    Task("training", "resnet50", (3, 224, 224), 8, limit=3e9 / MIB),
    Task("inference", "resnet50", (3, 224, 224), 1),
    Task("inference", "mobilenet_v1", (3, 224, 224), 1),
    Task("inference", "densenet121", (3, 224, 224), 1),
    Task("inference", "unet", (3, 256, 256), 1),
    Task("inference", "vgg16", (3, 224, 224), 1, limit=2 * 64 * 224**2 * 4 / MIB + SCRATCH),
)


# --- in the process of a row ----------------------------------------------------------------------


def measure(task: Task) -> dict[str, float]:
    """Do the work of a row twice, and return MiB: "added" at the peak, "predicted" for it, and "in_all"."""
    model = models.create(task.network)
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((task.batch, *task.size), dtype=np.float32))
    labels = Tensor(rng.integers(0, 10, task.batch))
    work = train if task.work == "training" else infer
    work(model, images, labels)
    give_back(model)
    held, in_all = status("VmRSS"), status("VmHWM")
    reset_peak()
    work(model, images, labels)
    added = status("VmHWM") - held
    in_all = max(in_all, held + added)
    expected = predicted(task, cost(model, task.size))
    return {"held": held, "added": added, "in_all": in_all, "predicted": expected / MIB}


def predicted(task: Task, found: Cost) -> int:
    """What `cost` says that the work adds, in bytes: the weights are there before."""
    if task.work == "training":
        return found.training_step_bytes(task.batch, moments=1) - found.parameter_bytes
    return task.batch * found.inference_bytes


def train(model: Module, images: Tensor, labels: Tensor) -> None:
    """Make two steps with a new optimizer: momentum exists from the second on."""
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def infer(model: Module, images: Tensor, _: Tensor) -> None:
    """Compute the scores."""
    with no_grad():
        model.eval()(images)


# --- all rows -------------------------------------------------------------------------------------


def in_new_process(task: Task) -> dict[str, float]:
    """Run this file for one row, and return what it prints."""
    command = [sys.executable, __file__, "--row", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{task}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def limited(task: Task, found: dict[str, float]) -> float:
    """The figure that the limit is for."""
    return found["in_all"] if task.work == "training" else found["added"]


def holds(task: Task, found: dict[str, float]) -> bool:
    """Whether a row is within its limit, if it has one."""
    return task.limit is None or limited(task, found) <= task.limit


def page(environment: dict, results: list[tuple[Task, dict[str, float]]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Memory: predicted, measured, and its limits\n",
        "Written by `benchmarks/memory_limits.py`; its head says what is measured. MiB, float32, SGD with momentum.",
        "Limits: for training, of the whole process; for inference, of what it adds: the two largest activations and "
        f"{SCRATCH} MiB.\n",
        "| | image | batch | predicted | **added** | added / predicted | in all | limit |",
        f"|{' --- |' * 8}",
    ]
    for task, found in results:
        ratio = found["added"] / found["predicted"]
        limit = "" if task.limit is None else f"{task.limit:.0f}"
        if not holds(task, found):
            limit += " (exceeded)"
        cells = [
            f"{task.network}, {task.work}",
            "x".join(map(str, task.size)),
            f"{task.batch}",
            f"{found['predicted']:.1f}",
            f"**{found['added']:.1f}**",
            f"{ratio:.2f}",
            f"{found['in_all']:.0f}",
            limit,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ", ".join(f"{k} {v}" for k, v in environment.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="rows with a limit; nothing is saved")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        fields = json.loads(options.row)
        print(json.dumps(measure(Task(**{**fields, "size": tuple(fields["size"])}))))
        return
    tasks = [task for task in TASKS if task.limit is not None] if options.quick else TASKS
    results = [(task, in_new_process(task)) for task in tasks]
    environment = describe()
    text = page(environment, results)
    print(text)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        rows = [asdict(task) | found for task, found in results]
        content = {"environment": environment, "rows": rows}
        (RESULTS / "memory_limits.json").write_text(json.dumps(content, indent=2) + "\n")
        (RESULTS / "memory_limits.md").write_text(text)
    if not all(holds(*result) for result in results):
        sys.exit("memory_limits: a limit does not hold")


if __name__ == "__main__":
    main()
