"""Auxiliary heads: classifiers on the way, which add their loss in training.

In a deep network the gradient of the last layer has a long way to the first ones. GoogLeNet and
Inception v3 classify from the middle as well: in training they return a named tuple, the scores
first and those of the other heads after them, and every head is told how wrong it was. In
inference they return the scores alone.
"""

from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn import functional as F
from minicnn.train.evaluation import Loss


def auxiliary_loss(loss: Loss = F.cross_entropy, weight: float = 0.3) -> Loss:
    """Return a loss for networks with auxiliary heads: loss(scores) + weight * (the sum of the others' losses).

        fit(models.googlenet(num_classes=10), images, epochs=5, loss=auxiliary_loss())

    Args:
        loss: of one head, called with its scores and the targets.
        weight: of the auxiliary heads' losses; 0.3 is GoogLeNet's (Szegedy et al., arXiv 1409.4842,
            section 5).

    Returns:
        A function of (outputs, targets); outputs that are no tuple have no auxiliary heads.
    """

    def loss_of_all_heads(outputs: Tensor | tuple, targets: Any) -> Tensor:
        if not isinstance(outputs, tuple):
            return loss(outputs, targets)
        total = loss(outputs[0], targets)
        for scores in outputs[1:]:
            total = total + weight * loss(scores, targets)
        return total

    return loss_of_all_heads


def main_scores(outputs: Tensor | tuple) -> Tensor:
    """Return the scores that count after training: all outputs, or the first of those of several heads."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
