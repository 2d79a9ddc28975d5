"""Sequential, ModuleList, ModuleDict: building, indexing, changing; names like PyTorch's."""

import pytest

import minicnn
from minicnn import nn


def chain(nn=nn):
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Tanh())


def names(module):
    return [name for name, _ in module.named_children()]


def kinds(module):
    return [type(part).__name__ for part in module.children()]


def test_sequential_passes_on():
    network = chain()
    x = minicnn.rand(5, 2)
    expected = network[2](network[0](x).relu()).tanh()
    assert network(x).tolist() == expected.tolist()
    assert nn.Sequential()(x) is x


def test_sequential_from_names():
    network = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU()})
    assert names(network) == ["first", "act"]
    assert network.first is network[0]
    assert network(minicnn.rand(1, 2)).shape == (1, 3)


def test_sequential_from_a_list_needs_a_star():
    parts = [nn.ReLU(), nn.Tanh()]
    assert len(nn.Sequential(*parts)) == 2
    with pytest.raises(TypeError, match=r"got list; unpack it with \*"):
        nn.Sequential(parts)


def test_none_in_a_chain_is_refused():
    with pytest.raises(
        TypeError, match=r"Sequential: '1' must be a Module, got None; leave it out"
    ):
        nn.Sequential(nn.ReLU(), None)
    with pytest.raises(TypeError, match="'pool' must be a Module, got None"):
        nn.Sequential({"pool": None})
    chain = nn.Sequential(nn.ReLU())
    with pytest.raises(TypeError, match="got None"):
        chain[0] = None
    assert len(chain) == 1


def test_a_class_instead_of_a_layer_is_refused():
    with pytest.raises(TypeError, match=r"'0' must be a Module .*the class ReLU; write ReLU\(\)"):
        nn.Sequential(nn.ReLU)


@pytest.mark.parametrize("container", [nn.Sequential, lambda *parts: nn.ModuleList(parts)])
def test_indices(container):
    parts = [nn.ReLU(), nn.Tanh(), nn.Sigmoid()]
    module = container(*parts)
    assert len(module) == 3
    assert list(module) == parts
    assert (module[0], module[-1]) == (parts[0], parts[2])
    for index in (3, -4):
        with pytest.raises(IndexError):
            module[index]
        with pytest.raises(IndexError):
            module[index] = nn.ReLU()


@pytest.mark.parametrize(
    "cut", [slice(2), slice(1, None), slice(None, None, 2), slice(-1, None), slice(9, None)]
)
def test_slices_like_torch(torch, cut):
    assert names(chain()[cut]) == names(chain(torch.nn)[cut])
    mine, twin = nn.ModuleList(chain()), torch.nn.ModuleList(chain(torch.nn))
    assert names(mine[cut]) == names(twin[cut])
    assert type(chain()[cut]) is nn.Sequential
    assert type(mine[cut]) is nn.ModuleList


def test_a_slice_shares_its_parts():
    network = chain()
    assert network[:2][0] is network[0]


def test_a_slice_of_a_subclass_is_a_chain():
    class Block(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Linear(width, width), nn.ReLU())

    assert kinds(Block(3)[:1]) == ["Linear"]


def test_appending_to_a_slice_overwrites_nothing():
    network = chain()[1:].append(nn.Sigmoid())
    assert kinds(network) == ["ReLU", "Linear", "Tanh", "Sigmoid"]


def test_setitem_keeps_the_name():
    network = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU()})
    network[-1] = nn.Tanh()
    assert names(network) == ["first", "act"]
    assert kinds(network) == ["Linear", "Tanh"]
    with pytest.raises(TypeError, match="must be a Module"):
        network[0] = 3


@pytest.mark.parametrize("index", [0, -1, 1, slice(1, 3), slice(None)])
def test_delete_numbers_again_like_torch(torch, index):
    mine, twin = chain(), chain(torch.nn)
    del mine[index], twin[index]
    assert names(mine) == names(twin)
    assert kinds(mine) == kinds(twin)


def test_growing():
    network = nn.Sequential().append(nn.ReLU()).extend([nn.Tanh()]).insert(1, nn.Sigmoid())
    assert names(network) == ["0", "1", "2"]
    assert kinds(network) == ["ReLU", "Sigmoid", "Tanh"]
    network.extend(network)
    assert len(network) == 6


def test_a_list_registers_its_parts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

    assert len(list(Net().parameters())) == 6


def test_dict():
    parts = nn.ModuleDict({"a": nn.Linear(1, 2), "keys": nn.ReLU()})
    parts["b"] = nn.Tanh()
    assert list(parts) == list(parts.keys()) == ["a", "keys", "b"]
    assert list(parts.values()) == [parts["a"], parts["keys"], parts["b"]]
    assert dict(parts.items())["b"] is parts["b"]
    assert "a" in parts
    assert "c" not in parts
    del parts["a"]
    assert len(parts) == 2
    assert list(parts.parameters()) == []
    with pytest.raises(KeyError):
        parts["a"]
