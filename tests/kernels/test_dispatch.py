import os
import subprocess
import sys

import numpy as np
import pytest

from minicnn.kernels import dispatch, linear


@pytest.fixture
def numba_is(monkeypatch):
    """A function that says whether there is Numba, and whether it is switched off."""

    def say(installed=True, disabled="0"):
        monkeypatch.setattr(dispatch, "find_spec", lambda name: "numba" if installed else None)
        monkeypatch.setenv("NUMBA_DISABLE_JIT", disabled)
        dispatch.can_compile.cache_clear()

    yield say
    monkeypatch.undo()
    dispatch.can_compile.cache_clear()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", True), ("float64", True), ("float16", False), ("int64", False), (">f4", False)],
)
def test_compiled_loops_compute_in_two_dtypes(numba_is, dtype, expected):
    numba_is()
    assert dispatch.suits_compiled(np.zeros(3, dtype)) == expected


def test_compiled_loops_take_numpy_arrays_only(numba_is):
    class FromElsewhere(np.ndarray):
        pass

    numba_is()
    assert not dispatch.suits_compiled(np.zeros(3).view(FromElsewhere))
    assert not dispatch.suits_compiled([1.0, 2.0])


def test_nothing_is_compiled_without_numba(numba_is):
    numba_is(installed=False)
    assert not dispatch.suits_compiled(np.zeros(3))
    assert dispatch.sibling("linear", np.zeros(3)) is linear


def test_nothing_is_compiled_where_numba_is_switched_off(numba_is):
    numba_is(disabled="1")
    assert not dispatch.suits_compiled(np.zeros(3))
    assert dispatch.sibling("linear", np.zeros(3)) is linear


def test_sibling_in_compiled_loops():
    pytest.importorskip("numba")
    from minicnn.kernels.cpu import linear as compiled_linear

    expected = compiled_linear if dispatch.can_compile() else linear
    assert dispatch.sibling("linear", np.zeros(3, np.float32)) is expected


def test_sibling_for_half_precision():
    assert dispatch.sibling("linear", np.zeros(3, np.float16)) is linear


def test_importing_the_kernels_imports_neither_numba_nor_cupy():
    script = "import sys; import minicnn.kernels; assert not {'numba', 'cupy'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_everything_computes_without_numba():
    """With Numba switched off, "auto" computes with NumPy, and imports no Numba."""
    script = (
        "import sys, numpy as np; from minicnn import kernels; x = np.ones((1, 2, 5, 5), 'f4'); w = x[:, :, :3, :3];"
        "y = kernels.conv2d(x, w); assert (y == 18).all();"
        "assert kernels.conv2d_grad_input(y, w, x.shape).shape == x.shape;"
        "assert kernels.conv2d_grad_weight(y, x, w.shape).shape == w.shape;"
        "assert 'numba' not in sys.modules"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_a_number_of_numpy_gets_the_sibling_for_arrays_of_any_kind():
    assert dispatch.sibling("activation", np.float64(1)).__name__ == "minicnn.kernels.activation"
