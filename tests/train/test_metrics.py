"""Metrics on cases counted by hand, and the checks of their arguments."""

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.train.metrics import (
    Averages,
    accuracy,
    confusion_matrix,
    mean_absolute_error,
    named_metrics,
    top_k_accuracies,
    top_k_accuracy,
)

SCORES = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 3, 0, 2]], np.float32)
LABELS = np.array([0, 1, 2])  # the first is the best guess, then the third, then the fourth


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 3), (2, 1 / 3), (3, 2 / 3), (4, 1)])
def test_top_k_counts_labels_among_the_k_best(k, expected):
    assert top_k_accuracy(SCORES, LABELS, k) == pytest.approx(expected)


def test_several_k_at_once_give_what_each_gives():
    each = [top_k_accuracy(SCORES, LABELS, k) for k in (3, 1, 4)]
    assert top_k_accuracies(SCORES, LABELS, (3, 1, 4)) == each
    with pytest.raises(ValueError, match="expected 1 to 4, the classes, got 5"):
        top_k_accuracies(SCORES, LABELS, (1, 5))


def test_accuracy_agrees_with_argmax():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 3, (200, 5)).astype("f4"), rng.integers(0, 5, 200)  # ties
    assert accuracy(scores, labels) == pytest.approx((scores.argmax(1) == labels).mean())


def test_equal_scores_are_no_success_for_every_label():
    assert accuracy(np.zeros((4, 4), "f4"), np.arange(4)) == 0.25
    assert top_k_accuracy(np.zeros((4, 4), "f4"), np.arange(4), k=2) == 0.5


def test_nan_scores_are_wrong():
    assert top_k_accuracy(np.full((4, 4), np.nan, "f4"), np.arange(4), k=3) == 0


def test_accuracy_of_a_decision_for_each_pixel():
    scores = np.zeros((1, 2, 2, 2), "f4")  # (N, K, H, W)
    scores[0, 1, 0, 0] = 1
    assert accuracy(scores, np.array([[[1, 0], [0, 1]]])) == 0.75


def test_tensors_and_arrays_count_the_same():
    assert accuracy(Tensor(SCORES), Tensor(LABELS)) == accuracy(SCORES, LABELS)


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_ignored_positions_do_not_count(dtype):
    labels = np.array([0, -100, 3], dtype)  # the best guess, ignored, the second best
    assert accuracy(SCORES, labels) == top_k_accuracy(SCORES, labels, k=1) == 0.5
    assert labels[1] == -100


def test_without_a_position_that_counts_there_is_no_accuracy():
    assert np.isnan(accuracy(SCORES, np.full(3, -100)))


def test_unsigned_labels_count():
    assert accuracy(SCORES, LABELS.astype(np.uint8)) == accuracy(SCORES, LABELS)


@pytest.mark.parametrize("labels", [[0, 1, 4], [0, 1, -1]])
def test_labels_that_are_no_class_are_refused(labels):
    with pytest.raises(ValueError, match="targets: expected labels 0 to 3"):
        accuracy(SCORES, np.array(labels))


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (SCORES, np.zeros((3, 1), int)),
        (SCORES, np.zeros(2, int)),
        (np.zeros(3), np.zeros(3, int)),
        (np.zeros((0, 4)), np.zeros(0, int)),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(scores, labels):
    with pytest.raises(ValueError, match=r"expected scores \(N, K\) and labels \(N,\)"):
        accuracy(scores, labels)


def test_labels_must_be_whole_numbers():
    with pytest.raises(TypeError, match="got float64"):
        accuracy(SCORES, LABELS.astype(float))


@pytest.mark.parametrize("k", [0, 5])
def test_k_must_be_a_number_of_guesses(k):
    with pytest.raises(ValueError, match=f"k: expected 1 to 4, the classes, got {k}"):
        top_k_accuracy(SCORES, LABELS, k)


def test_mean_absolute_error():
    assert mean_absolute_error(np.array([[1.0], [4.0]]), np.array([[2.0], [2.0]])) == 1.5


def test_mean_absolute_error_does_not_broadcast():
    with pytest.raises(ValueError, match=r"same shape .* got \(4, 1\) and \(4,\)"):
        mean_absolute_error(np.zeros((4, 1)), np.zeros(4))


def test_rows_of_the_confusion_matrix_are_true_classes():
    matrix = confusion_matrix(
        predicted=np.array([1, 1, 0]), targets=np.array([0, 1, 0]), num_classes=3
    )
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_a_confusion_matrix_of_small_integers_does_not_overflow():
    labels = np.full(300, 9, np.uint8)
    assert confusion_matrix(labels, labels, 100)[9, 9] == 300


def test_a_confusion_matrix_needs_labels_not_scores():
    with pytest.raises(ValueError, match=r"argmax\(1\)"):
        confusion_matrix(SCORES, LABELS, 4)


def test_averages_weigh_batches_by_their_size():
    averages = Averages()
    averages.add({"loss": 1.0}, 3)
    averages.add({"loss": 5.0}, 1)
    assert averages.means() == {"loss": 2.0}


def test_metrics_get_the_names_of_their_functions():
    assert named_metrics("fit", [accuracy, mean_absolute_error]).keys() == {
        "accuracy",
        "mean_absolute_error",
    }


@pytest.mark.parametrize("name", ["loss", "lr", "seconds", "val_accuracy"])
def test_names_that_the_history_needs_are_refused(name):
    with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
        named_metrics("fit", {name: accuracy})


def test_a_metric_must_be_a_function():
    with pytest.raises(TypeError, match="expected functions"):
        named_metrics("fit", ["accuracy"])
