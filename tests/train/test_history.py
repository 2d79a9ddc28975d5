"""A history keeps its numbers, in memory and on disk."""

import json
import math

import pytest

from minicnn.train import History


@pytest.fixture
def history():
    history = History()
    history.append({"loss": 2.0, "accuracy": 0.5})
    history.append({"loss": 1.0, "accuracy": 0.75})
    return history


def test_measures_are_lists_by_name(history):
    assert history["loss"] == [2.0, 1.0]
    assert dict(history) == {"loss": [2.0, 1.0], "accuracy": [0.5, 0.75]}
    assert history.epochs == 2


def test_an_unknown_measure_is_refused_with_the_known_ones(history):
    with pytest.raises(KeyError, match="'val_loss'; it has loss, accuracy"):
        history["val_loss"]


def test_epochs_must_have_the_same_measures(history):
    with pytest.raises(ValueError, match="expected the measures loss, accuracy, got loss"):
        history.append({"loss": 0.5})


def test_a_value_that_is_no_number_leaves_the_history_as_it_was():
    history = History()
    with pytest.raises(ValueError, match="could not convert"):
        history.append({"loss": 1, "accuracy": "x"})
    assert dict(history) == {}


def test_the_text_shows_the_last_epoch(history):
    assert repr(history) == "History(2 epochs; the last: loss=1, accuracy=0.75)"
    assert repr(History()) == "History(0 epochs; the last: none)"


def test_a_history_survives_on_disk(history, tmp_path):
    history.save(tmp_path / "history.json")
    loaded = History.load(tmp_path / "history.json")
    assert dict(loaded) == dict(history)
    assert loaded.epochs == 2


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    history = History()
    history.append({"val_loss": math.nan})
    history.append({"val_loss": math.inf})
    path = tmp_path / "history.json"
    history.save(path)
    assert json.loads(path.read_text()) == {"val_loss": [None, None]}
    assert all(math.isnan(value) for value in History.load(path)["val_loss"])


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"loss": 3}', '{"loss": ["x"]}', '{"a": [1], "b": []}', "\xff"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"history\.json: not a history"):
        History.load(path)
