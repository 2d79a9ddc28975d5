"""A captured step computes the same bits as the step itself, or says why it is not captured."""

import threading
import warnings

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.captured import capture
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
        nn.Conv2d(1, 32, 3, padding=1), nn.Sigmoid(), nn.Conv2d(32, 32, 3, padding=1), nn.Tanh(),
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


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_a_captured_step_gives_the_same_bits(build, optimizer):
    data = batches()
    usual, step = training(build, optimizer)
    expected = run(step, data)
    model, step = training(build, optimizer)
    captured = capture(step)
    found = run(captured, data)
    assert captured.is_recorded
    assert_same(model, usual, found, expected)


def test_float64_is_captured_too():
    data = [(x.astype(np.float64), y) for x, y in batches()]
    usual, step = training(NETWORKS["norms"], dtype=np.float64)
    expected = run(step, data)
    model, step = training(NETWORKS["norms"], dtype=np.float64)
    captured = capture(step)
    assert_same(model, usual, run(captured, data), expected)
    assert captured.is_recorded


def test_a_batch_of_another_shape_runs_as_usual():
    data = batches()
    data[3] = data[3][0][:3], data[3][1][:3]
    usual, step = training(NETWORKS["norms"])
    expected = run(step, data)
    model, step = training(NETWORKS["norms"])
    assert_same(model, usual, run(capture(step), data), expected)


@pytest.mark.parametrize("at", [3, 5])
def test_a_wrong_label_is_refused_in_a_replay_too(at):
    data = batches()
    model, step = training(NETWORKS["convolution and pooling in one"])
    captured = capture(step)
    run(captured, data[:at])
    before = {name: tensor.array.copy() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"label 9 at target\[2\] is not a class"):
        captured(data[at][0], np.array([0, 1, 9, 3, 0, 0, 0, 0]))
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name], err_msg=name)
    loss, _ = captured(*data[at])  # and training goes on
    assert np.isfinite(loss.item())


def test_results_are_not_overwritten_by_later_steps():
    data = batches()
    _, step = training(NETWORKS["dense"])
    captured = capture(step)
    results = [captured(*batch)[0] for batch in data]
    numbers = [loss.item() for loss in results]
    captured(*data[0])
    assert [loss.item() for loss in results] == numbers
    assert len(set(numbers)) == SEVERAL


def test_inputs_may_be_reused_and_are_not_changed():
    data = batches()
    copies = [(x.copy(), y.copy()) for x, y in data]
    _, step = training(NETWORKS["dense"])
    run(capture(step), data)
    for (x, y), (old_x, old_y) in zip(data, copies, strict=True):
        np.testing.assert_array_equal(x, old_x)
        np.testing.assert_array_equal(y, old_y)


def refused(step, data, match):
    """Run a step that cannot be captured; return what it gives, and assert that it says why, once."""
    captured = capture(step)
    with pytest.warns(RuntimeWarning, match=match) as caught:
        found = run(captured, data)
    assert len(caught) == 1
    assert not captured.is_recorded
    return found


def with_extra(extra):
    """A training whose steps also do something else with the loss."""
    model, step = training(NETWORKS["dense"])

    def more(images, labels):
        loss, scores = step(images, labels)
        extra(loss, images)
        return loss, scores

    return model, more


OBSTACLES = {
    "a number is read": lambda loss, x: loss.item(),
    "a tensor is made": lambda loss, x: minicnn.ones(3),
    "random numbers": lambda loss, x: minicnn.random.generator().random(),
}


@pytest.mark.parametrize("problem", OBSTACLES)
def test_what_cannot_be_replayed_runs_as_usual_and_says_so(problem):
    data = batches()
    usual, step = with_extra(OBSTACLES[problem])
    expected = run(step, data)
    model, step = with_extra(OBSTACLES[problem])
    assert_same(model, usual, refused(step, data, problem), expected)


