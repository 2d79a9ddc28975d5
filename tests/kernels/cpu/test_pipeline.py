"""How Numba is made to compile: what becomes of parts of loops."""

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu.compiled import compiled, on_threads
from minicnn.kernels.cpu.pipeline import CodeOfPart


@compiled
def add_one(x):
    return x + 1


@compiled
def add_two(x):
    return add_one(add_one(x))


@on_threads
def add_two_to_each(part, parts, x):
    for i in range(part, len(x), parts):
        x[i] = add_two(x[i])


def test_parts_are_linked_into_loops_and_into_other_parts():
    x = np.arange(5.0)
    add_two_to_each(2, x)
    np.testing.assert_array_equal(x, np.arange(5) + 2)


def test_a_part_is_not_made_machine_code():
    signature = (numba.float32,)
    add_two.part.compile(signature)
    part = add_two.part.overloads[signature]
    assert isinstance(part.library, CodeOfPart)
    assert part.library.get_pointer_to_function(part.fndesc.llvm_func_name) == 0


def test_a_part_called_from_python_is_compiled_alone():
    assert add_two(3.0) == 5
    assert not isinstance(add_two.loop.overloads[(numba.float64,)].library, CodeOfPart)
