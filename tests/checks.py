"""The checks that every differentiable function has to pass, one line a function.

`check` looks at a function of tensors: its value against an oracle, float32 in and out, the same
result from arrays of every memory order, and its gradient. `check_contract` looks at a `Function`
on plain arrays: what it may change, share and return. The strategies draw arrays for hypothesis.

All of them compute where the tensors of the test live (see tests/devices.py). On a GPU, where measuring
slopes would take long, the gradients are compared with those on the CPU.
"""

from collections.abc import Callable, Sequence

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

from minicnn.autograd import Tensor
from minicnn.backend import Array, xp_of
from minicnn.gradcheck import gradcheck
from minicnn.kernels.memory import owner_of
from minicnn.ops.function import Function
from tests.devices import host, on_gpu, placed, tensors_on

MEMORY_ORDERS = (
    "contiguous",
    "transposed",
    "channels last",
    "strided",
    "reversed",
    "broadcast",
    "read-only",
)
"""The ways in which an array of some shape can lie in memory."""

GPU_ORDERS = {"contiguous", "channels last", "strided", "broadcast"}
"""Those that are tried on a GPU, to save time."""

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def normal(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    """Return standard normal numbers, the same for the same seed."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def positive(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    """Return numbers from 0.5 to 2."""
    return np.asarray(np.random.default_rng(seed).uniform(0.5, 2, shape), dtype)


def leaf(array: np.ndarray) -> Tensor:
    """Return a tensor on `array` that requires a gradient, where its dtype can have one."""
    return Tensor(placed(array), requires_grad=array.dtype.kind == "f")


def assert_close(actual: object, expected: object, tolerance: float | None = None) -> None:
    """Assert equal shapes and nearly equal values; the tolerance follows from `actual`'s dtype."""
    actual, expected = host(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    tolerance = TOLERANCE.get(actual.dtype.name, 0) if tolerance is None else tolerance
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def in_memory(array: Array, order: str) -> Array:
    """Return an array of the same shape that lies in memory as one of MEMORY_ORDERS says.

    The values are the same, but for "broadcast", where the first one along the first axis repeats.
    On a GPU, nothing is read-only.
    """
    xp = xp_of(array)
    array = np.array(array, order="C") if xp is np else array.copy(order="C")
    if order == "read-only" and xp is np:
        array.flags.writeable = False
    if array.ndim == 0:
        return array
    if order == "transposed":
        return xp.asfortranarray(array)
    if order == "channels last" and array.ndim > 2:
        return xp.ascontiguousarray(xp.moveaxis(array, 1, -1)).transpose(
            0, array.ndim - 1, *range(1, array.ndim - 1)
        )
    if order == "strided":
        wide = xp.full([2 * n for n in array.shape], np.nan if array.dtype.kind == "f" else 99)
        wide = wide.astype(array.dtype)
        view = wide[(slice(None, None, 2),) * array.ndim]
        view[...] = array
        return view
    if order == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return array[back].copy()[back]
    if order == "broadcast" and array.shape[0]:
        return xp.broadcast_to(array[:1], array.shape)
    return array


def orders_here(orders: Sequence[str]) -> Sequence[str]:
    """Return those of some memory orders that are to be tried where the tensors of the test live."""
    return [order for order in orders if order in GPU_ORDERS] or orders if on_gpu() else orders


def check(
    function: Callable[..., Tensor],
    *arrays: np.ndarray,
    oracle: Callable[..., np.ndarray] | None = None,
    tolerance: float | None = None,
    gradient: bool = True,
    orders: Sequence[str] = MEMORY_ORDERS,
    **options: object,
) -> None:
    """Check a function of tensors at float64 `arrays` (and integer ones, as they are).

    Args:
        function: takes one tensor for each array.
        arrays: where to check; points away from kinks, ties apart.
        oracle: the same function on arrays, known to be right; None compares no values.
        tolerance: relative and absolute, for the values in float64.
        gradient: whether there is a gradient to check.
        orders: the memory orders to try.
        options: handed on to gradcheck.
    """
    for order in orders_here(orders):
        inputs = [in_memory(placed(array), order) for array in arrays]
        result = function(*map(Tensor, inputs))
        assert isinstance(result, Tensor)
        if oracle is not None:
            assert_close(result, oracle(*map(host, inputs)), tolerance)
    _check_float32(function, arrays, gradient)
    if gradient and on_gpu():
        _check_like_cpu(function, arrays)
    elif gradient:
        gradcheck(function, [leaf(array.copy()) for array in arrays], **options)


def _check_like_cpu(function: Callable[..., Tensor], arrays: Sequence[np.ndarray]) -> None:
    """Check that the gradients for a random cotangent are those on the CPU."""
    inputs = [leaf(array) for array in arrays]
    twins = [Tensor(array.copy(), requires_grad=array.dtype.kind == "f") for array in arrays]
    result = function(*inputs)
    with tensors_on("cpu"):
        expected = function(*twins)
    cotangent = normal(*expected.shape, seed=2).astype(expected.dtype)
    result.backward(placed(cotangent))
    expected.backward(cotangent)
    for tensor, twin in zip(inputs, twins, strict=True):
        if tensor.requires_grad:
            assert tensor.grad.device == tensor.device
            assert_close(tensor.grad, twin.grad.array)


def _check_float32(
    function: Callable[..., Tensor], arrays: Sequence[np.ndarray], gradient: bool
) -> None:
    """Check that float32 arrays give float32 results and float32 gradients, near the float64 ones."""
    wide = function(*map(Tensor, map(placed, arrays)))
    inputs = [leaf(_narrow(array)) for array in arrays]
    result = function(*inputs)
    if wide.dtype.kind != "f":
        return
    assert result.dtype == np.float32
    assert_close(result, host(wide), tolerance=1e-4)
    if not gradient:
        return
    arrived = []
    for tensor in inputs:
        if tensor.requires_grad:
            tensor.register_hook(lambda g: arrived.append(g.dtype))
    result.backward(placed(np.ones(result.shape, np.float32)))
    assert set(arrived) <= {np.dtype(np.float32)}, f"gradients of dtypes {arrived}"


def _narrow(array: np.ndarray) -> np.ndarray:
    """Return a copy, in float32 if the array holds floats."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array.copy()


def check_contract(
    make: Callable[[], Function],
    *arrays: np.ndarray | None,
    dtypes: Sequence[str] = ("float64", "float32"),
    orders: Sequence[str] = MEMORY_ORDERS,
) -> None:
    """Check what a `Function` promises about arrays, for dtypes and memory orders.

    Forward and backward change none of their arguments. The result shares memory with no argument,
    unless the Function says so. Every gradient has the shape and dtype of its input.

    Args:
        make: makes the Function; one is used for each call.
        arrays: the arguments of forward.
        dtypes: what the floating-point arguments are converted to.
        orders: the memory orders of the arguments and of the incoming gradient.
    """
    for dtype in dtypes:
        for order in orders_here(orders):
            inputs = [_input(array, dtype, order) for array in arrays]
            before = [None if array is None else array.copy() for array in inputs]
            function = make()
            function.needs_grad = tuple(a is not None and a.dtype.kind == "f" for a in inputs)
            output = function.forward(*inputs)
            output = np.asarray(output) if isinstance(output, np.generic) else output
            where = f"{function.name}, {dtype}, {order}"
            assert output.dtype == dtype, f"{where}: result is {output.dtype}"
            for array in inputs:
                if array is not None and not function.returns_view:
                    assert not _share_memory(output, array), f"{where}: result is a view"
            cotangent = in_memory(placed(normal(*output.shape, seed=1, dtype=dtype)), order)
            sent = cotangent.copy()
            grads = function.backward(cotangent)
            _assert_unchanged([cotangent, *inputs], [sent, *before], where)
            _assert_fit(grads, inputs, function.needs_grad, where)


def _input(array: np.ndarray | None, dtype: str, order: str) -> Array | None:
    """Return an argument in a dtype and a memory order."""
    if array is None:
        return None
    return in_memory(placed(array.astype(dtype) if array.dtype.kind == "f" else array), order)


def _share_memory(a: Array, b: Array) -> bool:
    """Whether two arrays share memory; on a GPU, whether they are views of one."""
    return np.shares_memory(a, b) if xp_of(a) is np else owner_of(a) is owner_of(b)


def _assert_unchanged(
    arrays: Sequence[Array | None], before: Sequence[Array | None], where: str
) -> None:
    """Assert that arrays are bit for bit what they were."""
    for array, old in zip(arrays, before, strict=True):
        if array is not None:
            same = host(array).tobytes() == host(old).tobytes()
            assert same, f"{where}: an argument was changed"


def _assert_fit(
    grads: Sequence[np.ndarray | None],
    inputs: Sequence[np.ndarray | None],
    needs_grad: Sequence[bool],
    where: str,
) -> None:
    """Assert that there is a gradient for each input that needs one, in its shape and dtype."""
    assert len(grads) == len(inputs), f"{where}: {len(grads)} gradients for {len(inputs)} inputs"
    for grad, array, needed in zip(grads, inputs, needs_grad, strict=True):
        assert grad is not None or not needed, f"{where}: a gradient is missing"
        if grad is not None and array is not None and needed:
            assert grad.shape == array.shape, f"{where}: gradient {grad.shape} of {array.shape}"
            assert grad.dtype == array.dtype, f"{where}: gradient is {grad.dtype}"


# --- strategies -----------------------------------------------------------------------------------


def shapes(min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 4):
    """Draw shapes, empty ones included."""
    return hnp.array_shapes(
        min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )


@st.composite
def arrays(draw, shape=None, dtype: str = "float64", orders: Sequence[str] = MEMORY_ORDERS):
    """Draw arrays of normal numbers in any memory order; `shape` is a shape or draws one."""
    shape = shapes() if shape is None else shape
    shape = shape if isinstance(shape, tuple) else draw(shape)
    numbers = normal(*shape, seed=draw(st.integers(0, 1000)), dtype=dtype)
    return in_memory(numbers, draw(st.sampled_from(orders)))


@st.composite
def broadcasting_arrays(draw, number: int = 2, min_side: int = 0, **options: object):
    """Draw arrays whose shapes broadcast with each other."""
    drawn = draw(
        hnp.mutually_broadcastable_shapes(
            num_shapes=number, min_side=min_side, max_side=3, max_dims=3
        )
    )
    return [draw(arrays(shape, **options)) for shape in drawn.input_shapes]


def axes_of(array: np.ndarray):
    """Draw what a reduction accepts for `array`: None, an axis, or a tuple of axes."""
    if array.ndim == 0:
        return st.none()
    single = st.integers(-array.ndim, array.ndim - 1)
    several = hnp.valid_tuple_axes(array.ndim, min_size=1)
    return st.one_of(st.none(), single, several)
