"""A second process compiles the way back of a training step while this one compiles the way forward.

The first training step of a new network on a machine takes its time to compile, and most of a
machine is idle meanwhile. But as soon as a function of the network is called, it is known what its
gradient will need. So, when the first loop has to be compiled, a process is started and is told each
function that is recorded on the tape: its class and settings, and the shapes of its inputs. There
the function is called with zeros, forwards and backwards. Forwards, it passes its loops over;
backwards, loops are compiled and not run, and what another process is compiling is left to it. The
machine code goes to the folder where this process looks for it (kernels/cpu/machine_code.py), so that
nothing has to be sent back, and nothing depends on whether that process exists: what it has not
compiled, this one compiles.

It is started once, and only where there are a second core and a folder with locks for files; programs
that record nothing, and those that find all machine code ready, never start it. It ends with this
process, or after some seconds without news. MINICNN_COMPILE_AHEAD=0 switches it off.
"""

import atexit
import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minicnn.kernels import ahead as kernels_ahead

VARIABLE = "MINICNN_COMPILE_AHEAD"

IDLE_SECONDS = 10.0
"""So long without news, and the process is sent away: the first training step is over."""

END_SECONDS = 2.0
"""So long it may take to go; it is stopped then."""

LARGEST_INPUTS = 2**28
"""Bytes of the inputs of functions that are told; larger ones might take the memory that the training needs."""

MOST_EXPECTED = 4
"""Calls that are remembered until there is somebody to tell them to."""

KNOWN_PACKAGES = {"minicnn", "numpy", "builtins", "collections", "copyreg"}
"""Where the helper takes classes from; to import a user's module could do what should be done once."""

SIZE_BYTES = 8
"""Each message begins with its length."""

PROGRAM = "import sys; sys.path[:] = {path!r}; from minicnn.ahead import serve; serve()"

underway: tuple[Any, list] | None = None
"""The function that is being computed and recorded, with its inputs: if a loop has to be compiled, this is why. None
when it has been computed, see `minicnn.apply`."""

_helper: "Helper | None" = None
_may_start = True
_expected: list[tuple[Callable, tuple]] = []


def begin(function: Any, arrays: list[np.ndarray | None]) -> None:
    """Note that a function is going to be computed on arrays, and recorded.

    Args:
        function: a `Function`, before its forward is called.
        arrays: the arguments of its forward.
    """
    global underway
    underway = function, arrays
    if _helper is not None:
        _helper.tell_function(function, arrays)


def expect(function: Callable, *args: Any) -> None:
    """Note that the program is going to need what `function(*args)` compiles.

    Args:
        function: of one of the framework's modules.
        args: what can be pickled.
    """
    if _may_start:
        _expected.append((function, args))
        del _expected[:-MOST_EXPECTED]


def _before_compiling() -> None:
    """Start the helper, if there is something to tell."""
    global _helper, _may_start
    if underway is None or not _may_start:
        return
    _may_start = False  # once is enough, whatever comes of it
    if not _is_possible():
        return
    with suppress(OSError, ValueError):  # no memory for a process, or no files left
        _helper = Helper()
        _helper.tell_function(*underway)
        for function, args in _expected:
            _helper.tell(function, args, (function, str(args)))
    _expected.clear()


def _is_possible() -> bool:
    """Whether the helper may be started, and would help."""
    executable = Path(sys.executable or "").name.lower()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        os.environ.get(VARIABLE, "1") != "0"
        and (cores or 1) > 1
        # Another program that Python is a part of would not do what the helper is to do.
        and executable.startswith("python")
        and not getattr(sys, "frozen", False)
    )


