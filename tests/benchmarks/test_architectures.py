"""The tables of docs/10-architectures.md say what the code says."""

import json
from pathlib import Path

import pytest
from architectures import (
    ENTRIES,
    KERAS,
    RESULTS,
    count,
    in_millions,
    keras_table,
    multiply_adds,
    table,
)

from minicnn import models
from minicnn.nn.init import without_drawing

PAGE = Path(__file__).parents[2] / "docs" / "10-architectures.md"
RECORDED = json.loads((RESULTS / "architectures.json").read_text())
QUICK = 3e8
"""Multiply-adds of the networks that are run again here; the others would take minutes."""


def quick_entries():
    return [e for e in ENTRIES if RECORDED["networks"][e.name]["multiply_adds"] < QUICK]


def test_every_network_of_the_registry_has_a_row():
    assert sorted(entry.name for entry in ENTRIES) == sorted(models.list_models())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_numbers_of_parameters(entry):
    with without_drawing():
        network = models.create(entry.name)
    row = RECORDED["networks"][entry.name]
    assert count(network) == (row["parameters"], row["total"])


@pytest.mark.parametrize("entry", quick_entries(), ids=lambda entry: entry.name)
def test_multiply_adds(entry):
    with without_drawing():
        network = models.create(entry.name)
    counted = multiply_adds(entry, network)
    assert counted == RECORDED["networks"][entry.name]["multiply_adds"]


@pytest.mark.parametrize(("name", "options"), KERAS.items(), ids=KERAS)
def test_totals_as_keras_counts(name, options):
    with without_drawing():
        network = models.create(name, **options)
    assert count(network)[1] == RECORDED["keras"][name]


def test_the_page_shows_the_recorded_tables():
    page = PAGE.read_text(encoding="utf-8")
    assert table(RECORDED["networks"]) in page
    assert keras_table(RECORDED["keras"]) in page


@pytest.mark.parametrize(
    ("number", "text"),
    [(218_000, "0.218 M"), (3_456_789, "3.5 M"), (413_812_608, "414 M"), (4.1e9, "4,100 M")],
)
def test_numbers_in_millions(number, text):
    assert in_millions(number) == text


def test_examples_of_the_registry_have_the_shapes_of_the_table():
    shapes = {name: models.example_shape(name) for name in models.list_models()}
    assert shapes == {entry.name: entry.size for entry in ENTRIES}
