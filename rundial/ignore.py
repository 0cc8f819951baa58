"""Which files of a folder are its code: what ``.gitignore`` and ``.rundialignore`` leave, and nothing secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from rundial.repository import find_root

IGNORE_FILES = (".gitignore", ".rundialignore")
"""In the order of their weight: what the later one says about a path wins, however deep the other one lies."""
NEVER_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "__pycache__", "node_modules", ".rundial_spool", ".ssh", ".aws", ".gnupg"}
)
NEVER_FILES = (
    "*.pyc",
    ".env*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    "credentials*.json",
)
"""Names that are left out whatever the rules say; case does not matter."""


class CodeFile(NamedTuple):
    """One file of the code: its POSIX path below the root, and its size in bytes."""

    path: str
    size: int


class _Rules(NamedTuple):
    """The rules of one ignore file: they hold for paths below ``base``, which has a slash at its end."""

    kind: int
    base: str
    spec: Any


def code_files(root: Path, skip: frozenset[Path] = frozenset()) -> Iterator[CodeFile]:
    """The files below ``root`` that are code.

    The rules are those of https://git-scm.com/docs/gitignore, of the files in ``root``, in the folders above it as far
    as they belong to the same repository, and in every folder below. Symbolic links are not followed and not given,
    what cannot be read is passed over, and what :data:`NEVER_FOLDERS` and :data:`NEVER_FILES` name is never given.

    Args:
        root: an absolute path.
        skip: absolute paths of further folders to leave out.
    """
    folder, prefix = find_root(root) or root, ""
    rules: list[_Rules] = []
    for part in root.relative_to(folder).parts:
        rules += _read_rules(folder, prefix)
        folder, prefix = folder / part, f"{prefix}{part}/"
    if prefix and _is_ignored(prefix, rules):
        prefix, rules = "", []  # asked for by name, so what the repository thinks of the folder does not count
    yield from _walk(root, prefix, len(prefix), rules, skip)


def _walk(folder: Path, prefix: str, cut: int, rules: list[_Rules], skip: frozenset[Path]) -> Iterator[CodeFile]:
    """The files below ``folder``, which lies at ``prefix`` in its repository; ``cut`` is the length of the root's."""
    pending = [(folder, prefix, rules)]
    while pending:
        folder, prefix, rules = pending.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            continue  # removed meanwhile, or not ours to read
        here = rules + _read_rules(folder, prefix)
        for entry in found:
            path = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    below = Path(entry.path)
                    if below not in skip and not _is_never(entry.name, True) and not _is_ignored(path + "/", here):
                        pending.append((below, path + "/", here))
                elif (
                    entry.is_file(follow_symlinks=False)
                    and not _is_never(entry.name, False)
                    and not _is_ignored(path, here)
                ):
                    yield CodeFile(path[cut:], entry.stat(follow_symlinks=False).st_size)
            except OSError:
                continue  # removed meanwhile


def _read_rules(folder: Path, prefix: str) -> list[_Rules]:
    from pathspec import GitIgnoreSpec

    rules = []
    for kind, name in enumerate(IGNORE_FILES):
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # nearly always: there is none
        spec = GitIgnoreSpec.from_lines(line for line in text.splitlines() if _is_rule(line))
        rules.append(_Rules(kind, prefix, spec))
    return rules


def _is_rule(line: str) -> bool:
    """Whether git takes the line for a pattern; one it cannot understand is passed over, as git does."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _is_ignored(path: str, rules: list[_Rules]) -> bool:
    """Whether the rules leave a path out: of each kind of file the deepest that says anything, then the later kind."""
    said: dict[int, bool] = {}
    for rule in reversed(rules):
        if rule.kind not in said:
            verdict = rule.spec.check_file(path[len(rule.base) :]).include
            if verdict is not None:
                said[rule.kind] = verdict
    return said[max(said)] if said else False


def _is_never(name: str, is_folder: bool) -> bool:
    lower = name.lower()
    if is_folder and lower in NEVER_FOLDERS:
        return True
    return lower == ".git" or any(fnmatchcase(lower, pattern) for pattern in NEVER_FILES)
