"""Losses between equal shapes, and penalties: against PyTorch, against measured slopes, extremes, errors."""

import numpy as np
import pytest

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import away_from_kinks, gradcheck
from tests.devices import constant, on_every_device
from tests.nn.oracle import DTYPES, assert_close, assert_like_torch, grads_of, random_array

DISTANCES = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.3}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.3}),
    ("smooth_l1_loss", {"beta": 0}),
]
BINARY = [("binary_cross_entropy", {}), ("binary_cross_entropy_with_logits", {})]
ALL = DISTANCES + BINARY
NAMES = sorted({name for name, _ in ALL})
REDUCTIONS = ["mean", "sum", "none"]


def each(cases):
    ids = [
        f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})" for name, options in cases
    ]
    return pytest.mark.parametrize(("name", "options"), cases, ids=ids)


def call(name, **options):
    return lambda *tensors: getattr(F, name)(*tensors, **options)


def probabilities(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).uniform(0.05, 0.95, shape).astype(dtype)


def pair(name, shape, dtype="float64"):
    """Arguments that suit the loss, differences away from the kinks of |d| and of Huber's two pieces."""
    if name == "binary_cross_entropy":
        return probabilities(shape, dtype), probabilities(shape, dtype, seed=1)
    if name == "binary_cross_entropy_with_logits":
        return 4 * random_array(shape, dtype), probabilities(shape, dtype, seed=1)
    target = random_array(shape, dtype, seed=1)
    difference = 2 * random_array(shape, dtype)
    return target + away_from_kinks(difference, (-1, -0.3, 0, 0.3, 1), gap=0.05), target


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@each(ALL)
def test_like_torch(torch, name, options, reduction, dtype):
    theirs = getattr(torch.nn.functional, name)
    assert_like_torch(
        torch,
        call(name, reduction=reduction, **options),
        lambda x, t: theirs(x, t, reduction=reduction, **options),
        *pair(name, (4, 3, 2), dtype),
    )


@each(ALL)
def test_slopes_of_input_and_target(name, options):
    tensors = [Tensor(a, requires_grad=True) for a in pair(name, (3, 4))]
    assert gradcheck(call(name, reduction="none", **options), tensors)


@on_every_device
@each(DISTANCES)
def test_like_torch_at_kinks_and_extremes(torch, name, options):
    difference = np.array([-1e9, -1, -0.3, -1e-9, -0.0, 0.0, 1e-9, 0.3, 1, 1e9])
    theirs = getattr(torch.nn.functional, name)
    assert_like_torch(
        torch,
        call(name, reduction="none", **options),
        lambda x, t: theirs(x, t, reduction="none", **options),
        difference,
        np.zeros_like(difference),
    )


@on_every_device
@pytest.mark.parametrize("name", ["huber_loss", "smooth_l1_loss"])
def test_an_infinite_error_pulls_with_finite_force(name):
    _, grad = grads_of(
        call(name, target=constant([0.0, 0.0])), np.array([-np.inf, np.inf], "float32")
    )
    assert grad.tolist() == [-0.5, 0.5]


@on_every_device
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@each(ALL)
def test_nan_is_seen(name, options, reduction):
    x = constant(np.array([0.5, np.nan, 0.5], "float32"))
    loss = call(name, reduction=reduction, **options)(x, constant([0.0, 1.0, 1.0]))
    assert np.isnan(loss.item())


@on_every_device
@each(ALL)
def test_nothing_sums_to_zero_and_has_no_mean(name, options):
    for reduction, expected in [("sum", 0.0), ("mean", np.nan), ("none", np.zeros((0, 3)))]:
        y, grad = grads_of(
            call(name, target=constant(np.zeros((0, 3))), reduction=reduction, **options),
            np.zeros((0, 3)),
        )
        np.testing.assert_array_equal(y, expected)
        assert grad.shape == (0, 3)


@on_every_device
@each(ALL)
def test_memory_order_does_not_matter(name, options):
    function = call(name, **options)
    views = [np.asarray(a.T[:, ::2]) for a in pair(name, (6, 5))]
    copies = [a.copy() for a in views]
    for mine, twin in zip(grads_of(function, *views), grads_of(function, *copies), strict=True):
        np.testing.assert_allclose(mine, twin, rtol=1e-13, atol=1e-15)


