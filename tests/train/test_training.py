"""The training loop: it learns, it repeats itself, it stops in words."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.autograd import Tensor
from minicnn.data import DataLoader, TensorDataset, load_fashion_mnist_sample
from minicnn.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from minicnn.train import EarlyStopping, fit, mean_absolute_error
from minicnn.train.evaluation import evaluate


def blobs(n=60):
    """Three clouds of points in the plane: an easy task of three classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]], "f4")
    return (centres[labels] + 0.3 * rng.standard_normal((n, 2))).astype("f4"), labels


def network(dropout=0.0):
    return nn.Sequential(nn.Linear(2, 8), nn.Dropout(dropout), nn.Linear(8, 3))


def quiet_fit(model, data, *args, **settings):
    return fit(
        model, data, *args, **({"epochs": 2, "batch_size": 20, "progress": False} | settings)
    )


# --- learning -------------------------------------------------------------------------------------


def test_a_classifier_learns():
    model = network()
    history = quiet_fit(
        model, blobs(), blobs(30), epochs=20, optimizer=optim.Adam(model.parameters(), 0.05)
    )
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert history.epochs == 20
    assert history["val_accuracy"][-1] == 1
    assert history["loss"][-1] < 0.1 < history["loss"][0]


def test_a_regression_learns():
    x = np.linspace(-1, 1, 40, dtype="f4")[:, None]
    model = nn.Linear(1, 1)
    history = quiet_fit(
        model, (x, 3 * x), epochs=30, loss=nn.MSELoss(), metrics={"mae": mean_absolute_error},
        optimizer=optim.SGD(model.parameters(), 0.5),
    )  # fmt: skip
    assert list(history) == ["loss", "mae", "lr", "seconds"]
    assert history["mae"][-1] < 0.01


def test_one_step_is_the_optimizers_step():
    model, (x, y) = network(), blobs(20)
    twin = network()
    twin.load_state_dict(model.state_dict())
    quiet_fit(model, (x, y), epochs=1, optimizer=optim.SGD(model.parameters(), 0.1))
    loss = nn.functional.cross_entropy(twin(Tensor(x)), y)
    loss.backward()
    optim.SGD(twin.parameters(), 0.1).step()
    for ours, expected in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.array, expected.array, rtol=1e-5, atol=1e-7)


def test_the_loss_of_an_epoch_averages_over_examples():
    model, data = network(), blobs(25)  # batches of 20 and 5
    expected = evaluate(model, data)
    still = optim.SGD(model.parameters(), 0.0)
    history = quiet_fit(model, data, epochs=1, optimizer=still)
    assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-5)
    assert history["accuracy"][0] == pytest.approx(expected["accuracy"])


def test_a_loader_keeps_its_batches():
    sizes = []
    loader = DataLoader(TensorDataset(*blobs()), batch_size=7, drop_last=True)

    def loss(outputs, targets):
        sizes.append(len(targets))
        return nn.functional.cross_entropy(outputs, targets)

    quiet_fit(network(), loader, epochs=1, loss=loss)
    assert sizes == [7] * 8


def test_ignored_labels_count_neither_in_the_loss_nor_in_the_accuracy():
    model, (x, y) = network(), blobs(20)
    expected = evaluate(model, (x[5:], y[5:]))
    y[:5] = -100
    still = optim.SGD(model.parameters(), 0.0)
    history = quiet_fit(model, (x, y), (x, y), epochs=1, optimizer=still)
    for measure in ("loss", "accuracy"):
        assert history[measure] == pytest.approx([expected[measure]])
        assert history[f"val_{measure}"] == pytest.approx([expected[measure]])


def test_a_last_batch_of_one_example_is_left_out():
    sizes = []

    def loss(outputs, targets):
        sizes.append(len(targets))
        return nn.functional.cross_entropy(outputs, targets)

    for n, batch_size in [(41, 20), (42, 20), (1, 20), (3, 1)]:
        quiet_fit(network(), blobs(n), epochs=1, loss=loss, batch_size=batch_size)
    assert sizes == [20, 20, *[20, 20, 2], 1, *[1, 1, 1]]


def test_every_example_is_measured():
    sizes = []

    def loss(outputs, targets):
        sizes.append(len(targets))
        return nn.functional.cross_entropy(outputs, targets)

    evaluate(network(), blobs(21), batch_size=20, loss=loss)
    assert sizes == [20, 1]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_list_of_examples_is_a_dataset(n):
    examples = [(x, int(y)) for x, y in zip(*blobs(n), strict=True)]
    assert quiet_fit(network(), examples).epochs == 2


def test_a_pair_of_unequal_lengths_is_refused():
    x, y = blobs(20)
    with pytest.raises(ValueError, match=r"the same N, got \(20, 2\), \(19,\)"):
        quiet_fit(network(), [x, y[1:]])


