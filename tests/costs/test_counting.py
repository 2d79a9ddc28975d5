"""The counts of small networks, worked out by hand; what `cost` accepts; that its rows add up."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.costs import Cost, cost
from minicnn.models.googlenet import Inception
from minicnn.nn import functional as F
from minicnn.summary import summary


def small():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 5),
    )  # fmt: skip


def test_every_column_of_a_small_network():
    found = cost(small(), (2, 6, 6))
    columns = [
        (r.kind, r.parameters, r.multiply_adds, r.activations, r.activation_bytes, r.tape_bytes)
        for r in found.rows
    ]
    assert columns == [
        ("Conv2d", 54, 48 * 18, 48, 192, 288),  # keeps its input, 2 x 6 x 6
        ("BatchNorm2d", 12, 0, 48, 192, 192),  # its input
        ("ReLU", 0, 0, 48, 192, 192),  # its output
        ("MaxPool2d", 0, 0, 12, 48, 12),  # a byte for each window: who won
        ("Flatten", 0, 0, 12, 48, 0),
        ("Linear", 65, 60, 5, 20, 48),  # its input
    ]
    assert [row.im2col_bytes for row in found.rows] == [16 * 18 * 4, 0, 0, 0, 0, 0]
    assert [row.output_shape for row in found.rows[-2:]] == ["(N, 12)", "(N, 5)"]
    assert [row.field.size[0] for row in found.rows] == [3, 3, 3, 4, 4, 6]


def test_totals():
    found = cost(small(), (2, 6, 6))
    assert (found.trainable, found.frozen, found.statistics) == (125, 0, 6)
    assert (found.parameter_bytes, found.gradient_bytes) == (4 * 131, 4 * 125)
    assert found.multiply_adds == 48 * 18 + 60
    # Flattening copies: in memory, channels come last.
    assert found.training_bytes == 288 + 3 * 192 + 2 * 48 + 20
    assert found.inference_bytes == 288 + 2 * 192
    assert found.tape_bytes == 288 + 2 * 192 + 12 + 48
    assert found.im2col_bytes == 16 * 18 * 4
    assert found.field.size == (6, 6)


def test_the_estimate_of_a_training_step():
    found = cost(small(), (2, 6, 6))
    fixed = found.parameter_bytes + found.gradient_bytes
    assert found.training_step_bytes(1, moments=0) == fixed + found.tape_bytes
    assert found.training_step_bytes(10) == fixed + found.gradient_bytes + 10 * found.tape_bytes
    assert found.training_step_bytes(1, moments=2) == fixed + 2 * 500 + found.tape_bytes


def test_the_text():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    assert str(cost(model, (1, 4, 4))) == "\n".join(
        [
            "Layer (type)  Output Shape  Params  Mult-Adds  Activations   Tape  im2col  Field  Jump",
            "======================================================================================",
            "0 (Conv2d)    (N, 2, 4, 4)      20        288           32   64 B   576 B    3x3   1x1",
            "1 (ReLU)      (N, 2, 4, 4)       0          0           32  128 B       -    3x3   1x1",
            "2 (Flatten)   (N, 32)            0          0           32      -       -    3x3   1x1",
            "3 (Linear)    (N, 3)            99         96            3  128 B       -    6x6     -",
            "======================================================================================",
            "For one example:",
            "Parameters: 119 (476 B), 119 of them trainable",
            "Mult-adds: 384 (a multiplication with its addition counts once)",
            "Activations, inference: 320 B (largest total alive at one time)",
            "Activations, training: 460 B (all outputs), 320 B (what the tape keeps of them)",
            "im2col: 576 B (patches of the convolution with most of them)",
            "Receptive field of the output: 6x6 pixels",
        ]
    )


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (models.first_cnn, (1, 28, 28)),
        (models.resnet_small_v2, (1, 28, 28)),
        (partial(models.unet, channels=(4, 8)), (3, 16, 16)),
        (partial(Inception, 8, 4, 4, 8, 4, 8, 4), (8, 14, 14)),
    ],
)
def test_rows_add_up(build, shape):
    found = cost(build(), shape)
    assert sum(row.parameters for row in found.rows) == found.total
    assert sum(row.multiply_adds for row in found.rows) == found.multiply_adds
    assert sum(row.tape_bytes for row in found.rows) == found.tape_bytes
    assert found.tape_bytes < found.training_bytes > found.inference_bytes


# --- functions that modules call ------------------------------------------------------------------


class Functional(nn.Module):
    """Everything in forward: conv 3x3, ReLU, product of matrices."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.table = nn.Parameter(np.ones((32, 5), np.float32))

    def forward(self, x):
        y = F.relu(F.conv2d(x, self.conv.weight))
        return y.flatten(1) @ self.table


