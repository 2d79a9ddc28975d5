"""The CUDA kernels inside networks: training with them is training without them, and nobody waits for the device."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.autograd import no_grad
from minicnn.kernels.dispatch import cuda_kernels
from minicnn.nn import functional as F
from tests.checks import normal
from tests.devices import constant, host, tensors_on
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.library import is_real
from tests.gpu.strict_cupy import ndarray

pytestmark = pytest.mark.skipif(
    not (is_real() or has_compiler()), reason="needs g++, to compile for the CPU"
)

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adam": lambda p: optim.Adam(p, 0.01),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01),
}


@pytest.fixture(autouse=True)
def gpu():
    with tensors_on("cuda"):
        if not is_real():
            equip(ndarray.cupy)
        yield ndarray.cupy


class Residual(nn.Module):
    """A block whose last BatchNorm adds its input."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return (self.norm(self.conv(x)) + x).relu()


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        Residual(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.SiLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(12, 10),
    )


def trained(optimizer, own_kernels, steps=3, before_last=lambda: None):
    """The parameters and the losses after a few steps."""
    minicnn.manual_seed(0)
    model = network().to("cuda")
    x, labels = constant(normal(4, 3, 9, 9, dtype="float32")), constant(np.array([0, 9, 3, 3]))
    rule, losses = OPTIMIZERS[optimizer](model.parameters()), []
    with cuda_kernels(own_kernels):
        for step in range(steps):
            if step == steps - 1:
                before_last()
            rule.zero_grad()
            loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rule.step()
            losses.append(loss)
    return list(model.parameters()), losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_the_same_with_and_without_them(optimizer):
    with_them, without = trained(optimizer, True), trained(optimizer, False)
    for a, b in zip(with_them[1], without[1], strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=1e-4)
    for a, b in zip(with_them[0], without[0], strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=1e-2, atol=2e-4)


def test_a_step_waits_for_nothing_and_uploads_nothing():
    traffic = ndarray.cupy.traffic
    trained("adam", True, before_last=traffic.clear)
    assert traffic.syncs + traffic.uploads == []


def test_a_wrong_label_raises_when_the_loss_is_read():
    model = network().to("cuda")
    x, labels = constant(normal(2, 3, 9, 9, dtype="float32")), constant(np.array([3, 10]))
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    with pytest.raises(
        ValueError, match=r"label 10 at target\[1\] is not a class; expected 0 to 9"
    ):
        loss.item()


def test_inference_is_the_same_in_tf32_up_to_its_rounding():
    model = network().to("cuda").eval()
    x = constant(normal(2, 3, 9, 9, dtype="float32"))
    with no_grad():
        exact = host(model(x))
        with minicnn.precision("tf32"):
            rounded = host(model(x))
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-6 < error < 1e-2