@each(ALL)
def test_a_single_number(name, options):
    loss = call(name, **options)(Tensor(0.5), Tensor(0.5))
    assert (loss.shape, loss.dtype) == ((), np.float32)


@each(ALL)
def test_integer_and_array_targets_are_converted(name, options):
    x = Tensor([0.25, 0.75])
    expected = call(name, **options)(x, Tensor([0.0, 1.0])).item()
    for target in (Tensor([0, 1]), np.array([0, 1], np.uint8), np.array([False, True]), [0.0, 1.0]):
        loss = call(name, **options)(x, target)
        assert (loss.item(), loss.dtype) == (expected, np.float32)


@pytest.mark.parametrize("function", [F.huber_loss, F.smooth_l1_loss])
def test_numpy_settings_do_not_promote(function):
    assert function(Tensor([2.0]), Tensor([0.0]), "mean", np.float64(0.5)).dtype == np.float32


# --- binary cross-entropy -------------------------------------------------------------------------


@on_every_device
def test_binary_cross_entropy_at_certainty(torch):
    theirs = torch.nn.functional.binary_cross_entropy
    p = np.array([0, 0, 1, 1, 1e-30, 1e-30, 0.5, 0.5], "float32")
    t = np.array([0, 1, 0, 1, 0, 1, 0, 1], "float32")
    assert_like_torch(
        torch,
        lambda p: F.binary_cross_entropy(p, constant(t), reduction="none"),
        lambda p: theirs(p, torch.tensor(t), reduction="none"),
        p,
    )


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_pos_weight", [False, True])
def test_with_logits_at_large_scores(torch, with_pos_weight, dtype):
    theirs = torch.nn.functional.binary_cross_entropy_with_logits
    scores = np.repeat(np.array([-1e9, -100, -30, -1, 0, 1, 30, 100, 1e9], dtype), 3)
    t = np.tile(np.array([0, 0.3, 1], dtype), 9)
    weight = constant(np.array([2], dtype)) if with_pos_weight else None
    twin_weight = torch.tensor(np.array([2], dtype)) if with_pos_weight else None
    assert_like_torch(
        torch,
        lambda x: F.binary_cross_entropy_with_logits(
            x, constant(t), reduction="none", pos_weight=weight
        ),
        lambda x: theirs(x, torch.tensor(t), reduction="none", pos_weight=twin_weight),
        scores,
    )


def test_with_logits_equals_the_loss_of_the_sigmoid():
    x, t = (Tensor(a) for a in pair("binary_cross_entropy_with_logits", (5, 4)))
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(x, t).item(),
        F.binary_cross_entropy(x.sigmoid(), t).item(),
    )


def test_with_logits_keeps_the_digits_of_a_small_loss():
    loss = F.binary_cross_entropy_with_logits(Tensor([20.0]), Tensor([1.0]))
    assert loss.item() == pytest.approx(np.exp(-20), rel=1e-6)


@on_every_device
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight_shape", [(), (3,), (4, 1), (4, 3)])
@each(BINARY)
def test_weights_like_torch(torch, name, options, weight_shape, reduction):
    weight = np.asarray(probabilities(weight_shape, seed=2))
    assert_like_torch(
        torch,
        lambda x, t: getattr(F, name)(x, t, weight=constant(weight), reduction=reduction),
        lambda x, t: getattr(torch.nn.functional, name)(
            x, t, weight=torch.tensor(weight), reduction=reduction
        ),
        *pair(name, (4, 3)),
    )


@on_every_device
@pytest.mark.parametrize("weight_shape", [(1,), (3,), (4, 3)])
def test_pos_weight_like_torch(torch, weight_shape):
    weight = 1 + probabilities(weight_shape, seed=2)
    assert_like_torch(
        torch,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=constant(weight)),
        lambda x, t: torch.nn.functional.binary_cross_entropy_with_logits(
            x, t, pos_weight=torch.tensor(weight)
        ),
        *pair("binary_cross_entropy_with_logits", (4, 3)),
    )


@on_every_device
@pytest.mark.parametrize("value", [1.5, -0.001, np.inf])
def test_bce_refuses_scores(value):
    x = np.full((2, 3), 0.5, "float32")
    x[1, 2] = value
    with pytest.raises(
        ValueError,
        match=rf"input must .* ({value:g}|another number) at input\[1, 2\].*\(2, 3\).*with_logits",
    ):
        F.binary_cross_entropy(constant(x), constant(np.ones((2, 3), "float32"))).tolist()


