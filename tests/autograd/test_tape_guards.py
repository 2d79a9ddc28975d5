"""What the tape notices: saved arrays that change before backward, and the first NaN."""

import numpy as np
import pytest

from minicnn import Function, Tensor, apply, detect_anomaly, no_grad
from tests.checks import leaf, normal

CHANGED = "changed in place"

# --- changes of saved arrays ----------------------------------------------------------------------


def update_itself(x):
    x += 1


def update_through_a_view(x):
    x[0].fill_(7)


def update_through_a_transpose(x):
    x.T[:, 0].zero_()


def update_through_detach(x):
    x.detach().mul_(2)


def update_through_data(x):
    x.data.add_(1, alpha=0.5)


def update_by_assignment(x):
    x[0, 0] = 5


def update_like_an_optimizer(x):
    x.array -= 0.1 * np.ones(x.shape)
    x.bump_version()


UPDATES = [
    update_itself,
    update_through_a_view,
    update_through_a_transpose,
    update_through_detach,
    update_through_data,
    update_by_assignment,
    update_like_an_optimizer,
]


@pytest.mark.parametrize("update", UPDATES)
def test_a_change_of_a_saved_input_is_noticed(update):
    x = leaf(normal(2, 3))
    y = (x * x).sum()
    with no_grad():
        update(x)
    with pytest.raises(RuntimeError, match=f"backward of Mul: .*{CHANGED}"):
        y.backward()


@pytest.mark.parametrize("update", UPDATES)
def test_a_change_after_backward_is_fine(update):
    x = leaf(normal(2, 3))
    (x * x).sum().backward()
    with no_grad():
        update(x)
    (x * x).sum().backward()


def test_a_change_of_a_saved_result_is_noticed():
    x = leaf(normal(2))
    y = x.exp()
    with no_grad():
        y += 1
    with pytest.raises(RuntimeError, match=f"backward of Exp: .*{CHANGED}"):
        y.sum().backward()


def test_a_change_of_the_memory_under_a_saved_view_is_noticed():
    x = leaf(normal(2, 3))
    y = x.T.exp() * x.T
    with no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


def test_a_change_of_an_input_is_noticed_where_a_view_of_it_was_saved():
    class SquareOfTranspose(Function):
        """Y = (A * A)^T; dL/dA = (2 A^T dL/dY)^T."""

        def forward(self, a):
            self.save(a.T)
            return (a * a).T

        def backward(self, grad):
            (columns,) = self.saved
            return ((2 * grad * columns).T,)

    x = leaf(normal(2, 3))
    y = apply(SquareOfTranspose(), x).sum()
    with no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_a_change_of_the_condition_of_where_does_no_harm():
    x, mask = leaf(normal(3)), Tensor([True, False, True])
    y = x.where(mask, 0)
    mask[1] = True
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 1]


def test_a_change_of_an_index_does_no_harm():
    x, index, array = leaf(normal(3)), Tensor([0, 0]), np.array([2])
    y = x[index].sum() + x[array].sum()
    index += 1
    array[0] = 0
    y.backward()
    assert x.grad.tolist() == [2, 0, 1]


def test_a_change_of_the_indices_of_gather_is_noticed():
    x, index = leaf(normal(3)), Tensor([0, 0])
    y = x.gather(0, index)
    index += 1
    with pytest.raises(RuntimeError, match=f"backward of Gather: .*{CHANGED}"):
        y.sum().backward()


def test_a_change_of_what_was_not_saved_is_fine():
    x, y = leaf(normal(2)), leaf(normal(2))
    z = (x + y).sum()
    with no_grad():
        x += 1
    z.backward()
    assert x.grad.tolist() == [1, 1]


def test_a_change_through_numpy_is_found_in_anomaly_mode():
    x = leaf(normal(2))
    with detect_anomaly():
        y = (x * x).sum()
        x.detach().numpy()[0] = 7
        with pytest.raises(RuntimeError, match=CHANGED):
            y.backward()


# --- anomaly mode ---------------------------------------------------------------------------------


def test_the_first_nan_of_forward_is_named():
    x = leaf(np.array([-1.0]))
    with (
        detect_anomaly(),
        pytest.raises(FloatingPointError, match="forward of Log made the first NaN"),
    ):
        (x + 0).log().exp()


def test_nan_that_came_in_is_not_blamed_on_a_function():
    with detect_anomaly():
        assert Tensor([np.nan]).exp().isnan().all()


def test_the_first_nan_of_backward_is_named_with_the_users_line():
    x = leaf(np.array([0.0]))
    with detect_anomaly():
        y = (x.sqrt() * 0).sum()  # the line that is looked for
        with pytest.raises(FloatingPointError) as caught:
            y.backward()
    message = str(caught.value)
    assert "backward of Sqrt made the first NaN, in the gradient of its input 0" in message
    assert "the line that is looked for" in message
    assert __file__ in message
    assert "minicnn/autograd" not in message.replace(__file__, "")


def test_anomaly_mode_leaves_values_and_gradients_alone():
    def run():
        x = leaf(normal(3))
        y = (x.exp() ** 2).mean() + x.sum().exp()
        y.backward()
        return y.item(), x.grad.tolist()

    plain = run()
    with detect_anomaly():
        assert run() == plain


def test_anomaly_mode_ends_with_its_block():
    with pytest.raises(FloatingPointError), detect_anomaly():
        Tensor([-1.0]).log()
    assert Tensor([-1.0]).log().isnan().all()


def test_a_change_below_a_view_of_a_subclass_is_noticed():
    x = leaf(np.ones((2, 2)).view(np.matrix))
    y = (x.reshape(4) ** 2).sum()
    with no_grad():
        x.zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
