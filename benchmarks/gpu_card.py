"""Whether the card still answers, after an error.

After an illegal address, and some other errors, every call of the process fails with the same error (CUDA's "sticky"
errors). Only a new process can go on.
"""

LOST = 17
"""The exit status of a process whose card answers no more."""


def card_answers() -> bool:
    """Whether this process can still use its GPU."""
    try:
        import cupy
    except ImportError:
        return True  # there is none that could be lost
    try:
        cupy.cuda.Device().synchronize()
    except Exception:  # that of a call long before
        return False
    return True
