"""The parts of the experiment on transfer learning, on the bundled sample instead of full data sets."""

import json
from dataclasses import replace

import numpy as np
import pytest

import minicnn
from minicnn import data

transfer = pytest.importorskip("transfer")

QUICK = transfer.Settings(
    channels=(4, 8),
    images=40,
    pretraining_epochs=1,
    epochs=2,
    measured_epochs=(1, 2),
    batch_size=40,
)


@pytest.fixture(scope="module")
def sample():
    """20 of the bundled images of each class to train on, 5 to test; they serve as digits too."""
    whole = data.load_fashion_mnist_sample()
    train, test = first_of_each(whole.train_labels, 20), first_of_each(whole.test_labels, 5)
    return replace(
        whole,
        train_images=whole.train_images[train],
        train_labels=whole.train_labels[train],
        test_images=whole.test_images[test],
        test_labels=whole.test_labels[test],
    )


def first_of_each(labels, count):
    """The places of the first labels of each class."""
    return np.concatenate([np.flatnonzero(labels == k)[:count] for k in range(10)])


def a_run(seed, last=0.5):
    """A record, as `run` returns it."""
    curves = {"from scratch": [0.3, 0.4], "fine-tuned": [0.4, last], "frozen": [0.2, 0.3]}
    return {"seed": seed, "accuracy on MNIST": 0.9, "curves": curves}


def test_the_network():
    model = transfer.vgg_like()
    assert model(minicnn.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) == 78_010


def test_few_images_are_the_same_number_of_each_class(sample):
    sets = transfer.few_images(sample, 40, seed=1)
    labels = sets.train.tensors[1].numpy()
    assert len(sets.measured) == len(sample.test_labels)
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 4))
    assert abs(sets.train.tensors[0].numpy().mean()) < 1e-4


def test_another_seed_draws_other_images(sample):
    first, again, other = (
        transfer.few_images(sample, 40, seed).train.tensors[0].numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_held_out_images_are_others(sample):
    sets = transfer.few_images(sample, 40, seed=1, held_out=100)
    kept, aside = (set_.tensors[0].numpy().reshape(-1, 784) for set_ in (sets.train, sets.measured))
    assert len(aside) == 100
    assert np.abs(kept[:, None] - aside[None]).max(axis=2).min() > 0


def test_a_new_head_on_old_features(sample):
    pretrained = transfer.vgg_like((4, 8))
    model = transfer.with_new_head(pretrained, QUICK)
    same = {
        name: np.array_equal(tensor.numpy(), pretrained.state_dict()[name].numpy())
        for name, tensor in model.state_dict().items()
    }
    assert [name for name, value in same.items() if not value] == ["classifier.weight", "classifier.bias"]  # fmt: skip


def test_a_run_trains_all_ways_and_leaves_the_pretrained_network(sample, monkeypatch):
    networks = []
    pretrain = transfer.pretrain

    def keep(*arguments):
        networks.append(pretrain(*arguments)[0])
        networks.append({k: v.numpy().copy() for k, v in networks[0].state_dict().items()})
        return networks[0], 0.5

    monkeypatch.setattr(transfer, "pretrain", keep)
    record = transfer.run(0, sample, sample, QUICK)
    assert {way: len(curve) for way, curve in record["curves"].items()} == dict.fromkeys(
        ("from scratch", "fine-tuned", "frozen"), 2
    )
    for name, tensor in networks[0].state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), networks[1][name])


def test_frozen_features_give_what_a_frozen_network_gives(sample):
    """Training a head on features is training the network with all else frozen, statistics included."""
    minicnn.manual_seed(0)
    pretrained = transfer.vgg_like((4, 8))
    sets = transfer.few_images(sample, 40, seed=1)
    minicnn.manual_seed(3)
    model = transfer.with_new_head(pretrained, QUICK)
    model.freeze("features")
    whole = transfer.train(model, sets, 2, 1e-2, QUICK)
    minicnn.manual_seed(3)
    np.testing.assert_allclose(
        transfer.train_head(pretrained, sets, 1e-2, QUICK), whole, atol=0.021
    )


def test_rates_are_compared_on_other_images(sample, monkeypatch):
    monkeypatch.setattr(transfer, "HELD_OUT", 50)
    found = transfer.compare_rates([1e-2], sample, sample, QUICK)
    assert list(found) == list(transfer.WAYS)
    assert all(list(rates) == ["0.01"] for rates in found.values())


def test_results_of_several_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "draw", lambda *_: None)
    for seed, last in ((1, 0.6), (0, 0.5), (1, 0.7)):
        transfer.save(QUICK, tmp_path, record=a_run(seed, last))
    for rate, accuracy in (("0.01", 0.5), ("0.03", 0.4)):
        transfer.save(QUICK, tmp_path, validation={"frozen": {rate: accuracy}})
    content = json.loads((tmp_path / "transfer.json").read_text())
    assert [record["seed"] for record in content["runs"]] == [0, 1]
    assert content["validation"] == {"frozen": {"0.01": 0.5, "0.03": 0.4}}
    text = (tmp_path / "transfer.md").read_text()
    assert "| fine-tuned | 40.0 ± 0.0 | 60.0 ± 14.1 | 50.00, 70.00 |" in text


def test_runs_with_other_settings_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "draw", lambda *_: None)
    transfer.save(QUICK, tmp_path, record=a_run(0))
    transfer.save(replace(QUICK, images=50), tmp_path, record=a_run(1))
    content = json.loads((tmp_path / "transfer.json").read_text())
    assert [record["seed"] for record in content["runs"]] == [1]


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    transfer.draw([a_run(0), a_run(1)], (1, 2), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
