"""What connects the compiled loops to whoever compiles them ahead of time, in a process of its own.

It stands outside cpu/, because to set these variables must not load Numba.
"""

import threading
from collections.abc import Callable

loops_are_only_compiled = False
"""Whether loops on threads are made machine code when they are called, but not run. Set it before cpu/ is imported."""

loops_are_left_out = False
"""In such a process: whether loops are not even compiled, because another process comes to them by itself."""

before_compiling: Callable[[], None] | None = None
"""Called whenever this process is about to compile a loop whose machine code others will find."""

writing = threading.Lock()
"""Held while machine code is written to a file; and by whoever ends the process, so that no half of a file is left."""
