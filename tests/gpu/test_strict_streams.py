"""The stand-in's streams that capture: nothing happens until a graph is launched, and CuPy's refusals."""

from contextlib import contextmanager

import numpy as np
import pytest

from tests.gpu.strict_cupy import installed, make_cupy
from tests.gpu.strict_streams import CUDARuntimeError


@pytest.fixture
def cupy():
    with installed(make_cupy()) as module:
        yield module


@contextmanager
def capturing(cupy, graphs):
    """Capture what is computed inside the block, with memory of its own; append the graph."""
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc), cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            yield
        finally:
            graphs.append(stream.end_capture())


def test_results_come_when_the_graph_is_launched(cupy):
    x, graphs = cupy.asarray(np.array([1.0, 2.0])), []
    with capturing(cupy, graphs):
        y = x * 2 + cupy.ones(2)
    assert np.isnan(y.get()).all()
    graphs[0].launch()
    assert y.get().tolist() == [3, 5]


def test_each_launch_uses_the_numbers_of_its_time(cupy):
    x, graphs = cupy.asarray(np.array([1.0, 2.0])), []
    with capturing(cupy, graphs):
        y = x[1:] * 2
    x.fill(4)
    graphs[0].launch()
    assert y.get().tolist() == [8]


CHANGES = {
    "operator": lambda cupy, x: x.__iadd__(1),
    "fill": lambda cupy, x: x.fill(2),
    "assignment": lambda cupy, x: x.__setitem__(0, 2),
    "copyto": lambda cupy, x: cupy.copyto(x, cupy.full(1, 2.0)),
    "out": lambda cupy, x: cupy.add(x, 1, out=x),
    "third argument": lambda cupy, x: cupy.add(x, x, x),
    "at": lambda cupy, x: cupy.add.at(x, cupy.zeros(1, int), 1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_there_changes_when_the_graph_is_launched(cupy, change):
    x, graphs = cupy.ones(1), []
    with capturing(cupy, graphs):
        CHANGES[change](cupy, x)
    assert x.get().tolist() == [1]
    graphs[0].launch()
    assert x.get().tolist() == [2]


REFUSED = {
    "get": lambda cupy, x: x.get(),
    "item": lambda cupy, x: x.item(),
    "truth": lambda cupy, x: bool(x),
    "size of a result": lambda cupy, x: cupy.nonzero(x),
    "mask": lambda cupy, x: x[x > 0],
    "mask of what is set": lambda cupy, x: x.__setitem__(x > 0, 1),
    "upload": lambda cupy, x: cupy.asarray(np.ones(1)),
    "set": lambda cupy, x: x.set(np.ones(1)),
    "device": lambda cupy, x: cupy.cuda.Device().synchronize(),
    "cuBLAS": lambda cupy, x: x.dot(x),
    "cuBLAS, by an operator": lambda cupy, x: x @ x,
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_cannot_be_captured_raises(cupy, call):
    x, error = cupy.ones(1), NotImplementedError if "cuBLAS" in call else CUDARuntimeError
    with pytest.raises(error, match="when stream is capturing"), capturing(cupy, []):
        REFUSED[call](cupy, x)
    assert x.get().tolist() == [1]


def test_memory_that_everybody_uses_is_refused(cupy):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(CUDARuntimeError, match="allocation from the pool"):
            cupy.ones(1)
        stream.end_capture()


def test_memory_that_is_gone_is_noticed(cupy):
    x, graphs = cupy.ones(1), []
    with capturing(cupy, graphs):
        y = x + 1
    del x
    with pytest.raises(CUDARuntimeError, match="memory that is gone"):
        graphs[0].launch()
    assert np.isnan(y.get()).all()


def test_the_default_stream_does_not_capture(cupy):
    with pytest.raises(CUDARuntimeError, match="default stream"):
        cupy.cuda.Stream.null.begin_capture()
