"""Normalisation: against PyTorch in both modes, running statistics, accuracy, slopes, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from minicnn.nn.functional.norm import BatchNorm, Normalize
from tests.checks import check_contract, positive
from tests.devices import constant, host, on_every_device, placed
from tests.nn.oracle import assert_close, assert_like_torch, dtypes, orders, random_array, seeds

small = st.integers(1, 4)
shapes_with_channels = st.one_of(
    st.tuples(st.integers(2, 5), small),
    st.tuples(st.integers(2, 3), small, small),
    st.tuples(st.integers(2, 3), small, small, small),
)
absent = st.booleans()


@on_every_device
@given(shapes_with_channels, absent, absent, dtypes, st.tuples(orders, orders), seeds)
def test_batch_norm_in_training_like_torch(torch, shape, scaled, shifted, dtype, memory, seed):
    weight = random_array(shape[1:2], dtype, seed + 1) if scaled else None
    bias = random_array(shape[1:2], dtype, seed + 2) if shifted else None
    mine = constant(np.zeros(shape[1], dtype)), constant(np.ones(shape[1], dtype))
    twins = torch.tensor(host(mine[0])), torch.tensor(host(mine[1]))
    order = "transposed" if memory[0] == "broadcast" else memory[0]  # its variance would be 0
    assert_like_torch(
        torch,
        lambda x, w, b: F.batch_norm(x, *mine, w, b, True, 0.3, 1e-3),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *twins, w, b, True, 0.3, 1e-3),
        random_array(shape, dtype, seed, order),
        weight,
        bias,
        seed=seed,
        order=memory[1],
    )
    for tensor, twin in zip(mine, twins, strict=True):
        assert_close(host(tensor), twin.numpy())


@on_every_device
@given(shapes_with_channels, absent, absent, dtypes, st.tuples(orders, orders), seeds)
def test_batch_norm_in_inference_like_torch(torch, shape, scaled, shifted, dtype, memory, seed):
    weight = random_array(shape[1:2], dtype, seed + 1) if scaled else None
    bias = random_array(shape[1:2], dtype, seed + 2) if shifted else None
    statistics = (
        random_array(shape[1:2], dtype, seed + 3),
        positive(shape[1], seed=seed, dtype=dtype),
    )
    assert_like_torch(
        torch,
        lambda x, w, b: F.batch_norm(x, *map(constant, statistics), w, b),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *map(torch.tensor, statistics), w, b),
        random_array(shape, dtype, seed, memory[0]),
        weight,
        bias,
        seed=seed,
        order=memory[1],
    )


@given(
    shapes_with_channels, absent, st.booleans(), st.booleans(), dtypes, st.tuples(orders, orders), seeds
)  # fmt: skip
@on_every_device
def test_batch_norm_like_torch(torch, shape, added, relu, training, dtype, memory, seed):
    """The fused form is the three functions one after the other."""
    residual = random_array(shape, dtype, seed + 4, memory[1]) if added else None
    mine = [random_array(shape[1:2], dtype, seed + 3), positive(shape[1], seed=seed, dtype=dtype)]
    twins = [torch.tensor(statistic) for statistic in mine]
    mine = [constant(statistic) for statistic in mine]

    def ours(x, w, b, r):
        activation = "relu" if relu else None
        return F.batch_norm(x, *mine, w, b, training, 0.3, 1e-3, r, activation)

    def theirs(x, w, b, r):
        y = torch.nn.functional.batch_norm(x, *twins, w, b, training, 0.3, 1e-3)
        y = y if r is None else y + r
        return torch.relu(y) if relu else y

    order = "transposed" if memory[0] == "broadcast" else memory[0]
    assert_like_torch(
        torch,
        ours,
        theirs,
        random_array(shape, dtype, seed, order),
        random_array(shape[1:2], dtype, seed + 1),
        random_array(shape[1:2], dtype, seed + 2),
        residual,
        seed=seed,
        order=memory[1],
    )
    for tensor, twin in zip(mine, twins, strict=True):
        assert_close(host(tensor), twin.numpy())


@on_every_device
@given(
    st.tuples(small, small, st.integers(2, 4)),
    st.booleans(),
    absent,
    dtypes,
    st.tuples(orders, orders),
    seeds,
)
def test_layer_norm_like_torch(torch, shape, two_axes, affine, dtype, memory, seed):
    normalized = shape[1:] if two_axes else shape[2:]
    assert_like_torch(
        torch,
        lambda x, w, b: F.layer_norm(x, normalized, w, b, 1e-3),
        lambda x, w, b: torch.nn.functional.layer_norm(x, normalized, w, b, 1e-3),
        random_array(shape, dtype, seed, memory[0]),
        random_array(normalized, dtype, seed + 1) if affine else None,
        random_array(normalized, dtype, seed + 2) if affine else None,
        seed=seed,
        order=memory[1],
    )


@on_every_device
@given(
    small,
    small,
    small,
    st.sampled_from([(), (3,), (2, 2)]),
    absent,
    dtypes,
    st.tuples(orders, orders),
    seeds,
)
def test_group_norm_like_torch(torch, batch, groups, per_group, size, affine, dtype, memory, seed):
    channels = groups * max(per_group, 1 if size else 2)
    arrays = (
        random_array((batch, channels, *size), dtype, seed, memory[0]),
        random_array((channels,), dtype, seed + 1) if affine else None,
        random_array((channels,), dtype, seed + 2) if affine else None,
    )
    assert_like_torch(
        torch,
        lambda x, w, b: F.group_norm(x, groups, w, b, 1e-3),
        lambda x, w, b: torch.nn.functional.group_norm(x, groups, w, b, 1e-3),
        *arrays,
        seed=seed,
        order=memory[1],
    )


def leaves(*arrays):
    return [Tensor(a, requires_grad=True) for a in arrays]


def test_slopes():
    x, w, b = leaves(
        random_array((3, 4, 3)), random_array((4,), seed=1), random_array((4,), seed=2)
    )
    gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, w, b])
    gradcheck(lambda x, w, b: F.group_norm(x, 2, w, b), [x, w, b])
    mean, variance = Tensor(random_array((4,), seed=3)), Tensor(positive(4))
    gradcheck(lambda x, w, b: F.batch_norm(x, mean, variance, w, b), [x, w, b])
    (residual,) = leaves(random_array((3, 4, 3), seed=4))
    for training in (True, False):
        gradcheck(
            lambda x, w, b, r, t=training: F.batch_norm(
                x, mean.clone(), variance.clone(), w, b, t, residual=r, activation="relu"
            ),
            [x, w, b, residual],
        )
    w, b = leaves(random_array((4, 3), seed=1), random_array((4, 3), seed=2))
    gradcheck(lambda x, w, b: F.layer_norm(x, (4, 3), w, b), [x, w, b])
    gradcheck(lambda x: F.layer_norm(x, (3,)), x)


@on_every_device
def test_contract():
    x, w, b = random_array((3, 4, 2)), random_array((4,), seed=1), random_array((4,), seed=2)
    orders = ("contiguous", "transposed", "channels last", "reversed", "read-only")
    for parameters in ((w, b), (None, None), (w, None), (None, b)):
        check_contract(lambda: Normalize((0, 2), 1e-5, (1, 4, 1)), x, *parameters, orders=orders)


@on_every_device
@pytest.mark.parametrize("relu", [False, True])
def test_contract_of_batch_norm(relu):
    x, w, b = random_array((3, 4, 2)), random_array((4,), seed=1), random_array((4,), seed=2)
    residual = random_array((3, 4, 2), seed=3)
    given = random_array((4,), seed=4), positive(4)
    orders = ("contiguous", "transposed", "channels last", "reversed", "read-only")
    for statistics in (None, tuple(map(placed, given))):
        for arrays in ((w, b, residual), (None, None, None), (w, None, None), (None, b, residual)):
            check_contract(lambda s=statistics: BatchNorm(1e-5, relu, s), x, *arrays, orders=orders)


def test_running_statistics_may_change_between_forward_and_backward():
    x = Tensor(random_array((4, 2)), requires_grad=True)
    mean, variance = Tensor(np.zeros(2)), Tensor(np.ones(2))
    y = F.batch_norm(x, mean, variance)
    F.batch_norm(Tensor(random_array((4, 2), seed=1)), mean, variance, training=True)
    y.backward(np.ones((4, 2)))
    np.testing.assert_allclose(x.grad.array, (1 + 1e-5) ** -0.5)


def test_backward_notices_that_its_result_was_changed():
    x = Tensor(random_array((4, 2)), requires_grad=True)
    residual = Tensor(random_array((4, 2), seed=1))
    y = F.batch_norm(x, None, None, training=True, residual=residual, activation="relu")
    y.detach().fill_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(np.ones((4, 2)))


@pytest.mark.parametrize("function", ["layer_norm", "group_norm", "batch_norm"])
def test_empty_batch(function):
    x, w, b = leaves(*(random_array(s, "float32") for s in ((0, 4, 2, 2), (4,), (4,))))
    statistics = Tensor(np.zeros(4, "float32")), Tensor(np.ones(4, "float32"))
    y = {
        "layer_norm": lambda: F.layer_norm(x, (4, 2, 2)) + (w + b).reshape(4, 1, 1),
        "group_norm": lambda: F.group_norm(x, 2, w, b),
        "batch_norm": lambda: F.batch_norm(x, *statistics, w, b),
    }[function]()
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert w.grad.tolist() == b.grad.tolist() == [0, 0, 0, 0]


def test_a_large_mean_keeps_a_small_variance():
    """In float32, mean(x^2) - mean(x)^2 would leave nothing of a variance of 0.01 beside a mean of 1000."""
    x = 1000 + 0.1 * random_array((64, 3, 8, 8))
    x = x.astype("float32")
    exact = x.astype("float64")
    mean = exact.mean(axis=(0, 2, 3), keepdims=True)
    variance = exact.var(axis=(0, 2, 3), keepdims=True)
    running = Tensor(np.zeros(3, "float32")), Tensor(np.ones(3, "float32"))
    y = F.batch_norm(Tensor(x), *running, training=True, momentum=1.0, eps=0.0)
    assert y.dtype == np.float32
    assert np.abs(y.array - (exact - mean) / np.sqrt(variance)).max() < 1e-3
    np.testing.assert_allclose(running[0].array, mean.ravel(), rtol=1e-7)
    np.testing.assert_allclose(running[1].array, variance.ravel() * 4096 / 4095, rtol=1e-4)


def test_a_constant_channel_becomes_its_shift():
    x = Tensor(np.full((4, 2, 3, 3), 7, "float32"), requires_grad=True)
    y = F.batch_norm(x, None, None, None, Tensor(np.array([1, 2], "float32")), training=True)
    assert np.unique(y.array).tolist() == [1, 2]
    y.backward(random_array(y.shape, "float32"))
    assert np.isfinite(x.grad.array).all()


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (0, 3, 2, 2)])
def test_training_refuses_one_value_per_channel(shape):
    running = Tensor(np.zeros(3)), Tensor(np.ones(3))
    with pytest.raises(ValueError, match="more than one value per channel"):
        F.batch_norm(Tensor(np.ones(shape)), *running, training=True)
    assert running[0].tolist() == [0, 0, 0]


def test_works_inside_detect_anomaly():
    x = Tensor(random_array((4, 2)), requires_grad=True)
    with minicnn.detect_anomaly():
        F.batch_norm(x, None, None, training=True).backward(random_array((4, 2), seed=1))
    assert x.grad is not None


def zeros(*shape, dtype="float32"):
    return Tensor(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.batch_norm(zeros(2, 3), zeros(2), zeros(2)),
            r"expected running_mean of shape \(3,\), got \(2,\)",
        ),
        (
            lambda: F.batch_norm(zeros(2, 3), None, None, zeros(4), training=True),
            r"\(3,\), got \(4,\)",
        ),
        (lambda: F.batch_norm(zeros(2, 3), None, None), "running statistics"),
        (
            lambda: F.batch_norm(zeros(2, 3), None, None, training=True, residual=zeros(2, 1)),
            r"x of shape \(2, 3\) expected residual of shape \(2, 3\), got \(2, 1\)",
        ),
        (
            lambda: F.batch_norm(zeros(2, 3), None, None, training=True, activation="tanh"),
            "must be \"relu\" or None, got 'tanh'",
        ),
        (lambda: F.batch_norm(zeros(5), None, None, training=True), r"\(N, C, \.\.\.\)"),
        (lambda: F.layer_norm(zeros(2, 3), (2,)), r"must be \(2,\)"),
        (lambda: F.layer_norm(zeros(2, 3), (3,), zeros(1)), r"\(3,\), got \(1,\)"),
        (lambda: F.group_norm(zeros(2, 3), 2), "cannot be divided into 2 groups"),
        (lambda: F.group_norm(zeros(2, 4, 2), 2, zeros(2)), r"\(4,\), got \(2,\)"),
    ],
)
def test_refuses_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.batch_norm(zeros(2, 3, dtype="float64"), zeros(3), zeros(3)),
        lambda: F.batch_norm(zeros(2, 3, dtype="float64"), None, None, zeros(3), training=True),
        lambda: F.batch_norm(zeros(2, 3, dtype="int64"), None, None, training=True),
        lambda: F.layer_norm(zeros(2, 3, dtype="float64"), (3,), zeros(3)),
        lambda: F.group_norm(zeros(2, 4, dtype="float64"), 2, None, zeros(4)),
    ],
)
def test_refuses_dtypes(call):
    with pytest.raises(TypeError, match=r"int64|float64"):
        call()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.layer_norm(x, (0,)), (2, 0)),
        (lambda x: F.layer_norm(x, (5,)), (0, 5)),
        (lambda x: F.group_norm(x, 2), (2, 4, 0)),
        (lambda x: F.group_norm(x, 2), (0, 4, 3)),
        (lambda x: F.group_norm(x, 2), (2, 0, 3)),
    ],
)
def test_nothing_to_normalise_gives_nothing(function, shape):
    x = Tensor(np.zeros(shape, "float32"), requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
