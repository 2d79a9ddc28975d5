"""Changes of shape, and indexing: values as NumPy, gradients back to where they came from."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Tensor
from minicnn.gradcheck import gradcheck
from tests.checks import arrays, assert_close, check, leaf, normal
from tests.devices import constant, on_every_device

X = normal(2, 3, 4)

# --- values and gradients -------------------------------------------------------------------------

CASES = {
    "reshape": (lambda x: x.reshape(4, 6), lambda x: x.reshape(4, 6)),
    "reshape a tuple": (lambda x: x.reshape((4, 6)), lambda x: x.reshape(4, 6)),
    "reshape -1": (lambda x: x.reshape(2, -1), lambda x: x.reshape(2, -1)),
    "view": (lambda x: x.view(-1), lambda x: x.reshape(-1)),
    "flatten": (lambda x: x.flatten(), lambda x: x.reshape(-1)),
    "flatten from 1": (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    "flatten to -2": (lambda x: x.flatten(0, -2), lambda x: x.reshape(6, 4)),
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "permute backwards": (lambda x: x.permute(-1, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "transpose": (lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, -1)),
    "T": (lambda x: x.T, lambda x: x.T),
    "t": (lambda x: x[0].t(), lambda x: x[0].T),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    "unsqueeze the end": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "squeeze": (lambda x: x[:, :1].squeeze(), lambda x: x[:, 0]),
    "squeeze an axis": (lambda x: x[:, :1].squeeze(1), lambda x: x[:, 0]),
    "squeeze nothing": (lambda x: x.squeeze(1), lambda x: x),
    "expand": (lambda x: x[:, :1].expand(2, 5, 4), lambda x: np.repeat(x[:, :1], 5, 1)),
    "expand -1": (lambda x: x.expand(3, -1, -1, -1), lambda x: np.stack([x] * 3)),
    "expand_as": (lambda x: x[:1].expand_as(x), lambda x: np.repeat(x[:1], 2, 0)),
    "flip": (lambda x: x.flip(0, -1), lambda x: np.flip(x, (0, -1))),
    "split": (lambda x: x.split(3, 2)[1], lambda x: x[:, :, 3:]),
    "chunk": (lambda x: x.chunk(2, 1)[0], lambda x: x[:, :2]),
}


@on_every_device
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name):
    function, oracle = CASES[name]
    check(function, X, oracle=oracle)


INDICES = {
    "integer": 1,
    "negative": -1,
    "several integers": (1, 2),
    "all integers": (1, 2, 3),
    "slice": slice(1, None),
    "step": (slice(None), slice(None, None, 2)),
    "negative step": (slice(None, None, -1), ..., slice(3, 0, -2)),
    "ellipsis": (..., 0),
    "none": (None, 0, None),
    "empty slice": slice(0, 0),
    "list": [1, 0, 1, 1],
    "array": np.array([[0, 1], [1, 1]]),
    "two arrays": ([0, 1, 0], [2, 2, 2]),
    "array and slice": (slice(None), [0, 0, 2], slice(1, 3)),
    "arrays apart": ([0, 1], slice(None), [3, 3]),
    "boolean": X > 0,
    "boolean rows": np.array([True, False]),
    "no element": np.zeros(0, int),
    "numpy integer": np.int64(1),
    "truth": True,
}


@on_every_device
@pytest.mark.parametrize("name", INDICES)
def test_indexing(name):
    index = INDICES[name]
    check(lambda x: x[index], X, oracle=lambda x: x[index])


@on_every_device
@pytest.mark.parametrize("index", [Tensor([1, 0, 1]), Tensor(1), Tensor([True, False])])
def test_tensors_as_indices(index):
    check(lambda x: x[index], X, oracle=lambda x: x[index.array])
    check(lambda x: x[index, 1:], X, oracle=lambda x: x[index.array, 1:])


def test_gradients_of_an_element_taken_several_times_add_up():
    x = leaf(normal(3))
    x[[0, 2, 0, 0]].backward([1.0, 2.0, 3.0, 4.0])
    assert x.grad.tolist() == [8, 0, 2]


def test_an_index_out_of_range():
    with pytest.raises(IndexError, match="out of bounds"):
        Tensor(X)[2]


@given(st.data(), arrays())
def test_any_basic_index(data, x):
    sides = [
        st.one_of(
            st.slices(n), *([st.integers(-n, n - 1)] if n else []), st.just(slice(None, None, -1))
        )
        for n in x.shape
    ]
    index = data.draw(st.tuples(*sides))
    assert_close(constant(x)[index], x[index])
    gradcheck(lambda x: x[index], leaf(x))


@given(arrays())
def test_any_shape_flattens_and_comes_back(x):
    tensor = Tensor(x)
    assert_close(tensor.flatten(), x.reshape(-1))
    assert_close(tensor.flatten().reshape(x.shape), x)
    gradcheck(lambda x: x.T.flatten().reshape(x.T.shape), leaf(x))


# --- views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[0],
        lambda x: x[0, 0, 0],
        lambda x: x.reshape(6, 4),
        lambda x: x.T,
        lambda x: x.unsqueeze(0),
        lambda x: x.flip(0),
        lambda x: x.split(2, 1)[1],
        lambda x: x.detach(),
    ],
)
def test_views_share_memory_and_version(view):
    x = Tensor(X.copy())
    y = view(x)
    assert np.shares_memory(x.array, y.array)
    assert y.version is x.version


def test_writing_through_a_view():
    x = Tensor(np.zeros(3))
    x[1].fill_(5)
    x[2] += 1
    assert x.tolist() == [0, 5, 1]


def test_a_copy_has_its_own_version():
    x = Tensor(X.copy())
    assert x[[0, 1]].version is not x.version
    assert x.clone().version is not x.version


def test_an_expanded_tensor_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        Tensor(normal(1, 3)).expand(2, 3).fill_(0)


# --- numbers and empty tensors --------------------------------------------------------------------


def test_a_number():
    x = leaf(np.array(2.0))
    y = x.reshape(1, 1).squeeze().T.flatten().expand(3).unsqueeze(0)
    assert y.shape == (1, 3)
    y.sum().backward()
    assert x.grad.item() == 3
    assert x.transpose(0, -1).shape == ()


def test_an_empty_tensor():
    x = leaf(np.zeros((0, 3)))
    y = x.reshape(-1, 3).T.flatten().reshape(3, 0).unsqueeze(0)
    assert y.shape == (1, 3, 0)
    y.sum().backward()
    assert x.grad.shape == (0, 3)


def test_split_and_chunk():
    x = Tensor(np.arange(5))
    assert [part.tolist() for part in x.split(2)] == [[0, 1], [2, 3], [4]]
    assert [part.tolist() for part in x.chunk(2)] == [[0, 1, 2], [3, 4]]
    assert [part.tolist() for part in x.chunk(9)] == [[0], [1], [2], [3], [4]]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 5), (-1, 5), (-1, -1), (-2, 12), ()])
def test_reshape_to_another_number_of_elements(shape):
    with pytest.raises(
        ValueError, match=r"reshape: the 24 elements of shape \(2, 3, 4\) do not fit"
    ):
        Tensor(X).reshape(*shape)


def test_reshape_of_nothing_to_an_unknown_size():
    with pytest.raises(ValueError, match="reshape: the 0 elements"):
        Tensor(np.zeros((0, 3))).reshape(0, -1)


@pytest.mark.parametrize("shape", [(5, 3, 4), (3, 4), (2, 3, 4, 1), (-2, 3, 4)])
def test_expand_to_a_shape_that_does_not_repeat(shape):
    with pytest.raises(ValueError, match=r"expand: shape \(2, 3, 4\) cannot be repeated to"):
        Tensor(X).expand(*shape)


@pytest.mark.parametrize("dims", [(0, 1), (0, 0, 1), (0, 1, 2, 2)])
def test_permute_needs_each_axis_once(dims):
    with pytest.raises(ValueError, match="permute: expected each of the 3 axes"):
        Tensor(X).permute(*dims)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("permute", lambda x: x.permute(0, 1, 3)),
        ("transpose", lambda x: x.transpose(0, 3)),
        ("squeeze", lambda x: x.squeeze(3)),
        ("unsqueeze", lambda x: x.unsqueeze(4)),
        ("flatten", lambda x: x.flatten(3)),
        ("split", lambda x: x.split(1, 3)),
        ("chunk", lambda x: x.chunk(1, -4)),
    ],
)
def test_axes_that_are_not_there(name, call):
    with pytest.raises(IndexError, match=f"{name}: there is no axis"):
        call(Tensor(X))


def test_flatten_backwards():
    with pytest.raises(ValueError, match="flatten: start_dim 2 comes after end_dim 1"):
        Tensor(X).flatten(2, 1)


@pytest.mark.parametrize("number", [0, -1])
def test_split_and_chunk_need_a_positive_number(number):
    with pytest.raises(ValueError, match="split: expected slices of at least 1"):
        Tensor(X).split(number)
    with pytest.raises(ValueError, match="chunk: expected at least 1 chunk"):
        Tensor(X).chunk(number)


@pytest.mark.parametrize("make", [lambda i: i, lambda i: (slice(None), i), lambda i: ([0, 1], i)])
def test_an_index_that_changes_later_is_not_followed(make):
    x, index = leaf(normal(4, 4)), [0, 1]
    y = x[make(index)]
    y.sum().backward(retain_graph=True)
    expected, x.grad = x.grad.tolist(), None
    index[0] = 3
    y.sum().backward()
    assert x.grad.tolist() == expected


def test_a_list_of_lists_as_an_index_is_copied():
    x, index = leaf(normal(4)), [[0, 1]]
    y = x[index]
    index[0][0] = 3
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0]


def test_a_named_tuple_as_an_index():
    point = namedtuple("point", "row column")
    assert Tensor(X)[point(1, 2)].tolist() == X[1, 2].tolist()
