"""Our function and PyTorch's beside each other, on arrays in any memory order: values and gradients."""

import numpy as np
from hypothesis import strategies as st

from tests.checks import MEMORY_ORDERS, in_memory, leaf, normal
from tests.devices import enough_examples, host, placed

DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}

orders = st.sampled_from(MEMORY_ORDERS)
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 10_000)


def assert_like_torch(torch, ours, theirs, *arrays, seed=0, order="contiguous"):
    """Assert that `ours(*tensors)` and `theirs(*tensors)` agree in value, and in the gradient of every array.

    The gradients are those of sum(c * y) for a random c that lies in memory as `order` says. Arrays
    are used where they lie; they and c must come out bit for bit as they went in. None stands for
    an absent argument.
    """
    if enough_examples():
        return
    before = [None if a is None else a.copy() for a in arrays]
    arrays = [placed(a) for a in arrays]
    mine = [None if a is None else leaf(a) for a in arrays]
    twins = [
        None if a is None else torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in before
    ]
    y, y_twin = ours(*mine), theirs(*twins)
    assert_close(host(y), y_twin.detach().numpy())

    cotangent = placed(random_array(y.shape, y.dtype, seed, order))
    sent = cotangent.copy()
    y.backward(cotangent)
    y_twin.backward(torch.tensor(host(sent)))
    for tensor, twin, array, old in zip(mine, twins, arrays, before, strict=True):
        if array is None:
            continue
        assert host(array).tobytes() == old.tobytes(), "an argument was changed"
        if array.dtype.kind == "f":
            assert_close(host(tensor.grad), twin.grad.numpy())
    unchanged = host(cotangent).tobytes() == host(sent).tobytes()
    assert unchanged, "the incoming gradient was changed"


def assert_close(mine, twin):
    """Assert equal dtypes and shapes, and values up to the rounding of sums of numbers near 1."""
    assert (mine.dtype, mine.shape) == (twin.dtype, twin.shape)
    tolerance = TOLERANCE[mine.dtype.name]
    scale = np.max(np.abs(twin), initial=1, where=~np.isnan(twin))
    np.testing.assert_allclose(mine, twin, rtol=tolerance, atol=tolerance * min(scale, 100))


def random_array(shape, dtype="float64", seed=0, order="contiguous"):
    """Return standard normal numbers that lie in memory as `order` says."""
    return in_memory(normal(*shape, seed=seed, dtype=dtype), order)


def distinct(shape, dtype="float64", seed=0, order="contiguous"):
    """Return numbers no two of which are equal or nearly so, in random places: windows have no ties."""
    count = int(np.prod(shape))
    numbers = np.random.default_rng(seed).permutation(count) / 8 - count / 16
    return in_memory(numbers.reshape(shape).astype(dtype), order)


def grads_of(function, *arrays):
    """Return y and the gradients of sum(y) with respect to `arrays`, as arrays."""
    tensors = [leaf(array) for array in arrays]
    y = function(*tensors)
    y.sum().backward()
    return [host(y), *(host(tensor.grad) for tensor in tensors)]
