"""A captured model computes what the model does, whatever is changed between two calls."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.captured import capture
from minicnn.nn import functional as F
from minicnn.nn.fusion import add_residual, chain
from tests.capturing import NETWORKS, batches


class Block(nn.Module):
    """A residual block, joined as in minicnn's own networks."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = chain(x, self.conv1, self.norm1, self.relu, self.conv2)
        return add_residual(y, self.norm2, x, self.relu)


def folding():
    """A network whose BatchNorms fold into the convolutions before them, but for one."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
        Block(8), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(4),
    )  # fmt: skip


MODELS = NETWORKS | {"folded norms": folding}


def ready(build):
    """A network in inference mode, with running statistics that it has seen."""
    minicnn.manual_seed(0)
    model = build()
    for images, _ in batches(count=2):
        model(Tensor(images))
    return model.eval()


def assert_computes(captured, model, images):
    """Assert that a captured model gives the bits that the model gives."""
    with minicnn.no_grad():
        expected = model(Tensor(images)).numpy()
    np.testing.assert_array_equal(captured(images).numpy(), expected)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_captured_model_gives_the_same_bits(build):
    model = ready(build)
    captured = capture(model)
    for images, _ in batches():
        assert_computes(captured, model, images)
    assert captured.is_recorded


def test_norms_are_folded_in_a_recording_too():
    captured = capture(ready(folding))
    for images, _ in batches():
        captured(images)
    names = [function.__name__ for function, _ in captured._replay._step.notes]
    assert names.count("_fold") == 3
    assert not {"_forward_again", "_compute_again"} & set(names)


def write_statistics(model):
    model[1].running_mean.array[...] += 0.5
    model[1].running_var.array[...] *= 2


def write_parameters(model):
    model[0].weight.array[...] *= 0.5
    model[1].weight.array[...] *= 3
    model[1].bias.array[...] -= 1


def replace_statistics(model):
    model[1].running_mean = model[1].running_mean + 1


def load(model):
    model.load_state_dict({k: v.clone() * 0.5 for k, v in model.state_dict().items()})


def train_on(model):
    images, labels = batches(seed=1)[0]
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    F.cross_entropy(model(Tensor(images)), Tensor(labels)).backward()
    optimizer.step()
    model.eval()


def change_eps(model):
    model[1].eps = 0.5


CHANGES = [
    write_statistics,
    write_parameters,
    replace_statistics,
    load,
    train_on,
    change_eps,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_between_calls_count(change):
    model = ready(folding)
    captured = capture(model)
    data = batches(count=8)
    for images, _ in data[:4]:
        assert_computes(captured, model, images)
    assert captured.is_recorded
    change(model)
    for images, _ in data[4:]:
        assert_computes(captured, model, images)
    assert captured.is_recorded


def test_training_mode_counts():
    found = []
    for wrap in (lambda model: minicnn.no_grad()(lambda x: model(Tensor(x))), capture):
        model = ready(folding)
        call = wrap(model)
        results = [call(images).array.copy() for images, _ in batches()]
        model.train()
        results += [call(images).array.copy() for images, _ in batches()]
        found.append([*results, *(tensor.array for tensor in model.state_dict().values())])
    for usual, captured in zip(*found, strict=True):
        np.testing.assert_array_equal(captured, usual)


def test_results_are_the_callers():
    model = ready(folding)
    captured = capture(model)
    results = [captured(images) for images, _ in batches()]
    with minicnn.no_grad():
        expected = [model(Tensor(images)) for images, _ in batches()]
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    results[-1].array[...] = 7  # which the next call must not see
    assert_computes(captured, model, batches()[0][0])


def test_no_tape_is_written():
    captured = capture(ready(folding))
    assert not any(captured(images).requires_grad for images, _ in batches())


def test_batches_of_another_size_run_as_usual():
    model = ready(folding)
    captured = capture(model)
    for images, _ in batches():
        assert_computes(captured, model, images)
        assert_computes(captured, model, images[:3])


def test_a_part_of_the_users_that_reads_numbers_is_told_by_name():
    class Nosy(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    captured = capture(Nosy())
    x = np.ones((2, 2), np.float32)
    captured(x)
    with pytest.warns(RuntimeWarning, match="capture: Nosy runs as usual.*a number is read"):
        captured(x)
    assert captured(x).tolist() == [[2, 2], [2, 2]]
    assert captured(-x).tolist() == [[-1, -1], [-1, -1]]
