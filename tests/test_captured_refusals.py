"""What cannot be replayed runs as usual, and says why."""

import threading
import warnings

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from minicnn.captured import capture
from minicnn.nn import functional as F
from tests.capturing import NETWORKS, assert_same, batches, run, training


def refused(step, data, match):
    """Run a step that cannot be captured; return what it gives, and assert that it says why, once."""
    captured = capture(step)
    with pytest.warns(RuntimeWarning, match=match) as caught:
        found = run(captured, data)
    assert len(caught) == 1
    assert not captured.is_recorded
    return found


def with_extra(extra):
    """A training whose steps also do something else with the loss."""
    model, step = training(NETWORKS["dense"])

    def more(images, labels):
        loss, scores = step(images, labels)
        extra(loss, images)
        return loss, scores

    return model, more


OBSTACLES = {
    "a number is read": lambda loss, x: loss.item(),
    "a tensor is made": lambda loss, x: minicnn.ones(3),
    r"a number is read \(item\(\), if, print\)": lambda loss, x: repr(loss),
    "random numbers": lambda loss, x: minicnn.random.generator().random(),
}


@pytest.mark.parametrize("problem", OBSTACLES)
def test_what_cannot_be_replayed_runs_as_usual_and_says_so(problem):
    data = batches()
    usual, step = with_extra(OBSTACLES[problem])
    expected = run(step, data)
    model, step = with_extra(OBSTACLES[problem])
    assert_same(model, usual, refused(step, data, problem), expected)


def test_numbers_that_slip_past_the_tape_are_noticed():
    def build():
        minicnn.manual_seed(0)
        model = NETWORKS["dense"]()

        def step(images, labels):
            model.zero_grad()
            scores = model(images) * float(np.abs(images.array).mean())
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            return loss, scores

        return model, step

    usual, step = build()
    expected = run(step, batches())
    model, step = build()
    assert_same(model, usual, refused(step, batches(), "gives other numbers"), expected)


def test_arguments_that_are_changed_in_place():
    captured = capture(lambda x: x.mul_(2).sum())
    inputs = [Tensor(x.copy()) for x, _ in batches()]
    captured(inputs[0])
    with pytest.warns(RuntimeWarning, match="changes one of its arguments"):
        captured(inputs[1])
    captured(inputs[2])
    for tensor, (x, _) in zip(inputs[:3], batches(), strict=False):
        np.testing.assert_array_equal(tensor.array, 2 * x)


class Smoothed(nn.Module):
    """A layer that gives its buffer another array in each call."""

    def __init__(self, replace):
        super().__init__()
        self.register_buffer("mean", minicnn.zeros(12))
        self.replace = replace

    def forward(self, x):
        self.replace(self.mean, self.mean * 0.5 + x.mean((0, 1, 2)))
        return self.mean * 1


@pytest.mark.parametrize(
    ("replace", "match"),
    [
        (lambda old, new: setattr(old, "data", new), "another array"),
        (lambda old, new: setattr(old, "array", new.array), "kept outside"),
    ],
    ids=["data", "array"],
)
def test_tensors_that_get_another_array(replace, match):
    model, usual = Smoothed(replace), Smoothed(replace)
    captured = capture(model)
    with pytest.warns(RuntimeWarning, match=match):
        found = [captured(x).numpy() for x, _ in batches()]
    np.testing.assert_array_equal(found, [usual(Tensor(x)).numpy() for x, _ in batches()])


def test_it_must_return_tensors():
    _, step = training(NETWORKS["dense"])
    captured = capture(lambda x, y: (step(x, y)[0], 3))
    captured(*batches()[0])
    with pytest.warns(RuntimeWarning, match="returns something else than tensors"):
        captured(*batches()[0])


def test_an_input_that_wants_a_gradient_runs_as_usual():
    model = NETWORKS["dense"]()
    captured = capture(lambda x: model(x).sum().backward())
    for images, _ in batches():
        x = Tensor(images, requires_grad=True)
        captured(x)
        assert x.grad is not None
    assert not captured.is_recorded


def test_anomaly_mode_runs_as_usual():
    _, step = training(NETWORKS["dense"])
    captured = capture(step)
    with minicnn.detect_anomaly():
        run(captured, batches())
    assert not captured.is_recorded


def test_an_error_in_the_step_leaves_no_capture_in_force():
    def broken(x):
        raise KeyError("mine")

    captured = capture(broken, warm_up=0)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            captured(np.ones(3, np.float32))


def test_only_functions_are_captured():
    with pytest.raises(TypeError, match="expected a function or a module, got int"):
        capture(3)


def test_the_warning_points_at_the_line_that_calls_the_step():
    captured = capture(lambda x: x.sum().item(), warm_up=0)
    with pytest.warns(RuntimeWarning) as caught:
        captured(np.ones(3, np.float32))
    assert caught[0].filename == __file__


def test_arguments_that_are_no_tensors_are_refused_by_place():
    def step(x, phase):
        return x

    with pytest.raises(
        TypeError, match=r"capture: step: argument 1: expected a tensor .*got 'train'"
    ):
        capture(step)(np.ones(3, np.float32), "train")


class Trainer:
    def __init__(self):
        self.double = capture(self.double)

    def double(self, x):
        return x * 2

    @capture
    def triple(self, x):
        return x * 3


def test_methods_are_captured_for_each_object():
    trainer, x = Trainer(), np.ones(3, np.float32)
    for _ in range(3):
        assert trainer.double(x).tolist() == [2, 2, 2]
    assert trainer.double.is_recorded
    with pytest.raises(TypeError, match=r"Trainer\.triple is a method.*__init__: self.triple = "):
        trainer.triple(x)


def test_a_second_thread_that_waited_for_a_failed_recording_warns_no_more():
    reads, waits = threading.Event(), threading.Event()
    captured = capture(lambda x: read_slowly(x), warm_up=0)

    def read_slowly(x):
        reads.set()
        waits.wait(10)
        return x * 2 if x.sum().item() > 0 else x

    def second():
        reads.wait(10)
        threading.Timer(0.2, waits.set).start()
        captured(x)

    x = np.ones(3, np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=captured, args=[x]), threading.Thread(target=second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [warning.category for warning in caught] == [RuntimeWarning]


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm2d(3), nn.StochasticDepth(0.1)])
def test_a_captured_model_in_training_mode_gets_a_hint_once(layer):
    captured, x = capture(nn.Sequential(layer)), np.ones((2, 3, 4, 4), np.float32)
    name = type(layer).__name__
    with pytest.warns(UserWarning, match=rf"training mode, .*{name}.*eval") as caught:
        captured(x)
    assert [warning.filename for warning in caught] == [__file__]
    for _ in range(3):
        captured(x)  # without another one, which would be an error


def test_no_hint_where_training_mode_makes_no_difference_or_is_meant():
    x, norm = np.ones((2, 3, 4, 4), np.float32), nn.BatchNorm2d(3)
    for step in (nn.Conv2d(3, 2, 1), nn.Sequential(norm).eval(), lambda x: norm(x)):
        capture(step)(x)
