"""Downloading, from a server on this machine."""

import functools
import http.server
import threading

import numpy as np
import pytest

from minicnn.data import download, mnist
from minicnn.data.download import fetch_file
from tests.data.folders import source_of, tiny_arrays, write_folder

ARRAYS = tiny_arrays()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder, and the address at which it is served."""
    folder = tmp_path / "web"
    write_folder(folder, ARRAYS, suffix=".gz")
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def load(web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setattr(mnist, "MNIST", source_of(ARRAYS, url=web[1]))
    return functools.partial(mnist.load_mnist, download=True)


def accept(path):
    assert path.is_file()


def test_into_the_cache_and_found_there_afterwards(load, web, tmp_path):
    data = load()
    np.testing.assert_array_equal(data.train_images, ARRAYS["train_images"])
    for path in web[0].iterdir():
        path.unlink()
    np.testing.assert_array_equal(load().test_images, ARRAYS["test_images"])
    assert len(list((tmp_path / "cache/minicnn/tiny").iterdir())) == 4


def test_into_root(load, tmp_path):
    load("root")
    assert len(list((tmp_path / "root/tiny").iterdir())) == 4
    assert not (tmp_path / "cache").exists()


def test_only_what_is_missing_is_fetched(load, web, tmp_path):
    write_folder(tmp_path / "root/tiny", ARRAYS)
    (tmp_path / "root/tiny/t10k-labels-idx1-ubyte").unlink()
    for path in web[0].iterdir():
        if "t10k-labels" not in path.name:
            path.unlink()
    np.testing.assert_array_equal(load("root").test_labels, ARRAYS["test_labels"])


def test_a_wrong_checksum_is_an_error_and_the_file_is_gone(load, web, tmp_path):
    write_folder(web[0], tiny_arrays(seed=1), suffix=".gz")
    with pytest.raises(
        ValueError, match=r"127.*train-labels.* thrown away: .*expected the SHA-256"
    ):
        load()
    assert list((tmp_path / "cache/minicnn/tiny").iterdir()) == []


def test_a_file_cut_short_is_an_error_and_gone(load, web, tmp_path):
    path = web[0] / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"thrown away: .*damaged gzip"):
        load()
    assert "train-images" not in str(list((tmp_path / "cache/minicnn/tiny").iterdir()))


def test_a_wrong_file_in_the_target_is_named(load, tmp_path):
    write_folder(tmp_path / "cache/minicnn/tiny", tiny_arrays(seed=1))
    with pytest.raises(ValueError, match=r"train-labels.*delete this file"):
        load()


def test_no_such_page(load, web):
    (web[0] / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ConnectionError, match=r"http://127.*train-labels.*404"):
        load()


def test_no_server(tmp_path):
    with pytest.raises(ConnectionError, match="could not be fetched"):
        fetch_file("http://127.0.0.1:9/file", tmp_path / "file", accept)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_cut_off(web, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    with pytest.raises(ConnectionError, match="larger than 1,000 bytes"):
        fetch_file(web[1] + "train-images-idx3-ubyte.gz", tmp_path / "new" / "file", accept)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_old_file_stays_when_the_new_one_is_refused(web, tmp_path):
    def refuse(path):
        raise ValueError("not this")

    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="thrown away: not this"):
        fetch_file(web[1] + "train-labels-idx1-ubyte.gz", target, refuse)
    assert target.read_bytes() == b"old"
