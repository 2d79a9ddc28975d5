"""Make the part of Fashion-MNIST that comes with minicnn (minicnn/data/sample).

500 training images and 100 test images of each of the ten classes, drawn by lot from the published
training and test set, kept in the published order and written as gzipped IDX files. Running it
again gives the same arrays.

    python benchmarks/make_sample.py [--root FOLDER] [--download]
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from minicnn.data import load_fashion_mnist, write_idx

SEED = 2017
TRAIN_PER_CLASS = 500
TEST_PER_CLASS = 100
TARGET = Path(__file__).resolve().parent.parent / "minicnn" / "data" / "sample"


def draw(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sorted indices of `per_class` examples of every class of `labels` (N,)."""
    drawn = [rng.permutation(np.flatnonzero(labels == k))[:per_class] for k in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def main() -> None:
    """Write the four files, and print their sizes and checksums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="where Fashion-MNIST is, if not in one of the usual places")
    parser.add_argument("--download", action="store_true", help="fetch it if it is nowhere")
    arguments = parser.parse_args()

    data = load_fashion_mnist(arguments.root, arguments.download)
    rng = np.random.default_rng(SEED)
    train = draw(data.train_labels, TRAIN_PER_CLASS, rng)
    test = draw(data.test_labels, TEST_PER_CLASS, rng)
    files = {
        "train-images-idx3-ubyte.gz": data.train_images[train],
        "train-labels-idx1-ubyte.gz": data.train_labels[train].astype(np.uint8),
        "t10k-images-idx3-ubyte.gz": data.test_images[test],
        "t10k-labels-idx1-ubyte.gz": data.test_labels[test].astype(np.uint8),
    }
    TARGET.mkdir(exist_ok=True)
    for name, array in files.items():
        path = TARGET / name
        write_idx(path, array)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        print(f"{path.stat().st_size:>9,} bytes  {name:<28} {array.shape!s:<16} {digest[:16]}")


if __name__ == "__main__":
    main()
