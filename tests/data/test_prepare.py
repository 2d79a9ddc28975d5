"""prepare: what a training script gets."""

import numpy as np
import pytest

from minicnn.data.images import from_arrays
from minicnn.data.prepare import prepare
from tests.data.folders import tiny_arrays


@pytest.fixture
def data():
    arrays = tiny_arrays(train=40, test=10)
    arrays["train_labels"] = np.arange(40, dtype=np.uint8) % 4
    return from_arrays("Tiny", tuple("0123456789"), arrays)


def test_shapes_and_dtypes(data):
    prepared = prepare(data)
    assert prepared.validation is None
    assert prepared.class_names == data.class_names
    for dataset, n in ((prepared.train, 40), (prepared.test, 10)):
        x, y = dataset.tensors
        assert (x.shape, x.dtype) == ((n, 1, 28, 28), np.float32)
        assert (y.shape, y.dtype) == ((n,), np.int64)


def test_images_stay_with_their_labels(data):
    x, y = prepare(data, validation=0.2).train.tensors
    known = {
        image.tobytes(): k for image, k in zip(data.train_images, data.train_labels, strict=True)
    }
    pixels = np.rint(prepare(data, validation=0.2).standardize.inverse(x.array) * 255)
    found = [known[image.tobytes()] for image in pixels[:, 0].astype(np.uint8)]
    assert found == y.tolist()


def test_validation_is_stratified_and_disjoint(data):
    prepared = prepare(data, validation=0.2)
    x, y = prepared.validation.tensors
    assert np.bincount(y.array).tolist() == [2, 2, 2, 2]
    assert len(prepared.train) == 32
    train = {image.tobytes() for image in prepared.train.tensors[0].array}
    assert not train & {image.tobytes() for image in x.array}


def test_only_the_training_images_are_measured(data):
    prepared = prepare(data, validation=0.25)
    x = prepared.train.tensors[0].array
    assert abs(x.mean()) < 1e-4
    assert abs(x.std() - 1) < 1e-4
    assert abs(prepared.test.tensors[0].array.mean()) > 1e-4


def test_the_seed_decides_who_is_set_aside(data):
    first, again, other = (
        prepare(data, 0.2, seed).validation.tensors[0].array for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, float("nan")])
def test_wrong_share(data, validation):
    with pytest.raises(ValueError, match="0 <= validation < 1"):
        prepare(data, validation)


@pytest.mark.parametrize("validation", [0.001, 0.999])
def test_a_share_that_leaves_no_image_is_refused(data, validation):
    with pytest.raises(ValueError, match=f"a share of {validation} of 40 images leaves"):
        prepare(data, validation)


def test_other_data_is_refused(data):
    with pytest.raises(TypeError, match=r"expected ImageData, .* got ndarray"):
        prepare(data.train_images)
