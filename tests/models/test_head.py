"""The new head: which layer it replaces, in each family of networks, and when it refuses."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.nn.init import without_drawing

HEADS = {
    "lenet5": "11",
    "alexnet": "classifier.6",
    "vgg11": "classifier.6",
    "googlenet": "fc",
    "inception_v3": "fc",
    "resnet18": "fc",
    "resnet50_v2": "fc",
    "densenet121": "classifier",
    "squeezenet1_0": "classifier.1",
    "mobilenet_v1": "classifier",
    "mobilenet_v2": "classifier.1",
    "efficientnet_lite0": "_fc",
    "xception": "classifier",
    "unet": "head",
}


@pytest.mark.parametrize(("name", "place"), HEADS.items())
def test_the_head_of_each_family(name, place):
    with without_drawing():
        network = models.create(name)
        before = dict(network.named_modules())
        head = models.replace_head(network, 7)
    after = dict(network.named_modules())
    assert [name for name in after if after[name] is not before[name]] == [
        place or list(before)[-1]
    ]
    assert head.weight.shape[0] == head.bias.shape[0] == 7
    assert [name for name, part in after.items() if part is head] == [place]


def test_the_network_computes_with_it():
    network = models.resnet18(num_classes=5, small_images=True).eval()
    models.replace_head(network, 3)
    with minicnn.no_grad():
        assert network(minicnn.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_it_learns_where_all_else_is_frozen():
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5, bias=False)).eval()
    network.freeze()
    head = models.replace_head(network, 2)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["2.weight"]
    assert head.bias is None
    assert not head.training


def test_weights_are_fresh_and_of_the_old_dtype():
    network = nn.Sequential(nn.Linear(4, 6)).double()
    old = network[0].weight.detach().numpy().copy()
    new = models.replace_head(network, 6)
    assert new.weight.dtype == np.float64
    assert not np.array_equal(new.weight.detach().numpy(), old)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 2, 3)),
        nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)),
        nn.Sequential(nn.LazyLinear(3)),
        nn.Sequential(nn.ReLU()),
        nn.Linear(2, 2),
    ],
)
def test_other_networks_are_refused(network):
    with pytest.raises(ValueError, match=r"replace_head: expected a model .* assign the new head"):
        models.replace_head(network, 3)


def test_a_head_that_stands_in_several_places_is_replaced_in_all_of_them():
    layer = nn.Linear(4, 4)
    network = nn.Sequential({"fc": layer, "tail": nn.Sequential(nn.ReLU(), layer)})
    assert models.replace_head(network, 4) is network.fc is network.tail[1] is not layer


@pytest.mark.parametrize(
    ("model", "classes", "error"),
    [(models.resnet18, 3, TypeError), ("resnet18", 3, TypeError), (None, 0, ValueError)],
)
def test_what_makes_no_head_is_refused(model, classes, error):
    model = model or nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(
        error, match=r"replace_head: (model: expected a module|num_classes: expected)"
    ):
        models.replace_head(model, classes)