def test_numbers_that_slip_past_the_tape_are_noticed():
    def build():
        minicnn.manual_seed(0)
        model = NETWORKS["dense"]()

        def step(images, labels):
            model.zero_grad()
            scores = model(images) * float(np.abs(images.array).mean())
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            return loss, scores

        return model, step

    usual, step = build()
    expected = run(step, batches())
    model, step = build()
    assert_same(model, usual, refused(step, batches(), "gives other numbers"), expected)


def test_it_must_return_tensors():
    _, step = training(NETWORKS["dense"])
    captured = capture(lambda x, y: (step(x, y)[0], 3))
    captured(*batches()[0])
    with pytest.warns(RuntimeWarning, match="returns something else than tensors"):
        captured(*batches()[0])


def change_mode(model):
    model.eval()


def freeze(model):
    model[0].weight.requires_grad_(False)


def load(model):
    model.load_state_dict({k: v.clone() * 0.5 for k, v in model.state_dict().items()})


def replace(model):
    model[0].weight.data = model[0].weight.array * 0.5


def be_exact(model):
    minicnn.precision("exact")


def watch(model):
    model[0].register_forward_hook(lambda module, inputs, output: None)


@pytest.fixture
def _fast_again():
    yield
    minicnn.precision("fast")


@pytest.mark.usefixtures("_fast_again")
@pytest.mark.filterwarnings("ignore:capture")
@pytest.mark.parametrize("change", [change_mode, freeze, load, replace, be_exact, watch])
def test_changes_between_steps_count(change):
    data = batches(count=8)
    trained = []
    for wrap in (lambda step: step, capture):
        model, step = training(NETWORKS["sigmoids and winograd"])
        step = wrap(step)
        found = run(step, data[:4])
        change(model)
        found += run(step, data[4:])
        minicnn.precision("fast")
        trained.append((model, found))
    (usual, expected), (model, found) = trained
    assert_same(model, usual, found, expected)


def accumulating(wrap, set_to_none):
    """Gradients of two batches are added up before the optimizer steps, outside the captured function."""
    minicnn.manual_seed(0)
    model = NETWORKS["dense"]()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def gradients(images, labels):
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss, loss

    gradients = wrap(gradients)
    found = []
    for i, batch in enumerate(batches(count=10)):
        found += run(gradients, [batch])
        if i % 2:
            optimizer.step()
            optimizer.zero_grad(set_to_none)
    return model, found


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_add_up(set_to_none):
    usual, expected = accumulating(lambda step: step, set_to_none)
    model, found = accumulating(capture, set_to_none)
    assert_same(model, usual, found, expected)


def by_hand(wrap):
    """Training without modules and optimizers, as courses begin."""
    rng = np.random.default_rng(0)
    w = Tensor(rng.standard_normal((144, 4)).astype(np.float32) * 0.1, requires_grad=True)
    b = minicnn.zeros(4, requires_grad=True)

    def step(images, labels):
        scores = images.reshape(-1, 144) @ w + b
        loss = -scores.log_softmax(1).gather(1, labels.reshape(-1, 1)).mean()
        loss.backward()
        with minicnn.no_grad():
            for p in (w, b):
                p -= 0.1 * p.grad
                p.grad.zero_()
        return loss, scores

    step = wrap(step)
    return run(step, batches(count=8)), w, b


def test_training_by_hand_is_captured():
    captured = []

    def wrap(step):
        captured.append(capture(step))
        return captured[0]

    expected, w, b = by_hand(lambda step: step)
    found, other_w, other_b = by_hand(wrap)
    for a, c in zip(
        [*found, other_w.array, other_b.array], [*expected, w.array, b.array], strict=True
    ):
        np.testing.assert_array_equal(a, c)
    assert captured[0].is_recorded


