"""A training step never waits for the GPU, and sends it nothing: the host could not prepare the next step meanwhile."""

import numpy as np
import pytest

from minicnn import models, nn, optim
from minicnn.nn import functional as F
from tests.checks import normal
from tests.devices import constant, tensors_on, with_own_kernels
from tests.gpu.library import needs_stand_in
from tests.gpu.strict_cupy import ndarray

pytestmark = needs_stand_in

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


@pytest.fixture(autouse=True)
def gpu(request):
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    with tensors_on("cuda", parameters.get("own_kernels", False)):
        yield


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Dropout2d(0.1),
        nn.Conv2d(8, 8, 3, padding="same", groups=8),
        nn.SiLU(),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.LazyLinear(10),
    )


NETWORKS = {
    "dense": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Linear(16, 10), nn.LayerNorm(10)
    ),
    "cnn": small_cnn,
    "branches": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.StochasticDepth(0.5),
        nn.ReflectionPad2d(1),
        nn.GroupNorm(2, 4),
        nn.PReLU(4),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(36, 10),
    ),
}
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, **SGD),
    "adam": lambda p: optim.Adam(p, 1e-3, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 1e-3),
    "rmsprop": lambda p: optim.RMSprop(p, 1e-3, centered=True),
}


def batch():
    return constant(normal(4, 3, 8, 8, dtype="float32")), constant(np.array([0, 9, 3, 3]))


def traffic_of(step):
    """What passes between host and device during a step, after two that may build things."""
    for _ in range(2):
        step()
    traffic = ndarray.cupy.traffic
    traffic.clear()
    step()
    return traffic.syncs + traffic.uploads


@with_own_kernels
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_step(network, optimizer, own_kernels):
    model = NETWORKS[network]().to("cuda")
    x, labels = batch()
    model(x)  # lazy layers take their shape
    rule = OPTIMIZERS[optimizer](model.parameters())

    def step():
        rule.zero_grad()
        F.cross_entropy(model(x), labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        rule.step()

    assert traffic_of(step) == []


@pytest.mark.parametrize("name", ["resnet_small_v1", "mobilenet_v1", "squeezenet1_1"])
def test_a_training_step_of_a_known_network(name):
    model = models.create(name, num_classes=10, in_channels=3).to("cuda")
    x = constant(normal(2, 3, 32, 32, dtype="float32"))
    labels = constant(np.array([1, 2]))
    rule = optim.SGD(model.parameters(), **SGD)

    def step():
        rule.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        rule.step()

    assert traffic_of(step) == []


LOSSES = [
    (F.mse_loss, {}),
    (F.l1_loss, {}),
    (F.huber_loss, {}),
    (F.smooth_l1_loss, {}),
    (F.binary_cross_entropy, {}),
    (F.binary_cross_entropy_with_logits, {"pos_weight": True}),
]


@pytest.mark.parametrize(("loss", "options"), LOSSES, ids=[loss.__name__ for loss, _ in LOSSES])
def test_a_loss_of_numbers(loss, options):
    x = constant(np.full((4, 3), 0.25, "float32")).requires_grad_()
    target = constant(np.full((4, 3), 0.5, "float32"))
    options = dict.fromkeys(options, constant(np.full(3, 2, "float32")))
    assert traffic_of(lambda: loss(x, target, **options).backward()) == []


def test_losses_of_classes():
    x = constant(normal(4, 5, 3, dtype="float32")).requires_grad_()
    labels = constant(np.full((4, 3), 2))
    weight = constant(np.ones(5, "float32"))
    truth = constant(np.full((4, 5, 3), 0.2, "float32"))

    def step():
        F.cross_entropy(x, labels, weight, ignore_index=1).backward()
        F.nll_loss(F.log_softmax(x, 1), labels, weight, reduction="none").sum().backward()
        F.cross_entropy(x, truth, label_smoothing=0.1).backward()

    assert traffic_of(step) == []


def test_words():
    table = nn.Embedding(7, 4, padding_idx=0).to("cuda")
    index = constant(np.array([[1, 2], [0, 6]]))
    assert traffic_of(lambda: F.max_pool1d(table(index).transpose(1, 2), 2).sum().backward()) == []


def test_arithmetic_with_numbers():
    x = constant(normal(3, 4, dtype="float32")).requires_grad_()
    assert traffic_of(lambda: ((2 * x - 1) ** 2 / 3).clamp(0, 5).mean().backward()) == []


def test_what_waits_is_counted():
    x = constant(normal(3))
    assert traffic_of(lambda: x.sum().item()) == ["get"]
    assert traffic_of(lambda: constant(normal(3))) == ["asarray"]
