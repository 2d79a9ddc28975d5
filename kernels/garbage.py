"""Python's search for cycles among objects that nobody needs any more, made rarer for a while.

The search starts after every thousand new objects or so. To compile a loop makes a million objects,
to import Numba some hundred thousand, and nearly all are in use: a tenth of the time, or more, goes
into searches that find nothing.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 100_000
"""How many new objects start a search meanwhile; more, and memory grows."""

_lock = threading.Lock()
_inside = 0
_before: tuple[int, int, int] = gc.get_threshold()


@contextmanager
def rare_searches_for_cycles() -> Iterator[None]:
    """Let the garbage collector search less often, in the whole process, unless it is switched off.

    Threads may be inside at the same time: the first one changes the thresholds, the last one restores them.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = gc.get_threshold()
            if 0 < _before[0] < NEW_OBJECTS:
                gc.set_threshold(NEW_OBJECTS, *_before[1:])
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                gc.set_threshold(*_before)
