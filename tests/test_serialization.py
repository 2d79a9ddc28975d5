"""Weights survive on disk, and damaged or hostile files are refused in words."""

import io
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.serialization import load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


def assert_same(loaded, expected):
    assert list(loaded) == list(expected)
    for name, array in expected.items():
        assert isinstance(loaded[name], Tensor)
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name].array, array)


# --- what survives --------------------------------------------------------------------------------


def test_a_model_comes_back_bit_for_bit(path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    save(model.state_dict(), path)
    assert_same(load(path), {name: t.array for name, t in model.state_dict().items()})


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=12),
        hnp.arrays(
            st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", ">f4"]),
            hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
        ),
        max_size=4,
    )
)
def test_any_name_shape_and_dtype_survive(tmp_path, state):
    path = tmp_path / "any.npz"
    save(state, path)
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in state.items()}
    assert_same(load(path), native)


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc/passwd", "..", "", "\0", "file", "a.npy", "%2F"]
)
def test_names_that_mean_something_to_archives_survive(path, name):
    save({name: np.ones(2, np.float32), "other": np.zeros(1, np.float32)}, path)
    assert list(load(path)) == [name, "other"]
    with zipfile.ZipFile(path) as archive:
        assert not any("/" in entry or "\\" in entry for entry in archive.namelist())


def test_a_transposed_array_comes_back_in_logical_order(path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    save({"w": array, "f": np.asfortranarray(array)}, path)
    assert_same(load(path), {"w": array, "f": array})


def test_loaded_tensors_can_be_written(path):
    save({"w": np.zeros(2, np.float32)}, path)
    load(path)["w"].array[0] = 1


def test_the_same_weights_give_the_same_bytes(path):
    state = {"w": np.arange(3.0)}
    save(state, path)
    first = path.read_bytes()
    save(state, path)
    assert path.read_bytes() == first


def test_numpy_and_minicnn_read_each_other(path):
    state = {"layer.weight": np.arange(3.0), "steps": np.array(7)}
    save(state, path)
    with np.load(path, allow_pickle=False) as read:
        np.testing.assert_array_equal(read["layer.weight"], state["layer.weight"])
    np.savez(path, **state)
    assert_same(load(path), state)


def test_compressed_files_of_numpy_are_read(path):
    state = {"w": np.arange(1000.0), "zeros": np.zeros((50, 60), np.float32)}
    np.savez_compressed(path, **state)
    assert path.stat().st_size < state["w"].nbytes
    assert_same(load(path), state)


def test_weights_of_another_model_are_refused_by_name_and_shape(path):
    save(nn.Linear(2, 3).state_dict(), path)
    with pytest.raises(ValueError, match=r"weight: expected shape \(5, 4\), got .*\(3, 2\)"):
        nn.Linear(4, 5).load_state_dict(load(path))


# --- what cannot be saved -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (nn.Linear(1, 1), r"got a Linear; for a model write save\(model.state_dict\(\)"),
        ([np.ones(1)], "got a list"),
        ({3: np.ones(1)}, "names of type str, got 3"),
        ({"w": "text"}, "w: expected a tensor or an array of numbers, got str"),
        ({"w": np.array([None])}, "w: .* got object"),
        ({"w": np.array(["text"])}, "w: .* got <U4"),
    ],
)
def test_what_is_no_state_is_refused_and_nothing_written(path, state, message):
    with pytest.raises(TypeError, match=message):
        save(state, path)
    assert not path.exists()


# --- damaged files --------------------------------------------------------------------------------


@pytest.fixture
def contents(path):
    save({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "größe": np.array(1.5)}, path)
    return path.read_bytes()


def test_truncated_files_are_refused(path, contents):
    for length in (*range(0, len(contents), 9), *range(len(contents) - 25, len(contents))):
        path.write_bytes(contents[:length])
        with pytest.raises(ValueError, match=r"weights\.npz: cannot be read as weights.*save the"):
            load(path)


