"""What is installed: setup.cfg has to list every package, as its folders cannot be found by themselves."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def settings():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_package_is_installed():
    listed = settings()["options"]["packages"].split()
    files = [*(ROOT / "minicnn").rglob("__init__.py"), *(ROOT / "kernels").rglob("__init__.py")]
    folders = [".".join(file.parent.relative_to(ROOT).parts) for file in files]
    expected = {
        f"minicnn.{name}" if name.startswith("kernels") else name  # minicnn/kernels is a link to it
        for name in folders
    }
    assert set(listed) == expected


def test_files_beside_the_source_are_installed():
    patterns = {
        (package, pattern.strip().rstrip(","))
        for package, text in settings()["options.package_data"].items()
        for pattern in text.split()
    }
    known = {file for package, pattern in patterns for file in _folder(package).glob(pattern)}
    found = {
        path
        for path in (ROOT / "minicnn").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    assert found <= known


def _folder(package):
    return ROOT.joinpath(*package.split("."))
