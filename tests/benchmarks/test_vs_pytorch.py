from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")
from rows import network_rows
from timing import Pace
from vs_pytorch import measure

ONCE = Pace(rounds=1, block_seconds=0, least_calls=1)
ROWS = {row.name: row for row in network_rows(quick=True)}


@pytest.mark.parametrize("name", ["step mlp", "inference mlp 1"])
def test_a_row_is_compared_and_timed(name):
    record = measure(ROWS[name], ONCE)
    assert record["milliseconds"].keys() == record["errors"].keys()
    assert min(record["milliseconds"].values()) > 0
    assert record["ratio"]["value"] > 0


def test_a_row_that_computes_something_else_is_not_timed():
    with pytest.raises(ValueError, match="inference mlp 1: the results of minicnn"):
        measure(replace(ROWS["inference mlp 1"], tolerance=1e-12), ONCE)


def test_a_row_that_loses_its_recording_is_not_reported():
    row = ROWS["step mlp"]

    def prepare(mode):
        entry = row.prepare(mode)
        return replace(entry, warm_up=entry.recording.release if mode.captured else None)

    with pytest.raises(ValueError, match="step mlp: minicnn does not run from a recording"):
        measure(replace(row, prepare=prepare), ONCE)
