"""A whole network beside PyTorch's: equal weights, then equal losses, gradients, statistics and steps."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim


def build(nn):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.BatchNorm1d(16),
        nn.Tanh(),
        nn.Linear(16, 5),
    )


def pair(torch, dtype):
    torch.manual_seed(0)
    twin = build(torch.nn).to(getattr(torch, dtype))
    mine = build(nn).to(dtype)
    mine.load_state_dict(twin.state_dict())
    return mine, twin


def batch(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((8, 2, 11, 9)).astype(dtype), rng.integers(0, 5, 8)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("training", [True, False])
def test_loss_and_gradients(torch, dtype, tolerance, training):
    mine, twin = pair(torch, dtype)
    mine.train(training)
    twin.train(training)
    x, labels = batch(dtype)
    loss = nn.CrossEntropyLoss()(mine(Tensor(x)), Tensor(labels))
    twin_loss = torch.nn.CrossEntropyLoss()(twin(torch.tensor(x)), torch.tensor(labels))
    assert loss.item() == pytest.approx(twin_loss.item(), rel=tolerance)
    loss.backward()
    twin_loss.backward()
    for (name, p), q in zip(mine.named_parameters(), twin.parameters(), strict=True):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad.array, q.grad.numpy(), tolerance, tolerance, err_msg=name)
    for (name, b), c in zip(mine.named_buffers(), twin.buffers(), strict=True):
        np.testing.assert_allclose(b.array, c.numpy(), tolerance, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-4)])
def test_steps_of_sgd(torch, dtype, tolerance):
    mine, twin = pair(torch, dtype)
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
    optimizer = optim.SGD(mine.parameters(), **settings)
    twin_optimizer = torch.optim.SGD(twin.parameters(), **settings)
    for seed in range(4):
        x, labels = batch(dtype, seed)
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(mine(Tensor(x)), Tensor(labels)).backward()
        optimizer.step()
        twin_optimizer.zero_grad()
        torch.nn.CrossEntropyLoss()(twin(torch.tensor(x)), torch.tensor(labels)).backward()
        twin_optimizer.step()
    for (name, tensor), other in zip(
        mine.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        np.testing.assert_allclose(tensor.array, other.numpy(), tolerance, tolerance, err_msg=name)
    mine.eval()
    twin.eval()
    x, _ = batch(dtype, 9)
    y = mine(Tensor(x)).detach().array
    np.testing.assert_allclose(y, twin(torch.tensor(x)).detach().numpy(), tolerance, tolerance)


@pytest.mark.parametrize("algorithm", ["naive", "im2col", "direct"])
def test_every_algorithm_trains_the_same(algorithm):
    results = []
    for chosen in (algorithm, "auto"):
        minicnn.manual_seed(1)
        network = build(nn).double()
        for part in network:
            if isinstance(part, nn.Conv2d):
                part.algorithm = chosen
        x, labels = batch("float64")
        nn.CrossEntropyLoss()(network(Tensor(x)), Tensor(labels)).backward()
        results.append([p.grad.array for p in network.parameters()])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)
