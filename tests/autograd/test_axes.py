"""Counting axes from the front and from the back."""

import pytest

from minicnn.autograd.axes import axis_of


@pytest.mark.parametrize(
    ("dim", "ndim", "axis"), [(0, 3, 0), (2, 3, 2), (-1, 3, 2), (-3, 3, 0), (0, 0, 0), (-1, 0, 0)]
)
def test_axes_from_the_front(dim, ndim, axis):
    assert axis_of("here", dim, ndim) == axis


@pytest.mark.parametrize(("dim", "ndim"), [(3, 3), (-4, 3), (1, 0)])
def test_an_axis_that_is_not_there(dim, ndim):
    with pytest.raises(IndexError, match=f"here: there is no axis {dim}; .* {ndim} axes"):
        axis_of("here", dim, ndim)
