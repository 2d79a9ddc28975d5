"""Tensors of a `.pth` file: windows on storages, each checked before a number is read."""

import io

import numpy as np
import pytest

from minicnn.weights.claims import Storage, TensorClaim, read_claims, to_arrays
from tests.weights import samples

F32 = samples.storage("Float", "0", 12)


def claims_of(content):
    claims, _ = read_claims(io.BytesIO(samples.program(content)))
    return claims


def array_of(claim, numbers, byteorder="little"):
    return to_arrays({"w": claim}, lambda storage: numbers, byteorder)["w"]


def test_a_tensor_is_a_window_on_its_storage():
    claim = claims_of(samples.tensor(F32, (2, 3), (4, 1), offset=1))
    assert claim == TensorClaim(Storage("float32", "0", 12), "float32", 1, (2, 3), (4, 1))
    row = np.arange(12, dtype="<f4")
    np.testing.assert_array_equal(array_of(claim, row.tobytes()), [[1, 2, 3], [5, 6, 7]])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("Float", "f4"), ("Double", "f8"), ("Half", "f2"), ("Long", "i8"), ("Int", "i4")),
        *(("Short", "i2"), ("Char", "i1"), ("Byte", "u1")),
    ],
)
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_kind_of_storage(kind, dtype, byteorder):
    claim = claims_of(samples.tensor(samples.storage(kind, "k", 3), (3,), (1,)))
    numbers = np.array([1, -2, 100]).astype(dtype)
    order = "<" if byteorder == "little" else ">"
    found = array_of(claim, numbers.astype(numbers.dtype.newbyteorder(order)).tobytes(), byteorder)
    assert found.dtype == dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, numbers)


def test_bytes_of_booleans_are_false_only_where_they_are_0():
    claim = claims_of(samples.tensor(samples.storage("Bool", "k", 4), (4,), (1,)))
    found = array_of(claim, b"\0\1\2\xff")
    assert found.dtype == bool
    assert found.tolist() == [False, True, True, True]
    assert np.count_nonzero(found) == 3


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bfloat16_is_the_upper_half_of_a_float32(byteorder):
    claim = claims_of(samples.tensor(samples.storage("BFloat16", "k", 4), (4,), (1,)))
    bits = b"".join(n.to_bytes(2, byteorder) for n in (0x3F80, 0xC040, 0x7F80, 0x0001))
    found = array_of(claim, bits, byteorder)
    assert found.dtype == np.float32
    assert found.tolist() == [1.0, -3.0, np.inf, 2.0**-133]


def test_later_dtypes_lie_in_storages_of_bytes():
    where = samples.row(
        *(samples.text("storage"), samples.name("torch.storage", "UntypedStorage")),
        *(samples.text("0"), samples.text("cpu"), samples.number(4)),
    )
    rest = (samples.number(0), samples.numbers((2,)), samples.numbers((1,)), b"\x89")
    dtype = samples.name("torch", "uint16")
    claim = claims_of(
        samples.call(
            samples.name("torch._utils", "_rebuild_tensor_v3"),
            *(where + b"Q", *rest, samples.ORDERED_DICT, dtype),
        )
    )
    np.testing.assert_array_equal(array_of(claim, b"\1\0\0\1"), np.array([1, 256], np.uint16))


def test_a_number_has_no_axes():
    claim = claims_of(samples.tensor(samples.storage("Long", "n", 1), (), ()))
    assert array_of(claim, (7).to_bytes(8, "little")).shape == ()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5, 2)])
def test_tensors_of_no_elements_need_no_storage(shape):
    claim = claims_of(samples.tensor(samples.storage("Float", "e", 0), shape, (1,) * len(shape)))
    assert array_of(claim, b"").shape == shape


def test_tensors_that_share_a_storage_share_memory_and_it_is_read_once():
    first = claims_of(samples.tensor(F32, (12,), (1,)))
    second = claims_of(samples.tensor(F32, (3, 4), (1, 3)))
    calls = []

    def read(storage):
        calls.append(storage.key)
        return np.arange(12, dtype="<f4").tobytes()

    arrays = to_arrays({"a": first, "b": second}, read)
    assert calls == ["0"]
    assert np.shares_memory(arrays["a"], arrays["b"])
    np.testing.assert_array_equal(arrays["b"], np.arange(12).reshape(4, 3).T)


def test_an_expanded_tensor_takes_no_more_memory_than_its_storage():
    claim = claims_of(samples.tensor(F32, (10**6, 10**6), (0, 0)))
    assert array_of(claim, bytes(48)).shape == (10**6, 10**6)


def test_parameters_and_sizes_are_what_they_are_made_of():
    tensor = samples.tensor(F32, (12,), (1,))
    assert claims_of(samples.parameter(tensor)) == claims_of(tensor)
    assert claims_of(samples.call(samples.name("torch", "Size"), samples.numbers((2, 3)))) == (2, 3)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((13,), (1,), 0),
        ((12,), (1,), 1),
        ((3, 4), (5, 1), 0),
        ((2,), (2**40,), 0),
        ((2**62, 2**62), (1, 1), 0),
        ((1,), (1,), 2**63),
    ],
)
def test_windows_beyond_the_storage_are_refused(shape, strides, offset):
    with pytest.raises(ValueError, match="of the storage 0, which has 12"):
        claims_of(samples.tensor(F32, shape, strides, offset))


@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((-1,), (1,), 0), ((2,), (-1,), 1), ((2,), (1,), -1)]
)
def test_negative_numbers_are_refused(shape, strides, offset):
    with pytest.raises(ValueError, match="not whole numbers from 0"):
        claims_of(samples.tensor(F32, shape, strides, offset))


