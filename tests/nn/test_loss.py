"""Loss modules: each does what its function does with its settings, and takes PyTorch's arguments."""

import inspect

import numpy as np
import pytest

from minicnn import Tensor, nn
from minicnn.nn import functional as F

X = Tensor(np.random.default_rng(0).normal(size=(5, 3)).astype("float32"))
P = F.sigmoid(X)
T = Tensor(np.random.default_rng(1).uniform(size=(5, 3)).astype("float32"))
LABELS = Tensor(np.array([0, 2, 1, 1, 0]))
W = Tensor([0.5, 1.0, 2.0])

LOSSES = [
    (
        nn.CrossEntropyLoss(W, 1, "sum", 0.1),
        (X, LABELS),
        F.cross_entropy(X, LABELS, W, 1, "sum", 0.1),
    ),
    (nn.CrossEntropyLoss(), (X, LABELS), F.cross_entropy(X, LABELS)),
    (nn.NLLLoss(W, 1, "sum"), (X, LABELS), F.nll_loss(X, LABELS, W, 1, "sum")),
    (nn.MSELoss("none"), (X, T), F.mse_loss(X, T, "none")),
    (nn.L1Loss("sum"), (X, T), F.l1_loss(X, T, "sum")),
    (nn.HuberLoss("sum", 0.5), (X, T), F.huber_loss(X, T, "sum", 0.5)),
    (nn.SmoothL1Loss("sum", 0.5), (X, T), F.smooth_l1_loss(X, T, "sum", 0.5)),
    (nn.BCELoss(W, "sum"), (P, T), F.binary_cross_entropy(P, T, W, "sum")),
    (
        nn.BCEWithLogitsLoss(W, "sum", W),
        (X, T),
        F.binary_cross_entropy_with_logits(X, T, W, "sum", W),
    ),
]
NAMES = [type(loss).__name__ for loss, _, _ in LOSSES]


@pytest.mark.parametrize(("loss", "arguments", "expected"), LOSSES, ids=NAMES)
def test_module_calls_its_function(loss, arguments, expected):
    np.testing.assert_array_equal(loss(*arguments).array, expected.array)


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_constructor_like_torch(torch, name):
    deprecated = ("size_average", "reduce")
    mine = inspect.signature(getattr(nn, name)).parameters
    twin = inspect.signature(getattr(torch.nn, name)).parameters
    theirs = [(p.name, p.default) for p in twin.values() if p.name not in deprecated]
    assert [(p.name, p.default) for p in mine.values()] == theirs


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_weights_are_buffers(name):
    loss = getattr(nn, name)(weight=W)
    assert list(loss.state_dict()) == ["weight"]
    assert list(loss.parameters()) == []
    assert loss.double().weight.dtype == np.float64
    assert W.dtype == np.float32


def test_errors_name_the_module():
    with pytest.raises(ValueError, match="same shape") as caught:
        nn.MSELoss()(X, Tensor([1.0]))
    assert caught.value.__notes__ == ["in MSELoss()"]


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_scores_in_place_of_class_weights_are_refused(kind):
    scores, labels = Tensor(np.zeros((4, 10), "float32")), Tensor(np.zeros(4, int))
    with pytest.raises(ValueError, match=rf"to compute a loss write nn.{kind.__name__}\(\)\(input"):
        kind(scores, labels)
