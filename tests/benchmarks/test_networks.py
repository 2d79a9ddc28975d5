import pytest
from networks import NETWORKS, Network, bottleneck_of, norm_add_relu_of, resnet50

from minicnn import models, nn

SMALL = ["mlp", "first_cnn", "lenet5", "lenet5_sigmoid", "vgg_like"]
PARAMETERS = {
    "mlp": 218_058,
    "first_cnn": 25_034,
    "lenet5": 61_706,
    "resnet18": 11_181_642,  # torchvision's 11,689,512 with ten classes instead of a thousand
    "mobilenet": 4_231_976,
    "vgg11": 132_863_336,
}


def shapes(network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", SMALL)
def test_both_libraries_name_the_same_weights(torch, name):
    build = NETWORKS[name].build
    assert shapes(build(nn)) == shapes(build(torch.nn))


def test_the_blocks_of_resnet_have_the_same_weights(torch):
    from networks import basic_block_of

    for settings in ((8, 8), (8, 16, 2)):
        ours, theirs = basic_block_of(nn)(*settings), basic_block_of(torch.nn)(*settings)
        assert shapes(ours) == shapes(theirs)


def test_the_bottlenecks_of_resnet_have_the_same_weights(torch):
    for settings in ((8, 4), (16, 4, 2)):
        ours, theirs = bottleneck_of(nn)(*settings), bottleneck_of(torch.nn)(*settings)
        assert shapes(ours) == shapes(theirs)


def test_resnet50_has_the_known_number_of_parameters(torch):
    with torch.device("meta"):
        network = resnet50(torch.nn)
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_known_one(torch, name):
    with torch.device("meta"):  # shapes without numbers
        network = NETWORKS[name].build(torch.nn)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["mlp", "first_cnn", "lenet5"])
def test_the_courses_networks_are_those_of_models(name):
    assert shapes(NETWORKS[name].build(nn)) == shapes(models.create(name))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_shapes_fit_each_other(torch, network: Network):
    with torch.device("meta"):
        y = network.build(torch.nn)(torch.empty(2, *network.image))
    assert y.shape == (2, network.classes)


def test_both_joins_compute_the_same(torch):
    from tests.checks import normal

    x, shortcut = normal(2, 3, 4, 4, dtype="float32"), normal(2, 3, 4, 4, seed=1, dtype="float32")
    import minicnn

    ours = norm_add_relu_of(nn)(3)(minicnn.Tensor(x), minicnn.Tensor(shortcut))
    theirs = norm_add_relu_of(torch.nn)(3)(torch.tensor(x), torch.tensor(shortcut))
    assert abs(ours.array - theirs.detach().numpy()).max() < 1e-5
