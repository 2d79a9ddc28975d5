"""Special functions on the CPU: `erf` of a vector, and functions of one number for compiled loops.

Inside a loop, `math.exp` is a call of the C library for each number, 5 to 10 ns. `exp`, `sigmoid`
and `tanh` are plain arithmetic, which the compiler turns into instructions for 8 float32 numbers, or
4 float64 ones, at once:

    e^x = 2^n (1 + q)    with n the integer nearest to x / ln 2, r = x - n ln 2 and q = e^r - 1

|r| is at most ln 2 / 2 = 0.35, so that few terms of the series q = r + r^2/2! + r^3/3! + ... are
enough, and 2^n is written directly into the bits of the exponent. The multiple of ln 2 is subtracted
in two parts, the first of so few bits that n times it is exact (Cody and Waite, "Software Manual for
the Elementary Functions", 1980). Errors of exp are below 2 units in the last place, of the others 3.
"""

import math

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .compiled import compiled

# Not the options of the loops: (x - n a) - n b must not be reordered to x - n (a + b) here.
AS_WRITTEN = {"fastmath": {"contract"}, "error_model": "numpy"}


@compiled
def erf(x, y):
    """Write the error function of each number of a vector to another."""
    for i in range(x.size):
        y[i] = math.erf(x[i])


@numba.njit(**AS_WRITTEN)
def minus_log_softmax(x, highest, log_total):
    """-ln of e^(x - highest) / total; not as (ln total + highest) - x, which would lose digits."""
    return log_total - (x - highest)


def exp(x):
    """e^x in x's dtype: infinity above what it can hold, and 0 below."""
    return math.exp(x)


def sigmoid(x):
    """1 / (1 + e^-x) in x's dtype."""
    return 1 / (1 + math.exp(-x))


def tanh(x):
    """The hyperbolic tangent in x's dtype."""
    return math.tanh(x)


LN2 = math.log(2)
LN2_TAIL = 2.3190468138462996e-17  # what LN2 lacks


class Constants:
    """What the functions need to know of a dtype.

    Attributes:
        number: the dtype as a function.
        series: 1/k!, highest k first; the first term left out is below half a unit in the last place.
        log2_e: 1 / ln 2.
        ln2_high: the first bits of ln 2.
        ln2_low: the rest.
        lowest: e to this is 0.
        highest: e to this is infinite.
    """

    def __init__(self, dtype: type, terms: int, ln2_bits: int, lowest: float, highest: float):
        self.number = dtype
        self.series = tuple(dtype(1 / math.factorial(k)) for k in range(terms, 1, -1))
        high = math.floor(LN2 * 2**ln2_bits) / 2**ln2_bits
        self.log2_e = dtype(1 / LN2)
        self.ln2_high, self.ln2_low = dtype(high), dtype(LN2 - high + LN2_TAIL)
        self.lowest, self.highest = dtype(lowest), dtype(highest)


CONSTANTS = {
    types.float32: Constants(np.float32, 7, 15, -104, 89),
    types.float64: Constants(np.float64, 13, 40, -746, 710),
}


@intrinsic
def _power_of_two(typing_context, n):
    """2^n for a float n that is whole; exact where 2^n is a normal number of its dtype."""
    mantissa, bias = (23, 127) if n == types.float32 else (52, 1023)

    def emit(context, builder, signature, arguments):
        bits = ir.IntType(n.bitwidth)
        exponent = builder.fptosi(arguments[0], ir.IntType(32))
        if n == types.float64:
            exponent = builder.sext(exponent, bits)
        exponent = builder.add(exponent, bits(bias))
        return builder.bitcast(builder.shl(exponent, bits(mantissa)), arguments[0].type)

    return n(n), emit


def _split(x):
    """Return n and q of the equation above."""
    raise NotImplementedError


@overload(_split, jit_options=AS_WRITTEN)
def _split_compiled(x):
    c = CONSTANTS[x]
    log2_e, ln2_high, ln2_low, half = c.log2_e, c.ln2_high, c.ln2_low, c.number(0.5)
    series, zero = c.series, c.number(0)

    def split(x):
        n = np.floor(x * log2_e + half)
        r = (x - n * ln2_high) - n * ln2_low
        total = zero
        for coefficient in series:
            total = total * r + coefficient
        return n, r * r * total + r

    return split


@overload(exp, jit_options=AS_WRITTEN)
def _exp_compiled(x):
    c = CONSTANTS[x]
    lowest, highest, half, one = c.lowest, c.highest, c.number(0.5), c.number(1)

    def compiled_exp(x):
        limited = x if x > lowest else lowest
        limited = limited if limited < highest else highest
        n, q = _split(limited)
        part = np.floor(n * half)  # in two steps: 2^n alone can be too large, or too small
        y = (one + q) * _power_of_two(part) * _power_of_two(n - part)
        return y if x == x else x

    return compiled_exp


@overload(sigmoid, jit_options=AS_WRITTEN)
def _sigmoid_compiled(x):
    one = CONSTANTS[x].number(1)
    return lambda x: one / (one + exp(-x))


@overload(tanh, jit_options=AS_WRITTEN)
def _tanh_compiled(x):
    c = CONSTANTS[x]
    one, two, far = c.number(1), c.number(2), c.number(-44)  # tanh 22 rounds to 1

    def compiled_tanh(x):
        doubled = -two * abs(x)
        limited = doubled if doubled > far else far
        n, q = _split(limited)
        power = _power_of_two(n)
        t = power * q + (power - one)  # e^(-2|x|) - 1, without cancellation near 0
        y = math.copysign(-t / (two + t), x)
        return y if x == x else x

    return compiled_tanh