def test_examples_are_shuffled_anew_every_epoch():
    seen = []

    def loss(outputs, targets):
        seen.append(targets.tolist())
        return nn.functional.mse_loss(outputs, targets)

    x = np.arange(10, dtype="f4")[:, None]
    quiet_fit(nn.Linear(1, 1), (x, x), loss=loss)
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1]) == x.tolist()


def test_the_same_seed_gives_the_same_bits():
    results = []
    for _ in range(2):
        minicnn.manual_seed(1)
        model = network(dropout=0.5)
        history = quiet_fit(model, blobs(), seed=7)
        results.append((history["loss"], model[0].weight.array.tobytes()))
        minicnn.random.generator().random(3)  # what happens elsewhere does not matter
    assert results[0] == results[1]


def test_another_seed_gives_other_numbers():
    losses = []
    for seed in (1, 2):
        minicnn.manual_seed(1)
        losses.append(quiet_fit(network(dropout=0.5), blobs(), seed=seed)["loss"])
    assert losses[0] != losses[1]


def test_modes_are_as_before():
    model = network(0.5).eval()
    model[2].train()
    trained_in = []
    model.register_forward_hook(lambda module, inputs, output: trained_in.append(module.training))
    quiet_fit(model, blobs(20), blobs(20), epochs=1)
    assert trained_in == [True, False]
    assert [module.training for module in model.modules()] == [False, False, False, True]


def test_validation_does_not_train():
    model, (x, y) = nn.BatchNorm1d(2), blobs(20)
    optimizer = optim.SGD(model.parameters(), 0.0)
    quiet_fit(model, (x, y % 2), (x + 100, y % 2), epochs=1, optimizer=optimizer)
    assert abs(model.running_mean.array).max() < 1


def test_frozen_parameters_stay():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.array.copy()
    quiet_fit(model, blobs(), clip_norm=1.0)
    np.testing.assert_array_equal(model[0].weight.array, before)


# --- schedules, stopping, callbacks ---------------------------------------------------------------


def test_a_schedule_steps_every_epoch():
    model = network()
    optimizer = optim.SGD(model.parameters(), 1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    history = quiet_fit(model, blobs(), epochs=3, optimizer=optimizer, scheduler=scheduler)
    assert history["lr"] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("step", [None, "batch"])
def test_one_cycle_steps_every_batch(step):
    optimizer = optim.Adam((model := network()).parameters())
    scheduler = OneCycleLR(optimizer, 0.1, epochs=2, steps_per_epoch=3)
    quiet_fit(model, blobs(), scheduler=scheduler, scheduler_step=step)
    assert scheduler.last_epoch == 6


@pytest.mark.parametrize(("mode", "measure"), [("min", "val_loss"), ("max", "val_accuracy")])
def test_plateau_follows_the_validation_data(mode, measure):
    optimizer = optim.SGD((model := network()).parameters(), 0.1)
    scheduler = ReduceLROnPlateau(optimizer, mode=mode)
    history = quiet_fit(
        model, blobs(), blobs(30), optimizer=optimizer, scheduler=scheduler, epochs=1
    )
    assert scheduler.best == history[measure][0]


def test_plateau_without_an_accuracy_to_follow_says_so():
    optimizer = optim.SGD((model := nn.Linear(2, 2)).parameters(), 0.1)
    x = blobs()[0]
    with pytest.raises(ValueError, match="follows the accuracy, which is not measured"):
        quiet_fit(model, (x, x), loss=nn.MSELoss(), scheduler=ReduceLROnPlateau(optimizer, "max"))


def test_early_stopping_ends_training_with_the_best_weights():
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.0)  # no change, so no improvement
    history = quiet_fit(
        model, blobs(), blobs(30), epochs=50, optimizer=optimizer,
        early_stopping=EarlyStopping(patience=2),
    )  # fmt: skip
    assert history.epochs == 3


def test_early_stopping_by_validation_data_that_is_missing_is_refused_at_once():
    model = network()
    before = model[0].weight.array.copy()
    with pytest.raises(ValueError, match="'val_loss' to stop by needs validation_data"):
        quiet_fit(model, blobs(), early_stopping=EarlyStopping())
    np.testing.assert_array_equal(model[0].weight.array, before)


def test_a_lazy_model_learns():
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    history = quiet_fit(model, blobs(), epochs=5)
    assert history["loss"][-1] < history["loss"][0]


def test_the_callback_sees_every_epoch():
    seen = []
    history = quiet_fit(
        network(), blobs(), callback=lambda n, record: seen.append((n, record["loss"]))
    )
    assert seen == list(enumerate(history["loss"], start=1))


