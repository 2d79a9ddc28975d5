"""Module: registration, walking the tree, modes, state, hooks, text; PyTorch's names and orders."""

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim


def build(nn, ones):
    """The same nested module in either framework: a shared part, a buffer, a bare parameter, an absent bias."""

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.scale = nn.Parameter(ones(1))
            self.register_buffer("steps", ones(2))
            self.register_parameter("absent", None)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
            self.offset = nn.Parameter(ones(3))
            self.blocks = nn.ModuleList([Block(4), Block(4)])
            self.again = self.blocks[0]
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 1)})
            self.tied = self.heads["a"].weight
            self.stem.add_module("late part", nn.Dropout(0.1))

    return Net()


def net():
    return build(nn, minicnn.ones)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Linear(2, 1)

    def forward(self, x):
        return self.second(self.first(x))


# --- registration ---------------------------------------------------------------------------------


def test_names_and_orders_are_those_of_torch(torch):
    mine, twin = net(), build(torch.nn, torch.ones)
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        mine_names = [name for name, _ in getattr(mine, walk)()]
        assert mine_names == [name for name, _ in getattr(twin, walk)()], walk
    assert list(mine.state_dict()) == list(twin.state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in twin.state_dict().items()}
    assert {name: tensor.shape for name, tensor in mine.state_dict().items()} == shapes


def test_a_shared_parameter_is_listed_once():
    mine = net()
    assert len(list(mine.parameters())) == len({id(p) for p in mine.parameters()})
    assert sum(p is mine.tied for p in mine.parameters()) == 1
    assert {"tied", "heads.a.weight"} <= set(mine.state_dict())


def test_members_of_one_module_only():
    block = net().blocks[0]
    assert [name for name, _ in block.named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in block.named_buffers(recurse=False)] == ["steps"]
    assert next(block.named_parameters(prefix="b"))[0] == "b.scale"


def test_assigning_again_keeps_the_place():
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(minicnn.zeros(2, 3))
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.weight.array.any() == np.False_


def test_assigning_another_kind_moves_the_name():
    module = nn.Module()
    module.part = nn.Parameter(minicnn.ones(2))
    module.part = nn.Linear(1, 1)
    assert [name for name, _ in module.named_parameters()] == ["part.weight", "part.bias"]
    module.plain = 3
    module.plain = nn.Parameter(minicnn.ones(2))
    assert module.plain.shape == (2,)
    assert "plain" in dict(module.named_parameters())


@pytest.mark.parametrize("name", ["weight", "part", "steps"])
def test_none_empties_a_name_but_keeps_it(name):
    module = nn.Module()
    module.weight, module.part = nn.Parameter(minicnn.ones(1)), nn.Linear(1, 1)
    module.register_buffer("steps", minicnn.ones(1))
    before = len(module.state_dict())
    setattr(module, name, None)
    assert getattr(module, name) is None
    assert len(module.state_dict()) < before
    with pytest.raises(TypeError, match="expected a"):
        setattr(module, name, 3)


@pytest.mark.parametrize(
    ("name", "kind"), [("weight", "Parameter"), ("part", "Module"), ("steps", "Tensor")]
)
def test_a_member_is_not_replaced_by_something_else(name, kind):
    module = nn.Module()
    module.weight, module.part = nn.Parameter(minicnn.ones(1)), nn.Linear(1, 1)
    module.register_buffer("steps", minicnn.ones(1))
    with pytest.raises(TypeError, match=f"Module.{name}: expected a {kind}"):
        setattr(module, name, 3)


def test_a_buffer_stays_a_buffer_when_it_is_assigned():
    module = nn.Module()
    module.register_buffer("steps", minicnn.zeros(2))
    module.steps = minicnn.ones(2)
    assert module.state_dict()["steps"].tolist() == [1, 1]


def test_delete():
    module = net()
    del module.offset, module.stem, module.blocks[0].steps
    names = [name for name, _ in module.named_parameters()]
    assert not any(name.startswith(("offset", "stem")) for name in names)
    assert not hasattr(module, "stem")
    assert "blocks.0.steps" not in module.state_dict()
    with pytest.raises(AttributeError):
        del module.stem