def with_schedule(wrap):
    minicnn.manual_seed(0)
    model = NETWORKS["dense"]()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.StepLR(optimizer, 2)

    def step(images, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        return loss, loss

    found = run(wrap(step), batches(count=8))
    return model, found, optimizer.param_groups[0]["lr"]


def test_schedules_and_clipping_run_in_each_step():
    usual, expected, lr = with_schedule(lambda step: step)
    model, found, other_lr = with_schedule(capture)
    assert lr == other_lr
    assert_same(model, usual, found, expected)


def test_a_captured_step_inside_another():
    data = batches()
    usual, step = training(NETWORKS["dense"])
    expected = run(step, data)
    model, step = training(NETWORKS["dense"])
    inner = capture(step)
    assert_same(model, usual, run(capture(lambda x, y: inner(x, y)), data), expected)


def test_another_thread_trains_meanwhile():
    data = batches(count=30)
    usual, step = training(NETWORKS["norms"])
    expected = run(step, data)
    found = {}

    def train(name):
        _, step = trained[name]
        found[name] = [step(Tensor(x), Tensor(y))[0].item() for x, y in data]

    trained = {name: training(NETWORKS["norms"]) for name in "ab"}
    trained = {name: (model, capture(step)) for name, (model, step) in trained.items()}
    threads = [threading.Thread(target=train, args=(name,)) for name in trained]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, (model, _) in trained.items():
        assert found[name] == [loss.item() for loss in expected[::2]]
        assert_same(model, usual, [], [])


def test_an_input_that_wants_a_gradient_runs_as_usual():
    model = NETWORKS["dense"]()
    captured = capture(lambda x: model(x).sum().backward())
    for images, _ in batches():
        x = Tensor(images, requires_grad=True)
        captured(x)
        assert x.grad is not None
    assert not captured.is_recorded


def test_anomaly_mode_runs_as_usual():
    _, step = training(NETWORKS["dense"])
    captured = capture(step)
    with minicnn.detect_anomaly():
        run(captured, batches())
    assert not captured.is_recorded


def test_an_error_in_the_step_leaves_no_capture_in_force():
    def broken(x):
        raise KeyError("mine")

    captured = capture(broken, warm_up=0)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            captured(np.ones(3, np.float32))


def test_inference_can_be_captured():
    model = NETWORKS["convolution and pooling in one"]()
    model(Tensor(batches()[0][0]))
    model.eval()

    @capture
    def predict(images):
        with minicnn.no_grad():
            return model(images)

    for images, _ in batches():
        with minicnn.no_grad():
            expected = model(Tensor(images)).numpy()
        np.testing.assert_array_equal(predict(images).numpy(), expected)
    assert predict.is_recorded


def test_an_empty_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    captured = capture(lambda x: model(x))
    for _ in range(4):
        assert captured(np.ones((0, 4), np.float32)).shape == (0, 2)


def test_gradients_outlive_the_recording_and_keep_nothing_of_it():
    model, step = training(NETWORKS["residual"])
    captured = capture(step)
    run(captured, batches())
    before = [p.grad.array.copy() for p in model.parameters()]
    pool = captured._replay._step._pool
    captured.release()
    assert not captured.is_recorded
    for parameter, grad in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad.array, grad)
    assert all(arena.lent == 0 for arena in (pool._small, pool._middling, pool._large))
    run(captured, batches())  # and it is recorded again
    assert captured.is_recorded


def test_it_is_a_decorator_that_keeps_name_and_text():
    @capture(warm_up=2)
    def step(x):
        """Double it."""
        return x * 2

    assert (step.__name__, step.__doc__) == ("step", "Double it.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(5):
            assert step(np.full(3, i, np.float32)).tolist() == [2 * i] * 3


def test_only_functions_are_captured():
    with pytest.raises(TypeError, match="expected a function or a module, got int"):
        capture(3)


def test_a_recording_takes_no_more_memory_in_later_steps():
    _, step = training(NETWORKS["sigmoids and winograd"])
    captured = capture(step)
    run(captured, batches())
    pool = captured._replay._step._pool
    before = [arena.reserved for arena in (pool._small, pool._middling, pool._large)]
    run(captured, batches())
    assert [arena.reserved for arena in (pool._small, pool._middling, pool._large)] == before
