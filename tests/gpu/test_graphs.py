"""Steps captured in CUDA graphs, on the stand-in: the same bits as without, and usable whatever goes wrong."""

import gc

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.autograd import Tensor
from minicnn.graphs import GraphCapture
from minicnn.kernels.dispatch import own_products
from minicnn.nn import functional as F
from tests.checks import normal
from tests.devices import constant, host, tensors_on
from tests.gpu.cuda_on_host.host_module import equip, has_compiler
from tests.gpu.strict_cupy import ndarray
from tests.gpu.test_kernels_in_networks import Residual

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="needs g++, to compile for the CPU")


@pytest.fixture(autouse=True)
def gpu():
    with tensors_on("cuda"):
        if has_compiler():
            equip(ndarray.cupy)
        yield ndarray.cupy


def batch(size, seed):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((size, 3, 8, 8)).astype("float32")
    return constant(images), constant(rng.integers(0, 10, size))


NETWORKS = {
    "dense": lambda: [nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Linear(16, 10)],
    "conv": lambda: [
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten()),
        nn.Linear(8, 10),
    ],
    "residual": lambda: [
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Residual(8)),
        *(nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    ],
    "dropout": lambda: [
        *(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.2), nn.ReLU(), nn.StochasticDepth(0.3)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(288, 10)),
    ],
}


class Trainer:
    """A model, what updates it, and its step; seeds the random numbers."""

    def __init__(self, layers, has_update=True):
        minicnn.manual_seed(0)
        self.model = nn.Sequential(*layers()).to("cuda")
        self.rule = optim.Adam(self.model.parameters(), 0.01)
        self.schedule = optim.lr_scheduler.StepLR(self.rule, 2, 0.5)
        self.has_update = has_update

    def step(self, x, labels):
        self.rule.zero_grad()
        loss = F.cross_entropy(self.model(x), labels, label_smoothing=0.1)
        loss.backward()
        if self.has_update:
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.rule.step()
            self.schedule.step()
        return loss

    def state(self):
        parameters = [*self.model.parameters()]
        return [
            host(t) for t in (*parameters, *self.model.buffers(), *(p.grad for p in parameters))
        ]


def equal(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def run(trainer, step, sizes=(4, 4, 4, 4, 2, 4)):
    """The losses of some steps, and what they leave."""
    losses = []
    with own_products():
        for seed, size in enumerate(sizes):
            losses.append(step(*batch(size, seed)))
    return [host(loss) for loss in losses] + trainer.state()


@needs_compiler
@pytest.mark.parametrize("has_update", [True, False], ids=["update inside", "update outside"])
@pytest.mark.parametrize("network", NETWORKS)
def test_captured_steps_compute_the_same_bits(network, has_update):
    usual, graphed = (Trainer(NETWORKS[network], has_update) for _ in range(2))
    minicnn.manual_seed(1)
    expected = run(usual, usual.step)
    minicnn.manual_seed(1)
    step = minicnn.capture(graphed.step)
    assert equal(run(graphed, step), expected)
    assert step.is_recorded


@needs_compiler
def test_a_replay_waits_for_nothing_uploads_nothing_and_runs_no_python():
    trainer, calls = Trainer(NETWORKS["dropout"]), []

    @minicnn.capture
    def step(x, labels):
        calls.append(len(calls))
        return trainer.step(x, labels)

    for seed in range(3):
        step(*batch(4, seed))
    new = batch(4, 3)
    ndarray.cupy.traffic.clear()
    step(*new)
    assert ndarray.cupy.traffic.syncs + ndarray.cupy.traffic.uploads == []
    assert len(calls) == 3


@needs_compiler
def test_a_wrong_label_raises_when_the_loss_is_read_once():
    trainer = Trainer(NETWORKS["dense"], has_update=False)
    step = minicnn.capture(trainer.step)
    for seed in range(3):
        step(*batch(4, seed))
    x, labels = batch(4, 3)
    step(x, constant(np.array([0, 1, 10, 3])))
    loss = step(x, labels)  # the find of the step before is still there
    with pytest.raises(ValueError, match="label 10"):
        loss.item()
    assert np.isfinite(step(x, labels).item())


@needs_compiler
def test_gradients_add_up_over_captured_steps():
    def sums(is_captured):
        trainer = Trainer(NETWORKS["dense"])

        def step(x, labels):
            loss = F.cross_entropy(trainer.model(x), labels)
            loss.backward()
            return loss

        step = minicnn.capture(step) if is_captured else step
        return run(trainer, step)

    assert equal(sums(True), sums(False))


@needs_compiler
def test_what_a_call_between_graphs_returns_is_new_in_each_step():
    def results(is_captured):
        trainer = Trainer(NETWORKS["dense"])

        def step(x, labels):
            loss = F.cross_entropy(trainer.model(x), labels)
            trainer.rule.zero_grad(set_to_none=False)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trainer.model.parameters(), 0.1)
            trainer.rule.step()
            return norm * 2

        return run(trainer, minicnn.capture(step) if is_captured else step)

    assert equal(results(True), results(False))


@needs_compiler
def test_arrays_that_a_graph_uses_stay():
    model = nn.Linear(3, 3).to("cuda")
    weights = [constant(np.array([1, 2, 3], "float32"))]

    @minicnn.capture
    def step(x):
        loss = (model(x) * weights[0]).sum()
        loss.backward()
        return loss

    x = constant(normal(4, 3, dtype="float32"))
    losses = [step(x) for _ in range(3)]
    weights.clear()
    gc.collect()
    assert step(x).item() == losses[0].item()


