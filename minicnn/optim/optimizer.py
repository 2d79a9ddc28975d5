"""What all optimizers share: groups of parameters, the loop over them, and the saved state.

An optimizer is one rule that turns a parameter, its gradient and some memory into a new value of
the parameter. The rule stands in `update` of a sub-class, or in `update_all` for many parameters at
once, and knows arrays only; everything around it stands here.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np

from minicnn import ahead
from minicnn.autograd import Tensor, enable_grad
from minicnn.autograd.capturing import clear_gradients
from minicnn.backend import Array, check_one_device, device_of, is_array, to_device, xp_of
from minicnn.kernels.capture import as_a_whole, here, number

Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
Group = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """Base class: holds `param_groups` and `state`, and calls the rule for every parameter.

    A sub-class passes its options to `super().__init__` and defines `update`, or `update_all`, which
    spares a call for each parameter; it may define `first_state`, `phase`, `count`, `is_complete`
    and `check_options` as well.

    Args:
        params: the parameters to train: tensors (`model.parameters()`), pairs of a name and a
            tensor (`model.named_parameters()`), or dicts with the key "params" and options of
            their own, such as `[{"params": head, "lr": 0.1}, {"params": body}]`.
        defaults: the options of every group that does not set its own.

    Attributes:
        param_groups: dicts with the key "params" (list of tensors) and the options in force.
        state: for each parameter, a dict of what the rule remembers of it.

    Raises:
        TypeError: if `params` is not an iterable of these kinds.
        ValueError: if it is empty, names a parameter twice, or an option is out of its range.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.step_count = 0

        groups = _listed(type(self).__name__, params)
        if not groups:
            raise ValueError(
                f"{type(self).__name__}: params is empty, so there is nothing to train; expected "
                "model.parameters(); note that a generator can be walked through only once"
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        for dtype in {p.dtype for p in self._all_params()}:
            ahead.expect(_take_a_step, type(self), defaults, dtype)

    def update(self, param: Array, grad: Array, state: State, group: Group) -> None:
        """Change `param` in place by one step of the rule.

        Args:
            param: the parameter, a floating-point array of any shape.
            grad: its gradient, same shape and dtype; must not be changed.
            state: what the rule remembers of this parameter; `first_state` before the first step.
            group: the options in force; numbers are plain Python numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define update()")

    def update_all(
        self, params: Sequence[Array], grads: Sequence[Array], states: Sequence[State], group: Group
    ) -> None:
        """Change many parameters in place by one step of the rule: here, one after the other.

        Args:
            params: parameters of one dtype, on the same kind of device, and in the same phase.
            grads: their gradients; of the parameters' shapes.
            states: what the rule remembers of them.
            group: the options in force; numbers are plain Python numbers.
        """
        for param, grad, state in zip(params, grads, states, strict=True):
            self.update(param, grad, state, group)

    def phase(self, state: State) -> Any:
        """Return what must be equal for parameters to be updated together, such as their number of steps."""
        return None

    def count(self, states: Sequence[State]) -> None:
        """Count a step in what is remembered of parameters, before `update_all`; for rules that depend on it."""

    def is_complete(self, state: State, group: Group) -> bool:
        """Whether the rule has all memory of a parameter that it needs."""
        return bool(state)

    def first_state(self, param: Array, group: Group) -> State:
        """Return what the rule remembers of `param` before its first step; a saved state has all of it."""
        return {}

    def check_options(self, group: Group) -> None:
        """Raise ValueError if an option of `group` is out of its range."""
        check_range(type(self).__name__, group, "lr")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; those whose `grad` is None stay untouched.

        Args:
            closure: called first, with gradient recording on; computes the loss, its gradients,
                and returns the loss.

        Returns:
            What `closure` returned, or None.
        """
        if here.active is not None and closure is None and here.active.includes(self):
            return None
        return self._step(closure)

    @as_a_whole
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self.carry_out_step()
        return loss

    def carry_out_step(self) -> None:
        """Change the parameters. A graph on a GPU reads the rate anew each time (`kernels.capture.number`)."""
        self.step_count += 1
        with np.errstate(all="ignore"):  # a run that diverges ends in inf and NaN, not in warnings
            for group in self.param_groups:
                options = plain_options(group)
                options["lr"] = number(lambda group=group: _plain(group["lr"]), np.float64)
                for together in self._batches(group["params"], options):
                    params, grads, states = zip(*together, strict=True)
                    self.count(states)
                    self.update_all(params, grads, states, options)

    def _batches(self, params: list[Tensor], options: Group) -> Iterable[list[tuple]]:
        """Collect (array, gradient, state) of the parameters that have a gradient, in lists for `update_all`."""
        batches: dict[Any, list[tuple]] = {}
        for p in params:
            if p.grad is None:
                continue
            array, grad, state = p.array, p.grad.array, self.state[p]
            if grad.shape != array.shape:
                raise ValueError(
                    f"{type(self).__name__}.step: a parameter of shape {p.shape} has a gradient of "
                    f"shape {grad.shape}; expected equal shapes"
                )
            if not state:
                state.update(self.first_state(array, options))
            elif "cupy" in sys.modules:  # otherwise there is one device
                _follow(state, array)
            if type(grad) is not type(array):
                where = f"{type(self).__name__}.step"
                check_one_device(where, parameter=array, gradient=grad)
            kind = device_of(array), array.dtype, self.phase(state)
            batches.setdefault(kind, []).append((array, grad, state))
            p.bump_version()
        return batches.values()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: set them to None, or fill them with zeros.

        The two differ for a parameter that the next loss does not depend on: with None it is left
        out of the next step, with zeros it still moves by its momentum and weight decay.
        """
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, for example those of layers that were frozen until now.

        Args:
            param_group: dict with the key "params" and any options that differ from the defaults.
                The dict is copied.

        Raises:
            TypeError: if it is no dict, or holds something else than tensors of floats.
            ValueError: if a parameter is there already or is no leaf, or an option is out of range.
        """
        where = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"{where}: a parameter group must be a dict with the key 'params', got "
                f"{_described(param_group)}; do not mix dicts and tensors in one list"
            )
        group = {**self.defaults, **param_group}
        members = group["params"]
        members = [members] if isinstance(members, Tensor) else _listed(where, members)
        named = [member for member in members if isinstance(member, tuple)]
        if named and len(named) < len(members):
            raise ValueError(f"{where}: give all parameters of a group a name, or none of them")
        if named:
            group["param_names"] = [name for name, _ in named]
            members = [tensor for _, tensor in named]
        group["params"] = members

        seen = {id(p) for other in self.param_groups for p in other["params"]}
        for index, p in enumerate(members):
            label = f"parameter {group['param_names'][index] if named else index}"
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{where}: {label}: expected a Tensor, got {_described(p)}; write "
                    "model.parameters()"
                )
            if p.dtype.kind != "f":
                raise TypeError(
                    f"{where}: {label}, of shape {p.shape}, has the dtype {p.dtype}; only "
                    "floating-point tensors have gradients"
                )
            if not p.is_leaf:
                raise ValueError(
                    f"{where}: {label}, of shape {p.shape}, is the result of a computation, "
                    "so it cannot be trained; pass the tensors it was computed from, or detach it"
                )
            if id(p) in seen:
                raise ValueError(
                    f"{where}: {label}, of shape {p.shape}, appears more than once; each "
                    "parameter may stand in one group only"
                )
            seen.add(id(p))
        self.check_options(group)
        self.param_groups.append(group)

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of options and memory, from which training can be continued.

        Returns:
            {"state": {index: {name: number or NumPy array}}, "param_groups": [options]}, where
            tensors are replaced by their index in the order of the groups. Arrays are copies.
        """
        index_of = {id(p): index for index, p in enumerate(self._all_params())}
        groups = [
            {**group, "params": [index_of[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {
            index_of[id(p)]: {
                name: to_device(value.copy(order="K"), "cpu") if is_array(value) else value
                for name, value in memory.items()
            }
            for p, memory in self.state.items()
            if memory
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a snapshot that `state_dict` took, on any device.

        Raises:
            ValueError: if it is no such snapshot, or that of another optimizer, has other groups,
                lacks memory, or has memory of other shapes than the parameters'. The optimizer is
                then unchanged.
        """
        where = f"{type(self).__name__}.load_state_dict"
        _check_keys(where, "state_dict", state_dict, {"param_groups", "state"})
        _check_keys(where, "state", state_dict["state"], set())
        saved_groups = state_dict["param_groups"]
        for group in saved_groups:
            _check_keys(where, "the saved group", group, {"params", *self.defaults})
            self.check_options(group)
        saved_sizes = [len(group["params"]) for group in saved_groups]
        sizes = [len(group["params"]) for group in self.param_groups]
        if saved_sizes != sizes:
            raise ValueError(
                f"{where}: this optimizer has groups of {sizes} parameters, but the saved one has "
                f"groups of {saved_sizes}; build the model and the groups as they were when the "
                "state was saved"
            )
        owners = [(index, group) for group in saved_groups for index in group["params"]]
        state: defaultdict[Tensor, State] = defaultdict(dict)
        for (index, group), p in zip(owners, self._all_params(), strict=True):
            memory = state_dict["state"].get(index, {})
            if memory:
                needed = self.first_state(p.array, group).keys()
                _check_keys(where, f"the state of parameter {index}", memory, needed)
            for name, value in memory.items():
                if is_array(value) and (value.ndim > 0 or p.ndim == 0):
                    state[p][name] = _fitted(f"{where}: {name} of parameter {index}", value, p)
                else:
                    state[p][name] = value.item() if is_array(value) else value
        self.state = state
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})

    def _all_params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        """One line a group: its options and how many parameters it has."""
        lines = []
        for group in self.param_groups:
            options = ", ".join(f"{k}={v}" for k, v in group.items() if not k.startswith("param"))
            lines.append(f"    {len(group['params'])} parameters: {options}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def plain_options(group: Group) -> Group:
    """Return the options of a group as plain Python numbers, without the parameters."""
    return {k: _plain(v) for k, v in group.items() if not k.startswith("param")}


def check_range(where: str, group: Group, *names: str, below: float = float("inf")) -> None:
    """Raise unless group[name] is a number with 0 <= number < below, for each of `names`."""
    for name in names:
        value = group[name]
        if not isinstance(value, Real):
            raise TypeError(f"{where}: {name}: expected a number, got {_described(value)}")
        if not 0 <= value < below:
            raise ValueError(f"{where}: expected 0 <= {name} < {below}, got {name} = {value}")


def _check_keys(where: str, part: str, saved: Any, keys: Set[str]) -> None:
    """Raise unless the part of a saved state is a dict with these keys."""
    if not isinstance(saved, dict):
        raise ValueError(f"{where}: {part}: expected a dict, got {_described(saved)}")
    missing = sorted(keys - saved.keys())
    if missing:
        raise ValueError(
            f"{where}: {part} lacks {', '.join(missing)}; was it saved by another optimizer?"
        )


def _listed(where: str, params: Any) -> list[Any]:
    """Return `params` as a list, refusing with advice what has no order or no members."""
    if isinstance(params, Tensor):
        raise TypeError(
            f"{where}: params: expected an iterable of tensors, got one tensor of shape "
            f"{params.shape}; write {where}([tensor], ...)"
        )
    if isinstance(params, set | frozenset | dict):
        raise TypeError(
            f"{where}: params: expected a list or another ordered iterable of tensors, got a "
            f"{type(params).__name__}; write list(...), a dict's values, or [group] for one group"
        )
    if not isinstance(params, Iterable):
        raise TypeError(
            f"{where}: params: expected an iterable of tensors, got {_described(params)}; "
            "write model.parameters()"
        )
    return list(params)


def _described(value: Any) -> str:
    """Name the type of `value`, and the shape of an array."""
    if is_array(value):
        return f"a bare array of shape {value.shape}"
    return f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Return NumPy scalars as Python numbers: a np.float64 rate would promote float32 arrays."""
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def _follow(state: State, param: Array) -> None:
    """Move what is remembered of a parameter to where the parameter is now."""
    place = device_of(param)
    for name, value in state.items():
        if is_array(value) and device_of(value) != place:
            state[name] = to_device(value, place)


def _fitted(where: str, value: Array, p: Tensor) -> Array:
    """Return a copy of `value` with the dtype, device and memory order of `p`."""
    if value.shape != p.shape:
        raise ValueError(
            f"{where}: expected the parameter's shape {p.shape}, got {value.shape}; pass the "
            "parameters in the order in which they stood when the state was saved"
        )
    copy = xp_of(p.array).empty_like(p.array)
    copy[...] = to_device(value, p.device)
    return copy


def _take_a_step(kind: type[Optimizer], options: Group, dtype: np.dtype) -> None:
    """Do what the first step of an optimizer does, with a parameter of a certain dtype, see `ahead`."""
    parameter = Tensor(np.zeros(1, dtype), requires_grad=True)
    parameter.grad = Tensor(np.zeros(1, dtype))
    kind([parameter], **options).step()
