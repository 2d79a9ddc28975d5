"""The networks that torchvision has too: the same state gives the same outputs and gradients.

The oracle has to be installed (pip install torchvision); without it these tests are skipped. Gradients
are compared in float64. In float32 they would say little: a ReLU decides otherwise where its input is
0 but for rounding, and the first layers' gradients differ by up to a tenth between two correct
programs. `benchmarks/torchvision_agreement.py` takes the kinks away and compares them in float32 too, see
tests/benchmarks/test_torchvision_agreement.py.
"""

import copy
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, models, no_grad
from minicnn.nn.init import without_drawing


@dataclass(frozen=True)
class Case:
    """A network, the side of the images, and what the builders are told: both, and only theirs."""

    name: str
    side: int = 64
    options: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)


NO_DROPOUT = {"dropout": 0.0}
NO_HEAD = {"aux_logits": False}  # which needs images of 299 x 299
PLAIN_START = {"init_weights": False}  # their truncated normal numbers take long to draw

CASES = [
    Case("alexnet", 64, NO_DROPOUT),
    Case("vgg11_bn", 32, NO_DROPOUT),
    Case("resnet18"),
    Case("resnet50"),
    Case("wide_resnet50_2"),
    Case("resnext50_32x4d"),
    Case("densenet121"),
    Case("squeezenet1_0", 64, NO_DROPOUT),
    Case("squeezenet1_1", 64, NO_DROPOUT),
    Case("mobilenet_v2", 64, NO_DROPOUT),
    Case("googlenet", 64, NO_DROPOUT | {"dropout_aux": 0.0}, PLAIN_START),
    Case("inception_v3", 96, NO_DROPOUT | NO_HEAD, PLAIN_START),
    Case("regnet_x_400mf"),
]
"""A member or two of each family, on images that are as small as it takes."""

each_network = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def oracle(torch):
    """torchvision.models; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what reads images, which nobody does here
        return pytest.importorskip("torchvision.models")


def twins(torch, oracle, case):
    """Return their network and ours, with the same odd biases, scales and statistics, in float64."""
    torch.manual_seed(0)
    theirs = getattr(oracle, case.name)(**case.options, **case.theirs).double()
    with without_drawing():
        ours = models.create(case.name, **case.options).double()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in theirs.state_dict().items():  # the tensors of the network itself
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif tensor.ndim == 1:  # scales and variances
            tensor.uniform_(0.5, 1.5, generator=generator)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def photographs(case, n, dtype):
    """Return n images of noise."""
    numbers = np.random.default_rng(1).standard_normal((n, 3, case.side, case.side))
    return numbers.astype(dtype)


def parts(output):
    """Return the scores of the last layer and of auxiliary heads, if there are any."""
    return list(output) if isinstance(output, tuple) else [output]


def difference(actual, expected, least=0.0):
    """Return the largest difference of two arrays, in units of the largest number, or of `least`."""
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), least)


@each_network
def test_names_and_shapes_of_the_state(oracle, case):
    theirs = getattr(oracle, case.name)(**case.theirs).state_dict()
    with without_drawing():
        ours = models.create(case.name).state_dict()
    shapes = [(name, tuple(tensor.shape)) for name, tensor in theirs.items()]
    assert [(name, tensor.shape) for name, tensor in ours.items()] == shapes


@each_network
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_outputs_and_gradients(torch, oracle, case, training):
    theirs, ours = twins(torch, oracle, case)
    x = photographs(case, 2, "float64")
    expected = parts(theirs.train(training)(torch.as_tensor(x)))
    actual = parts(ours.train(training)(Tensor(x)))
    rng = np.random.default_rng(2)
    for a, b in zip(actual, expected, strict=True):
        assert difference(a.array, b.detach().numpy()) < 1e-9
        cotangent = rng.standard_normal(a.shape)
        (a * Tensor(cotangent)).sum().backward(retain_graph=True)
        (b * torch.as_tensor(cotangent)).sum().backward(retain_graph=True)
    check_gradients_equal(ours, theirs)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(a.array, b.numpy(), rtol=1e-9, atol=1e-12)


def check_gradients_equal(ours, theirs):
    """Compare all gradients; where one is 0 but for rounding, as before a BatchNorm, only its size is."""
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    actual = {name: p.grad.array for name, p in ours.named_parameters() if p.grad is not None}
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert difference(gradient, expected[name], least=1e-6 * largest) < 1e-7, name


@each_network
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_float32_is_as_exact_as_theirs(torch, oracle, case, training):
    """Within 1e-4 of the float64 result; where their own float32 is not, no more than three times as far.

    On small images BatchNorm divides by deviations of few numbers, and rounding grows from layer to layer.
    """
    truth, ours = twins(torch, oracle, case)
    theirs = copy.deepcopy(truth).float()
    x = photographs(case, 4, "float32")
    with torch.no_grad(), no_grad():
        exact = truth.train(training)(torch.as_tensor(x).double())
        rounded = theirs.train(training)(torch.as_tensor(x))
        actual = ours.float().train(training)(Tensor(x))
    for a, b, c in zip(parts(actual), parts(rounded), parts(exact), strict=True):
        error = difference(a.array, c.numpy())
        assert error < max(1e-4, 3 * difference(b.numpy(), c.numpy()))
