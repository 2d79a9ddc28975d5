"""Run one of our functions and PyTorch's beside each other, forward and backward."""

import numpy as np

from minicnn.autograd import Tensor

TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-11, "atol": 1e-13}}
DTYPES = ["float32", "float64"]


def assert_like_torch(torch, ours, theirs, *arrays, seed=0):
    """Assert that `ours(*tensors)` and `theirs(*tensors)` have equal values, dtypes, shapes and gradients.

    The gradients are those of sum(c * y) for a random c, with respect to each floating-point array. The arguments and
    c must come out unchanged.
    """
    mine = [Tensor(a.copy(), requires_grad=a.dtype.kind == "f") for a in arrays]
    twins = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y, y_twin = ours(*mine), theirs(*twins)
    assert_equal_arrays(y.array, y_twin.detach().numpy())

    cotangent = np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype)
    sent = cotangent.copy()
    y.backward(Tensor(sent))
    y_twin.backward(torch.tensor(cotangent))
    for tensor, twin, array in zip(mine, twins, arrays, strict=True):
        np.testing.assert_array_equal(tensor.array, array)
        if twin.grad is not None:
            assert tensor.grad is not None
            assert_equal_arrays(tensor.grad.array, twin.grad.numpy())
    np.testing.assert_array_equal(sent, cotangent)


def assert_equal_arrays(mine, twin):
    """Assert equal dtypes and shapes, and values up to rounding; NaN equals NaN."""
    assert (mine.dtype, mine.shape) == (twin.dtype, twin.shape)
    np.testing.assert_allclose(mine, twin, **TOLERANCE[mine.dtype.name])


def grads_of(function, *arrays):
    """Return y and the gradients of sum(y) with respect to `arrays`, as arrays."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.sum().backward()
    return [y.array, *(tensor.grad.array for tensor in tensors)]
