"""Initial values: moments and bounds with fixed seeds, fans, orthogonality, errors."""

import math

import numpy as np
import pytest

import minicnn
from minicnn.autograd import Tensor
from minicnn.nn import init

WEIGHT = (64, 32, 5, 5)  # fan_in 800, fan_out 1600
DRAWING = [
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.lecun_uniform_,
    init.lecun_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
]


def empty(*shape, dtype=np.float32):
    return Tensor(np.full(shape, np.nan, dtype), requires_grad=True)


@pytest.mark.parametrize("function", [*DRAWING, init.zeros_, init.ones_, init.dirac_])
def test_values_are_written_in_place(function):
    tensor = empty(6, 4, 3, 3)
    array, count = tensor.array, tensor.version.count
    assert function(tensor) is tensor
    assert tensor.array is array
    assert array.dtype == np.float32
    assert np.isfinite(array).all()
    assert tensor.version.count == count + 1
    assert tensor.is_leaf
    assert tensor.requires_grad


@pytest.mark.parametrize("function", DRAWING)
def test_draws_repeat_with_the_generator(function):
    drawn = [function(empty(6, 4, 3, 3), generator=seed).array for seed in (3, 3, 4)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("function", DRAWING)
def test_draws_repeat_with_the_global_seed(function):
    drawn = []
    for _ in range(2):
        minicnn.manual_seed(5)
        drawn.append(function(empty(6, 4, 3, 3)).array)
    np.testing.assert_array_equal(*drawn)


def test_memory_order_does_not_change_the_draws():
    tensor = Tensor(np.empty((2, 4, 5, 3)).transpose(0, 3, 1, 2))
    strides = tensor.array.strides
    init.normal_(tensor, generator=0)
    assert tensor.array.strides == strides
    plain = init.normal_(empty(2, 3, 4, 5, dtype=np.float64), generator=0)
    np.testing.assert_array_equal(tensor.array, plain.array)


@pytest.mark.parametrize(
    ("function", "options", "std"),
    [
        (init.lecun_normal_, {}, math.sqrt(1 / 800)),
        (init.lecun_uniform_, {}, math.sqrt(1 / 800)),
        (init.xavier_normal_, {}, math.sqrt(2 / 2400)),
        (init.xavier_uniform_, {"gain": 3.0}, 3 * math.sqrt(2 / 2400)),
        (init.kaiming_normal_, {}, math.sqrt(2 / 800)),
        (init.kaiming_normal_, {"mode": "fan_out"}, math.sqrt(2 / 1600)),
        (init.kaiming_normal_, {"nonlinearity": "linear"}, math.sqrt(1 / 800)),
        (init.kaiming_uniform_, {"a": 2.0}, math.sqrt(2 / 5 / 800)),
        (init.kaiming_uniform_, {"a": 9.0, "nonlinearity": "relu"}, math.sqrt(2 / 800)),
        (init.normal_, {"std": 0.3}, 0.3),
        (init.uniform_, {"a": -1.0, "b": 1.0}, 1 / math.sqrt(3)),
    ],
)
def test_spread(function, options, std):
    drawn = function(empty(*WEIGHT), generator=0, **options).array  # 51,200 draws
    assert drawn.mean() == pytest.approx(0, abs=0.02 * std)
    assert drawn.std() == pytest.approx(std, rel=0.01)


@pytest.mark.parametrize(
    ("function", "bound"),
    [
        (init.lecun_uniform_, math.sqrt(3 / 800)),
        (init.xavier_uniform_, math.sqrt(6 / 2400)),
        (init.kaiming_uniform_, math.sqrt(6 / 800)),
    ],
)
def test_uniform_draws_fill_their_bounds(function, bound):
    drawn = function(empty(*WEIGHT), generator=0).array
    assert [drawn.min(), drawn.max()] == pytest.approx([-bound, bound], rel=1e-3)


def test_mean_and_interval_are_shifted():
    assert init.normal_(empty(10000), mean=5.0, generator=0).array.mean() == pytest.approx(5, 0.01)
    drawn = init.uniform_(empty(10000), 2.0, 3.0, generator=0).array
    assert (drawn.min(), drawn.max()) == pytest.approx((2, 3), rel=1e-3)


def test_a_layer_of_lecun_weights_keeps_the_variance():
    rng = np.random.default_rng(0)
    weight = init.lecun_normal_(empty(400, 300), generator=1).array
    outputs = rng.standard_normal((500, 300)) @ weight.T
    assert outputs.var() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (-0.1, 0.2), (1.5, 4.0), (6.0, 7.0), (-9, -6)])
def test_truncated_normal_has_the_moments_of_its_distribution(a, b):
    drawn = init.trunc_normal_(empty(20000), 0.5, 2.0, a, b, generator=0).array
    points = np.linspace(a, b, 100001)
    density = np.exp(-((points - 0.5) ** 2) / 8)
    density /= density.sum()
    mean = (density * points).sum()
    std = math.sqrt((density * (points - mean) ** 2).sum())
    assert drawn.min() >= a
    assert drawn.max() <= b
    assert drawn.mean() == pytest.approx(mean, abs=0.03 * std)
    assert drawn.std() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize(("std", "a", "b"), [(0.0, -1.0, 1.0), (1.0, 1.0, 1.0)])
def test_truncated_normal_refuses_empty_ranges(std, a, b):
    with pytest.raises(ValueError, match="expected std > 0 and a < b"):
        init.trunc_normal_(empty(3), 0.0, std, a, b)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (4, 4), (6, 2, 3, 3), (30, 2, 3, 3), (4, 3, 2)])
