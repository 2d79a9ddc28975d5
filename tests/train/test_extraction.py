"""Features as arrays: right in every batch, in inference mode, without a tape."""

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.data import DataLoader, TensorDataset
from minicnn.train import extract_features


@pytest.fixture
def model():
    layers = {"body": nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU())}
    return nn.Sequential({**layers, "drop": nn.Dropout(0.5), "fc": nn.Linear(5, 2)}).train()


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.standard_normal((10, 3)).astype("f4"), rng.integers(0, 2, 10)


@pytest.mark.parametrize("batch_size", [3, 10, 64])
def test_features_and_targets_of_all_examples(model, pair, batch_size):
    features, targets = extract_features(model, pair, "drop", batch_size=batch_size)
    np.testing.assert_array_equal(targets, pair[1])
    assert type(features) is np.ndarray
    assert features.dtype == np.float32
    expected = model.eval().body(minicnn.tensor(pair[0])).detach().numpy()
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_the_model_is_left_as_it_was(model, pair):
    model.body.freeze()
    before = model.body[1].running_mean.numpy().copy()
    extract_features(model, pair, "body")
    assert [part.training for part in (model, model.body[1], model.drop)] == [True, False, True]
    np.testing.assert_array_equal(model.body[1].running_mean.numpy(), before)
    assert not any(part._forward_hooks for part in model.modules())


def test_gradients_are_not_recorded(model, pair):
    recording = []
    model.body.register_forward_hook(lambda *_: recording.append(minicnn.is_grad_enabled()))
    extract_features(model, pair, "body")
    assert recording == [False]


def test_a_loader_keeps_its_order_and_batches(model, pair):
    loader = DataLoader(TensorDataset(*pair), batch_size=4, shuffle=True)
    features, targets = extract_features(model, loader, "body")
    whole, labels = extract_features(model, pair, "body")
    places = [int(np.abs(whole - row).sum(1).argmin()) for row in features]
    assert sorted(places) == list(range(10))
    np.testing.assert_array_equal(labels[places], targets)


def test_a_head_learns_from_features(model, pair):
    features, targets = extract_features(model, pair, "body")
    head = nn.Linear(5, 2)
    minicnn.train.fit(head, (features, targets), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        ("boddy", ValueError, "no part 'boddy'; did you mean 'body'"),
        ("pair", TypeError, "extract_features: at: pair returned a tuple, expected one tensor"),
    ],
)
def test_parts_without_features(model, pair, at, error, message):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    network = nn.Sequential({"body": model.body, "pair": Pair()})
    with pytest.raises(error, match=message):
        extract_features(network, pair, at)


def test_data_of_another_kind(model, pair):
    with pytest.raises(TypeError, match="extract_features: data: expected a pair"):
        extract_features(model, pair[0], "body")
