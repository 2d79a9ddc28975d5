"""Special functions that NumPy does not have, for arrays of either library."""

import numpy as np

from .arrays import Array, xp_of


def erf(x: Array) -> Array:
    """The error function 2 / sqrt(pi) times the integral of e^(-t^2) over t from 0 to x, element by element.

    Args:
        x: an array of floating-point numbers, of any shape and memory order.

    Returns:
        An array of the same shape, dtype and memory order.
    """
    # Imported here, so that Numba (or CuPy) is loaded by those who call this function only.
    if xp_of(x).__name__ == "cupy":
        from cupyx.scipy.special import erf as erf_of_array

        return erf_of_array(x).astype(x.dtype, copy=False)
    from .cpu.flat import flat
    from .cpu.special import erf as erf_of_vector

    y = np.empty_like(x, np.promote_types(x.dtype, np.float32))  # float16 is computed in float32
    erf_of_vector(flat(x, y), y.ravel("K"))
    return y.astype(x.dtype, copy=False)
