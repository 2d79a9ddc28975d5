"""Code as courses write it for PyTorch, in particular "Dive into Deep Learning", with the imports changed."""

import numpy as np
import pytest

import minicnn as torch
from minicnn import nn, optim
from minicnn.nn import functional as F


def accuracy(y_hat, y):
    """The share of rows whose largest score is at the label."""
    if len(y_hat.shape) > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(axis=1)
    cmp = y_hat.type(y.dtype) == y
    return float(cmp.type(y.dtype).sum()) / len(y)


def init_normal(m):
    if type(m) == nn.Linear or type(m) == nn.Conv2d:  # noqa: E721 (as courses write it)
        m.weight.data.normal_(0, 0.01)
        m.bias.data.fill_(0)


class Residual(nn.Module):
    def __init__(self, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        if use_1x1conv:
            self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides)
        else:
            self.conv3 = None
        self.bn1 = nn.LazyBatchNorm2d()
        self.bn2 = nn.LazyBatchNorm2d()

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3:
            X = self.conv3(X)
        Y += X
        return F.relu(Y)


def test_linear_regression_from_scratch():
    true_w, true_b = torch.tensor([2.0, -3.4]), 4.2
    X = torch.normal(0, 1, (1000, 2))
    y = torch.matmul(X, true_w) + true_b
    y += torch.normal(0, 0.01, y.shape)
    w = torch.normal(0, 0.01, size=(2, 1), requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    for _ in range(3):
        for i in range(0, 1000, 10):
            batch, target = X[i : i + 10], y[i : i + 10]
            loss = (torch.matmul(batch, w) + b - target.reshape((-1, 1))) ** 2 / 2
            loss.sum().backward()
            with torch.no_grad():
                for param in (w, b):
                    param -= 0.03 * param.grad / 10
                    param.grad.zero_()
    assert abs((true_w - w.reshape(true_w.shape)).detach().array).max() < 0.01
    assert abs(float(b) - true_b) < 0.01


def test_softmax_regression_with_a_loss_for_each_example():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    X = torch.rand(32, 1, 28, 28)
    y = torch.randint(0, 10, (32,))
    net(X)
    assert net.apply(init_normal) is net
    assert 0.005 < net[1].weight.array.std() < 0.015
    loss = nn.CrossEntropyLoss(reduction="none")
    trainer = optim.SGD(net.parameters(), lr=0.1)
    values = []
    for _ in range(10):
        l = loss(net(X), y)  # noqa: E741 (as courses write it)
        trainer.zero_grad()
        l.mean().backward()
        trainer.step()
        values.append(float(l.sum()))
    assert l.shape == (32,)
    assert values[-1] < values[0]
    trainer.zero_grad()
    loss(net(X), y).sum().backward()
    assert net[1].weight.grad is not None
    assert 0.1 <= accuracy(net(X), y) <= 1


def test_accuracy():
    y_hat = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5], [0.9, 0.0, 0.1]])
    assert accuracy(y_hat, torch.tensor([2, 1, 0])) == pytest.approx(2 / 3)


