"""Every layer computes on every device what it computes on the CPU, forwards and backwards, without a wait."""

import copy
import inspect

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from tests.checks import assert_close, in_memory, leaf, normal
from tests.devices import constant, host, on_every_device, placed, tensors_on, with_own_kernels

IMAGE, SEQUENCE, ROWS = (2, 4, 6, 6), (2, 4, 6), (3, 4)
LAYERS = [
    (nn.AdaptiveAvgPool1d(4), SEQUENCE),
    (nn.AdaptiveAvgPool2d(4), IMAGE),
    (nn.AdaptiveMaxPool1d(4), SEQUENCE),
    (nn.AdaptiveMaxPool2d(4), IMAGE),
    (nn.AvgPool1d(3, padding=1), SEQUENCE),
    (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    (nn.BatchNorm1d(4), ROWS),
    (nn.BatchNorm2d(4), IMAGE),
    (nn.Conv1d(4, 6, 3, groups=2), SEQUENCE),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2), IMAGE),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), IMAGE),
    (nn.Dropout(0.4), IMAGE),
    (nn.Dropout1d(0.4), SEQUENCE),
    (nn.Dropout2d(0.4), IMAGE),
    (nn.ELU(), IMAGE),
    (nn.Flatten(), IMAGE),
    (nn.GELU(), IMAGE),
    (nn.GELU("tanh"), IMAGE),
    (nn.GlobalAvgPool1d(), SEQUENCE),
    (nn.GlobalAvgPool2d(), IMAGE),
    (nn.GlobalMaxPool1d(), SEQUENCE),
    (nn.GlobalMaxPool2d(), IMAGE),
    (nn.GroupNorm(2, 4), IMAGE),
    (nn.Hardtanh(), IMAGE),
    (nn.Identity(), IMAGE),
    (nn.LayerNorm((6, 6)), IMAGE),
    (nn.LeakyReLU(), IMAGE),
    (nn.Linear(6, 3), IMAGE),
    (nn.LogSoftmax(1), ROWS),
    (nn.MaxPool1d(2, 1, dilation=2), SEQUENCE),
    (nn.MaxPool2d(3, 2, 1), IMAGE),
    (nn.MinPool1d(2), SEQUENCE),
    (nn.MinPool2d(2), IMAGE),
    (nn.PReLU(4), IMAGE),
    (nn.ReLU(), IMAGE),
    (nn.ReLU6(), IMAGE),
    (nn.ReflectionPad2d(2), IMAGE),
    (nn.ReplicationPad2d(2), IMAGE),
    (nn.SiLU(), IMAGE),
    (nn.Sigmoid(), IMAGE),
    (nn.Softmax(1), ROWS),
    (nn.Softplus(), IMAGE),
    (nn.StochasticDepth(0.4), IMAGE),
    (nn.Tanh(), IMAGE),
    (nn.Unflatten(1, (2, 2)), IMAGE),
    (nn.ZeroPad2d(1), IMAGE),
]
LOSSES = [
    (nn.BCELoss(), 1 / (1 + np.exp(-normal(3, 4)))),
    (nn.BCEWithLogitsLoss(), np.full((3, 4), 0.25)),
    (nn.CrossEntropyLoss(label_smoothing=0.1), np.array([0, 3, 1])),
    (nn.HuberLoss(), normal(3, 4, seed=1)),
    (nn.L1Loss(), normal(3, 4, seed=1)),
    (nn.MSELoss(), normal(3, 4, seed=1)),
    (nn.NLLLoss(), np.array([0, 3, 1])),
    (nn.SmoothL1Loss(), normal(3, 4, seed=1)),
]
LAZY = [
    (nn.LazyBatchNorm1d(), ROWS),
    (nn.LazyBatchNorm2d(), IMAGE),
    (nn.LazyConv1d(6, 3), SEQUENCE),
    (nn.LazyConv2d(6, 3), IMAGE),
    (nn.LazyConvTranspose2d(6, 3), IMAGE),
    (nn.LazyLinear(3), ROWS),
]


