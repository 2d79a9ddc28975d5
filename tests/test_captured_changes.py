"""What changes between the calls of a captured step, or around them, counts as without a capture."""

import gc
import threading
import warnings
import weakref

import numba
import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, optim
from minicnn.captured import capture
from minicnn.nn import functional as F
from minicnn.nn.utils import clip_grad_norm_
from minicnn.train import fit

FROM = 5
"""The batch from which on something is different; the step is recorded long before."""


def batches(shape=(8, 20), classes=4, count=8):
    """Batches of inputs and labels, all of them different."""
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal(shape).astype(np.float32), rng.integers(0, classes, shape[0]))
        for _ in range(count)
    ]


def dense():
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


def trained(model, optimizer, loss=F.cross_entropy):
    """A usual step."""

    def step(x, y):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return step


def both_ways(train):
    """Run train(wrap), which returns arrays or tensors, without and with capture; assert that the bits are the same."""
    found = []
    for wrap in (lambda step: lambda *inputs: step(*map(Tensor, inputs)), capture):
        minicnn.manual_seed(0)
        results = train(wrap)
        found.append(
            [r.detach().numpy().copy() if isinstance(r, Tensor) else np.array(r) for r in results]
        )
    for number, (usual, captured) in enumerate(zip(*found, strict=True)):
        np.testing.assert_array_equal(captured, usual, err_msg=f"result {number}")


def replace_part(model):
    model[2] = nn.Linear(16, 4)


def replace_parameter(model):
    model[2].weight = nn.Parameter(model[2].weight.array * 0.5)


def change_setting(model):
    model[1].p = 0.6


def hook(model):
    model[0].weight.register_hook(lambda gradient: gradient * 0.5)


@pytest.mark.filterwarnings("ignore:capture")
@pytest.mark.parametrize("change", [replace_part, replace_parameter, change_setting, hook])
def test_changes_of_the_model_count(change):
    def train(wrap):
        model = nn.Sequential(nn.Linear(20, 16), nn.Dropout(0.2), nn.Linear(16, 4))
        step = wrap(lambda x, y: trained(model, optimizer)(x, y))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for number, batch in enumerate(batches()):
            if number == FROM:
                change(model)
                optimizer = optim.SGD(model.parameters(), lr=0.1)
            losses.append(step(*batch))
        return losses + list(model.parameters())

    both_ways(train)


@pytest.mark.parametrize("is_forgotten", [True, False], ids=["forgotten", "added up"])
def test_gradients_that_get_another_array_between_steps(is_forgotten):
    def train(wrap):
        model = dense()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            if is_forgotten:
                optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step, losses = wrap(step), []
        for number, batch in enumerate(batches()):
            losses.append(step(*batch))
            if number == FROM:
                gradient = model[0].weight.grad
                gradient.data = gradient.data * 0.5
        return losses + list(model.parameters())

    both_ways(train)


def test_parts_that_a_step_does_not_use_lose_the_gradients_of_another_step():
    def train(wrap):
        body, heads = nn.Linear(20, 16), [nn.Linear(16, 4), nn.Linear(16, 4)]
        parameters = [p for part in (body, *heads) for p in part.parameters()]
        optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
        steps = [wrap(trained(nn.Sequential(body, head), optimizer)) for head in heads]
        return [step(*batch) for batch in batches() for step in steps] + parameters

    both_ways(train)


def test_an_update_with_the_gradients_of_the_batch_before():
    def train(wrap):
        model = dense()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.step()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        data = batches()
        data[FROM] = data[FROM][0][:3], data[FROM][1][:3]  # runs as usual
        step = wrap(step)
        return [step(*batch) for batch in data] + list(model.parameters())

    both_ways(train)


def test_a_step_may_freeze_and_unfreeze():
    def train(wrap):
        generator, critic = nn.Linear(20, 20), dense()
        optimizers = [optim.Adam(part.parameters(), lr=0.01) for part in (generator, critic)]

        def fool(x, y):
            critic.requires_grad_(False)
            critic.eval()
            loss = trained(nn.Sequential(generator, critic), optimizers[0])(x, y)
            critic.train()
            critic.requires_grad_(True)
            return loss

        steps = wrap(fool), wrap(trained(critic, optimizers[1]))
        losses = [step(*batch) for batch in batches() for step in steps]
        assert all(module.training for module in critic.modules())
        return [*losses, *generator.parameters(), *critic.parameters()]

    both_ways(train)


