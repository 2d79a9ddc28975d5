"""GoogLeNet: counts, Inception blocks, auxiliary heads, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import nn, no_grad
from minicnn.models.googlenet import Branches, GoogLeNetOutputs, Inception, googlenet
from tests.models.checks import (
    check_gradients,
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(googlenet, num_classes=3, aux_logits=False, dropout=0.0, small_images=True)


class LossWithHeads(nn.Module):
    """The paper's sum: the loss of the last layer, and 0.3 times that of each head."""

    def forward(self, outputs, labels):
        last, *heads = (nn.CrossEntropyLoss()(scores, labels) for scores in outputs)
        return last + 0.3 * sum(heads)


@pytest.mark.parametrize(("aux_logits", "expected"), [(True, 13_004_888), (False, 6_624_904)])
def test_number_of_parameters(aux_logits, expected):
    assert count_parameters(partial(googlenet, aux_logits=aux_logits)) == expected


def test_names_of_the_state():
    with without_drawing():
        names = list(googlenet().state_dict())
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert names[:6] == ["conv1.conv.weight", *[f"conv1.bn.{name}" for name in norm]]
    block = [name for name in names if name.startswith("inception3a") and "conv.weight" in name]
    layers = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    assert block == [f"inception3a.{layer}.conv.weight" for layer in layers]
    heads = [f"aux2.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")]
    assert names[-6:] == [*heads, "fc.weight", "fc.bias"]


def test_branches_lie_side_by_side():
    block = Branches({"conv": nn.Conv2d(2, 2, 1)}, {"pool": nn.Identity(), "relu": nn.ReLU()})
    x = images(2, 2, 3, 3)
    expected = np.concatenate([block.conv(x).array, x.relu().array], 1)
    np.testing.assert_array_equal(block(x).array, expected)


def test_channels_of_an_inception_block():
    block = Inception(8, 2, 3, 4, 5, 6, 7)
    assert block(images(2, 8, 5, 5)).shape == (2, 2 + 4 + 6 + 7, 5, 5)


def test_largest_window_of_an_inception_block():
    block = Inception(8, 2, 3, 4, 5, 6, 7, largest=5)
    assert block.branch3[1].conv.kernel_size == (5, 5)
    assert block(images(2, 8, 5, 5)).shape == (2, 19, 5, 5)


def test_shapes_at_the_size_of_the_paper():
    with without_drawing(), no_grad():
        network = googlenet(num_classes=4).eval()
        shapes = []
        for part in (network.maxpool2, network.maxpool3, network.maxpool4, network.inception5b):
            part.register_forward_hook(lambda _, __, y: shapes.append(y.shape[1:]))
        assert network(images(1, 3, 224, 224)).shape == (1, 4)
    assert shapes == [(192, 28, 28), (480, 14, 14), (832, 7, 7), (1024, 7, 7)]


@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(side):
    network = small(in_channels=1).eval()
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_heads_answer_in_training_only():
    network = googlenet(num_classes=3)
    x, labels = images(2, 3, 64, 64), integers(3, 2)
    outputs = network(x)
    assert isinstance(outputs, GoogLeNetOutputs)
    assert [scores.shape for scores in outputs] == [(2, 3)] * 3
    LossWithHeads()(outputs, labels).backward()
    check_gradients(network)
    assert network.eval()(x).shape == (2, 3)


def test_learns():
    check_learns(small(), images(6, 3, 32, 32), integers(3, 6))


def test_learns_with_heads():
    network = small(aux_logits=True, dropout_aux=0.0)
    loss = LossWithHeads()
    check_learns(network, images(6, 3, 32, 32), integers(3, 6), lr=0.02, loss_function=loss)


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 28, 28))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 28, 28))


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="channels"):
        small()(images(1, 1, 64, 64))
