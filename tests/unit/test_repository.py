"""What is read of the repository around a script."""

import os
import subprocess

import pytest

from rundial.repository import find_root, git_facts


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A real repository with one commit, and git in it."""
    folder = tmp_path / "project"
    (folder / "deep" / "er").mkdir(parents=True)
    home = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}

    def git(*arguments, cwd=folder):
        words = ["git", "-c", "user.name=n", "-c", "user.email=e@example", *arguments]
        return subprocess.run(words, cwd=cwd, env=home, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-b", "trunk")
    git("commit", "--allow-empty", "-m", "first")
    return folder, git


def test_commit_branch_and_remote(repository):
    """They are what git itself says, from any folder inside; credentials in the address are not kept."""
    folder, git = repository
    git("remote", "add", "other", "https://example.org/other.git")
    git("remote", "add", "origin", "https://user:secret@example.org/team/project.git")
    facts = git_facts(folder / "deep" / "er")
    assert facts == {
        "root": str(folder),
        "commit": git("rev-parse", "HEAD"),
        "branch": "trunk",
        "remote": "https://example.org/team/project.git",
    }


def test_packed_references(repository):
    """After `git pack-refs` the branch has no file of its own."""
    folder, git = repository
    git("pack-refs", "--all")
    assert git_facts(folder)["commit"] == git("rev-parse", "HEAD")


def test_a_detached_head_has_no_branch(repository):
    """The commit stands in HEAD itself."""
    folder, git = repository
    git("checkout", "--detach")
    facts = git_facts(folder)
    assert (facts["commit"], "branch" in facts) == (git("rev-parse", "HEAD"), False)


def test_a_worktree_is_followed_to_its_repository(repository, tmp_path):
    """There `.git` is a file that says where the folder lies."""
    _, git = repository
    git("worktree", "add", "-b", "side", str(tmp_path / "side"))
    facts = git_facts(tmp_path / "side")
    assert (facts["commit"], facts["branch"]) == (git("rev-parse", "HEAD"), "side")


def test_outside_a_repository_there_is_nothing(tmp_path):
    """And nothing is raised, for a broken one neither."""
    assert find_root(tmp_path) is None
    assert git_facts(tmp_path) == {}
    (tmp_path / ".git").write_bytes(b"\xff\xfe nonsense")
    assert git_facts(tmp_path) == {}
