"""The revision a run states is that of the code that trained it, or it says that it does not know."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import training
from training.runs.provenance import git_revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a committed package `training` and another folder beside it."""
    for key in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(key)
    for folder in ("training", "service"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    git(tmp_path, *who, "commit", "--quiet", "-m", "first")
    return tmp_path


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(where), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_clean_checkout_states_its_commit(repository):
    assert git_revision(repository / "training") == git(repository, "rev-parse", "HEAD")


def test_a_changed_file_of_the_package_makes_it_dirty(repository):
    (repository / "training" / "__init__.py").write_text("changed = True\n")
    assert git_revision(repository / "training") == git(repository, "rev-parse", "HEAD") + "-dirty"


def test_changes_elsewhere_and_files_git_does_not_know_do_not(repository):
    (repository / "service" / "__init__.py").write_text("changed = True\n")
    (repository / "training" / "notes.txt").write_text("mine\n")
    assert git_revision(repository / "training") == git(repository, "rev-parse", "HEAD")


def test_a_package_installed_inside_someone_elses_repository_is_unknown(repository):
    installed = repository / ".venv" / "site-packages" / "training"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_revision(installed) == "unknown"


def test_without_a_repository_or_without_git_it_is_unknown(tmp_path, repository, monkeypatch):
    monkeypatch.setattr("training.runs.provenance.shutil.which", lambda name: None)
    assert git_revision(repository / "training") == "unknown"


def test_the_revision_has_the_form_that_the_manifest_demands():
    revision = git_revision(Path(training.__file__).parent)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", revision)
