"""Linear, Flatten, Unflatten, Identity and Embedding layers."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from tests.nn.oracle import assert_close, assert_like_torch, random_array


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_like_torch(torch, bias, dtype):
    mine = nn.Linear(5, 3, bias).to(dtype)
    twin = torch.nn.Linear(5, 3, bias).to(getattr(torch, dtype))
    mine.load_state_dict(twin.state_dict())
    assert_like_torch(torch, mine, twin, random_array((4, 2, 5), dtype))
    for parameter, other in zip(mine.parameters(), twin.parameters(), strict=True):
        assert_close(parameter.grad.array, other.grad.numpy())


def test_linear_initial_values():
    layer = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for parameter in layer.parameters():
        assert np.abs(parameter.array).max() <= bound
        assert abs(parameter.array.std() - bound / math.sqrt(3)) < 0.05 * bound


@pytest.mark.parametrize("layer", [lambda n: nn.Linear(3, n), nn.LazyLinear])
@pytest.mark.parametrize("count", [0, -1])
def test_linear_without_outputs_is_refused(layer, count):
    with pytest.raises(ValueError, match=f"Linear: out_features must be at least 1, got {count}"):
        layer(count)


def test_linear_errors_name_the_layer_and_hint_to_flatten():
    layer = nn.Linear(784, 10)
    with pytest.raises(ValueError, match=r"nn\.Flatten\(\)") as caught:
        layer(minicnn.zeros(2, 1, 28, 28))
    assert caught.value.__notes__ == ["in Linear(in_features=784, out_features=10, bias=True)"]
    with pytest.raises(TypeError, match="float64"):
        layer(Tensor(np.zeros((2, 784))))


@pytest.mark.parametrize("axes", [(), (0,), (2,), (1, 2), (-2, -1)])
def test_flatten_like_torch(torch, axes):
    x = random_array((2, 3, 4, 5), order="channels last")
    assert_like_torch(torch, nn.Flatten(*axes), torch.nn.Flatten(*axes), x)


def test_flatten_keeps_an_empty_batch():
    assert nn.Flatten()(minicnn.zeros(0, 3, 4)).shape == (0, 12)


@pytest.mark.parametrize(
    ("dim", "sizes"), [(1, (2, 3)), (-1, (2, 2, 1)), (1, (2, -1)), (1, [3, 2])]
)
def test_unflatten_like_torch(torch, dim, sizes):
    x = random_array((2, 6, 4))
    assert_like_torch(torch, nn.Unflatten(dim, sizes), torch.nn.Unflatten(dim, sizes), x)


def test_unflatten_undoes_flatten():
    x = minicnn.rand(2, 3, 4)
    network = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 4)))
    assert network(x).tolist() == x.tolist()
    assert nn.Unflatten(1, (3, -1))(minicnn.zeros(0, 12)).shape == (0, 3, 4)


def test_unflatten_refuses():
    for sizes in ((2, 2), (4, -1)):
        with pytest.raises(ValueError, match="axis 1 of x has size 6"):
            nn.Unflatten(1, sizes)(minicnn.zeros(2, 6))
    with pytest.raises(IndexError, match="no axis 3"):
        nn.Unflatten(3, (2, 3))(minicnn.zeros(2, 6))


def test_identity_takes_any_arguments():
    x = minicnn.rand(2)
    assert nn.Identity(54, unused=True)(x) is x


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_embedding_like_torch(torch, padding_idx):
    mine, twin = nn.Embedding(5, 3, padding_idx), torch.nn.Embedding(5, 3, padding_idx)
    if padding_idx is not None:
        assert not mine.weight.array[padding_idx].any()
    mine.load_state_dict(twin.state_dict())
    index = np.array([[0, 4, 4], [2, 0, 1]])
    y, y_twin = mine(Tensor(index)), twin(torch.tensor(index))
    assert_close(y.array, y_twin.detach().numpy())
    cotangent = random_array(y.shape, "float32")
    y.backward(cotangent)
    y_twin.backward(torch.tensor(cotangent))
    assert_close(mine.weight.grad.array, twin.weight.grad.numpy())


def test_embedding_starts_standard_normal():
    weight = nn.Embedding(1000, 50).weight.array
    assert abs(weight.mean()) < 0.02
    assert abs(weight.std() - 1) < 0.02


def test_embedding_refuses():
    with pytest.raises(ValueError, match="padding_idx"):
        nn.Embedding(5, 3, 5)
    with pytest.raises(ValueError, match=r"\[0, 5\)") as caught:
        nn.Embedding(5, 3)(Tensor([5]))
    assert caught.value.__notes__ == ["in Embedding(5, 3)"]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.Linear(8 / 2, 3), "Linear: in_features"),
        (lambda: nn.Linear(3, 8 / 2), "Linear: out_features"),
        (lambda: nn.LazyLinear(8 / 2), "LazyLinear: out_features"),
        (lambda: nn.Embedding(8 / 2, 3), "Embedding: num_embeddings"),
    ],
)
def test_sizes_that_are_no_whole_numbers(make, name):
    with pytest.raises(TypeError, match=rf"{name}: expected a whole number, got 4\.0; use //"):
        make()
