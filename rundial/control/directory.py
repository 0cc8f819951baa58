"""A queue directory whose commands turn the dials of a run, read and answered by a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rundial.control.command_queue import Command, CommandQueue
from rundial.events import Ack

LOOK_SECONDS = 0.2
CLOSE_SECONDS = 2.0
MAX_ID = 128


class Directory:
    """Commands in, acknowledgements out, as for a :class:`rundial.control.RuntimeController`.

    Args:
        path: created when it is not there.
        take: called in the thread with each command, its id and why it cannot be obeyed, if it cannot.
        warn: called with what is wrong with the directory, while it is.
    """

    def __init__(
        self, path: Path, take: Callable[[Command, str, str | None], None], warn: Callable[[str], None]
    ) -> None:
        self._path = path
        self._take = take
        self._warn = warn
        self._queue: CommandQueue | None = None
        self._open: dict[str, Command] = {}
        self._answers: deque[dict[str, Any]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="rundial-control-dir", daemon=True)
        self._thread.start()

    def begin(self, command_id: str) -> bool:
        """Note on disk that a command is about to be applied; whether it is one of this directory's. Raises OSError."""
        command = self._open.get(command_id)
        if command is None or self._queue is None:
            return False
        self._queue.begin(command)
        return True

    def answer(self, ack: Ack) -> None:
        """Have it written down what became of a command, when it is one of this directory's."""
        command = self._open.pop(ack.command_id, None)
        if command is None:
            return
        told: dict[str, Any] = {"id": command.id, "path": command.path, "op": command.op, "status": ack.status}
        if ack.status == "applied":
            told |= {"args": command.args, "kwargs": command.kwargs}
        else:
            told["error"] = ack.error or ack.status
        if ack.ranks is not None:
            told["ranks"] = ack.ranks
        self._answers.append(told)

    def close(self) -> None:
        """Write the last answers and look no more."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _listen(self) -> None:
        while True:
            last = self._stop.is_set()
            try:
                self._look(last)
            except OSError as error:
                self._warn(f"cannot use the queue directory {self._path}: {error}; the next look tries again.")
            if last:
                return
            self._stop.wait(LOOK_SECONDS)

    def _look(self, last: bool) -> None:
        if self._queue is None:
            self._queue = CommandQueue(self._path)
        while self._answers:
            self._queue.acknowledge(self._answers.popleft())
        for command in [] if last else self._queue.take():
            identity = command.id if len(command.id) <= MAX_ID else f"{command.id[:MAX_ID]}…"
            self._open[identity] = command
            self._take(command, identity, _problem(command))


def _problem(command: Command) -> str | None:
    if command.problem is not None:
        return command.problem
    if command.kwargs:
        return "a dial takes no named arguments"
    return "a dial takes one value" if len(command.args) > 1 else None
