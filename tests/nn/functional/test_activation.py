"""Activations: values and gradients against PyTorch and against measured slopes; extremes, memory orders, errors."""

import subprocess
import sys

import numpy as np
import pytest

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import away_from_kinks, gradcheck
from tests.devices import constant, on_every_device
from tests.nn.oracle import DTYPES, assert_like_torch, grads_of

ELEMENTWISE = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": 0, "max_val": 0.7}),
    ("relu6", {}),
    ("elu", {}),
    ("elu", {"alpha": 0.4}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("softplus", {}),
    ("softplus", {"beta": 3, "threshold": 2}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
]
ALONG_AN_AXIS = [(name, {"dim": dim}) for name in ("softmax", "log_softmax") for dim in (0, 1, -1)]
ALL = ELEMENTWISE + ALONG_AN_AXIS
CHECKING_DTYPES = [case for case in ALL if case[0] not in ("relu", "sigmoid", "tanh")]


def ids(cases):
    return [
        f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})" for name, options in cases
    ]


def each(cases):
    return pytest.mark.parametrize(("name", "options"), cases, ids=ids(cases))


def call(name, options):
    return lambda x: getattr(F, name)(x, **options)


def random(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(scale=3, size=shape).astype(dtype)


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@each(ALL)
def test_like_torch(torch, name, options, dtype):
    theirs = getattr(torch.nn.functional, name)
    assert_like_torch(
        torch, call(name, options), lambda x: theirs(x, **options), random((4, 3, 5), dtype)
    )


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@each(ELEMENTWISE)
def test_like_torch_at_kinks_and_extremes(torch, name, options, dtype):
    x = np.array([-1e9, -100, -20, -1, -1e-9, -0.0, 0.0, 1e-9, 0.7, 1, 6, 20, 100, 1e9], dtype)
    theirs = getattr(torch.nn.functional, name)
    assert_like_torch(torch, call(name, options), lambda x: theirs(x, **options), x)


@pytest.mark.parametrize(
    ("function", "left", "right"),
    [
        (F.relu, 0, np.inf),
        (F.leaky_relu, -np.inf, np.inf),
        (F.hardtanh, -1, 1),
        (F.relu6, 0, 6),
        (F.elu, -1, np.inf),
        (F.sigmoid, 0, 1),
        (F.tanh, -1, 1),
        (F.softplus, 0, np.inf),
    ],
)
def test_infinity_gives_the_limit(function, left, right):
    y, grad = grads_of(function, np.array([-np.inf, np.inf], "float32"))
    assert y.tolist() == [left, right]
    assert np.isfinite(grad).all()


@each(ALL)
def test_slopes(name, options):
    x = away_from_kinks(random((3, 4)), kinks=(-1, 0, 0.7, 6), gap=0.01)
    assert gradcheck(call(name, options), Tensor(x, requires_grad=True))


@each(ALL)
def test_nan_stays_nan(name, options):
    y = call(name, options)(constant(np.full((2, 2), np.nan, "float32")))
    assert np.isnan(y.array).all()


@on_every_device
@each(ALL)
@pytest.mark.parametrize(
    "view",
    [
        lambda: random((4, 6, 5)).transpose(2, 0, 1)[:, ::2],
        lambda: np.broadcast_to(random((4, 1)), (3, 4, 5)),
        lambda: random((3, 4, 5))[::-1, :, ::-1],
    ],
    ids=["transposed", "broadcast", "reversed"],
)
def test_memory_order_does_not_matter(name, options, view):
    function = call(name, options)
    for mine, twin in zip(
        grads_of(function, view()), grads_of(function, view().copy()), strict=True
    ):
        np.testing.assert_allclose(mine, twin, rtol=1e-14, atol=1e-15)


@on_every_device
@each(ELEMENTWISE)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 3)])
def test_any_shape(name, options, shape):
    y, grad = grads_of(call(name, options), np.full(shape, 0.5, "float32"))
    assert (y.shape, grad.shape) == (shape, shape)
    assert (y.dtype, grad.dtype) == (np.float32, np.float32)


@each(ALONG_AN_AXIS)
def test_empty_batch(name, options):
    if options["dim"] == 0:
        options = {"dim": 2}
    y, grad = grads_of(call(name, options), np.zeros((0, 3, 2), "float32"))
    assert y.shape == grad.shape == (0, 3, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.leaky_relu(x, np.float64(0.1)),
        lambda x: F.hardtanh(x, np.float64(-1), np.float64(1)),
        lambda x: F.elu(x, np.sqrt(2)),
        lambda x: F.softplus(x, np.float64(2), np.float64(20)),
    ],
    ids=["leaky_relu", "hardtanh", "elu", "softplus"],
)
def test_numpy_settings_do_not_promote(function):
    x = Tensor(random(5, "float32"), requires_grad=True)
    y = function(x)
    (grad,) = y.grad_fn.backward(np.ones(5, "float32"))
    assert y.dtype == grad.dtype == np.float32


