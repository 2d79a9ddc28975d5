"""The dense layer as a function: against PyTorch, slopes, empty batches, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from minicnn.nn.functional.linear import Linear
from tests.checks import check_contract
from tests.devices import on_every_device
from tests.nn.oracle import assert_like_torch, dtypes, orders, random_array, seeds

sizes = st.integers(1, 5)


@on_every_device
@given(
    st.lists(sizes, max_size=3),
    sizes,
    sizes,
    st.booleans(),
    dtypes,
    st.tuples(*[orders] * 4),
    seeds,
)
def test_like_torch(torch, batch, features_in, features_out, bias, dtype, memory, seed):
    assert_like_torch(
        torch,
        F.linear,
        torch.nn.functional.linear,
        random_array((*batch, features_in), dtype, seed, memory[0]),
        random_array((features_out, features_in), dtype, seed + 1, memory[1]),
        random_array((features_out,), dtype, seed + 2, memory[2]) if bias else None,
        seed=seed + 3,
        order=memory[3],
    )


def test_slopes():
    arrays = random_array((3, 2, 5)), random_array((4, 5), seed=1), random_array((4,), seed=2)
    gradcheck(F.linear, [Tensor(a, requires_grad=True) for a in arrays])


@on_every_device
def test_contract():
    check_contract(
        Linear, random_array((3, 5)), random_array((4, 5), seed=1), random_array((4,), seed=2)
    )
    check_contract(Linear, random_array((5,)), random_array((4, 5), seed=1), None)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5), (0, 0)])
def test_nothing_in(shape):
    arrays = np.zeros(shape), np.ones((3, shape[-1])), np.ones(3)
    x, w, b = (Tensor(a, requires_grad=True) for a in arrays)
    y = F.linear(x, w, b)
    assert y.shape == (*shape[:-1], 3)
    y.sum().backward()
    assert x.grad.shape == x.shape
    np.testing.assert_array_equal(w.grad.array, np.zeros(w.shape))
    np.testing.assert_array_equal(b.grad.array, [0, 0, 0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [1, 300])  # few for BLAS, many for compiled loops
def test_infinity_and_overflow_are_no_reason_for_a_warning(dtype, rows):
    huge = np.finfo(dtype).max
    x = Tensor(np.full((rows, 64), huge, dtype))
    weight = Tensor(np.stack([np.full(64, 2), np.zeros(64)]).astype(dtype))
    y = F.linear(x, weight, Tensor(np.full(2, np.inf, dtype))).array
    assert np.isposinf(y).all()
    x.array[:] = np.inf
    assert np.isnan(F.linear(x, weight).array[:, 1]).all()  # infinity times 0


def test_images_are_to_be_flattened():
    w = Tensor(np.zeros((10, 784), "float32"))
    for batch in (5, 0):
        with pytest.raises(
            ValueError, match=rf"\({batch}, 1, 28, 28\); nn\.Flatten\(\) .* \(N, 784\)"
        ):
            F.linear(Tensor(np.zeros((batch, 1, 28, 28), "float32")), w)


def test_the_right_number_of_features_is_named():
    with pytest.raises(ValueError, match="in_features should be 5408"):
        F.linear(Tensor(np.zeros((4, 5408), "float32")), Tensor(np.zeros((10, 100), "float32")))


def test_raw_pixels_are_to_be_scaled():
    pixels, w = Tensor(np.zeros((4, 3), "uint8")), Tensor(np.zeros((10, 3), "float32"))
    with pytest.raises(TypeError, match="pixels from 0 to 255 must be scaled"):
        F.linear(pixels, w)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "b_shape"),
    [((2, 3), (4, 5), (4,)), ((), (4, 5), (4,)), ((2, 5), (4, 5), (5,)), ((2, 5), (5,), (1,))],
)
def test_refuses_shapes(x_shape, w_shape, b_shape):
    with pytest.raises(ValueError, match="linear: expected"):
        F.linear(*(Tensor(np.zeros(shape)) for shape in (x_shape, w_shape, b_shape)))


def test_refuses_mixed_dtypes():
    with pytest.raises(TypeError, match=r"x float64 of shape \(2, 3\), weight float32"):
        F.linear(Tensor(np.zeros((2, 3))), Tensor(np.zeros((1, 3), "float32")))
