"""Cross-entropy and negative log-likelihood: against PyTorch, against measured slopes, extremes, errors."""

import re

import numpy as np
import pytest

import minicnn.nn.functional as F
from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from tests.devices import constant, on_every_device
from tests.nn.oracle import DTYPES, assert_like_torch, grads_of

SHAPES = [(6, 4), (5, 4, 3), (2, 4, 3, 2), (4,), (3, 1)]
REDUCTIONS = ["mean", "sum", "none"]
LOSSES = [("nll_loss", {}), ("cross_entropy", {}), ("cross_entropy", {"label_smoothing": 0.2})]
FUNCTIONS = [F.nll_loss, F.cross_entropy]


def each(cases):
    ids = [
        f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})" for name, options in cases
    ]
    return pytest.mark.parametrize(("name", "options"), cases, ids=ids)


def rng(seed=0):
    return np.random.default_rng(seed)


def scores(shape, dtype="float64"):
    return (3 * rng().normal(size=shape)).astype(dtype)


def labels(shape):
    classes = shape[min(len(shape) - 1, 1)]
    without_classes = shape[:1] + shape[2:] if len(shape) > 1 else ()
    return np.asarray(rng(1).integers(0, classes, without_classes))


def class_probabilities(shape, dtype="float64"):
    axis = min(len(shape) - 1, 1)
    t = rng(2).uniform(size=shape)
    return (t / t.sum(axis=axis, keepdims=True)).astype(dtype)


def class_weights(shape, dtype="float64"):
    return rng(3).uniform(0.2, 2, shape[min(len(shape) - 1, 1)]).astype(dtype)


def compare(torch, name, arrays, target=None, weight=None, **options):
    """Assert equality with PyTorch's loss; a target that is no argument is held constant."""
    given = [] if target is None else [target]
    weights = {} if weight is None else {"weight": weight}
    assert_like_torch(
        torch,
        lambda *a: getattr(F, name)(
            *a, *map(constant, given), **{k: constant(w) for k, w in weights.items()}, **options
        ),
        lambda *a: getattr(torch.nn.functional, name)(
            *a,
            *map(torch.tensor, given),
            **{k: torch.tensor(w) for k, w in weights.items()},
            **options,
        ),
        *arrays,
    )


# --- class numbers --------------------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@each(LOSSES)
def test_like_torch(torch, name, options, shape, weighted, reduction, dtype):
    weight = class_weights(shape, dtype) if weighted else None
    compare(
        torch, name, [scores(shape, dtype)], labels(shape), weight, reduction=reduction, **options
    )


@on_every_device
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 2, -1, 255])
@each(LOSSES)
def test_ignored_labels_like_torch(torch, name, options, ignore_index, weighted, reduction):
    shape = (4, 3, 5)
    target = labels(shape)
    target[::2, 1:3] = ignore_index
    weight = class_weights(shape) if weighted else None
    options = {**options, "ignore_index": ignore_index, "reduction": reduction}
    compare(torch, name, [scores(shape)], target, weight, **options)


@on_every_device
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@each(LOSSES)
def test_all_labels_ignored_like_torch(torch, name, options, reduction, weighted):
    weight = class_weights((3, 4)) if weighted else None
    options = {**options, "reduction": reduction}
    compare(torch, name, [scores((3, 4))], np.full(3, -100), weight, **options)


@on_every_device
@each(LOSSES)
def test_weights_of_zero_like_torch(torch, name, options):
    weight = np.array([0.0, 1.0, 0.0, 2.0])
    compare(torch, name, [scores((6, 4))], labels((6, 4)), weight, **options)


@each(LOSSES)
def test_slopes(name, options):
    x = Tensor(scores((3, 4, 2)), requires_grad=True)
    target, weight = labels((3, 4, 2)), Tensor(class_weights((3, 4, 2)))
    target[0, 0] = -100
    assert gradcheck(lambda x: getattr(F, name)(x, target, weight, reduction="none", **options), x)


def test_gradient_is_probabilities_minus_truth():
    x = Tensor(scores((5, 4)), requires_grad=True)
    F.cross_entropy(x, [0, 1, 2, 3, 0], reduction="sum").backward()
    truth = np.eye(4)[[0, 1, 2, 3, 0]]
    np.testing.assert_allclose(x.grad.array, F.softmax(x, 1).detach().array - truth, atol=1e-15)


def test_cross_entropy_is_the_nll_of_log_softmax():
    x, target = Tensor(scores((5, 4))), labels((5, 4))
    expected = F.nll_loss(F.log_softmax(x, 1), target).item()
    assert F.cross_entropy(x, target).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("wrap", [Tensor, np.asarray, np.ndarray.tolist])
