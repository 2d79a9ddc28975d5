"""Division as a product and a shift: the numbers that the host prepares, and what a kernel makes of them."""

import numpy as np
import pytest

from minicnn.kernels.gpu import divisor, launch

VALUES = [1, 2, 3, 7, 112, 224, 1000, 2**20 + 1, 2**30, 2**31 - 1]

DIVIDE_ALL = """
extern "C" __global__ void divide_all(Index* numbers, int count, Divisor by, int* remainders) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) numbers[i] = divide(numbers[i], by, remainders[i]);
}
"""


def numerators(value):
    """Those where a rounded quotient would be wrong first, and some in between."""
    multiples = [(2**31 - 1) // value * value, value]
    edges = [n + change for n in multiples for change in (-1, 0, 1)]
    numbers = [0, 1, 2**31 - 1, *edges, *range(0, 2**31, 2**26 + 12_345)]
    return np.array([n for n in numbers if 0 <= n < 2**31])


@pytest.mark.parametrize("value", VALUES)
def test_the_host_prepares_what_divides_exactly(value):
    same, multiplier, shift = divisor.members([value])
    assert (same, multiplier < 2**32) == (value, True)
    for n in numerators(value).tolist():
        quotient = ((n * multiplier >> 32) + n) % 2**32 >> shift
        assert quotient == n // value


@pytest.mark.parametrize("value", VALUES)
def test_a_kernel_divides_indices(cupy, value):
    """Those of 2^31 and more as well, which take another way."""
    numbers = np.concatenate([numerators(value), [2**31, 2**31 + 1, 2**33 - 1, 2**45 + 17]])
    quotients, remainders = cupy.asarray(numbers), cupy.zeros(len(numbers), np.int32)
    code = launch.source("divisor.cuh") + DIVIDE_ALL
    kernel = cupy.RawModule(code=code, options=("-DREAL=float",)).get_function("divide_all")
    arguments = quotients, np.int32(len(numbers)), divisor.struct_of(value), remainders
    kernel((1,), (256,), arguments)
    np.testing.assert_array_equal(quotients.get(), numbers // value)
    np.testing.assert_array_equal(remainders.get(), numbers % value)


def test_several_at_once():
    assert divisor.members_of("a", "b")[2:4] == ("a_shift", "b_value")
    assert divisor.members((3, 4)) == (*divisor.members([3]), *divisor.members([4]))
