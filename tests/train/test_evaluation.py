"""Inference: exact averages, and a model that is left as it was found."""

import numpy as np
import pytest

from minicnn import is_grad_enabled, nn
from minicnn.autograd import Tensor
from minicnn.data import DataLoader, TensorDataset
from minicnn.nn import functional as F
from minicnn.train import evaluate, mean_absolute_error, predict
from minicnn.train.metrics import accuracy, top_k_accuracy


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6))


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((10, 3)).astype("f4")


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 6, 10)


def modes(model):
    return [module.training for module in model.modules()]


def test_predictions_do_not_depend_on_the_batch_size(model, images):
    whole = predict(model, images)
    assert whole.shape == (10, 6)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(predict(model, images, batch_size=3), whole, atol=1e-6)


def test_predict_is_the_model_in_inference_mode(model, images):
    expected = model.eval()(Tensor(images)).detach().numpy()
    np.testing.assert_array_equal(predict(model.train(), Tensor(images)), expected)


def test_predict_leaves_modes_buffers_and_recording_as_they_were(model, images):
    model.train()
    model[1].eval()  # a frozen part
    before, mean = modes(model), model[1].running_mean.array.copy()
    predict(model, images)
    assert modes(model) == before
    np.testing.assert_array_equal(model[1].running_mean.array, mean)
    assert is_grad_enabled()


def test_modes_are_restored_after_an_error(model):
    with pytest.raises(ValueError):  # noqa: PT011 (the layer's own message)
        predict(model.train(), np.zeros((2, 5), "f4"))
    assert all(modes(model))


def test_no_images_give_no_predictions(model):
    assert predict(model, np.zeros((0, 3), "f4")).shape == (0, 6)


@pytest.mark.parametrize(("images", "size"), [(np.float32(1), 1), (np.zeros((2, 3), "f4"), 0)])
def test_predict_refuses_what_is_no_batch(model, images, size):
    with pytest.raises(ValueError, match=r"expected images \(N, ...\) and batch_size >= 1"):
        predict(model, images, size)


def test_predict_refuses_a_dataset(model, images):
    with pytest.raises(TypeError, match=r"got TensorDataset; .* dataset\.tensors\[0\]"):
        predict(model, TensorDataset(images))


def test_evaluate_averages_over_examples_not_batches(model, images, labels):
    measures = evaluate(model, (images, labels), batch_size=4)  # 4 + 4 + 2
    scores = predict(model, images)
    assert list(measures) == ["loss", "accuracy", "top_5_accuracy"]
    assert measures["loss"] == pytest.approx(F.cross_entropy(Tensor(scores), labels).item())
    assert measures["accuracy"] == pytest.approx(accuracy(scores, labels))
    assert measures["top_5_accuracy"] == pytest.approx(top_k_accuracy(scores, labels, 5))


def test_all_kinds_of_data_measure_the_same(model, images, labels):
    dataset = TensorDataset(images, labels)
    expected = evaluate(model, (images, labels), batch_size=4)
    assert evaluate(model, dataset, batch_size=4) == expected
    assert evaluate(model, DataLoader(dataset, 4)) == expected
    assert evaluate(model, list(zip(images, labels, strict=True)), batch_size=4) == expected


def test_top_k_beyond_the_number_of_classes_is_left_out(images):
    model = nn.Linear(3, 2)
    measures = evaluate(model, (images, np.zeros(10, int)))
    assert list(measures) == ["loss", "accuracy"]


def test_regression_has_its_own_loss_and_metrics(images):
    model = nn.Linear(3, 1)
    targets = np.ones((10, 1), "f4")
    measures = evaluate(
        model, (images, targets), loss=nn.MSELoss(), metrics={"mae": mean_absolute_error}
    )
    error = predict(model, images) - targets
    assert measures == pytest.approx({"loss": (error**2).mean(), "mae": abs(error).mean()})


def test_a_loss_of_the_library_can_be_a_metric(model, images, labels):
    measures = evaluate(model, (images, labels), metrics=[F.cross_entropy], top_k=())
    assert measures["cross_entropy"] == pytest.approx(measures["loss"])


def test_empty_data_is_refused(model):
    with pytest.raises(ValueError, match="evaluate: data: there is no batch"):
        evaluate(model, (np.zeros((0, 3), "f4"), np.zeros(0, int)))


def test_batches_must_be_pairs(model, images):
    with pytest.raises(TypeError, match=r"expected batches of \(inputs, targets\), got 1 values"):
        evaluate(model, TensorDataset(images))


@pytest.mark.parametrize("data", [3, iter([])])
def test_other_data_is_refused(model, data):
    with pytest.raises(TypeError, match="expected a pair"):
        evaluate(model, data)