def test_any_integers_can_be_labels(dtype, wrap):
    target = np.array([0, 3, 1], dtype)
    x = Tensor(scores((3, 4), "float32"))
    expected = -F.log_softmax(x, 1).array[[0, 1, 2], [0, 3, 1]].mean()
    loss = F.cross_entropy(x, wrap(target))
    assert loss.dtype == np.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", [[0, 0], [1, 1], [2, 2]])
def test_large_scores_like_torch(torch, target, dtype):
    x = np.array([[1e30, 0, -1e30], [1000, 999, -1000]], dtype)
    compare(torch, "cross_entropy", [x], np.array(target), reduction="none")


@on_every_device
def test_excluded_classes_like_torch(torch):
    x = np.array([[0.5, -np.inf, 1.0], [-np.inf, -np.inf, 0.0]])
    compare(torch, "cross_entropy", [x], np.array([2, 2]), reduction="none")


@on_every_device
@each(LOSSES)
def test_nan_is_seen(name, options):
    x = scores((3, 4), "float32")
    x[1, 2] = np.nan
    assert np.isnan(getattr(F, name)(constant(x), [0, 2, 1], **options).item())


@on_every_device
def test_an_ignored_position_may_hold_anything():
    x = np.array([[0.0, 0.0], [np.nan, np.inf]], "float32")
    for function in (F.cross_entropy, F.nll_loss):
        assert np.isfinite(function(constant(x), [0, -100]).item())


@on_every_device
@pytest.mark.parametrize("weighted", [False, True])
@each(LOSSES)
def test_nothing_sums_to_zero_and_has_no_mean(name, options, weighted):
    weight = constant(np.ones(3)) if weighted else None
    target = constant(np.zeros(0, int))
    for reduction, expected in [("sum", 0.0), ("mean", np.nan), ("none", np.zeros(0))]:
        y, grad = grads_of(
            lambda x, r=reduction: getattr(F, name)(x, target, weight, reduction=r, **options),
            np.zeros((0, 3)),
        )
        np.testing.assert_array_equal(y, expected)
        assert grad.shape == (0, 3)


@on_every_device
@each(LOSSES)
def test_memory_order_does_not_matter(name, options):
    x = scores((4, 6, 5, 3)).transpose(0, 3, 1, 2)[:, :, ::2]  # (4, 3, 3, 5)
    target = labels(x.shape).transpose(0, 2, 1).copy().transpose(0, 2, 1)
    twins = [
        grads_of(lambda x, t=t: getattr(F, name)(x, constant(t), **options), a)
        for a, t in [(x, target), (x.copy(), target.copy())]
    ]
    for mine, twin in zip(*twins, strict=True):
        np.testing.assert_allclose(mine, twin, rtol=1e-13, atol=1e-16)


def test_labels_stay_as_they_are():
    target = np.array([0, -100, 2])
    F.cross_entropy(Tensor(scores((3, 4))), target, label_smoothing=0.1)
    assert target.tolist() == [0, -100, 2]


def test_labels_may_change_before_backward():
    x = Tensor(scores((2, 3)), requires_grad=True)
    target = np.array([0, 1])
    loss = F.cross_entropy(x, target, reduction="sum")
    target[:] = 2
    loss.backward()
    assert (x.grad.array[[0, 1], [0, 1]] < 0).all()


def test_settings_do_not_promote():
    x = Tensor(scores((2, 3), "float32"))
    for target in ([0, 1], class_probabilities((2, 3), "float32")):
        assert F.cross_entropy(x, target, label_smoothing=np.float64(0.1)).dtype == np.float32


# --- class probabilities --------------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_like_torch(torch, shape, smoothing, weighted, reduction, dtype):
    compare(
        torch,
        "cross_entropy",
        [scores(shape, dtype), class_probabilities(shape, dtype)],
        weight=class_weights(shape, dtype) if weighted else None,
        reduction=reduction,
        label_smoothing=smoothing,
    )


def test_slopes_of_scores_and_probabilities():
    shape = (3, 4, 2)
    arrays = scores(shape), class_probabilities(shape)
    assert gradcheck(F.cross_entropy, [Tensor(a, requires_grad=True) for a in arrays])


def test_one_hot_probabilities_equal_labels():
    x, target = Tensor(scores((5, 4))), labels((5, 4))
    np.testing.assert_allclose(
        F.cross_entropy(x, np.eye(4)[target]).item(), F.cross_entropy(x, target).item()
    )


@on_every_device
def test_scores_as_target_are_refused():
    with pytest.raises(
        ValueError, match=r"target must hold probabilities.* (3|another number) at target\[0, 1\]"
    ):
        F.cross_entropy(constant([[0.0, 0.0]]), constant([[0.0, 3.0]])).item()


