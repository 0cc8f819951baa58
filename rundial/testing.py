"""Test doubles that ship: a server in memory, and a run that talks to it.

from rundial.testing import capture_run

def test_training_logs_its_loss():
    with capture_run() as (run, server):
        train(run)
    assert server.series("loss")[-1] < 0.1
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rundial.config import Settings
from rundial.events import Event, Metrics, RunStart
from rundial.names import new_run_id
from rundial.pipeline import Pipeline
from rundial.runs import Run
from rundial.transport import Outcome
from rundial.wire import BadRecord, IngestReply, decode_chunk, unpack_chunks


class MemoryTransport:
    """A server that keeps everything in memory and takes each stream in sequence, as the real one does.

    ``script`` is a list of outcomes to answer instead, one delivery each: how a server misbehaves in a test.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        """Everything taken in, in order."""
        self.bad: list[BadRecord] = []
        self.script: list[Outcome] = []
        self.deliveries = 0
        self._next: dict[str, int] = {}

    def deliver(self, stream: str, body: bytes) -> Outcome:
        """Take chunks, or answer what ``script`` says next."""
        self.deliveries += 1
        if self.script:
            return self.script.pop(0)
        expected = self._next.get(stream, 0)
        accepted = duplicate = 0
        for chunk in unpack_chunks(body):
            if chunk.first > expected:
                return Outcome("behind", IngestReply(stream, expected, accepted, duplicate))
            events, bad = decode_chunk(chunk)
            known = min(expected - chunk.first, chunk.count)
            duplicate += known
            if chunk.next > expected:
                self.events += events if chunk.is_gap else events[known:]
                self.bad += bad
                accepted += chunk.count - known
                expected = chunk.next
        self._next[stream] = expected
        return Outcome("acknowledged", IngestReply(stream, expected, accepted, duplicate))

    def close(self) -> None:
        """Nothing to let go of."""

    def series(self, key: str) -> list[Any]:
        """The values logged under ``key``, in the order they were taken in."""
        return [e.values[key] for e in self.events if isinstance(e, Metrics) and key in e.values]

    def steps(self, key: str) -> list[int]:
        """The steps at which ``key`` was logged, in the order they were taken in."""
        return [e.step for e in self.events if isinstance(e, Metrics) and key in e.values]


@contextmanager
def capture_run(transport: MemoryTransport | None = None, **options: Any) -> Iterator[tuple[Run, MemoryTransport]]:
    """A run whose records end in memory; finished when the block ends.

    Args:
        transport: the server to talk to; a new one by default.
        options: options of ``docs/settings.md``.
    """
    server = transport or MemoryTransport()
    with tempfile.TemporaryDirectory(prefix="rundial-test-") as spool:
        settings = Settings(**{"endpoint": "memory://", "spool_directory": spool, "quiet": True, **options})
        start = RunStart(0, new_run_id(), settings.workspace, settings.project, "captured")
        run = Run(start, settings, Pipeline(settings, start, lambda: server))
        run._start()
        try:
            yield run, server
        finally:
            run.finish(settings.finish_timeout)
