"""The git repository a script stands in, read from its files: no process is started for it.

Format of ``HEAD``, refs and ``packed-refs``: https://git-scm.com/docs/gitrepository-layout
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_CREDENTIALS = re.compile(r"//[^/@]*@")
_LARGEST = 4 * 1024 * 1024


def find_root(start: Path) -> Path | None:
    """The nearest folder at or above ``start`` that holds ``.git``, or None."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def git_facts(start: Path) -> dict[str, Any]:
    """``root``, ``commit``, ``branch`` and ``remote`` of the repository around ``start``, as far as they are there.

    Credentials are taken out of the remote's address. Never raises; outside a repository the answer is empty.
    """
    try:
        root = find_root(start)
        return {} if root is None else {"root": str(root), **_read(root / ".git")}
    except (OSError, UnicodeDecodeError):
        return {}


def _read(folder: Path) -> dict[str, Any]:
    if folder.is_file():  # a worktree or submodule: the file says where the folder lies
        folder = folder.parent / _text(folder).removeprefix("gitdir:").strip()
    common = folder / "commondir"
    shared = folder / _text(common).strip() if common.is_file() else folder
    facts: dict[str, Any] = {}
    head = _text(folder / "HEAD").strip()
    reference = head.removeprefix("ref:").strip()
    commit = head if reference == head else _resolve(folder, shared, reference)
    if _COMMIT.fullmatch(commit):
        facts["commit"] = commit
    if reference.startswith("refs/heads/"):
        facts["branch"] = reference.removeprefix("refs/heads/")
    remote = _remote(shared / "config")
    if remote:
        facts["remote"] = _CREDENTIALS.sub("//", remote)
    return facts


def _resolve(folder: Path, shared: Path, reference: str) -> str:
    for base in (folder, shared):
        if ".." not in reference and (base / reference).is_file():
            return _text(base / reference).strip()
    packed = shared / "packed-refs"
    if packed.is_file() and packed.stat().st_size <= _LARGEST:
        for line in _text(packed).splitlines():
            if line.endswith(f" {reference}"):
                return line.partition(" ")[0]
    return ""


def _remote(config: Path) -> str | None:
    """The URL of ``origin``, else of the first remote."""
    found: dict[str, str] = {}
    section = ""
    for line in _text(config).splitlines() if config.is_file() else ():
        line = line.strip()
        if line.startswith("["):
            match = re.fullmatch(r'\[remote "(.*)"\]', line)
            section = match[1] if match else ""
        elif section and line.partition("=")[0].strip() == "url":
            found.setdefault(section, line.partition("=")[2].strip())
    return found.get("origin") or next(iter(found.values()), None)


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_LARGEST)
