"""Features as arrays: what a trained network sees in images, for another model to learn from.

Where all layers up to some point are frozen, they compute the same numbers in every epoch. Computed
once, these are a data set of their own, on which a new head trains in seconds; or nearest neighbours,
or whatever else takes vectors.
"""

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backend import to_device
from minicnn.nn import Module
from minicnn.train.batches import Data, as_loader, device_of_model, inputs_and_targets
from minicnn.train.evaluation import inference_mode


def extract_features(
    model: Module, data: Data, at: str, *, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the part `at` of `model` computes for all inputs of `data`, and the targets.

    The model is in inference mode meanwhile, records no gradients, and computes no further than to
    this part.

    Args:
        model: the network.
        data: a pair (inputs, targets) of tensors or arrays, a Dataset or a DataLoader; taken in its
            order, so with a DataLoader that shuffles the targets are shuffled likewise.
        at: the dotted name of the part, such as "avgpool"; see `Module.features_at`.
        batch_size: examples computed at a time; for a DataLoader, its own counts.

    Returns:
        Features (N, ...) of the model's dtype, and targets (N, ...), both in main memory.

    Raises:
        ValueError: no such part, no data, or shapes that do not fit.
        TypeError: data or batches of another kind, or a part that returns no tensor.
    """
    loader = as_loader("extract_features: data", data, batch_size)
    features_of, device = model.features_at(at), device_of_model(model)
    features, targets = [], []
    with inference_mode(model):
        for batch in loader:
            inputs, labels = inputs_and_targets("extract_features", batch, device)
            found = features_of(inputs)
            if not isinstance(found, Tensor):
                raise TypeError(
                    f"extract_features: at: {at} returned a {type(found).__name__}, expected one tensor; "
                    "name a part inside of it"
                )
            features.append(to_device(found.array, "cpu"))
            targets.append(to_device(labels.array, "cpu"))
    return np.concatenate(features), np.concatenate(targets)
