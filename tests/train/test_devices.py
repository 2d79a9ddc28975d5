"""Training and measuring on a device: the same numbers, few waits, and errors that come late but come."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, TensorDataset
from minicnn.train import accuracy, evaluate, extract_features, fit, predict, top_k_accuracy
from tests.devices import constant, host, tensors_on
from tests.gpu.strict_cupy import ndarray


def blobs(n=60):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[labels] + 0.3 * rng.standard_normal((n, 2))).astype("f4"), labels


def network():
    minicnn.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    )


def trained(device, **settings):
    model = network().to(device)
    settings = {"epochs": 3, "batch_size": 20, "seed": 1, "progress": False} | settings
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    history = fit(model, blobs(), blobs(30), optimizer=optimizer, **settings)
    return model, history


def test_training_and_measuring_give_the_same_numbers():
    model, history = trained("cpu", clip_norm=5.0)
    measures, scores = evaluate(model, blobs(30)), predict(model, blobs(30)[0])
    features, _ = extract_features(model, blobs(30), at="1")
    with tensors_on("cuda"):
        on_gpu, history_there = trained("cuda", clip_norm=5.0)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            np.testing.assert_allclose(history_there[name], history[name], rtol=1e-4)
        assert evaluate(on_gpu, blobs(30)) == pytest.approx(measures, rel=1e-4)
        np.testing.assert_allclose(predict(on_gpu, blobs(30)[0]), scores, rtol=1e-3, atol=1e-4)
        found, _ = extract_features(on_gpu, blobs(30), at="1")
        np.testing.assert_allclose(found, features, rtol=1e-3, atol=1e-4)


def waits(batches):
    """How often the host waits for the GPU in an epoch of so many batches."""
    with tensors_on("cuda"):
        x, labels = blobs(10 * batches)
        model = network().to("cuda")
        fit(model, (x, labels), epochs=1, batch_size=10, progress=False)
        ndarray.cupy.traffic.clear()
        fit(model, (x, labels), epochs=1, batch_size=10, progress=False)
        return len(ndarray.cupy.traffic.syncs)


def test_an_epoch_waits_no_longer_for_more_batches():
    assert waits(3) == waits(30)


def test_a_label_that_is_no_class_ends_training():
    with tensors_on("cuda"):
        x, labels = blobs()
        labels[7] = 3
        data = DataLoader(TensorDataset(x, labels), 20, device="cuda")
        with pytest.raises(
            ValueError, match=r"cross_entropy: label 3 at target\[7\] is not a class"
        ):
            fit(network().to("cuda"), data, epochs=1, progress=False)


def test_a_loss_that_is_not_finite_is_noticed_by_the_end_of_the_epoch():
    with tensors_on("cuda"):
        x, labels = blobs()
        x[30] = np.inf
        model = network().to("cuda")
        words = r"epoch 1, batch 3 or before: the loss is nan; NaN or infinity is already in"
        with pytest.raises(FloatingPointError, match=words):
            fit(model, DataLoader(TensorDataset(x, labels), 20), epochs=1, progress=False)


def test_metrics_of_a_batch_stay_on_the_gpu():
    scores = np.array([[0.1, 0.9, 0.3], [0.5, 0.2, 0.1], [0.0, 0.2, 0.7]], "f4")
    labels = np.array([1, 2, -100])
    with tensors_on("cuda"):
        outputs, targets = constant(scores), constant(labels)
        ndarray.cupy.traffic.clear()
        right, in_two = accuracy(outputs, targets), top_k_accuracy(outputs, targets, 2)
        assert ndarray.cupy.traffic.syncs == []
        assert (float(right), float(in_two)) == (0.5, 0.5)
    assert accuracy(scores, labels) == 0.5


def test_a_metric_refuses_labels_that_are_no_classes():
    with tensors_on("cuda"):
        share = accuracy(constant(np.zeros((3, 2))), constant(np.array([0, 1, 2])))
        with pytest.raises(
            ValueError, match=r"targets: expected labels 0 to 1, got 2, .* number 2"
        ):
            host(share)
