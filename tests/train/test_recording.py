"""Inference that is replayed gives the same numbers, and leaves nothing behind."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.captured import capture
from minicnn.data import DataLoader, TensorDataset
from minicnn.train import EarlyStopping, evaluate, fit, predict, recording
from minicnn.train.recording import WORTHWHILE, inference_of

LAST_BIT = 1e-6
"""Cross-entropy rounds its last bit by where small arrays lie in memory, replayed or not: it is held to this, relative,
and what networks compute to equal bits."""

MANY = 2 * WORTHWHILE + 1
"""Examples that make more than enough batches of 2, and a last one of 1."""


def network():
    minicnn.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)
    )


def examples(n=MANY):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)).astype("f4"), rng.integers(0, 4, n)


@pytest.fixture
def steps(monkeypatch):
    """The captured steps that are made, with `was_recorded` set when they are released."""
    made = []

    class Watched(type(capture(abs))):
        was_recorded = False

        def release(self):
            self.was_recorded |= self.is_recorded
            super().release()

    def watched(step):
        captured = capture(step)
        captured.__class__ = Watched
        made.append(captured)
        return captured

    monkeypatch.setattr(recording.captured, "capture", watched)
    return made


def all_released(steps):
    """Whether all steps were recorded, and hold no recording any more."""
    return all(step.was_recorded and step._replay is None for step in steps)


class Own(nn.Module):
    """A network with a part of the user's, that counts its calls."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return self.linear(x)


# --- evaluate and predict -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 64, MANY])
def test_replayed_or_not_the_bits_are_the_same(size):
    model, (inputs, labels) = network(), examples()
    found = [
        (predict(model, inputs, size, capture=how), evaluate(model, (inputs, labels), batch_size=size, capture=how))
        for how in (False, True, None)
    ]  # fmt: skip
    for scores, measures in found[1:]:
        np.testing.assert_array_equal(scores, found[0][0])
        assert measures == pytest.approx(found[0][1], rel=LAST_BIT)


def test_many_batches_are_replayed_and_few_are_not(steps):
    model, data = network(), examples()
    for few in (WORTHWHILE - 1, 1):
        predict(model, data[0][:few], 1)
        evaluate(model, (data[0][:few], data[1][:few]), batch_size=1)
    assert steps == []
    predict(model, data[0], 2)
    evaluate(model, data, batch_size=2)
    assert len(steps) == 2
    assert all_released(steps)


def test_loaders_of_unknown_length_are_not_replayed_unless_that_is_wished(steps):
    class Stream:
        def __iter__(self):
            return iter(DataLoader(TensorDataset(*examples()), 2))

    model = network()
    expected = evaluate(model, Stream())
    assert steps == []
    assert evaluate(model, Stream(), capture=True) == pytest.approx(expected, rel=LAST_BIT)
    assert all_released(steps)


def test_parts_of_the_users_are_replayed_only_where_that_is_wished(steps):
    model, (inputs, _) = Own(), examples()
    expected = predict(model, inputs, 2)
    assert len(model.calls) == -(-MANY // 2)
    assert steps == []
    np.testing.assert_array_equal(predict(model, inputs, 2, capture=True), expected)
    assert all_released(steps)


def test_hooks_are_called_for_each_batch(steps):
    model, calls = network(), []
    model[0].register_forward_hook(lambda layer, inputs, output: calls.append(len(output)))
    predict(model, examples()[0], 2)
    assert len(calls) == -(-MANY // 2)
    assert steps == []


def test_other_threads_may_compute_with_the_model_meanwhile():
    model, inputs = network().eval(), examples(20)[0]
    expected, wrong, ends = predict(model, inputs), [], threading.Event()

    def ask():
        while not ends.is_set():
            wrong.append(not np.array_equal(predict(model, inputs), expected))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(30):
            predict(model, examples(20)[0], 5, capture=True)
    finally:
        ends.set()
        thread.join()
    assert wrong
    assert not any(wrong)


def test_the_model_is_what_it_was(steps):
    model = network().train()
    model[1].eval()  # a frozen part
    before = {name: tensor.array.copy() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    predict(model, examples()[0], 2)
    assert all_released(steps)
    assert [part.training for part in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])


def test_a_model_that_is_changed_between_two_calls():
    model, (inputs, labels) = network(), examples()
    for _ in range(3):
        np.testing.assert_array_equal(
            predict(model, inputs, 2), predict(model, inputs, 2, capture=False)
        )
        fit(model, (inputs, labels), epochs=1, progress=False)


def test_lazy_layers_get_their_shapes(steps):
    model = nn.Sequential(nn.LazyLinear(4))
    predict(model, examples()[0], 2)
    assert model[0].weight.shape == (4, 3)
    predict(model, examples()[0], 2)
    assert len(steps) == 1


def test_what_has_no_copies_runs_as_usual(steps):
    model, (inputs, _) = network(), examples()
    expected = predict(model, inputs, 2, capture=False)
    model.lock = threading.Lock()
    np.testing.assert_array_equal(predict(model, inputs, 2), expected)
    assert steps == []


def test_after_an_error_the_memory_is_given_back(steps):
    inputs, labels = examples()
    labels[-1] = 7
    with pytest.raises(ValueError, match="7"):
        evaluate(network(), (inputs, labels), batch_size=2)
    assert len(steps) == 1
    assert all_released(steps)


def test_nothing_waits_for_the_search_for_cycles():
    gc.collect()
    gc.disable()
    try:
        model = network().eval()
        with inference_of(model, WORTHWHILE, None) as infer:
            for _ in range(4):
                infer(Tensor(examples(2)[0]))
            assert infer.is_recorded
            pool = weakref.ref(infer._replay._step._pool)
        assert pool() is None
        is_there = weakref.ref(model)
        del model
        assert is_there() is None
    finally:
        gc.enable()


# --- validation -----------------------------------------------------------------------------------


def mean_score(outputs, targets):
    """A measure that shows each bit of the outputs."""
    return outputs.array.mean(dtype=np.float64)


def fitted(epochs=3, validation=MANY, batch_size=2, **settings):
    """A network after training, and the history."""
    model = network()
    history = fit(
        model, examples(20), examples(validation), epochs=epochs, batch_size=batch_size, seed=0,
        optimizer=optim.SGD(model.parameters(), 0.1, momentum=0.9), metrics={"mean": mean_score},
        progress=False, **settings,
    )  # fmt: skip
    return model, history


@pytest.mark.parametrize("stopping", [None, {"monitor": "loss", "patience": 1, "min_delta": 9}])
def test_replayed_validation_gives_the_same_history_and_weights(steps, stopping):
    found = []
    for how in (False, None):
        early = None if stopping is None else EarlyStopping(**stopping)
        found.append(fitted(capture=how, early_stopping=early))
    (usual, expected), (model, history) = found
    assert history["val_mean"] == expected["val_mean"]
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=LAST_BIT)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.array, usual.state_dict()[name].array)
    assert len(steps) == 2  # the gradients, and the inference
    assert all_released(steps)


@pytest.mark.parametrize(
    ("settings", "captured"),
    [({"epochs": 4}, 2), ({"epochs": 3}, 1), ({"epochs": 4, "capture": False}, 0)],
)
def test_validation_is_replayed_where_all_epochs_together_are_worth_it(steps, settings, captured):
    fitted(validation=WORTHWHILE // 4 * 8, batch_size=8, **settings)
    assert len(steps) == captured


def test_training_releases_both_recordings_when_it_is_interrupted(steps):
    def interrupt(epoch, _):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(callback=interrupt)
    assert len(steps) == 2
    assert all_released(steps)
