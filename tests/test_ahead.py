"""The process that compiles ahead: what it is told, what it does, and that it is never in the way."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import minicnn
from minicnn import ahead, optim
from minicnn.nn.functional.activation import SiLU
from minicnn.ops.function import Function
from minicnn.optim.optimizer import _take_a_step

pytest.importorskip("numba")
pytest.importorskip("fcntl")


class Double(Function):
    """2 x, and what is underway meanwhile."""

    def __init__(self, fails=False):
        self.fails = fails

    def forward(self, x):
        self.seen = ahead.underway
        if self.fails:
            raise ValueError("on purpose")
        return 2 * x

    def backward(self, grad):
        return (2 * grad,)


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A function that starts a helper, with a folder of its own for machine code; it is stopped at the end."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    helpers = []

    def start(program=None, end_seconds=ahead.END_SECONDS, idle_seconds=ahead.IDLE_SECONDS):
        monkeypatch.setattr(ahead, "END_SECONDS", end_seconds)
        monkeypatch.setattr(ahead, "IDLE_SECONDS", idle_seconds)
        if program is not None:
            monkeypatch.setattr(ahead, "PROGRAM", program)
        helpers.append(ahead.Helper())
        monkeypatch.setattr(ahead, "_helper", helpers[-1])
        return helpers[-1]

    yield start
    for one in helpers:
        one.stop()
        assert one._process.returncode is not None


def wait_for(condition, seconds=40):
    """Return once a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_odd_entries_of_the_search_path_are_passed_over(helper, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [tmp_path, *sys.path])  # a Path, which import ignores
    assert helper()._process.args[2] == ahead.PROGRAM.format(path=sys.path[1:])


def test_what_is_being_recorded_is_known_and_not_kept():
    x = minicnn.ones(3, requires_grad=True)
    function = Double()
    minicnn.apply(function, x)
    assert function.seen[0] is function
    assert function.seen[1][0] is x.array
    assert ahead.underway is None
    with pytest.raises(ValueError, match="on purpose"):
        minicnn.apply(Double(fails=True), x)
    assert ahead.underway is None


def test_what_is_not_recorded_is_not_noted():
    function = Double()
    minicnn.apply(function, minicnn.ones(3))
    assert function.seen is None


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3, 4, 5), np.float32),
        np.ones((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2),
        np.ones((2, 3)).T,
        np.ones((0, 3)),
        np.array(1.0),
        np.broadcast_to(np.ones(3), (2, 3)),
        np.arange(4),
    ],
    ids=lambda array: f"{array.shape}-{array.strides}",
)
def test_arrays_arrive_as_zeros_in_the_same_order_of_memory(array):
    got = ahead.unpacked(ahead.packed({"settings": (1, array)}))["settings"][1]
    assert (got.shape, got.dtype) == (array.shape, array.dtype)
    assert not got.any()
    if array.flags.c_contiguous or array.flags.f_contiguous or array.ndim == 4:
        assert got.strides == array.strides


def test_a_message_is_as_small_for_large_arrays():
    assert len(ahead.packed(np.zeros((1000, 1000)))) < 300


def test_the_helper_imports_no_module_of_the_program():
    with pytest.raises(Exception, match="not for the helper"):
        ahead.unpacked(ahead.packed(Double()))


def test_the_way_back_is_compiled(helper, tmp_path):
    process = helper()
    function = SiLU()
    function.needs_grad = (True,)
    process.tell_function(function, [np.zeros((3, 4), np.float32)])
    wait_for(lambda: any("_silu_grad" in file.name for file in tmp_path.glob("kernels/*code")))


@pytest.mark.parametrize(
    "kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop], ids=lambda kind: kind.__name__
)
def test_an_optimizer_of_the_framework_can_take_a_step_ahead(kind):
    defaults = kind([minicnn.ones(2, requires_grad=True)]).defaults
    function, args = ahead.unpacked(
        ahead.packed((_take_a_step, (kind, defaults, np.dtype("float32"))))
    )
    function(*args)


def test_optimizers_are_expected_for_each_dtype(monkeypatch):
    monkeypatch.setattr(ahead, "_expected", [])
    monkeypatch.setattr(ahead, "_may_start", True)
    tensors = [minicnn.ones(2, dtype=t, requires_grad=True) for t in (np.float32, np.float64)]
    optim.SGD(tensors, lr=0.5)
    assert {args[2] for _, args in ahead._expected} == {np.dtype("f4"), np.dtype("f8")}
    for _ in range(10):
        optim.SGD(tensors, lr=0.5)
    assert len(ahead._expected) == ahead.MOST_EXPECTED


def test_functions_that_are_alike_are_told_once(helper, monkeypatch):
    process = helper("import sys; sys.stdin.read()")
    told = []
    monkeypatch.setattr(ahead, "packed", lambda message: told.append(message) or b"")
    for shape in [(2, 3), (2, 3), (2, 4)]:
        process.tell_function(SiLU(), [np.zeros(shape)])
    assert len(told) == 2


