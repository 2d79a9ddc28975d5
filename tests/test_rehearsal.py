"""A recording is tried in hardly more memory than a step takes, and what the trial has touched is as it was."""

import contextlib

import numpy as np
import pytest

import minicnn
from minicnn import nn, no_grad, optim
from minicnn.captured import capture
from minicnn.kernels import memory
from minicnn.nn import functional as F

RECORDED, TRIED = 1, 2
"""The calls in which a step is recorded, and in which its recording is tried."""

LARGE = 512
"""So many features that their weights, of 1 MiB, have places in an arena."""


def batches(count=6, features=LARGE):
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal((4, features)).astype(np.float32), rng.integers(0, 8, 4))
        for _ in range(count)
    ]


class Training:
    """A network of large parameters, its optimizer, and a step with something extra before and after backward.

    Attributes:
        factor: a number that a recording takes for constant.
    """

    factor = 1.0

    def __init__(self, before=None, after=None):
        minicnn.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(LARGE, LARGE), nn.ReLU(), nn.Linear(LARGE, 8))
        self.weight = self.model[0].weight
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.before = before or (lambda training, x, y: training.optimizer.zero_grad())
        self.after = after or (lambda training: None)

    def step(self, x, y):
        self.before(self, x, y)
        loss = F.cross_entropy(self.model(x) * self.factor, y)
        loss.backward()
        self.after(self)
        self.optimizer.step()
        return loss


def both_ways(before=None, after=None, problem=None):
    """Assert that losses, parameters and gradients are those of the usual way; return the captured step.

    Args:
        before: called at the beginning of the step, with (training, x, y).
        after: called between backward and the optimizer's step.
        problem: what the warning says if the step is not to be captured.
    """
    usual, training = Training(before, after), Training(before, after)
    captured = capture(training.step)
    for number, (x, y) in enumerate(batches()):
        expected = usual.step(minicnn.tensor(x), minicnn.tensor(y)).item()
        with warning(problem if number == TRIED else None):
            assert captured(x, y).item() == expected, f"loss {number}"
        for mine, other in zip(training.model.parameters(), usual.model.parameters(), strict=True):
            np.testing.assert_array_equal(mine.array, other.array, err_msg=f"batch {number}")
            np.testing.assert_array_equal(mine.grad.array, other.grad.array)
    assert captured.is_recorded == (problem is None)
    return captured


def warning(problem):
    """Expect that the step is not captured, and why; nothing for None."""
    if problem is None:
        return contextlib.nullcontext()
    return pytest.warns(RuntimeWarning, match=problem)


def when(value, act):
    """An extra that acts for batches of which the first label is odd or even, unseen by the recording."""
    return lambda training, x, y: act(training) if y.array[0] % 2 == value else None


def labels_like(monkeypatch, odd_from):
    """Let the first label be even before a batch, and odd from it on."""
    data = batches()
    for number, (_, y) in enumerate(data):
        y[0] = int(number >= odd_from)
    monkeypatch.setitem(globals(), "batches", lambda: data)


# --- memory ---------------------------------------------------------------------------------------


def test_neither_parameters_nor_gradients_are_copied(monkeypatch):
    training, data, sizes = Training(), batches(), []
    captured = capture(training.step)
    for x, y in data[:TRIED]:
        captured(x, y)
    original = memory.copy_of
    monkeypatch.setattr(
        memory, "copy_of", lambda array: sizes.append(array.nbytes) or original(array)
    )
    captured(*data[TRIED])
    assert captured.is_recorded
    assert sum(sizes) < training.weight.array.nbytes // 8


def test_new_gradients_lie_where_the_earlier_ones_did():
    lent = []

    def note(training):
        lent.append(captured._replay and captured._replay._step.lent())

    training = Training(after=note)
    captured = capture(training.step)
    data = batches()
    for x, y in data[:TRIED]:
        captured(x, y)
    after_recording = captured._replay._step.lent()
    captured(*data[TRIED])
    assert len(lent) == TRIED + 1  # in the trial
    assert lent[TRIED] < after_recording + training.weight.array.nbytes // 2


def test_what_the_gradients_of_the_last_usual_step_lay_in_is_given_back_when_a_step_is_recorded():
    reserved = []
    training = Training(after=lambda _: reserved.append(memory._common._large.reserved))
    captured = capture(training.step)
    for x, y in batches()[:TRIED]:
        captured(x, y)
    assert reserved[0] > 0
    assert reserved[RECORDED] == 0


# --- gradients of the step before -----------------------------------------------------------------


def test_a_step_that_adds_gradients_up_is_captured():
    both_ways(before=lambda training, x, y: None)


@pytest.mark.parametrize("value", [0, 1], ids=["when recorded", "from the trial on"])
def test_gradients_that_are_added_up_for_some_batches_only(monkeypatch, value):
    labels_like(monkeypatch, odd_from=TRIED)
    forget = when(value, lambda training: training.optimizer.zero_grad())
    both_ways(before=forget, problem="gives other numbers")


def test_gradients_that_a_step_reads_before_it_forgets_them_are_still_there_when_it_begins_anew():
    seen = []

    def look(training, x, y):
        seen.append(None if training.weight.grad is None else training.weight.grad.array.copy())
        training.optimizer.zero_grad()
        training.factor = float(np.abs(x.array).max())

    training = Training(before=look)
    captured = capture(training.step)
    data = batches()
    for x, y in data[:TRIED]:
        captured(x, y)
    left = training.weight.grad.array.copy()
    with pytest.warns(RuntimeWarning, match="gives other numbers"):
        captured(*data[TRIED])
    for numbers in seen[TRIED:]:  # in the trial, and when the step began anew
        np.testing.assert_array_equal(numbers, left)
    assert len(seen) == TRIED + 2


