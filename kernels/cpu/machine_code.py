"""Where the machine code of loops is kept between runs.

Machine code is kept in a file for each function, signature and processor. It begins with a digest
of what it was made from: the function's own file, all files of this folder whose functions this
file imports, and the numbers in them, which may come from elsewhere (the shape of a tile, from the
processor). Numba's own cache looks at the first of these only, and numbers its files, so that two
processes that start at once may take each other's; here the name says what is inside, and a file
appears complete or not at all. A second digest, of the code, finds files that were damaged later.
What one process is compiling, others wait for (turns.py).
"""

import functools
import hashlib
import os
import pickle
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import user_cache_dir

from .. import ahead
from .turns import PATIENCE, Turn

PACKAGE = __name__.rpartition(".")[0]

DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Where machine code is kept: $NUMBA_CACHE_DIR, or else the user's folder for caches."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_dir("minicnn", False)) / "kernels"


class MachineCodeFiles(_Cache):
    """The files of one function: one for each signature and processor. Numba calls load and save.

    Args:
        function: that is compiled.
        patience: seconds to wait while another process compiles it, see `Turn`.
    """

    may_write = True  # until it fails once
    _turn: Turn | None = None  # one for all functions: Numba compiles one after the other

    def __init__(self, function: Callable, patience: float = PATIENCE):
        self.function = function
        self.patience = patience
        self.enabled = True
        _note_sources(sys.modules[function.__module__])

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(cache_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function for `sig`; or None, and then it is this process's turn to compile it.

        Raises:
            BusyError: without patience, if it is another's turn.
        """
        # What stored code needs to run. refresh(), which Numba calls here, loads all of its library, half a
        # second: only compiling needs that.
        rtsys.initialize(target_context)
        if not self.enabled:
            return None
        path = self._path(sig, target_context.codegen())
        content = self._content(path)
        if content is None and MachineCodeFiles.may_write:
            self.end_turn()
            MachineCodeFiles._turn = Turn(
                path.parent.with_suffix(".lock"), path.name, self.patience
            )
            content = self._content(path)  # another may have made it meanwhile
            if content is None and self._turn.is_locked and ahead.before_compiling is not None:
                ahead.before_compiling()
        if content is None:
            return None
        self.end_turn()
        return CompileResultCacheImpl.rebuild(None, target_context, pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function for `sig`; say once if that is not possible."""
        if not self.enabled or not MachineCodeFiles.may_write:
            return
        path = self._path(sig, data.codegen)
        stamped = self._stamped(dumps(CompileResultCacheImpl.reduce(None, data)))
        try:
            with ahead.writing:
                _write_file(path, stamped)
        except OSError as error:
            MachineCodeFiles.may_write = False
            warnings.warn(
                f"minicnn cannot keep its compiled loops in {path.parent} ({error.strerror}), so that every start "
                "compiles them again, some seconds; set NUMBA_CACHE_DIR to a folder that can be written",
                RuntimeWarning,
                stacklevel=2,
            )
        finally:
            self.end_turn()

    @classmethod
    def end_turn(cls) -> None:
        """Let other processes compile what this one has compiled, or failed to."""
        if MachineCodeFiles._turn is not None:
            MachineCodeFiles._turn.end()
            MachineCodeFiles._turn = None

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

    def _content(self, path: Path) -> bytes | None:
        """What a file holds behind its digests; None if there is no file, or it is another's or damaged."""
        try:
            stamped = path.read_bytes()
        except OSError:
            return None
        content = stamped[2 * DIGEST_BYTES :]
        return content if stamped == self._stamped(content) else None

    def _stamped(self, content: bytes) -> bytes:
        """What a file with this content begins with, and the content."""
        return self.stamp + hashlib.sha256(content).digest() + content

    def _path(self, sig: Any, codegen: Any) -> Path:
        # Machine code names what it calls by the package: another that holds the same files has its own.
        module = self.function.__module__.removeprefix(PACKAGE + ".")
        version = hashlib.sha256(repr((PACKAGE, sig, codegen.magic_tuple())).encode()).hexdigest()
        name = f"{module}.{self.function.__qualname__}"
        return cache_folder() / f"{name}-{version[:24]}.machinecode"


def _write_file(path: Path, content: bytes) -> None:
    """Let a file appear, complete or not at all; what is written until the disk is full, or Ctrl-C comes, goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