def test_what_cannot_be_told_is_left_out(helper):
    process = helper("import sys; sys.stdin.read()")
    function = SiLU()
    process.tell_function(Double(), [np.zeros(2)])  # not the framework's
    process.tell_function(function, [object()])  # an array of a GPU
    huge = np.broadcast_to(np.zeros(1), (ahead.LARGEST_INPUTS,))
    process.tell_function(function, [huge])
    function.setting = lambda: None
    process.tell_function(function, [np.zeros(2)])
    assert process._news.empty()


@pytest.mark.parametrize("program", ["", "raise SystemExit(1)", "import time; time.sleep(100)"])
def test_a_helper_that_does_not_listen_is_no_hindrance(helper, program):
    process = helper(program, end_seconds=0.2)
    begin = time.monotonic()
    for number in range(200):  # more than a pipe holds
        process.tell(print, ("x" * 10_000,), number)
    process.stop()
    assert time.monotonic() - begin < 5


def test_without_news_the_helper_ends(helper):
    process = helper("import sys; sys.stdin.read()", idle_seconds=0.05)
    wait_for(lambda: process._process.returncode is not None)
    wait_for(lambda: ahead._helper is None)


def test_it_is_possible_here(monkeypatch):
    monkeypatch.delenv(ahead.VARIABLE)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
    assert ahead._is_possible()
    for executable in (None, "", "/opt/app/editor"):
        monkeypatch.setattr(sys, "executable", executable)
        assert not ahead._is_possible()
    monkeypatch.setattr(sys, "executable", "C:/Python.exe")
    assert ahead._is_possible()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not ahead._is_possible()
    monkeypatch.setattr(sys, "frozen", False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert not ahead._is_possible()


def test_the_variable_switches_it_off(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    for value, is_on in [("0", False), ("1", True)]:
        monkeypatch.setenv(ahead.VARIABLE, value)
        assert ahead._is_possible() == is_on


def test_it_is_tried_once_and_only_for_what_is_recorded(monkeypatch):
    started = []

    def start():
        started.append(1)
        raise OSError("no memory")

    monkeypatch.setattr(ahead, "Helper", start)
    monkeypatch.setattr(ahead, "_is_possible", lambda: True)
    monkeypatch.setattr(ahead, "_may_start", True)
    monkeypatch.setattr(ahead, "_expected", [])
    ahead._before_compiling()
    assert not started
    ahead.begin(Double(), [np.ones(2)])
    for _ in range(2):
        ahead._before_compiling()
    ahead.underway = None
    assert started == [1]
    assert ahead._helper is None


def test_another_thread_may_finish_its_function_while_the_helper_starts(monkeypatch):
    told = []

    class Starting:
        def __init__(self):
            ahead.underway = ahead._helper = None  # other threads are at work

        def tell_function(self, function, arrays):
            told.append(function)

    monkeypatch.setattr(ahead, "Helper", Starting)
    monkeypatch.setattr(ahead, "_helper", None)
    monkeypatch.setattr(ahead, "_is_possible", lambda: True)
    monkeypatch.setattr(ahead, "_may_start", True)
    monkeypatch.setattr(ahead, "_expected", [])
    function = Double()
    monkeypatch.setattr(ahead, "underway", (function, []))
    ahead._before_compiling()
    assert told == [function]


PROGRAM = """
import os, sys
import numpy as np
import minicnn
from minicnn import ahead, nn, optim

minicnn.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
x = minicnn.from_numpy(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6))
loss = nn.functional.cross_entropy(model(x), minicnn.from_numpy(np.arange(4) % 3))
if {fork}:
    child = os.fork()
    if not child:
        assert ahead._helper is None
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
loss.backward()
optimizer.step()
assert all(np.isfinite(p.array).all() for p in model.parameters())
print(ahead._may_start, loss.item().hex())
"""


def run(folder, fork=False, **environment):
    """Run the program; return what it prints."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c"]
    done = subprocess.run(
        [*command, PROGRAM.format(fork=fork)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_a_program_computes_the_same_and_says_nothing(tmp_path):
    started, loss = run(tmp_path, **{ahead.VARIABLE: "1"})
    assert started == "False"
    # All that is left in the folder is whole.
    assert {file.suffix for file in (tmp_path / "kernels").iterdir()} == {".machinecode"}
    # With all machine code ready, nothing is started.
    assert run(tmp_path, **{ahead.VARIABLE: "1"}) == ["True", loss]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_leaves_the_helper_to_its_parent(tmp_path):
    run(tmp_path, fork=True, NUMBA_NUM_THREADS="1", **{ahead.VARIABLE: "1"})
