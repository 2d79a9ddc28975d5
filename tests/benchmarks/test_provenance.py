import os
import subprocess

import provenance
import pytest

NEW = {"measured": {"commit": "2222222", "date": "2026-01-02 09:00"}}
OLD = {"measured": {"commit": "1111111+", "date": "2026-01-01 10:00"}}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of git with one commit of minicnn."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # in a hook of git they name another repository
    (tmp_path / "minicnn").mkdir()
    (tmp_path / "minicnn" / "tensor.py").write_text("")
    git(tmp_path, "init", "--quiet")
    save(tmp_path)
    return tmp_path


def git(folder, *arguments) -> str:
    name = "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"
    try:
        done = subprocess.run(
            ["git", "-C", folder, *name, *arguments], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    return done.stdout.strip()


def save(folder) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", "A change")


def test_the_commit_is_the_last_one_that_changed_minicnn(checkout):
    first = git(checkout, "log", "-1", "--format=%h")
    (checkout / "README.md").write_text("more")
    save(checkout)
    assert provenance.commit(checkout) == first


def test_changes_that_are_in_no_commit_are_told(checkout):
    clean = provenance.commit(checkout)
    (checkout / "README.md").write_text("more")
    assert provenance.commit(checkout) == clean
    (checkout / "minicnn" / "tensor.py").write_text("more")
    assert provenance.commit(checkout) == f"{clean}+"


def test_outside_of_a_checkout_it_is_unknown(tmp_path):
    assert provenance.commit(tmp_path) == "unknown"


def test_without_git_it_is_unknown(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(checkout) == "unknown"


def test_rows_are_counted_by_commit_the_newest_first():
    assert provenance.commits_of([OLD, NEW, {}, OLD]) == (
        "Rows by commit of minicnn: 1 of 2222222 (2026-01-02), 2 of 1111111+ (2026-01-01), 1 of unknown; "
        "rows of others than the first are marked."
    )


def test_rows_of_one_commit_need_no_marks():
    assert (
        provenance.commits_of([NEW, NEW]) == "Rows by commit of minicnn: 2 of 2222222 (2026-01-02)."
    )


@pytest.mark.parametrize(("row", "text"), [(NEW, ""), (OLD, " [1111111+]"), ({}, " [unknown]")])
def test_rows_of_other_commits_are_marked(row, text):
    assert provenance.mark(row, [OLD, NEW]) == text


def test_a_stamp_has_a_commit_and_a_date():
    stamp = provenance.measured()
    assert stamp["commit"]
    assert len(stamp["date"]) == len("2026-01-02 09:00")
