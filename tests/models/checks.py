"""What every network has to pass: the number of its parameters, that it learns, that its state comes back."""

from collections.abc import Callable

import numpy as np

from minicnn import Tensor, nn, no_grad, optim
from minicnn.nn.init import without_drawing


def count_parameters(build: Callable[[], nn.Module], statistics: bool = False) -> int:
    """Return the number of parameters of what `build` makes, with running means and variances if wanted."""
    with without_drawing():
        network = build()
    members = list(network.parameters())
    if statistics:
        members += [buffer for buffer in network.buffers() if buffer.dtype.kind == "f"]
    return sum(member.numel() for member in members)


def images(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers, the same for the same seed."""
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def integers(below: int, *shape: int, seed: int = 1) -> Tensor:
    """Return whole numbers from 0, the same for the same seed."""
    return Tensor(np.random.default_rng(seed).integers(0, below, shape))


def check_learns(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    lr: float = 0.05,
    steps: int = 6,
    loss_function: nn.Module | None = None,
    falls_to: float = 0.95,
) -> None:
    """Assert that the loss falls on one batch, and that the first gradient reaches every parameter."""
    loss_function = loss_function or nn.CrossEntropyLoss()
    optimizer = optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    losses = []
    for step in range(steps):
        loss = loss_function(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            check_gradients(network)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < falls_to * losses[0], losses


def check_gradients(network: nn.Module) -> None:
    """Assert that every parameter has a gradient of float32 numbers that are finite, and not all 0."""
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == np.float32, name
        assert np.isfinite(parameter.grad.array).all(), name
        assert parameter.grad.array.any(), name


def check_state_round_trip(build: Callable[[], nn.Module], x: Tensor) -> None:
    """Assert that two networks give the same outputs once one has taken over the state of the other."""
    network, other = build().eval(), build().eval()
    for buffer in network.buffers():
        buffer.array[...] += 1  # statistics that are not those of the start
    with no_grad():
        expected = network(x).array
        assert not np.array_equal(other(x).array, expected)
        other.load_state_dict(network.state_dict())
        np.testing.assert_array_equal(other(x).array, expected)


def check_batch_statistics_in_training_only(network: nn.Module, x: Tensor) -> None:
    """Assert that an example's output depends on the rest of its batch in training, and not in inference mode."""
    with no_grad():
        both, first = network.train()(x).array, network(x[:-1]).array
        assert not np.allclose(both[:-1], first, rtol=1e-3)
        both, first = network.eval()(x).array, network(x[:-1]).array
        np.testing.assert_allclose(both[:-1], first, rtol=1e-3, atol=1e-5)


def check_train_and_eval_differ(network: nn.Module, x: Tensor) -> None:
    """Assert that training mode changes the outputs, and inference mode gives the same ones again."""
    with no_grad():
        first, trained, again = (network.train(mode)(x).array for mode in (False, True, False))
    assert not np.allclose(trained, first)
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        np.testing.assert_array_equal(again, first)  # BatchNorm has learned something meanwhile