def each(layers):
    return pytest.mark.parametrize(
        ("layer", "argument"), layers, ids=[type(layer).__name__ for layer, _ in layers]
    )


def results(layer, *arrays):
    """Return what a layer computes where the tensors are, the gradients of everything, and its buffers, on the host."""
    minicnn.manual_seed(3)
    layer = copy.deepcopy(layer).double().to(place())
    inputs = [leaf(array) for array in arrays]
    y = layer(*inputs)
    assert y.device == constant(np.zeros(1)).device
    y.backward(placed(normal(*y.shape, seed=5)))
    grads = [t.grad for t in (*inputs, *layer.parameters()) if t.requires_grad]
    return [host(y), *map(host, grads), *map(host, layer.buffers())]


def place():
    return constant(np.zeros(1)).device


def assert_same_on_both(layer, *arrays, own_kernels):
    expected = results(layer, *arrays)
    with tensors_on("cuda", own_kernels):
        found = results(layer, *arrays)
    for mine, twin in zip(found, expected, strict=True):
        assert_close(mine, twin)


@with_own_kernels
@each(LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer(layer, argument, training, own_kernels):
    assert_same_on_both(layer.train(training), normal(*argument), own_kernels=own_kernels)


@with_own_kernels
@each(LOSSES)
def test_a_loss(layer, argument, own_kernels):
    scores = 1 / (1 + np.exp(-normal(3, 4)))
    assert_same_on_both(layer, scores, argument, own_kernels=own_kernels)


@each(LAZY)
def test_a_lazy_layer_takes_its_shape_where_it_is(layer, argument):
    with tensors_on("cuda"):
        layer = copy.deepcopy(layer).to("cuda")
        y = layer(constant(normal(*argument, dtype="float32")))
        assert y.device == "cuda:0"
        assert {parameter.device for parameter in layer.parameters()} == {"cuda:0"}


def test_embedding():
    with tensors_on("cuda"):
        layer = nn.Embedding(5, 2, padding_idx=0).to("cuda")
        y = layer(constant([[1, 0], [4, 4]]))
        y.sum().backward()
        assert host(layer.weight.grad).tolist() == [[0, 0], [1, 1], [0, 0], [0, 0], [2, 2]]


def test_no_layer_is_forgotten():
    tried = {type(layer) for layer, _ in LAYERS + LOSSES + LAZY} | {nn.Embedding}
    containers = {nn.Module, nn.ModuleDict, nn.ModuleList, nn.Sequential}
    layers = {getattr(nn, name) for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert {t for t in layers if issubclass(t, nn.Module)} == tried | containers


# --- moving ---------------------------------------------------------------------------------------


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),  # its gradient would be rounding alone
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 5),
    ).double()


