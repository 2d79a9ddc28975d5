"""What help() shows of builders that hand options on."""

import inspect

import pytest

from minicnn import models
from minicnn.models.options import takes_options_of
from minicnn.nn import init


def target(size, width=3, *, depth=4, **others):
    return size, width, depth, others


def test_options_are_those_with_a_default():
    @takes_options_of(target)
    def builder(classes: int = 10, **options) -> tuple:
        return target(1, **options), classes

    assert str(inspect.signature(builder)) == "(classes: int = 10, *, width=3, depth=4) -> tuple"
    assert builder(5, width=2, extra=6) == ((1, 2, 4, {"extra": 6}), 5)


def test_what_is_given_is_no_option():
    @takes_options_of(target, given=("width",))
    def builder(depth=9, **options):
        return target(1, 2, depth=depth, **options)

    assert str(inspect.signature(builder)) == "(depth=9)"


@pytest.mark.parametrize("name", models.list_models())
def test_every_option_has_a_name(name):
    parameters = inspect.signature(getattr(models, name)).parameters.values()
    assert not [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert "num_classes" in [p.name for p in parameters]


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50_v2", "densenet121", "squeezenet1_0", "lenet5_bn"]
)
def test_options_with_their_defaults_are_understood(name):
    builder = getattr(models, name)
    parameters = inspect.signature(builder).parameters.values()
    with init.without_drawing():
        network = builder(**{parameter.name: parameter.default for parameter in parameters})
        assert str(network) == str(builder())


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "densenet121", "squeezenet1_0", "lenet5_bn"])
def test_the_number_of_classes_comes_first(name):
    with init.without_drawing():
        network = getattr(models, name)(3)
    assert list(network.parameters())[-1].shape == (3,)
