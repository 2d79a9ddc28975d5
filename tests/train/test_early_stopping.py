"""Early stopping: when it stops, and which weights remain."""

import math

import numpy as np
import pytest

from minicnn import nn
from minicnn.train import EarlyStopping, History


def run(stopping, values, name="val_loss"):
    """Give one value an epoch; return the epoch of the stop, and the model's weight at the end."""
    model, history = nn.Linear(1, 1), History()
    for epoch, value in enumerate(values, start=1):
        model.weight.array[...] = epoch
        history.append({name: value})
        if stopping.update(history, model):
            break
    stopping.restore(model)
    return history.epochs, model.weight.item()


def test_it_stops_after_patience_epochs_in_vain_and_restores_the_best():
    stopping = EarlyStopping(patience=2)
    assert run(stopping, [3.0, 1.0, 2.0, 1.5, 0.1]) == (4, 2)
    assert (stopping.best, stopping.best_epoch, stopping.bad_epochs) == (1.0, 2, 2)


def test_an_improvement_starts_the_count_again():
    assert run(EarlyStopping(patience=2), [3.0, 4.0, 2.0, 4.0, 1.0]) == (5, 5)


def test_without_restoring_the_last_weights_remain():
    assert run(EarlyStopping(patience=1, restore_best_weights=False), [1.0, 2.0]) == (2, 2)


def test_the_best_weights_are_restored_without_a_stop_too():
    assert run(EarlyStopping(patience=9), [1.0, 2.0, 3.0]) == (3, 1)


def test_a_gain_of_no_more_than_min_delta_is_none():
    assert run(EarlyStopping(patience=2, min_delta=0.5), [2.0, 1.5, 1.5, 0.0]) == (3, 1)


def test_an_accuracy_is_maximised():
    stopping = EarlyStopping("val_accuracy", patience=1)
    assert run(stopping, [0.5, 0.7, 0.6], "val_accuracy") == (3, 2)


def test_the_mode_can_be_given():
    assert run(EarlyStopping("score", patience=1, mode="max"), [1.0, 0.5], "score") == (2, 1)


def test_nan_is_no_improvement():
    assert run(EarlyStopping(patience=2), [math.nan, math.nan, 1.0]) == (2, 2)
    assert run(EarlyStopping(patience=1), [1.0, math.nan]) == (2, 1)


def test_reset_forgets_the_last_run():
    stopping = EarlyStopping(patience=1)
    run(stopping, [0.0, 1.0])
    stopping.reset()
    assert run(stopping, [3.0, 2.0, 1.0]) == (3, 3)


def test_buffers_are_restored_as_well():
    model, history = nn.BatchNorm1d(1), History()
    stopping = EarlyStopping(patience=5)
    for epoch in (1, 2):
        model.running_mean.array[...] = epoch
        history.append({"val_loss": float(epoch)})
        stopping.update(history, model)
    stopping.restore(model)
    np.testing.assert_array_equal(model.running_mean.array, [1])


def test_an_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'val_loss' is not measured; known are loss"):
        run(EarlyStopping(), [1.0], "loss")


@pytest.mark.parametrize(
    "settings", [{"patience": 0}, {"min_delta": -1}, {"min_delta": math.nan}, {"mode": "least"}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        EarlyStopping(**settings)
