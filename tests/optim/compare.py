"""Run one of our optimizers and PyTorch's beside each other, on the same gradients."""

import numpy as np

from minicnn.autograd import Tensor
from tests.devices import constant, host, placed

SHAPES = [(3, 2, 3, 3), (4,), ()]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def random_params(seed=0, dtype="float64"):
    """Return parameters of several ranks."""
    rng = np.random.default_rng(seed)
    return [param(np.asarray(rng.normal(size=shape), dtype)) for shape in SHAPES]


def param(values, grad=None, dtype=np.float64):
    """Return one parameter, with a gradient if given."""
    values = values if isinstance(values, np.ndarray) else np.array(values, dtype)
    tensor = Tensor(placed(values), requires_grad=True)
    if grad is not None:
        tensor.grad = constant(np.array(grad, tensor.dtype))
    return tensor


def set_random_grads(params, rng):
    """Give every parameter a new gradient."""
    for p in params:
        p.grad = constant(np.asarray(rng.normal(size=p.shape), p.dtype))


def values(params):
    """Return copies of the parameters' arrays."""
    return [host(p).copy() for p in params]


def assert_same_path(torch, ours, theirs, options, dtype="float64", steps=12):
    """Assert that optimizer classes `ours` and `theirs` move equal parameters equally."""
    params = random_params(dtype=dtype)
    twins = [torch.tensor(host(p).copy(), requires_grad=True) for p in params]
    optimizer, twin_optimizer = ours(params, **options), theirs(twins, **options)
    rng = np.random.default_rng(1)
    for step in range(steps):
        set_random_grads(params, rng)
        for p, twin in zip(params, twins, strict=True):
            twin.grad = torch.tensor(host(p.grad).copy())
        if step == 3:  # a parameter without a gradient stays where it is, in this step
            params[1].grad = twins[1].grad = None
        optimizer.step()
        twin_optimizer.step()
        for p, twin in zip(params, twins, strict=True):
            expected = twin.detach().numpy()
            assert p.array.dtype == expected.dtype
            tolerance = TOLERANCE[dtype]
            np.testing.assert_allclose(host(p), expected, rtol=tolerance, atol=tolerance)


def assert_continues_bit_equal(optimizer_class, options):
    """Assert that a fresh optimizer with a loaded state moves as the first one would have."""
    params = random_params(dtype="float32")
    optimizer = optimizer_class(params, **options)
    rng = np.random.default_rng(1)
    for _ in range(3):
        set_random_grads(params, rng)
        optimizer.step()
    copies = [param(host(p).copy()) for p in params]
    restored = optimizer_class(copies, lr=123.0)
    restored.load_state_dict(optimizer.state_dict())
    for _ in range(3):
        set_random_grads(params, rng)
        for p, copy in zip(params, copies, strict=True):
            copy.grad = p.grad
        optimizer.step()
        restored.step()
    for p, copy in zip(params, copies, strict=True):
        np.testing.assert_array_equal(host(p), host(copy))
