"""The models: parameter counts, shapes, gradients that reach everything, a loss that falls."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, optim
from tests.models.checks import count_parameters

COUNTS = {
    "mlp": 218_058,
    "first_cnn": 25_034,
    "bigger_cnn": 437_026,
    "lenet5": 61_706,
}


def shared_names():
    return [name for name in models.list_models() if name in COUNTS or name == "lenet5_bn"]


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_number_of_parameters(name, expected):
    assert count_parameters(partial(models.create, name), statistics=True) == expected


def test_number_of_parameters_for_one_output():
    one_output = partial(models.first_cnn, num_classes=1)
    assert count_parameters(one_output, statistics=True) == 24_449
    with_statistics = count_parameters(models.bigger_cnn, statistics=True)
    assert with_statistics - count_parameters(models.bigger_cnn) == 112


@pytest.mark.parametrize("name", shared_names())
@pytest.mark.parametrize("classes", [10, 1])
def test_output_shape(name, classes):
    network = models.create(name, num_classes=classes).eval()
    for n in (1, 3, 0):
        assert network(minicnn.rand(n, 1, 28, 28)).shape == (n, classes)


def test_lenet5_takes_larger_images_and_colours():
    assert models.lenet5(in_channels=3, padding=0)(minicnn.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", shared_names())
def test_learns_and_every_parameter_gets_a_gradient(name):
    network = models.create(name)
    optimizer = optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    labels = Tensor(rng.integers(0, 10, 8))
    x = Tensor(rng.standard_normal((8, 1, 28, 28)).astype("float32"))
    losses = []
    for _ in range(8):
        loss = nn.CrossEntropyLoss()(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad.array.any(), parameter_name
        assert parameter.grad.dtype == np.float32


@pytest.mark.parametrize("name", shared_names())
def test_errors_name_the_layer(name):
    with pytest.raises(ValueError, match="expected") as caught:
        models.create(name)(minicnn.rand(4, 3, 20, 20))
    assert any(note.startswith("in ") for note in caught.value.__notes__)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"unknown model 'resnet'; known are mlp"):
        models.create("resnet")