def images(seed=0):
    return normal(4, 1, 6, 6, seed=seed), np.array([0, 4, 2, 2])


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        x, labels = images(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(constant(x)), constant(labels)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


OPTIMIZERS = [
    lambda p: optim.SGD(p, 0.1, momentum=0.9),
    lambda p: optim.Adam(p, 0.01, amsgrad=True),
    lambda p: optim.AdamW(p, 0.01),
    lambda p: optim.RMSprop(p, 0.01, centered=True, momentum=0.5),
]


@with_own_kernels
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_goes_on_after_a_move_as_if_nothing_had_happened(make, own_kernels):
    stays, moves = network(), network()
    moves.load_state_dict(stays.state_dict())
    optimizers = [make(model.parameters()) for model in (stays, moves)]
    for model, optimizer in zip((stays, moves), optimizers, strict=True):
        minicnn.manual_seed(1)
        train(model, optimizer, 2)
        if model is stays:
            train(model, optimizer, 4, first=2)
    with tensors_on("cuda", own_kernels):
        held = [id(parameter) for parameter in moves.parameters()]
        train(moves.to("cuda"), optimizers[1], 2, first=2)
        assert [id(parameter) for parameter in moves.parameters()] == held
        assert {t.device for t in moves.state_dict().values()} == {"cuda:0"}
        moves.to("cpu")
        with tensors_on("cpu"):
            train(moves, optimizers[1], 2, first=4)
    for name, tensor in stays.state_dict().items():
        assert_close(moves.state_dict()[name], tensor.array, 1e-9)


def test_a_state_goes_from_one_device_to_the_other(tmp_path):
    there, back = network(), network()
    with tensors_on("cuda"):
        model = network().to("cuda")
        model.load_state_dict(there.state_dict())
        minicnn.save(model.state_dict(), tmp_path / "weights.npz")
        back.load_state_dict(model.state_dict())
        assert {tensor.device for tensor in back.state_dict().values()} == {"cpu"}
    from_file = minicnn.load(tmp_path / "weights.npz")
    for name, tensor in there.state_dict().items():
        np.testing.assert_array_equal(back.state_dict()[name].array, tensor.array)
        np.testing.assert_array_equal(from_file[name].array, tensor.array)


def test_the_memory_order_of_weights_is_kept():
    layer = nn.Conv2d(3, 5, 3)
    strides = layer.weight.array.strides
    with tensors_on("cuda"):
        assert layer.to("cuda").weight.array.strides == strides
    assert layer.to("cpu").weight.array.strides == strides


KEEP_CHANNELS_INNERMOST = {
    "add": lambda x: x + x,
    "subtract": lambda x: x - x,
    "multiply": lambda x: x * x,
    "relu": Tensor.relu,
    "relu6": nn.functional.relu6,
    "cat": lambda x: minicnn.cat([x, x], 1),
    "pad": lambda x: nn.functional.pad(x, (1, 1, 2, 0)),
    "conv": nn.Conv2d(3, 4, 3),
    "pool": nn.MaxPool2d(2),
    "norm": nn.BatchNorm2d(3),
    "dropout": nn.Dropout(0.5),
    "dropout2d": nn.Dropout2d(0.5),
}


@pytest.mark.parametrize("name", KEEP_CHANNELS_INNERMOST)
def test_images_keep_their_channels_innermost(name):
    """CuPy's own results are in row-major order, and every kernel would have to copy them."""
    function = KEEP_CHANNELS_INNERMOST[name]
    image = in_memory(normal(2, 3, 6, 6, dtype="float32"), "channels last")
    with tensors_on("cuda"):
        if isinstance(function, nn.Module):
            function = copy.deepcopy(function).to("cuda")
        x = leaf(image)
        y = function(x)
        y.backward(Tensor(y.array.astype("float32")))
        for array in (y.array, x.grad.array):
            assert array.transpose(0, 2, 3, 1).flags.c_contiguous


@on_every_device
def test_layers_are_made_where_they_are_to_live():
    name = place()
    layers = [
        nn.Linear(2, 3, device=name),
        nn.Embedding(3, 2, device=name),
        nn.Conv1d(2, 3, 3, device=name),
        nn.Conv2d(2, 3, 3, device=name),
        nn.ConvTranspose2d(2, 3, 3, device=name),
        nn.BatchNorm2d(2, device=name),
        nn.LayerNorm(2, device=name),
        nn.GroupNorm(1, 2, device=name),
        nn.PReLU(device=name),
    ]
    with minicnn.device(name):
        layers += [nn.Linear(2, 3), nn.BatchNorm1d(4), nn.LazyConv2d(2, 3)]
    assert {t.device for layer in layers for t in (*layer.parameters(), *layer.buffers())} == {name}
    assert nn.Linear(1, 1).weight.device == "cpu"


def test_mixed_devices_are_refused_by_name():
    with tensors_on("cuda"):
        layer = nn.Linear(4, 2)
        words = (
            r"Linear: .* x of shape \(3, 4\) on cuda:0, weight of shape \(2, 4\) on cpu, .*\.to\("
        )
        with pytest.raises(RuntimeError, match=words):
            layer(constant(normal(3, 4, dtype="float32")))
        p = leaf(np.ones(2))
        p.grad = Tensor(np.ones(2))
        with pytest.raises(
            RuntimeError, match=r"SGD.step: .* parameter .* cuda:0, gradient .* cpu"
        ):
            optim.SGD([p], 0.1).step()