def test_orthogonal_rows_or_columns(shape):
    matrix = init.orthogonal_(empty(*shape, dtype=np.float64), gain=3.0, generator=0).array
    matrix = matrix.reshape(shape[0], -1)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(short @ short.T, 9 * np.eye(len(short)), atol=1e-12)


def test_orthogonal_matrices_are_not_biased_to_one_sign():
    corners = [init.orthogonal_(empty(2, 2), generator=seed).array[0, 0] for seed in range(40)]
    assert 5 < np.sum(np.sign(corners) > 0) < 35


@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 3), (8, 3, 3, 5), (2, 3, 4, 5, 6)])
def test_fans_are_pytorchs(torch, shape):
    expected = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert init.fan_in_and_fan_out(empty(*shape)) == expected


@pytest.mark.parametrize(
    "nonlinearity", ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu"]
)
def test_gains_are_pytorchs(torch, nonlinearity):
    expected = torch.nn.init.calculate_gain(nonlinearity)
    assert init.calculate_gain(nonlinearity) == pytest.approx(expected)


@pytest.mark.parametrize("slope", [None, 0, 0.2, math.sqrt(5)])
def test_gain_of_leaky_relu_is_pytorchs(torch, slope):
    expected = torch.nn.init.calculate_gain("leaky_relu", slope)
    assert init.calculate_gain("leaky_relu", slope) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 5, 3, 3), 1), ((6, 2, 4, 5), 2), ((4, 9, 3), 4)]
)
def test_dirac_is_pytorchs(torch, shape, groups):
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(init.dirac_(empty(*shape), groups).array, expected)


def test_eye_of_a_wide_matrix():
    np.testing.assert_array_equal(init.eye_(empty(2, 3)).array, [[1, 0, 0], [0, 1, 0]])


def test_constants():
    assert init.constant_(empty(2), 0.3).array.tolist() == [np.float32(0.3)] * 2
    assert init.zeros_(empty(2)).array.tolist() == [0, 0]
    assert init.ones_(empty(2)).array.tolist() == [1, 1]


SCALED = [
    init.lecun_uniform_,
    init.lecun_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
]


@pytest.mark.parametrize("function", SCALED)
def test_a_bias_has_no_fans(function):
    with pytest.raises(
        ValueError, match=rf"{function.__name__}: .*2 dimensions.*\(8,\).*zeros_ or const"
    ):
        function(empty(8))


@pytest.mark.parametrize("function", [*DRAWING, init.zeros_])
def test_weights_of_a_lazy_layer_are_refused_before_they_have_a_shape(function):
    with pytest.raises(ValueError, match=rf"{function.__name__}: .*no elements.*lazy layer"):
        function(empty(0))


@pytest.mark.parametrize("function", [init.normal_, init.zeros_])
def test_integers_are_refused(function):
    with pytest.raises(TypeError, match=rf"{function.__name__}: .*floating-point.*int64"):
        function(Tensor(np.zeros((2, 2), np.int64)))


def test_an_array_is_refused():
    with pytest.raises(TypeError, match="zeros_: expected a Tensor, got a ndarray"):
        init.zeros_(np.empty(3))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="mode: expected 'fan_in' or 'fan_out', got 'fan'"):
        init.kaiming_normal_(empty(2, 2), mode="fan")
    with pytest.raises(ValueError, match=r"calculate_gain: nonlinearity: .*got 'step'"):
        init.calculate_gain("step")


@pytest.mark.parametrize(("shape", "groups"), [((3, 5), 1), ((3, 5, 3, 3), 2)])
def test_dirac_refuses_other_shapes(shape, groups):
    with pytest.raises(ValueError, match=rf"dirac_: .*groups = {groups}, got shape \(3, 5"):
        init.dirac_(empty(*shape), groups)


def test_eye_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"eye_: expected a tensor of 2 dimensions, got .*\(3,\)"):
        init.eye_(empty(3))


@pytest.mark.parametrize("function", DRAWING)
def test_without_drawing_leaves_tensors_as_they_are(function):
    tensor = Tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    with init.without_drawing():
        assert function(tensor) is tensor
    np.testing.assert_array_equal(tensor.array.ravel(), np.arange(24))
    assert tensor.version.count == 0


def test_without_drawing_builds_layers_of_zeros_and_takes_no_random_numbers():
    minicnn.manual_seed(0)
    expected = init.normal_(empty(3)).array
    minicnn.manual_seed(0)
    with init.without_drawing():
        layer = minicnn.nn.Sequential(minicnn.nn.Linear(3, 4), minicnn.nn.BatchNorm1d(4))
    assert not layer[0].weight.array.any()
    assert (layer[1].weight.array == 1).all()  # what is not drawn is written as always
    np.testing.assert_array_equal(init.normal_(empty(3)).array, expected)


def test_without_drawing_ends_with_its_block():
    tensor = Tensor(np.zeros(5, np.float32))
    with init.without_drawing():
        with init.without_drawing():
            pass
        assert not init.normal_(tensor).array.any()
    with pytest.raises(KeyError), init.without_drawing():
        raise KeyError
    assert init.normal_(tensor).array.all()


def test_without_drawing_still_refuses_what_is_no_tensor():
    with init.without_drawing(), pytest.raises(TypeError, match="normal_: expected a Tensor"):
        init.normal_(np.zeros(3))
