"""The base class: what a Function offers before anybody writes one."""

import numpy as np
import pytest

from minicnn.ops.function import Function


def test_name_is_the_name_of_the_class():
    class Cube(Function):
        pass

    assert Cube().name == "Cube"


def test_save_keeps_arrays_for_backward():
    function, x = Function(), np.ones(2)
    function.save(x)
    assert function.saved[0] is x


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_what_is_missing_is_named(method):
    class Half(Function):
        pass

    with pytest.raises(NotImplementedError, match=f"Half defines no {method}"):
        getattr(Half(), method)(np.ones(1))
