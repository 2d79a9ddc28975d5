"""Adam: every weight has its own step size, from running means of its gradient and its square."""

from collections.abc import Sequence

import numpy as np

from minicnn.backend import Array, xp_of
from minicnn.kernels.capture import number
from minicnn.kernels.dispatch import sibling
from minicnn.optim.in_graphs import capturable
from minicnn.optim.optimizer import Group, Optimizer, Params, State, check_range


class Adam(Optimizer):
    """Adam, with weight decay as an L2 penalty.

    For a parameter w with gradient g in step t = 1, 2, ...:

        g <- g + wd w
        m <- beta1 m + (1 - beta1) g                running mean of the gradient
        v <- beta2 v + (1 - beta2) g^2              running mean of its square
        m_hat = m / (1 - beta1^t)                   both start at 0; this undoes their bias
        v_hat = v / (1 - beta2^t)
        w <- w - lr m_hat / (sqrt(v_hat) + eps)

    Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1. With amsgrad,
    v_hat uses the largest v so far, so that a step size never grows (Reddi, Kale and Kumar, "On
    the Convergence of Adam and Beyond", 2018).

    The penalty's gradient wd w passes through the running means and is scaled with them; `AdamW`
    keeps it out.

    Args:
        params: parameters, (name, parameter) pairs, or dicts with options of their own.
        lr: learning rate, about the largest change of a weight in one step.
        betas: (beta1, beta2), the memory of the two means, each in [0, 1).
        eps: keeps the division finite; same unit as the gradient.
        weight_decay: strength of the L2 penalty wd/2 |w|^2.
        amsgrad: use the largest v so far.

    Raises:
        ValueError: for a negative option, or betas outside [0, 1).
    """

    decoupled = False
    """Whether weight decay bypasses the running means, as in `AdamW`."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse negative options, and betas outside [0, 1)."""
        where = type(self).__name__
        check_range(where, group, "lr", "eps", "weight_decay")
        if len(group["betas"]) != 2:
            raise ValueError(f"{where}: betas: expected two numbers, got {group['betas']}")
        beta1, beta2 = group["betas"]
        check_range(where, {"betas[0]": beta1, "betas[1]": beta2}, "betas[0]", "betas[1]", below=1)

    def first_state(self, param: Array, group: Group) -> State:
        """Return the number of steps and the two running means, all 0."""
        xp = xp_of(param)
        state = {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = xp.zeros_like(param)
        return state

    def phase(self, state: State) -> int:
        """Return the number of steps taken."""
        return state["step"]

    def count(self, states: Sequence[State]) -> None:
        """Count a step of each parameter."""
        for state in states:
            state["step"] += 1

    @capturable
    def update_all(
        self, params: Sequence[Array], grads: Sequence[Array], states: Sequence[State], group: Group
    ) -> None:
        """Apply the equations of the class."""
        amsgrad = group["amsgrad"]
        sibling("update", params[0]).adam(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if amsgrad else None,
            number(lambda: states[0]["step"], np.int64),
            group["lr"],
            group["betas"],
            group["eps"],
            group["weight_decay"],
            self.decoupled,
        )
