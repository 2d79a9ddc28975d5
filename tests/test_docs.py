"""The documentation is true: its code runs, prints what it says, and names only what exists.

The convention, for all Markdown files in docs/ and for the README. A file is run from top to
bottom, in one namespace, like a notebook:

- A fenced block marked `python` is run. Warnings are errors. What is not to be run is marked otherwise (`text`, `sh`).
- A block marked `output` that comes next shows what the `python` block prints. `...` stands for anything, as in
  doctest; everything else must be there, character by character.
- A `python` block that ends with an exception must be followed by an `output` block. The exception appears there as
  in the last lines of a traceback, `ValueError: ...`, and may be wrapped: the white space of such a block is not
  compared.
- Without an `output` block, nothing is compared: `assert` says what must hold.
"""

import ast
import contextlib
import doctest
import importlib
import io
import itertools
import linecache
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
SOURCES = [*sorted((ROOT / "minicnn").rglob("*.py")), *sorted((ROOT / "kernels").rglob("*.py"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# --- running the blocks ---------------------------------------------------------------------------


class Block(NamedTuple):
    """A fenced block: the language after the fence, its text, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks_of(markdown: str) -> Iterator[Block]:
    """Find the fenced blocks of a page."""
    fence, language, start, lines = "", "", 0, []
    for number, line in enumerate(markdown.splitlines(), start=1):
        if not fence and (opening := re.match(r"(```+)\s*(\w*)", line)):
            fence, language, start, lines = opening[1], opening[2], number + 1, []
        elif fence and line.strip() == fence:
            yield Block(language, "".join(text + "\n" for text in lines), start)
            fence = ""
        else:
            lines.append(line)


def run_page(page: Path) -> None:
    """Run the `python` blocks of a page, and compare what they print with its `output` blocks."""
    blocks = list(blocks_of(page.read_text(encoding="utf-8")))
    namespace = {"__name__": f"docs_{page.stem}"}
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        if block.language != "python":
            continue
        shown = following.text if following is not None and following.language == "output" else None
        printed, error = run_block(block, page, namespace)
        if error is not None and shown is None:
            raise error
        if shown is None:
            continue
        flags = doctest.ELLIPSIS
        if error is not None:
            printed += "".join(traceback.format_exception_only(error))
            flags |= doctest.NORMALIZE_WHITESPACE
        if not doctest.OutputChecker().check_output(shown, printed, flags):
            raise AssertionError(
                f"{page.name}, line {block.line}\n--- the page shows\n{shown}--- the block prints\n{printed}"
            ) from error


def run_block(block: Block, page: Path, namespace: dict) -> tuple[str, Exception | None]:
    """Run one block; return what it printed, and the exception that ended it."""
    linecache.checkcache(str(page))  # tracebacks and anomaly mode show the page's own lines
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        try:
            exec(code, namespace)
        except Exception as error:
            return printed.getvalue(), error
    return printed.getvalue(), None


@every_page
def test_its_blocks_run_and_print_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # files that a block writes
    run_page(page)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n", AssertionError),
        ("```python\nraise ValueError('no')\n```\n\nText.\n", ValueError),
        (
            "```python\nraise ValueError('no')\n```\n\n```output\nValueError: yes\n```\n",
            AssertionError,
        ),
        ("```python\nimport warnings\nwarnings.warn('old')\n```\n", UserWarning),
    ],
    ids=["other output", "an error not shown", "another error", "a warning"],
)
def test_a_wrong_page_is_noticed(text, failure, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(failure):
        run_page(page)


def test_a_right_page_passes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 2\n```\n\n```python\nprint(x, 'and more')\nraise ValueError('a long message')\n```\n\n"
        "```output\n2 and ...\nValueError: a long\n  message\n```\n\n```sh\nnot python\n```\n"
    )
    run_page(page)


# --- what the pages mention -----------------------------------------------------------------------


@every_page
def test_the_files_that_it_names_exist(page):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"(?<![\w/.:-])(?:minicnn|kernels|docs|tests|benchmarks)/[\w./-]*", text)
    missing = [path for path in paths if not (ROOT / path.rstrip(".")).exists()]
    known = {path.name for path in [*SOURCES, *ROOT.glob("tests/**/*.py"), *PAGES, *ROOT.glob("*")]}
    names = re.findall(r"`([\w-]+\.(?:py|md|cfg|toml))`", text)
    missing += [name for name in names if name not in known]
    assert missing == []


@every_page
def test_the_names_that_it_mentions_exist(page):
    names = re.findall(r"\bminicnn(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8"))
    assert [name for name in sorted(set(names)) if not exists(name)] == []


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or what is found in one by attributes."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@every_page
def test_its_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        target
        for target in targets
        if not target.startswith(("https://", "http://")) and not leads_somewhere(page, target)
    ]
    assert broken == []


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a relative link names a file, and its anchor a heading of that file."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path) if path else page
    if not file.exists() or not anchor:
        return file.exists()
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return anchor in [
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
    ]


def test_the_map_lists_every_chapter():
    listed = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    chapters = [
        page.name for page in PAGES if page.parent.name == "docs" and page.name != "README.md"
    ]
    assert [name for name in chapters if f"({name})" not in listed] == []


# --- docstrings, from which the API reference is made ---------------------------------------------


def public(name: str) -> bool:
    return not name.startswith("_")


def documented_methods() -> dict[str, tuple[set[str], set[str]]]:
    """For each class name: the methods that have a docstring, and the names of the bases.

    A function and its layer may share a name (ReLU); what is known of the two is put together.
    """
    classes = {}
    for tree in map(parsed, SOURCES):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods, bases = classes.setdefault(node.name, (set(), set()))
                methods |= {part.name for part in functions_in(node) if ast.get_docstring(part)}
                bases |= {ast.unparse(base).rpartition(".")[2] for base in node.bases} - {node.name}
    return classes


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions_in(node: ast.Module | ast.ClassDef) -> list[ast.FunctionDef]:
    return [part for part in node.body if isinstance(part, ast.FunctionDef)]


def is_inherited(method: str, class_name: str, classes: dict) -> bool:
    """Whether a base class documents the method; pdoc shows that text then."""
    _, bases = classes.get(class_name, (set(), set()))
    return any(
        method in classes.get(base, (set(), set()))[0] or is_inherited(method, base, classes)
        for base in bases
    )


def undocumented(tree: ast.Module, classes: dict) -> Iterator[str]:
    """The public parts of a module without a docstring.

    `forward` and `backward` need none: the docstring of their class is the equation.
    """
    if ast.get_docstring(tree) is None and tree.body:
        yield "the module itself"
    nodes = [part for part in tree.body if isinstance(part, ast.ClassDef)] + functions_in(tree)
    for node in nodes:
        if public(node.name) and ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and public(node.name):
            for method in functions_in(node):
                exempt = method.name in ("forward", "backward") or not public(method.name)
                # a setter shares its name with the property, which has the text
                exempt |= any(
                    ast.unparse(mark).endswith(".setter") for mark in method.decorator_list
                )
                exempt |= is_inherited(method.name, node.name, classes)
                if not exempt and ast.get_docstring(method) is None:
                    yield f"{node.name}.{method.name}"


def test_what_is_public_has_a_docstring():
    classes = documented_methods()
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in undocumented(parsed(path), classes)
    ]
    assert missing == []


def test_a_missing_docstring_is_noticed():
    source = '"""M."""\ndef f(): ...\nclass A:\n  """A."""\n  def g(self): ...\n  def __len__(self): ...\n'
    assert list(undocumented(ast.parse(source), {})) == ["A.g", "f"]