class Helper:
    """The process, seen from the one that it helps, which never waits for it: a thread talks to it.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self) -> None:
        self._told: set = set()
        self._news: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(path=sys.path)],
            env={**os.environ, VARIABLE: "0", "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._talk, daemon=True, name="minicnn.ahead")
        self._thread.start()
        atexit.register(self.stop)

    def tell_function(self, function: Any, arrays: list[np.ndarray | None]) -> None:
        """Tell a function of the framework's own, one of all that are alike."""
        kind = type(function)
        if not kind.__module__.startswith("minicnn."):
            return  # to find others' classes would be to import their modules, or run their programs
        given = [array for array in arrays if array is not None]
        if any(type(array) is not np.ndarray for array in given):
            return  # on a GPU
        if sum(array.nbytes for array in given) > LARGEST_INPUTS:
            return
        shapes = tuple([None if array is None else (array.shape, array.dtype) for array in arrays])
        self.tell(_both_ways, (function, arrays), (kind, function.needs_grad, shapes))

    def tell(self, function: Callable, args: tuple, key: Any) -> None:
        """Let the process call `function(*args)`, if nothing with an equal key has been told before."""
        if key in self._told:
            return
        self._told.add(key)
        # Settings may be of any kind. What cannot be told is compiled here.
        with suppress(Exception):
            self._news.put(packed((function, args)))

    def _talk(self) -> None:
        """Pass messages on until there are none for some time, and then end the process."""
        with suppress(queue.Empty, OSError):
            while (message := self._news.get(timeout=IDLE_SECONDS)) is not None:
                rest = memoryview(len(message).to_bytes(SIZE_BYTES, "little") + message)
                while rest:
                    rest = rest[self._process.stdin.write(rest) :]
        _forget(self)
        self._process.stdin.close()  # which the process notices, and ends
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End the process, and return when it is gone."""
        self._news.put(None)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():  # the process does not read what it is told
            self._process.kill()
            self._thread.join()

    def leave_to_parent(self) -> None:
        """Called after a fork, in the child: the process is not the child's, and its thread is not there."""
        atexit.unregister(self.stop)
        self._process.stdin.close()
        self._process.returncode = 0  # it is not the child that has to wait for it


def _forget(helper: Helper) -> None:
    """Tell a helper nothing more."""
    global _helper
    if _helper is helper:
        _helper = None


def _after_fork() -> None:
    """Called in the child."""
    global _helper, _may_start
    _may_start = False
    if _helper is not None:
        _helper.leave_to_parent()
        _helper = None


class _Packer(pickle.Pickler):
    """Packs arrays as their shapes, dtypes, and axes in the order of memory."""

    def persistent_id(self, thing: Any) -> tuple | None:
        """What stands for an array."""
        if type(thing) is not np.ndarray:
            return None
        order = np.argsort([-abs(stride) for stride in thing.strides], kind="stable")
        return thing.shape, thing.dtype, order.tolist()


class _Unpacker(pickle.Unpickler):
    """Makes arrays of zeros, and imports nothing that belongs to the program."""

    def find_class(self, module: str, name: str) -> Any:
        """A class or function of the framework, or of what it stands on."""
        if module.partition(".")[0] not in KNOWN_PACKAGES:
            raise pickle.UnpicklingError(f"{module}.{name} is not for the helper")
        return super().find_class(module, name)

    def persistent_load(self, pid: tuple) -> np.ndarray:
        """An array of such a shape."""
        shape, dtype, order = pid
        memory = np.zeros([shape[axis] for axis in order], dtype)
        return memory.transpose(np.argsort(order))


def packed(thing: Any) -> bytes:
    """Return `thing` as bytes, without the numbers in its arrays."""
    file = io.BytesIO()
    _Packer(file).dump(thing)
    return file.getvalue()


def unpacked(content: bytes) -> Any:
    """Return what was packed, with zeros for numbers."""
    return _Unpacker(io.BytesIO(content)).load()


# --- In the helper --------------------------------------------------------------------------------


def serve() -> None:
    """Do what standard input says, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    warnings.simplefilter("ignore")
    kernels_ahead.loops_are_only_compiled = True
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, messages), daemon=True).start()
    while True:
        # What fails here fails there again, or need not: loops have not run, and numbers are zeros.
        with suppress(Exception), np.errstate(all="ignore"):
            function, args = unpacked(messages.get())
            function(*args)


def _listen(stream: BinaryIO, messages: "queue.SimpleQueue[bytes]") -> None:
    """Pass on what is said; end the process when nobody is there any more, whatever it is doing."""
    while size := stream.read(SIZE_BYTES):
        messages.put(stream.read(int.from_bytes(size, "little")))
    with kernels_ahead.writing:
        os._exit(0)


def _both_ways(function: Any, arrays: list[np.ndarray | None]) -> None:
    """Call a function forwards, without loops, which the program itself is calling; and backwards."""
    kernels_ahead.loops_are_left_out = True
    try:
        output = np.asarray(function.forward(*arrays))
    finally:
        kernels_ahead.loops_are_left_out = False
    function.backward(np.zeros_like(output))


kernels_ahead.before_compiling = _before_compiling
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
