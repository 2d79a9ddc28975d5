"""Who decides how convolutions round: the call, the block, or the program."""

import threading

import numpy as np
import pytest

import minicnn.nn.functional as F
from minicnn import Tensor, kernels
from minicnn.nn.functional.precision import precision, precision_in_force


@pytest.fixture(autouse=True)
def fast_again():
    yield
    precision("fast")


@pytest.fixture
def asked(monkeypatch):
    """Which precision each kernel is asked for, in the order of the calls."""
    calls = []

    def note(name):
        function = getattr(kernels, name)

        def noting(*args):
            calls.append((name, args[8 if name != "conv2d" else 7]))
            return function(*args)

        monkeypatch.setattr(kernels, name, noting)

    for name in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight"):
        note(name)
    return calls


def arrays(requires_grad=False):
    rng = np.random.default_rng(0)
    shapes = (2, 3, 6, 6), (4, 3, 3, 3)
    return [Tensor(rng.standard_normal(shape), requires_grad=requires_grad) for shape in shapes]


def test_fast_holds_without_a_word():
    assert precision_in_force() == "fast"


def test_a_call_holds_from_then_on():
    precision("exact")
    assert precision_in_force() == "exact"
    precision("fast")
    assert precision_in_force() == "fast"


def test_a_block_holds_inside_only():
    with precision("exact"):
        assert precision_in_force() == "exact"
        with precision("fast"):
            assert precision_in_force() == "fast"
        assert precision_in_force() == "exact"
    assert precision_in_force() == "fast"


def test_a_block_ends_with_an_exception():
    with pytest.raises(KeyError), precision("exact"):
        raise KeyError
    assert precision_in_force() == "fast"


def test_a_block_may_be_entered_a_second_time():
    block = precision("exact")
    for _ in range(2):
        with block:
            assert precision_in_force() == "exact"
        assert precision_in_force() == "fast"


@pytest.mark.parametrize("name", ["exactly", "", None, 1])
def test_another_name_is_refused_and_changes_nothing(name):
    with pytest.raises(ValueError, match=r'precision: expected "fast", "exact" or "tf32", got'):
        precision(name)
    assert precision_in_force() == "fast"


def test_each_thread_decides_for_itself():
    seen = []

    def elsewhere():
        seen.append(precision_in_force())
        precision("fast")

    with precision("exact"):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert precision_in_force() == "exact"
    assert seen == ["fast"]


def test_a_convolution_follows_the_block(asked):
    x, w = arrays()
    F.conv2d(x, w)
    with precision("exact"):
        F.conv2d(x, w)
    assert asked == [("conv2d", "fast"), ("conv2d", "exact")]


def test_a_call_overrides_the_block(asked):
    x, w = arrays()
    F.conv2d(x, w, precision="exact")
    with precision("exact"):
        F.conv2d(x, w, precision="fast")
    assert asked == [("conv2d", "exact"), ("conv2d", "fast")]


def test_backward_keeps_the_precision_of_forward(asked):
    x, w = arrays(requires_grad=True)
    with precision("exact"):
        y = F.conv2d(x, w)
    y.sum().backward()
    assert sorted(asked) == [
        ("conv2d", "exact"),
        ("conv2d_grad_input", "exact"),
        ("conv2d_grad_weight", "exact"),
    ]


def test_a_transposed_convolution_keeps_it_too(asked):
    rng = np.random.default_rng(0)
    x, w = (
        Tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3, 4, 4), (3, 5, 3, 3))
    )
    with precision("exact"):
        y = F.conv_transpose2d(x, w)
    y.sum().backward()
    assert {precision for _, precision in asked} == {"exact"}
    assert len(asked) == 3


def test_a_convolution_of_sequences_follows_the_block(asked):
    rng = np.random.default_rng(0)
    x, w = (Tensor(rng.standard_normal(shape)) for shape in ((2, 3, 8), (4, 3, 3)))
    with precision("exact"):
        F.conv1d(x, w)
    F.conv1d(x, w, precision="exact")
    F.conv1d(x, w)
    assert [precision for _, precision in asked] == ["exact", "exact", "fast"]


def test_an_unknown_precision_of_a_call_is_refused():
    x, w = arrays()
    with pytest.raises(
        ValueError, match='precision: expected "fast", "exact" or "tf32", got \'best\''
    ):
        F.conv2d(x, w, precision="best")
