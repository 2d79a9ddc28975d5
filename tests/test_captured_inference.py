"""A captured model computes what the model does, whatever is changed between two calls."""

import threading

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


def change_eps_of(conv, norm, relu):
    norm.eps = 0.5


def train_norm(conv, norm, relu):
    norm.train()


def replace_mean(conv, norm, relu):
    norm.running_mean = norm.running_mean + 1


def hook_relu(conv, norm, relu):
    relu.register_forward_hook(lambda layer, inputs, output: output * 2)


@pytest.mark.parametrize("change", [change_eps_of, train_norm, replace_mean, hook_relu])
def test_layers_that_are_joined_and_never_called_count(change):
    layers = nn.Conv2d(1, 4, 3).eval(), nn.BatchNorm2d(4).eval(), nn.ReLU()
    model = minicnn.no_grad()(lambda x: chain(x, *layers))
    captured = capture(model)
    data = batches()
    for images, _ in data[:4]:
        assert_computes(captured, model, images)
    assert captured.is_recorded
    change(*layers)
    assert_computes(captured, model, data[4][0])


class Scaled(nn.Module):
    """A module with settings in a list and a dict."""

    def __init__(self):
        super().__init__()
        self.factors = [1.0]
        self.options = {"shift": 0.0}

    def forward(self, x):
        return x * self.factors[0] + self.options["shift"]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.factors.append(model.factors.pop() + 1),
        lambda model: model.options.update(shift=2.0),
    ],
    ids=["list", "dict"],
)
def test_settings_in_lists_and_dicts_count(change):
    model = Scaled()
    captured = capture(model)
    for images, _ in batches():
        assert_computes(captured, model, images)
    assert captured.is_recorded
    change(model)
    assert_computes(captured, model, batches()[0][0])


class Diary(nn.Module):
    """A module that writes down each call, in an attribute and in a list."""

    def __init__(self):
        super().__init__()
        self.calls, self.shapes = 0, []

    def forward(self, x):
        self.calls += 1
        self.shapes.append(x.shape)
        return x * 2


def test_statements_that_count_calls_do_not_keep_a_model_from_being_recorded():
    model = Diary()
    captured = capture(model)
    for images, _ in batches():
        captured(images)
    assert (model.calls, len(model.shapes)) == (
        2,
        2,
    )  # the usual one, and the one that was recorded


def test_threads_wait_while_weights_are_changed_to_record():
    model = nn.Sequential(*[nn.Conv2d(8, 8, 3, padding=1) for _ in range(8)]).eval()
    images = np.random.default_rng(0).standard_normal((2, 8, 16, 16)).astype(np.float32)
    with minicnn.no_grad():
        expected = model(Tensor(images)).numpy()
    differing = []

    def call(captured):
        for _ in range(10):
            found = captured(images).numpy()
            differing.append(not np.array_equal(found, expected))

    for _ in range(5):
        captured = capture(model)
        threads = [threading.Thread(target=call, args=[captured]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not any(differing)


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


class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(minicnn.ones(3))

    def forward(self, x):
        return x, self.weight[1:]


def test_results_share_no_memory_in_calls_that_run_as_usual_either():
    captured, x = capture(Weight()), Tensor(np.ones(2, np.float32))
    for result in captured(x):
        result.zero_()
    assert [result.tolist() for result in captured(x)] == [[1, 1], [1, 1]]


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