def test_functions_that_a_module_calls_are_its_own_work():
    found = cost(Functional(), (1, 6, 6))
    (own,) = [row for row in found.rows if row.kind == "Functional"]
    assert own.multiply_adds == 32 * 9 + 32 * 5
    assert own.tape_bytes == 4 * (36 + 32 + 32)  # the image, what ReLU returns, and that flattened
    assert own.im2col_bytes == 4 * 16 * 9
    assert own.field.size == (6, 6)


def test_work_between_parts_is_that_of_the_whole():
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            y = self.first(x)
            return self.second(y * y)

    rows = cost(Squared(), (4,)).rows
    tape = {row.name: row.tape_bytes for row in rows}
    assert tape == {"first": 16, "second": 16, "model": 16}  # x; y * y; y


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.conv2d(x, minicnn.ones(4, 1, 3, 3), groups=2), 4 * 36 * 9),
        (lambda x: F.conv2d(x, minicnn.ones(4, 2, 3, 3), max_pool=2, padding=1), 4 * 64 * 18),
        (lambda x: F.conv_transpose2d(x, minicnn.ones(2, 3, 2, 2), stride=2), 128 * 3 * 4),
        (lambda x: F.linear(x, minicnn.ones(3, 8)), 2 * 8 * 3 * 8),
        (lambda x: x @ x, 2 * 8 * 8 * 8),
        (lambda x: x * x + 1, 0),
    ],
)
def test_multiply_adds_of_functions(function, expected):
    class Calls(nn.Module):
        def forward(self, x):
            return function(x)

    assert cost(Calls(), (2, 8, 8)).multiply_adds == expected


# --- what is accepted -----------------------------------------------------------------------------


def test_the_first_example_of_a_batch_is_taken():
    batch = minicnn.randn(7, 2, 6, 6)
    assert cost(small(), batch) == cost(small(), batch.numpy()) == cost(small(), (2, 6, 6))


def test_several_inputs():
    class Product(nn.Module):
        def forward(self, a, b):
            return a @ b

    assert cost(Product(), [(3, 4), (4, 5)]).multiply_adds == 60
    assert cost(Product(), [minicnn.ones(2, 3, 4), minicnn.ones(2, 4, 5)]).multiply_adds == 60


def test_whole_numbers_as_input():
    model = nn.Embedding(5, 3)
    for example in (Tensor(np.array([[1, 2, 0, 4]])), np.zeros((2, 4), np.int64)):
        assert cost(model, example).activations == 12
    assert cost(model, (4,), dtype=np.int64).tape_bytes == 32  # the numbers of the words


def test_float64_takes_twice_the_memory():
    single, double = cost(small(), (2, 6, 6)), cost(small().double(), (2, 6, 6), np.float64)
    assert double.training_bytes == 2 * single.training_bytes
    assert double.im2col_bytes == 2 * single.im2col_bytes


@pytest.mark.parametrize("example", [784, [1, 28, 28], (1, 2.5), "mnist", None, np.float32(1)])
def test_other_examples_are_refused(example):
    with pytest.raises(
        TypeError, match=r"cost: example: expected the shape .* such as \(1, 28, 28\)"
    ):
        cost(small(), example)


def test_an_empty_batch_is_refused():
    with pytest.raises(
        ValueError, match=r"cost: example: .*at least one example, got shape \(0, 2, 6, 6\)"
    ):
        cost(small(), np.zeros((0, 2, 6, 6), np.float32))


def test_an_example_that_does_not_fit_is_refused_by_the_layer():
    for example, shown in (
        ((3, 6, 6), r"(3, 6, 6)"),
        (minicnn.ones(4, 3, 6, 6), "a batch (4, 3, 6, 6)"),
    ):
        with pytest.raises(ValueError, match="expected 2 channels") as caught:
            cost(small(), example)
        assert f"cost: example={shown} does not fit" in caught.value.__notes__[-1]


def test_summary_counts_the_same():
    table, found = summary(small(), (2, 6, 6)), cost(small(), (2, 6, 6))
    assert isinstance(table, Cost)
    assert vars(table) == vars(found)


def test_a_builder_is_no_network():
    with pytest.raises(TypeError, match=r"cost: model: expected a module.*call it first"):
        cost(models.first_cnn, (1, 28, 28))
