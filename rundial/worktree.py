"""What git itself says of a repository: whether it is dirty, and what was changed since the commit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from rundial.ignore import NEVER_FILES

SECONDS = 10.0
"""How long one call of git may take."""
MAX_PATCH = 1024 * 1024
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
# Nothing of the user's configuration that starts further programs, and no lock that a commit meanwhile would meet.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks", "--no-pager")


def describe(root: Path) -> dict[str, Any]:
    """``commit``, ``branch``, ``dirty`` and ``remote`` of the repository at ``root``; empty where git finds none.

    ``branch`` is None on a detached head, ``remote`` has no user and no password in it.
    """
    status = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return {}
    lines = status.splitlines()
    heads = dict(line[2:].partition(" ")[::2] for line in lines if line.startswith("# "))
    commit, branch = heads.get("branch.oid"), heads.get("branch.head")
    found: dict[str, Any] = {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("#") for line in lines),
    }
    remotes = dict(line.split(" ", 1) for line in (_git(root, "config", "--get-regexp", _URLS) or "").splitlines())
    url = remotes.get("remote.origin.url") or next(iter(remotes.values()), None)
    if url:
        found["remote"] = without_credentials(url.strip()).partition("?")[0]
    return found


_URLS = r"^remote\..*\.url$"


def without_credentials(text: str) -> str:
    """A text whose URLs have no user and password in them."""
    return _CREDENTIALS.sub("", text)


def patch(root: Path) -> str | None:
    """What was changed since the commit in files that git tracks, as ``git diff HEAD`` writes it.

    Files whose names say that they are secret are left out. None when nothing was changed or it is more than 1 MiB.
    """
    secret = [f":(exclude,glob,icase)**/{name}" for name in NEVER_FILES]
    text = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--", ".", *secret)
    return text or None


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints, at most 1 MiB of it; None when it fails, prints more or takes too long."""
    # The variables that a hook or another git would have set point at its repository, not at ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        process = subprocess.Popen(
            [*_GIT, "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        return None  # no git on this machine
    with process:
        output = _read(process)
        if output is None:
            process.kill()
    if output is None or process.returncode != 0:
        return None
    return output.decode("utf-8", "replace")


def _read(process: subprocess.Popen[bytes]) -> bytes | None:
    """Everything the process prints, or None when that is too much or takes too long."""
    import selectors
    import time

    assert process.stdout is not None
    deadline = time.monotonic() + SECONDS
    descriptor = process.stdout.fileno()
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return bytes(data)
            data += piece
            if len(data) > MAX_PATCH:
                return None
    return None