def test_probabilities_of_another_dtype_are_refused():
    with pytest.raises(TypeError, match=r"float32 and target float64.*target.to\(input.dtype\)"):
        F.cross_entropy(Tensor([[0.0, 0.0]]), np.array([[0.5, 0.5]]))


# --- errors ---------------------------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0, 1, -1], "label -1 at target[2] is not a class; expected 0 to 3"),
        ([0, 4, 9], "label 4 at target[1] is not a class; expected 0 to 3"),
        ([0, 4, 9], "ignore_index=-100; classes count from 0: use target - 1"),
        (np.array([7, 0, 0], np.uint8), "label 7 at target[0]"),
        ([-100, -100, -99], "label -99 at target[2]"),
    ],
)
def test_labels_out_of_range(function, target, words):
    with pytest.raises(ValueError, match=f"^{function.__name__}: .*{re.escape(words)}"):
        function(constant(scores((3, 4))), constant(target)).tolist()


@on_every_device
def test_a_label_out_of_range_in_an_image():
    target = labels((2, 4, 3, 5))
    target[1, 2, 3] = 40
    with pytest.raises(ValueError, match=r"label 40 at target\[1, 2, 3\]"):
        F.cross_entropy(constant(scores((2, 4, 3, 5))), constant(target), ignore_index=0).item()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("shape", "target_shape", "words"),
    [
        ((3, 4), (3, 4), "use target.argmax(1) for class numbers, or target.float()"),
        ((3, 4), (3, 1), "use target.squeeze(1)"),
        ((2, 4, 5, 6), (2, 1, 5, 6), "use target.squeeze(1)"),
        ((2, 4, 5, 6), (2, 5, 6, 1), "use target.squeeze(-1)"),
        ((2, 5, 6, 4), (2, 5, 6), "input.transpose(1, -1)"),
        ((3, 4), (4,), "expected class numbers of shape (3,) for input of shape (3, 4)"),
        ((3, 4), (), "got target int64 of shape ()"),
        ((4,), (4,), "expected class numbers of shape () for input of shape (4,)"),
    ],
)
def test_target_of_another_shape(function, shape, target_shape, words):
    with pytest.raises(ValueError, match=f"^{function.__name__}: .*{re.escape(words)}"):
        function(Tensor(np.zeros(shape)), np.zeros(target_shape, int))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_labels_must_be_integers(function, dtype):
    with pytest.raises(TypeError, match=rf"{dtype} of shape \(3,\).*target.long\(\)"):
        function(Tensor(np.zeros((3, 4))), np.zeros(3, dtype))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (3, 0), (0,)])
def test_there_must_be_classes(function, shape):
    with pytest.raises(ValueError, match=rf"at least one class, got {re.escape(str(shape))}"):
        function(Tensor(np.zeros(shape)), np.zeros(shape[:-1], int))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_weight_of_another_length(function):
    with pytest.raises(ValueError, match=r"weight of shape \(4,\), .*got \(3,\)"):
        function(Tensor(np.zeros((2, 4))), [0, 1], np.ones(3))


def test_weight_of_another_length_with_probabilities():
    with pytest.raises(ValueError, match=r"weight of shape \(2,\), .*got \(3,\)"):
        F.cross_entropy(Tensor([[0.0, 0.0]]), Tensor([[0.5, 0.5]]), Tensor([1.0, 1.0, 1.0]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_weight_of_another_dtype(function):
    with pytest.raises(TypeError, match="weight float64 and input float32"):
        function(Tensor([[0.0, 0.0]]), [0], np.ones(2))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_input_must_be_a_floating_tensor(function):
    with pytest.raises(TypeError, match="input must be a Tensor, got ndarray"):
        function(np.zeros((2, 3)), [0, 1])
    with pytest.raises(TypeError, match=r"input must hold floating-point numbers, got int64"):
        function(Tensor(np.zeros((2, 3), int)), [0, 1])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unknown_reduction(function):
    with pytest.raises(ValueError, match="got 'avg'"):
        function(Tensor([[0.0, 0.0]]), [0], reduction="avg")


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
def test_label_smoothing_is_a_part(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\]"):
        F.cross_entropy(Tensor([[0.0, 0.0]]), [0], label_smoothing=smoothing)


@on_every_device
def test_unsigned_labels_that_would_wrap_around_are_refused():
    labels = np.array([0, 2**64 - 100], "uint64")  # -100, in a dtype that cannot hold it
    with pytest.raises(ValueError, match="label 18446744073709551516 is not a class"):
        F.cross_entropy(constant(np.zeros((2, 3))), constant(labels)).item()
    assert F.cross_entropy(constant(np.zeros((1, 3))), constant(labels[:1])).item() > 0
