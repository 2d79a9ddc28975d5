import copy
import pickle
import threading

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.nn import fusion


def chains():
    """A chain of layers for each rule, and an input for it."""
    image, row = (4, 3, 9, 9), (5, 7)
    return {
        "conv relu": ([nn.Conv2d(3, 6, 3), nn.ReLU()], image),
        "conv relu pool": ([nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)], image),
        "linear relu": ([nn.Linear(7, 4), nn.ReLU()], row),
        "norm1d relu": ([nn.BatchNorm1d(7), nn.ReLU()], row),
        "norm2d relu": ([nn.BatchNorm2d(3), nn.ReLU()], image),
        "norm relu pool": ([nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], image),
        "relu pool": ([nn.ReLU(), nn.MaxPool2d(2)], image),
        "several": (
            [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ReLU(), nn.Conv2d(4, 2, 1)],
            image,
        ),
    }


def run(chain, x, on):
    """Return the output, the gradients of all parameters, and that of the input."""
    chain.zero_grad()
    x = minicnn.tensor(x, requires_grad=True)
    with minicnn.fusion(on):
        y = chain(x)
    weights = np.cos(np.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    (y * minicnn.tensor(weights)).sum().backward()
    return [y.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in chain.parameters())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", chains())
def test_the_same_results_and_gradients(name, training):
    minicnn.manual_seed(1)
    layers, shape = chains()[name]
    chain = nn.Sequential(*layers).train(training).double()
    x = np.random.default_rng(0).standard_normal(shape)
    for joined, alone in zip(run(chain, x, True), run(chain, x, False), strict=True):
        np.testing.assert_allclose(joined, alone, rtol=1e-10, atol=1e-12)


def names(plan):
    """The first layer of each step."""
    return [step.name for step in plan.steps]


@pytest.mark.parametrize("pattern", fusion.RULES, ids=lambda p: " ".join(c.__name__ for c in p))
def test_each_rule_makes_one_step(pattern):
    layers = {
        nn.Conv2d: nn.Conv2d(1, 1, 1),
        nn.Linear: nn.Linear(1, 1),
        nn.BatchNorm1d: nn.BatchNorm1d(1),
        nn.BatchNorm2d: nn.BatchNorm2d(1),
        fusion.FoldedNorm: nn.BatchNorm2d(1).eval(),
        nn.ReLU: nn.ReLU(),
        nn.MaxPool2d: nn.MaxPool2d(1),
    }
    chain = {str(i): layers[kind] for i, kind in enumerate(pattern)}
    folds = fusion.FoldedNorm in pattern
    if folds:
        pytest.importorskip("numba")
    with minicnn.no_grad() if folds else minicnn.enable_grad():
        assert names(fusion.plan_of(chain)) == ["0"]
        with minicnn.fusion(False):
            assert names(fusion.plan_of(chain)) == list(chain)


def test_a_layer_with_a_hook_is_called_alone():
    chain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    seen = []
    chain[0].register_forward_hook(lambda module, inputs, output: seen.append(output.min().item()))
    chain(minicnn.tensor(np.linspace(-3, 3, 50, dtype=np.float32).reshape(1, 1, 5, 10)))
    assert seen[0] < 0  # before the ReLU


# --- the plan of a chain is kept, as long as it holds ---------------------------------------------


@pytest.fixture
def chain():
    """Linear and ReLU, called once as one step."""
    minicnn.manual_seed(0)
    chain = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    chain(minicnn.ones(1, 3))
    assert names(chain._plan) == ["0"]
    return chain


def as_one_by_one(chain, x):
    """Whether the chain returns what its layers return, called one after the other."""
    expected = x
    for layer in chain:
        expected = layer(expected)
    return np.array_equal(chain(x).detach().numpy(), expected.detach().numpy())


def test_a_layer_that_was_replaced_is_not_copied_or_pickled():
    chain = nn.Sequential(nn.Linear(2, 30_000), nn.ReLU())
    chain(minicnn.ones(1, 2))
    chain[0] = nn.Linear(2, 2)
    assert len(pickle.dumps(chain)) < 10_000
    assert "_plan" not in vars(copy.deepcopy(chain))


def test_the_plan_is_kept(chain):
    plan = chain._plan
    chain(minicnn.ones(2, 3))
    assert chain._plan is plan


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_hook_may_come_later_and_go_again(chain, place, hook):
    calls = []
    handle = getattr(chain[place], hook)(lambda *arguments: calls.append(1))
    chain(minicnn.ones(1, 3))
    assert len(calls) == 1
    assert names(chain._plan) == ["0", "1"]
    handle.remove()
    chain(minicnn.ones(1, 3))
    assert names(chain._plan) == ["0"]


def test_fusion_may_be_switched_later(chain):
    with minicnn.fusion(False):
        chain(minicnn.ones(1, 3))
        assert names(chain._plan) == ["0", "1"]
    chain(minicnn.ones(1, 3))
    assert names(chain._plan) == ["0"]


@pytest.mark.parametrize(
    "change",
    [
        lambda chain: chain.__setitem__(0, nn.Linear(3, 3)),
        lambda chain: chain.__setitem__(1, nn.Sigmoid()),
        lambda chain: chain.__delitem__(1),
        lambda chain: chain.append(nn.Linear(3, 2)),
        lambda chain: chain.insert(1, nn.Tanh()),
        lambda chain: setattr(chain, "0", nn.Linear(3, 1)),
        lambda chain: setattr(chain[0], "weight", nn.Parameter(minicnn.zeros(3, 3))),
    ],
)
def test_layers_may_change_later(chain, change):
    change(chain)
    assert as_one_by_one(chain, minicnn.ones(2, 3))


def test_a_lazy_layer_is_joined_once_it_knows_its_class():
    chain = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    for expected in (["0", "1"], ["0"]):
        chain(minicnn.ones(1, 4))
        assert names(chain._plan) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda chain: pickle.loads(pickle.dumps(chain))])