def test_inplace_changes_nothing():
    x = Tensor([-1.0, 8.0])
    for function in (F.relu, F.leaky_relu, F.elu, F.relu6, F.hardtanh, F.silu):
        function(x, inplace=True)
    assert x.tolist() == [-1.0, 8.0]


def test_swish_is_silu():
    assert F.swish is F.silu


# --- PReLU ----------------------------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "slopes"), [((2, 3, 4, 5), 3), ((2, 3), 1), ((6, 3), 3), ((7,), 1), ((0, 3), 3)]
)
def test_prelu_like_torch(torch, shape, slopes, dtype):
    x, weight = random(shape, dtype), random(slopes, dtype, seed=1)
    assert_like_torch(torch, F.prelu, torch.nn.functional.prelu, x, weight)


@on_every_device
def test_prelu_like_torch_at_kinks_and_extremes(torch):
    x = np.array([[-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf]])
    assert_like_torch(torch, F.prelu, torch.nn.functional.prelu, x, np.array([0.2]))


def test_prelu_slopes():
    x = Tensor(away_from_kinks(random((2, 3, 4)), gap=0.01), requires_grad=True)
    assert gradcheck(F.prelu, [x, Tensor(random(3), requires_grad=True)])


def test_prelu_of_a_number():
    assert F.prelu(Tensor(-2.0), Tensor([0.25])).item() == -0.5


def test_prelu_trains_its_slopes_alone():
    weight = Tensor([0.25, 0.5], requires_grad=True)
    F.prelu(Tensor([[-1.0, -2.0], [3.0, -4.0]]), weight).sum().backward()
    assert weight.grad.tolist() == [-1.0, -6.0]


def test_prelu_refuses_a_wrong_number_of_slopes():
    with pytest.raises(ValueError, match=r"\(1,\) or \(3,\).*\(2, 3, 4\), got \(4,\)"):
        F.prelu(Tensor(np.zeros((2, 3, 4))), Tensor(np.zeros(4)))


def test_prelu_refuses_mixed_dtypes():
    with pytest.raises(TypeError, match=r"prelu.*float32.*float64"):
        F.prelu(Tensor(np.zeros((2, 3), "float32")), Tensor(np.zeros(3)))


# --- properties, errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 1000, -1000])
def test_softmax_sums_to_one_however_large_the_scores(shift):
    y = F.softmax(Tensor(random((5, 7), "float32") + np.float32(shift)), 1)
    np.testing.assert_allclose(y.array.sum(1), 1, rtol=1e-6)


def test_log_softmax_is_exact_where_softmax_underflows():
    assert F.log_softmax(Tensor([[0.0, -1000.0]]), 1).tolist() == [[0.0, -1000.0]]


@each(CHECKING_DTYPES)
def test_integers_are_refused(name, options):
    with pytest.raises(TypeError, match=rf"{name}: x .*int64 of shape \(1, 2, 3\).*float\(\)"):
        call(name, options)(Tensor(np.ones((1, 2, 3), int)))


@each(CHECKING_DTYPES)
def test_arrays_are_refused(name, options):
    with pytest.raises(TypeError, match=f"{name}: x must be a Tensor, got ndarray"):
        call(name, options)(np.ones((1, 2, 3)))


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_an_axis_must_be_named(function):
    with pytest.raises(ValueError, match="dim=1"):
        function(Tensor([[1.0, 2.0]]), None)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
@pytest.mark.parametrize("dim", [2, -3])
def test_an_axis_must_exist(function, dim):
    with pytest.raises(ValueError, match=rf"dim {dim} .*2 axes of shape \(1, 2\)"):
        function(Tensor([[1.0, 2.0]]), dim)


def test_hardtanh_refuses_crossed_ends():
    with pytest.raises(ValueError, match="min_val <= max_val, got 2 and 1"):
        F.hardtanh(Tensor([0.0]), 2, 1)


def test_softplus_refuses_beta_zero():
    with pytest.raises(ValueError, match="beta"):
        F.softplus(Tensor([0.0]), beta=0)


def test_gelu_refuses_an_unknown_approximation():
    with pytest.raises(ValueError, match="'sigmoid'"):
        F.gelu(Tensor([0.0]), approximate="sigmoid")


def test_only_gelu_loads_numba():
    program = (
        "import sys, minicnn, minicnn.nn.functional as F; x = minicnn.Tensor([1.0]);"
        "F.leaky_relu(x); before = 'numba' in sys.modules; F.gelu(x); print(before, 'numba' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("function", [F.hardtanh, F.relu6])
def test_limits_stop_an_infinite_gradient(function):
    x = Tensor([-9.0, 0.5, 9.0], requires_grad=True)
    function(x).backward([np.inf, np.inf, np.nan])
    assert x.grad.tolist() == [0, np.inf, 0]
