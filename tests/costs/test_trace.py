"""The pass that measures: it leaves no trace, and what it says of the tape is what the tape holds."""

import gc
from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.autograd.tape import topological_order
from minicnn.costs import cost
from minicnn.kernels import im2col
from minicnn.kernels.memory import owner_of
from minicnn.kernels.shapes import window_of
from minicnn.models.googlenet import Inception
from minicnn.models.squeezenet import Fire
from tests.models.checks import images


def bytes_on_tape(result, model):
    """The memory of all arrays that the tape of `result` holds, without the model's own."""
    own = {id(owner_of(tensor.array)) for tensor in (*model.parameters(), *model.buffers())}
    held = {}
    for node in topological_order(result.node):
        for array in node.function.saved if node.function else ():
            if array is not None and id(owner_of(array)) not in own:
                held[id(owner_of(array))] = array.nbytes
    return sum(held.values())


SMALL = {
    "plain": (models.first_cnn, (1, 28, 28)),
    "with BatchNorm": (models.bigger_cnn, (1, 28, 28)),
    "residual": (models.resnet_small_v1, (1, 28, 28)),
    "pre-activated": (models.resnet_small_v2, (1, 28, 28)),
    "inverted": (partial(models.mobilenet_v2, width_mult=0.1), (3, 32, 32)),
    "branches": (partial(Inception, 8, 4, 4, 8, 4, 8, 4), (8, 14, 14)),
    "fire": (partial(Fire, 8, 4, 8, 8), (8, 14, 14)),
    "skips": (partial(models.unet, channels=(4, 8, 16)), (3, 16, 16)),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_tape_holds_what_was_said(name):
    build, shape = SMALL[name]
    model, batch = build().eval(), 3
    expected = batch * cost(model, shape).tape_bytes
    with minicnn.fusion(False):
        assert bytes_on_tape(model(images(batch, *shape)), model) == expected
    # Where layers are computed together, the tape holds less, but may hold an image with its frame.
    assert 0 < bytes_on_tape(model(images(batch, *shape)), model) <= 1.1 * expected


def test_training_mode_holds_as_much():
    model = models.resnet_small_v1()
    expected = 2 * cost(model, (1, 28, 28)).tape_bytes
    with minicnn.fusion(False):
        assert bytes_on_tape(model.train()(images(2, 1, 28, 28)), model) == expected


def test_what_comes_before_the_first_learning_layer_is_not_kept():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU())
    model[0].requires_grad_(False)
    found = cost(model, (2, 8, 8))
    assert [row.tape_bytes for row in found.rows] == [0, 0, 4 * 4 * 36, 4 * 3 * 16]
    assert (found.trainable, found.frozen) == (3 * 36 + 3, 4 * 18 + 4)
    frozen = cost(model.requires_grad_(False), (2, 8, 8))
    assert frozen.tape_bytes == 0
    assert frozen.multiply_adds == found.multiply_adds


class Extractor(nn.Module):
    """Features that do not learn, and a head that does."""

    def __init__(self, how):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Conv2d(4, 3, 3)
        self.how = how

    def forward(self, x):
        if self.how == "no_grad":
            with minicnn.no_grad():
                x = self.features(x)
        elif self.how == "detached":
            x = self.features(x.detach())
        return self.head(x)


@pytest.mark.parametrize("how", ["no_grad", "detached"])
def test_what_is_computed_off_the_tape_is_counted_but_not_kept(how):
    model = Extractor(how)
    model.features.requires_grad_(how == "no_grad")
    found = cost(model, (2, 8, 8))
    assert [row.multiply_adds for row in found.rows] == [36 * 72, 0, 16 * 144, 4 * 108]
    assert [row.tape_bytes for row in found.rows] == [0, 0, 0, 4 * 4 * 16]
    if how == "no_grad":
        assert found.field.size == (7, 7)
    with minicnn.fusion(False):
        assert bytes_on_tape(model(images(2, 2, 8, 8)), model) == 2 * found.tape_bytes


def test_a_network_may_fail_under_no_grad():
    model = Extractor("no_grad")
    model.features[2] = nn.Linear(9, 9)
    with pytest.raises(ValueError, match="linear"):
        cost(model, (2, 8, 8))
    assert minicnn.is_grad_enabled()


def test_a_network_may_change_its_input():
    class Changes(nn.Module):
        def forward(self, x):
            x += 1
            return x

    assert cost(nn.Sequential(Changes(), nn.Linear(3, 2)), (3,)).multiply_adds == 6


def test_nothing_is_left_of_the_pass():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[1].eval()
    state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    cost(model, (1, 6, 6))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), state[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    assert minicnn.is_grad_enabled()


def test_a_batch_stays_as_it_was():
    batch = minicnn.randn(2, 1, 6, 6)
    before = batch.numpy().copy()
    cost(nn.Conv2d(1, 2, 3), batch)
    assert not batch.requires_grad
    np.testing.assert_array_equal(batch.numpy(), before)


def test_it_counts_under_no_grad_too():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with minicnn.no_grad():
        inside = cost(model, (1, 6, 6))
        assert not minicnn.is_grad_enabled()
    assert inside == cost(model, (1, 6, 6))


def test_the_pass_frees_what_inference_frees():
    """Large arrays that are alive at one time, while the tape records."""
    alive = []

    class Watching(nn.ReLU):
        def forward(self, x, activation=None):
            gc.collect()
            alive.append(minicnn.kernels.memory._common._large.lent)
            return super().forward(x)

    layers = [layer for _ in range(8) for layer in (nn.Conv2d(16, 16, 3, padding=1), Watching())]
    before = minicnn.kernels.memory._common._large.lent
    cost(nn.Sequential(*layers), (16, 128, 128))  # 1 MiB each
    assert max(alive) - before <= 3 * 2**20


@pytest.mark.parametrize(
    ("taps", "settings"),
    [
        (3, {"padding": 1}),
        ((1, 5), {"stride": 2, "groups": 2}),
        (1, {}),
        (1, {"groups": 2}),
        (1, {"stride": 2}),
        (1, {"padding": 1}),
        (3, {"dilation": 2}),
    ],
)
def test_workspace_is_what_im2col_writes(taps, settings):
    layer = nn.Conv2d(4, 6, taps, **settings)
    x = np.ascontiguousarray(np.zeros((1, 9, 11, 4), np.float32)).transpose(
        0, 3, 1, 2
    )  # (N, C, H, W)
    window = window_of(taps, *(settings.get(name, default) for name, default in
                               (("stride", 1), ("padding", 0), ("dilation", 1))))  # fmt: skip
    patches = im2col._patches(x, window, layer(minicnn.Tensor(x)).shape[2:], layer.groups)
    written = 0 if np.shares_memory(patches, x) else patches.nbytes
    assert cost(layer, (4, 9, 11)).im2col_bytes == written


def test_workspace_of_a_transposed_convolution():
    layer = nn.ConvTranspose2d(4, 3, 3, stride=2, bias=False)
    assert cost(layer, (4, 5, 7)).im2col_bytes == 4 * 5 * 7 * 3 * 9


def test_a_layer_that_fails_leaves_no_hooks():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="linear"):
        cost(model, (1, 6, 6))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert minicnn.is_grad_enabled()
