"""Float32 outputs and gradients beside torchvision's: a few networks on small images, and the results of all.

The comparison itself needs torchvision; without it, only the results file is tested. Gradients are compared
without kinks: with ReLUs, two correct float32 programs differ by whole decisions, see the script.
"""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision_tables import emphasised, page, short_table

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks/results/torchvision_agreement.json").read_text())
NETWORKS = RESULTS["networks"]


@pytest.fixture
def script(torch):
    """The module; the test is skipped where torchvision is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what reads images, which nobody does here
        pytest.importorskip("torchvision.models")
    import torchvision_agreement

    return torchvision_agreement


@pytest.mark.parametrize(
    "name", ["resnet18", "googlenet", "squeezenet1_0", "mobilenet_v2", "regnet_x_400mf"]
)
def test_float32_outputs_and_smooth_gradients(script, name):
    """In exact precision: within 1e-4 of PyTorch's, or as near to the truth as PyTorch's are, but for a factor."""
    found = script.measure(name, replace(script.NETWORKS[name], side=64), batch=4)
    for mode in script.MODES:
        near(found[mode]["outputs"])
    near({pair: entry["largest"] for pair, entry in found["smooth"]["gradients"].items()})


def near(distances):
    assert distances["exact to PyTorch"] < max(1e-4, 4 * distances["PyTorch to float64"])
    assert distances["exact to float64"] < max(1e-4, 3 * distances["PyTorch to float64"])


def test_all_networks_were_measured(script):
    assert list(NETWORKS) == list(script.NETWORKS)


def test_smooth_functions_have_no_kinks(script):
    with script.smoothed():
        for library, tensor in ((script.nn, script.Tensor), (script.torch.nn, script.torch.tensor)):
            x = tensor([[[[-1.0, 3.0], [0.0, 8.0]]]])
            assert library.ReLU()(x).flatten()[0].item() == pytest.approx(-0.26894, rel=1e-4)
            assert library.ReLU6()(x).flatten()[3].item() == pytest.approx(
                8 / (1 + 2.718281828**-8)
            )
            assert library.MaxPool2d(2)(x).item() == 2.5
    assert script.nn.ReLU()(script.Tensor([-1.0])).item() == 0


# --- the tables, which need neither ---------------------------------------------------------------


def test_the_results_file_shows_the_numbers():
    text = (ROOT / "benchmarks/results/torchvision_agreement.md").read_text()
    assert text == page(RESULTS)


def test_the_documentation_shows_the_short_table():
    assert short_table(NETWORKS) in (ROOT / "docs/10-architectures.md").read_text()


def test_in_exact_precision_all_outputs_and_smooth_gradients_were_within_the_goal():
    for row in NETWORKS.values():
        for mode in ("eval", "train", "smooth"):
            assert row[mode]["outputs"]["exact to PyTorch"] < 1e-4
        assert row["smooth"]["gradients"]["exact to PyTorch"]["largest"] < 1e-4


def test_what_is_more_than_the_goal_is_bold():
    assert emphasised(9.9e-5) == "9.9e-05"
    assert emphasised(1.2e-4) == "**1.2e-04**"
    assert emphasised(float("nan")) == "**nan**"
