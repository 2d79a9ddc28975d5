"""A captured step computes the same bits as the step itself."""

import threading
import warnings

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.autograd import capturing
from minicnn.captured import capture
from minicnn.nn import functional as F
from tests.capturing import NETWORKS, OPTIMIZERS, SEVERAL, assert_same, batches, run, training


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


CROSS_ENTROPIES = [
    {},
    {"reduction": "sum"},
    {"label_smoothing": 0.1, "ignore_index": 2},
    {"weight": Tensor([1.0, 0.5, 2.0, 3.0])},
]


@pytest.mark.parametrize("settings", CROSS_ENTROPIES)
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 5)])
def test_a_cross_entropy_is_noted_and_not_run_again(shape, settings):
    shift = minicnn.randn(*shape, requires_grad=True)

    def step(scores, labels):
        shift.grad = None
        loss = F.cross_entropy(scores + shift, labels, **settings)
        loss.backward()
        return loss

    rng = np.random.default_rng(0)
    captured = capture(step)
    for _ in range(5):
        scores = Tensor(rng.standard_normal(shape).astype(np.float32))
        labels = Tensor(rng.integers(0, 4, (shape[0], *shape[2:])))
        expected, grad = step(scores, labels).item(), shift.grad.numpy()
        assert captured(scores, labels).item() == expected
        np.testing.assert_array_equal(shift.grad.numpy(), grad)
    noted = {function for function, _ in captured._replay._step.notes}
    assert not noted & {capturing._forward_again, capturing._backward_again}


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


def test_an_empty_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    captured = capture(lambda x: model(x))
    for _ in range(4):
        assert captured(np.ones((0, 4), np.float32)).shape == (0, 2)


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


def test_a_recording_made_with_zeros_serves_other_numbers():
    data = batches()
    data[1] = np.zeros_like(data[1][0]), data[1][1]
    usual, step = training(NETWORKS["a function of the user's"])
    expected = run(step, data)
    model, step = training(NETWORKS["a function of the user's"])
    captured = capture(step)
    assert_same(model, usual, run(captured, data), expected)
    assert captured.is_recorded


ARITHMETIC = {
    "sum": lambda x: x + x,
    "difference": lambda x: 1 - x,
    "product": lambda x: x * 0.5 * x,
    "negative": lambda x: -x,
    "channels together": lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1),
}


@pytest.mark.parametrize("compute", ARITHMETIC.values(), ids=ARITHMETIC)
def test_arithmetic_is_noted_and_not_run_again(compute):
    leaf = minicnn.randn(1, 3, 1, 1, requires_grad=True)

    def step(x):
        leaf.grad = None
        scores = compute(x * leaf)
        scores.backward(minicnn.Tensor._wrap(weights))
        return scores

    weights = np.ones(compute(minicnn.zeros(2, 3, 4, 4)).shape, np.float32)
    images = [np.random.default_rng(i).standard_normal((2, 3, 4, 4), np.float32) for i in range(5)]
    captured = capture(step)
    for x in images:
        scores, grad = step(Tensor(x)).detach().numpy(), leaf.grad.array
        found = captured(x)
        np.testing.assert_array_equal(found.numpy(), scores)
        np.testing.assert_array_equal(leaf.grad.array, grad)
    noted = [function for function, _ in captured._replay._step.notes]
    assert capturing._forward_again not in noted
