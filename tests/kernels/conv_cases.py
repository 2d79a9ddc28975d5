"""Random convolutions: shapes, settings and arrays in every memory layout, for the tests of all implementations."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from minicnn.kernels import im2col, reference
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


FEW_AND_MANY = (1, 2, 3, 1, 2, 3, 5, 8, 9, 13, 16, 17, 20, 32, 33, 40)


def channels(groups=1):
    """Channels of a group: few as often as not, else about the widths of vectors and of panels; 40 in all at most."""
    return st.sampled_from([count for count in FEW_AND_MANY if count * groups <= 40])


@st.composite
def conv_cases(draw, dtypes=(np.float32, np.float64)):
    """Draw a convolution whose window fits the padded image; strides may leave a remainder.

    Channels reach past a panel of weights of every processor's, two vectors of float32.
    """
    small = st.integers(1, 3)
    groups = draw(small)
    c_per_group, k_per_group = draw(channels(groups)), draw(channels(groups))
    N = draw(st.sampled_from((1, 2, 3, 1, 2, 3, 0)))
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


@st.composite
def winograd_cases(draw):
    """Draw a convolution that Winograd's algorithm is for; channels that fill no vector, sizes that fill no square."""
    N, C, K = draw(st.integers(0, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 36))
    sides = st.integers(0, 3)
    padding = ((draw(sides), draw(sides)), (draw(sides), draw(sides)))
    size = [draw(st.integers(max(1, 3 - sum(pads)), max(1, 3 - sum(pads)) + 9)) for pads in padding]
    y_size = [n + sum(pads) - 2 for n, pads in zip(size, padding, strict=True)]
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, w, grad = (
        array_in(draw(st.sampled_from(MEMORY_ORDERS)), shape, dtype, rng)
        for shape in ((N, C, *size), (K, C, 3, 3), (N, K, *y_size))
    )
    return ConvCase(x, w, grad, {"padding": padding})


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


def in_double(case):
    """The same convolution in float64."""
    arrays = (array.astype(np.float64) for array in (case.x, case.w, case.grad))
    return ConvCase(*arrays, case.settings)


def magnitude(case, function):
    """The sums of the absolute products, float64: what the rounding of each element is in proportion to."""
    exact = in_double(case)
    absolute = ConvCase(*(abs(a) for a in (exact.x, exact.w, exact.grad)), case.settings)
    return absolute.run(im2col, function)


def assert_sums_of_products(actual, expected, case, function):
    """Each element is within n eps of the exact sum, in proportion to the sum of its n absolute products.

    No order of adding rounds more, with products rounded by themselves or not (Higham, "Accuracy and
    Stability of Numerical Algorithms", section 3.1): n eps / 2, and as much again for the float64 of
    `expected`, where `actual` is float64 too.
    """
    assert actual.shape == expected.shape
    assert actual.dtype == case.x.dtype
    bound = rounding_terms(case, function) * np.finfo(actual.dtype).eps * magnitude(case, function)
    error = abs(actual - expected)
    worst = np.unravel_index(np.argmax(error - bound), error.shape) if error.size else ()
    assert (error <= bound).all(), (
        f"element {worst}: {actual[worst]!r} instead of {expected[worst]!r}, allowed {bound[worst]:.1e}"
    )


WINOGRAD_EPSILONS = {2: 8, 4: 64}
"""What squares of 2 x 2 and of 4 x 4 pixels may be off, see `largest_error`."""


def largest_error(actual, case, function):
    """The largest error relative to what the largest sum of absolute products could be, in epsilons."""
    expected = in_double(case).run(reference, function)
    assert actual.shape == expected.shape
    scale = magnitude(case, function).max(initial=1e-30)
    error = abs(actual - expected).max(initial=0)
    return error / scale / np.finfo(actual.dtype).eps


def rounding_terms(case, function):
    """Number of products summed in each element of a result, at most."""
    K, C_per_group, R, S = case.w.shape
    return {
        "conv2d": C_per_group * R * S,
        "conv2d_grad_input": K * R * S,
        "conv2d_grad_weight": case.grad.size // K,
    }[function]


def check_against(reference, implementation, function, case):
    """The test of tests: the specification's numbers, in memory of its own, with the arguments unchanged.

    The specification computes in float64, float32 arguments too.
    """
    arrays = case.x, case.w, case.grad
    before = [array.tobytes() for array in arrays]
    actual = case.run(implementation, function)
    expected = in_double(case).run(reference, function)
    assert_sums_of_products(actual, expected, case, function)
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
