"""The state of a module: sharing, loading, refusing what does not fit without changing anything."""

import numpy as np
import pytest

import minicnn
from minicnn import nn
from tests.nn.test_module import TwoLayers, build, net


def test_state_dict_shares_memory():
    module = TwoLayers()
    module.state_dict()["first.bias"].fill_(7)
    assert module.first.bias.tolist() == [7, 7]


def test_load_state_dict_copies():
    source, target = net(), net()
    for tensor in source.state_dict().values():
        tensor.fill_(3)
    keys = target.load_state_dict(source.state_dict())
    assert keys == ([], [])
    source.offset.data.fill_(4)
    assert all((tensor.array == 3).all() for tensor in target.state_dict().values())


def test_load_state_dict_takes_arrays_and_keeps_dtypes():
    module = TwoLayers()
    state = {name: np.full(t.shape, 2.0) for name, t in module.state_dict().items()}
    module.load_state_dict(state)
    assert module.first.weight.dtype == np.float32
    assert module.first.weight.tolist() == [[2, 2, 2]] * 2


def test_load_state_dict_is_noticed_by_backward():
    module = TwoLayers()
    y = module(minicnn.ones(1, 3))
    module.load_state_dict(module.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_a_state_that_does_not_fit_changes_nothing():
    module = TwoLayers()
    before = {name: t.array.copy() for name, t in module.state_dict().items()}
    state = {name: np.zeros(t.shape) for name, t in module.state_dict().items()}
    del state["first.bias"]
    state["third.bias"] = np.zeros(1)
    state["second.weight"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="does not fit") as caught:
        module.load_state_dict(state)
    text = str(caught.value)
    assert "missing: first.bias (2,)" in text
    assert "unexpected: third.bias" in text
    assert "second.weight: expected shape (1, 2), got float64 of shape (2, 2)" in text
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])


def test_strict_false_loads_what_fits_in_name():
    module = TwoLayers()
    state = {"first.bias": np.full(2, 5.0), "third": np.zeros(1)}
    keys = module.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["first.weight", "second.weight", "second.bias"]
    assert keys.unexpected_keys == ["third"]
    assert module.first.bias.tolist() == [5, 5]
    with pytest.raises(ValueError, match=r"first\.bias"):
        module.load_state_dict({"first.bias": np.zeros(3)}, strict=False)


def test_numbers_beyond_the_dtype_of_the_network_are_refused():
    module = TwoLayers()
    before = {name: t.array.copy() for name, t in module.state_dict().items()}
    state = {name: np.ones(t.shape) for name, t in module.state_dict().items()}
    state["second.weight"] = np.array([[np.inf, -1e39]])
    with pytest.raises(
        ValueError, match=r"second\.weight: float64 .* up to 1e\+39, which float32 can"
    ):
        module.load_state_dict(state)
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[name])


def test_infinity_and_nan_are_no_numbers_beyond_a_dtype():
    module = TwoLayers()
    state = {
        "second.weight": np.array([[np.inf, np.nan]]),
        "first.bias": np.array([3.4e38, -1e-60]),
    }
    module.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(module.second.weight.array, np.float32(state["second.weight"]))
    np.testing.assert_array_equal(module.first.bias.array, np.float32(state["first.bias"]))


def test_load_state_dict_refuses_what_is_no_state():
    with pytest.raises(TypeError, match="mapping of names to tensors, got TwoLayers"):
        TwoLayers().load_state_dict(TwoLayers())
    state = {name: np.full(t.shape, "x") for name, t in TwoLayers().state_dict().items()}
    with pytest.raises(ValueError, match="got <U1 of shape"):
        TwoLayers().load_state_dict(state)


def test_load_state_dict_says_how_to_read_a_file():
    with pytest.raises(TypeError, match=r"got str; .* minicnn\.load_weights\(model, path\)"):
        TwoLayers().load_state_dict("weights.npz")


def test_torch_weights_can_be_loaded(torch):
    mine, twin = net(), build(torch.nn, torch.ones)
    mine.load_state_dict(twin.state_dict())
    for name, tensor in twin.state_dict().items():
        np.testing.assert_array_equal(mine.state_dict()[name].array, tensor.numpy())


def test_long_lists_are_cut_short():
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))
    with pytest.raises(ValueError, match="and 10 more missing") as caught:
        network.load_state_dict({"another": np.zeros(1)})
    assert "no name fits: this is the state of another network" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 15