@on_every_device
@each(BINARY)
def test_binary_losses_refuse_other_labels(name, options):
    with pytest.raises(
        ValueError,
        match=rf"{name}: target must .* (-1|another number) at target\[0\], shape \(2,\)",
    ):
        call(name)(constant([0.5, 0.5]), [-1, 1]).item()


@each(BINARY)
def test_binary_losses_forgive_rounding_of_the_target(name, options):
    call(name)(Tensor([0.5]), Tensor(np.array([1 + 2e-7], "float32")))


@each(BINARY)
@pytest.mark.parametrize("weight_shape", [(4,), (2, 4, 3), (4, 2)])
def test_weights_must_broadcast_to_the_input(name, options, weight_shape):
    x = Tensor(np.full((4, 3), 0.5, "float32"))
    with pytest.raises(ValueError, match=rf"{name}: weight .*\(4, 3\), got \({weight_shape[0]},"):
        call(name, weight=Tensor(np.ones(weight_shape, "float32")))(x, x)


# --- errors of all --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "target_shape", "hint"),
    [
        ((4, 1), (4,), r"input.squeeze\(-1\) or target.unsqueeze\(-1\)"),
        ((4,), (4, 1), r"use target.squeeze\(-1\)"),
        ((4, 3), (3, 4), r"target.reshape\(input.shape\)"),
        ((4, 3), (3,), "never broadcast"),
        ((4, 3), (), "never broadcast"),
    ],
)
def test_shapes_must_be_equal(name, shape, target_shape, hint):
    both = rf"{name}: .* input \({', '.join(map(str, shape))},?\) and target \({', '.join(map(str, target_shape))},?\)"
    with pytest.raises(ValueError, match=f"{both}; .*{hint}"):
        call(name)(Tensor(np.ones(shape)), Tensor(np.ones(target_shape)))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_reduction(name):
    with pytest.raises(ValueError, match=f'{name}: .*"mean", "sum" or "none", got \'avg\''):
        call(name, reduction="avg")(Tensor([0.5]), Tensor([0.5]))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_dtypes(name):
    with pytest.raises(TypeError, match=rf"{name}: .*float32 and target float64.*target.to\("):
        call(name)(Tensor([0.5]), Tensor(np.array([0.5])))


@pytest.mark.parametrize("name", NAMES)
def test_input_must_be_floating(name):
    with pytest.raises(TypeError, match=rf"{name}: input .*int64 of shape \(1,\)"):
        call(name)(Tensor([1]), Tensor([1]))


@pytest.mark.parametrize("name", NAMES)
def test_input_must_be_a_tensor(name):
    with pytest.raises(TypeError, match=f"{name}: input must be a Tensor, got ndarray"):
        call(name)(np.ones(1), Tensor([1.0]))


@pytest.mark.parametrize("delta", [0, -1, np.nan])
def test_huber_refuses_delta(delta):
    with pytest.raises(ValueError, match="delta > 0"):
        F.huber_loss(Tensor([1.0]), Tensor([0.0]), delta=delta)


@pytest.mark.parametrize("beta", [-1, np.nan])
def test_smooth_l1_refuses_beta(beta):
    with pytest.raises(ValueError, match="beta >= 0"):
        F.smooth_l1_loss(Tensor([1.0]), Tensor([0.0]), beta=beta)


# --- penalties ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "value", "grads"),
    [
        (F.l1_penalty, 1 + 2 + 0 + 3, ([1, -1], [[0], [1]])),
        (F.l2_penalty, 1 + 4 + 0 + 9, ([2, -4], [[0], [6]])),
    ],
)
def test_penalties(function, value, grads):
    parameters = [
        Tensor([1.0, -2.0], requires_grad=True),
        Tensor([[0.0], [3.0]], requires_grad=True),
    ]
    penalty = function(iter(parameters))
    penalty.backward()
    assert (penalty.item(), penalty.shape, penalty.dtype) == (value, (), np.float32)
    for parameter, grad in zip(parameters, grads, strict=True):
        assert_close(parameter.grad.array, np.array(grad, "float32"))


@pytest.mark.parametrize("function", [F.l1_penalty, F.l2_penalty])
def test_penalties_refuse_an_exhausted_iterator(function):
    with pytest.raises(ValueError, match="no parameters"):
        function(iter(()))
