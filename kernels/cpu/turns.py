"""One process compiles a loop, and the others that need it wait for the result.

Several processes may find at the same time that a loop has no machine code: programs that start
together, or a program and the process that compiles ahead for it. Each would take the same seconds
for the same file. A turn is a lock on one byte of a file, chosen by the loop's name (a record lock of
POSIX, see `fcntl`); the system takes it back when the process ends, however it ends. Where the system
has no such locks, or the file cannot be written, it is everybody's turn.
"""

import hashlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on POSIX
    fcntl = None

PATIENCE = 30.0
"""Seconds to wait: longer than any loop takes to compile. Who has its turn for so long has stopped."""

PAUSE = 0.01
"""Seconds between two attempts."""


class BusyError(Exception):
    """It is another process's turn."""


class Turn:
    """The right to compile one loop, from now until `end`.

    A process has one turn at a time: to close the file ends all turns of the process.

    Args:
        file: that is locked. It stays when the turn is over: to remove it would take away the lock
            of whoever has just opened it.
        name: of the loop; equal names lock the same byte.
        patience: seconds to wait for another process. After that it is this one's turn as well.

    Raises:
        BusyError: if it is another's turn and the patience is 0.
    """

    def __init__(self, file: Path, name: str, patience: float = PATIENCE):
        self._file: int | None = None
        if fcntl is None:
            return
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "little")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._wait(place, patience)
        except OSError:  # nothing can be written there, or the file system knows no locks
            self.end()
        except BaseException:  # BusyError, or Ctrl-C while waiting
            self.end()
            raise

    def _wait(self, place: int, patience: float) -> None:
        """Lock a byte, or run out of patience."""
        until = time.monotonic() + patience
        while True:
            try:
                return fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # which of them, systems disagree
                if not patience:
                    raise BusyError from None
            if time.monotonic() > until:
                return None
            time.sleep(PAUSE)

    @property
    def is_locked(self) -> bool:
        """Whether a lock holds others off, as far as they have patience."""
        return self._file is not None

    def end(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
