"""AdamW: Adam whose weight decay shrinks all weights at the same pace."""

from minicnn.optim.adam import Adam
from minicnn.optim.optimizer import Params


class AdamW(Adam):
    """Adam with decoupled weight decay.

        w <- w - lr wd w,   then Adam's step with the gradient of the loss alone

    In `Adam` the penalty's gradient is divided by sqrt(v_hat), so weights with large gradients
    decay less; here all decay alike. Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization" (2019), algorithm 2, with their schedule multiplier contained in lr.

    Args:
        params: parameters, (name, parameter) pairs, or dicts with options of their own.
        lr: learning rate; scales the decay too.
        betas: (beta1, beta2), the memory of the two means, each in [0, 1).
        eps: keeps the division finite; same unit as the gradient.
        weight_decay: share of a weight, times lr, that is taken away in a step.
        amsgrad: use the largest v so far.

    Raises:
        ValueError: for a negative option, or betas outside [0, 1).
    """

    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
