"""How near the networks come to torchvision's: outputs and gradients in float32, at the papers' image sizes.

    python benchmarks/torchvision_agreement.py [NETWORK ...] [--batch 8]

Both libraries get the same state (torchvision's random weights; biases, scales and running statistics
are drawn too, or they would be 0 and 1), the same images of noise, and the same random gradient of
the outputs. Dropout is 0, auxiliary heads take part. Three programs compute the outputs and the
gradients of all parameters: minicnn in float32, once as it is ("fast": 3x3 convolutions may use
Winograd's algorithm) and once with precision="exact"; PyTorch in float32; and PyTorch in float64,
which stands for the truth.

The distance of two tensors is their largest difference, divided by the largest value of the float64
one; that of two sets of gradients is the one of the parameter where it is largest, and the median of all
parameters. Gradients below 1e-9 of the largest of their network are left out: rounding is all there is
of those of a bias before a BatchNorm, for example.

Where an input of a ReLU is nearer to 0 than its rounding, two correct programs may decide differently,
and the gradient of that place is passed on by one and stopped by the other; the same goes for the
two largest values of a max-pooling window. To tell this from errors, the mode "smooth" is training mode
with x * sigmoid(x) in the place of every ReLU, and the mean in the place of every maximum, in all programs.

Each network runs in a process of its own. Without names all of them do; with names, the results of
the others are kept. Results go to benchmarks/results/torchvision_agreement.json and .md after
each network; all take about ten minutes. Needs torchvision.
"""

import argparse
import contextlib
import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from environment import describe
from provenance import measured
from torchvision_tables import MODES, PAIRS, page

import minicnn
from minicnn import Tensor, models, nn

RESULTS = Path(__file__).parent / "results"
NO_DROPOUT = {"dropout": 0.0}


@dataclass(frozen=True)
class Network:
    """A network that both libraries have: the side of its images, and options that both builders get."""

    side: int = 224
    options: dict[str, Any] = field(default_factory=dict)


NETWORKS = {
    "alexnet": Network(options=NO_DROPOUT),
    "vgg11": Network(options=NO_DROPOUT),
    "vgg16_bn": Network(options=NO_DROPOUT),
    "googlenet": Network(options=NO_DROPOUT | {"dropout_aux": 0.0}),
    "inception_v3": Network(299, NO_DROPOUT),
    "resnet18": Network(),
    "resnet50": Network(),
    "wide_resnet50_2": Network(),
    "resnext50_32x4d": Network(),
    "densenet121": Network(),
    "squeezenet1_0": Network(options=NO_DROPOUT),
    "mobilenet_v2": Network(options=NO_DROPOUT),
    "regnet_x_400mf": Network(),
}
"""A member or two of each family of torchvision's that minicnn has."""

Arrays = dict[str, np.ndarray]


# --- in the process of a network ------------------------------------------------------------------


def measure(name: str, network: Network, batch: int) -> dict[str, Any]:
    """Return, for each mode, the distances of outputs and of gradients for a batch of noise."""
    theirs, ours = twins(name, network.options)
    rng = np.random.default_rng(1)
    images = rng.standard_normal((batch, 3, network.side, network.side), dtype=np.float32)
    found = {}
    for mode in MODES:
        with smoothed() if mode == "smooth" else contextlib.nullcontext():
            results = {"float64": run_theirs(theirs, mode, images, "float64")}
            results["PyTorch"] = run_theirs(theirs, mode, images, "float32")
            for precision in ("fast", "exact"):
                with minicnn.precision(precision):
                    results[precision] = run_ours(ours, mode, images)
        found[mode] = distances(results)
    return found


def twins(name: str, options: Mapping[str, Any]) -> tuple[torch.nn.Module, nn.Module]:
    """Return torchvision's network, and ours with its state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what reads images, and about slow initial weights
        from torchvision import models as torchvision_models

        torch.manual_seed(0)
        theirs = getattr(torchvision_models, name)(**options)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in theirs.state_dict().items():  # the tensors of the network itself
        if key.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif tensor.ndim == 1:  # scales and running variances
            tensor.uniform_(0.5, 1.5, generator=generator)
    with nn.init.without_drawing():
        ours = models.create(name, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@contextlib.contextmanager
def smoothed() -> Iterator[None]:
    """Let both libraries compute functions without kinks in the place of ReLU and maxima."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(minicnn.fusion(False))  # ReLUs that a layer before them computes, too
        for functional in (nn.functional, torch.nn.functional):
            replaced = smooth_functions(functional)
            stack.enter_context(patch.multiple(functional, **replaced))
        yield


