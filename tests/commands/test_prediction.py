"""`minicnn predict --model`: photographs, and weights in a file."""

import os
from pathlib import Path

import numpy as np
import pytest

from minicnn import models, no_grad, save_weights, zeros
from minicnn.cli import main
from minicnn.commands.datasets import NETWORKS
from minicnn.data.imagenet import imagenet_classes

LITE0 = os.environ.get("MINICNN_LITE0")
ASK = ["predict", "--model", "squeezenet1_1"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    save_weights(models.squeezenet1_1(), path)
    return str(path)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.mktemp("photographs") / "photograph.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    pillow.fromarray(pixels).save(path)
    return str(path)


def fails(arguments, capsys):
    """Return the only line on standard error of a command that fails."""
    assert main(arguments) == 1
    line, end = capsys.readouterr().err.split("\n")
    assert end == ""
    return line


def test_the_likeliest_classes_are_named(weights, photograph, capsys):
    options = ["--weights", weights, "--image", photograph, photograph, "--top", "5"]
    assert main([*ASK, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == photograph
    assert lines[:6] == lines[6:]
    shares = [float(line.split("%")[0]) for line in lines[1:6]]
    assert shares == sorted(shares, reverse=True)
    assert {line.split("%")[1].strip() for line in lines[1:6]} <= set(imagenet_classes())


def test_files_may_stand_without_the_option(weights, photograph, capsys):
    assert main([*ASK, "--weights", weights, photograph]) == 0
    without = capsys.readouterr().out
    assert main([*ASK, "--weights", weights, "--image", photograph]) == 0
    assert capsys.readouterr().out == without


def test_nothing_to_predict_is_an_error(weights, capsys):
    assert "name photographs with --image" in fails([*ASK, "--weights", weights], capsys)


def test_weights_of_another_network_are_refused(weights, photograph, capsys):
    arguments = ["predict", "--model", "mobilenet_v2", "--weights", weights, "--image", photograph]
    assert main(arguments) == 1
    assert f"{weights}: " in capsys.readouterr().err


def test_what_is_no_photograph_is_named(weights, capsys):
    line = fails([*ASK, "--weights", weights, "--image", weights], capsys)
    assert f"{weights}: cannot be read as a picture" in line


@pytest.mark.parametrize(
    "options", [["--index", "0"], ["--invert"], ["--dataset", "mnist"], ["--limit", "3"]]
)
def test_options_for_networks_that_were_trained_here_are_refused(
    weights, photograph, options, capsys
):
    line = fails([*ASK, "--weights", weights, "--image", photograph, *options], capsys)
    assert f"{options[0]}: it is for networks that were trained here" in line


def test_a_weights_file_without_a_network_is_told_what_misses(weights, photograph, capsys):
    line = fails(["predict", "--weights", weights, "--image", photograph], capsys)
    assert line.endswith("for published weights name the network too, with --model")


def test_networks_without_published_weights_are_refused(weights, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--model", "first_cnn", "--weights", weights])
    assert "invalid choice: 'first_cnn'" in capsys.readouterr().err


# --- networks for the data sets -------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_to_train_take_the_images_of_the_data_sets(name):
    with no_grad():
        assert models.create(name, num_classes=10).eval()(zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("name", ["vgg11", "resnet50", "text_cnn", "unet"])
def test_other_networks_cannot_be_trained_on_them(name, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--model", name])
    assert f"invalid choice: '{name}'" in capsys.readouterr().err


# --- real weights ---------------------------------------------------------------------------------


@pytest.mark.skipif(not LITE0, reason="MINICNN_LITE0 does not name the weights of Lite0")
def test_grace_hopper_wears_a_military_uniform(capsys):
    matplotlib = pytest.importorskip("matplotlib")
    sample = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    arguments = ["--model", "efficientnet_lite0", "--weights", LITE0, "--image", str(sample)]
    assert main(["predict", *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("%  military uniform")