def test_a_stride_for_each_axis():
    with pytest.raises(ValueError, match=r"a tensor of shape \(3, 4\) has 1 strides"):
        claims_of(samples.tensor(F32, (3, 4), (1,)))


@pytest.mark.parametrize("shape", [b"N", samples.text("ab"), b"K\x02", samples.row(b"\x88")])
def test_other_things_than_shapes_are_refused(shape):
    rest = (shape, samples.numbers((1,)), b"\x89", samples.ORDERED_DICT)
    content = samples.call(
        samples.name("torch._utils", "_rebuild_tensor_v2"), F32, samples.number(0), *rest
    )
    with pytest.raises(ValueError, match="not whole numbers from 0"):
        claims_of(content)


def test_a_tensor_without_a_storage_is_refused():
    with pytest.raises(ValueError, match="not built on a storage"):
        claims_of(samples.tensor(samples.text("storage"), (1,), (1,)))


def test_a_storage_that_is_described_in_two_ways_is_refused():
    other = samples.storage("Float", "0", 13)
    pair = samples.row(samples.tensor(F32, (1,), (1,)), samples.tensor(other, (1,), (1,)))
    with pytest.raises(ValueError, match="storage 0 is described in two ways"):
        claims_of(pair)


@pytest.mark.parametrize(
    "identification",
    [b"N", samples.text("0"), samples.row(), samples.row(samples.text("module"), *[b"N"] * 4)],
)
def test_other_objects_outside_are_refused(identification):
    with pytest.raises(ValueError, match="not described as PyTorch does it"):
        claims_of(identification + b"Q")


def test_negative_counts_and_views_of_old_versions_are_refused():
    view = samples.row(samples.text("v"), samples.number(0), samples.number(1))
    for content in (samples.storage("Float", "0", -1), samples.storage("Float", "0", 1, view)):
        with pytest.raises(ValueError, match="not described as PyTorch does it"):
            claims_of(content)


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("torch.nn.modules.linear", "Linear"),
        ("torch._utils", "_rebuild_qtensor"),
        ("torch", "ComplexFloatStorage"),
        ("numpy.core.multiarray", "scalar"),
        ("torch._utils._rebuild_tensor_v2", "__globals__"),
        ("torch", "_utils._rebuild_tensor_v2.__globals__"),
        ("builtins", "getattr"),
    ],
)
def test_other_names_are_refused(module, attribute):
    with pytest.raises(ValueError, match=rf"asks for '{module}\.{attribute}', which is not among"):
        claims_of(samples.call(samples.name(module, attribute)))


@pytest.mark.parametrize("function", ["_rebuild_tensor_v2", "_rebuild_tensor_v3"])
def test_a_negated_view_is_refused(function):
    negated = b"}" + samples.text("neg") + b"\x88s"
    rest = (samples.number(0), samples.numbers((3,)), samples.numbers((1,)), b"\x89", b")")
    dtype = () if function.endswith("2") else (samples.name("torch", "float32"),)
    rebuild = samples.name("torch._utils", function)
    assert claims_of(samples.call(rebuild, F32, *rest, *dtype, b"}")).shape == (3,)
    with pytest.raises(ValueError, match="a negated view of its storage"):
        claims_of(samples.call(rebuild, F32, *rest, *dtype, negated))


# --- programs that would take memory or time out of proportion ------------------------------------


def nest(depth):
    """MARK, then tuples of twice the tuple before, which all share memory; the last is in cell `depth`."""
    doublings = (bytes((*b"h", k, *b"h", k, *b"\x86q", k + 1)) for k in range(depth))
    return b"(" + samples.text("x") + b"q\0" + b"".join(doublings)


def test_a_name_is_a_text_and_no_nest_of_tuples_that_would_be_written_out():
    with pytest.raises(ValueError, match="expects a str"):
        claims_of(nest(60) + samples.text("name") + b"\x93")


def test_a_nest_of_tuples_is_no_key():
    pairs = b"]h\x3c" + samples.number(1) + b"\x86a"
    with pytest.raises(ValueError, match="not made of a list of names and values"):
        claims_of(nest(60) + samples.call(samples.name("collections", "OrderedDict"), pairs))


def test_an_ordered_dict_of_pairs_as_python_2_wrote_it():
    pairs = b"](]" + samples.text("a") + b"a" + samples.number(1) + b"ae"
    made = samples.call(samples.name("collections", "OrderedDict"), pairs)
    assert claims_of(made) == {"a": 1}


def test_a_list_of_pairs_is_used_up_and_not_copied_again_and_again():
    ordered_dict = samples.name("collections", "OrderedDict") + b"h\0\x85R"
    pairs = b"]q\0" + samples.text("a") + samples.number(1) + b"\x86a"
    assert claims_of(b"(" + pairs + 2 * ordered_dict + b"t") == ([], {"a": 1}, {})


def test_a_size_has_no_more_axes_than_an_array():
    size = samples.name("torch", "Size")
    assert claims_of(samples.call(size, samples.numbers(range(64)))) == tuple(range(64))
    with pytest.raises(ValueError, match="up to 64 numbers"):
        claims_of(samples.call(size, samples.numbers(range(65))))
    with pytest.raises(ValueError, match="are not whole numbers"):
        claims_of(samples.tensor(F32, (1,) * 65, (1,) * 65))


@pytest.mark.parametrize("dtype", ["object", "complex64", "U3", "datetime64[s]", "V4", "uint16"])
def test_a_text_names_no_dtype_of_its_own(dtype):
    parts = (samples.text("storage"), samples.text(dtype), samples.text("0"), samples.text("cpu"))
    storage = samples.row(*parts, samples.number(3)) + b"Q"
    with pytest.raises(ValueError, match="a storage is not described as PyTorch does it"):
        claims_of(samples.tensor(storage, (3,), (1,)))
