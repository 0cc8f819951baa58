"""A client without HTTP: one stream of records straight into a store."""

from __future__ import annotations

import secrets
import time
from typing import Any

from rundial import wire
from rundial.events import Event, Metrics, RunStart
from rundial.server.store import Store
from rundial.server.store.accounts import Principal

PAGE = "http://127.0.0.1:8787"
Answer = tuple[int, dict[str, Any]]


class Stream:
    """Sends events as the SDK would; each call waits until its records are durable."""

    def __init__(self, store: Store, run_id: str = "run_a", principal: Principal | None = None) -> None:
        owner = store.accounts.verify(store.owner_key)
        assert owner is not None
        self.store = store
        self.run_id = run_id
        self.principal = principal or owner
        self.id = secrets.token_hex(16)
        self.next = 0

    def start(self, **fields: Any) -> Answer:
        given = {"workspace": "default-workspace", "project": "digits", "name": "brave-dial-1", **fields}
        return self.send(RunStart(time.time_ns(), self.run_id, **given))

    def log(self, step: int, stage: str | None = None, **values: float | str) -> Answer:
        return self.send(Metrics(time.time_ns(), step, values, stage))

    def send(self, *events: Event, first: int | None = None) -> Answer:
        """Events in one chunk, from the next sequence number on or from ``first``."""
        return self.send_raw(*map(wire.encode, events), first=first)

    def send_raw(self, *records: bytes, first: int | None = None) -> Answer:
        begin = self.next if first is None else first
        answer = self.send_chunks(wire.Chunk(self.id, begin, len(records), b"".join(records)))
        self.next = max(self.next, begin + len(records))
        return answer

    def send_chunks(self, *chunks: wire.Chunk) -> Answer:
        return self.store.ingest(self.principal, self.id, chunks, PAGE).result(timeout=20)
