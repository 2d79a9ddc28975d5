"""Drawings of the tape."""

import doctest

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, apply, graph
from minicnn.graph import draw, to_dot
from minicnn.ops.elementwise import Neg
from tests.checks import leaf, normal


def test_the_example_in_the_docstring():
    results = doctest.testmod(graph, extraglobs={"minicnn": minicnn})
    assert results.attempted > 0
    assert results.failed == 0


def test_functions_shapes_and_names():
    x, w = leaf(normal(4, 3)), leaf(normal(3, 2))
    text = draw((x @ w).relu(), names={"input": x, "weight": w})
    assert text.splitlines() == [
        "#1 ReLU (4, 2)",
        "  #2 MatMul (4, 2)",
        "    #3 leaf (4, 3) input",
        "    #4 leaf (3, 2) weight",
    ]


def test_inputs_without_gradient_are_constants():
    assert draw(leaf(normal(2)) * 3).splitlines()[1:] == ["  #2 leaf (2,)", "  constant"]


def test_a_shared_node_is_drawn_once():
    x = leaf(np.array(1.0))
    y = x.exp()
    assert draw(y * y).splitlines() == [
        "#1 Mul ()",
        "  #2 Exp ()",
        "    #3 leaf ()",
        "  #2 (drawn above)",
    ]


def test_results_can_have_names_too():
    x = leaf(np.array(1.0))
    hidden = x.exp()
    assert "#2 Exp () hidden" in draw(
        hidden.sum(), names={"hidden": hidden, "constant": Tensor(1.0)}
    )


def test_a_leaf():
    assert draw(leaf(normal(2))) == "#1 leaf (2,)"


def test_sixty_diamonds_are_drawn_in_linear_size():
    y = leaf(np.array(1.0))
    for _ in range(60):
        y = y + y
    assert len(draw(y).splitlines()) == 121
    assert len(to_dot(y)) < 10_000


@pytest.mark.parametrize("drawing", [draw, to_dot])
def test_a_long_chain(drawing):
    y = leaf(np.array(1.0))
    for _ in range(20_000):
        y = apply(Neg(), y)
    text = drawing(y)
    assert text.count("Neg") == 20_000
    assert len(text) < 3_000_000


@pytest.mark.parametrize("drawing", [draw, to_dot])
def test_drawing_does_not_disturb_backward(drawing):
    x = leaf(np.array(2.0))
    y = x * x
    drawing(y)
    y.backward()
    assert x.grad.item() == 4


@pytest.mark.parametrize("drawing", [draw, to_dot])
def test_a_freed_tape(drawing):
    y = leaf(np.array(2.0)).exp()
    y.backward()
    with pytest.raises(RuntimeError, match=r"tape was freed by backward.*Exp.*retain_graph=True"):
        drawing(y)


@pytest.mark.parametrize("drawing", [draw, to_dot])
def test_a_tensor_without_a_tape(drawing):
    with pytest.raises(ValueError, match=r"shape \(1,\) is not on the tape"):
        drawing(Tensor([1.0]))


def test_dot():
    x, w = leaf(normal(2)), leaf(normal(2))
    assert to_dot(x * w, names={"x": x, 'a "w"': w}).splitlines() == [
        "digraph tape {",
        "  rankdir=BT;",
        '  n1 [label="Mul (2,)", shape=box];',
        '  n2 [label="leaf (2,)\\nx", shape=ellipse];',
        '  n3 [label="leaf (2,)\\na \\"w\\"", shape=ellipse];',
        "  n2 -> n1;",
        "  n3 -> n1;",
        "}",
    ]


def test_dot_shows_both_uses_of_one_input():
    x = leaf(normal(2))
    assert to_dot(x + x).count("n2 -> n1;") == 2
