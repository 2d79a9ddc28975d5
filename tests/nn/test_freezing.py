"""Freezing: which parameters, which statistics, for how long, and names that do not exist."""

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim


@pytest.fixture
def model():
    """Convolution with BatchNorm, twice, and a head: 80 + 16, 584 + 16 and 27 parameters."""
    blocks = {
        "first": nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        "second": nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
    }
    head = {"pool": nn.GlobalAvgPool2d(), "flatten": nn.Flatten(), "fc": nn.Linear(8, 3)}
    return nn.Sequential({**blocks, **head})


def trained(model):
    """The names of the parameters that are not frozen."""
    return [name for name, p in model.named_parameters() if p.requires_grad]


def state_of(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def changed(before, module):
    """The names of the tensors that are no longer what they were."""
    now = state_of(module)
    return [name for name, array in before.items() if not np.array_equal(array, now[name])]


def take_step(model, lr=0.1):
    """One step of training on random images."""
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=0.1)
    loss = nn.CrossEntropyLoss()(model(minicnn.randn(4, 1, 8, 8)), minicnn.tensor([0, 1, 2, 0]))
    loss.backward()
    optimizer.step()
    return optimizer


# --- parameters -----------------------------------------------------------------------------------


def test_counts_and_parameters_of_parts(model):
    assert model.freeze("first", "second.0") == 96 + 584
    assert trained(model) == ["second.1.weight", "second.1.bias", "fc.weight", "fc.bias"]
    assert model.unfreeze("first.0") == 80
    assert trained(model)[:2] == ["first.0.weight", "first.0.bias"]


def test_without_names_it_is_everything(model):
    total = sum(p.numel() for p in model.parameters())
    assert model.freeze() == total
    assert trained(model) == []
    assert model.unfreeze() == total
    assert len(trained(model)) == 10


def test_a_parameter_by_its_name(model):
    assert model.freeze("fc.bias") == 3
    assert "fc.bias" not in trained(model)
    assert model.train().first[1].training


def test_a_prefix_is_whole_names():
    chain = nn.Sequential(*[nn.Linear(2, 2) for _ in range(11)])
    assert chain.freeze("1") == 6
    assert chain[10].weight.requires_grad


def test_what_is_named_twice_counts_once(model):
    assert model.freeze("first", "first.0", "first.0.weight") == 96


def test_a_shared_part_by_each_of_its_names():
    layer = nn.Linear(2, 2)
    for name in ("0", "1", "1.weight"):
        chain = nn.Sequential(layer, layer)
        chain.unfreeze()
        chain.freeze(name)
        assert not chain[0].weight.requires_grad


def test_an_old_gradient_is_forgotten(model):
    optimizer = take_step(model)
    model.freeze("first")
    before = state_of(model)
    optimizer.step()  # with the gradients of the step before
    assert all(not name.startswith("first") for name in changed(before, model))
    assert "fc.weight" in changed(before, model)


def test_a_lazy_layer_stays_frozen_once_it_has_a_shape():
    layer = nn.LazyLinear(2)
    assert layer.freeze() == 0
    layer(minicnn.ones(1, 3))
    assert trained(layer) == []


# --- running statistics ---------------------------------------------------------------------------


def test_a_frozen_part_does_not_change_at_all(model):
    model.freeze("first")
    before = state_of(model)
    take_step(model.train())
    names = changed(before, model)
    assert {name.partition(".")[0] for name in names} == {"second", "fc"}
    assert "second.1.running_mean" in names


def test_statistics_may_go_on(model):
    model.freeze("first", statistics=False)
    before = state_of(model)
    take_step(model.train())
    names = [name for name in changed(before, model) if name.startswith("first")]
    assert names == ["first.1.running_mean", "first.1.running_var", "first.1.num_batches_tracked"]


def test_only_modules_with_buffers_keep_their_mode(model):
    model.freeze("first")
    assert model.train().first[0].training
    assert not model.first[1].training
    assert model.second[1].training


def test_frozen_statistics_are_used(model):
    model.freeze("first")
    model.train()
    x = minicnn.randn(4, 1, 8, 8)
    np.testing.assert_allclose(
        model.first(x)[:1].detach().numpy(), model.first(x[:1]).detach().numpy(), atol=1e-5
    )


@pytest.mark.parametrize("mode", [True, False])
def test_an_unfrozen_part_takes_the_mode_of_the_model(model, mode):
    model.freeze()
    model.train(mode)
    model.unfreeze("second")
    assert model.second[1].training is mode
    assert not model.first[1].training
    assert model.train().second[1].training


def test_unfreezing_what_is_not_frozen_changes_no_mode(model):
    model.train().second.eval()
    model.unfreeze("second")
    assert not model.second[1].training


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_frozen_too(model, copied):
    model.freeze("first")
    other = copied(model).train()
    assert not other.first[1].training
    assert trained(other) == trained(model)


def test_gradients_reach_the_layers_below_a_frozen_part(model):
    model.train().freeze("second")
    take_step(model)
    assert model.first[0].weight.grad is not None
    assert model.second[0].weight.grad is None


# --- names that do not exist ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fist", "there is no part 'fist'; did you mean 'first'"),
        ("fc.weigth", "did you mean 'fc.weight'"),
        ("features", "there is no part 'features'; the parts are first, second, pool"),
        ("", "there is no part ''; the parts are first, second, pool, flatten, fc"),
        ("first.1.running_mean", "there is no part"),
        ("first.", "there is no part 'first.'"),
        ("1.bias", "did you mean 'first.1.bias' or 'second.1.bias'"),
        (3, "there is no part 3: names are texts$"),
        (["fc"], r"there is no part \['fc'\]: names are texts; unpack it with \*"),
    ],
)
@pytest.mark.parametrize("method", ["freeze", "unfreeze"])
def test_an_unknown_name(model, method, name, message):
    model.freeze("fc")
    before = trained(model)
    with pytest.raises(ValueError, match=rf"Sequential\.{method}: .*{message}"):
        getattr(model, method)("second", name)
    assert trained(model) == before


def test_a_layer_without_parts_says_so():
    with pytest.raises(ValueError, match="the parts are none"):
        nn.ReLU().freeze("x")


def test_a_dot_at_the_end_of_a_name_is_answered_with_the_name():
    network = nn.Sequential({"features": nn.Sequential(nn.Linear(2, 2)), "fc": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"no part 'features\.'; did you mean 'features'\?"):
        network.freeze("features.")
