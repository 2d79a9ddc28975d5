"""Whose turn it is to compile. Locks are between processes, so a second one takes part."""

import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("fcntl")

from minicnn.kernels.cpu import turns
from minicnn.kernels.cpu.compiled import compiled, on_threads
from minicnn.kernels.cpu.machine_code import MachineCodeFiles
from minicnn.kernels.cpu.turns import BusyError, Turn

OTHER = """
import sys
from pathlib import Path
from minicnn.kernels.cpu.turns import Turn
turn = Turn(Path(sys.argv[1]), sys.argv[2])
print("mine", flush=True)
sys.stdin.readline()
turn.end()
print("yours", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """A function that starts a process which has the turn for a name until it reads a line."""
    processes = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path / "turns.lock"), name],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        processes.append(process)
        assert process.stdout.readline() == "mine\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_one_has_the_turn_and_then_the_other(tmp_path, other):
    process = other("loop")
    file = tmp_path / "turns.lock"
    with pytest.raises(BusyError):
        Turn(file, "loop", 0)
    Turn(file, "another loop", 0).end()
    process.stdin.write("\n")
    assert process.stdout.readline() == "yours\n"
    Turn(file, "loop", 0).end()


def test_a_turn_is_waited_for(tmp_path, other):
    process = other("loop")
    begin = time.monotonic()
    process.stdin.write("\n")
    Turn(tmp_path / "turns.lock", "loop").end()
    assert time.monotonic() - begin < turns.PATIENCE / 2


def test_the_turn_of_a_process_that_was_killed_is_over(tmp_path, other):
    process = other("loop")
    process.kill()
    process.wait()
    Turn(tmp_path / "turns.lock", "loop", 0).end()


def test_patience_has_an_end(tmp_path, other):
    other("loop")
    begin = time.monotonic()
    Turn(tmp_path / "turns.lock", "loop", 0.1).end()
    assert 0.1 <= time.monotonic() - begin < 5


def test_a_turn_can_end_twice_and_be_taken_again(tmp_path):
    for _ in range(2):
        turn = Turn(tmp_path / "folder" / "turns.lock", "loop", 0)
        assert turn.is_locked
        turn.end()
        turn.end()
        assert not turn.is_locked


def test_where_no_file_can_be_it_is_everybodys_turn(tmp_path, other):
    (tmp_path / "file").write_text("")
    turn = Turn(tmp_path / "file" / "turns.lock", "loop", 0)
    assert not turn.is_locked
    turn.end()


def test_without_locks_it_is_everybodys_turn(tmp_path, other, monkeypatch):
    other("loop")
    monkeypatch.setattr(turns, "fcntl", None)
    Turn(tmp_path / "turns.lock", "loop", 0).end()


def add_one(x):
    return x + 1


def test_a_loop_that_another_process_never_finishes_is_compiled_here(tmp_path, other, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(MachineCodeFiles, "may_write", True)
    taken = []

    def turn(file, name, patience):
        other(name)
        taken.append(name)
        return Turn(tmp_path / "turns.lock", name, patience)

    monkeypatch.setattr("minicnn.kernels.cpu.machine_code.Turn", turn)
    loop = compiled(add_one)
    loop.loop._cache.patience = 0.1
    assert loop(np.float64(1)) == 2
    assert len(taken) == 1
    assert MachineCodeFiles._turn is None


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_compiled_for_others_too_is_announced(tmp_path, monkeypatch, is_folder):
    folder = tmp_path / "folder"
    folder.mkdir() if is_folder else folder.write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    monkeypatch.setattr(MachineCodeFiles, "may_write", True)
    announced = []
    monkeypatch.setattr(
        "minicnn.kernels.ahead.before_compiling", lambda: announced.append("compiled")
    )
    with nullcontext() if is_folder else pytest.warns(RuntimeWarning, match="cannot keep"):
        for _ in range(2):  # the second time, it is loaded from the folder
            assert compiled(add_one)(np.float64(1)) == 2
    assert len(announced) == is_folder


def test_a_loop_that_cannot_be_compiled_is_nobodys_turn(tmp_path, monkeypatch):
    from numba.core.errors import TypingError

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(MachineCodeFiles, "may_write", True)

    @on_threads
    def wrong(part, parts, x):
        x.no_such_name()

    with pytest.raises(TypingError):
        wrong(1, np.ones(3))
    assert MachineCodeFiles._turn is None
