"""Weights between files and networks."""

import os

import numpy as np
import pytest

from minicnn import Tensor, load_weights, models, nn, read_weights, save_weights, write_weights
from minicnn.backend import to_device
from tests.weights import samples

FORMATS = (".safetensors", ".npz")
each_format = pytest.mark.parametrize("suffix", FORMATS)


@pytest.fixture(autouse=True)
def library():
    pytest.importorskip("safetensors")


def network(classes=3):
    return nn.Sequential(
        {
            "conv": nn.Conv2d(2, 4, 3),
            "norm": nn.BatchNorm2d(4),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(4, classes),
        }
    )


def state_of(model):
    return {name: to_device(t.array, "cpu").copy() for name, t in model.state_dict().items()}


def assert_state(model, expected):
    found = state_of(model)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# --- round trips ----------------------------------------------------------------------------------


@each_format
def test_a_network_comes_back_bit_for_bit(tmp_path, suffix):
    model, other = network(), network()
    model.norm.num_batches_tracked.fill_(7)
    model.norm.running_mean.array[:] = [np.nan, np.inf, -0.0, 1e-45]
    save_weights(model, tmp_path / f"a{suffix}")
    assert load_weights(other, tmp_path / f"a{suffix}") == ([], [])
    assert_state(other, state_of(model))


@each_format
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?"])
def test_arrays_of_every_dtype_and_order_come_back(tmp_path, suffix, dtype):
    base = (np.random.default_rng(0).standard_normal((2, 3, 4, 5)) * 50).astype(dtype)
    arrays = {
        "plain": base,
        "channels_last": np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "fortran": np.asfortranarray(base),
        "part": base[:, ::-1, 1:3, ::2],
        "number": base[0, 0, 0, 0:1].reshape(()),
        "empty": base[:0],
    }
    path = tmp_path / f"a{suffix}"
    write_weights(arrays, path)
    found = read_weights(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes(), name


@each_format
def test_shared_parameters_are_written_under_each_name(tmp_path, suffix):
    layer = nn.Linear(2, 2)
    save_weights(nn.Sequential(layer, layer), tmp_path / f"a{suffix}")
    assert set(read_weights(tmp_path / f"a{suffix}")) == {
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    }


def test_a_format_can_be_turned_into_another(tmp_path):
    content = samples.tensor(samples.storage("Float", "0", 2), (2,), (1,))
    (tmp_path / "a.pth").write_bytes(
        samples.zip_file(samples.entries({"w": content}), {"0": np.array([1, 2], "<f4").tobytes()})
    )
    write_weights(read_weights(tmp_path / "a.pth"), tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read_weights(tmp_path / "a.safetensors")["w"], [1, 2])


# --- writing --------------------------------------------------------------------------------------


@each_format
def test_an_error_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(network(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a", "a.h5"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}: expected a name that ends in \.safetensors or"):
        save_weights(network(), tmp_path / name)


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"got a dict; for arrays by name there is write_weights"):
        save_weights({}, tmp_path / "a.npz")


def test_what_is_no_network_cannot_be_filled(tmp_path):
    with pytest.raises(TypeError, match=r"got a PosixPath|got a WindowsPath"):
        load_weights(tmp_path, network())


@each_format
def test_what_is_no_array_is_refused(tmp_path, suffix):
    with pytest.raises(TypeError, match="w: expected a tensor or an array of numbers, got str"):
        write_weights({"w": "text"}, tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == []


# --- by content -----------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("name", ["a.pth", "a.npz", "a.safetensors", "a"])
def test_contents_decide_and_not_the_name(tmp_path, suffix, name):
    write_weights({"w": np.arange(3.0)}, tmp_path / f"b{suffix}")
    os.rename(tmp_path / f"b{suffix}", tmp_path / name)
    np.testing.assert_array_equal(read_weights(tmp_path / name)["w"], np.arange(3.0))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_numpy_are_read(tmp_path, save):
    save(tmp_path / "a.npz", w=np.arange(3.0))
    np.testing.assert_array_equal(read_weights(tmp_path / "a.npz")["w"], np.arange(3.0))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "one that begins with b''"),
        (b"hello", "one that begins with b'hello'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "it is an HDF5 file, as Keras writes them"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS keeps: fetch it"),
        (b"<!DOCTYPE html>", "a web page: the download went wrong"),
        (b"PK\3\4" + bytes(50), "not a zip archive, or its end is missing"),
        (b"\x80\x02.", "misses what it is about"),
    ],
)
def test_other_files_are_refused(tmp_path, contents, message):
    path = tmp_path / "file.pth"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=rf"file\.pth: cannot be read as weights: .*{message}"):
        read_weights(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    kinds = r"path names a file \(\.safetensors, \.npz, \.pth, \.pt\)"
    with pytest.raises(FileNotFoundError, match=rf"absent: does not exist; {kinds}"):
        read_weights(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match=rf"{tmp_path.name}: is a folder; {kinds}"):
        load_weights(nn.Linear(2, 2), tmp_path)


@each_format
def test_a_key_is_for_checkpoints(tmp_path, suffix):
    write_weights({"w": np.arange(3.0)}, tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=r"key='model' is for \.pth files"):
        read_weights(tmp_path / f"a{suffix}", key="model")


# --- into a network -------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    """A file with the weights of `network()`."""
    save_weights(network(), tmp_path / "weights.npz")
    return tmp_path / "weights.npz"


def test_another_head_is_named_and_can_be_skipped(path):
    model = network(classes=5)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"weights\.npz: .*(.|\n)*skip=\('fc\.',\) keeps"):
        load_weights(model, path)
    assert_state(model, before)
    with pytest.raises(ValueError, match=r"fc\.weight: expected shape \(5, 4\)"):
        load_weights(model, path, strict=False)
    assert load_weights(model, path, skip=("fc.",)) == ([], [])
    stored = read_weights(path)
    expected = {name: before[name] if name.startswith("fc.") else stored[name] for name in before}
    assert_state(model, expected)


