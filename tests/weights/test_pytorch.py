"""`.pth` files in both forms: built byte by byte, and written by PyTorch where it is installed."""

import io
import zipfile

import numpy as np
import pytest

from minicnn import read_weights
from tests.weights import samples

WEIGHT = np.arange(6, dtype="<f4").reshape(2, 3)
BIAS = np.array([0.5, -1.5], "<f8")
STATE = {
    "weight": samples.parameter(samples.tensor(samples.storage("Float", "0", 6), (2, 3), (3, 1))),
    "bias": samples.tensor(samples.storage("Double", "1", 2), (2,), (1,)),
    "count": samples.tensor(samples.storage("Long", "2", 1), (), ()),
}
DATA = {"0": WEIGHT.tobytes(), "1": BIAS.tobytes(), "2": (3).to_bytes(8, "little")}
LEGACY_STATE = {
    "weight": samples.tensor(samples.storage("Float", "0", 6, b"N"), (2, 3), (3, 1)),
    "bias": samples.tensor(samples.storage("Double", "1", 2, b"N"), (2,), (1,)),
    "count": samples.tensor(samples.storage("Long", "2", 1, b"N"), (), ()),
}
LEGACY_DATA = {"1": (2, DATA["1"]), "0": (6, DATA["0"]), "2": (1, DATA["2"])}
EXPECTED = {"weight": WEIGHT, "bias": BIAS, "count": np.array(3)}

ZIP = samples.zip_file(samples.entries(STATE), DATA)
LEGACY = samples.legacy_file(samples.entries(LEGACY_STATE), LEGACY_DATA)
each_form = pytest.mark.parametrize("contents", [ZIP, LEGACY], ids=["zip", "legacy"])


@pytest.fixture
def read(tmp_path):
    """Read the bytes of a file."""

    def read(contents, **options):
        path = tmp_path / "file.pth"
        path.write_bytes(contents)
        return read_weights(path, **options)

    return read


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


@each_form
def test_both_forms_are_read(read, contents):
    assert_same(read(contents), EXPECTED)


@each_form
def test_pytorch_reads_the_samples_too(contents, torch):
    loaded = torch.load(io.BytesIO(contents), weights_only=True)
    assert_same({name: tensor.detach().numpy() for name, tensor in loaded.items()}, EXPECTED)


def test_attributes_of_a_state_are_passed_over(read):
    attributes = samples.entries({"_metadata": b"}"}, empty=b"}")
    assert_same(read(samples.zip_file(samples.entries(STATE) + attributes + b"b", DATA)), EXPECTED)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_the_byte_order_is_obeyed(read, byteorder):
    order = "<" if byteorder == "little" else ">"
    data = {
        key: np.frombuffer(numbers, dtype).astype(np.dtype(dtype).newbyteorder(order)).tobytes()
        for (key, numbers), dtype in zip(DATA.items(), ("<f4", "<f8", "<i8"), strict=True)
    }
    more = {"byteorder": byteorder.encode()}
    assert_same(read(samples.zip_file(samples.entries(STATE), data, more)), EXPECTED)


# --- where in a checkpoint the weights are --------------------------------------------------------


def checkpoint(**states):
    parts = {"epoch": samples.number(3), "best": b"G?\xe0\0\0\0\0\0\0", **states}
    return samples.zip_file(samples.entries(parts, empty=b"}"), DATA)


def test_the_only_state_is_found(read):
    optimizer = samples.entries({"state": b"}", "param_groups": b"]"}, empty=b"}")
    contents = checkpoint(state_dict=samples.entries(STATE), optimizer=optimizer, empty=b"}")
    assert_same(read(contents), EXPECTED)


def test_one_of_several_states_has_to_be_chosen(read):
    contents = checkpoint(model=samples.entries(STATE), ema=samples.entries(STATE))
    with pytest.raises(
        ValueError, match="holds 'epoch', 'best', 'model', 'ema'; choose one with key="
    ):
        read(contents)
    assert_same(read(contents, key="ema"), EXPECTED)


def test_a_key_that_names_no_state_is_refused(read):
    for key in ("epoch", "absent"):
        with pytest.raises(
            ValueError, match=rf"key='{key}' names no dict of tensors in it; it holds"
        ):
            read(checkpoint(model=samples.entries(STATE)), key=key)


def test_a_file_without_weights_is_refused(read):
    with pytest.raises(ValueError, match="'epoch', 'best'; none of them is a dict of tensors"):
        read(checkpoint())
    with pytest.raises(ValueError, match="holds no state dict"):
        read(samples.zip_file(b"K\x01"))


def test_storages_that_are_not_wanted_are_not_read(read):
    other = samples.entries({"w": samples.tensor(samples.storage("Float", "9", 6), (6,), (1,))})
    contents = checkpoint(model=samples.entries(STATE), ema=other)  # storage 9 is missing
    assert_same(read(contents, key="model"), EXPECTED)


# --- damaged and hostile files --------------------------------------------------------------------


def test_a_missing_storage_is_refused(read):
    data = {key: DATA[key] for key in ("0", "2")}
    with pytest.raises(
        ValueError, match="expected 16 bytes at 'archive/data/1', got no such entry"
    ):
        read(samples.zip_file(samples.entries(STATE), data))


