"""The table of a network: shapes, counts and memory that can be worked out by hand."""

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.autograd import Tensor
from minicnn.nn import functional as F
from minicnn.summary import summary


@pytest.mark.parametrize(
    ("name", "options", "total", "trainable"),
    [
        ("mlp", {}, 218_058, 218_058),
        ("first_cnn", {}, 25_034, 25_034),
        ("first_cnn", {"num_classes": 1}, 24_449, 24_449),
        ("bigger_cnn", {}, 437_026, 436_914),
        ("lenet5", {}, 61_706, 61_706),
    ],
)
def test_parameters_of_known_networks(name, options, total, trainable):
    table = summary(models.create(name, **options), (1, 28, 28))
    assert (table.total, table.trainable, table.statistics) == (total, trainable, total - trainable)
    assert sum(row.parameters for row in table.rows) == total


def test_the_text():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(8, 3))
    assert str(summary(model, (4,))) == "\n".join(
        [
            "Layer (type)     Output Shape  Param #  Mult-Adds",
            "=================================================",
            "0 (Linear)       (N, 8)             40         32",
            "1 (BatchNorm1d)  (N, 8)             32          0",
            "2 (Flatten)      (N, 8)              0          0",
            "3 (Linear)       (N, 3)             27         24",
            "=================================================",
            "Total params: 99 (396 B)",
            "Trainable params: 83",
            "Non-trainable params: 16 (running statistics: 16)",
            "Mult-adds: 56 per example (a multiplication with its addition counts once)",
            "Activations, inference: 80 B per example (largest total alive at one time)",
            "Activations, training: 92 B per example (all outputs, kept for backward)",
            "Tape, training: 80 B per example (of these, what backward reads)",
        ]
    )


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, groups=2), (4, 9, 9), 6 * 5 * 4 * 2 * 3 * 5),
        (nn.Conv1d(2, 3, 4), (2, 10), 3 * 7 * 2 * 4),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5), 4 * 5 * 5 * 3 * 3 * 3),
        (nn.Linear(4, 3), (7, 4), 7 * 4 * 3),
        (nn.MaxPool2d(2), (1, 4, 4), 0),
    ],
)
def test_multiply_adds(layer, size, expected):
    assert summary(layer, size).multiply_adds == expected


def test_a_transposed_convolution_costs_what_its_reverse_costs():
    forward = summary(nn.Conv2d(3, 4, 3, stride=2), (3, 9, 9))
    reverse = summary(nn.ConvTranspose2d(4, 3, 3, stride=2), (4, 4, 4))
    assert forward.multiply_adds == reverse.multiply_adds


class Residual(nn.Module):
    """x + layers(x), which keeps x alive."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100))

    def forward(self, x):
        return x + self.layers(x)


def test_memory_counts_what_is_alive():
    chain = summary(nn.Sequential(*[nn.Linear(100, 100) for _ in range(6)]), (100,))
    assert chain.training_bytes == 7 * 400  # the input and six outputs
    assert chain.inference_bytes == 3 * 400  # the input, which the caller holds, and two outputs
    blocks = summary(nn.Sequential(nn.Linear(100, 100), Residual()), (100,))
    assert blocks.training_bytes == 6 * 400
    assert blocks.inference_bytes == 4 * 400  # and x, for the addition


def test_views_take_no_memory():
    table = summary(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Flatten(0)), (2, 3))
    assert table.training_bytes == 2 * 24


def test_names_show_the_nesting():
    model = nn.Sequential({"stem": nn.Linear(100, 100), "block": Residual()})
    assert [row.name for row in summary(model, (100,)).rows] == [
        "stem",
        "block.layers.0",
        "block.layers.1",
        "block.layers.2",
    ]


def test_a_single_layer_is_called_model():
    assert summary(nn.Linear(2, 1), (2,)).rows[0].name == "model"


def test_a_shared_layer_is_counted_once_and_shown_at_each_call():
    shared = nn.Linear(4, 4)
    table = summary(nn.Sequential(shared, nn.ReLU(), shared), (4,))
    assert [row.parameters for row in table.rows] == [20, 0, 0]
    assert table.total == 20
    assert table.multiply_adds == 32


def test_a_lazy_layer_takes_its_size():
    model = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(3))
    table = summary(model, (1, 4, 4))
    assert [row.kind for row in table.rows] == ["Conv2d", "Flatten", "Linear"]
    assert table.total == 20 + 27


def test_parameters_of_a_module_with_parts_have_a_row():
    class Scaled(Residual):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(np.ones(100, np.float32))

        def forward(self, x):
            return super().forward(x) * self.scale

    table = summary(Scaled(), (100,))
    assert [(row.name, row.parameters) for row in table.rows][-1] == ("model", 100)
    assert sum(row.parameters for row in table.rows) == table.total


def test_a_part_that_is_not_called_is_shown():
    model = Residual()
    model.spare = nn.Linear(1, 1)
    row = summary(model, (100,)).rows[-1]
    assert (row.name, row.output_shape, row.parameters) == ("spare", "not called", 2)


def test_frozen_parameters_are_not_trainable():
    model = nn.Linear(2, 3).requires_grad_(False)
    table = summary(model, (2,))
    assert (table.total, table.trainable, table.non_trainable, table.statistics) == (9, 0, 9, 0)


def test_whole_numbers_as_input():
    table = summary(nn.Embedding(5, 3), (4,), dtype=np.int64)
    assert (table.rows[0].output_shape, table.rows[0].parameters) == ("(N, 4, 3)", 15)


def test_several_inputs_and_outputs():
    class Both(nn.Module):
        def forward(self, a, b):
            return F.linear(a, Tensor(np.ones((5, 2), "f4"))), {"b": b}

    assert summary(Both(), [(2,), (3, 3)]).rows[0].output_shape == "(N, 5), (N, 3, 3)"


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
    model[1].eval()
    summary(model, (2,))
    assert [module.training for module in model.modules()] == [True, True, False]
    assert model[0].num_batches_tracked.item() == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_an_input_that_does_not_fit_is_refused_by_the_layer():
    model = models.first_cnn()
    with pytest.raises(ValueError, match="expected 1 channel") as caught:
        summary(model, (3, 28, 28))
    assert "input_size=(3, 28, 28) does not fit: expected the shape" in caught.value.__notes__[-1]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("size", [784, [1, 28, 28]])
def test_a_size_must_be_a_tuple(size):
    with pytest.raises(TypeError, match=r"input_size: .* such as \(1, 28, 28\) or \(784,\)"):
        summary(models.mlp(), size)


def test_a_transposed_convolution_that_is_called_by_keyword():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, 2, dilation=(1, 2))

        def forward(self, x):
            return self.up(x=x)

    assert summary(Decoder(), (4, 5, 7)).multiply_adds == 4 * 5 * 7 * 3 * 3 * 2
