"""The queue directory: commands in, acknowledgements out, one JSON object a line. No server is needed.

``commands.jsonl`` holds ``{"id", "ts", "op", "path", "args", "kwargs"}`` and ``acks.jsonl`` the answers to them.
``begun.jsonl`` holds the id of each command before it is applied: a command that was begun is never applied again,
whatever became of the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COMMANDS, ACKS, BEGUN = "commands.jsonl", "acks.jsonl", "begun.jsonl"
MAX_LINE_BYTES = 1024 * 1024
_WITNESS_BYTES = 64
INTERRUPTED = "the process ended while this was being applied; it is not applied again"


class Command(NamedTuple):
    """One line of ``commands.jsonl``, as far as it can be understood."""

    id: str
    path: str
    op: str
    args: list[Any]
    kwargs: dict[str, Any]
    problem: str | None = None
    """Why it cannot be applied at all."""


class CommandQueue:
    """The receiving end of a queue directory: hands out each command once, across restarts too.

    Args:
        directory: created with both files when it does not exist.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (COMMANDS, ACKS):
            (directory / name).touch()
        self.directory = directory
        self._offset = 0
        self._file_id = (0, 0)
        self._witness = b""
        self._unwritten: list[bytes] = []
        self._seen = {str(line.get("id")) for line in objects(directory / BEGUN)}
        acknowledged = {str(ack.get("id")) for ack in objects(directory / ACKS)}
        for begun in objects(directory / BEGUN):
            if str(begun.get("id")) not in acknowledged:
                self.acknowledge({**begun, "status": "failed", "error": INTERRUPTED})
        self._seen |= acknowledged

    def take(self) -> list[Command]:
        """The commands that nobody has had yet, in the order of the file; a line without its end waits for it.

        Raises OSError when the file cannot be read.
        """
        self._write_acks()
        path = self.directory / COMMANDS
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._offset = 0
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_size == self._offset and (status.st_dev, status.st_ino) == self._file_id:
                return []
            if not self._continues(file, status):
                self._offset = 0  # truncated, replaced or rewritten: what was applied before is known by its id
            self._file_id = (status.st_dev, status.st_ino)
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        taken = list(self._commands(whole))
        self._offset += len(whole)
        self._witness = (
            (self._witness + whole)[-_WITNESS_BYTES:] if self._offset > len(whole) else whole[-_WITNESS_BYTES:]
        )
        return taken

    def begin(self, command: Command) -> None:
        """Note on disk that the command is about to be applied. Raises OSError; then it must not be applied."""
        line = {"id": command.id, "ts": time.time(), "path": command.path, "op": command.op}
        append_line(self.directory / BEGUN, line, durable=True)
        self._seen.add(command.id)

    def acknowledge(self, ack: Mapping[str, Any]) -> None:
        """Append an acknowledgement; while the disk refuses it, it waits in memory."""
        self._seen.add(str(ack.get("id")))
        self._unwritten.append(_line({**ack, "ts": time.time()}))
        self._write_acks()

    def _write_acks(self) -> None:
        while self._unwritten:
            try:
                _append(self.directory / ACKS, self._unwritten[0], durable=True)
            except OSError:
                return  # the next look tries again
            self._unwritten.pop(0)

    def _continues(self, file: Any, status: os.stat_result) -> bool:
        """Whether what was read so far is still what stands before the cursor."""
        if (status.st_dev, status.st_ino) != self._file_id or status.st_size < self._offset:
            return False
        file.seek(max(0, self._offset - len(self._witness)))
        return bool(file.read(len(self._witness)) == self._witness)

    def _commands(self, data: bytes) -> Iterator[Command]:
        offset = self._offset
        for line in data.splitlines(keepends=True):
            command = parse_command(line.strip(), f"line-{offset}-{zlib.crc32(line):08x}") if line.strip() else None
            offset += len(line)
            if command is not None and command.id not in self._seen:
                self._seen.add(command.id)
                yield command


def parse_command(line: bytes, spare_id: str) -> Command:
    """A line as a command; one that is none says so in ``problem``. Never raises."""
    if len(line) > MAX_LINE_BYTES:
        return Command(spare_id, "", "", [], {}, f"the line is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Command(spare_id, "", "", [], {}, f"no JSON: {error}")
    if not isinstance(found, dict):
        return Command(spare_id, "", "", [], {}, "no JSON object")
    given, path, op = found.get("id"), found.get("path"), found.get("op", "set")
    args, kwargs = found.get("args", []), found.get("kwargs", {})
    problem = None
    if not isinstance(path, str) or not path:
        path, problem = str(path or ""), "path must be a text"
    elif op != "set":
        problem = f"op {op!r:.40} is not known; it must be 'set'"
    elif not isinstance(args, list):
        problem = "args must be a list"
    elif not isinstance(kwargs, dict):
        problem = "kwargs must be an object"
    identity = str(given) if isinstance(given, (str, int)) and str(given) else spare_id
    if problem is not None:
        return Command(identity, path, str(op), [], {}, problem)
    return Command(identity, path, "set", args, kwargs)


def enqueue(
    directory: Path, path: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Write a command for whoever polls the directory, which is created if need be; the command as it was written.

    Raises OSError when it cannot be written, ValueError when a value is no JSON.
    """
    command = {"id": uuid.uuid4().hex, "ts": time.time(), "op": "set", "path": path}
    command |= {"args": list(args), "kwargs": dict(kwargs or {}), **more}
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    append_line(directory / COMMANDS, command)
    return command


def status(directory: Path, last: int = 10) -> dict[str, Any]:
    """How many commands and acknowledgements there are, and the newest ``last`` of these."""
    acks = list(objects(directory / ACKS))
    return {
        "queue_dir": str(directory),
        "commands": sum(1 for _ in objects(directory / COMMANDS)),
        "acks": len(acks),
        "last_acks": acks[-last:] if last > 0 else [],
    }


def append_line(path: Path, value: Any, durable: bool = False) -> None:
    """Append a JSON line in one write, whole lines only, also beside other writers."""
    _append(path, _line(value), durable)


def _line(value: Any) -> bytes:
    return json.dumps(value, default=str).encode("utf-8", "replace") + b"\n"


def _append(path: Path, line: bytes, durable: bool) -> None:
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":  # somebody died in the middle of a line: ours begins a new one
                line = b"\n" + line
        file.write(line)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines of a file; none when there is no file."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn by a crash, or somebody else's
        if isinstance(found, dict):
            yield found
