"""Pieces of work that threads take: each piece once, and the same results whoever takes it."""

import numpy as np
import pytest

pytest.importorskip("numba")

from minicnn.kernels import reference
from minicnn.kernels.capture import Capture
from minicnn.kernels.cpu import conv
from minicnn.kernels.cpu.compiled import on_threads
from minicnn.kernels.cpu.sharing import nothing_taken, take_next


@on_threads
def take_pieces(part, parts, taken, times):
    """Take pieces of each share, the own one first, and count them in `times` (parts, shares, pieces)."""
    _, shares, pieces = times.shape
    for turn in range(shares):
        share = (part + turn) % shares
        piece = take_next(taken, share)
        while piece < pieces:
            times[part, share, piece] += 1
            piece = take_next(taken, share)


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("shares", [1, 2, 3])
def test_each_piece_is_taken_once(parts, shares):
    times = np.zeros((parts, shares, 2000), np.int64)
    take_pieces(parts, nothing_taken(shares), times)
    assert (times.sum(axis=0) == 1).all()


def carry_out(parts, x, w, taken):
    """A convolution on so many parts, with counters given: (N, K, OH, OW)."""
    plan = conv.forward_plan(x.shape, w.shape, 1, 1, 1, 1)
    seen, layout, _, written = plan.sums[0]
    y = np.full(plan.y_shape, np.nan, x.dtype)
    weights = np.ascontiguousarray(w.transpose(2, 3, 1, 0)).reshape(-1)
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    none = weights[:0]
    conv._multiply(parts, images, weights, layout, y, seen, written, none, False, none, taken)
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("K", [5, 40, 300])
@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_convolution_has_the_same_bits_whoever_works_it_out(K, parts):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 20, 11, 13)).astype(np.float32)
    w = rng.standard_normal((K, 20, 3, 3)).astype(np.float32)
    alone = carry_out(1, x, w, nothing_taken(1))
    np.testing.assert_allclose(alone, reference.conv2d(x, w, 1, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(carry_out(parts, x, w, nothing_taken(parts)), alone)


def test_a_replayed_convolution_takes_its_pieces_anew():
    x = np.ones((2, 32, 40, 40), np.float32)
    w = np.ones((32, 32, 3, 3), np.float32)
    capture = Capture()
    with capture.in_force():
        y = conv.conv2d(x, w, padding=1)
    expected = y.copy()
    y[...] = np.nan
    capture.replay()
    np.testing.assert_array_equal(y, expected)
