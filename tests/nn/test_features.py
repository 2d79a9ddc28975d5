"""Outputs of layers by name: the layers' own, no further than needed, and nothing is left behind."""

import threading

import numpy as np
import pytest

import minicnn
from minicnn import models, nn


@pytest.fixture
def model():
    """Two convolutions with BatchNorm and ReLU, of which Sequential makes few steps, and a head."""
    body = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()]
    layers = {"body": nn.Sequential(*body, nn.MaxPool2d(2)), "flatten": nn.Flatten()}
    return nn.Sequential({**layers, "fc": nn.Linear(6 * 4, 3)}).eval()


@pytest.fixture
def x():
    return minicnn.randn(2, 1, 8, 8)


def one_by_one(model, x, last):
    """The output of part `last` of the model's body, whose layers are called one after another."""
    for layer in list(model.body)[: last + 1]:
        x = layer(x)
    return x.detach().numpy()


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("place", range(6))
def test_each_layer_of_a_joined_chain_has_its_own_output(model, x, place, recording):
    with minicnn.set_grad_enabled(recording):
        found = model.features_at(f"body.{place}")(x)
    np.testing.assert_allclose(found.detach().numpy(), one_by_one(model, x, place), atol=1e-5)


def test_several_in_one_pass(model, x):
    features = model.features_at("flatten", "body.0", "body")
    with minicnn.no_grad():
        found = features(x)
    assert list(found) == ["flatten", "body.0", "body"]
    assert [output.shape for output in found.values()] == [(2, 24), (2, 4, 6, 6), (2, 6, 2, 2)]
    for place, name in ((0, "body.0"), (5, "body")):  # what came later has not written into it
        np.testing.assert_allclose(found[name].numpy(), one_by_one(model, x, place), atol=1e-5)


def test_the_pass_ends_with_the_last_of_them(model, x):
    class Late(nn.Module):
        def forward(self, x):
            raise AssertionError("was called")

    model.fc = Late()
    assert model.features_at("body.1", "flatten")(x)["flatten"].shape == (2, 24)


def test_no_hooks_stay(model, x):
    features = model.features_at("body.0", "fc")
    features(x)
    with pytest.raises(ValueError, match="channels"):
        features(minicnn.randn(2, 3, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_flow_back_through_features(model, x):
    x.requires_grad_()
    model.features_at("body.3")(x).sum().backward()
    assert x.grad is not None
    assert model.body[0].weight.grad is not None
    assert model.fc.weight.grad is None


def test_mode_is_that_of_the_model(model, x):
    features = model.features_at("body.1")
    assert abs(features(x).detach().numpy().mean()) > 1e-4
    model.train()
    assert abs(features(x).detach().numpy().mean()) < 1e-5
    assert model.body[1].num_batches_tracked.item() == 1


def test_inside_a_residual_block():
    network = models.resnet18(num_classes=3, small_images=True).eval()
    block, x = network.layer1[0], minicnn.randn(2, 3, 8, 8)
    with minicnn.no_grad():
        stem = network[:4](x)
        expected = block.bn1(block.conv1(stem))
        found = network.features_at("layer1.0.bn1", "layer1.0.bn2", "layer1.0")(x)
        np.testing.assert_allclose(found["layer1.0.bn1"].numpy(), expected.numpy(), atol=1e-4)
        expected = nn.functional.relu(found["layer1.0.bn2"] + stem)
        np.testing.assert_allclose(found["layer1.0"].numpy(), expected.numpy(), atol=1e-4)


def test_of_a_layer_called_twice_it_is_the_first_output():
    layer = nn.Linear(2, 2)
    x = minicnn.randn(1, 2)
    found = nn.Sequential(layer, layer, nn.ReLU()).features_at("1", "2")(x)["1"]
    np.testing.assert_array_equal(found.detach().numpy(), layer(x).detach().numpy())


def test_outputs_that_are_no_tensors():
    network = models.unet(channels=(4, 8))
    found = network.features_at("encoder")(minicnn.randn(1, 3, 4, 4))
    assert [output.shape for output in found] == [(1, 4, 4, 4), (1, 8, 2, 2)]


def test_a_hook_that_changes_an_output_comes_first(model, x):
    handle = model.body[2].register_forward_hook(lambda module, inputs, output: output * 0)
    assert not model.features_at("body.2")(x).detach().numpy().any()
    handle.remove()


def test_features_inside_features(model, x):
    """The outer pass ends when its layer is called, though that happens inside of another pass."""

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            self.inner.features_at("fc")(x)
            raise AssertionError("the outer pass goes on")

    assert Around().features_at("inner.flatten")(x).shape == (2, 24)


def test_another_thread_may_call_the_network_meanwhile(model, x):
    outputs = []

    def elsewhere(module, inputs, output):
        if not outputs:
            outputs.append(None)
            thread = threading.Thread(target=lambda: outputs.append(model(x).shape))
            thread.start()
            thread.join()

    handle = model.body.register_forward_hook(elsewhere)
    assert model.features_at("flatten")(x).shape == (2, 24)
    handle.remove()
    assert outputs == [None, (2, 3)]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ((), TypeError, "Sequential.features_at: expected the name of a part at least"),
        (("",), ValueError, "there is no part ''; the parts are body, flatten, fc"),
        (("body", "boddy"), ValueError, "no part 'boddy'; did you mean 'body'"),
        (("fc.weight",), ValueError, "no part 'fc.weight'"),
        ((["body", "fc"],), ValueError, r"names are texts; unpack it with \*"),
    ],
)
def test_names_that_do_not_exist(model, names, error, message):
    with pytest.raises(error, match=message):
        model.features_at(*names)


def test_a_part_that_is_not_called(x):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            return self.used(x)

    with pytest.raises(RuntimeError, match=r"Two.features_at: idle was not called"):
        Two().features_at("used", "idle")(x)


def test_text(model):
    assert repr(model.features_at("body", "fc")) == "Features(Sequential, 'body', 'fc')"