def smooth_functions(functional: ModuleType) -> dict[str, Any]:
    """Return what takes the place of functions of a library's nn.functional."""

    def silu(x: Any, *_: Any, **__: Any) -> Any:  # without the limits of hardtanh, nor in place
        return functional.silu(x)

    def mean(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *_: Any,  # no ReLU follows
        **__: Any,  # and no indices are returned
    ) -> Any:
        return functional.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)

    return {"relu": silu, "relu6": silu, "hardtanh": silu, "max_pool2d": mean}


def run_theirs(network: torch.nn.Module, mode: str, images: np.ndarray, dtype: str) -> Arrays:
    """Return PyTorch's outputs and gradients; the network itself is not changed."""
    network = copy.deepcopy(network).train(mode != "eval").to(getattr(torch, dtype))
    outputs = parts(network(torch.as_tensor(images.astype(dtype))))
    cotangents = [torch.as_tensor(c.astype(dtype)) for c in random_like(outputs)]
    torch.autograd.backward(outputs, cotangents)
    gradients = {n: p.grad.numpy() for n, p in network.named_parameters() if p.grad is not None}
    return named(outputs) | gradients


def run_ours(network: nn.Module, mode: str, images: np.ndarray) -> Arrays:
    """Return minicnn's outputs and gradients; the network itself is not changed."""
    network = copy.deepcopy(network).train(mode != "eval")
    outputs = parts(network(Tensor(images)))
    cotangents = [Tensor(c.astype("float32")) for c in random_like(outputs)]
    sum((output * c).sum() for output, c in zip(outputs, cotangents, strict=True)).backward()
    gradients = {n: p.grad.array for n, p in network.named_parameters() if p.grad is not None}
    return named(outputs) | gradients


def parts(output: Any) -> list[Any]:
    """Return the scores of the last layer and of auxiliary heads, if there are any."""
    return list(output) if isinstance(output, tuple) else [output]


def random_like(outputs: list[Any]) -> list[np.ndarray]:
    """Return the gradients that backward starts from, the same for all programs."""
    rng = np.random.default_rng(2)
    return [rng.standard_normal(tuple(output.shape)) for output in outputs]


def named(outputs: list[Any]) -> Arrays:
    """Return the numbers of outputs under names that no parameter has."""
    return {f"output {i}": output.detach().numpy() for i, output in enumerate(outputs)}


def distances(results: Mapping[str, Arrays]) -> dict[str, Any]:
    """Return the distances of outputs and gradients for each pair, and how many gradients were left out."""
    truth = results["float64"]
    assert all(found.keys() == truth.keys() for found in results.values())
    outputs = [name for name in truth if name.startswith("output ")]
    sizes = {name: np.abs(array).max() for name, array in truth.items() if name not in outputs}
    gradients = [name for name, size in sizes.items() if size > 1e-9 * max(sizes.values())]
    found = {"left_out": len(sizes) - len(gradients), "outputs": {}, "gradients": {}}
    for pair, (a, b) in PAIRS.items():
        far = {n: distance(results[a][n], results[b][n], truth[n]) for n in outputs + gradients}
        worst = max(gradients, key=far.__getitem__)
        found["outputs"][pair] = max(far[name] for name in outputs)
        found["gradients"][pair] = {
            "largest": far[worst],
            "at": worst,
            "median": float(np.median([far[name] for name in gradients])),
        }
    return found


def distance(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> float:
    """The largest difference / the largest true value."""
    return float(np.abs(a.astype(np.float64) - b).max() / np.abs(truth).max())


# --- all networks ---------------------------------------------------------------------------------


def in_new_process(name: str, batch: int) -> dict[str, Any]:
    """Run this file for one network, and return what it prints."""
    command = [sys.executable, __file__, name, "--row", "--batch", str(batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--batch", type=int, default=8, help="number of images")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.networks) - set(NETWORKS)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known are {', '.join(NETWORKS)}")
    if options.row:
        print(
            json.dumps(measure(options.networks[0], NETWORKS[options.networks[0]], options.batch))
        )
        return
    store = RESULTS / "torchvision_agreement.json"
    earlier = json.loads(store.read_text())["networks"] if store.exists() else {}
    stamp = measured()
    for name in options.networks or NETWORKS:
        sizes = {"side": NETWORKS[name].side, "batch": options.batch}
        earlier[name] = sizes | in_new_process(name, options.batch) | {"measured": stamp}
        rows = {known: earlier[known] for known in NETWORKS if known in earlier}
        content = {"environment": environment(), "networks": rows}
        text = page(content)
        RESULTS.mkdir(exist_ok=True)
        store.write_text(json.dumps(content, indent=2) + "\n")
        store.with_suffix(".md").write_text(text)
    print(text)


def environment() -> dict[str, str | int]:
    """Return hardware and versions."""
    versions = {name: metadata.version(name) for name in ("torch", "torchvision")}
    return describe() | versions


if __name__ == "__main__":
    main()