def test_names_to_skip_may_miss_in_the_file(path):
    model = network()
    model.add_module("extra", nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"missing: extra\.weight"):
        load_weights(model, path)
    assert load_weights(model, path, skip=["extra"]) == ([], [])


def test_names_to_skip_may_be_unknown_to_the_network(path):
    model = nn.Sequential({"conv": nn.Conv2d(2, 4, 3), "norm": nn.BatchNorm2d(4)})
    with pytest.raises(ValueError, match=r"unexpected: fc\.bias"):
        load_weights(model, path)
    assert load_weights(model, path, strict=False) == ([], ["fc.weight", "fc.bias"])
    assert load_weights(model, path, skip="fc.") == ([], [])


def test_a_name_to_skip_that_does_not_exist_is_refused(path):
    with pytest.raises(ValueError, match=r"skip: no name begins with 'head\.'"):
        load_weights(network(), path, skip=("head.",))


def test_a_lazy_layer_can_be_skipped(path):
    model = network()
    model.fc = nn.LazyLinear(9)
    load_weights(model, path, skip=("fc.",))
    assert type(model.fc) is nn.LazyLinear
    np.testing.assert_array_equal(model.conv.weight.array, read_weights(path)["conv.weight"])


def test_another_number_of_channels_is_named(path):
    model, conv = network(), network().conv
    model.conv = nn.Conv2d(conv.in_channels + 1, conv.out_channels, conv.kernel_size)
    with pytest.raises(ValueError, match="another number of channels"):
        load_weights(model, path)


@pytest.mark.parametrize("prefix", ["module.", "model.backbone."])
def test_a_prefix_is_named_and_can_be_removed(path, tmp_path, prefix):
    stored = read_weights(path)
    other = tmp_path / "prefixed.npz"
    write_weights({prefix + name: array for name, array in stored.items()}, other)
    model = network()
    with pytest.raises(ValueError, match=rf"begin with '{prefix}': pass prefix='{prefix}'"):
        load_weights(model, other)
    load_weights(model, other, prefix=prefix)
    assert_state(model, stored)
    with pytest.raises(ValueError, match=r"expected names that begin with 'module\.', got 'conv"):
        load_weights(model, path, prefix="module.")


@pytest.mark.parametrize("prefix", ["module", "model.backbone"])
def test_the_dot_of_a_prefix_may_be_left_out(path, tmp_path, prefix):
    stored = read_weights(path)
    other = tmp_path / "prefixed.npz"
    write_weights({f"{prefix}.{name}": array for name, array in stored.items()}, other)
    model = network()
    load_weights(model, other, prefix=prefix)
    assert_state(model, stored)


