"""How the loops of this folder become machine code: compiled at the first call, kept for the next run.

    @compiled     def halve(x, y): ...                 one thread; called from other loops, or from Python
    @on_threads   def halve_rows(part, parts, x): ...  one part of the work; called as halve_rows(parts, x)

Only what is called is compiled, for the dtypes that it is called with. The loops are plain Python:
with NUMBA_DISABLE_JIT=1 they can be stepped through (those on `simd`'s vector instructions cannot).

Machine code is kept in a file for each function, signature and processor. It begins with a digest
of what it was made from: the function's own file, all files of this folder whose functions this
file imports, and the numbers in them, which may come from elsewhere (the shape of a tile, from the
processor). Numba's own cache looks at the first of these only, and numbers its files, so that two
processes that start at once may take each other's; here the name says what is inside, and a file
appears complete or not at all. A second digest, of the code, finds files that were damaged later.
"""

import functools
import hashlib
import os
import pickle
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import user_cache_dir
from numba.np.ufunc import parallel as numba_threads

from .. import capture
from ..memory import empty
from .objects import make_classes_known
from .parallel import OTHER_KINDS, for_each_part, make_known
from .pipeline import Pipeline, PipelineOfParts, PipelineOfWorkers

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

PACKAGE = __name__.rpartition(".")[0]

DIGEST_BYTES = hashlib.sha256().digest_size

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
        worker._cache = MachineCodeFiles(function)
        return _with_launchers(worker, function)

    def launch(parts, *arguments):  # with NUMBA_DISABLE_JIT
        for part in range(parts):
            function(part, parts, *arguments)
        if capture.here.active is not None:
            capture.here.active.note(launch, parts, *arguments)

    launch.loop = function
    return functools.update_wrapper(launch, function)


def thread_count() -> int:
    """Return `numba.get_num_threads()`, once loops have run in parallel in a tenth of the time."""
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
    launchers: list[Callable] = []

    def launch(*args: Any) -> None:
        with PARALLEL_LOOP:
            if _threads.lost_in_fork:
                raise _lost_in_fork(function)
            for launcher in launchers:
                failed = launcher(*args)
                if failed != OTHER_KINDS:
                    break
            else:
                launcher, failed = _first_launch(worker, args)
                launchers.append(launcher)
            if not _threads.started:
                _threads.start()
        if failed:
            raise _stopped(function)
        if capture.here.active is not None:
            capture.here.active.note(launch, *args)

    functools.update_wrapper(launch, function)
    launch.loop = worker
    return launch


def _first_launch(worker: Dispatcher, args: tuple) -> tuple[Callable, int]:
    """Load or compile the launcher for arguments of these types and call it; return it and what it returned."""
    make_known(_loop)
    kinds = types.int64, *map(numba.typeof, args)  # the first is the part, which the launcher adds
    make_classes_known(kinds)
    worker.compile(kinds)
    launcher = worker.overloads[kinds].entry_point
    failed = launcher(*args)
    if failed == OTHER_KINDS:  # for Numba, a class derived from an array is an array
        classes = ", ".join(type(argument).__name__ for argument in args)
        raise TypeError(
            f"{worker.__name__}: expected plain arrays, numbers and tuples, got {classes}"
        )
    return launcher, failed


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


def cache_folder() -> Path:
    """Where machine code is kept: $NUMBA_CACHE_DIR, or else the user's folder for caches."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_dir("minicnn", False)) / "kernels"


class MachineCodeFiles(_Cache):
    """The files of one function: one for each signature and processor. Numba calls load and save.

    Args:
        function: that is compiled.
    """

    may_write = True  # until it fails once

    def __init__(self, function: Callable):
        self.function = function
        self.enabled = True
        _note_sources(sys.modules[function.__module__])

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(cache_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for `sig`, or None."""
        # What stored code needs to run. refresh(), which Numba calls here, loads all of its library, half a
        # second: only compiling needs that.
        rtsys.initialize(target_context)
        if not self.enabled:
            return None
        try:
            stamped = self._path(sig, target_context.codegen()).read_bytes()
        except OSError:
            return None
        content = stamped[2 * DIGEST_BYTES :]
        if stamped != self._stamped(content):
            return None
        return CompileResultCacheImpl.rebuild(None, target_context, pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function for `sig`; say once if that is not possible."""
        if not self.enabled or not MachineCodeFiles.may_write:
            return
        path = self._path(sig, data.codegen)
        stamped = self._stamped(dumps(CompileResultCacheImpl.reduce(None, data)))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(stamped)
            os.replace(file.name, path)
        except OSError as error:
            MachineCodeFiles.may_write = False
            warnings.warn(
                f"minicnn cannot keep its compiled loops in {path.parent} ({error.strerror}), so that every start "
                "compiles them again, some seconds; set NUMBA_CACHE_DIR to a folder that can be written",
                RuntimeWarning,
                stacklevel=2,
            )

    def enable(self) -> None:
        """Use the files."""
        self.enabled = True

    def disable(self) -> None:
        """Leave the files alone."""
        self.enabled = False

    def flush(self) -> None:
        """Nothing is held back."""

    @functools.cached_property
    def stamp(self) -> bytes:
        """A digest of all that the machine code depends on, beside the signature and the processor."""
        digest = hashlib.sha256()
        digest.update(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
        for module in _modules_behind(self.function.__module__):
            digest.update(_source(sys.modules[module]))
            names = vars(sys.modules[module]).items()
            numbers = sorted((k, v) for k, v in names if type(v) in (bool, int, float))
            digest.update(repr(numbers).encode())
        return digest.digest()

    def _stamped(self, content: bytes) -> bytes:
        """What a file with this content begins with, and the content."""
        return self.stamp + hashlib.sha256(content).digest() + content

    def _path(self, sig: Any, codegen: Any) -> Path:
        module = self.function.__module__.removeprefix(PACKAGE + ".")
        version = hashlib.sha256(repr((sig, codegen.magic_tuple())).encode()).hexdigest()
        name = f"{module}.{self.function.__qualname__}"
        return cache_folder() / f"{name}-{version[:24]}.machinecode"


_sources: weakref.WeakKeyDictionary[ModuleType, bytes] = weakref.WeakKeyDictionary()
"""Digests of files as they were when their modules were imported: one may be edited while a program runs."""


def _source(module: ModuleType) -> bytes:
    """The digest of a module's file, read when it is first asked for."""
    if module not in _sources:
        _sources[module] = hashlib.sha256(Path(module.__file__).read_bytes()).digest()
    return _sources[module]


def _note_sources(module: ModuleType) -> None:
    """Read the files of a module that is being imported, and of those that it has imported from this folder."""
    if module not in _sources:
        _source(module)
        for name in _modules_used(module):
            _source(sys.modules[name])


@functools.cache
def _modules_behind(name: str) -> list[str]:
    """Name module `name` and the modules of this folder that it uses, and those that they use."""
    found = {name}
    waiting = [name]
    while waiting:
        new = _modules_used(sys.modules[waiting.pop()]) - found
        found |= new
        waiting += new
    return sorted(found)


def _modules_used(module: ModuleType) -> set[str]:
    """Name the modules of this folder that a module has imported, or taken anything from."""
    names = (
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        for value in vars(module).values()
    )
    return {name for name in names if isinstance(name, str) and name.startswith(PACKAGE + ".")}


# The one loop that all workers run in.
_loop = numba.njit(for_each_part, parallel=True, _nrt=True, **OPTIONS)
if isinstance(_loop, Dispatcher):
    _loop._cache = MachineCodeFiles(for_each_part)