@pytest.mark.parametrize("change", [b"", b"12"])
def test_a_storage_of_another_size_is_refused(read, change):
    with pytest.raises(ValueError, match="expected 24 bytes at 'archive/data/0', got"):
        read(samples.zip_file(samples.entries(STATE), DATA | {"0": change}))


def test_a_storage_that_claims_terabytes_is_refused(read):
    huge = {"w": samples.tensor(samples.storage("Float", "0", 2**40), (2**40,), (1,))}
    with pytest.raises(ValueError, match=r"expected 4,398,046,511,104 bytes"):
        read(samples.zip_file(samples.entries(huge), DATA))
    legacy = {"w": samples.tensor(samples.storage("Float", "0", 2**40, b"N"), (2**40,), (1,))}
    with pytest.raises(ValueError, match=r"storages take 4,398,046,511,394 bytes, but it has 290"):
        read(samples.legacy_file(samples.entries(legacy), {"0": (2**40, b"")}))


def test_compressed_entries_are_refused(read):
    contents = samples.zip_file(samples.entries(STATE), DATA, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed, which those of PyTorch are not"):
        read(contents)


def test_a_flipped_bit_in_the_numbers_is_noticed(read):
    damaged = bytearray(ZIP)
    damaged[ZIP.index(WEIGHT.tobytes()) + 5] ^= 16
    with pytest.raises(ValueError, match="CRC"):
        read(damaged)


def test_programs_are_refused(read):
    more = {"constants.pkl": samples.program(b")"), "code/a.py": b"def forward(): ..."}
    with pytest.raises(ValueError, match="a TorchScript program; save its weights alone"):
        read(samples.zip_file(samples.entries(STATE), DATA, more))


def test_another_arrangement_is_refused(read):
    with pytest.raises(ValueError, match=r"neither \.npy arrays nor one data\.pkl"):
        read(samples.zip_file(samples.entries(STATE), DATA, folder="a/b"))


def test_a_byte_order_that_does_not_exist_is_refused(read):
    with pytest.raises(ValueError, match="byte order is stated as 'middle'"):
        read(samples.zip_file(samples.entries(STATE), DATA, {"byteorder": b"middle"}))


@pytest.mark.parametrize("count", [5, 7, 2**40, -1])
def test_a_legacy_storage_that_counts_otherwise_is_refused(read, count):
    data = LEGACY_DATA | {"0": (count, DATA["0"])}
    with pytest.raises(ValueError, match="storage 0: expected 6, got"):
        read(samples.legacy_file(samples.entries(LEGACY_STATE), data))


@pytest.mark.parametrize("length", [-1, -8, -30])
def test_a_legacy_file_that_ends_early_is_refused(read, length):
    with pytest.raises(ValueError, match=r"storage \d: expected|but it has"):
        read(LEGACY[:length])


def test_bytes_behind_a_legacy_file_are_refused(read):
    with pytest.raises(ValueError, match=r"its storages take .* bytes, but it has"):
        read(LEGACY + b"\0")


def test_legacy_storages_have_to_be_those_of_the_tensors(read):
    data = {"7" if key == "1" else key: value for key, value in LEGACY_DATA.items()}
    with pytest.raises(ValueError, match="other storages than it lists"):
        read(samples.legacy_file(samples.entries(LEGACY_STATE), data))


def test_legacy_files_of_big_endian_machines_are_refused(read):
    contents = samples.legacy_file(
        samples.entries(LEGACY_STATE), LEGACY_DATA, samples.system_info(little_endian=False)
    )
    with pytest.raises(ValueError, match="big-endian"):
        read(contents)


def test_other_pickles_are_refused(read):
    with pytest.raises(ValueError, match="a pickle, but not one that PyTorch wrote"):
        read(samples.program(samples.entries({"a": b"N"}, empty=b"}")))


# --- files that PyTorch wrote ---------------------------------------------------------------------


def tensors(torch):
    """Tensors of every kind that a state dict may hold."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.bool)
    return {
        "plain": base,
        "transposed": base.t(),
        "part": base[1:3, ::2],
        "expanded": torch.ones(1).expand(5),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        **{str(dtype): (10 * base).to(dtype) for dtype in dtypes},
        "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    }


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("nested", [False, True])
def test_what_pytorch_writes_is_read(torch, tmp_path, form, nested):
    saved = tensors(torch)
    content = {"state_dict": saved, "epoch": 3, "lr": 0.1} if nested else saved
    path = tmp_path / "weights.pt"
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    found = read_weights(path)
    assert list(found) == list(saved)
    for name, tensor in saved.items():
        tensor = tensor.detach()
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert found[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_a_whole_module_is_refused_by_name(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_weights(tmp_path / "model.pth")


def test_states_of_optimizers_are_passed_over(torch, tmp_path):
    model = torch.nn.Linear(2, 3).state_dict()
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3, 2)}
    groups = [{"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1]}]
    optimizer = {"state": {0: moments, 1: moments}, "param_groups": groups}
    torch.save({"model": model, "optimizer": optimizer}, tmp_path / "checkpoint.pth")
    expected = {name: tensor.numpy() for name, tensor in model.items()}
    assert_same(read_weights(tmp_path / "checkpoint.pth"), expected)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:.*legacy.*")
def test_a_whole_network_of_pytorch_is_refused_with_what_to_save_instead(tmp_path, torch, legacy):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        read_weights(tmp_path / "a.pth")
