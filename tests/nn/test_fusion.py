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


@pytest.mark.parametrize("pattern", fusion.RULES, ids=lambda p: " ".join(c.__name__ for c in p))
def test_each_rule_makes_one_step(pattern):
    layers = {
        nn.Conv2d: nn.Conv2d(1, 1, 1),
        nn.Linear: nn.Linear(1, 1),
        nn.BatchNorm1d: nn.BatchNorm1d(1),
        nn.BatchNorm2d: nn.BatchNorm2d(1),
        nn.ReLU: nn.ReLU(),
        nn.MaxPool2d: nn.MaxPool2d(1),
    }
    chain = {str(i): layers[kind] for i, kind in enumerate(pattern)}
    assert [name for name, _ in fusion.steps(chain)] == ["0"]
    with minicnn.fusion(False):
        assert [step for _, step in fusion.steps(chain)] == list(chain.values())


def test_a_layer_with_a_hook_is_called_alone():
    chain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    seen = []
    chain[0].register_forward_hook(lambda module, inputs, output: seen.append(output.min().item()))
    chain(minicnn.tensor(np.linspace(-3, 3, 50, dtype=np.float32).reshape(1, 1, 5, 10)))
    assert seen[0] < 0  # before the ReLU


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
