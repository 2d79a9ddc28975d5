"""How the loops of this folder become machine code: compiled at the first call, kept for the next run.

    @compiled     def halve(x, y): ...                 one thread; called from other loops, or from Python
    @on_threads   def halve_rows(part, parts, x): ...  one part of the work; called as halve_rows(parts, x)

Only what is called is compiled, for the dtypes that it is called with. The loops are plain Python:
with NUMBA_DISABLE_JIT=1 they can be stepped through (those on `simd`'s vector instructions cannot).

machine_code.py keeps what was compiled.
"""

import functools
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.np.ufunc import parallel as numba_threads

from .. import ahead, capture
from ..joining import Note
from ..memory import empty
from .machine_code import MachineCodeFiles
from .objects import make_classes_known
from .parallel import OTHER_KINDS, for_each_part, make_known, pretend_known
from .pipeline import Pipeline, PipelineOfParts, PipelineOfWorkers
from .turns import PATIENCE, BusyError

# Sums may be reordered, to use vector instructions, but NaN and infinity keep their meaning.
OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "pipeline_class": Pipeline,
}

# What only compiled code calls needs no way in from Python, or from C.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# One thread of a program at a time starts a parallel loop: the simplest of Numba's threading layers,
# "workqueue", ends the process otherwise, and little is lost, because one loop keeps all cores busy.
PARALLEL_LOOP = threading.Lock()


def compiled(function: Callable) -> Callable:
    """Decorate a module-level function of arrays and numbers: compile it when it is first called.

    Other loops that call it take its code in ("part", see pipeline.py). Where Python calls it, it is
    compiled alone ("loop"). Only what is used is compiled.
    """
    loop = numba.njit(function, **OPTIONS)
    if not isinstance(loop, Dispatcher):  # but the plain function, as with NUMBA_DISABLE_JIT
        return function
    loop._cache = MachineCodeFiles(function)
    part = numba.njit(function, **OPTIONS | NO_WRAPPERS | {"pipeline_class": PipelineOfParts})

    def call(*args, **named):
        return loop(*args, **named)

    functools.update_wrapper(call, function)
    call.loop, call.part = loop, part
    call._numba_type_ = part._numba_type_  # Numba asks for this when it compiles a call
    return call


def on_threads(function: Callable) -> Callable:
    """Decorate a function of (part, parts, *arguments), which does one part of some work.

    It is then called as function(parts, *arguments), from Python, and runs for each part in
    range(parts), on as many threads; see `parallel`.
    """
    options = OPTIONS | {"pipeline_class": PipelineOfWorkers, "no_cfunc_wrapper": True}
    worker = numba.njit(function, **options)
    if isinstance(worker, Dispatcher):
        only_compiled = ahead.loops_are_only_compiled
        worker._cache = MachineCodeFiles(function, 0 if only_compiled else PATIENCE)
        return (_compiler if only_compiled else _with_launchers)(worker, function)

    def launch(parts, *arguments):  # with NUMBA_DISABLE_JIT
        for part in range(parts):
            function(part, parts, *arguments)
        if capture.here.active is not None:
            capture.here.active.note(launch, parts, *arguments)

    launch.loop = function
    return functools.update_wrapper(launch, function)


def thread_count() -> int:
    """Return what `numba.get_num_threads()` does; after the first parallel loop, in a tenth of its time."""
    return _threads.count()


def is_plain(array: np.ndarray) -> bool:
    """Whether the compiled loops can take an array as it is: all arrays then have one type for Numba."""
    return array.flags.carray  # contiguous, aligned, and writable, even where nothing is written


def plain(array: np.ndarray) -> np.ndarray:
    """Return the array itself or a copy in order, see `is_plain`."""
    if array.flags.carray:  # see `is_plain`
        return array
    copy = empty(array.shape, array.dtype)
    capture.do(np.copyto, copy, array)
    return copy


def _with_launchers(worker: Dispatcher, function: Callable) -> Callable:
    """Return what starts a worker made from `function`: it is called as function(parts, *arguments).

    Each launcher (see parallel.py) knows the types that it was made for, and refuses others. They are
    asked in turn, and if none is for these arguments, one is made. What would end the process raises
    an error or waits instead.
    """
    known: list[KnownLaunch] = []

    def launch(*args: Any) -> None:
        with PARALLEL_LOOP:
            if _threads.lost_in_fork:
                raise _lost_in_fork(function)
            for one in known:
                failed = one.launcher(*args)
                if failed != OTHER_KINDS:
                    break
            else:
                launcher, failed = _first_launch(worker, args)
                one = KnownLaunch(launcher, launch)
                known.append(one)
            if not _threads.started:
                _threads.start()
        if failed:
            raise _stopped(function)
        if capture.here.active is not None:
            capture.here.active.note(one, *args)

    functools.update_wrapper(launch, function)
    launch.loop = worker
    return launch


