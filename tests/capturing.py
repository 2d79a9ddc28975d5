"""Networks, batches and trainings for the tests of captured steps."""

import numpy as np

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.nn import functional as F

SEVERAL = 6


def batches(shape=(8, 1, 12, 12), classes=4, count=SEVERAL, seed=0):
    """Batches of images and labels, all of them different."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(shape).astype(np.float32), rng.integers(0, classes, shape[0]))
        for _ in range(count)
    ]


class Residual(nn.Module):
    """A block whose input has two users, so that gradients are added."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return (x + self.norm(self.conv(x))).relu() * 0.5


class Doubled(minicnn.Function):
    """What a user might write, in NumPy."""

    def forward(self, x):
        self.save(np.tanh(x))
        return self.saved[0] * 2

    def backward(self, grad):
        (y,) = self.saved
        return (2 * grad * (1 - y * y),)


class OwnFunction(nn.Module):
    def forward(self, x):
        return x.apply(Doubled())


NETWORKS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.ReLU(), nn.Linear(16, 4)),
    "convolution and pooling in one": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    ),
    "strides, groups, dilation": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, groups=8, padding=1),
        nn.Conv2d(8, 8, 3, dilation=2, padding=2, groups=2), nn.Flatten(), nn.LazyLinear(4)
    ),
    "norms": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.GroupNorm(2, 8), nn.AvgPool2d(2, padding=1),
        nn.Flatten(), nn.LayerNorm(288), nn.Linear(288, 4),
    ),
    "dropout": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Dropout(0.3), nn.Dropout2d(0.2), nn.Flatten(), nn.LazyLinear(4)
    ),
    "residual": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), Residual(4), Residual(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(4)
    ),
    "sigmoids and winograd": lambda: nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.Sigmoid(), nn.Conv2d(64, 64, 3, padding=1), nn.Tanh(),
        nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(4),
    ),
    "a function of the user's": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), OwnFunction(), nn.Flatten(), nn.LazyLinear(4)
    ),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(1, 4, 2, stride=2), nn.SiLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.LazyLinear(4)
    ),
}  # fmt: skip

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
}


def training(build, optimizer=OPTIMIZERS["SGD"], dtype=np.float32):
    """A network with its optimizer, and a step that trains it."""
    minicnn.manual_seed(0)
    model = build().to(dtype)
    holder = {}

    def step(images, labels):
        scores = model(images)
        if not holder:  # lazy layers have their shapes now
            holder["optimizer"] = optimizer(model.parameters())
        holder["optimizer"].zero_grad()
        loss = F.cross_entropy(scores, labels)
        loss.backward()
        holder["optimizer"].step()
        return loss, scores

    return model, step


def run(step, data):
    """Train from a fixed seed; return losses and scores of each step."""
    minicnn.manual_seed(1)
    found = []
    for images, labels in data:
        loss, scores = step(Tensor(images), Tensor(labels))
        found += [loss.detach().numpy().copy(), scores.detach().numpy().copy()]
    return found


def assert_same(model, other, found, expected):
    """Assert that two trainings gave the same bits."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.array, other.state_dict()[name].array, err_msg=name)
