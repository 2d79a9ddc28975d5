"""The memory of a training step: its peak above what the process held before, in a process of its own.

    python benchmarks/memory.py resnet18 minicnn

First the steps are made once, which loads and compiles what they need, and all memory that is free
then is given back to the system. Then the system's mark of the peak is reset, the steps are made
again, and the peak is read: what they add to imported libraries and weights, which is activations,
gradients, momentum and scratch. Needs Linux' /proc, and glibc.
"""

import argparse
import json
import subprocess
import sys

from libraries import TIMED_MODES, Mode, use_threads
from networks import NETWORKS
from resident import STATUS, give_back, reset_peak, status
from rows import Trainer, network_in, random_batch

MODES = {mode.name: mode for mode in TIMED_MODES}


def measured_in_new_process(network: str, mode: Mode, threads: int) -> dict[str, float] | None:
    """Run this file in a new process and return what it prints; None where the system does not tell."""
    if not STATUS.exists():
        return None
    command = [sys.executable, __file__, network, mode.name, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"memory of {network} in {mode.name}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_of_step(network: str, mode: Mode) -> dict[str, float]:
    """Return in MiB what the process "held" before the steps, and what they "added" at their peak."""
    model = network_in(mode, network)
    train(model, mode, network)
    give_back(model)
    held = status("VmRSS")
    reset_peak()
    train(model, mode, network)
    return {"held": held, "added": status("VmHWM") - held}


def train(model: object, mode: Mode, network: str) -> None:
    """Make two steps with a new optimizer: momentum exists from the second on."""
    images, labels = random_batch(NETWORKS[network], NETWORKS[network].batch)
    tensors = mode.tensor(images), mode.tensor(labels)
    trainer = Trainer(mode, model)
    for _ in range(2):
        trainer.step(*tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    use_threads(options.threads)
    print(json.dumps(peak_of_step(options.network, MODES[options.mode])))


if __name__ == "__main__":
    main()
