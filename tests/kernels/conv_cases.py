"""Random convolutions: shapes, settings and arrays in every memory layout, for the tests of all implementations."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from minicnn.kernels.shapes import conv2d_shape, pair
from tests.checks import MEMORY_ORDERS, in_memory

FUNCTIONS = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")


@dataclass
class ConvCase:
    """The arrays of a convolution and of its gradients, and the settings."""

    x: np.ndarray
    w: np.ndarray
    grad: np.ndarray
    settings: dict

    def arguments(self, function):
        """The positional arguments of one of FUNCTIONS."""
        return {
            "conv2d": (self.x, self.w),
            "conv2d_grad_input": (self.grad, self.w, self.x.shape),
            "conv2d_grad_weight": (self.grad, self.x, self.w.shape),
        }[function]

    def run(self, implementation, function):
        return getattr(implementation, function)(*self.arguments(function), **self.settings)


def array_in(layout, shape, dtype, rng):
    """Random numbers of this shape in one of MEMORY_ORDERS; "broadcast" repeats one row everywhere."""
    if layout == "broadcast":
        return np.broadcast_to(rng.standard_normal(shape[3]).astype(dtype), shape)
    return in_memory(rng.standard_normal(shape).astype(dtype), layout)


@st.composite
def conv_cases(draw, dtypes=(np.float32, np.float64)):
    """Draw a convolution whose window fits the padded image; strides may leave a remainder."""
    small = st.integers(1, 3)
    groups, c_per_group, k_per_group = draw(small), draw(small), draw(small)
    N = draw(st.integers(0, 3))
    kernel, stride, dilation = ((draw(small), draw(small)) for _ in range(3))
    sides = st.integers(0, 2)
    padding = ((draw(sides), draw(sides)), (draw(sides), draw(sides)))
    size = []
    for k, d, (before, after) in zip(kernel, dilation, padding, strict=True):
        smallest = max(1, d * (k - 1) + 1 - before - after)
        size.append(draw(st.integers(smallest, smallest + 6)))
    x_shape = (N, groups * c_per_group, *size)
    w_shape = (groups * k_per_group, c_per_group, *kernel)
    y_size = (
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, w, grad = (
        array_in(draw(st.sampled_from(MEMORY_ORDERS)), shape, dtype, rng)
        for shape in (x_shape, w_shape, (N, w_shape[0], *y_size))
    )
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return ConvCase(x, w, grad, settings)


def simple_case(dtype=np.float32, N=2, C=3, K=4, size=6, kernel=3, seed=0, **settings):
    """A convolution with the settings named; `size` and `kernel` are integers or pairs."""
    rng = np.random.default_rng(seed)
    x_shape = (N, C, *pair(size, "size"))
    w_shape = (K, C // settings.get("groups", 1), *pair(kernel, "kernel"))
    y_shape = conv2d_shape(x_shape, w_shape, **settings_of_shape(settings))
    x, w, grad = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, y_shape))
    return ConvCase(x, w, grad, settings)


def settings_of_shape(settings):
    """Those of the settings that the shape of the output depends on."""
    names = ("stride", "padding", "dilation", "groups")
    return {name: settings[name] for name in names if name in settings}


def assert_same(actual, expected, inner_products):
    """Equal up to the rounding of sums of `inner_products` products."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    tolerance = 8 * np.finfo(expected.dtype).eps * max(4, inner_products)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=4 * tolerance)


def rounding_terms(case, function):
    """Number of products summed in each element of a result, at most."""
    K, C_per_group, R, S = case.w.shape
    return {
        "conv2d": C_per_group * R * S,
        "conv2d_grad_input": K * R * S,
        "conv2d_grad_weight": case.grad.size // K,
    }[function]


def check_against(reference, implementation, function, case):
    """The test of tests: same numbers as the specification, in memory of its own, with the arguments unchanged."""
    arrays = case.x, case.w, case.grad
    before = [array.tobytes() for array in arrays]
    actual = case.run(implementation, function)
    expected = case.run(reference, function)
    assert_same(actual, expected, rounding_terms(case, function))
    assert [array.tobytes() for array in arrays] == before
    assert not any(np.shares_memory(actual, array) for array in arrays)
    if function != "conv2d_grad_weight":
        assert actual.transpose(0, 2, 3, 1).flags.c_contiguous


def check_non_finite(reference, implementation, function, value):
    """NaN and infinity in an argument reach exactly the elements that the specification says."""
    case = simple_case(stride=2)
    array = case.grad if function == "conv2d_grad_input" else case.x
    array[0, 1, 1, 1] = value
    with np.errstate(invalid="ignore"):  # BLAS may report a NaN of lanes that it does not use
        actual, expected = case.run(implementation, function), case.run(reference, function)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(actual), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(actual), np.isneginf(expected))
    assert not np.isfinite(actual).all()
    assert np.isfinite(actual).any()
