"""RMSprop: divide the gradient by a running root mean square of itself."""

from collections.abc import Sequence

from minicnn.backend import Array, xp_of
from minicnn.kernels.dispatch import sibling
from minicnn.optim.in_graphs import capturable
from minicnn.optim.optimizer import Group, Optimizer, Params, State, check_range


class RMSprop(Optimizer):
    """RMSprop, optionally centered and with momentum.

    For a parameter w with gradient g, momentum mu and decay wd:

        g <- g + wd w
        s <- alpha s + (1 - alpha) g^2                  running mean of the square
        a <- alpha a + (1 - alpha) g                    running mean, if centered
        d = g / (sqrt(s) + eps),                        or g / (sqrt(s - a^2) + eps) if centered
        b <- mu b + d,    w <- w - lr b                 without momentum: w <- w - lr d

    Hinton, "Neural Networks for Machine Learning", lecture 6e (2012); the centered form, which
    divides by a standard deviation, after Graves, "Generating Sequences With Recurrent Neural
    Networks" (2013), equations 38 to 41. There eps stands under the root.

    Args:
        params: parameters, (name, parameter) pairs, or dicts with options of their own.
        lr: learning rate.
        alpha: memory of the running means, in [0, 1).
        eps: keeps the division finite; same unit as the gradient.
        weight_decay: strength of the L2 penalty wd/2 |w|^2.
        momentum: share of b that survives a step.
        centered: divide by the standard deviation instead of the root mean square.

    Raises:
        ValueError: for a negative option, or alpha outside [0, 1).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse negative options, and alpha outside [0, 1)."""
        check_range("RMSprop", group, "lr", "eps", "weight_decay", "momentum")
        check_range("RMSprop", group, "alpha", below=1)

    def first_state(self, param: Array, group: Group) -> State:
        """Return the running means, and b where there is momentum, all 0."""
        xp = xp_of(param)
        state = {"square_avg": xp.zeros_like(param)}
        if group["centered"]:
            state["grad_avg"] = xp.zeros_like(param)
        if group["momentum"]:
            state["momentum_buffer"] = xp.zeros_like(param)
        return state

    @capturable
    def update_all(
        self, params: Sequence[Array], grads: Sequence[Array], states: Sequence[State], group: Group
    ) -> None:
        """Apply the equations of the class."""
        sibling("update", params[0]).rmsprop(
            params,
            grads,
            [state["square_avg"] for state in states],
            [state["grad_avg"] for state in states] if group["centered"] else None,
            [state["momentum_buffer"] for state in states] if group["momentum"] else None,
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
        )
