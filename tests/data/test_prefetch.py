"""Batches that are sent to a device ahead of time: what arrives, when it may be read, what is kept until then."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn.data import DataLoader, TensorDataset
from minicnn.data.prefetch import _Road, sent_ahead
from tests.checks import normal
from tests.devices import host, on_every_device, on_gpu, placed, tensors_on
from tests.gpu.library import needs_stand_in
from tests.gpu.strict_cupy import ndarray

X, LABELS = normal(10, 2, 3, 3, dtype="float32"), np.arange(10)


def place():
    return "cuda" if on_gpu() else "cpu"


@on_every_device
def test_a_loader_gives_its_batches_on_the_device():
    loader = DataLoader(TensorDataset(X, LABELS), 4, pin_memory=True, device=place())
    for _ in range(2):  # epochs
        batches = list(loader)
        assert [len(x) for x, _ in batches] == [4, 4, 2]
        assert {tensor.device for batch in batches for tensor in batch} == {
            Tensor(placed(X)).device
        }
        np.testing.assert_array_equal(np.concatenate([host(x) for x, _ in batches]), X)
        np.testing.assert_array_equal(np.concatenate([host(y) for _, y in batches]), LABELS)


@on_every_device
def test_all_kinds_of_batches():
    batch = {"x": Tensor(X), "pair": (LABELS, [Tensor(2.5)]), "name": "seven", "number": 7}
    (sent,) = sent_ahead([batch], place())
    assert (sent["name"], sent["number"]) == ("seven", 7)
    assert isinstance(sent["pair"], tuple)
    np.testing.assert_array_equal(host(sent["x"]), X)
    np.testing.assert_array_equal(host(sent["pair"][0]), LABELS)
    assert sent["pair"][1][0].item() == 2.5


@pytest.mark.parametrize("array", [X.transpose(0, 2, 3, 1), X[::2, :, ::-1], X[:0], np.ones(())])
def test_any_memory_order(array):
    with tensors_on("cuda"):
        (sent,) = sent_ahead([array], "cuda")
        np.testing.assert_array_equal(host(sent), array)


def test_no_batch_at_all():
    with tensors_on("cuda"):
        assert list(sent_ahead([], "cuda")) == []


def test_the_next_batch_is_sent_before_this_one_is_used():
    taken = []
    with tensors_on("cuda"):
        batches = sent_ahead((taken.append(i) or X[i] for i in range(4)), "cuda")
        next(batches)
        assert taken == [0, 1]
        next(batches)
        assert taken == [0, 1, 2]


def test_the_host_does_not_wait():
    with tensors_on("cuda"):
        ndarray.cupy.traffic.clear()
        list(DataLoader(TensorDataset(X, LABELS), 4, device="cuda"))
        assert ndarray.cupy.traffic.syncs == []


def test_the_source_may_change_after_the_batch_was_sent():
    def one_buffer():
        buffer = np.empty(3, "float32")
        for i in range(4):
            buffer[...] = i
            yield buffer

    with tensors_on("cuda"):
        arrived = [host(array) for array in sent_ahead(one_buffer(), "cuda")]
    assert [array[0] for array in arrived] == [0, 1, 2, 3]


@needs_stand_in
def test_without_the_wait_for_the_copy_there_would_be_nothing_to_read():
    with tensors_on("cuda"):
        road = _Road("cuda")
        (array, _) = sent = road.send(X)
        assert np.isnan(host(array)).all()
        np.testing.assert_array_equal(host(road.arrived(sent)), X)


def test_pinned_memory_is_kept_until_it_has_been_read():
    with tensors_on("cuda"):
        road = _Road("cuda")
        sent = [road.send(X) for _ in range(3)]
        assert len(road.in_use) == 3
        for batch in sent:
            road.arrived(batch)
        road.send(X)
        assert len(road.in_use) == 1


def test_a_device_that_is_none_is_refused():
    with pytest.raises(ValueError, match='expected "cpu", "cuda"'):
        DataLoader(X, 2, device="gpu")
