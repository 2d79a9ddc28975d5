"""Captured steps with several updates, and with what writes to parameters beside an optimizer."""

import pytest

from minicnn import nn, no_grad, optim
from minicnn.nn import functional as F
from minicnn.nn.utils import parameters_to_vector, vector_to_parameters
from tests.test_captured_changes import batches, both_ways, dense, trained


def test_gradients_that_are_forgotten_after_the_first_of_two_optimizers_has_run():
    """As in the training of a generator and its critic, whose temporary arrays must not lie where the gradients do."""

    def train(wrap):
        maker = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 20))
        critic = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1))
        of_both = [*maker.parameters(), *critic.parameters()]
        first, second = optim.SGD(of_both, lr=0.01), optim.Adam(maker.parameters(), lr=0.01)

        def step(x, _):
            critic.zero_grad()
            made = maker(x)
            lost = (critic(made.detach()) - critic(x)).mean()
            lost.backward()
            first.step()  # which still finds the maker's gradients of the step before
            second.zero_grad()
            won = -critic(maker(x)).mean()
            won.backward()
            second.step()
            return lost, won

        step = wrap(step)
        results = [result for batch in batches() for result in step(*batch)]
        assert getattr(step, "is_recorded", True)
        return [*results, *of_both, *(p.grad for p in of_both)]

    both_ways(train)


def test_an_update_that_is_computed_in_two_passes():
    def train(wrap):
        model = dense()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            for _ in range(2):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
            return loss

        step = wrap(step)
        losses = [step(*batch) for batch in batches()]
        assert getattr(step, "is_recorded", True)
        return [*losses, *model.parameters(), *(p.grad for p in model.parameters())]

    both_ways(train)


def shrunk(model, _):
    with no_grad():
        vector_to_parameters(0.9 * parameters_to_vector(model.parameters()), model.parameters())


AFTER_THE_UPDATE = {
    "vector_to_parameters": shrunk,
    "load_state_dict": lambda model, other: other.load_state_dict(model.state_dict()),
    "init": lambda model, _: nn.init.zeros_(model[0].bias),
}


@pytest.mark.parametrize("write", AFTER_THE_UPDATE)
def test_what_writes_to_parameters_after_the_update_does_so_in_each_step(write):
    def train(wrap):
        model, other = dense(), dense()
        usual = trained(model, optim.SGD(model.parameters(), lr=0.1))

        def step(x, y):
            loss = usual(x, y)
            AFTER_THE_UPDATE[write](model, other)
            return loss

        step = wrap(step)
        losses = [step(*batch) for batch in batches()]
        assert getattr(step, "is_recorded", True)
        return [*losses, *model.parameters(), *other.parameters()]

    both_ways(train)