@pytest.mark.parametrize("value", [lambda: nn.Linear(1, 1), lambda: nn.Parameter(minicnn.ones(1))])
def test_forgetting_super_init(value):
    class Forgetful(nn.Module):
        def __init__(self):
            self.part = value()

    with pytest.raises(AttributeError, match=r"Forgetful\.part: call super\(\)\.__init__\(\)"):
        Forgetful()


def test_register_refuses():
    module = nn.Module()
    module.plain = 1
    with pytest.raises(TypeError, match="'w' must be a Parameter"):
        module.register_parameter("w", minicnn.ones(1))
    with pytest.raises(TypeError, match="'b' must be a Tensor"):
        module.register_buffer("b", np.ones(1))
    with pytest.raises(TypeError, match="'m' must be a Module"):
        module.add_module("m", minicnn.ones(1))
    for name in ("a.b", "", 0):
        with pytest.raises(ValueError, match="name without dots"):
            module.register_buffer(name, minicnn.ones(1))
    with pytest.raises(ValueError, match="'plain' already"):
        module.register_buffer("plain", minicnn.ones(1))


def test_missing_attributes_are_named():
    with pytest.raises(AttributeError, match="TwoLayers has no attribute 'third'"):
        _ = TwoLayers().third


def test_get_submodule():
    module = net()
    assert module.get_submodule("blocks.1.norm") is module.blocks[1].norm
    assert module.get_submodule("") is module
    with pytest.raises(AttributeError, match="'nothing' is missing"):
        module.get_submodule("blocks.nothing")


def test_no_forward():
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        nn.ModuleList([])(1)


# --- walks, modes, gradients ----------------------------------------------------------------------


def test_apply_visits_parts_first():
    module, seen = TwoLayers(), []
    assert module.apply(seen.append) is module
    assert seen == [module.first, module.second, module]


def test_train_and_eval_reach_every_part():
    module = net()
    assert all(part.training for part in module.modules())
    assert module.eval() is module
    assert not any(part.training for part in module.modules())
    module.blocks.train()
    assert module.blocks[1].norm.training
    assert not module.stem.training