class KnownLaunch:
    """What a capture notes: the launcher that suits a worker's arguments, to be called with (parts, *arguments).

    Attributes:
        launcher: made for the types of these arguments.
        launch: the worker for any types, see `_with_launchers`.
    """

    def __init__(self, launcher: Callable, launch: Callable) -> None:
        functools.update_wrapper(self, launch, updated=())
        self.launcher = launcher
        self.launch = launch

    def __call__(self, *args: Any) -> None:
        """Start the worker."""
        _launch_all([(self, args)])

    @staticmethod
    def together(notes: list[Note]) -> Note:
        """Make one note of several, see `joining`."""
        return _launch_all, (notes,)


def _launch_all(notes: list[Note]) -> None:
    """Start workers one after the other, each with a launcher that is known."""
    rest = iter(notes)
    with PARALLEL_LOOP:
        if _threads.lost_in_fork:
            raise _lost_in_fork(notes[0][0])
        for known, args in rest:
            failed = known.launcher(*args)
            if failed:
                break
        else:
            return
    if failed != OTHER_KINDS:
        raise _stopped(known)
    known.launch(*args)  # its arrays are of another kind now: one can no longer be written to, say
    _launch_all(list(rest))


def _first_launch(worker: Dispatcher, args: tuple) -> tuple[Callable, int]:
    """Load or compile the launcher for arguments of these types and call it; return it and what it returned."""
    make_known(_loop)
    launcher = _compile(worker, args)
    failed = launcher(*args)
    if failed == OTHER_KINDS:  # for Numba, a class derived from an array is an array
        classes = ", ".join(type(argument).__name__ for argument in args)
        raise TypeError(
            f"{worker.__name__}: expected plain arrays, numbers and tuples, got {classes}"
        )
    return launcher, failed


def _compile(worker: Dispatcher, args: tuple) -> Callable:
    """Load or compile the launcher for arguments of these types, and return it."""
    kinds = types.int64, *map(numba.typeof, args)  # the first is the part, which the launcher adds
    make_classes_known(kinds)
    try:
        worker.compile(kinds)
    finally:
        MachineCodeFiles.end_turn()
    return worker.overloads[kinds].entry_point


def _compiler(worker: Dispatcher, function: Callable) -> Callable:
    """Return what compiles a worker, and does not run it, see `ahead`; what another process compiles is left to it."""

    def compile_only(*args: Any) -> None:
        if ahead.loops_are_left_out:
            return
        pretend_known()
        with suppress(BusyError):
            _compile(worker, args)

    return functools.update_wrapper(compile_only, function)


def _lost_in_fork(function: Callable) -> RuntimeError:
    """The error for a process that has no threads to run loops on."""
    return RuntimeError(
        f"{function.__name__}: this process was made by os.fork() from one whose compiled loops had started "
        'threads, and those do not survive a fork; start worker processes with multiprocessing.get_context("spawn"), '
        'or use algorithm="im2col"'
    )


def _stopped(function: Callable) -> RuntimeError:
    """The error for a worker that failed in some part of its work."""
    return RuntimeError(
        f"{function.__name__}: a compiled loop stopped before its end in one of its threads, and what it raised "
        "there is lost; most likely it found no memory for what it works with: free some, or use smaller batches"
    )


class _Threads:
    """What is known of Numba's threads: whether there are any, and whether a fork has lost them.

    Attributes:
        count: tells how many a loop may use, which `numba.set_num_threads` changes. Numba's own
            function asks at each call, under two locks, whether the threads have been started; what
            it calls then, a private function of the threading layer, needs no such question.
    """

    started = False
    lost_in_fork = False
    count = staticmethod(numba.get_num_threads)

    def start(self) -> None:
        """Note the first parallel loop, and say once if threads are slow to start here."""
        self.started = True
        self.count = getattr(numba_threads, "_get_num_threads", numba.get_num_threads)
        if numba.get_num_threads() > 1 and numba.threading_layer() == "workqueue":
            warnings.warn(
                'Numba found no OpenMP and uses its threading layer "workqueue", which takes about 0.1 ms to start a '
                "loop instead of 2 us; install libgomp (Debian: apt-get install libgomp1)",
                RuntimeWarning,
                stacklevel=5,
            )

    def after_fork(self) -> None:
        """Called in the child."""
        global PARALLEL_LOOP
        self.lost_in_fork = self.started
        PARALLEL_LOOP = threading.Lock()  # the parent's may be held by a thread that is not here


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.after_fork)


# The one loop that all workers run in.
_loop = numba.njit(for_each_part, parallel=True, _nrt=True, **OPTIONS)
if isinstance(_loop, Dispatcher):
    _loop._cache = MachineCodeFiles(for_each_part)