def test_a_copy_calls_its_own_layers(chain, copied):
    other, x = copied(chain), minicnn.ones(1, 3)
    before = chain(x).detach().numpy()
    with minicnn.no_grad():
        other[0].weight.fill_(2)
        other[0].bias.fill_(1)
    np.testing.assert_array_equal(other(x).detach().numpy(), np.full((1, 3), 7))
    np.testing.assert_array_equal(chain(x).detach().numpy(), before)


def test_threads_have_plans_of_their_own_setting(chain):
    found = []

    def alone():
        with minicnn.fusion(False):
            found.append(names(fusion.plan_of(chain._modules, chain._plan)))

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    found.append(names(fusion.plan_of(chain._modules, chain._plan)))
    assert found == [["0", "1"], ["0"]]


def test_a_derived_class_is_called_alone():
    class Mine(nn.ReLU):
        def forward(self, x):
            return x + 1

    chain = nn.Sequential(nn.Linear(2, 2), Mine())
    x = minicnn.ones(1, 2)
    np.testing.assert_array_equal(chain(x).detach().numpy(), (chain[0](x) + 1).detach().numpy())


def test_the_switch_is_for_a_block_or_from_now_on():
    with minicnn.fusion(False):
        assert not fusion._state.on
        with minicnn.fusion(True):
            assert fusion._state.on
        assert not fusion._state.on
    assert fusion._state.on
    minicnn.fusion(False)
    assert not fusion._state.on
    minicnn.fusion(True)


def test_a_block_may_be_entered_again():
    alone = minicnn.fusion(False)
    for _ in range(2):
        with alone:
            assert not fusion._state.on
        assert fusion._state.on


def test_an_error_names_the_part():
    chain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
    with pytest.raises(ValueError, match="linear: expected x of shape") as error:
        chain(minicnn.ones(1, 5))
    assert "which is part 1 of a Sequential" in error.value.__notes__


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(1, 1, 1), nn.Linear(2, 2), nn.BatchNorm2d(1), nn.MaxPool2d(1)]
)
def test_an_unknown_activation_is_refused(layer):
    with pytest.raises(ValueError, match="activation must be \"relu\" or None, got 'tanh'"):
        layer(minicnn.ones(1, 1, 2, 2), activation="tanh")