@needs_compiler
def test_a_step_that_reads_a_number_goes_on_as_usual():
    seen = []

    def trained(is_captured):
        trainer = Trainer(NETWORKS["dropout"])

        def step(x, labels):
            loss = trainer.step(x, labels)
            seen.append(loss.item())
            return loss * 2

        return run(trainer, minicnn.capture(step) if is_captured else step)

    expected = trained(False)
    with pytest.warns(RuntimeWarning, match="runs as usual.*a number is read"):
        found = trained(True)
    assert equal(found[:3], expected[:3])  # later ones may call NVIDIA's products
    assert seen[:3] == seen[6:9]
    assert len(seen) == 12


@needs_compiler
def test_a_product_of_nvidias_cannot_be_captured_and_everything_is_as_before():
    def trained(is_captured):
        minicnn.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)).to("cuda")
        matrix = constant(normal(3, 3, dtype="float32"))

        def step(x):
            loss = (model(x) @ matrix).sum()
            loss.backward()
            return loss

        step = minicnn.capture(step) if is_captured else step
        x = constant(normal(4, 3, dtype="float32"))
        with own_products():
            losses = [step(x).item() for _ in range(5)]
        return losses, host(model[1].weight.grad)

    expected = trained(False)
    with pytest.warns(RuntimeWarning, match="NotImplementedError: .*cuBLAS") as warned:
        found = trained(True)
    assert len(warned) == 1
    assert found[0] == expected[0]
    assert equal(found[1], expected[1])


def test_an_error_of_the_step_is_raised_as_usual():
    def step(x):
        if len(calls) == 2:
            raise KeyError("of the user")
        calls.append(x)
        return x * 2

    calls, captured = [], minicnn.capture(step)
    x = constant(normal(3))
    captured(x), captured(x)
    with pytest.warns(RuntimeWarning, match="runs as usual"), pytest.raises(KeyError, match="user"):
        captured(x)


@needs_compiler
def test_an_interrupted_capture_leaves_nothing_behind():
    trainer, calls = Trainer(NETWORKS["dropout"], has_update=False), []

    @minicnn.capture
    def step(x, labels):
        loss = trainer.step(x, labels)
        calls.append(loss)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss.detach()

    for seed in range(2):
        step(*batch(4, seed))
    calls[:] = [None, None]
    with pytest.raises(KeyboardInterrupt):
        step(*batch(4, 2))
    assert not ndarray.cupy.cuda.get_current_stream().is_capturing()
    assert all(p.grad is None for p in trainer.model.parameters())
    assert np.isfinite(trainer.step(*batch(4, 2)).item())


def test_steps_without_kernels_of_our_own_are_captured_too():
    del ndarray.cupy.RawModule
    weight = constant(normal(3)).requires_grad_()

    @minicnn.capture
    def step(x):
        weight.grad = None
        loss = ((weight * x).relu() + x[1:2].exp() * weight.clamp(-1, 1)).sum()
        loss.backward()
        return loss

    def expected(x):
        fresh = Tensor(weight.array.copy()).requires_grad_()
        loss = ((fresh * x).relu() + x[1:2].exp() * fresh.clamp(-1, 1)).sum()
        loss.backward()
        return loss.item(), host(fresh.grad)

    for seed in range(5):
        x = constant(np.random.default_rng(seed).standard_normal(3))
        loss = step(x)
        assert (loss.item(), host(weight.grad).tolist()) == (
            expected(x)[0],
            expected(x)[1].tolist(),
        )
    assert step.is_recorded


@needs_compiler
def test_another_mode_is_captured_anew():
    trainer = Trainer(NETWORKS["residual"], has_update=False)
    step = minicnn.capture(trainer.step)
    for seed in range(3):
        step(*batch(4, seed))
    trainer.model.eval()
    recorded = []
    for seed in range(3):
        step(*batch(4, seed))
        recorded.append(step.is_recorded)
    assert recorded == [False, False, True]


@needs_compiler
def test_fit_captures_on_a_gpu(monkeypatch):
    replays, replay = [], GraphCapture.replay
    monkeypatch.setattr(
        GraphCapture, "replay", lambda self: (replays.append(self), replay(self))[0]
    )

    def fitted(is_captured):
        minicnn.manual_seed(0)
        model = nn.Sequential(*NETWORKS["conv"]()).to("cuda")
        data = normal(18, 3, 8, 8, dtype="float32"), np.arange(18) % 10
        rule = optim.SGD(model.parameters(), 0.1)
        with own_products():
            minicnn.train.fit(
                model,
                data,
                batch_size=4,
                optimizer=rule,
                epochs=2,
                progress=False,
                capture=is_captured,
            )
        return [host(p) for p in model.parameters()]

    assert equal(fitted(None), fitted(False))
    assert len(replays) == 5  # of 10 steps, 2 warm up, 1 is captured, 2 are for smaller batches


def test_a_step_that_moves_its_inputs_to_the_gpu_itself_runs_as_usual():
    model = nn.Linear(3, 2).to("cuda")
    step = minicnn.capture(lambda x: model(x.to("cuda")).sum())
    inputs = [normal(4, 3, seed=seed, dtype="float32") for seed in range(4)]
    with pytest.warns(RuntimeWarning, match="on a GPU"):
        found = [step(x).item() for x in inputs]
    assert found == [model(Tensor(x).to("cuda")).sum().item() for x in inputs]
