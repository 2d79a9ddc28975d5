"""Imports run one way, heavy libraries are imported when they are needed, and the start is quick."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "minicnn"
KERNELS = ROOT / "kernels"

FLOORS = [
    {"kernels", "files", "archives"},
    {"ahead", "deferred", "random"},
    {"backend"},
    {"cuda"},
    {"ops"},
    {"autograd"},
    {"nn.functional", "gradcheck_report", "graph"},
    {"nn", "serialization", "gradcheck"},
    {"optim", "data", "models", "weights", "rehearsal"},
    {"replay"},
    {"graphs", "recurrence"},
    {"captured"},
    {"train", "plot"},
    {"costs"},
    {"summary", "trained", "arguments", "photograph"},
    {"the public face"},  # what minicnn/__init__.py offers: `from minicnn import Tensor`
    {"commands"},
    {"cli"},
    {"__main__"},
]
"""Who lives where: a module imports from its own package and from the floors below."""

LAZY = {"numba", "cupy", "cupyx", "matplotlib", "PIL", "safetensors", "tqdm", "http", "urllib"}
"""What a function may import when it is called: heavy, or not installed everywhere."""


def module_of(path: Path) -> str:
    """Return the module's name below minicnn: minicnn/nn/conv.py is nn.conv."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def unit_of(module: str) -> str:
    """Return the entry of FLOORS that a module belongs to."""
    if module.startswith("nn.functional"):
        return "nn.functional"
    first = module.split(".")[0]
    exists = (HOUSE / first).exists() or (HOUSE / f"{first}.py").exists()
    return first if exists else "the public face"


def floor_of(module: str) -> int:
    """Return on which floor a module, or a name in one, lives."""
    unit = unit_of(module)
    floors = [i for i, units in enumerate(FLOORS) if unit in units]
    assert floors, f"minicnn.{module} has no floor: give it one in this test"
    return floors[0]


def sources(folder: Path) -> list[Path]:
    """Return the Python files below a folder, without those of the kernels, which are linked in."""
    return [
        path
        for path in sorted(folder.rglob("*.py"))
        if folder != HOUSE or "kernels" not in path.relative_to(HOUSE).parts
    ]


def imports_of(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield a file's import statements, but for those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        yield from imports_of(node)


def names_in(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the full names of what a statement imports."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    dots = "." * statement.level
    return [f"{dots}{statement.module or ''}.{alias.name}" for alias in statement.names]


def house_modules() -> list[Path]:
    return [path for path in sources(HOUSE) if module_of(path)]  # without minicnn/__init__.py


@pytest.mark.parametrize("path", house_modules(), ids=module_of)
def test_imports_run_one_way(path):
    module = module_of(path)
    for statement in imports_of(ast.parse(path.read_text())):
        for name in names_in(statement):
            assert not name.startswith("."), f"line {statement.lineno}: write minicnn.{name[1:]}"
            if not name.startswith("minicnn."):
                continue
            target = name.removeprefix("minicnn.")
            own = unit_of(target) == unit_of(module)
            assert own or floor_of(target) < floor_of(module), (
                f"minicnn.{module}, line {statement.lineno}: imports minicnn.{target}, which lives "
                "on the same floor or above"
            )


@pytest.mark.parametrize("path", sources(KERNELS), ids=lambda path: path.name)
def test_kernels_know_nothing_of_the_house(path):
    for statement in imports_of(ast.parse(path.read_text())):
        for name in names_in(statement):
            assert name.split(".")[0] != "minicnn", f"line {statement.lineno}: {name}"


@pytest.mark.parametrize(
    "path", [*house_modules(), *sources(KERNELS)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_functions_import_only_what_is_heavy(path):
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for statement in imports_of(function):
            for name in names_in(statement):
                lazy_kernel = KERNELS in path.parents and name.lstrip(".").startswith("cpu.")
                assert name.split(".")[0] in LAZY or lazy_kernel, (
                    f"{path.name}, {function.name}: imports {name} when called"
                )


def run_python(program: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_import_minicnn_loads_nothing_heavy():
    program = "import sys, json, minicnn; print(json.dumps(list(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(run_python(program))}
    heavy = {*LAZY, "torch", "scipy", "PIL", "pandas"} - {"urllib"}  # pathlib needs urllib.parse
    assert not loaded & heavy


def test_import_minicnn_is_quick():
    program = (
        "import time, numpy; start = time.process_time(); import minicnn; "
        "print(time.process_time() - start)"
    )
    best = min(float(run_python(program)) for _ in range(3))
    assert best < 0.5  # seconds of CPU time; NumPy's own import is not counted