def test_a_file_of_which_nothing_fits_is_refused_even_if_not_strict(path, tmp_path):
    model = nn.Sequential({"another": nn.Linear(2, 2)})
    message = "fits; the file has 'conv.weight', 'conv.bias', 'norm.weight', ..., the network "
    with pytest.raises(ValueError, match=message + r"'another\.weight', 'another\.bias'$"):
        load_weights(model, path, strict=False)
    write_weights(
        {f"module.{name}": a for name, a in read_weights(path).items()}, tmp_path / "a.npz"
    )
    with pytest.raises(ValueError, match=r"nothing to load: (.|\n)*pass prefix='module\.'"):
        load_weights(network(), tmp_path / "a.npz", strict=False)
    write_weights({}, tmp_path / "empty.npz")
    with pytest.raises(ValueError, match="the file has no names, the network 'conv"):
        load_weights(network(), tmp_path / "empty.npz", strict=False)


def test_to_skip_everything_is_refused(path):
    with pytest.raises(ValueError, match=r"nothing to load: strict=True and skip=\('',\) leave no"):
        load_weights(network(), path, skip="")


@pytest.mark.parametrize("arguments", [{"prefix": None}, {"skip": ("fc.", 1)}])
def test_arguments_of_the_wrong_kind_are_named(path, arguments):
    with pytest.raises(
        TypeError, match=r"load_weights: (prefix|skip): expected a str, got (None|1)"
    ):
        load_weights(network(), path, **arguments)


def test_the_number_of_an_open_file_is_no_path():
    with pytest.raises(TypeError, match="not int"):
        read_weights(0)


def test_counters_of_batches_may_miss_as_in_pytorch(path):
    stored = read_weights(path)
    del stored["norm.num_batches_tracked"]
    write_weights(stored, path)
    model = network()
    model.norm.num_batches_tracked.fill_(5)
    assert load_weights(model, path) == ([], [])
    assert model.norm.num_batches_tracked.item() == 5


def test_other_names_may_not_miss(path):
    stored = read_weights(path)
    del stored["norm.running_mean"]
    write_weights(stored, path)
    with pytest.raises(ValueError, match=r"missing: norm\.running_mean"):
        load_weights(network(), path)
    assert load_weights(network(), path, strict=False) == (["norm.running_mean"], [])


def test_weights_of_half_precision_become_those_of_the_network(path):
    stored = {name: array.astype("f2") for name, array in read_weights(path).items()}
    write_weights(stored, path)
    model = network()
    load_weights(model, path)
    assert model.conv.weight.dtype == np.float32
    np.testing.assert_array_equal(model.conv.weight.array, stored["conv.weight"])


def test_old_names_of_densenets_are_understood(tmp_path):
    layer = nn.Sequential({"norm1": nn.BatchNorm2d(2), "conv2": nn.Conv2d(2, 2, 1)})
    model = nn.Sequential({"denselayer1": layer})
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2"): array
        for name, array in state_of(model).items()
    }
    write_weights(old, tmp_path / "old.npz")
    other = nn.Sequential(
        {"denselayer1": nn.Sequential({"norm1": nn.BatchNorm2d(2), "conv2": nn.Conv2d(2, 2, 1)})}
    )
    assert load_weights(other, tmp_path / "old.npz") == ([], [])
    assert_state(other, state_of(model))


def test_an_old_and_a_new_name_of_one_weight_are_refused(tmp_path):
    model = nn.Sequential({"denselayer1": nn.Sequential({"conv1": nn.Conv2d(2, 2, 1, bias=False)})})
    before = state_of(model)
    both = {f"denselayer1.conv{dot}1.weight": np.zeros((2, 2, 1, 1)) for dot in ("", ".")}
    write_weights(both, tmp_path / "both.npz")
    names = r"'denselayer1\.conv1\.weight' and 'denselayer1\.conv\.1\.weight' are an old and a new"
    with pytest.raises(ValueError, match=names):
        load_weights(model, tmp_path / "both.npz", strict=False)
    assert_state(model, before)


def test_a_published_network_comes_back(tmp_path):
    model = models.squeezenet1_1(num_classes=7)
    save_weights(model, tmp_path / "a.safetensors")
    other = models.squeezenet1_1(num_classes=7)
    load_weights(other, tmp_path / "a.safetensors")
    assert_state(other, state_of(model))


# --- files that others wrote ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pytorch_and_minicnn_have_the_same_outputs(tmp_path, torch, suffix):
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 3)
    ).to(memory_format=torch.channels_last)
    ours = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    theirs(torch.randn(8, 2, 3, 3))  # gives BatchNorm its statistics
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
        load_weights(ours, path)
    else:
        save_weights(ours, path)
        from safetensors.torch import load_file

        theirs.load_state_dict(load_file(path))
    x = np.random.default_rng(0).standard_normal((5, 2, 3, 3)).astype("f4")
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours.eval()(Tensor(x)).array, expected, rtol=1e-5, atol=1e-6)
