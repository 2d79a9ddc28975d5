"""Special functions on the CPU: functions of one number, which Numba turns into NumPy ufuncs."""

import math

import numba


@numba.vectorize(["float32(float32)", "float64(float64)"])
def erf(x):
    """The error function, element by element."""
    return math.erf(x)
