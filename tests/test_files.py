"""Files that appear whole or not at all."""

import os
import stat
import sys

import pytest

from minicnn.files import open_to_read, replace_file


def test_a_file_is_written(tmp_path):
    with replace_file(tmp_path / "new") as file:
        file.write(b"contents")
    assert (tmp_path / "new").read_bytes() == b"contents"
    assert os.listdir(tmp_path) == ["new"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def interrupted():
        with replace_file(path) as file:
            file.write(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def open_full(name, mode):
        assert mode == "xb"
        open(name, mode).close()
        return open("/dev/full", "wb")

    monkeypatch.setattr("minicnn.files.open", open_full, raising=False)
    with pytest.raises(OSError, match="No space left"), replace_file(path) as file:
        file.write(b"does not fit")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX systems")
def test_a_new_file_has_the_permissions_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        with replace_file(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX systems")
def test_permissions_stay_from_the_first_byte_on(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with replace_file(path) as file:
        assert stat.S_IMODE(os.stat(file.name).st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", None)])
def test_only_a_regular_file_is_replaced(tmp_path, make):
    make(tmp_path / "kept")
    refused = pytest.raises(OSError, match="kept: exists and is no regular file")
    with refused, replace_file(tmp_path / "kept"):
        pass
    assert os.listdir(tmp_path) == ["kept"]
    assert not (tmp_path / "kept").is_file()


def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "real"
    real.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(real)
    with replace_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "absent" / "x"
    refused = pytest.raises(FileNotFoundError, match=r"the folder .*absent does not exist")
    with refused as caught, replace_file(path):
        pass
    assert caught.value.filename == str(path)


# --- reading --------------------------------------------------------------------------------------


def message_for(path, kind=FileNotFoundError):
    with pytest.raises(kind) as caught:
        open_to_read(path, "path", [".npz", ".pth"])
    return str(caught.value)


def test_a_file_that_is_there_is_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"contents")
    with open_to_read(tmp_path / "a", "path", [".npz"]) as file:
        assert file.read() == b"contents"


def test_of_a_missing_file_the_argument_and_similar_files_are_named(tmp_path):
    for name in ("alexnet.npz", "resnet18.pth", "vgg11.NPZ", "zfnet.npz", "notes.txt"):
        (tmp_path / name).touch()
    assert message_for(tmp_path / "resnet.pth") == (
        f"{tmp_path}/resnet.pth: does not exist; path names a file (.npz, .pth), and {tmp_path} has "
        "resnet18.pth, alexnet.npz, vgg11.NPZ, ..."
    )


def test_of_a_missing_relative_file_the_place_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message_for("a.npz").endswith(f", and {tmp_path} has none")
    assert message_for("b/c/a.npz").endswith(f", but there is no folder {tmp_path / 'b' / 'c'}")


def test_of_a_folder_the_files_in_it_are_named(tmp_path):
    (tmp_path / "weights.npz").touch()
    assert message_for(tmp_path, IsADirectoryError) == (
        f"{tmp_path}: is a folder; path names a file (.npz, .pth), and {tmp_path} has weights.npz"
    )
