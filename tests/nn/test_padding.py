"""Padding layers against PyTorch's."""

import pytest

import minicnn
from minicnn import nn
from tests.nn.oracle import assert_like_torch, random_array


@pytest.mark.parametrize("kind", ["ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d"])
@pytest.mark.parametrize("padding", [1, 2, (1, 2, 0, 1), (0, 0, 2, 0)])
def test_like_torch(torch, kind, padding):
    mine, twin = getattr(nn, kind)(padding), getattr(torch.nn, kind)(padding)
    assert_like_torch(torch, mine, twin, random_array((2, 3, 4, 5)))
    assert repr(mine) == repr(twin)


def test_refuses():
    with pytest.raises(ValueError, match=r"\(left, right, top, bottom\), got \(1, 2\)"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(ValueError, match="too large for 'reflect'") as caught:
        nn.ReflectionPad2d(4)(minicnn.zeros(1, 1, 4, 4))
    assert caught.value.__notes__ == ["in ReflectionPad2d((4, 4, 4, 4))"]
