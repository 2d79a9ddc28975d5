"""The loss of networks with auxiliary heads: its sum, its use in fit, and the advice where it is missing."""

from typing import NamedTuple

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.nn import functional as F
from minicnn.train import auxiliary_loss, fit


class Outputs(NamedTuple):
    scores: minicnn.Tensor
    other: minicnn.Tensor


class TwoHeads(nn.Module):
    """Two dense layers on the same input: both answer in training, the first alone in inference."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.other = nn.Linear(4, 3)

    def forward(self, x):
        return Outputs(self.head(x), self.other(x)) if self.training else self.head(x)


def examples(n=8):
    return minicnn.rand(n, 4), minicnn.tensor(np.arange(n) % 3)


def test_heads_are_weighted():
    inputs, labels = examples()
    network = TwoHeads()
    first, second = network(inputs)
    expected = F.cross_entropy(first, labels).item() + 0.5 * F.cross_entropy(second, labels).item()
    assert auxiliary_loss(weight=0.5)(network(inputs), labels).item() == pytest.approx(expected)


def test_inference_has_one_head():
    inputs, labels = examples()
    network = TwoHeads().eval()
    expected = F.cross_entropy(network(inputs), labels).item()
    assert auxiliary_loss()(network(inputs), labels).item() == expected


def test_fit_trains_all_heads_and_measures_the_first():
    network, data = TwoHeads(), examples()
    before = network.other.weight.array.copy()
    history = fit(network, data, data, epochs=2, loss=auxiliary_loss(), progress=False)
    assert (network.other.weight.array != before).any()
    assert len(history["val_accuracy"]) == 2


def test_fit_says_what_to_do_about_several_heads():
    with pytest.raises(TypeError, match=r"returns Outputs.*auxiliary_loss\(\)"):
        fit(TwoHeads(), examples(), epochs=1, progress=False)