def test_ctrl_c_is_raised_with_modes_restored():
    model = network().eval()

    def interrupt(epoch, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet_fit(model, blobs(), callback=interrupt)
    assert not model.training


# --- numbers that go wrong ------------------------------------------------------------------------


def test_gradients_are_limited():
    model, data = network(), blobs(20)
    before = model[0].weight.array.copy()
    quiet_fit(model, data, epochs=1, clip_norm=1e-3, optimizer=optim.SGD(model.parameters(), 1.0))
    assert 0 < np.linalg.norm(model[0].weight.array - before) <= 1e-3


def test_a_gradient_that_is_not_finite_is_named():
    model = network()
    model[2].weight.register_hook(lambda gradient: gradient * float("nan"))
    before = model[2].weight.array.copy()
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1: .*gradient of 2\.weight"):
        quiet_fit(model, blobs(), clip_norm=1.0)
    np.testing.assert_array_equal(model[2].weight.array, before)


def test_bad_data_is_blamed():
    x, y = blobs()
    x[3] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"epoch 1, batch \d: the loss is nan; the batch itself"
    ):
        quiet_fit(network(), (x, y))


def test_a_broken_parameter_is_blamed():
    model = network()
    model[2].bias.array[0] = np.inf
    with pytest.raises(FloatingPointError, match=r"already in 2\.bias.*clip_norm=1\.0"):
        quiet_fit(model, blobs())


def test_overflow_in_between_is_blamed_on_the_numbers():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    model[0].weight.array[...] = 1e30
    x = np.full((4, 1), 1e20, "f4")
    with pytest.raises(
        FloatingPointError, match="the loss is nan; batch and parameters are finite"
    ):
        quiet_fit(model, (x, x), loss=nn.MSELoss())


# --- arguments ------------------------------------------------------------------------------------


def test_no_epoch_is_refused():
    with pytest.raises(ValueError, match="fit: epochs: expected a number >= 1, got 0"):
        quiet_fit(network(), blobs(), epochs=0)


def test_a_part_of_an_epoch_is_refused():
    with pytest.raises(TypeError, match=r"fit: epochs: expected a whole number, got 2\.5"):
        quiet_fit(network(), blobs(), epochs=2.5)


def test_inputs_and_targets_that_are_no_pair_are_refused():
    with pytest.raises(TypeError, match=r"fit: train_data: .*\(60, 2\); .*\(inputs, targets\)"):
        quiet_fit(network(), *blobs())


def test_images_as_published_must_be_prepared():
    with pytest.raises(TypeError, match=r"got ImageData; use the parts of prepare\(data\)"):
        quiet_fit(network(), load_fashion_mnist_sample())


@pytest.mark.parametrize("part", ["train_data", "validation_data"])
def test_empty_data_is_refused(part):
    empty = (np.zeros((0, 2), "f4"), np.zeros(0, int))
    data = (empty,) if part == "train_data" else (blobs(), empty)
    with pytest.raises(ValueError, match=f"fit: {part}: there is no batch"):
        quiet_fit(network(), *data)


def test_a_loader_of_unknown_length_that_is_empty_is_refused():
    class Empty:
        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="fit: train_data: there is no batch"):
        quiet_fit(network(), Empty())


def test_a_loss_for_each_example_is_refused():
    with pytest.raises(ValueError, match=r"got shape \(20,\); use reduction='mean'"):
        quiet_fit(network(), blobs(), loss=nn.CrossEntropyLoss(reduction="none"))


def test_a_model_that_is_frozen_as_a_whole_is_refused():
    model = network()
    model.freeze()
    with pytest.raises(ValueError, match=r"parameters are frozen, .* model.unfreeze"):
        quiet_fit(model, blobs())


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="holds no parameter of this model"):
        quiet_fit(network(), blobs(), optimizer=optim.Adam(network().parameters()))


def test_a_schedule_of_another_optimizer_is_refused():
    model = network()
    one, other = optim.Adam(model.parameters()), optim.Adam(model.parameters())
    with pytest.raises(ValueError, match="the rates of another optimizer"):
        quiet_fit(model, blobs(), optimizer=one, scheduler=StepLR(other, 1))


@pytest.mark.parametrize("settings", [{"epochs": -1}, {"scheduler_step": "week"}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        quiet_fit(network(), blobs(), **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer: expected an Optimizer, such as .*, got 'adam'"),
        ({"scheduler": "cosine"}, "scheduler: expected a schedule of .*, got 'cosine'"),
    ],
)
def test_names_in_place_of_objects_are_refused(options, message):
    data = np.zeros((4, 3), "float32"), np.zeros(4, int)
    with pytest.raises(TypeError, match=message):
        fit(nn.Linear(3, 2), data, epochs=1, progress=False, **options)