def test_eval_leaves_gradients_on():
    module = TwoLayers().eval()
    module(minicnn.ones(1, 3)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_freezing():
    module = TwoLayers()
    module.first.requires_grad_(False)
    module(minicnn.ones(1, 3)).sum().backward()
    assert module.first.weight.grad is None
    assert module.second.weight.grad is not None
    assert all(p.requires_grad for p in module.requires_grad_().parameters())


def test_zero_grad():
    module = TwoLayers()
    module(minicnn.ones(1, 3)).sum().backward()
    module.zero_grad(set_to_none=False)
    assert module.first.weight.grad.tolist() == [[0, 0, 0]] * 2
    module.zero_grad()
    assert module.first.weight.grad is None


# --- copies ---------------------------------------------------------------------------------------


def test_deepcopy_is_independent():
    module = net()
    twin = copy.deepcopy(module)
    assert list(twin.state_dict()) == list(module.state_dict())
    for (name, mine), other in zip(
        module.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(mine.array, other.array, err_msg=name)
        assert not np.shares_memory(mine.array, other.array), name
    assert twin.again is twin.blocks[0]
    assert twin.tied is twin.heads["a"].weight
    assert type(twin.tied) is nn.Parameter


def test_a_pickled_module_keeps_its_members():
    module = nn.BatchNorm2d(2)
    twin = pickle.loads(pickle.dumps(module))
    assert list(twin.state_dict()) == list(module.state_dict())
    twin.weight.data.fill_(3)
    assert twin.state_dict()["weight"].tolist() == [3, 3]


def test_a_layer_finds_parameters_and_buffers_without_a_detour():
    assert {"weight", "bias", "running_mean"} <= vars(nn.BatchNorm2d(2)).keys()


def test_deepcopy_leaves_optimizers_alone():
    module = TwoLayers()
    optimizer = optim.SGD(module.parameters(), lr=0.1)
    twin = copy.deepcopy(module)
    before = copy.deepcopy(twin.first.weight)
    module(minicnn.ones(1, 3)).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(twin.first.weight.array, before.array)
    assert twin.first.weight.grad is None
    twin(minicnn.ones(1, 3)).sum().backward()
    assert twin.first.weight.grad is not None


def test_deepcopy_keeps_modes_and_frozen_parameters():
    module = TwoLayers().eval()
    module.first.requires_grad_(False)
    twin = copy.deepcopy(module)
    assert not twin.second.training
    assert [p.requires_grad for p in twin.parameters()] == [False, False, True, True]


# --- hooks, errors, text --------------------------------------------------------------------------


def test_hooks_see_and_replace():
    layer, seen = nn.Identity(), []
    before = layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    after = layer.register_forward_hook(
        lambda module, inputs, output: seen.append((module, inputs, output))
    )
    x = minicnn.ones(1)
    assert layer(x).item() == 2
    ((module, (given,), output),) = seen
    assert module is layer
    assert given.item() == output.item() == 2
    before.remove()
    after.remove()
    after.remove()
    assert layer(x) is x
    assert len(seen) == 1


def test_hooks_that_return_replace():
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda module, inputs: inputs[0] * 3)
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    assert layer(minicnn.ones(1)).item() == 8


def test_errors_name_the_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(ValueError, match="expected 3 channels") as caught:
        network(minicnn.ones(1, 1, 5, 5))
    assert caught.value.__notes__ == [
        "in Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))",
        "which is part 0 of a Sequential",
    ]


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(2, 1), np.zeros((1, 2), "float32")),
        (nn.Linear(2, 1), [[0.0, 0.0]]),
        (nn.Conv1d(1, 1, 1), np.zeros((1, 1, 2), "float32")),
        (nn.Conv2d(1, 1, 1), np.zeros((1, 1, 2, 2), "float32")),
        (nn.ConvTranspose2d(1, 1, 1), np.zeros((1, 1, 2, 2), "float32")),
        (nn.MaxPool1d(1), np.zeros((1, 1, 2))),
        (nn.MaxPool2d(1), np.zeros((1, 1, 2, 2))),
        (nn.AvgPool2d(1), np.zeros((1, 1, 2, 2))),
        (nn.MinPool2d(1), np.zeros((1, 1, 2, 2))),
        (nn.AdaptiveAvgPool2d(1), np.zeros((1, 1, 2, 2))),
        (nn.BatchNorm1d(2), np.zeros((3, 2), "float32")),
        (nn.LayerNorm(2), np.zeros((3, 2), "float32")),
        (nn.Dropout(), np.zeros(2)),
        (nn.Embedding(2, 1), np.array([0])),
    ],
)
def test_arrays_are_to_be_wrapped(layer, x):
    with pytest.raises(TypeError, match=rf"must be a Tensor, got {type(x).__name__}; wrap it"):
        layer(x)


def test_repr_is_like_torch(torch):
    def build(nn):
        return nn.Sequential(
            nn.Linear(3, 2, bias=False), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Dropout(0.5)
        )

    theirs = repr(build(torch.nn)).replace(", inplace=False", "")
    assert repr(build(nn)) == theirs


def test_repr_with_settings_and_parts():
    class Block(TwoLayers):
        def extra_repr(self):
            return "width=2"

    lines = repr(Block()).splitlines()
    assert lines[:2] == ["Block(", "  width=2"]
    assert lines[2].startswith("  (first): Linear(")


def test_a_module_whose_init_forgot_that_of_module_says_so():
    class Forgetful(nn.Module):
        def __init__(self):
            self.factor = 3

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) at the start"):
        Forgetful()(minicnn.ones(1))


# --- copies, and names that are taken -------------------------------------------------------------


def test_what_is_added_to_a_shallow_copy_is_not_added_to_the_original():
    layer = nn.Linear(2, 3)
    copied = copy.copy(layer)
    copied.extra = nn.Parameter(minicnn.zeros(2))
    del copied.bias
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in copied.named_parameters()] == ["weight", "extra"]
    assert copied.weight is layer.weight


def test_a_layer_can_be_made_anew():
    layer = nn.Linear(2, 3)
    layer.__init__(4, 5)
    assert layer.weight.shape == (5, 4)


@pytest.mark.parametrize("name", ["forward", "eval"])
def test_a_member_cannot_hide_a_method(name):
    layer = nn.Identity()
    for register in (layer.register_parameter, layer.__setattr__):
        with pytest.raises(ValueError, match="is a method"):
            register(name, nn.Parameter(minicnn.zeros(2)))
