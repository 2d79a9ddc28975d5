"""Stochastic gradient descent: step against the gradient, with a velocity that averages steps."""

from collections.abc import Sequence

from minicnn.backend import Array, xp_of
from minicnn.kernels.dispatch import sibling
from minicnn.optim.in_graphs import capturable
from minicnn.optim.optimizer import Group, Optimizer, Params, State, check_range


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and weight decay.

    For a parameter w with gradient g, velocity v, rate lr, momentum mu, dampening tau, decay wd:

        g <- g + wd w
        v <- mu v + (1 - tau) g           (v = g in the first step)
        w <- w - lr (g + mu v)            with nesterov,
        w <- w - lr v                     without; w <- w - lr g where mu = 0

    Momentum after Polyak (1964); Nesterov's form, and both for deep networks, after Sutskever,
    Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning"
    (2013). There lr is part of v; here v is free of it, so that a changed rate acts at once.

    Args:
        params: parameters, (name, parameter) pairs, or dicts with options of their own.
        lr: learning rate.
        momentum: share of the velocity that survives a step; 0.9 is usual, 0 is plain descent.
        dampening: share of the gradient kept out of the velocity.
        weight_decay: strength of the L2 penalty wd/2 |w|^2.
        nesterov: look ahead by one more step of the velocity.

    Raises:
        ValueError: for a negative option, or nesterov without momentum or with dampening.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse negative options, and nesterov without its conditions."""
        check_range("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov=True needs momentum > 0 and dampening = 0, got "
                f"momentum={group['momentum']} and dampening={group['dampening']}"
            )

    def phase(self, state: State) -> bool:
        """Return whether there is a velocity yet."""
        return "momentum_buffer" in state

    def is_complete(self, state: State, group: Group) -> bool:
        """Return whether there is a velocity, where one is needed."""
        return not group["momentum"] or self.phase(state)

    @capturable
    def update_all(
        self, params: Sequence[Array], grads: Sequence[Array], states: Sequence[State], group: Group
    ) -> None:
        """Apply the equations of the class."""
        momentum, dampening = group["momentum"], group["dampening"]
        velocities = None
        if momentum:
            if not self.phase(states[0]):  # from 0, undampened: v = g
                dampening = 0
                for param, state in zip(params, states, strict=True):
                    state["momentum_buffer"] = xp_of(param).zeros_like(param)
            velocities = [state["momentum_buffer"] for state in states]
        sibling("update", params[0]).sgd(
            params,
            grads,
            velocities,
            group["lr"],
            momentum,
            dampening,
            group["weight_decay"],
            group["nesterov"],
        )
