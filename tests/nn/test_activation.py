"""Activation modules: each does what its function does, shows its settings, and takes PyTorch's arguments."""

import inspect

import numpy as np
import pytest

from minicnn import Tensor, nn
from minicnn.nn import functional as F

NOT_OURS = ("min_value", "max_value", "dtype", "args", "kwargs")
X = Tensor(np.linspace(-7, 7, 24, dtype="float32").reshape(2, 3, 4))

MODULES = [
    (nn.ReLU(), F.relu, "ReLU()"),
    (nn.ReLU(inplace=True), F.relu, "ReLU()"),
    (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), "LeakyReLU(negative_slope=0.2)"),
    (nn.PReLU(), lambda x: F.leaky_relu(x, 0.25), "PReLU(num_parameters=1)"),
    (nn.PReLU(3, 0.5), lambda x: F.leaky_relu(x, 0.5), "PReLU(num_parameters=3)"),
    (nn.ELU(0.3), lambda x: F.elu(x, 0.3), "ELU(alpha=0.3)"),
    (nn.ReLU6(), F.relu6, "ReLU6()"),
    (nn.Hardtanh(-2, 3), lambda x: F.hardtanh(x, -2, 3), "Hardtanh(min_val=-2, max_val=3)"),
    (nn.Sigmoid(), F.sigmoid, "Sigmoid()"),
    (nn.Tanh(), F.tanh, "Tanh()"),
    (nn.Softplus(2, 3), lambda x: F.softplus(x, 2, 3), "Softplus(beta=2, threshold=3)"),
    (nn.SiLU(), F.silu, "SiLU()"),
    (nn.GELU(), F.gelu, "GELU(approximate='none')"),
    (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (nn.Softmax(dim=1), lambda x: F.softmax(x, 1), "Softmax(dim=1)"),
    (nn.LogSoftmax(2), lambda x: F.log_softmax(x, 2), "LogSoftmax(dim=2)"),
]


@pytest.mark.parametrize(("module", "function", "text"), MODULES, ids=[m[2] for m in MODULES])
def test_module_calls_its_function(module, function, text):
    np.testing.assert_array_equal(module(X).detach().array, function(X).array)
    assert repr(module) == text


@pytest.mark.parametrize("cls", sorted({type(m[0]) for m in MODULES}, key=lambda c: c.__name__))
def test_constructor_like_torch(torch, cls):
    mine = inspect.signature(cls).parameters
    twin = inspect.signature(getattr(torch.nn, cls.__name__)).parameters
    theirs = [p for name, p in twin.items() if name not in NOT_OURS]
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in theirs]


def test_prelu_learns():
    module = nn.PReLU(3)
    module(X).sum().backward()
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    expected = np.minimum(X.array, 0).sum(axis=(0, 2))
    np.testing.assert_allclose(module.weight.grad.array, expected, rtol=1e-6)


@pytest.mark.parametrize("cls", [nn.Softmax, nn.LogSoftmax])
def test_softmax_without_an_axis(cls):
    with pytest.raises(ValueError, match="Give dim"):
        cls()(X)
