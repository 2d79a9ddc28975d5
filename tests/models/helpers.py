"""What the tests of residual networks share: a short training, a round trip of the state, statistics of batches."""

import numpy as np

import minicnn
from minicnn import Tensor, nn, optim


def check_learns(network, shape, classes, steps=5, lr=0.02):
    """Assert that every parameter gets a gradient, and that a few steps on one batch lower the loss."""
    optimizer = optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    rng = np.random.default_rng(0)
    labels = Tensor(rng.integers(0, classes, shape[0]))
    x = Tensor(rng.standard_normal(shape).astype("float32"))
    losses = []
    for _ in range(steps):
        loss = nn.CrossEntropyLoss()(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert np.isfinite(parameter.grad.array).all(), name
            assert parameter.grad.array.any(), name
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


def check_state_round_trip(network, twin, shape):
    """Assert that `twin`, with the state of `network`, computes what `network` computes."""
    x = minicnn.rand(*shape)
    network(x)  # moves the running statistics
    assert (network.eval()(x).array != twin.eval()(x).array).any()
    twin.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(network(x).array, twin(x).array)


def check_batch_statistics_in_training_only(network, shape):
    """Assert that an example's output depends on the rest of its batch in training, and not in eval mode."""
    x = minicnn.rand(*shape)
    both, first = network.train()(x).array, network.train()(x[:-1]).array
    assert not np.allclose(both[:-1], first, rtol=1e-3)
    both, first = network.eval()(x).array, network.eval()(x[:-1]).array
    np.testing.assert_allclose(both[:-1], first, rtol=1e-3, atol=1e-5)
