"""Memory as the system counts it: what `cost` predicts, and that inference frees what nobody needs.

Whole networks at the size of the papers are measured by benchmarks/memory_limits.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, sys
sys.path.insert(0, "benchmarks")
from memory_limits import Task, measure
tasks = Task("inference", "resnet18", (3, 224, 224), 2), Task("training", "resnet18", (3, 64, 64), 8)
print(json.dumps({task.work: measure(task) for task in tasks}))
"""


@pytest.fixture(scope="module")
def measured():
    """What benchmarks/memory_limits.py measures of ResNet-18, in a process of its own; MiB."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak of a process's memory")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "PermissionError" in done.stderr:
        pytest.skip("this system does not let a process reset the peak of its memory")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_inference_frees_each_activation_when_it_is_no_longer_needed(measured):
    """The two largest activations take 12.25 MiB; all of them together, 57 MiB."""
    assert measured["inference"]["added"] < 12.25 + 16  # 16 MiB for scratch


def test_a_training_step_takes_what_was_predicted(measured):
    found = measured["training"]
    assert 0.75 * found["predicted"] < found["added"] < 1.3 * found["predicted"]