def test_lenet_of_lazy_layers():
    net = nn.Sequential(
        nn.LazyConv2d(6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.LazyConv2d(16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.LazyLinear(120), nn.Sigmoid(),
        nn.LazyLinear(84), nn.Sigmoid(),
        nn.LazyLinear(10),
    )  # fmt: skip

    def init_cnn(module):
        if type(module) == nn.Linear or type(module) == nn.Conv2d:  # noqa: E721
            nn.init.xavier_uniform_(module.weight)

    X = torch.rand(2, 784).reshape((-1, 1, 28, 28))
    net(X)
    net.apply(init_cnn)
    shapes = []
    for layer in net:
        X = layer(X)
        shapes.append(X.shape)
    assert shapes[0] == (2, 6, 28, 28)
    assert shapes[5] == (2, 16, 5, 5)
    assert shapes[-1] == (2, 10)


@pytest.mark.parametrize(("use_1x1conv", "strides"), [(False, 1), (True, 2)])
def test_residual_block(use_1x1conv, strides):
    block = Residual(3, use_1x1conv, strides)
    X = torch.randn(4, 3, 6, 6)
    Y = block(X)
    assert Y.shape == (4, 3, 6 // strides, 6 // strides)
    Y.sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    assert type(block.conv1) is nn.Conv2d


def test_residual_network_trains():
    net = nn.Sequential(
        nn.LazyConv2d(8, kernel_size=7, stride=2, padding=3), nn.LazyBatchNorm2d(), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip
    for i, (channels, first) in enumerate([(8, True), (16, False)]):
        net.add_module(
            f"b{i + 2}", Residual(channels, use_1x1conv=not first, strides=1 if first else 2)
        )
    net.add_module(
        "last", nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.LazyLinear(10))
    )
    X, y = torch.randn(8, 1, 32, 32), torch.arange(8)
    net(X)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(net(X), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_learning_an_edge_detector():
    X = torch.ones((6, 8))
    X[:, 2:6] = 0
    K = torch.tensor([[1.0, -1.0]])
    Y = torch.zeros((6, 7))
    for i in range(6):
        for j in range(7):
            Y[i, j] = (X[i : i + 1, j : j + 2] * K).sum()
    conv2d = nn.LazyConv2d(1, kernel_size=(1, 2), bias=False)
    X, Y = X.reshape((1, 1, 6, 8)), Y.reshape((1, 1, 6, 7))
    for _ in range(20):
        l = (conv2d(X) - Y) ** 2  # noqa: E741
        conv2d.zero_grad()
        l.sum().backward()
        conv2d.weight.data[:] -= 3e-2 * conv2d.weight.grad
    np.testing.assert_allclose(conv2d.weight.array.ravel(), [1, -1], atol=0.1)


def test_batch_norm_from_scratch():
    def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum):
        if not torch.is_grad_enabled():
            X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
        else:
            mean = X.mean(dim=(0, 2, 3), keepdim=True)
            var = ((X - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
            X_hat = (X - mean) / torch.sqrt(var + eps)
            moving_mean = (1.0 - momentum) * moving_mean + momentum * mean
            moving_var = (1.0 - momentum) * moving_var + momentum * var
        return gamma * X_hat + beta, moving_mean.data, moving_var.data

    X = torch.randn(4, 3, 5, 5)
    gamma, beta = nn.Parameter(torch.ones(1, 3, 1, 1)), nn.Parameter(torch.zeros(1, 3, 1, 1))
    Y, mean, _ = batch_norm(
        X, gamma, beta, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 1e-5, 0.1
    )
    layer = nn.BatchNorm2d(3)
    np.testing.assert_allclose(Y.detach().array, layer(X).detach().array, atol=1e-5)
    np.testing.assert_allclose(mean.array.ravel(), layer.running_mean.array, atol=1e-6)
    Y.sum().backward()
    assert gamma.grad.shape == (1, 3, 1, 1)
    with torch.no_grad():
        assert batch_norm(X, gamma, beta, mean, mean * 0 + 1, 1e-5, 0.1)[0].shape == X.shape


def test_looking_at_and_changing_parameters():
    shared = nn.LazyLinear(8)
    net = nn.Sequential(
        nn.LazyLinear(8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.LazyLinear(1)
    )
    net(torch.rand(size=(2, 8)))
    assert net[2].weight.data[0].tolist() == net[4].weight.data[0].tolist()
    net[2].weight.data[0, 0] = 100
    assert net[4].weight.data[0, 0] == 100
    net[0].weight.data[:] += 1
    net[0].weight.data *= net[0].weight.data.abs() >= 1
    assert [name for name, _ in net.named_parameters()][:2] == ["0.weight", "0.bias"]
    assert net.state_dict()["6.bias"].shape == (1,)
    nn.init.constant_(net[6].weight, 1)
    assert net[6].weight.data.sum() == 8


def test_a_layer_with_parameters_of_its_own():
    class MyLinear(nn.Module):
        def __init__(self, in_units, units):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(in_units, units))
            self.bias = nn.Parameter(torch.randn(units))

        def forward(self, X):
            linear = torch.matmul(X, self.weight) + self.bias
            return F.relu(linear)

    net = nn.Sequential(MyLinear(64, 8), MyLinear(8, 1))
    net(torch.rand(2, 64)).sum().backward()
    assert all(p.grad.shape == p.shape for p in net.parameters())


def test_a_chain_written_by_hand():
    class MySequential(nn.Module):
        def __init__(self, *args):
            super().__init__()
            for idx, module in enumerate(args):
                self.add_module(str(idx), module)

        def forward(self, X):
            for module in self.children():
                X = module(X)
            return X

    net = MySequential(nn.LazyLinear(256), nn.ReLU(), nn.LazyLinear(10))
    assert net(torch.rand(2, 20)).shape == (2, 10)