def test_the_norm_of_the_gradients_is_new_in_each_step():
    def train(wrap):
        model = dense()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            norm = clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return norm, norm * 2

        step = wrap(step)
        return [norm for batch in batches() for norm in step(*batch)]

    both_ways(train)


def test_the_loss_of_a_closure_is_new_in_each_step():
    def train(wrap):
        model = dense()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            def closure():
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            return optimizer.step(closure)

        step = wrap(step)
        return [step(*batch) for batch in batches()]

    both_ways(train)


def test_tensors_that_are_made_anew_for_the_next_step_are_noticed():
    def train(wrap):
        model, state = dense(), {"mean": minicnn.zeros(4)}

        def step(x, _):
            state["mean"] = (state["mean"] * 0.9 + model(x).mean(0) * 0.1).detach()
            return state["mean"] * 1

        step = wrap(step)
        return [step(*batch) for batch in batches()]

    with pytest.warns(RuntimeWarning, match="kept outside"):
        both_ways(train)


def test_a_step_that_gets_its_batch_from_elsewhere_is_noticed():
    data = iter([(Tensor(x), Tensor(y)) for x, y in batches()])
    model = dense()

    def loss():
        x, y = next(data)
        return F.cross_entropy(model(x), y)

    step = capture(loss)
    with pytest.warns(RuntimeWarning, match="other numbers"):
        losses = [step().item() for _ in range(FROM)]
    assert len(set(losses)) == FROM


def test_the_order_of_an_input_in_memory_counts():
    def train(wrap):
        layer = nn.Dropout(0.5)
        drop = wrap(lambda x: layer(x))
        return [
            drop(
                x
                if i < FROM
                else np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            )
            for i, (x, _) in enumerate(batches((4, 3, 6, 6)))
        ]

    both_ways(train)


def test_results_have_the_order_in_memory_that_the_step_gives_them():
    layer = nn.Conv2d(3, 8, 3)
    inputs = [x for x, _ in batches((2, 3, 6, 6))]
    step = capture(layer)
    assert all(step(x).array.strides == layer(Tensor(x)).array.strides for x in inputs)


def test_the_number_of_threads_counts():
    def train(wrap):
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16 * 196, 4)
        )
        step = wrap(trained(model, optim.SGD(model.parameters(), lr=0.1)))
        losses = []
        for number, batch in enumerate(batches((16, 3, 16, 16))):
            numba.set_num_threads(1 if number < FROM else threads)
            losses.append(step(*batch))
        return losses + list(model.parameters())

    threads = numba.get_num_threads()
    try:
        both_ways(train)
    finally:
        numba.set_num_threads(threads)


def test_two_threads_use_one_captured_function():
    model = dense()
    data = [x for x, _ in batches(count=40)]
    step = capture(model)
    for x in data[:4]:
        step(x)
    expected = [model(Tensor(x)).detach().numpy() for x in data]
    wrong = []

    def work():
        for x, scores in zip(data * 5, expected * 5, strict=True):
            if not np.array_equal(step(x).numpy(), scores):
                wrong.append(x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_labels_that_are_ignored_in_some_batches_only():
    def train(wrap):
        model = dense()
        step = wrap(trained(model, optim.SGD(model.parameters(), lr=0.1), nll))
        data = batches()
        for _, labels in data[FROM:]:
            labels[:3] = -1
        return [step(*batch) for batch in data] + list(model.parameters())

    def nll(scores, labels):
        return F.nll_loss(scores.log_softmax(1), labels, ignore_index=-1)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="capture")
        both_ways(train)


def test_after_training_nothing_waits_for_the_search_for_cycles():
    gc.collect()
    gc.disable()
    try:
        model = dense()
        inputs, labels = batches((64, 20))[0]
        fit(model, (inputs, labels), epochs=2, batch_size=8, progress=False, capture=True)
        assert all(p.grad is not None for p in model.parameters())
        is_there = weakref.ref(model)
        del model
        assert is_there() is None
    finally:
        gc.enable()


def test_released_gradients_stay_what_they_were():
    model = dense()
    step = capture(trained(model, optim.SGD(model.parameters(), lr=0.1)))
    for batch in batches():
        step(*batch)
    before = [p.grad.array.copy() for p in model.parameters()]
    step.release()
    assert not step.is_recorded
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad.array, gradient)
        assert parameter.grad.array.base is None
