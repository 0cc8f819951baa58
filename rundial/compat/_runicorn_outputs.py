"""Output scanning: files that a run writes into its workspace become artifacts, again whenever they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from rundial.diagnostics import warn
from rundial.runs import Run

MAX_FILES = 10_000
"""Files of a folder that are looked at."""
Stamp = tuple[int, int]


class Outputs:
    """What has been seen of a run's output folders, and the thread that looks again."""

    def __init__(self, run: Run, root: Path) -> None:
        self.root = root
        self._run = run
        self._seen: dict[str, Stamp] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def scan(self, folders: Sequence[str], patterns: Sequence[str]) -> list[str]:
        """Log what is new or changed since the last look; the names of the artifacts."""
        logged = []
        with self._guard:
            for folder in folders:
                try:
                    logged += self._scan(self.root / folder, patterns)
                except OSError as error:  # a file that is gone again, a folder that may not be read
                    warn(f"{folder} could not be scanned: {error}")
        return logged

    def _scan(self, folder: Path, patterns: Sequence[str]) -> list[str]:
        logged = []
        for path, stamp in islice(_files(self.root, folder, patterns), MAX_FILES):
            name = path.relative_to(self.root).as_posix()
            if self._seen.get(name) != stamp:
                self._seen[name] = stamp
                artifact = name.replace("/", "-")  # names of artifacts have no slash
                if self._run.log_artifact(path, name=artifact, type="output", metadata={"path": name}):
                    logged.append(artifact)
        return logged

    def watch(self, folders: Sequence[str], patterns: Sequence[str], seconds: float) -> None:
        """Look every ``seconds`` from now on, in a thread of its own; a second call takes the place of the first."""
        self.stop()
        self._stop = stop = threading.Event()

        def look() -> None:
            while not stop.wait(seconds):
                self.scan(folders, patterns)
            self.scan(folders, patterns)  # what was written at the very end

        self._thread = threading.Thread(target=look, name="rundial-outputs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and then no more."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)
        self._thread = None


def _files(root: Path, folder: Path, patterns: Sequence[str]) -> Iterator[tuple[Path, Stamp]]:
    """Regular files below a folder of the root whose names match; links are not followed."""
    if not folder.resolve().is_relative_to(root):
        warn(f"{folder} lies outside of {root} and is not scanned")
        return
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            if any(fnmatch(name, pattern) for pattern in patterns) and path.is_file() and not path.is_symlink():
                found = path.stat()
                yield path, (found.st_mtime_ns, found.st_size)
