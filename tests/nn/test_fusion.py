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
        "conv pool": ([nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2)], image),
        "conv overlapping pool": ([nn.Conv2d(3, 6, 3), nn.MaxPool2d(3, 2)], image),
        "conv1d relu": ([nn.Conv1d(3, 6, 3), nn.ReLU()], (4, 3, 9)),
        "transposed conv relu": ([nn.ConvTranspose2d(3, 6, 2, stride=2), nn.ReLU()], image),
        "transposed conv relu without bias": (
            [nn.ConvTranspose2d(3, 6, 3, padding=1, bias=False), nn.ReLU()],
            image,
        ),
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


def starts(layers):
    """The place of the first layer of each step."""
    return [part.start for _, part in fusion.steps_of(list(layers))]


@pytest.mark.parametrize("pattern", fusion.RULES, ids=lambda p: " ".join(c.__name__ for c in p))
def test_each_rule_makes_one_step(pattern):
    layers = {
        nn.Conv1d: nn.Conv1d(1, 1, 1),
        nn.Conv2d: nn.Conv2d(1, 1, 1),
        nn.ConvTranspose2d: nn.ConvTranspose2d(1, 1, 1),
        nn.Linear: nn.Linear(1, 1),
        nn.BatchNorm1d: nn.BatchNorm1d(1),
        nn.BatchNorm2d: nn.BatchNorm2d(1),
        fusion.FoldedNorm: nn.BatchNorm2d(1).eval(),
        nn.ReLU: nn.ReLU(),
        nn.MaxPool2d: nn.MaxPool2d(1),
    }
    chain = [layers[kind] for kind in pattern]
    folds = fusion.FoldedNorm in pattern
    if folds:
        pytest.importorskip("numba")
    with minicnn.no_grad() if folds else minicnn.enable_grad():
        assert starts(chain) == [0]
        with minicnn.fusion(False):
            assert starts(chain) == list(range(len(chain)))


def test_a_layer_with_a_hook_is_called_alone():
    chain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    seen = []
    chain[0].register_forward_hook(lambda module, inputs, output: seen.append(output.min().item()))
    chain(minicnn.tensor(np.linspace(-3, 3, 50, dtype=np.float32).reshape(1, 1, 5, 10)))
    assert seen[0] < 0  # before the ReLU


# --- the steps follow every change -----------------------------------------------------------------


@pytest.fixture
def chain():
    """Linear and ReLU, called once as one step."""
    minicnn.manual_seed(0)
    chain = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    chain(minicnn.ones(1, 3))
    assert starts(chain) == [0]
    return chain


def as_one_by_one(chain, x):
    """Whether the chain returns what its layers return, called one after the other."""
    expected = x
    for layer in chain:
        expected = layer(expected)
    return np.array_equal(chain(x).detach().numpy(), expected.detach().numpy())


def test_the_steps_of_the_same_kinds_are_divided_once(chain):
    assert fusion.steps_of(list(chain)) is fusion.steps_of([nn.Linear(2, 5), nn.ReLU()])


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_hook_may_come_later_and_go_again(chain, place, hook):
    calls = []
    handle = getattr(chain[place], hook)(lambda *arguments: calls.append(1))
    chain(minicnn.ones(1, 3))
    assert len(calls) == 1
    assert starts(chain) == [0, 1]
    handle.remove()
    chain(minicnn.ones(1, 3))
    assert starts(chain) == [0]


def test_fusion_may_be_switched_later(chain):
    with minicnn.fusion(False):
        chain(minicnn.ones(1, 3))
        assert starts(chain) == [0, 1]
    chain(minicnn.ones(1, 3))
    assert starts(chain) == [0]


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
    assert starts(chain) == [0, 1]
    chain(minicnn.ones(1, 4))
    assert starts(chain) == [0]


