"""The models: parameter counts, shapes, gradients that reach everything, a loss that falls."""

from functools import partial

import pytest

import minicnn
from minicnn import models
from minicnn.models.blocks import conv_norm
from tests.models.checks import check_learns, count_parameters, images, integers

COUNTS = {
    "mlp": 218_058,
    "first_cnn": 25_034,
    "bigger_cnn": 437_026,
    "pointwise_cnn": 103_518,
    "separable_cnn": 39_914,
    "lenet5": 61_706,
}


def shared_names():
    return [name for name in models.list_models() if name in COUNTS or name == "lenet5_bn"]


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_number_of_parameters(name, expected):
    assert count_parameters(partial(models.create, name), statistics=True) == expected


def test_number_of_parameters_for_one_output():
    one_output = partial(models.first_cnn, num_classes=1)
    assert count_parameters(one_output, statistics=True) == 24_449
    with_statistics = count_parameters(models.bigger_cnn, statistics=True)
    assert with_statistics - count_parameters(models.bigger_cnn) == 112


def test_pointwise_convolution_saves_parameters():
    without = partial(models.pointwise_cnn, reduced=None)
    assert count_parameters(without) == 135_998
    assert without().eval()(minicnn.rand(2, 1, 28, 28)).shape == (2, 10)


def test_separable_convolutions_have_an_eighth_of_the_parameters(monkeypatch):
    separable = count_parameters(models.separable_cnn)
    monkeypatch.setattr("minicnn.models.course.separable_conv", conv_norm)
    assert (separable, count_parameters(models.separable_cnn)) == (38_314, 292_666)


@pytest.mark.parametrize("name", shared_names())
@pytest.mark.parametrize("classes", [10, 1])
def test_output_shape(name, classes):
    network = models.create(name, num_classes=classes).eval()
    for n in (1, 3, 0):
        assert network(minicnn.rand(n, 1, 28, 28)).shape == (n, classes)


def test_lenet5_takes_larger_images_and_colours():
    assert models.lenet5(in_channels=3, padding=0)(minicnn.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", shared_names())
def test_learns_and_every_parameter_gets_a_gradient(name):
    check_learns(models.create(name), images(8, 1, 28, 28), integers(10, 8), lr=0.1, steps=8)


@pytest.mark.parametrize("name", shared_names())
def test_errors_name_the_layer(name):
    with pytest.raises(ValueError, match="expected") as caught:
        models.create(name)(minicnn.rand(4, 3, 20, 20))
    assert any(note.startswith("in ") for note in caught.value.__notes__)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"unknown model 'enigma'; known are mlp"):
        models.create("enigma")


def test_a_mistyped_name_is_answered_with_those_like_it():
    with pytest.raises(ValueError, match=r"did you mean 'resnet18' or"):
        models.create("ResNet-18")


@pytest.mark.parametrize("option", ["pretrained", "weights"])
def test_weights_are_no_option(option):
    with pytest.raises(TypeError, match=rf"resnet18 has no option '{option}'.*load_weights"):
        models.create("resnet18", **{option: True})


def test_unknown_options_are_answered_with_the_known_ones():
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'") as caught:
        models.create("resnet18", colour=1)
    (note,) = caught.value.__notes__
    assert note.startswith("models.create: the options of resnet18 are num_classes, in_channels, ")
    network = models.create("resnet50", width_per_group=8, num_classes=1)  # which few need to know
    assert network.layer1[0].conv1.out_channels == 8
