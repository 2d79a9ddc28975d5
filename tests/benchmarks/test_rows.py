import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")
from agreement import TOLERANCE, worst
from libraries import CHANNELS_LAST, EXACT, MINICNN, NCHW, REFERENCE
from networks import NETWORKS
from operations import LAYERS, Convolution, convolution, operation_rows
from roofline_kernels import KERNELS
from rows import LEARNING_RATE, Trainer, network_rows, training_step
from starts import network_in, random_batch, weights_of

from minicnn import Tensor


@pytest.mark.parametrize("quick", [False, True])
def test_rows_have_names_of_their_own(quick):
    names = [row.name for row in [*network_rows(quick), *operation_rows()]]
    assert len(set(names)) == len(names)


def test_kernels_have_names_of_their_own_and_something_to_do():
    assert len({kernel.name for kernel in KERNELS}) == len(KERNELS)
    assert all(kernel.flops > 0 and kernel.traffic.moved > 0 for kernel in KERNELS)


@pytest.mark.parametrize("mode", [MINICNN, NCHW, CHANNELS_LAST], ids=lambda mode: mode.name)
def test_what_a_step_changes_agrees(mode):
    reference = training_step("mlp", REFERENCE).results()
    assert worst(training_step("mlp", mode).results(), reference) < 1e-5


def test_the_compared_step_leaves_the_start_behind():
    network = network_in(MINICNN, "mlp")
    trainer = Trainer(MINICNN, network)
    images, labels = random_batch(NETWORKS["mlp"], 2)
    changes = trainer.compared_step(Tensor(images), Tensor(labels), weights_of("mlp"))
    assert min(np.abs(change).max() for change in changes.values()) > 0
    for name, parameter in network.named_parameters():
        np.testing.assert_array_equal(parameter.array, weights_of("mlp")[name])
    assert trainer.optimizer.param_groups[0]["lr"] == LEARNING_RATE


def test_a_compared_step_that_is_no_replay_is_refused():
    trainer = Trainer(MINICNN, network_in(MINICNN, "mlp"))
    trainer.model.register_forward_hook(lambda *_: None)  # a capture refuses hooks
    images, labels = random_batch(NETWORKS["mlp"], 2)
    message = r"minicnn does not run from a recording: .* hooks"
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match=message):
        trainer.compared_step(Tensor(images), Tensor(labels), weights_of("mlp"))


@pytest.mark.parametrize("part", ["forward", "input gradient", "weight gradient"])
def test_kernels_of_a_convolution_agree(part):
    case = Convolution(2, 5, 4, 6, stride=2, groups=2)
    ours, theirs = (convolution(case, part, mode).results() for mode in (MINICNN, REFERENCE))
    assert worst(ours, theirs) < 1e-5


def test_the_arithmetic_of_a_convolution():
    case = Convolution(N=2, H=6, C=4, K=8, size=3, stride=2)
    assert case.output_size == 3
    assert case.flops == 2 * (2 * 3 * 3 * 8) * (4 * 3 * 3)


def test_a_convolution_without_padding():
    case = Convolution(N=2, H=6, C=4, K=8, is_padded=False)
    assert case.output_size == 4
    assert case.title == "3x3 4->8 at 6, no padding, batch 2"


@pytest.mark.parametrize("name", ["conv1d", "conv_transpose_2", "linear_1024_1"])
def test_layers_agree_forward_and_backward(name):
    _, make = LAYERS[name]
    ours, theirs = (make(True, mode).results() for mode in (MINICNN, REFERENCE))
    assert worst(ours, theirs) < TOLERANCE


def test_exact_convolutions_use_no_transforms():
    network = EXACT.module(lambda nn: nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 3)), nn.ReLU()))
    assert network[0][0].precision == "exact"


def test_a_mode_keeps_the_numbers():
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    for mode in (MINICNN, NCHW, CHANNELS_LAST):
        np.testing.assert_array_equal(mode.array(mode.features(array)), array)
        np.testing.assert_array_equal(mode.array(mode.tensor(array)), array)
