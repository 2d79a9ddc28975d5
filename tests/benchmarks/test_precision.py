"""What convolutions may round is the same in both libraries, and dense layers round nothing in either."""

import os

import precision
import pytest
from precision import PRECISIONS, find_torch, round_alike, use_precision

import minicnn
from minicnn.nn.functional.precision import precision_in_force


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """Settings of a program, as they were before."""
    monkeypatch.setenv("CUPY_TF32", "1")
    with minicnn.precision(precision_in_force()):
        yield


@pytest.mark.parametrize("name", PRECISIONS)
def test_dense_layers_of_cupy_never_round(name):
    use_precision(name)
    assert (os.environ["CUPY_TF32"], precision_in_force()) == ("0", PRECISIONS[name])


@pytest.mark.parametrize("name", PRECISIONS)
def test_pytorch_rounds_what_minicnn_does(torch, name):
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32
    cudnn.allow_tf32, cublas.allow_tf32 = name != "tf32", True
    try:
        use_precision(name)
        round_alike(torch)
        assert (cudnn.allow_tf32, cublas.allow_tf32) == (name == "tf32", False)
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = before


@pytest.mark.parametrize("error", [ImportError("none"), OSError("libcudart"), RuntimeError("old")])
def test_a_pytorch_that_cannot_be_used_is_told_in_words(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(precision.importlib, "import_module", fail)
    found, problem = find_torch()
    assert found is None
    assert str(error) in problem
