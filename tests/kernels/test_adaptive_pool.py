import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import adaptive_pool

sizes = st.integers(1, 7)


def images_with_ties(N, H, W, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).integers(-3, 4, (N, 2, H, W)).astype(dtype)


@settings(deadline=None, max_examples=60)
@given(N=st.integers(1, 2), H=sizes, W=sizes, OH=sizes, OW=sizes, seed=st.integers(0, 999))
def test_adaptive_avg_pool2d_is_pytorchs(torch, N, H, W, OH, OW, seed):
    x = images_with_ties(N, H, W, seed)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch.nn.functional.adaptive_avg_pool2d(x_torch, (OH, OW))
    grad = np.random.default_rng(seed).standard_normal(y_torch.shape).astype(np.float32)
    y_torch.backward(torch.tensor(grad))
    y = adaptive_pool.adaptive_avg_pool2d(x, (OH, OW))
    grad_x = adaptive_pool.adaptive_avg_pool2d_grad(grad, x.shape)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_x, x_torch.grad.numpy(), rtol=1e-5, atol=1e-6)
    assert y.dtype == grad_x.dtype == np.float32


@settings(deadline=None, max_examples=60)
@given(N=st.integers(1, 2), H=sizes, W=sizes, OH=sizes, OW=sizes, seed=st.integers(0, 999))
def test_adaptive_max_pool2d_is_pytorchs(torch, N, H, W, OH, OW, seed):
    x = images_with_ties(N, H, W, seed)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch.nn.functional.adaptive_max_pool2d(x_torch, (OH, OW))
    grad = np.random.default_rng(seed).standard_normal(y_torch.shape).astype(np.float32)
    y_torch.backward(torch.tensor(grad))
    y, winner = adaptive_pool.adaptive_max_pool2d(x, (OH, OW))
    grad_x = adaptive_pool.adaptive_max_pool2d_grad(grad, winner, x.shape)
    np.testing.assert_array_equal(y, y_torch.detach().numpy())
    np.testing.assert_allclose(grad_x, x_torch.grad.numpy(), rtol=1e-5, atol=1e-6)
    assert y.dtype == grad_x.dtype == np.float32


@pytest.mark.parametrize("size", [2, 3])
def test_an_empty_batch_gives_an_empty_batch(size):
    x = images_with_ties(0, 4, 4)
    y, winner = adaptive_pool.adaptive_max_pool2d(x, size)
    assert y.shape == (0, 2, size, size)
    assert adaptive_pool.adaptive_max_pool2d_grad(y, winner, x.shape).shape == x.shape
    assert adaptive_pool.adaptive_avg_pool2d(x, size).shape == (0, 2, size, size)
    assert adaptive_pool.adaptive_avg_pool2d_grad(y, x.shape).shape == x.shape


@pytest.mark.parametrize("size", [2, 3])
def test_nan_wins(size):
    x = images_with_ties(1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    y, _ = adaptive_pool.adaptive_max_pool2d(x, size)
    assert np.isnan(y[0, 0, 0, 0])
    assert not np.isnan(y[0, 1]).any()


def test_none_keeps_the_size():
    y = adaptive_pool.adaptive_avg_pool2d(images_with_ties(1, 4, 5), (1, None))
    assert y.shape == (1, 2, 1, 5)


def test_gradients_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"grad: expected shape \(1, 2, 'OH', 'OW'\), got \(1, 3"):
        adaptive_pool.adaptive_avg_pool2d_grad(np.zeros((1, 3, 2, 2)), (1, 2, 4, 4))


@pytest.mark.parametrize("size", [1, 2])
def test_means_of_float16_are_taken_in_float32(size):
    x = np.full((1, 1, 601, 601), 100, np.float16)
    y = adaptive_pool.adaptive_avg_pool2d(x, size)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, 100)
    grad_x = adaptive_pool.adaptive_avg_pool2d_grad(np.full_like(y, 1000), x.shape)
    assert grad_x.dtype == np.float16
    cell = -(-601 // size)
    assert grad_x[0, 0, 0, 0] == np.float16(1000 / cell**2)
