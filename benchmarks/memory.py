"""The memory of a training step: its peak above what the process held before, in a process of its own.

    python benchmarks/memory.py resnet18 minicnn

First some steps are made, which loads and compiles what they need, and all memory that is free then is
given back to the system. Then others are made with a new optimizer: the first few, of which one is
captured where steps are, and some more. Before each of the two the system's mark of the peak is reset, and read
after it: what the steps add to imported libraries and weights is activations, gradients, momentum
and scratch. Needs Linux' /proc, and glibc.
"""

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Callable

from libraries import NETWORK_MODES, Mode, use_threads
from networks import NETWORKS
from resident import STATUS, give_back, reset_peak, status
from rows import Trainer
from starts import network_in, random_batch

MODES = {mode.name: mode for mode in NETWORK_MODES}


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
    """Return in MiB what the process "held" before, what the "first" steps add, and later ones ("added")."""
    model = network_in(mode, network)
    train(model, mode, network)()
    give_back(model)
    held = status("VmRSS")
    reset_peak()
    more = train(model, mode, network)
    first = status("VmHWM") - held
    reset_peak()
    more()
    return {"held": held, "first": first, "added": status("VmHWM") - held}


def train(model: object, mode: Mode, network: str) -> Callable[[], None]:
    """Make three steps with a new optimizer; return what makes two more.

    Momentum exists from the second step on, a capture after it.
    """
    images, labels = random_batch(NETWORKS[network], NETWORKS[network].batch)
    tensors = mode.tensor(images), mode.tensor(labels)
    trainer = Trainer(mode, model)

    def steps(count: int) -> None:
        for _ in range(count):
            trainer.step(*tensors)

    steps(3)
    return functools.partial(steps, 2)


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
