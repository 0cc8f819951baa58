"""What was begun, on disk: a command that was begun is never applied again, whatever became of the process.

``begun/<stream>.jsonl`` beside the spools has a line for each command, written before it is applied. The file itself
is there from a stream's first dial on: a later process that finds it knows which commands were begun, and which not.
"""

from __future__ import annotations

import time
from pathlib import Path

from rundial.control.command_queue import append_line, objects
from rundial.spool_directories import prepare_directory

FOLDER = "begun"
KEEP_SECONDS = 30 * 24 * 3600
"""How long the notes of other streams are kept; no command has a deadline that far away."""


class Begun:
    """The notes of one stream, and a look at those of others.

    Args:
        spool: the directory of all spools.
        stream: id of the stream that applies commands.
    """

    def __init__(self, spool: Path, stream: str) -> None:
        self._spool = spool
        self._path = spool / FOLDER / f"{stream}.jsonl"

    def open(self) -> None:
        """Make the file, and clear away old ones. Raises OSError."""
        prepare_directory(self._spool)
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.touch()
        limit = time.time() - KEEP_SECONDS
        for path in self._path.parent.glob("*.jsonl"):
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    def note(self, command_id: str, name: str) -> None:
        """Write down that a command is about to be applied. Raises OSError; then it must not be applied."""
        append_line(self._path, {"id": command_id, "ts": time.time(), "name": name}, durable=True)

    def of(self, stream: str) -> frozenset[str] | None:
        """The commands that another stream had begun; None when its notes are not on this machine."""
        if not stream.isalnum():  # it comes from a server and becomes a path
            return None
        path = self._path.with_name(f"{stream}.jsonl")
        if not path.is_file():
            return None
        return frozenset(str(line.get("id")) for line in objects(path))

    def close(self) -> None:
        """Take the file away if nothing was ever begun."""
        try:
            if self._path.stat().st_size == 0:
                self._path.unlink()
                self._path.parent.rmdir()
        except OSError:
            pass  # it is not there, or there are others beside it
