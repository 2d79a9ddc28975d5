"""The report of a gradient check: where it went wrong, and the most likely mistake."""

import numpy as np
import pytest

from minicnn import Tensor, apply
from minicnn.gradcheck import gradcheck
from tests.checks import leaf, normal
from tests.test_gradcheck import Wrong, report_of


@pytest.mark.parametrize(
    ("backward", "hint"),
    [
        (lambda g, d: 2 * g * d, "2 times what it should be: the gradient is counted twice"),
        (lambda g, d: g * d / 2, "0.5 times what it should be: a factor of 2 is missing"),
        (lambda g, d: -g * d, "-1 times what it should be: the sign is flipped"),
        (lambda g, d: 12 * g * d, "the division by the 12 elements is missing"),
        (lambda g, d: g * d / 12, "divided by 12 once too often"),
        (lambda g, d: 1.5 * g * d, "1.5 times what it should be: a constant is off"),
        (lambda g, d: None, "zero everywhere: did backward return None"),
        (lambda g, d: 0 * g, "zero everywhere"),
        (lambda g, d: g * d * np.nan, "NaN or infinity"),
        (lambda g, d: (g * d)[::-1], "right values at the wrong places"),
        (lambda g, d: g * d * (np.arange(12) > 2).reshape(3, 4), "zero at the wrong elements"),
        (lambda g, d: g * (d + (np.arange(12) < 3).reshape(3, 4)), "most are right"),
    ],
)
def test_hints(backward, hint):
    report = report_of(backward)
    assert not report
    assert hint in report.inputs[0].hint


def test_the_hint_for_a_transposed_gradient():
    assert "transpose" in report_of(lambda g, d: (g * d).T.copy(), (3, 3)).inputs[0].hint


def test_the_hint_for_a_gradient_of_nothing():
    class Constant(Wrong):
        def forward(self, x):
            self.save(x)
            return np.ones_like(x)

    report = gradcheck(
        lambda x: apply(Constant(lambda g, d: g * d), x), leaf(normal(3)), raise_exception=False
    )
    assert "does not depend on these elements" in report.inputs[0].hint


def test_the_report_names_the_place():
    def one_wrong(grad, derivative):
        result = grad * derivative
        result[1, 2] += 3
        return result

    report = report_of(one_wrong)
    found = report.inputs[0]
    assert (found.wrong, found.compared, found.worst) == (1, 12, (1, 2))
    assert found.analytic == pytest.approx(found.numeric + 3)
    assert "1 of 12 elements wrong" in str(report)
    assert "worst at element (1, 2): expected" in str(report)


@pytest.mark.parametrize("near", [1e-6, 6e-6])  # a step of 6e-6 leads below 0, and to 0
def test_the_hint_for_a_step_out_of_the_domain(near):
    x = leaf(np.array([near, 1.0]))
    report = gradcheck(Tensor.log, x, raise_exception=False)
    found = report.inputs[0]
    assert (found.wrong, found.skipped, found.worst) == (1, 0, (0,))
    assert "choose a smaller eps" in found.hint
    assert gradcheck(Tensor.log, x, eps=1e-10)


def test_an_infinite_gradient_is_reported_without_a_warning():
    report = gradcheck(Tensor.sqrt, leaf(np.array([0.0, 1.0])), raise_exception=False)
    assert "NaN or infinity" in report.inputs[0].hint
