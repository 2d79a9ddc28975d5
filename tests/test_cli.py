"""The command line, called in this process on the images that come with minicnn."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minicnn.cli import main
from minicnn.data import load_fashion_mnist_sample
from minicnn.optim.lr_scheduler import OneCycleLR
from minicnn.train import History

TRAIN = ["train", "--limit", "60", "--epochs", "1", "--batch-size", "20", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a network that was trained a little."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("trained") / "new" / "folder"
    assert main([*TRAIN, "--out", str(folder)]) == 0
    return folder


def fails(arguments, capsys):
    """Return the only line on standard error of a command that fails."""
    assert main([str(argument) for argument in arguments]) == 1
    line, end = capsys.readouterr().err.split("\n")
    assert end == ""
    assert line.startswith("minicnn: error: ")
    return line


def test_train_writes_a_folder(folder):
    assert sorted(os.listdir(folder)) == [
        "config.json",
        "history.json",
        "report.png",
        "weights.npz",
    ]
    history = History.load(folder / "history.json")
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history)
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "first_cnn"
    assert config["settings"]["batch_size"] == 20
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_train_prints_the_test_accuracy_and_is_silent_otherwise(capsys):
    assert main([*TRAIN, "--model", "mlp", "--validation", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Fashion-MNIST sample, 60 test images\n  loss ")
    assert "  accuracy " in out
    assert err == ""


@pytest.mark.parametrize("name", ["weights.npz", "config.json", "history.json", "report.png"])
def test_a_folder_in_the_place_of_a_file_is_found_before_the_work(tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    arguments = ["train", "--epochs", "1000000", "--out", tmp_path]  # which would take days
    assert f"{name} exists and is no file" in fails(arguments, capsys)


def test_what_is_no_folder_is_found_before_the_work(tmp_path, capsys):
    arguments = ["train", "--epochs", "1000000", "--out"]
    assert "--out: expected the name of a folder, got ''" in fails([*arguments, ""], capsys)
    (tmp_path / "file").touch()
    assert "file is a file" in fails([*arguments, tmp_path / "file"], capsys)


def test_train_shows_a_line_an_epoch(capsys):
    assert main([*TRAIN[:-1], "--model", "mlp"]) == 0
    assert capsys.readouterr().err.startswith("epoch 1/1  loss ")


def test_the_same_seed_prints_the_same(capsys):
    def output(seed):
        assert main([*TRAIN, "--model", "mlp", "--seed", seed]) == 0
        return capsys.readouterr().out

    assert output("1") == output("1") != output("2")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("scheduler", ["one-cycle", "cosine", "constant"])
def test_every_optimizer_goes_with_every_schedule(optimizer, scheduler, capsys):
    settings = ["--optimizer", optimizer, "--scheduler", scheduler, "--weight-decay", "0.01"]
    assert main([*TRAIN, "--model", "mlp", *settings, "--clip-norm", "1", "--patience", "1"]) == 0


def test_train_says_that_it_replaces_a_network(tmp_path, capsys):
    for expected in (
        "",
        f"minicnn: --out: {tmp_path} holds a trained network, which will be replaced\n",
    ):
        assert main([*TRAIN, "--model", "mlp", "--out", str(tmp_path)]) == 0
        assert capsys.readouterr().err == expected


def test_evaluate_repeats_what_train_measured(folder, capsys):
    assert main([*TRAIN, "--out", str(folder)]) == 0
    trained = capsys.readouterr().out
    assert main(["evaluate", "--weights", str(folder), "--limit", "60"]) == 0
    assert trained.startswith(capsys.readouterr().out)


def test_predict_names_classes_and_probabilities(folder, capsys):
    assert main(["predict", "--weights", str(folder), "--index", "0", "3", "--top", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 11
    assert lines[0].startswith("Fashion-MNIST sample, test image 0: ")
    shares = [float(line.split("%")[0]) for line in lines[1:11]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.1)


def test_predict_reads_files(folder, capsys, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, load_fashion_mnist_sample().test_images[:2])
    assert main(["predict", "--weights", str(folder), str(path), "--index", "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}, image 0"
    assert lines[1:4] + lines[5:8] == lines[9:12] + lines[13:16]


def test_predict_can_invert_files(folder, capsys, tmp_path):
    image = load_fashion_mnist_sample().test_images[0]
    np.save(tmp_path / "light.npy", 255 - image)
    arguments = ["predict", "--weights", str(folder), str(tmp_path / "light.npy"), "--invert"]
    assert main([*arguments, "--index", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == lines[5:8]


def test_summary(capsys):
    assert main(["summary", "bigger_cnn", "--input-size", "1x28x28"]) == 0
    assert "Total params: 437,026" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "total"), [("squeezenet1_1", "1,235,496"), ("text_cnn", "1,315,937")]
)
def test_summary_knows_what_a_network_is_made_for(model, total, capsys):
    assert main(["summary", model]) == 0
    assert f"Total params: {total}" in capsys.readouterr().out


def test_the_program_runs_as_a_module():
    command = [sys.executable, "-m", "minicnn", "summary", "first_cnn"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Total params: 25,034" in done.stdout


# --- errors ---------------------------------------------------------------------------------------


def test_missing_weights_are_named(tmp_path, capsys):
    line = fails(["evaluate", "--weights", tmp_path], capsys)
    assert line.endswith(
        f"`minicnn train --out` wrote, but {tmp_path / 'weights.npz'} does not exist"
    )


def test_weights_that_do_not_exist_are_named(tmp_path, capsys):
    assert "nowhere: expected the folder that `minicnn train --out` wrote" in fails(
        ["evaluate", "--weights", tmp_path / "nowhere"], capsys
    )


def test_damaged_weights_are_named(folder, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "weights.npz").write_bytes((folder / "weights.npz").read_bytes()[:-5])
    assert "weights.npz: cannot be read" in fails(["evaluate", "--weights", tmp_path], capsys)


def test_evaluate_takes_the_dataset_that_the_network_was_trained_on(
    folder, tmp_path, capsys, monkeypatch
):
    for name in ("config.json", "weights.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dataset": "fashion-mnist"}))
    loaded = []

    def load(root, download):
        loaded.append((root, download))
        return load_fashion_mnist_sample()

    monkeypatch.setattr("minicnn.commands.datasets.load_fashion_mnist", load)
    assert main(["evaluate", "--weights", str(tmp_path), "--limit", "10"]) == 0
    assert main(["predict", "--weights", str(tmp_path), "--index", "0"]) == 0
    assert loaded == [(None, False)] * 2


def test_classes_of_another_dataset_are_refused(folder, tmp_path, capsys):
    text = (folder / "config.json").read_text().replace("Sandal", "Boat")
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "weights.npz").write_bytes((folder / "weights.npz").read_bytes())
    assert "choose another --dataset" in fails(["evaluate", "--weights", tmp_path], capsys)


@pytest.mark.parametrize("index", [1000, -1])
def test_an_image_that_does_not_exist_is_refused(folder, capsys, index):
    line = fails(["predict", "--weights", folder, "--index", index], capsys)
    assert f"has test images 0 to 999, got {index}" in line


def test_inverting_without_files_is_refused(folder, capsys):
    line = fails(["predict", "--weights", folder, "--index", "0", "--invert"], capsys)
    assert "--invert: it inverts image files, and none is named" in line


def test_a_folder_for_the_images_that_come_with_minicnn_is_refused(tmp_path, capsys):
    line = fails([*TRAIN, "--data-dir", tmp_path], capsys)
    assert "--data-dir: fashion-mnist-sample comes with minicnn" in line


def test_nothing_to_predict_is_an_error(folder, capsys):
    assert "nothing to predict" in fails(["predict", "--weights", folder], capsys)


def test_an_error_names_the_layer_and_what_the_network_takes(capsys):
    line = fails(["summary", "first_cnn", "--input-size", "3,28,28"], capsys)
    assert "(in Conv2d(1, 8, " in line
    assert "(first_cnn: choose another size with --input-size; it is made for 1,28,28)" in line


def test_a_folder_that_cannot_be_made_fails_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = fails([*TRAIN, "--out", tmp_path / "file" / "folder"], capsys)
    assert str(tmp_path / "file") in line


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="this system has no /proc")
def test_a_folder_in_which_nothing_can_be_written_fails_before_the_work(capsys, monkeypatch):
    monkeypatch.setattr("minicnn.commands.training.fit", None)
    assert "--out: /proc/self: no file can be written there" in fails(
        [*TRAIN, "--out", "/proc/self"], capsys
    )


def test_trying_a_folder_leaves_nothing_in_it(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    fails([*TRAIN, "--out", tmp_path / "out", "--validation", "2"], capsys)
    assert os.listdir(tmp_path / "out") == []


def test_a_last_batch_of_one_image_is_no_obstacle_for_batchnorm():
    assert main([*TRAIN, "--limit", "21", "--validation", "0", "--model", "lenet5_bn"]) == 0


def test_one_cycle_ends_with_the_last_batch(monkeypatch):
    schedules = []

    def spy(*arguments, **options):
        schedules.append(OneCycleLR(*arguments, **options))
        return schedules[0]

    monkeypatch.setattr("minicnn.commands.training.OneCycleLR", spy)
    assert main([*TRAIN, "--model", "mlp", "--limit", "41", "--validation", "0"]) == 0
    assert schedules[0].last_epoch == schedules[0].total_steps == 2


@pytest.mark.parametrize("settings", [["--limit", "1"], ["--validation", "0.999"]])
def test_a_share_that_leaves_no_image_is_named(settings, capsys):
    assert "validation: a share of" in fails([*TRAIN, *settings], capsys)


def test_one_image_is_enough_without_validation():
    assert main([*TRAIN, "--model", "mlp", "--limit", "1", "--validation", "0"]) == 0


def test_without_matplotlib_everything_but_the_report_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main([*TRAIN, "--model", "mlp", "--out", str(tmp_path)]) == 0
    assert "no report.png: minicnn.plot draws with matplotlib" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["config.json", "history.json", "weights.npz"]


def test_debug_shows_where_an_error_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["evaluate", "--weights", str(tmp_path), "--debug"])


def test_an_interruption_is_no_error(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minicnn.commands.training.fit", interrupt)
    assert main(TRAIN) == 130
    assert capsys.readouterr().err == "minicnn: interrupted\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_before_anything_is_written_leaves_no_folder(tmp_path, monkeypatch, error):
    def interrupt(*_, **__):
        raise error

    monkeypatch.setattr("minicnn.commands.training.fit", interrupt)
    (tmp_path / "mine").mkdir()
    for out in ("new", "new/inner/innermost", "mine", "mine/new"):
        assert main([*TRAIN, "--out", str(tmp_path / out)]) != 0
        assert os.listdir(tmp_path) == ["mine"]
        assert os.listdir(tmp_path / "mine") == []


def test_what_ends_later_keeps_what_was_written(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minicnn.commands.training.evaluate", interrupt)
    assert main([*TRAIN, "--model", "mlp", "--out", str(tmp_path / "new" / "inner")]) == 130
    written = sorted(os.listdir(tmp_path / "new" / "inner"))
    assert written == ["config.json", "history.json", "weights.npz"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train", "--epochs", "0"],
        ["train", "--model", "no_such_net"],
        ["train", "--epochs", "many"],
        ["summary", "--input-size", "1,,28", "mlp"],
        ["evaluate"],
        ["train", "--device", "foo"],
        ["train", "--device", "float64"],
        ["train", "--seed", "-1"],
        ["train", "--lr", "0"],
        ["train", "--clip-norm", "0"],
        ["train", "--weight-decay", "-1"],
    ],
)
def test_unknown_arguments_are_refused_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "minicnn" in error
    assert all(option in error for option in arguments[1:2])
