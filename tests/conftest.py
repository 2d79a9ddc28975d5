"""What all tests share: quick and repeatable hypothesis runs, a seed, devices, PyTorch where it is installed."""

import os

import pytest
from hypothesis import HealthCheck, settings

import minicnn
from tests.devices import DEVICES, tensors_on

# Tests call a little of everything, and end; test_ahead.py switches it on.
os.environ["MINICNN_COMPILE_AHEAD"] = "0"

settings.register_profile(
    "minicnn",
    deadline=None,  # a compiling kernel or a busy machine is not a failure
    derandomize=True,  # the same examples on every run: a red test stays red
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("minicnn")


@pytest.fixture(autouse=True)
def seed():
    """Restart minicnn's random numbers before every test; the value is the seed."""
    minicnn.manual_seed(0)
    return 0


@pytest.fixture(params=DEVICES)
def device(request):
    """Where the tensors of a test live: "cpu", and in a second run "cuda", the stand-in for CuPy or a GPU."""
    with tensors_on(request.param):
        yield request.param


@pytest.fixture
def torch():
    """PyTorch, the oracle; the test is skipped where it is not installed."""
    return pytest.importorskip("torch")