def test_a_step_that_fails_when_it_is_tried_has_forgotten_its_gradients_and_can_go_on():
    usual, training = Training(), Training()
    captured = capture(training.step)
    for number, (x, y) in enumerate(batches()):
        if number == TRIED:
            with pytest.raises(ValueError, match="is not a class"):
                captured(x, np.array([0, 1, 8, 0]))
            assert training.weight.grad is None
        loss = usual.step(minicnn.tensor(x), minicnn.tensor(y))
        assert captured(x, y).item() == loss.item()
    assert captured.is_recorded


@pytest.mark.parametrize("set_to_none", [True, False])
def test_an_error_leaves_all_as_the_step_has_left_it(set_to_none):
    """Running statistics have moved by then, random numbers are drawn, gradients are forgotten or zeros."""
    found = []
    for wrap in (lambda step: lambda *inputs: step(*map(minicnn.tensor, inputs)), capture):
        minicnn.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm1d(LARGE), nn.Dropout(0.5), nn.Linear(LARGE, 8))
        optimizer = optim.SGD(model.parameters(), lr=0.05)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad(set_to_none)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        wrapped, results = wrap(step), []
        for number, (x, y) in enumerate(batches()):
            if number == TRIED:
                with pytest.raises(ValueError, match="is not a class"):
                    wrapped(x, np.array([0, 1, 8, 0]))
                grads = [p.grad for p in model.parameters()]
                assert all(
                    type(grad) is (type(None) if set_to_none else minicnn.Tensor) for grad in grads
                )
                results += [grad.array.copy() for grad in grads if grad is not None]
            results.append(wrapped(x, y).item())
            results += [tensor.array.copy() for tensor in model.state_dict().values()]
        found.append(results)
    assert wrapped.is_recorded
    for usual, captured in zip(*found, strict=True):
        np.testing.assert_array_equal(captured, usual)


def test_an_error_may_hold_what_lies_where_the_earlier_gradients_were():
    made = []

    def fail(training, x, y):
        training.optimizer.zero_grad()
        made.append(1)
        if len(made) == TRIED + 1:
            weight = training.weight
            tensors = [weight.relu() for _ in range(4)]  # the traceback holds them
            raise RuntimeError(f"made {len(tensors)} tensors")

    usual, training = Training(), Training(before=fail)
    captured = capture(training.step)
    data = batches()
    for x, y in data[:TRIED]:
        captured(x, y)
        usual.step(minicnn.tensor(x), minicnn.tensor(y))
    with pytest.raises(RuntimeError, match="made 4 tensors") as held:
        captured(*data[TRIED])
    for x, y in data:
        loss = usual.step(minicnn.tensor(x), minicnn.tensor(y))
        assert captured(x, y).item() == loss.item()
        np.testing.assert_array_equal(training.weight.grad.array, usual.weight.grad.array)
    assert held.traceback
    assert captured.is_recorded


def test_a_gradient_that_is_kept_in_the_trial_stays_what_it_is():
    kept = []
    training = Training(
        after=lambda training: kept.append(training.weight.grad) if len(kept) < 4 else None
    )
    usual, captured = Training(), capture(training.step)
    expected = []
    for number, (x, y) in enumerate(batches()):
        with warning("kept outside" if number == TRIED else None):
            captured(x, y)
        usual.step(minicnn.tensor(x), minicnn.tensor(y))
        expected.append(usual.weight.grad.array)
    np.testing.assert_array_equal(kept[TRIED].array, expected[TRIED])
    np.testing.assert_array_equal(training.weight.array, usual.weight.array)


# --- what there is no copy of ---------------------------------------------------------------------


def shrink_array(training):
    training.weight.array[...] *= np.float32(0.5)


def test_parameters_that_change_unseen_when_a_recording_is_tried(monkeypatch):
    labels_like(monkeypatch, odd_from=TRIED)
    both_ways(before=lambda t, x, y: (t.optimizer.zero_grad(), when(1, shrink_array)(t, x, y)),
              problem="changes a parameter or an argument")  # fmt: skip


def test_parameters_that_each_step_changes_before_the_optimizer_are_captured():
    def decay(training):
        with no_grad():
            training.weight.mul_(0.9)

    both_ways(after=decay)


def test_arguments_that_change_unseen_when_a_recording_is_tried():
    def halve(training, x, y):
        training.optimizer.zero_grad()
        if y.array[0] == 1:
            x.array[...] *= np.float32(0.5)

    training, data = Training(before=halve), batches()
    for number, (_, y) in enumerate(data):
        y[0] = int(number == TRIED)
    captured = capture(training.step)
    before = data[TRIED][0].copy()
    for number, (x, y) in enumerate(data):
        with warning("changes a parameter or an argument" if number == TRIED else None):
            captured(x, y)
    np.testing.assert_array_equal(data[TRIED][0], before * np.float32(0.5))  # once, not twice


def test_a_step_without_an_optimizer_is_tried_to_its_end():
    minicnn.manual_seed(0)
    model = nn.Linear(LARGE, 8)
    weights = []

    def step(x):
        loss = (model(x) * model(x)).mean()
        with no_grad():
            model.zero_grad()
        loss.backward()
        with no_grad():
            model.weight.sub_(model.weight.grad * 0.1)
        return loss

    captured = capture(step)
    for wrapped in (lambda x: step(minicnn.tensor(x)), captured):
        minicnn.manual_seed(0)
        model.reset_parameters()
        losses = [wrapped(x).item() for x, _ in batches()]
        weights.append((losses, model.weight.array.copy()))
    assert captured.is_recorded
    assert weights[0][0] == weights[1][0]
    np.testing.assert_array_equal(weights[0][1], weights[1][1])
