"""Import the installed wheel from outside the checkout, and train for one step on the bundled sample."""

import sys
from importlib.util import find_spec
from pathlib import Path

import minicnn
from minicnn import data, models, nn, optim

assert Path(minicnn.__file__).is_relative_to(sys.prefix), minicnn.__file__
assert Path(minicnn.kernels.__file__).is_relative_to(sys.prefix), minicnn.kernels.__file__
assert find_spec("kernels") is None, "the wheel must not install a package called kernels"

minicnn.manual_seed(0)
sample = data.load_fashion_mnist_sample()
images = data.to_float(sample.train_images[:64])
labels = sample.train_labels[:64]
model = models.create("first_cnn")
optimizer = optim.Adam(model.parameters())
losses = []
for _ in range(3):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(minicnn.Tensor(images)), minicnn.Tensor(labels))
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < losses[0], losses
print(f"wheel: minicnn {minicnn.__version__} trains (loss {losses[0]:.3f} -> {losses[-1]:.3f})")
