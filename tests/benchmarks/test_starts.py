import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")
import rows
from agreement import INFERENCE_TOLERANCE, STEP_TOLERANCE, require, worst
from libraries import MINICNN, NCHW, REFERENCE
from networks import NETWORKS
from rows import inference, training_step
from starts import network_in, random_batch

EVERY = {
    "first_cnn": 1,
    "lenet5": 1,
    "lenet5_sigmoid": 1,
    "vgg_like": 1,
    "resnet18": 10,
    "mobilenet": 14,
}
"""Of the convolutions of a network every so manyth is left out in turn."""


def convolutions_of(network) -> dict:
    modules = network.named_modules()
    return {name: m for name, m in modules if "conv" in type(m).__name__.lower()}


def with_a_convolution_of_zeros(mode, name: str):
    """Return what `network_in` does, but its last convolution computes zeros."""
    network = network_in(mode, name)
    *_, last = convolutions_of(network).values()
    with mode.without_recording():
        last.weight.copy_(last.weight * 0)
    return network


@pytest.mark.parametrize("name", EVERY)
def test_outputs_depend_on_convolutions(torch, name):
    network = network_in(NCHW, name).eval()
    images = torch.from_numpy(random_batch(NETWORKS[name], 2)[0])
    with torch.inference_mode():
        outputs = network(images)
        differences = outputs - outputs.mean(0)  # (2, classes)
        for where, convolution in [*convolutions_of(network).items()][:: EVERY[name]]:
            weight = convolution.weight.clone()
            convolution.weight.zero_()
            without = network(images)
            convolution.weight.copy_(weight)
            change = (without - without.mean(0) - differences).norm() / differences.norm()
            assert change > 100 * INFERENCE_TOLERANCE, where


@pytest.mark.parametrize("name", ["first_cnn", "resnet18"])
def test_outputs_keep_their_size(torch, name):
    network = network_in(NCHW, name).eval()
    with torch.inference_mode():
        outputs = network(torch.from_numpy(random_batch(NETWORKS[name], 4)[0]))
    assert 0.1 < outputs.std(0).mean() < 10


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda mode: inference("first_cnn", 1, mode), INFERENCE_TOLERANCE),
        (lambda mode: training_step("first_cnn", mode), STEP_TOLERANCE["first_cnn"]),
    ],
    ids=["inference", "training"],
)
def test_a_convolution_of_zeros_is_caught(monkeypatch, make, tolerance):
    expected = make(REFERENCE).results()
    require({"ours": worst(make(MINICNN).results(), expected)}, tolerance, "a row")
    monkeypatch.setattr(rows, "network_in", with_a_convolution_of_zeros)
    with pytest.raises(ValueError, match="a row: the results of ours"):
        require({"ours": worst(make(MINICNN).results(), expected)}, tolerance, "a row")


def test_images_have_the_variance_of_one():
    images, labels = random_batch(NETWORKS["mlp"], 64)
    assert images.shape == (64, 1, 28, 28)
    assert images.dtype == "float32"
    assert abs(images.var() - 1) < 0.1
    assert labels.shape == (64,)
