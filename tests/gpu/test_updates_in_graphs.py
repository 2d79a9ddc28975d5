"""Steps of optimizers inside captured graphs, on the stand-in: the same bits, and the options that are in force."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.kernels.dispatch import own_products
from minicnn.nn import functional as F
from minicnn.optim.optimizer import Optimizer
from tests.devices import constant, host, tensors_on
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import ndarray
from tests.gpu.strict_streams import Graph

pytestmark = pytest.mark.skipif(not has_compiler(), reason="needs g++, to compile for the CPU")


@pytest.fixture(autouse=True)
def gpu():
    with tensors_on("cuda"):
        equip(ndarray.cupy)
        yield ndarray.cupy


RULES = {
    "SGD": lambda p: optim.SGD(p, 0.1, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(
        [{"params": [q], "lr": 0.01 / (i + 1)} for i, q in enumerate(p)]
    ),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, centered=True, momentum=0.5),
}


class Training:
    """A small model, an optimizer and their step; counts how often the step of the optimizer is carried out."""

    def __init__(self, rule, is_captured=True):
        minicnn.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to("cuda")
        self.rule = rule([*self.model.parameters()])
        self.carried_out = 0
        inner = self.rule.carry_out_step

        def carry_out_step():
            self.carried_out += 1
            inner()

        self.rule.carry_out_step = carry_out_step
        self.step = minicnn.capture(self._step) if is_captured else self._step

    def _step(self, x, labels):
        self.rule.zero_grad()
        loss = F.cross_entropy(self.model(x), labels)
        loss.backward()
        self.rule.step()
        return loss

    def run(self, seeds=range(6), between=lambda seed: None):
        """Train on a batch for each seed; return the losses, and the parameters afterwards."""
        losses = []
        with own_products():
            for seed in seeds:
                rng = np.random.default_rng(seed)
                x = constant(rng.standard_normal((5, 6)).astype("float32"))
                losses.append(self.step(x, constant(rng.integers(0, 3, 5))))
                between(seed)
        return [host(tensor).tolist() for tensor in (*losses, *self.model.parameters())]


def both(rule, between=lambda training: lambda seed: None):
    """Train captured and as usual; return the captured training, and whether all bits are the same."""
    captured, usual = Training(rule), Training(rule, is_captured=False)
    found, expected = captured.run(between=between(captured)), usual.run(between=between(usual))
    assert found == expected
    states = [training.rule.state_dict() for training in (captured, usual)]
    np.testing.assert_equal(states[0], states[1])
    assert captured.rule.step_count == usual.rule.step_count
    return captured


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_updates_are_a_part_of_the_graph(rule):
    training = both(rule)
    assert training.step.is_recorded
    assert training.carried_out == 3  # two warm up, one is captured; three are replayed


@pytest.mark.parametrize("rule", ["momentum", "Adam"])
def test_a_replay_waits_for_nothing_and_is_one_graph(monkeypatch, rule):
    training, launches = Training(RULES[rule]), []
    training.run(range(4))
    launch = Graph.launch
    monkeypatch.setattr(Graph, "launch", lambda graph: (launches.append(graph), launch(graph)))
    with own_products():
        x, labels = constant(np.ones((5, 6), "float32")), constant(np.zeros(5, int))
        ndarray.cupy.traffic.clear()
        training.step(x, labels)
    assert ndarray.cupy.traffic.syncs + ndarray.cupy.traffic.uploads == []
    assert len(launches) == 1


def test_the_learning_rate_is_followed():
    def schedule(training):
        rule = optim.lr_scheduler.StepLR(training.rule, 2, 0.5)
        return lambda seed: rule.step()

    training = both(RULES["Adam"], schedule)
    assert training.carried_out == 3


@pytest.mark.parametrize("option", [{"weight_decay": 0.1}, {"momentum": 0.5}])
def test_other_options_are_captured_anew(option):
    def change(training):
        return lambda seed: seed == 3 and training.rule.param_groups[0].update(option)

    training = both(RULES["momentum"], change)
    assert training.carried_out > 3


def test_a_loaded_state_is_used():
    def reload(training):
        def between(seed):
            if seed == 2:
                training.saved = training.rule.state_dict()
            if seed == 4:
                training.rule.load_state_dict(training.saved)

        return between

    both(RULES["Adam"], reload)


def set_one_back(rule):
    next(iter(rule.state.values()))["step"] = 0


def replace_a_group(rule):
    rule.param_groups[0] = rule.param_groups[0] | {"lr": 0.5}


def replace_states(rule):
    for p in [*rule.state]:
        rule.state[p] = rule.state[p] | {"step": 50}


@pytest.mark.parametrize("change", [set_one_back, replace_a_group, replace_states])
def test_what_the_host_tells_a_graph_is_read_from_where_it_lies_now(change):
    both(
        lambda p: optim.Adam(p, 0.01),
        lambda training: lambda seed: seed == 3 and change(training.rule),
    )


def test_parameters_that_come_later_are_trained():
    def grow(training):
        extra = minicnn.ones(2, device="cuda", requires_grad=True)

        def between(seed):
            if seed == 3:
                extra.grad = minicnn.ones(2, device="cuda")
                training.rule.add_param_group({"params": [extra]})
                training.extra = extra

        return between

    both(RULES["SGD"], grow)


def test_gradients_from_elsewhere_leave_the_update_outside():
    training = Training(RULES["SGD"])
    extra = minicnn.ones(2, device="cuda", requires_grad=True)
    training.rule.add_param_group({"params": [extra]})
    training.rule.zero_grad = lambda: [
        setattr(p, "grad", None) for p in training.model.parameters()
    ]
    extra.grad = minicnn.ones(2, device="cuda")
    training.run()
    assert training.carried_out == 6
    expected = 1.0
    for _ in range(6):
        expected -= 0.1 * (1 + 0.01 * expected)  # the rate, the gradient, the weight's decay
    np.testing.assert_allclose(host(extra), expected, rtol=1e-5)


def test_two_steps_of_one_optimizer():
    def twice(training):
        def step(x, labels):
            loss = training._step(x, labels)
            training.rule.step()
            return loss

        training.step = minicnn.capture(step) if training.step != training._step else step
        return lambda seed: None

    training = both(RULES["Adam"], twice)
    assert training.step.is_recorded
    assert training.carried_out == 3 * 2 + 3  # the second one is called in each step


class Sign(Optimizer):
    """A rule of a user's own."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.01})

    def update(self, param, grad, state, group):
        param -= group["lr"] * ndarray.cupy.sign(grad)


class SlowSGD(optim.SGD):
    """A rule that looks at numbers."""

    def update_all(self, params, grads, states, group):
        rate = group["lr"] / (1 + float(abs(grads[0]).max()))
        super().update_all(params, grads, states, group | {"lr": rate})


@pytest.mark.parametrize("rule", [Sign, lambda p: SlowSGD(p, 0.1)], ids=["own", "derived"])
def test_rules_of_users_stay_outside(rule):
    training = both(rule)
    assert training.step.is_recorded
    assert training.carried_out == 6


def test_a_failed_capture_has_counted_nothing():
    training, calls = Training(RULES["Adam"]), []

    def step(x, labels):
        loss = training._step(x, labels)
        calls.append(loss)
        if len(calls) == 3:
            raise KeyError("only while it is captured")
        return loss

    training.step = minicnn.capture(step)
    with pytest.warns(RuntimeWarning, match="runs as usual"):
        found = training.run(range(4))
    assert found == Training(RULES["Adam"], is_captured=False).run(range(4))
    counts = {state["step"] for state in training.rule.state.values()}
    assert (training.rule.step_count, counts) == (4, {4})