def test_a_flipped_bit_is_refused_or_harmless(path, contents):
    original = load(path)
    refused = 0
    for position in range(len(contents)):
        damaged = bytearray(contents)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = load(path)
        except ValueError:
            refused += 1
        else:
            assert_same(loaded, {name: t.array for name, t in original.items()})
    assert refused > len(contents) / 2


@pytest.mark.parametrize("garbage", [b"", b"PK\x03\x04", b"hello" * 100, bytes(1000)])
def test_other_files_are_refused(path, garbage):
    path.write_bytes(garbage)
    with pytest.raises(
        ValueError, match=r"weights\.npz: .*not a zip archive, or its end is missing"
    ):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz: does not exist; path names .*\.npz"):
        load(tmp_path / "absent.npz")


# --- hostile files --------------------------------------------------------------------------------


def explode():
    raise AssertionError("code from a file was run")


class Bomb:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return explode, ()


def write_zip(path, entries, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def npy(header, numbers=b""):
    header = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + numbers


def test_pickled_objects_are_refused_and_not_run(path):
    np.savez(path, w=np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"array 'w': expected plain numbers, got the dtype object"
    ):
        load(path)


def test_long_messages_of_others_are_cut(path, contents):
    damaged = bytearray(contents)
    damaged[26] = 255  # the length of the first entry's name, in front of the entry itself
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"array 'w': .*\.\.\.; save the") as caught:
        load(path)
    assert len(str(caught.value)) < 600


def test_a_pickle_is_refused(path):
    path.write_bytes(pickle.dumps({"w": np.ones(3)}))
    with pytest.raises(ValueError, match="not a"):
        load(path)


def test_a_pickle_called_npy_is_refused(path):
    write_zip(path, [("w.npy", pickle.dumps(np.ones(3)))])
    with pytest.raises(ValueError, match="array 'w'"):
        load(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "(" * 100,
        "",
    ],
)
def test_headers_that_lie_are_refused(path, header):
    write_zip(path, [("w.npy", npy(header, bytes(8)))])
    with pytest.raises(ValueError, match="array 'w'"):
        load(path)


def test_an_unknown_version_of_the_format_is_refused(path):
    write_zip(path, [("w.npy", b"\x93NUMPY\x03\x00" + bytes(100))])
    with pytest.raises(ValueError, match=r"version \(3, 0\)"):
        load(path)


def test_bombs_are_refused(path, monkeypatch):
    monkeypatch.setattr("minicnn.archives.SMALL", 1000)
    np.savez_compressed(path, w=np.zeros(1_000_000))
    with pytest.raises(ValueError, match=r"its compressed entries claim 8,000,128 bytes"):
        load(path)


def test_two_arrays_of_one_name_are_refused(path):
    entry = io.BytesIO()
    np.save(entry, np.ones(1))
    write_zip(path, [("a.npy", entry.getvalue()), ("%61.npy", entry.getvalue())])
    with pytest.raises(ValueError, match="two arrays called 'a'"):
        load(path)


def test_foreign_entries_are_refused(path):
    write_zip(path, [("readme.txt", b"hello")])
    with pytest.raises(ValueError, match=r"'readme.txt', which is no .npy array"):
        load(path)


# --- interrupted saves ----------------------------------------------------------------------------


def test_an_error_while_saving_leaves_the_old_file(path, contents, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        save({"w": np.ones(1)}, path)
    assert path.read_bytes() == contents
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_kill_while_saving_leaves_the_old_file(path, contents):
    program = textwrap.dedent(
        """
        import os, signal, sys, zipfile
        import numpy as np
        from minicnn.serialization import save

        def die_at_the_end(archive):
            os.kill(os.getpid(), signal.SIGKILL)

        zipfile.ZipFile.close = die_at_the_end
        save({"w": np.ones(100_000)}, sys.argv[1])
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == contents
