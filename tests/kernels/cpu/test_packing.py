import pytest
from hypothesis import given
from hypothesis.strategies import integers

pytest.importorskip("numba")

from minicnn.kernels.cpu.packing import even_pieces, even_share


@pytest.mark.parametrize(
    ("count", "most", "multiple", "expected"),
    [
        (10, 4, 1, 3),
        (9, 4, 2, 4),
        (8, 4, 2, 2),
        (9, 9, 4, 1),  # one piece is not divided for the sake of the multiple
        (3, 2, 8, 3),
        (3, 0, 1, 3),
    ],
)
def test_even_pieces(count, most, multiple, expected):
    assert even_pieces(count, most, multiple) == expected


@given(integers(1, 500), integers(1, 500), integers(1, 8))
def test_pieces_are_full_and_no_larger_than_allowed(count, most, multiple):
    pieces = even_pieces(count, most, multiple)
    sizes = [(i + 1) * count // pieces - i * count // pieces for i in range(pieces)]
    assert 1 <= min(sizes) <= max(sizes) <= most


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(10, 4, 4), (9, 4, 3), (3, 0, 1), (0, 4, 1)]
)
def test_even_share(count, most, expected):
    assert even_share(count, most) == expected
