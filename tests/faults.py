"""What tests of faults share: how often to try, and a room whose disks may break without harm to anything else."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _is_soak() -> bool:
    # The isolation of the test session takes the variables of rundial away, so ask what pytest was started with.
    started_with = Path("/proc/self/environ")
    return started_with.exists() and b"RUNDIAL_SOAK=1" in started_with.read_bytes().split(b"\0")


SOAK = _is_soak()
"""Whether the tests run with ``RUNDIAL_SOAK=1``: the same stories, many more times."""


def seeds(usual: int, soak: int) -> range:
    """Seeds of as many trials as wanted."""
    return range(soak if SOAK else usual)


def corrupt(data: bytes, kind: str, random_: random.Random, start: int = 0) -> tuple[bytes, range]:
    """Bytes with one fault of a kind at or after ``start``, and which offsets are not what they were."""
    at = random_.randrange(start, len(data))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << random_.randrange(8)]) + data[at + 1 :], range(at, at + 1)
    if kind == "truncate":
        return data[:at], range(at, len(data))
    end = min(len(data), at + random_.randrange(1, 4000))
    return data[:at] + bytes(end - at) + data[end:], range(at, end)


class Room:
    """A mount namespace: what is mounted in it is seen by the processes in it alone, and goes when they do.

    It has a /dev/shm of its own, so that ``rundial sync`` in it meets no ring of anybody else.
    """

    def __init__(self, keeper: subprocess.Popen[bytes], shared_memory: str) -> None:
        self._keeper = keeper
        self.run("mount", "-t", "tmpfs", "-o", f"size={shared_memory}", "tmpfs", "/dev/shm")

    def run(self, *command: object) -> None:
        """Run a command inside; it must succeed."""
        done = subprocess.run([*self._enter(), *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def mount(self, place: Path, size: str) -> None:
        """Put an empty disk of its own at ``place``."""
        place.mkdir(parents=True, exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)

    def inside(self, path: Path) -> Path:
        """How a path in the room is reached from outside."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def _enter(self) -> list[str]:
        return ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(self._keeper.pid), "--"]

    def python(self, folder: Path) -> Path:
        """A Python interpreter that runs inside, in the directory it is called from."""
        path = folder / "python-inside"
        inner = f'cd "$0" && exec {shlex.quote(sys.executable)} "$@"'
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self._enter())} sh -c {shlex.quote(inner)} "$PWD" "$@"\n')
        path.chmod(0o700)
        return path


@contextmanager
def open_room(shared_memory: str = "64m") -> Iterator[Room]:
    """A room; the test is skipped where the system grants none. ``shared_memory`` is the size of its /dev/shm."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "echo open; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        if keeper.stdout.readline() != b"open\n":
            pytest.skip("this system grants no mount namespace, so no disk can be made to fail")
        yield Room(keeper, shared_memory)
        # Whoever is still inside keeps the namespace, and its mounts, until it ends.
        keeper.terminate()