def test_threads_have_a_setting_of_their_own(chain):
    found = []

    def alone():
        with minicnn.fusion(False):
            found.append(starts(chain))

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    found.append(starts(chain))
    assert found == [[0, 1], [0]]


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
    "layer",
    [
        nn.Conv2d(1, 1, 1),
        nn.ConvTranspose2d(1, 1, 1),
        nn.Linear(2, 2),
        nn.BatchNorm2d(1),
        nn.MaxPool2d(1),
    ],
)
def test_an_unknown_activation_is_refused(layer):
    with pytest.raises(ValueError, match="activation must be \"relu\" or None, got 'tanh'"):
        layer(minicnn.ones(1, 1, 2, 2), activation="tanh")


# --- layers that are attributes ---------------------------------------------------------------------


class Block(nn.Module):
    """A residual block; one ReLU serves twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = fusion.chain(x, self.conv1, self.bn1, self.relu, self.conv2)
        return fusion.add_residual(y, self.bn2, x, self.relu)


@pytest.fixture
def image():
    return np.random.default_rng(3).standard_normal((3, 4, 5, 5))


@pytest.mark.parametrize("training", [True, False])
def test_a_block_has_the_same_results_and_gradients(image, training):
    block = Block().train(training).double()
    for joined, alone in zip(run(block, image, True), run(block, image, False), strict=True):
        np.testing.assert_allclose(joined, alone, rtol=1e-10, atol=1e-12)


@minicnn.no_grad()
def test_a_block_in_inference_is_the_same(image):
    block = Block().eval().double()
    block.bn1.running_mean.fill_(0.3)
    joined = block(minicnn.tensor(image)).numpy()
    with minicnn.fusion(False):
        np.testing.assert_allclose(joined, block(minicnn.tensor(image)).numpy(), atol=1e-12)


def test_a_chain_folds_in_inference():
    pytest.importorskip("numba")
    block = Block().eval()
    layers = [block.conv1, block.bn1, block.relu, block.conv2]
    assert starts(layers) == [0, 1, 3]
    with minicnn.no_grad():
        assert starts(layers) == [0, 3]


@pytest.mark.parametrize("on", [True, False])
def test_the_end_of_a_block_is_one_step_unless_switched_off(image, on):
    block, options = Block().double(), []
    forward = block.bn2.forward
    block.bn2.forward = lambda *args, **more: options.append(list(more)) or forward(*args, **more)
    with minicnn.fusion(on):
        block(minicnn.tensor(image))
    assert options == [["residual", "activation"] if on else []]


def test_a_chain_of_no_layers_returns_its_input():
    x = minicnn.ones(2)
    assert fusion.chain(x) is x


@pytest.mark.parametrize("name", ["bn1", "bn2"])
def test_a_hook_in_a_block_sees_numbers_before_the_activation(image, name):
    block, seen = Block().double(), []
    expected = block(minicnn.tensor(image)).detach().numpy()
    getattr(block, name).register_forward_hook(lambda *args: seen.append(args[2].min().item()))
    np.testing.assert_allclose(block(minicnn.tensor(image)).detach().numpy(), expected, atol=1e-12)
    assert seen[0] < 0


def test_a_hook_of_a_shared_activation_sees_each_call(image):
    block, seen = Block().double(), []
    block.relu.register_forward_hook(lambda module, inputs, output: seen.append(output.numpy()))
    with minicnn.no_grad():
        y = block(minicnn.tensor(image)).numpy()
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[1], y)


@pytest.mark.parametrize(("name", "layer"), [("bn2", nn.GroupNorm(2, 4)), ("relu", nn.Sigmoid())])
def test_other_layers_may_stand_at_the_end_of_a_block(image, name, layer):
    block = Block()
    setattr(block, name, layer)
    x = minicnn.tensor(image.astype("f4"))
    y = fusion.chain(x, block.conv1, block.bn1, block.relu, block.conv2)
    with minicnn.no_grad():
        expected = block.relu(block.bn2(y) + x).numpy()
        np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-5, atol=1e-5)
