import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from minicnn.kernels import reference
from tests.kernels.conv_cases import (
    FUNCTIONS,
    array_in,
    check_against,
    check_non_finite,
    conv_cases,
    simple_case,
)

pytest.importorskip("numba")
from minicnn.kernels.cpu import conv


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, max_examples=80)
@given(case=conv_cases())
def test_equals_the_reference(function, case):
    check_against(reference, conv, function, case)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_propagate(function, value):
    check_non_finite(reference, conv, function, value)


@pytest.mark.parametrize("size", [3, 9, 40])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_images_of_one_and_of_many_tasks(function, size):
    check_against(reference, conv, function, simple_case(C=2, K=3, size=size))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_result_does_not_depend_on_the_number_of_threads(function):
    import numba

    case = simple_case(N=8, size=12)
    with_all = case.run(conv, function)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with_one = case.run(conv, function)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(with_one, with_all)


def test_every_memory_layout_uses_the_same_compiled_version():
    w = simple_case().w
    for layout in ("contiguous", "reversed", "broadcast", "read-only"):
        conv.conv2d(array_in(layout, (2, 3, 6, 6), np.float32, np.random.default_rng(0)), w)
    if hasattr(conv._convolve, "signatures"):  # not with NUMBA_DISABLE_JIT=1
        assert len(conv._convolve.signatures) <= 2  # float32, float64


def test_loops_run_as_plain_python():
    script = (
        "import numpy as np; from minicnn.kernels import reference; from minicnn.kernels.cpu import conv;"
        "x = np.arange(50.0).reshape(1, 2, 5, 5); w = np.arange(36.0).reshape(2, 2, 3, 3);"
        "g = conv.conv2d(x, w, 2, 1);"
        "assert (g == reference.conv2d(x, w, 2, 1)).all();"
        "a = conv.conv2d_grad_weight(g, x, w.shape, 2, 1);"
        "assert (a == reference.conv2d_grad_weight(g, x, w.shape, 2, 1)).all();"
        "assert isinstance(conv._multiply, type(lambda: 0))"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_threads_may_convolve_at_the_same_time():
    """Also with Numba's simplest threading layer, which ends the process where two loops overlap."""
    script = (
        "import numpy as np; from concurrent.futures import ThreadPoolExecutor;"
        "from minicnn.kernels.cpu import conv;"
        "x = np.ones((8, 3, 32, 32), 'f4'); w = np.ones((16, 3, 3, 3), 'f4'); y = conv.conv2d(x, w);"
        "work = lambda i: (conv.conv2d(x, w), conv.conv2d_grad_weight(y, x, w.shape));"
        "pool = ThreadPoolExecutor(2); assert len(list(pool.map(work, range(60)))) == 60"
    )
    environment = {
        **os.environ,
        "NUMBA_THREADING_LAYER": "workqueue",
        "NUMBA_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
